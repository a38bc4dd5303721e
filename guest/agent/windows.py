"""The windows that a person sees as windows: what the window manager manages, with their kind and paint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from agent.paint import BAND, Rect, browser_painted, covered_share, not_flat, terminal_painted

__all__ = ["Window", "kind_of", "list_windows", "painted"]

# Beginnings of WM_CLASS (instance or class, lower case): xterm(1) and others append to it.
TERMINALS = (
    "xterm", "uxterm", "xfce4-terminal", "gnome-terminal", "lxterminal", "mate-terminal", "qterminal",
    "konsole", "urxvt", "rxvt", "alacritty", "kitty", "terminator", "tilix", "st-256color",
)  # fmt: skip
BROWSERS = (
    "chromium",
    "google-chrome",
    "chrome",
    "firefox",
    "navigator",
    "epiphany",
    "brave",
    "microsoft-edge",
)
PANELS = ("tint2", "xfce4-panel", "lxpanel", "polybar", "lxqt-panel", "mate-panel")
EDGE = 2  # pixels at a window's edge that may be its border
MOST_COVERED = 0.5  # a window more hidden than this is not "on the screen"


@dataclass(frozen=True, kw_only=True)
class Window:
    """One managed window; `area` is its inner part on the screen.

    `title` and `classes` come from its program: hostile text, never to be shown as markup.
    """

    id: int
    kind: str
    title: str
    classes: tuple[str, str]
    area: Rect
    mapped: bool
    covered: float = 0.0
    painted: bool = False

    def to_wire(self) -> dict[str, Any]:
        return {
            "id": self.id, "kind": self.kind, "title": self.title, "class": self.classes[1],
            "x": self.area.x, "y": self.area.y, "width": self.area.width, "height": self.area.height,
            "mapped": self.mapped, "painted": self.painted,
        }  # fmt: skip


def kind_of(classes: tuple[str, str], *, dock: bool = False) -> str:
    """terminal, browser, panel or other, from WM_CLASS (instance, class)."""
    names = [name.lower() for name in classes]
    if dock or any(name.startswith(PANELS) for name in names):
        return "panel"
    for kind, beginnings in (("terminal", TERMINALS), ("browser", BROWSERS)):
        if any(name.startswith(beginnings) for name in names):
            return kind
    return "other"


def list_windows(display: Any, *, look: Callable[[Window], bool] = lambda _window: True) -> list[Window]:
    """The windows managed now, in order of age, with `painted` told for those that `look` picks.

    In the display's thread. Without a window manager nothing is managed and the list is empty.
    """
    from Xlib import Xatom
    from Xlib.error import XError

    root = display.screen().root
    managed = root.get_full_property(display.get_atom("_NET_CLIENT_LIST"), Xatom.WINDOW)
    stacked = _stacked(root)
    found = []
    for number in managed.value if managed else ():
        with contextlib.suppress(XError):  # it vanished while we asked
            window = _describe(display, root, display.create_resource_object("window", number), stacked)
            if window.mapped and look(window):
                window = replace(window, painted=painted(display, window))
            found.append(window)
    return found


def _stacked(root: Any) -> list[tuple[int, Rect]]:
    """The root's viewable children (the window manager's frames among them), lowest first."""
    from Xlib import X
    from Xlib.error import XError

    frames = []
    for child in root.query_tree().children:
        with contextlib.suppress(XError):
            if child.get_attributes().map_state == X.IsViewable:
                at = child.get_geometry()
                around = 2 * at.border_width
                frames.append((child.id, Rect(at.x, at.y, at.width + around, at.height + around)))
    return frames


def _describe(display: Any, root: Any, window: Any, stacked: list[tuple[int, Rect]]) -> Window:
    from Xlib import X, Xatom

    def atoms(name: str) -> list[int]:
        found = window.get_full_property(display.get_atom(name), Xatom.ATOM)
        return list(found.value) if found else []

    size = window.get_geometry()
    at = root.translate_coords(window, 0, 0)
    area = Rect(at.x, at.y, size.width, size.height)
    classes = window.get_wm_class() or ("", "")
    dock = display.get_atom("_NET_WM_WINDOW_TYPE_DOCK") in atoms("_NET_WM_WINDOW_TYPE")
    frame = _frame_of(window, root)
    ids = [number for number, _ in stacked]
    above = [rect for _, rect in stacked[ids.index(frame) + 1 :]] if frame in ids else []
    return Window(
        id=window.id,
        kind=kind_of(classes, dock=dock),
        title=_title(display, window),
        classes=classes,
        area=area,
        mapped=window.get_attributes().map_state == X.IsViewable,
        covered=covered_share(area, above),
    )


def _frame_of(window: Any, root: Any) -> int:
    """The root's child that holds the window."""
    while (parent := window.query_tree().parent) and parent.id != root.id:
        window = parent
    return int(window.id)


def _title(display: Any, window: Any) -> str:
    for name in ("_NET_WM_NAME", "WM_NAME"):
        found = window.get_full_property(display.get_atom(name), 0)  # AnyPropertyType
        if found and found.format == 8:
            value = found.value
            raw = value if isinstance(value, bytes) else str(value).encode()
            return raw.decode("utf-8", "replace")
    return ""


def painted(display: Any, window: Window) -> bool:
    """Whether what is on the screen where the window stands shows that its program has drawn."""
    from agent.screen import read_pixels

    root = display.screen().root
    screen = root.get_geometry()
    inner = Rect(
        window.area.x + EDGE,
        window.area.y + EDGE,
        window.area.width - 2 * EDGE,
        window.area.height - 2 * EDGE,
    ).cut(Rect(0, 0, screen.width, screen.height))
    if not inner.area or window.covered > MOST_COVERED:
        return False
    bands = (read_pixels(display, band) for band in _bands(inner))
    if window.kind == "terminal":
        return any(terminal_painted(pixels, inner.width) for pixels in bands)
    if window.kind == "browser":
        blank = window.title.startswith("about:blank")
        return browser_painted(bands, inner.width, blank_page=blank)
    return any(not_flat(pixels, inner.width) for pixels in bands)


def _bands(area: Rect) -> Iterator[Rect]:
    """From the top: what shows that a window is painted is near there, and a picture is large to move."""
    for top in range(0, area.height, BAND):
        yield Rect(area.x, area.y + top, area.width, min(BAND, area.height - top))
