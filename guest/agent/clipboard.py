"""The clipboard: owning the CLIPBOARD selection, and asking its owner (ICCCM 2, with INCR both ways)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.arguments import Arguments
from agent.display import Display
from oriel.model.clipboard import HTML, IMAGE, MOST_BYTES, TEXT
from oriel.model.errors import UnavailableError

__all__ = ["Clipboard", "Found", "parse_formats", "parse_parts"]

PIECE = 1 << 17  # bytes a property is written with at once; X's own limit is 256 KiB
PATIENCE_S = 5.0
# What a program may call each format, the best first.
TARGETS = {
    TEXT: ("UTF8_STRING", "text/plain;charset=utf-8", "text/plain", "STRING", "TEXT"),
    HTML: ("text/html",),
    IMAGE: ("image/png",),
}
ASKED = {TEXT: TARGETS[TEXT][:4], HTML: TARGETS[HTML], IMAGE: TARGETS[IMAGE]}
MOST_OFFERED = 1 << 16  # bytes of a list of targets
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def parse_formats(values: Mapping[str, Any]) -> list[str]:
    """The arguments of `clipboard_read`."""
    args = Arguments(values)
    formats = args.texts("formats", default=list(MOST_BYTES))
    if not formats or set(formats) - MOST_BYTES.keys():
        args.fault("formats", f"must be some of {', '.join(MOST_BYTES)}")
    args.done()
    return formats


def parse_parts(values: Mapping[str, Any]) -> dict[str, int]:
    """The arguments of `clipboard_write`: how many bytes of each format follow."""
    args = Arguments(values)
    given = args.any("parts")
    parts = given if isinstance(given, dict) else {}
    if not parts or parts.keys() - MOST_BYTES.keys():
        args.fault("parts", f"must name bytes of {', '.join(MOST_BYTES)}")
    else:
        inner = Arguments(parts, path="parts.", faults=args.faults)
        parts = {name: inner.whole(name, 0, MOST_BYTES[name]) for name in parts}
    args.done()
    return parts


@dataclass(frozen=True)
class Found:
    """The formats that the clipboard has, those that were asked for, and which of these are too large."""

    offered: list[str]
    parts: dict[str, bytes] = field(default_factory=dict)
    too_large: list[str] = field(default_factory=list)


class _TooLargeError(Exception):
    """More than is taken."""


@dataclass
class _Transfer:
    """Something large on its way to a program, piece by piece as it takes them."""

    data: bytes
    target: int
    sent: int = 0


@dataclass
class _Fetch:
    """Something on its way to us, of `most` bytes."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[bytes | None]
    most: int
    incremental: bool = False
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0

    def take(self, piece: bytes) -> None:
        """Beyond the limit pieces are only counted."""
        self.size += len(piece)
        if self.size <= self.most:
            self.pieces.append(piece)
        else:
            self.pieces.clear()

    def finish(self) -> None:
        self.settle(b"".join(self.pieces) if self.size <= self.most else _TooLargeError())

    def settle(self, value: bytes | _TooLargeError | None) -> None:
        def at_home() -> None:
            if self.future.done():
                return
            if isinstance(value, _TooLargeError):
                self.future.set_exception(value)
            else:
                self.future.set_result(value)

        self.loop.call_soon_threadsafe(at_home)


