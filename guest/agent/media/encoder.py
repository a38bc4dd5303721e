"""Encoders: one for each codec that is watched, whatever the number of viewers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.media.gstreamer import Gst, now_ns, run, watch_errors
from agent.media.picture import Layout, Picture, Smaller

__all__ = ["CODECS", "Coded", "Encoder", "pipeline_text"]

CODECS = ("h264", "vp8")
THREADS = 2
FPS = 60  # a variable rate would make x264 wait for the next picture to know how long one lasts
VBV_MS = 120  # how much of a second's bits one picture may take at once
_ELEMENTS = {
    # Constant quality under a ceiling: what stands still costs nothing; what moves is coarser, not later.
    # Small dead zones: with x264's own, text that stands still keeps its smears, however often it is coded.
    "h264": (
        "x264enc name=encoder tune=zerolatency speed-preset=ultrafast pass=qual quantizer=20 qp-max=44"
        f" bitrate={{kbps}} vbv-buf-capacity={VBV_MS} key-int-max=100000 sliced-threads=true"
        f" threads={THREADS} byte-stream=true insert-vui=true"
        " option-string=scenecut=0:partitions=i4x4:deadzone-inter=4:deadzone-intra=4"
        " ! video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au"
    ),
    "vp8": (
        "vp8enc name=encoder deadline=1 cpu-used=8 lag-in-frames=0 end-usage=cbr target-bitrate={bps}"
        " keyframe-mode=disabled keyframe-max-dist=100000 error-resilient=default"
        f" threads={THREADS} min-quantizer=4 max-quantizer=56 buffer-size=120 buffer-initial-size=90"
        " buffer-optimal-size=100 undershoot=95 overshoot=25 static-threshold=1"
    ),
}


def pipeline_text(codec: str, width: int, height: int, kbps: int) -> str:
    """The pipeline from pictures to coded ones, as gst-launch-1.0 would take it."""
    return (
        "appsrc name=pictures is-live=true format=time block=false max-buffers=4"
        f" caps=video/x-raw,format=I420,width={width},height={height},framerate={FPS}/1,colorimetry=bt601,"
        "interlace-mode=progressive,pixel-aspect-ratio=1/1"
        f" ! {_ELEMENTS[codec].format(kbps=kbps, bps=kbps * 1000)}"
        " ! appsink name=coded emit-signals=true sync=false async=false max-buffers=8"
    )


@dataclass(frozen=True)
class Coded:
    """One coded picture. `pts` in nanoseconds of the common running time."""

    buffer: Any
    codec: str
    pts: int
    key: bool
    size: int
    at: float  # by the monotonic clock, when it was ready
    seconds: float  # in the encoder
    echoes: tuple[tuple[object, int, float], ...] = ()  # whose input, its number, and when it was given


class Encoder:
    """`put` pictures of one size; `coded` gets each, in a thread of GStreamer's."""

    def __init__(
        self,
        codec: str,
        layout: Layout,
        kbps: int,
        coded: Callable[[Coded], None],
        failed: Callable[[str], None],
    ) -> None:
        self.codec = codec
        self._coded = coded
        self._under_way: deque[tuple[int, float, Any]] = deque()
        self._pipeline = Gst.parse_launch(pipeline_text(codec, layout.width, layout.height, kbps))
        self._source = self._pipeline.get_by_name("pictures")
        self._encoder = self._pipeline.get_by_name("encoder")
        sink = self._pipeline.get_by_name("coded")
        sink.connect("new-sample", self._sample)
        watch_errors(self._pipeline, failed)
        run(self._pipeline)

    def put(self, picture: Picture | Smaller, echoes: Any) -> None:
        """Encode the picture as it is now; it may change afterwards."""
        buffer = Gst.Buffer.new_allocate(None, picture.layout.size, None)
        with buffer.map(Gst.MapFlags.WRITE) as place:
            place.data[:] = picture.data
        buffer.pts = now_ns()
        self._under_way.append((buffer.pts, time.monotonic(), echoes))
        self._source.emit("push-buffer", buffer)

    def key(self) -> None:
        """The next picture can be decoded without those before it."""
        structure = Gst.Structure.new_from_string("GstForceKeyUnit,all-headers=(boolean)true")
        self._source.send_event(Gst.Event.new_custom(Gst.EventType.CUSTOM_DOWNSTREAM, structure))

    def rate(self, kbps: int) -> None:
        if self.codec == "h264":
            self._encoder.set_property("bitrate", kbps)
        else:
            self._encoder.set_property("target-bitrate", kbps * 1000)

    def close(self) -> None:
        self._pipeline.set_state(Gst.State.NULL)

    def _sample(self, sink: Any) -> Any:
        whole = sink.emit("pull-sample").get_buffer()
        # A copy that we may write to; the bytes are shared.
        buffer = whole.copy_region(
            Gst.BufferCopyFlags.MEMORY | Gst.BufferCopyFlags.FLAGS, 0, whole.get_size()
        )
        pts, began, echoes = self._under_way.popleft()
        # x264enc moves time by a thousand hours, to have room for decoding times before it.
        buffer.pts, buffer.dts = pts, Gst.CLOCK_TIME_NONE
        key = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        now = time.monotonic()
        self._coded(Coded(buffer, self.codec, pts, key, buffer.get_size(), now, now - began, echoes))
        return Gst.FlowReturn.OK
