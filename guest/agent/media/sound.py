"""What the desktop plays, coded once for all who listen; and nothing at all while it plays nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agent.media.gstreamer import Gst, run, watch_errors

__all__ = ["Sound", "pipeline_text"]

KBPS = 96
FRAME_MS = 10
AGAIN_S = 3.0
# The null sink's monitor (guest/rootfs/etc/pulse/oriel.pa). Music must sound well: no mode for speech.
_PIPELINE = (
    "pulsesrc device=desktop.monitor provide-clock=false slave-method=re-timestamp "
    f"buffer-time=40000 latency-time={FRAME_MS * 1000}"
    " ! audio/x-raw,format=S16LE,rate=48000,channels=2"
    f" ! opusenc audio-type=restricted-lowdelay frame-size={FRAME_MS} bitrate={KBPS * 1000} complexity=5"
    " ! appsink name=coded emit-signals=true sync=false async=false max-buffers=50"
)

Play = Callable[[Any], None]


def pipeline_text() -> str:
    """The pipeline from what is played to coded pieces, as gst-launch-1.0 would take it."""
    return _PIPELINE


class Sound:
    """Runs while somebody listens and something plays; a program that plays has a \"sink input\"."""

    def __init__(self) -> None:
        self._listeners: list[Play] = []
        self._watching: asyncio.Task[None] | None = None
        self._pipeline: Any = None

    def listen(self, play: Play) -> None:
        """`play` gets each coded piece with its time, in a thread of GStreamer's."""
        self._listeners.append(play)
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch(), name="sound")

    def unlisten(self, play: Play) -> None:
        """Idempotent."""
        self._listeners = [other for other in self._listeners if other != play]
        if not self._listeners and self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        """Follow what plays until cancelled, through every end of the sound server."""
        try:
            while True:
                await self._follow()
                self._stop()
                await asyncio.sleep(AGAIN_S)
        finally:
            self._stop()

    async def _follow(self) -> None:
        telling = await _pactl("subscribe")
        try:
            await self._look()
            assert telling.stdout is not None  # noqa: S101 - for mypy: it is a pipe
            async for line in telling.stdout:
                if b"sink-input" in line and b"'change'" not in line:
                    await self._look()
        finally:
            if telling.returncode is None:
                telling.terminate()
            await asyncio.shield(telling.wait())

    async def _look(self) -> None:
        listing = await _pactl("list", "short", "sink-inputs")
        playing, _ = await listing.communicate()
        if playing.strip() and self._pipeline is None:
            self._pipeline = Gst.parse_launch(pipeline_text())
            self._pipeline.get_by_name("coded").connect("new-sample", self._sample)
            watch_errors(self._pipeline, lambda why: print(f"sound failed: {why}", flush=True))
            run(self._pipeline)
        elif not playing.strip():
            self._stop()

    def _stop(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            asyncio.get_running_loop().run_in_executor(None, pipeline.set_state, Gst.State.NULL)

    def _sample(self, sink: Any) -> Any:
        whole = sink.emit("pull-sample").get_buffer()
        for play in self._listeners:
            # One each: a buffer that is pushed belongs to who takes it; the bytes are shared.
            piece = whole.copy_region(Gst.BufferCopyFlags.MEMORY, 0, whole.get_size())
            piece.pts, piece.duration = whole.pts, whole.duration
            play(piece)
        return Gst.FlowReturn.OK


async def _pactl(*arguments: str) -> asyncio.subprocess.Process:
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        "/usr/bin/pactl", *arguments, stdin=quiet, stdout=asyncio.subprocess.PIPE, stderr=quiet
    )