class Clipboard:
    """Ours until another program takes it. A listener of the display; lost with it, as any program's is."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._window: Any = None
        self._owned: dict[str, bytes] | None = None
        self._transfers: dict[tuple[int, int], _Transfer] = {}
        self._fetch: _Fetch | None = None
        self._turn = asyncio.Lock()

    async def write(self, parts: Mapping[str, bytes]) -> None:
        """Own the clipboard, with the same in one or more formats; the display answers for that before this
        returns."""
        await self._display.use(lambda display: self._own(display, dict(parts)))

    async def read(self, formats: list[str]) -> Found:
        """What it holds, text in UTF-8. UnavailableError if its owner does not answer."""
        async with self._turn:
            offered = await self._offered()
            if isinstance(offered, dict):
                return Found(list(offered), {name: offered[name] for name in formats if name in offered})
            found = Found([name for name, targets in ASKED.items() if offered.intersection(targets)])
            for name in formats:
                target = next((one for one in ASKED[name] if one in offered), None)
                if target is None:
                    continue
                try:
                    data = await self._fetched(target, MOST_BYTES[name])
                except _TooLargeError:
                    found.too_large.append(name)
                    continue
                if data is not None:
                    found.parts[name] = data if name == IMAGE else _as_utf8(data, target)
            return found

    async def _offered(self) -> set[str] | dict[str, bytes]:
        """What is ours, or the targets that its owner has, as far as we know them."""
        owned = await self._display.use(self._look)
        if owned is not None:
            return owned
        try:
            told = await self._fetched("TARGETS", MOST_OFFERED)
        except _TooLargeError:
            told = None
        if told is None:
            return {"STRING", "UTF8_STRING"}  # an owner too simple to tell; it is asked all the same
        atoms = set(memoryview(told[: len(told) // 4 * 4]).cast("I"))

        def named(display: Any) -> set[str]:
            names = [name for names in TARGETS.values() for name in names]
            return {name for name in names if display.get_atom(name) in atoms}

        return await self._display.use(named)

    async def _fetched(self, target: str, most: int) -> bytes | None:
        """None if the owner does not give it."""
        loop = asyncio.get_running_loop()
        fetch = _Fetch(loop, loop.create_future(), most)
        await self._display.use(lambda display: self._ask(display, target, fetch))
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await fetch.future
        except TimeoutError as error:
            raise UnavailableError(
                "the program that owns the clipboard does not answer",
                hint="copy it again, or restart that program",
            ) from error

    # What follows runs in the display's thread.

    def _begin(self, display: Any) -> None:
        if self._window is not None:
            return
        from Xlib import X

        self._window = display.screen().root.create_window(
            0, 0, 1, 1, 0, X.CopyFromParent, event_mask=X.PropertyChangeMask
        )
        self._display.listen(self)

    def _own(self, display: Any, parts: dict[str, bytes]) -> None:
        from Xlib import X

        self._begin(display)
        selection = display.get_atom("CLIPBOARD")
        self._window.set_selection_owner(selection, X.CurrentTime)
        owner = display.get_selection_owner(selection)
        if not owner or owner.id != self._window.id:
            raise UnavailableError("another program took the clipboard at the same moment", hint="try again")
        self._owned = parts

    def _look(self, display: Any) -> dict[str, bytes] | None:
        """What it holds if that is known without asking: it is ours, or nobody's."""
        self._begin(display)
        owner = display.get_selection_owner(display.get_atom("CLIPBOARD"))
        if not owner:
            return {}
        return self._owned if owner.id == self._window.id else None

    def _ask(self, display: Any, target: str, fetch: _Fetch) -> None:
        from Xlib import X

        self._begin(display)
        self._fetch = fetch
        place = display.get_atom("ORIEL_CLIPBOARD")
        self._window.delete_property(place)
        selection = display.get_atom("CLIPBOARD")
        self._window.convert_selection(selection, display.get_atom(target), place, X.CurrentTime)

    def event(self, event: Any) -> None:
        name = event.__class__.__name__
        if name == "SelectionRequest":
            self._serve(event)
        elif name == "SelectionClear":
            self._owned = None
        elif name == "SelectionNotify" and self._fetch is not None:
            self._receive(event)
        elif name == "PropertyNotify":
            self._continue(event)
        elif name == "DestroyNotify":
            for key in [key for key in self._transfers if key[0] == event.window.id]:
                del self._transfers[key]

    def settled(self, display: Any) -> None:
        """Each event was served when it came."""

    def lost(self) -> None:
        self._window = None
        self._owned = None
        self._transfers.clear()
        if self._fetch is not None:
            self._fetch.settle(None)

    def _serve(self, event: Any) -> None:
        """Another program asks for what we own."""
        from Xlib import X, Xatom
        from Xlib.protocol.event import SelectionNotify

        display, requestor, owned = self._window.display, event.requestor, self._owned or {}
        atom = display.get_atom
        names = {atom(target): name for name in owned for target in TARGETS[name]}
        place = event.property or event.target  # an obsolete client gives none
        if event.target == atom("TARGETS"):
            requestor.change_property(place, Xatom.ATOM, 32, [atom("TARGETS"), *names])
        elif event.target in names:
            data = owned[names[event.target]]
            if event.target == Xatom.STRING:
                data = data.decode("utf-8", "replace").encode("latin-1", "replace")
            kind = atom("UTF8_STRING") if event.target == atom("TEXT") else event.target
            if len(data) <= PIECE:
                requestor.change_property(place, kind, 8, data)
            else:
                requestor.change_attributes(event_mask=X.PropertyChangeMask | X.StructureNotifyMask)
                self._transfers[requestor.id, place] = _Transfer(data, kind)
                requestor.change_property(place, atom("INCR"), 32, [len(data)])
        else:
            place = X.NONE
        answer = SelectionNotify(
            time=event.time,
            requestor=requestor,
            selection=event.selection,
            target=event.target,
            property=place,
        )
        requestor.send_event(answer)

    def _continue(self, event: Any) -> None:
        """A property changed: a reader took its piece, or a writer left us one."""
        from Xlib import X

        key = (event.window.id, event.atom)
        if event.state == X.PropertyDelete and (transfer := self._transfers.get(key)):
            piece = transfer.data[transfer.sent : transfer.sent + PIECE]
            event.window.change_property(event.atom, transfer.target, 8, piece)
            transfer.sent += len(piece)
            if not piece:  # the empty piece says that it was the last
                del self._transfers[key]
        elif (
            self._window is not None
            and event.state == X.PropertyNewValue
            and event.window.id == self._window.id
            and self._fetch is not None
            and self._fetch.incremental
        ):
            self._receive_piece(self._fetch, event.atom)

    def _receive(self, event: Any) -> None:
        fetch = self._fetch
        assert fetch is not None  # noqa: S101 - for mypy: checked by the caller
        if not event.property:
            self._fetch = None
            fetch.settle(None)
            return
        found = self._window.get_full_property(event.property, 0)
        fetch.incremental = found is not None and found.property_type == self._window.display.get_atom("INCR")
        self._window.delete_property(event.property)
        if not fetch.incremental:
            self._fetch = None
            fetch.take(_bytes(found))
            fetch.finish()

    def _receive_piece(self, fetch: _Fetch, place: int) -> None:
        data = _bytes(self._window.get_full_property(place, 0))
        self._window.delete_property(place)
        if data:
            fetch.take(data)
        else:
            self._fetch = None
            fetch.finish()


def _bytes(found: Any) -> bytes:
    if found is None:
        return b""
    value = found.value
    return value if isinstance(value, bytes) else bytes(memoryview(value).cast("B"))


def _as_utf8(data: bytes, target: str) -> bytes:
    """Whatever a program gave, as UTF-8 that is valid. Firefox gives markup in UTF-16."""
    form = "latin-1" if target == "STRING" else "utf-16" if data[:2] in UTF_16 else "utf-8"
    return data.decode(form, "replace").rstrip("\0").encode()
