"""What all viewers share: one capture of the screen, and one encoder for each codec that is watched."""

from __future__ import annotations

import asyncio
import collections
import time
from typing import Any, Protocol

from agent.display import Display
from agent.media.capture import Capture
from agent.media.cursor import Cursor, CursorWatch
from agent.media.encoder import Coded, Encoder
from agent.media.picture import Picture, Smaller
from agent.media.rate import START_KBPS, frames_for, scale_for

__all__ = ["Stream", "Viewer"]

MOST_FPS = 60.0
KEY_EVERY_S = 0.25  # however often viewers ask


class Viewer(Protocol):
    """Who watches. `coded` comes in a thread of GStreamer's, the others on the event loop."""

    codec: str

    @property
    def kbps(self) -> float: ...

    def coded(self, frame: Coded, seconds: float) -> None: ...

    def sized(self, width: int, height: int) -> None: ...

    def pointed(self, cursor: Cursor) -> None: ...


class Stream:
    """Runs while it is watched, and costs nothing else."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._loop = asyncio.get_running_loop()
        self._capture = Capture(display, self, fps=MOST_FPS)
        self._cursor_watch = CursorWatch(display, self._pointed)
        self._viewers: list[Viewer] = []
        self._encoders: dict[str, Encoder] = {}
        self._watching: asyncio.Task[None] | None = None
        self._size = (0, 0)
        self._cursor: Cursor | None = None
        self._kbps = START_KBPS
        self._scale = self._wanted_scale = 1.0
        self._smaller: Smaller | None = None
        self._under_way = 0
        self._capture_s = 0.0
        self._key_at = 0.0
        self._keying: asyncio.TimerHandle | None = None
        self._echoes: collections.deque[tuple[Viewer, int, float]] = collections.deque(maxlen=64)

    # On the event loop.

    def join(self, viewer: Viewer) -> None:
        """Its pictures begin with a key frame, at once."""
        self._viewers.append(viewer)
        if self._watching is None:
            self._watching = self._loop.create_task(self._watch(), name="capture")
        elif self._size != (0, 0):
            viewer.sized(*self._size)
        if self._cursor is not None:
            viewer.pointed(self._cursor)
        self.key()

    def leave(self, viewer: Viewer) -> None:
        """Idempotent. With the last viewer all work ends."""
        self._viewers = [other for other in self._viewers if other is not viewer]
        codecs = {other.codec for other in self._viewers}
        self._display.post(lambda: self._drop_encoders(codecs))
        if not self._viewers and self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def key(self) -> None:
        """A key frame for everybody, soon: at most one each KEY_EVERY_S."""
        if self._keying is None:
            wait = max(0.0, self._key_at + KEY_EVERY_S - self._loop.time())
            self._keying = self._loop.call_later(wait, self._key)

    def _key(self) -> None:
        self._keying = None
        self._key_at = self._loop.time()
        self._display.post(self._ask_keys)
        self._capture.again()

    def nudge(self) -> None:
        """The picture as it is, once more: next to nothing is coded then."""
        self._capture.nudge()

    def adapt(self) -> None:
        """To the viewer whose network carries least: one encoding serves all."""
        kbps = round(min((viewer.kbps for viewer in self._viewers), default=START_KBPS))
        if abs(kbps - self._kbps) > self._kbps / 50:
            self._set_rate(kbps, frames_for(kbps))

    def _set_rate(self, kbps: int, fps: float) -> None:
        self._kbps = kbps
        self._capture.pace(fps)

        def apply() -> None:
            self._wanted_scale = scale_for(kbps, self._wanted_scale)
            for encoder in self._encoders.values():
                encoder.rate(kbps)

        self._display.post(apply)

    @property
    def kbps(self) -> int:
        return self._kbps

    def _pointed(self, cursor: Cursor) -> None:
        self._cursor = cursor
        for viewer in self._viewers:
            viewer.pointed(cursor)

    async def _watch(self) -> None:
        await asyncio.gather(self._capture.watch(), self._watch_cursor())

    async def _watch_cursor(self) -> None:
        await self._display.up()
        await self._display.use(self._cursor_watch.begin)

    # From any thread.

    def echo(self, viewer: Viewer, number: int) -> None:
        """The next picture of a change is, as far as one can tell, what input `number` led to."""
        self._echoes.append((viewer, number, time.monotonic()))

    # In the display's thread.

    def sized(self, width: int, height: int) -> None:
        self._drop_encoders(set())
        self._smaller = None
        self._size = (width, height)

        def tell() -> None:
            for viewer in self._viewers:
                viewer.sized(width, height)

        self._loop.call_soon_threadsafe(tell)

    def taken(self, picture: Picture, *, changed: bool, seconds: float) -> bool:
        codecs = {viewer.codec for viewer in self._viewers}
        echoes: tuple[Any, ...] = ()
        if changed:
            echoes = tuple(self._echoes)
            self._echoes.clear()
        self._under_way, self._capture_s = len(codecs), seconds
        if self._wanted_scale != self._scale:  # now, since nothing is in an encoder
            self._scale, self._smaller = self._wanted_scale, None
            self._drop_encoders(set())
        shown = self._shown(picture)
        for codec in codecs:
            encoder = self._encoders.get(codec)
            if encoder is None:
                encoder = self._encoders[codec] = Encoder(
                    codec, shown.layout, self._kbps, self._coded, self._failed
                )
            encoder.put(shown, echoes)
        return bool(codecs)

    def _shown(self, picture: Picture) -> Picture | Smaller:
        """The picture as it is sent: smaller, where the network carries next to nothing."""
        if self._scale == 1.0:
            return picture
        if self._smaller is None:
            width, height = (
                round(side * self._scale) & ~1 for side in (picture.layout.width, picture.layout.height)
            )
            self._smaller = Smaller(width, height)
        return self._smaller.of(picture)

    def _ask_keys(self) -> None:
        for encoder in self._encoders.values():
            encoder.key()

    def _drop_encoders(self, keep: set[str]) -> None:
        for codec in self._encoders.keys() - keep:
            self._encoders.pop(codec).close()

    # In threads of GStreamer's.

    def _coded(self, frame: Coded) -> None:
        for viewer in self._viewers:
            viewer.coded(frame, self._capture_s)
        self._under_way -= 1
        if self._under_way <= 0:
            self._capture.done()

    def _failed(self, why: str) -> None:
        print(f"an encoder failed: {why}", flush=True)
        self._display.post(lambda: self._drop_encoders(set()))
        self._capture.done()
