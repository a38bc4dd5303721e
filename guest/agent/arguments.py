"""Taking a verb's arguments apart, strictly: every fault is noted, and all are raised together."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

from oriel.model.errors import Fault, InvalidError

__all__ = ["Arguments"]

_MISSING: Any = object()


def _sound(value: object) -> TypeGuard[str]:
    """A string the system can take: without NUL and without half a character."""
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


class Arguments:
    """Each taker notes a fault and gives back a harmless value; `done` raises what was noted.

    A taker without `default` wants its argument to be there.
    """

    def __init__(
        self, values: Mapping[str, Any], *, path: str = "", faults: list[Fault] | None = None
    ) -> None:
        self._left = dict(values)
        self._path = path
        self.faults: list[Fault] = [] if faults is None else faults

    def fault(self, name: str, problem: str) -> None:
        self.faults.append(Fault(self._path + name, problem))

    def has(self, name: str) -> bool:
        return self._left.get(name) is not None

    def any(self, name: str, default: Any = _MISSING) -> Any:
        value = self._left.pop(name, None)
        if value is None:
            if default is _MISSING:
                self.fault(name, "is missing")
            return default
        return value

    def text(
        self, name: str, what: str = "text", *, pattern: str = "", limit: int = 4096, default: Any = _MISSING
    ) -> str:
        """A string without NUL, of at most `limit` characters, all of it matching `pattern` if given."""
        value = self.any(name, default)
        if value is _MISSING or value is default:
            return "" if value is _MISSING else value
        if not _sound(value) or (pattern and not re.fullmatch(pattern, value)):
            self.fault(name, f"must be {what}")
            return ""
        if len(value) > limit:
            self.fault(name, f"must be at most {limit} characters")
        return value

    def choice(self, name: str, allowed: Collection[str], *, default: Any = _MISSING) -> str:
        value = self.any(name, default)
        if value is not _MISSING and value is not default and value not in allowed:
            self.fault(name, f"must be one of {', '.join(sorted(allowed))}")
        return value if isinstance(value, str) else ""

    def whole(self, name: str, low: int, high: int, *, default: Any = _MISSING) -> int:
        value = self.any(name, default)
        if value is _MISSING or value is default:
            return low if value is _MISSING else value
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fault(name, f"must be a whole number from {low} to {high}")
            return low
        return value

    def seconds(self, name: str, low: float, high: float, *, default: Any = _MISSING) -> float:
        value = self.any(name, default)
        if value is _MISSING or value is default:
            return low if value is _MISSING else value
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            self.fault(name, f"must be a number of seconds from {low:g} to {high:g}")
            return low
        return float(value)

    def flag(self, name: str, *, default: Any = False) -> bool:
        value = self.any(name, default)
        if value is not _MISSING and not isinstance(value, bool):
            self.fault(name, "must be true or false")
        return value is True

    def texts(self, name: str, *, default: Any = _MISSING) -> list[str]:
        """A list of strings without NUL."""
        value = self.any(name, default)
        if value is _MISSING or value is default:
            return [] if value is _MISSING else value
        if not isinstance(value, list) or not all(_sound(item) for item in value):
            self.fault(name, "must be a list of texts")
            return []
        return value

    def table(self, name: str) -> dict[str, str]:
        """An object whose values are strings; empty if absent."""
        value = self.any(name, {})
        if not isinstance(value, dict) or not all(_sound(item) for pair in value.items() for item in pair):
            self.fault(name, "must be an object of texts")
            return {}
        return value

    def nested(self, name: str) -> Arguments:
        """The arguments inside an object; call `done` on the outer one only."""
        value = self.any(name)
        if value is not _MISSING and not isinstance(value, dict):
            self.fault(name, "must be an object")
        inner = value if isinstance(value, dict) else {}
        return Arguments(inner, path=f"{self._path}{name}.", faults=self.faults)

    def unknown(self) -> None:
        """Note what nobody took."""
        for name in sorted(self._left):
            self.fault(name, "unknown field")

    def done(self) -> None:
        """Raise InvalidError with every fault, if there is any."""
        self.unknown()
        if self.faults:
            raise InvalidError.of(self.faults)
