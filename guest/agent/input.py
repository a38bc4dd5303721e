"""`input`: pointer and keys by XTEST, in the order given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from agent.arguments import Arguments
from agent.display import Display
from agent.keyboard import CAPS_LOCK, SHIFT_L, SHIFT_R, Keyboard, keysym_of_character, keysym_of_name
from agent.reader import focused_has_read
from oriel.model.errors import Fault, InvalidError

__all__ = ["Event", "Input", "parse_events"]

MOST_EVENTS = 1000
MOST_TEXT = 100_000  # characters
MOST_WHEEL = 100  # notches
RUN = 200  # characters typed in one turn of the display's thread, so that others get theirs
COORDINATE = 65535
WHEEL = {"dy": (4, 5), "dx": (6, 7)}  # X buttons for up, down; left, right


@dataclass(frozen=True, kw_only=True)
class Event:
    """One input event; what it does not use is 0. `keysyms`: of a key, one; of a text, one a character."""

    type: str
    x: int = 0
    y: int = 0
    button: int = 0
    down: bool = False
    keysyms: tuple[int, ...] = ()
    dx: int = 0
    dy: int = 0


def parse_events(values: Mapping[str, Any]) -> list[Event]:
    """The arguments of `input`; InvalidError naming every wrong field of every event."""
    args = Arguments(values)
    items = args.any("events")
    events: list[Event] = []
    if not isinstance(items, list) or not 1 <= len(items) <= MOST_EVENTS:
        args.fault("events", f"must be a list of 1 to {MOST_EVENTS} events")
        items = []
    for index, item in enumerate(items):
        if isinstance(item, dict):
            inner = Arguments(item, path=f"events[{index}].", faults=args.faults)
            events.append(_parse_event(inner))
            inner.unknown()
        else:
            args.fault(f"events[{index}]", "must be an object")
    args.done()
    return events


def _parse_event(args: Arguments) -> Event:
    kind = args.choice("type", ("move", "button", "key", "text", "wheel"))
    if kind == "move":
        return Event(type=kind, x=args.whole("x", 0, COORDINATE), y=args.whole("y", 0, COORDINATE))
    if kind == "button":
        return Event(type=kind, button=args.whole("button", 1, 9), down=args.flag("down", default=None))
    if kind == "key":
        return Event(type=kind, keysyms=(_parse_keysym(args),), down=args.flag("down", default=None))
    if kind == "wheel":
        dx, dy = (args.whole(name, -MOST_WHEEL, MOST_WHEEL, default=0) for name in ("dx", "dy"))
        return Event(type=kind, dx=dx, dy=dy)
    if kind == "text":
        return Event(type=kind, keysyms=_parse_text(args))
    return Event(type=kind)


def _parse_keysym(args: Arguments) -> int:
    value = args.any("keysym", None)
    found = keysym_of_name(value) if isinstance(value, str) and value else value
    if not isinstance(found, int) or isinstance(found, bool) or not 0 < found < 1 << 29:
        args.fault("keysym", "must be an X keysym, as a number or by its name (Return, Control_L, a)")
        return 0
    return found


def _parse_text(args: Arguments) -> tuple[int, ...]:
    text = args.text("text", limit=MOST_TEXT).replace("\r\n", "\n")
    keysyms = [keysym_of_character(character) for character in text]
    if None in keysyms:
        args.fault("text", f"has a character that cannot be typed: {text[keysyms.index(None)]!r}")
    return tuple(keysym for keysym in keysyms if keysym is not None)


class Input:
    """The one writer of input: calls are served one after another, so that texts never mingle."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._keyboard = Keyboard()
        self._turn = asyncio.Lock()
        self._listening = False

    async def send(self, events: list[Event]) -> None:
        """Until X has them all. InvalidError, before any is sent, if a point is not on the screen."""
        async with self._turn:
            await self._display.use(partial(_check_points, events=events))
            for event in events:
                if event.type == "text":
                    await self._type(event.keysyms)
                elif event.type == "key" and event.down:
                    await self._press_any(event)
                else:
                    await self._display.use(partial(self.send_now, event=event))
            await self._display.use(lambda display: display.sync())

    async def _press_any(self, event: Event) -> None:
        """Press a key, also one that no key gives: then whoever has the focus must know it first."""
        if await self._display.use(partial(self._bind, keysym=event.keysyms[0])):
            await focused_has_read(self._display)
        await self._display.use(partial(self.send_now, event=event))

    # What follows runs in the display's thread.

    def has_key(self, display: Any, keysym: int) -> bool:
        """Whether `send_now` can press it."""
        self._listen()
        return self._keyboard.has(display, keysym)

    def _bind(self, display: Any, keysym: int) -> bool:
        """Whether a key had to be bound."""
        if self.has_key(display, keysym):
            return False
        self._keyboard.keys_for(display, (keysym,))
        return True

    def _listen(self) -> None:
        """The keyboard's mapping is remembered, so its changes must be heard of."""
        if not self._listening:
            self._keyboard.forget()
            self._display.listen(self)
            self._listening = True

    def event(self, event: Any) -> None:
        if event.__class__.__name__ == "MappingNotify":
            self._keyboard.forget()

    def settled(self, display: Any) -> None:
        """Only changes of the mapping matter."""

    def lost(self) -> None:
        self._listening = False
        self._keyboard.held.clear()

    def send_now(self, display: Any, event: Event) -> None:
        """One event that is no text."""
        from Xlib import X

        self._listen()
        if event.type == "move":
            display.xtest_fake_input(X.MotionNotify, 0, x=event.x, y=event.y)
        elif event.type == "button":
            display.xtest_fake_input(X.ButtonPress if event.down else X.ButtonRelease, event.button)
        elif event.type == "wheel":
            for name, (back, forth) in WHEEL.items():
                notches = getattr(event, name)
                for _ in range(abs(notches)):
                    button = forth if notches > 0 else back
                    display.xtest_fake_input(X.ButtonPress, button)
                    display.xtest_fake_input(X.ButtonRelease, button)
        elif event.down:
            self._press(display, event.keysyms[0])
        else:
            self._release(display, event.keysyms[0])

    def _press(self, display: Any, keysym: int) -> None:
        from Xlib import X

        keys = self._keyboard.keys_for(display, (keysym, SHIFT_L))
        key, shift = keys[keysym], keys[SHIFT_L].code
        shifted = bool(display.screen().root.query_pointer().mask & X.ShiftMask)
        lend = key.shift and not shifted  # "A" or "!" asked for without Shift: lend it one
        held: list[int] = []  # "/" asked for with Shift, as on a German keyboard: take it away meanwhile
        if shifted and not key.shift and self._keyboard.must_unshift(display, key, keysym):
            held = [code for name in (SHIFT_L, SHIFT_R) if (code := self._keyboard.held.get(name))]
        for code in held:
            display.xtest_fake_input(X.KeyRelease, code)
        if lend:
            display.xtest_fake_input(X.KeyPress, shift)
        display.xtest_fake_input(X.KeyPress, key.code)
        if lend:
            display.xtest_fake_input(X.KeyRelease, shift)
        for code in held:
            display.xtest_fake_input(X.KeyPress, code)
        self._keyboard.held[keysym] = key.code

    def _release(self, display: Any, keysym: int) -> None:
        """The same key that was pressed, even if the mapping has changed since."""
        from Xlib import X

        code = self._keyboard.held.pop(keysym, 0) or self._keyboard.keys_for(display, (keysym,))[keysym].code
        display.xtest_fake_input(X.KeyRelease, code)

    async def _type(self, keysyms: tuple[int, ...]) -> None:
        """A text, in runs that fit the spare keys."""
        left = list(keysyms)
        while left:
            run = await self._display.use(partial(self._keyboard.first_run, keysyms=left[:RUN]))
            now, left = left[: run.length], left[run.length :]
            if run.rebinds:
                await focused_has_read(self._display)  # the last keys, by the old mapping
            if run.binds:
                await self._display.use(partial(self._keyboard.keys_for, keysyms=now))
                await focused_has_read(self._display)  # that the mapping is new
            await self._display.use(partial(self._type_run, keysyms=now))

    def _type_run(self, display: Any, keysyms: list[int]) -> None:
        from Xlib import X

        locked = _let_go(display)
        keys = self._keyboard.keys_for(display, (*keysyms, SHIFT_L, CAPS_LOCK))
        shift, lock = keys[SHIFT_L].code, keys[CAPS_LOCK].code
        if locked:
            _tap(display, lock)
        for keysym in keysyms:
            key = keys[keysym]
            if key.shift:
                display.xtest_fake_input(X.KeyPress, shift)
            _tap(display, key.code)
            if key.shift:
                display.xtest_fake_input(X.KeyRelease, shift)
        if locked:
            _tap(display, lock)
        display.sync()


def _check_points(display: Any, events: list[Event]) -> None:
    screen = display.screen().root.get_geometry()
    faults = [
        Fault(f"events[{index}].{name}", f"must be from 0 to {limit - 1}, on the screen")
        for index, event in enumerate(events)
        if event.type == "move"
        for name, value, limit in (("x", event.x, screen.width), ("y", event.y, screen.height))
        if value >= limit
    ]
    if faults:
        raise InvalidError.of(faults)


def _let_go(display: Any) -> bool:
    """Release every modifier that is held down; whether Caps Lock is on.

    They are not pressed again: their owner may let go meanwhile, and a stuck key is worse than a lost one.
    """
    from Xlib import X

    modifiers = display.get_modifier_mapping()
    codes = {code for index, row in enumerate(modifiers) if index != X.LockMapIndex for code in row if code}
    pressed = display.query_keymap()
    for code in codes:
        if pressed[code // 8] & 1 << code % 8:
            display.xtest_fake_input(X.KeyRelease, code)
    return bool(display.screen().root.query_pointer().mask & X.LockMask)


def _tap(display: Any, code: int) -> None:
    from Xlib import X

    display.xtest_fake_input(X.KeyPress, code)
    display.xtest_fake_input(X.KeyRelease, code)
