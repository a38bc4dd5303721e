"""Server-sent events (WHATWG HTML, 9.2.6), as far as a client needs them."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ServerEvent", "ServerEvents"]


@dataclass(frozen=True)
class ServerEvent:
    """One event; `id` is the last one seen, as the standard has it."""

    id: str
    event: str
    data: str


@dataclass
class ServerEvents:
    """Feed it lines without their ends; it gives an event at each blank line that closes one."""

    last_id: str = ""
    _event: str = field(default="", repr=False)
    _data: list[str] = field(default_factory=list, repr=False)

    def feed(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self.last_id = value
        return None  # also for comments, `retry` and unknown fields

    def _dispatch(self) -> ServerEvent | None:
        event, data = self._event, self._data
        self._event, self._data = "", []
        return ServerEvent(self.last_id, event or "message", "\n".join(data)) if data else None
