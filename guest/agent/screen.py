"""The screen's pixels, pointer and size."""

from __future__ import annotations

from typing import Any

from agent.paint import Rect
from oriel.model.errors import Fault, InvalidError, UnavailableError
from oriel.model.spec import Screen

__all__ = ["pointer", "read_pixels", "set_size", "whole_screen"]

ALL_PLANES = 0xFFFFFFFF
CONFIGURATIONS = 4  # tries against somebody else configuring the screen at the same time


def whole_screen(display: Any) -> tuple[Rect, bytes]:
    """The screen as it is now: its area, and its pixels as BGRX. In the display's thread."""
    at = display.screen().root.get_geometry()
    area = Rect(0, 0, at.width, at.height)
    return area, read_pixels(display, area)


def read_pixels(display: Any, area: Rect) -> bytes:
    """`area` of the screen, 4 bytes a pixel (blue, green, red, unused), rows without padding."""
    from Xlib import X

    root = display.screen().root
    image = root.get_image(area.x, area.y, area.width, area.height, X.ZPixmap, ALL_PLANES)
    data = bytes(image.data)
    if len(data) != area.area * 4:
        raise UnavailableError(
            f"the display has a depth of {image.depth}, not 24",
            hint="xvfb.service must start it with 24 bits",
        )
    return data


def pointer(display: Any) -> tuple[int, int]:
    at = display.screen().root.query_pointer()
    return at.root_x, at.root_y


def set_size(display: Any, wanted: Screen) -> None:
    """Make the screen that large, in the display's thread; nothing if it is already.

    InvalidError if it is beyond what Xvfb was started with: it can only shrink from there.
    """
    from Xlib.error import XError

    for left in reversed(range(CONFIGURATIONS)):
        try:
            _configure(display, wanted)
        except (XError, UnavailableError):
            # xvfb.service sets the first size with xrandr, perhaps at this moment: then the mode it makes is
            # BadName for us, or our timestamp is old. What it did is seen when we look again.
            if not left:
                raise
        else:
            return


def _configure(display: Any, wanted: Screen) -> None:
    root = display.screen().root
    now = root.get_geometry()
    if (now.width, now.height) == (wanted.width, wanted.height):
        return
    limit = root.xrandr_get_screen_size_range()
    if wanted.width > limit.max_width or wanted.height > limit.max_height:
        problem = f"must be at most {limit.max_width}x{limit.max_height} in this image"
        raise InvalidError.of([Fault("screen", problem)])
    mode = _mode(display, wanted)
    resources = root.xrandr_get_screen_resources()
    crtc, output = resources.crtcs[0], resources.outputs[0]
    if mode not in display.xrandr_get_output_info(output, resources.config_timestamp).modes:
        display.xrandr_add_output_mode(output, mode)
    grows = wanted.width > now.width or wanted.height > now.height
    # The screen must at every moment hold what the crtc shows.
    largest = (max(now.width, wanted.width), max(now.height, wanted.height))
    if grows:
        root.xrandr_set_screen_size(*largest, *_millimetres(*largest))
    resources = root.xrandr_get_screen_resources()
    answer = display.xrandr_set_crtc_config(crtc, resources.config_timestamp, 0, 0, mode, 1, [output])
    if answer.status:
        raise UnavailableError(f"the display refused {wanted.width}x{wanted.height} (status {answer.status})")
    size = (wanted.width, wanted.height)
    root.xrandr_set_screen_size(*size, *_millimetres(*size))
    display.sync()


def _millimetres(width: int, height: int) -> tuple[int, int]:
    """At 96 dots per inch, which every program takes for "not HiDPI"."""
    return round(width * 25.4 / 96), round(height * 25.4 / 96)


def _mode(display: Any, wanted: Screen) -> int:
    """The id of the mode of that size, made if there is none.

    A mode dies with the connection that made it, unless that one is retained: it gets one of its own.
    """
    from Xlib import X
    from Xlib.display import Display as Connection

    name = f"{wanted.width}x{wanted.height}"
    for mode in display.screen().root.xrandr_get_screen_resources().modes:
        if (mode.width, mode.height) == (wanted.width, wanted.height):
            return int(mode.id)
    maker = Connection(display.get_display_name())
    try:
        maker.set_close_down_mode(X.RetainPermanent)
        timing = {
            "id": 0, "width": wanted.width, "height": wanted.height,
            "dot_clock": wanted.width * wanted.height * 60,
            "h_sync_start": wanted.width, "h_sync_end": wanted.width, "h_total": wanted.width, "h_skew": 0,
            "v_sync_start": wanted.height, "v_sync_end": wanted.height, "v_total": wanted.height,
            "name_length": len(name), "flags": 0,
        }  # fmt: skip
        made = maker.screen().root.xrandr_create_mode(timing, name)
        maker.sync()
        return int(made.mode)
    finally:
        maker.close()
