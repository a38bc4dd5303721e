"""The RTP header extension that tells a viewer to show pictures at once; GStreamer has none of its own."""

from __future__ import annotations

from typing import Any

from agent.media.gstreamer import GstRtp

__all__ = ["PLAYOUT_DELAY", "TRANSPORT_FEEDBACK", "PlayoutDelay"]

# https://webrtc.googlesource.com/src/+/main/docs/native-code/rtp-hdrext/playout-delay
PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"

# Numbers each packet, so that the viewer can tell when each of them came (webrtcbin's TWCC).
TRANSPORT_FEEDBACK = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"


class PlayoutDelay(GstRtp.RTPHeaderExtension):  # type: ignore[misc]
    """Three bytes: the least and the greatest delay, both 0."""

    __gstmetadata__ = ("Playout delay", GstRtp.RTP_HDREXT_ELEMENT_CLASS, "Asks for no delay", "Oriel")

    def do_get_supported_flags(self) -> Any:
        return GstRtp.RTPHeaderExtensionFlags.ONE_BYTE | GstRtp.RTPHeaderExtensionFlags.TWO_BYTE

    def do_get_max_size(self, _buffer: Any) -> int:
        return 3

    def do_write(self, _input: Any, _flags: Any, _output: Any, _data: bytes, _size: int) -> int:
        return 3  # the payloader has cleared them


PlayoutDelay.set_uri(PLAYOUT_DELAY)
