"""GStreamer, imported with the versions we speak, and once: this takes a tenth of a second."""

from __future__ import annotations

from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstRtp", "1.0")
from gi.repository import Gst, GstRtp, GstSdp, GstWebRTC  # noqa: E402

__all__ = ["Gst", "GstRtp", "GstSdp", "GstWebRTC", "now_ns", "run", "watch_errors"]

Gst.init(None)
CLOCK: Any = Gst.SystemClock.obtain()
BASE_TIME: int = CLOCK.get_time()


def now_ns() -> int:
    """The running time that all our pipelines share."""
    return int(CLOCK.get_time() - BASE_TIME)


def run(pipeline: Any) -> None:
    """Start a pipeline on the common clock and time."""
    pipeline.use_clock(CLOCK)
    pipeline.set_start_time(Gst.CLOCK_TIME_NONE)
    pipeline.set_base_time(BASE_TIME)
    pipeline.set_state(Gst.State.PLAYING)


def watch_errors(pipeline: Any, failed: Any) -> None:
    """`failed(text)` is called in a thread of GStreamer's when the pipeline cannot go on."""

    def sync(_bus: Any, message: Any) -> Any:
        if message.type == Gst.MessageType.ERROR:
            error, detail = message.parse_error()
            failed(f"{error.message} ({detail})")
        elif message.type == Gst.MessageType.LATENCY:
            pipeline.set_latency(0)
        return Gst.BusSyncReply.DROP

    pipeline.get_bus().set_sync_handler(sync)
