"""A window whose patch flips with each key: run where the screen is, with python3-xlib and DISPLAY.

    python3 marker.py [--full WIDTHxHEIGHT]

With --full the whole screen changes with it. Says "ready" once it has the keys.
"""

import random
import sys
from typing import Any

from Xlib import X, display

PATCH = 64
SHAPES = 1500


def main() -> None:
    x = display.Display()
    screen = x.screen()
    full = sys.argv[1:2] == ["--full"]
    width, height = (int(side) for side in sys.argv[2].split("x")) if full else (PATCH, PATCH)
    window = screen.root.create_window(
        0, 0, width, height, 0, X.CopyFromParent, override_redirect=True, background_pixel=screen.black_pixel,
        event_mask=X.KeyPressMask | X.FocusChangeMask | X.ExposureMask,
    )  # fmt: skip
    window.map()
    gc = window.create_gc()
    pictures = [picture(window, width, height, seed) for seed in (1, 2)] if full else []
    white = False
    window.set_input_focus(X.RevertToParent, X.CurrentTime)
    print("ready", flush=True)
    while True:
        event = x.next_event()
        if event.type == X.FocusOut:
            window.set_input_focus(X.RevertToParent, X.CurrentTime)
        if event.type == X.KeyPress:
            white = not white
            window.configure(stack_mode=X.Above)
        if event.type in (X.KeyPress, X.Expose):
            if full:
                window.copy_area(gc, pictures[white], 0, 0, width, height, 0, 0)
            gc.change(foreground=screen.white_pixel if white else screen.black_pixel)
            window.fill_rectangle(gc, 0, 0, PATCH, PATCH)
            x.flush()


def picture(window: Any, width: int, height: int, seed: int) -> Any:
    """Something as busy as a page of text and pictures."""
    made = window.create_pixmap(width, height, 24)
    gc = made.create_gc(foreground=0xFFFFFF)
    made.fill_rectangle(gc, 0, 0, width, height)
    chosen = random.Random(seed)
    for _ in range(SHAPES):
        gc.change(foreground=chosen.randrange(1 << 24))
        made.fill_rectangle(gc, chosen.randrange(width), chosen.randrange(height), chosen.randrange(40), 3)
    return made


main()
