"""The clipboard: owning the CLIPBOARD selection, and asking its owner (ICCCM 2, with INCR both ways)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.arguments import Arguments
from agent.display import Display
from oriel.model.errors import RefusedError, UnavailableError
from oriel.model.wire import MAX_LINE

__all__ = ["Clipboard", "parse_text"]

PIECE = 1 << 17  # bytes a property is written with at once; X's own limit is 256 KiB
PATIENCE_S = 5.0
TEXT_TARGETS = ("UTF8_STRING", "text/plain;charset=utf-8", "text/plain", "TEXT", "STRING")


def parse_text(values: Mapping[str, Any]) -> str:
    """The arguments of `clipboard_set`."""
    args = Arguments(values)
    text = args.text("text", limit=MAX_LINE)
    args.done()
    return text


@dataclass
class _Transfer:
    """A large text on its way to a program, piece by piece as it takes them."""

    data: bytes
    target: int
    sent: int = 0


@dataclass
class _Fetch:
    """A text on its way to us."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[bytes | None]
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0

    def settle(self, value: bytes | None) -> None:
        def at_home() -> None:
            if not self.future.done():
                self.future.set_result(value)

        self.loop.call_soon_threadsafe(at_home)


class Clipboard:
    """Ours until another program takes it. A listener of the display; lost with it, as any program's is."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._window: Any = None
        self._text: str | None = None  # what we own
        self._transfers: dict[tuple[int, int], _Transfer] = {}
        self._fetch: _Fetch | None = None
        self._turn = asyncio.Lock()

    async def set(self, text: str) -> None:
        """Own the clipboard with `text`; the display answers for that before this returns."""
        await self._display.use(lambda display: self._own(display, text))

    async def get(self) -> str:
        """The clipboard as text; "" if it is empty or holds no text.

        UnavailableError if its owner does not answer, RefusedError if it is too large for one answer.
        """
        async with self._turn:
            for target in ("UTF8_STRING", "STRING"):
                loop = asyncio.get_running_loop()
                fetch = _Fetch(loop, loop.create_future())
                owned = await self._display.use(lambda display: self._ask(display, target, fetch))  # noqa: B023
                if owned is not None:
                    return _fitting(owned)
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        data = await fetch.future
                except TimeoutError as error:
                    raise UnavailableError(
                        "the program that owns the clipboard does not answer",
                        hint="copy the text again, or restart that program",
                    ) from error
                if data is not None:
                    return _fitting(data.decode("utf-8" if target == "UTF8_STRING" else "latin-1", "replace"))
            return ""

    # What follows runs in the display's thread.

    def _begin(self, display: Any) -> None:
        if self._window is not None:
            return
        from Xlib import X

        self._window = display.screen().root.create_window(
            0, 0, 1, 1, 0, X.CopyFromParent, event_mask=X.PropertyChangeMask
        )
        self._display.listen(self)

    def _own(self, display: Any, text: str) -> None:
        from Xlib import X

        self._begin(display)
        selection = display.get_atom("CLIPBOARD")
        self._window.set_selection_owner(selection, X.CurrentTime)
        owner = display.get_selection_owner(selection)
        if not owner or owner.id != self._window.id:
            raise UnavailableError("another program took the clipboard at the same moment", hint="try again")
        self._text = text

    def _ask(self, display: Any, target: str, fetch: _Fetch) -> str | None:
        """The text if it is known without asking; else None, and `fetch` will be settled."""
        from Xlib import X

        self._begin(display)
        selection = display.get_atom("CLIPBOARD")
        owner = display.get_selection_owner(selection)
        if not owner:
            return ""
        if owner.id == self._window.id and self._text is not None:
            return self._text
        self._fetch = fetch
        place = display.get_atom("ORIEL_CLIPBOARD")
        self._window.delete_property(place)
        self._window.convert_selection(selection, display.get_atom(target), place, X.CurrentTime)
        return None

    def event(self, event: Any) -> None:
        name = event.__class__.__name__
        if name == "SelectionRequest":
            self._serve(event)
        elif name == "SelectionClear":
            self._text = None
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
        self._text = None
        self._transfers.clear()
        if self._fetch is not None:
            self._fetch.settle(None)

    def _serve(self, event: Any) -> None:
        """Another program asks for what we own."""
        from Xlib import X, Xatom
        from Xlib.protocol.event import SelectionNotify

        display, requestor = self._window.display, event.requestor
        atom = display.get_atom
        place = event.property or event.target  # an obsolete client gives none
        data = (self._text or "").encode("utf-8", "replace")
        if event.target == atom("TARGETS"):
            targets = [atom("TARGETS"), *(atom(name) for name in TEXT_TARGETS)]
            requestor.change_property(place, Xatom.ATOM, 32, targets)
        elif self._text is not None and event.target in [atom(name) for name in TEXT_TARGETS]:
            if event.target == Xatom.STRING:
                data = self._text.encode("latin-1", "replace")
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
            and self._fetch.pieces
        ):
            self._receive_piece(event.atom)

    def _receive(self, event: Any) -> None:
        assert self._fetch is not None  # noqa: S101 - for mypy: checked by the caller
        if not event.property:
            self._fetch.settle(None)
            self._fetch = None
            return
        found = self._window.get_full_property(event.property, 0)
        incremental = found is not None and found.property_type == self._window.display.get_atom("INCR")
        if incremental:
            self._fetch.pieces.append(b"")  # from now on pieces are awaited
        self._window.delete_property(event.property)
        if not incremental:
            self._fetch.settle(_bytes(found))
            self._fetch = None

    def _receive_piece(self, place: int) -> None:
        assert self._fetch is not None  # noqa: S101 - for mypy: checked by the caller
        data = _bytes(self._window.get_full_property(place, 0))
        self._window.delete_property(place)
        if data:
            self._fetch.size += len(data)
            if self._fetch.size <= MAX_LINE:
                self._fetch.pieces.append(data)
        else:
            text = b"".join(self._fetch.pieces)
            # Beyond the limit the pieces were only counted: what is handed on is refused for its size.
            self._fetch.settle(text if self._fetch.size <= MAX_LINE else bytes(self._fetch.size))
            self._fetch = None


def _bytes(found: Any) -> bytes:
    if found is None:
        return b""
    value = found.value
    return value if isinstance(value, bytes) else bytes(value) if found.format == 8 else b""


def _fitting(text: str) -> str:
    size = len(json.dumps(text))
    if size > MAX_LINE - 1000:
        raise RefusedError(
            f"the clipboard's text is too large to hand over ({len(text)} characters)",
            hint="save it in a file in the desktop and copy that",
            code="too_large",
        )
    return text
