"""Keys by their X11 names, as keysyms: `Return`, `ctrl+l`, `alt+F4`."""

from __future__ import annotations

from oriel.model.errors import Fault, InvalidError

__all__ = ["chord", "keysym_of"]

MAX_KEYS = 8
# X.Org, keysymdef.h; second column: the short names people use.
_NAMED = {
    "backspace": 0xFF08, "tab": 0xFF09, "return": 0xFF0D, "enter": 0xFF0D, "pause": 0xFF13,
    "scroll_lock": 0xFF14, "escape": 0xFF1B, "esc": 0xFF1B, "home": 0xFF50, "left": 0xFF51, "up": 0xFF52,
    "right": 0xFF53, "down": 0xFF54, "page_up": 0xFF55, "pageup": 0xFF55, "prior": 0xFF55,
    "page_down": 0xFF56, "pagedown": 0xFF56, "next": 0xFF56, "end": 0xFF57, "print": 0xFF61,
    "insert": 0xFF63, "menu": 0xFF67, "num_lock": 0xFF7F, "kp_enter": 0xFF8D,
    "shift": 0xFFE1, "shift_l": 0xFFE1, "shift_r": 0xFFE2, "ctrl": 0xFFE3, "control": 0xFFE3,
    "control_l": 0xFFE3, "control_r": 0xFFE4, "caps_lock": 0xFFE5, "meta": 0xFFE7, "alt": 0xFFE9,
    "alt_l": 0xFFE9, "alt_r": 0xFFEA, "altgr": 0xFE03, "iso_level3_shift": 0xFE03, "super": 0xFFEB,
    "super_l": 0xFFEB, "super_r": 0xFFEC, "win": 0xFFEB, "cmd": 0xFFEB, "delete": 0xFFFF, "del": 0xFFFF,
    "space": 0x20, "plus": 0x2B, "minus": 0x2D, "comma": 0x2C, "period": 0x2E, "slash": 0x2F,
} | {f"f{number}": 0xFFBD + number for number in range(1, 25)}  # fmt: skip


def keysym_of(name: str) -> int | None:
    """The keysym of one key: a name in any case, or a single character."""
    if len(name) == 1 and name.isprintable():
        code = ord(name)
        # Latin-1 characters are their own keysyms; all others follow the Unicode rule.
        return code if 0x20 <= code <= 0xFF else 0x01000000 + code
    return _NAMED.get(name.lower().replace("-", "_"))


def chord(text: str) -> list[int]:
    """The keysyms of `ctrl+shift+t`, to be pressed in order. InvalidError names the key that is none."""
    names = ["+" if name == "" else name for name in text.split("+")] if text != "+" else ["+"]
    if text.endswith("++"):
        # "ctrl++" is Ctrl and the plus key.
        names = [*text[:-2].split("+"), "+"]
    if not 0 < len(names) <= MAX_KEYS:
        raise InvalidError.of([Fault("keys", f"must be 1 to {MAX_KEYS} keys joined by +")])
    found = [(name, keysym_of(name)) for name in names]
    unknown = [name for name, keysym in found if keysym is None]
    if unknown:
        raise InvalidError.of(
            [Fault("keys", f"{unknown[0][:32]!r} is no key")],
            hint="X11 names: Return, Escape, Tab, Left, F4, ctrl, alt, shift, super, or one character",
        )
    return [keysym for _, keysym in found if keysym is not None]
