"""Which key, with Shift or not, gives a keysym; keysyms no key has are bound to spare keys.

X programs do not hear characters but keycodes, and look up the mapping when they come to read the event.
So a spare key may be bound anew only once its last use has surely been read (input.py sees to it).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from oriel.model.errors import UnavailableError

__all__ = ["Key", "Keyboard", "keysym_of_character", "keysym_of_name"]

UNICODE = 0x0100_0000  # X11 protocol, appendix A: keysym of a character without one of its own
NAMED = {"\n": 0xFF0D, "\r": 0xFF0D, "\t": 0xFF09, "\b": 0xFF08, "\x1b": 0xFF1B}  # Return, Tab, …
SHIFT_L, SHIFT_R = 0xFFE1, 0xFFE2
CAPS_LOCK = 0xFFE5


def keysym_of_character(character: str) -> int | None:
    """The keysym that types a character; None for a control character that no key has."""
    code = ord(character)
    if character in NAMED:
        return NAMED[character]
    if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000:
        return None
    return code if code < 0x100 else UNICODE + code  # Latin-1 keysyms are the characters themselves


def keysym_of_name(name: str) -> int | None:
    """Return, Control_L, a, é, F5 … as a keysym; None if X knows no such name."""
    from Xlib import XK

    if len(name) == 1:
        return keysym_of_character(name)
    XK.load_keysym_group("xf86")
    return XK.string_to_keysym(name) or None


@dataclass(frozen=True)
class Key:
    code: int
    shift: bool


@dataclass(frozen=True)
class Run:
    """A beginning of a text: whether typing it `binds` spare keys, and `rebinds` some that had a meaning."""

    length: int
    binds: bool
    rebinds: bool


@dataclass(frozen=True)
class _Mapping:
    """The keyboard mapping at one moment."""

    keys: dict[int, Key]  # by keysym; without Shift where there is a choice
    spare: list[int]  # keycodes that mean nothing
    shifted: dict[int, int]  # keycode -> what it gives with Shift


class Keyboard:
    """The keys of one display. Everything here runs in the display's thread."""

    def __init__(self) -> None:
        self._bound: dict[int, int] = {}  # keysym -> the spare keycode we gave it, least recently used first
        self.held: dict[int, int] = {}  # keysym -> keycode that was pressed for it, and not released yet
        self._known: _Mapping | None = None  # until somebody changes it

    def forget(self) -> None:
        """The mapping was changed, or may have been."""
        self._known = None

    def has(self, display: Any, keysym: int) -> bool:
        """Whether a key gives it, so that nothing needs to be bound."""
        return keysym in self._read(display).keys

    def must_unshift(self, display: Any, key: Key, keysym: int) -> bool:
        """Whether `key`, which gives the character `keysym`, gives another one while Shift is held."""
        return _is_character(keysym) and self._read(display).shifted.get(key.code, 0) not in (0, keysym)

    def keys_for(self, display: Any, keysyms: Iterable[int]) -> dict[int, Key]:
        """A key for each keysym; the missing ones are bound to spare keys, the longest unused first.

        UnavailableError, with nothing bound, if there are more than `first_run` takes.
        """
        mapping = self._read(display)
        wanted = dict.fromkeys(keysyms)
        for keysym in wanted:
            if keysym in self._bound:
                self._bound[keysym] = self._bound.pop(keysym)  # now the most recently used
        missing = [keysym for keysym in wanted if keysym not in mapping.keys]
        others = [keysym for keysym in self._bound if keysym not in wanted and keysym not in self.held]
        if len(missing) > len(mapping.spare) + len(others):
            raise UnavailableError(
                "the keyboard has no spare keys left", hint="send fewer different characters at once"
            )
        keys = {keysym: mapping.keys[keysym] for keysym in wanted if keysym in mapping.keys}
        for keysym in missing:
            code = mapping.spare.pop(0) if mapping.spare else self._bound.pop(others.pop(0))
            display.change_keyboard_mapping(code, [(keysym, keysym)])
            self._known = None
            self._bound[keysym] = code
            keys[keysym] = Key(code, shift=False)
        return keys

    def first_run(self, display: Any, keysyms: Sequence[int]) -> Run:
        """As many of these, from the first, as can have keys at the same time; at least one."""
        mapping = self._read(display)
        most = len(mapping.spare) + len(self._bound.keys() - self.held.keys())
        special: set[int] = set()
        missing: set[int] = set()
        for index, keysym in enumerate(keysyms):
            if keysym in mapping.keys and keysym not in self._bound:
                continue
            if keysym not in special and len(special) >= most and index:
                return Run(index, bool(missing), len(missing) > len(mapping.spare))
            special.add(keysym)
            if keysym not in mapping.keys:
                missing.add(keysym)
        return Run(len(keysyms), bool(missing), len(missing) > len(mapping.spare))

    def _read(self, display: Any) -> _Mapping:
        """The mapping as it is now: x11vnc and others change it too, of which X tells everybody."""
        if self._known is not None and not _remapped(display):
            return self._known
        info = display.display.info
        first = info.min_keycode
        rows = display.get_keyboard_mapping(first, info.max_keycode - first + 1)
        table = {first + index: tuple(row) for index, row in enumerate(rows)}
        keys: dict[int, Key] = {}
        for column, shift in ((0, False), (1, True)):
            for code, row in table.items():
                if len(row) > column and row[column]:
                    keys.setdefault(row[column], Key(code, shift))
        shifted = {code: row[1] for code, row in table.items() if len(row) > 1}
        for keysym, code in list(self._bound.items()):
            if table[code][:1] != (keysym,):
                del self._bound[keysym]  # taken by another
        modifiers = {code for row in display.get_modifier_mapping() for code in row}
        # Not those of volume, mail and the like: Chromium goes by the code, and would go back, or reload.
        free = [code for code, row in table.items() if not any(row) and code not in modifiers]
        self._known = _Mapping(keys, free, shifted)
        return self._known


def _is_character(keysym: int) -> bool:
    return 0x20 <= keysym < 0xFE00 or UNICODE <= keysym < UNICODE + 0x11_0000


def _remapped(display: Any) -> bool:
    """Whether news of a change have come that nobody was told of yet."""
    from Xlib import X

    display.pending_events()
    return any(event.type == X.MappingNotify for event in display.display.event_queue)
