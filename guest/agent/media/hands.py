"""A viewer's hands: keys, buttons and pointer as the data channels carry them. Nothing stays pressed.

Whatever a viewer holds is released when it says so, when it no longer says that it holds it, when it falls
silent, loses control or leaves. A held key repeats here, since XTEST's keys never do: a key-up that is late
cannot make a hundred characters, because the viewer must go on saying that it holds the key.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from agent.arguments import Arguments
from agent.display import Display
from agent.input import Event, Input
from agent.keyboard import keysym_of_character
from oriel.model.errors import OrielError

__all__ = ["Hands"]

SILENCE_S = 2.0
REPEAT_AFTER_S, REPEAT_EVERY_S = 0.4, 0.04
MOST_WAITING = 2000  # events, while a text is being typed
MOST_TEXT = 10_000  # characters
NOTCH = 120
COORDINATE = 65535
# Levels and locks are the viewer's own affair: the keysyms it sends have them in already.
IGNORED = {0xFE03, 0xFF7E, 0xFFE5, 0xFFE6, 0xFF7F}  # ISO_Level3_Shift, Mode_switch, Caps, Shift, Num Lock
MODIFIERS = range(0xFFE1, 0xFFEF)

Echo = Callable[[int], None]


class Hands:
    """One viewer's. `echo` gets the id of each input that had one, just before the display gets the input."""

    def __init__(self, display: Display, input_: Input, echo: Echo) -> None:
        self._display = display
        self._input = input_
        self._echo = echo
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Event, int | None]] = deque()
        self._handed_back: deque[tuple[Event, int | None]] = deque()
        self._behind = False  # set in the display's thread, reset while nothing is posted to it
        self._slow: asyncio.Task[None] | None = None
        self._keys: dict[int, float] = {}  # what is held, and since when it last repeated
        self._buttons: set[int] = set()
        self._heard = 0.0
        self._last = -1
        self._wheel = {"dx": 0, "dy": 0}
        self._repeating: asyncio.TimerHandle | None = None
        self._watching: asyncio.TimerHandle | None = None

    def take(self, label: str, message: Mapping[str, Any]) -> None:
        """A message of the channel `label`. InvalidError if it is nonsense; nothing was done then."""
        args = Arguments(message)
        kind = args.text("type", limit=16)
        self._heard = self._loop.time()
        if label == "pointer":
            self._pointer(kind, args)
        elif kind == "key":
            keysym, down, number = args.whole("keysym", 1, 0x1FFF_FFFF), args.flag("down"), _id(args)
            args.done()
            self._key(keysym, number, down=down)
        elif kind == "button":
            self._button(args)
        elif kind == "by":
            dx, dy = (args.whole(name, -9999, 9999) for name in ("dx", "dy"))
            args.done()
            self._do(Event(type="by", dx=dx, dy=dy), None)
        elif kind == "text":
            text, number = args.text("text", limit=MOST_TEXT).replace("\r\n", "\n"), _id(args)
            args.done()
            keysyms = tuple(found for sign in text if (found := keysym_of_character(sign)) is not None)
            self._do(Event(type="text", keysyms=keysyms), number)
        elif kind == "held":
            self._still_held(args)
        elif kind == "release":
            args.done()
            self.release()

    def release(self) -> None:
        """Let go of everything."""
        for keysym in list(self._keys):
            self._key(keysym, None, down=False)
        for button in list(self._buttons):
            self._buttons.discard(button)
            self._do(Event(type="button", button=button, down=False), None)

    def close(self) -> None:
        self.release()
        for timer in (self._repeating, self._watching):
            if timer is not None:
                timer.cancel()

    # --- what is held

    def _key(self, keysym: int, number: int | None, *, down: bool) -> None:
        if keysym in IGNORED:
            return
        if not down and keysym not in self._keys:
            return  # released already, or never pressed by this viewer
        if down:
            self._keys.pop(keysym, None)
            self._keys[keysym] = 0.0
            if keysym not in MODIFIERS:
                self._repeat_from(keysym)
        else:
            del self._keys[keysym]
        self._do(Event(type="key", keysyms=(keysym,), down=down), number)
        self._watch()

    def _button(self, args: Arguments) -> None:
        button, down, number = args.whole("button", 1, 9), args.flag("down"), _id(args)
        # A viewer whose pointer is locked knows no place: then the button goes down where the pointer is.
        placed = args.has("x") or args.has("y")
        place = [args.whole(name, 0, COORDINATE) for name in ("x", "y")] if placed else []
        args.done()
        if placed:
            self._do(Event(type="move", x=place[0], y=place[1]), None)
        (self._buttons.add if down else self._buttons.discard)(button)
        self._do(Event(type="button", button=button, down=down), number)
        self._watch()

    def _still_held(self, args: Arguments) -> None:
        """What the viewer holds; what we think it holds beyond that is released."""
        keysyms, buttons = args.any("keysyms", []), args.any("buttons", [])
        args.done()
        if not isinstance(keysyms, list) or not isinstance(buttons, list):
            return
        for keysym in [keysym for keysym in self._keys if keysym not in keysyms]:
            self._key(keysym, None, down=False)
        for button in self._buttons - {item for item in buttons if isinstance(item, int)}:
            self._buttons.discard(button)
            self._do(Event(type="button", button=button, down=False), None)

    def _watch(self) -> None:
        """Look again when the viewer will have been silent for too long, as long as it holds anything."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if self._keys or self._buttons:
            self._watching = self._loop.call_at(self._heard + SILENCE_S, self._silent)

    def _silent(self) -> None:
        if self._loop.time() - self._heard >= SILENCE_S:
            self.release()
        self._watch()

    def _repeat_from(self, keysym: int) -> None:
        if self._repeating is not None:
            self._repeating.cancel()
        self._repeating = self._loop.call_later(REPEAT_AFTER_S, self._repeat, keysym)

    def _repeat(self, keysym: int) -> None:
        """As a keyboard does: only the key pressed last repeats."""
        if keysym not in self._keys or self._slow is not None:
            return
        self._do(Event(type="key", keysyms=(keysym,), down=False), None)
        self._do(Event(type="key", keysyms=(keysym,), down=True), None)
        self._repeating = self._loop.call_later(REPEAT_EVERY_S, self._repeat, keysym)

    # --- the pointer

    def _pointer(self, kind: str, args: Arguments) -> None:
        number = args.whole("n", 0, 1 << 53)
        if kind == "move":
            event = Event(type="move", x=args.whole("x", 0, COORDINATE), y=args.whole("y", 0, COORDINATE))
        elif kind == "wheel":
            turned = {name: args.whole(name, -9999, 9999, default=0) for name in ("dx", "dy")}
            x, y = (args.whole(name, 0, COORDINATE, default=0) for name in ("x", "y"))
            whole = self._notches(turned)
            event = Event(type="wheel", x=x, y=y, dx=whole["dx"], dy=whole["dy"])
        else:
            return
        args.done()
        if number > self._last or kind != "move":  # a late move is worse than none; no turn of a wheel is
            self._last = max(self._last, number)
            self._do(event, None)

    def _notches(self, turned: Mapping[str, int]) -> dict[str, int]:
        """Whole notches of what was turned so far; the rest is kept."""
        whole: dict[str, int] = {}
        for name, amount in turned.items():
            total = self._wheel[name] + amount
            whole[name] = max(-20, min(20, int(total / NOTCH)))
            self._wheel[name] = total - int(total / NOTCH) * NOTCH
        return whole

    # --- in order

    def _do(self, event: Event, number: int | None) -> None:
        """At once, unless something before it takes its time."""
        if self._slow is None and event.type != "text":
            self._display.post(partial(self._display.attempt, partial(self._try, event=event, number=number)))
        elif len(self._waiting) < MOST_WAITING:
            self._waiting.append((event, number))
            self._begin()

    def _try(self, display: Any, event: Event, number: int | None) -> None:
        """In the display's thread. What no key gives is handed back, and so is all that comes behind it."""
        lacking = event.type == "key" and event.down and not self._input.has_key(display, event.keysyms[0])
        if self._behind or lacking:
            self._behind = True
            self._loop.call_soon_threadsafe(self._hand_back, event, number)
        else:
            self._now(display, event, number)

    def _now(self, display: Any, event: Event, number: int | None) -> None:
        """In the display's thread."""
        if number is not None:
            self._echo(number)
        if event.type == "by":
            from Xlib import X

            display.xtest_fake_input(X.MotionNotify, 1, x=event.dx, y=event.dy)
            return
        self._input.send_now(display, event)

    def _hand_back(self, event: Event, number: int | None) -> None:
        self._handed_back.append((event, number))
        self._begin()

    def _begin(self) -> None:
        if self._slow is None:
            self._slow = self._loop.create_task(self._work(), name="hands")

    async def _work(self) -> None:
        try:
            # Behind everything that was posted: it is done now, or was handed back, before all that waits.
            await self._display.use(lambda _: None)
            while self._handed_back or self._waiting:
                event, number = (self._handed_back or self._waiting).popleft()
                await self._slowly(event, number)
        except OrielError as error:
            print(f"input was lost with the display: {error.message}", flush=True)
            self._handed_back.clear()
            self._waiting.clear()
        finally:
            self._behind = False
            self._slow = None

    async def _slowly(self, event: Event, number: int | None) -> None:
        if number is not None:
            self._echo(number)
        try:
            if event.type == "text" or (event.type == "key" and event.down):
                await self._input.send([event])
            else:
                await self._display.use(partial(self._now, event=event, number=None))
        except OrielError as error:
            print(f"an input event was lost: {error.message}", flush=True)


def _id(args: Arguments) -> int | None:
    return args.whole("id", 0, 1 << 53) if args.has("id") else None
