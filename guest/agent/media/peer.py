"""One peer with one viewer: coded pictures and sound out, its voice in, data channels both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from agent.media.extension import PLAYOUT_DELAY, TRANSPORT_FEEDBACK, PlayoutDelay
from agent.media.gstreamer import Gst, GstSdp, GstWebRTC, run, watch_errors

__all__ = ["CHANNELS", "Feedback", "Hooks", "Peer", "pipeline_text"]

PAYLOAD_TYPE, SOUND_TYPE = 96, 97
MTU = 1200
CHANNELS = {
    "input": "options,ordered=(boolean)true",
    "pointer": "options,ordered=(boolean)false,max-retransmits=(int)0",
    "desk": "options,ordered=(boolean)true",
}
_PAYLOADERS = {
    "h264": (
        "video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline,level=(string)3.1",
        "rtph264pay config-interval=-1 aggregate-mode=zero-latency",
    ),
    "vp8": ("video/x-vp8", "rtpvp8pay picture-id-mode=15-bit"),
}  # fmt: skip
_RTP = {
    "h264": "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000",
    "vp8": "application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000",
}
_SOUND = (
    "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,encoding-params=(string)2"
    f",payload={SOUND_TYPE}"
)
# What a viewer says becomes the desktop's microphone (guest/rootfs/etc/pulse/oriel.pa).
_VOICE = "rtpopusdepay ! opusdec ! pulsesink device=voice sync=false async=false buffer-time=100000"
# Only in the offer: what the payloader finds in the coded pictures is written otherwise, and means the same.
_STEREO = ",minptime=(string)10,sprop-stereo=(string)1"
_OFFERED = {"h264": ",packetization-mode=(string)1,profile-level-id=(string)42e02a"}


_EXTENSIONS = {1: PLAYOUT_DELAY, 2: TRANSPORT_FEEDBACK}


def pipeline_text(codec: str, *, sound: bool) -> str:
    """The pipeline from coded frames and sound to the viewer, as gst-launch-1.0 would take it."""
    coded, payloader = _PAYLOADERS[codec]
    audio = (
        " appsrc name=sound is-live=true format=time block=false max-buffers=0 max-bytes=0 max-time=0"
        " caps=audio/x-opus,channel-mapping-family=0,channels=2,rate=48000"
        f" ! rtpopuspay pt={SOUND_TYPE} mtu={MTU} ! {_SOUND} ! peer."
    )
    return (
        "webrtcbin name=peer bundle-policy=max-bundle latency=0 "
        "appsrc name=coded is-live=true format=time block=false max-buffers=0 max-bytes=0 max-time=0"
        f" caps={coded}"
        f" ! {payloader} name=payloader pt={PAYLOAD_TYPE} mtu={MTU} timestamp-offset=0"
        f" ! {_RTP[codec]},payload={PAYLOAD_TYPE} ! peer."
        f"{audio if sound else ''}"
    )


def offered_caps(codec: str) -> str:
    """What the viewer is offered, as caps."""
    extensions = "".join(f",extmap-{n}=(string){uri}" for n, uri in _EXTENSIONS.items())
    return f"{_RTP[codec]},payload={PAYLOAD_TYPE}{_OFFERED.get(codec, '')}{extensions}"


@dataclass(frozen=True)
class Feedback:
    """The last report, told from others by `mark`. `later_ms`: how much later packets came than sent."""

    mark: str
    sent_kbps: float
    received_kbps: float
    loss: float
    later_ms: float


class Hooks(Protocol):
    """What a peer tells its session. All are called in threads of GStreamer's."""

    def offered(self, peer: Peer, sdp: str) -> None: ...

    def opened(self, peer: Peer, label: str) -> None: ...

    def said(self, peer: Peer, label: str, message: str | bytes) -> None: ...

    def wants_key(self, peer: Peer) -> None: ...

    def connected(self, peer: Peer) -> None: ...

    def failed(self, peer: Peer, why: str) -> None: ...

    def may_speak(self, peer: Peer) -> bool: ...


class Peer:
    """Made with its pipeline running; `offered` follows."""

    def __init__(self, codec: str, hooks: Hooks, *, sound: bool) -> None:
        self.codec = codec
        self._hooks = hooks
        self._channels: dict[str, Any] = {}
        self._pipeline = Gst.parse_launch(pipeline_text(codec, sound=sound))
        self._bin = self._pipeline.get_by_name("peer")
        self._source = self._pipeline.get_by_name("coded")
        self._sound = self._pipeline.get_by_name("sound")
        payloader = self._pipeline.get_by_name("payloader")
        self._extend(payloader)
        payloader.get_static_pad("src").add_probe(Gst.PadProbeType.EVENT_UPSTREAM, self._upstream)
        transceiver = self._bin.emit("get-transceiver", 0)
        transceiver.set_property("do-nack", True)
        transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        transceiver.set_property("codec-preferences", Gst.Caps.from_string(offered_caps(codec)))
        if sound:
            # Both ways from the beginning: a microphone that is allowed later needs no new offer.
            both = self._bin.emit("get-transceiver", 1)
            both.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDRECV)
            both.set_property("codec-preferences", Gst.Caps.from_string(_SOUND + _STEREO))
            self._bin.connect("pad-added", self._heard)
        self._bin.connect("notify::connection-state", self._state)
        watch_errors(self._pipeline, lambda why: hooks.failed(self, why))
        self._pipeline.set_state(Gst.State.READY)
        for label, options in CHANNELS.items():
            self._add_channel(label, options)
        run(self._pipeline)
        self._bin.emit("create-offer", None, Gst.Promise.new_with_change_func(self._offered))

    def feedback(self) -> Feedback | None:
        """What the viewer has told of the packets' arrival; None before it did."""
        session = self._bin.get_by_name("rtpbin").emit("get-session", 0)
        found = session.get_property("twcc-stats") if session is not None else None
        if found is None or not found.has_field("packets-recv"):
            return None
        return Feedback(
            mark=found.to_string(),
            sent_kbps=found.get_value("bitrate-sent") / 1000,
            received_kbps=found.get_value("bitrate-recv") / 1000,
            loss=found.get_value("packet-loss-pct") / 100,
            later_ms=found.get_value("avg-delta-of-delta") * found.get_value("packets-recv") / 1e6,
        )

    def send(self, buffer: Any) -> None:
        """A coded frame with its time."""
        self._source.emit("push-buffer", buffer)

    def play(self, buffer: Any) -> None:
        """A coded piece of sound with its time."""
        if self._sound is not None:
            self._sound.emit("push-buffer", buffer)

    def answer(self, sdp: str) -> None:
        """Take the viewer's answer. Nonsense in it makes the peer fail, not us."""
        _, message = GstSdp.SDPMessage.new_from_text(sdp)
        told = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self._bin.emit("set-remote-description", told, Gst.Promise.new())

    def say(self, label: str, text: str) -> bool:
        """A text over a data channel; false if it is not open, or the viewer does not take what there is."""
        channel = self._channels.get(label)
        if channel is None or channel.get_property("ready-state") != GstWebRTC.WebRTCDataChannelState.OPEN:
            return False
        channel.emit("send-string", text)
        return True

    def waiting(self, label: str) -> int:
        """Bytes that the viewer has not taken yet."""
        channel = self._channels.get(label)
        return 0 if channel is None else int(channel.get_property("buffered-amount"))

    def close(self) -> None:
        """Not from a thread of GStreamer's."""
        self._pipeline.set_state(Gst.State.NULL)

    def _extend(self, payloader: Any) -> None:
        playout, feedback = PlayoutDelay(), Gst.ElementFactory.make("rtphdrexttwcc")
        for number, extension in enumerate((playout, feedback), 1):
            extension.set_id(number)
            payloader.emit("add-extension", extension)

    def _add_channel(self, label: str, options: str) -> None:
        channel = self._bin.emit("create-data-channel", label, Gst.Structure.new_from_string(options))
        self._channels[label] = channel
        channel.connect("on-open", lambda _: self._hooks.opened(self, label))
        channel.connect("on-message-string", lambda _, text: self._hooks.said(self, label, text or ""))
        channel.connect(
            "on-message-data", lambda _, data: self._hooks.said(self, label, data.get_data() or b"")
        )

    def _offered(self, promise: Any) -> None:
        reply = promise.get_reply()
        offer = reply.get_value("offer") if reply is not None and reply.has_field("offer") else None
        if offer is None:
            self._hooks.failed(self, "webrtcbin made no offer")
            return
        self._bin.emit("set-local-description", offer, Gst.Promise.new())
        self._hooks.offered(self, offer.sdp.as_text())

    def _upstream(self, _pad: Any, info: Any) -> Any:
        """PLI and FIR arrive here as a wish for a key frame."""
        if info.get_event().has_name("GstForceKeyUnit"):
            self._hooks.wants_key(self)
            return Gst.PadProbeReturn.DROP
        return Gst.PadProbeReturn.OK

    def _heard(self, _bin: Any, pad: Any) -> None:
        """The viewer's voice: into the desktop's microphone, as long as it drives."""
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        voice = Gst.parse_bin_from_description(_VOICE, True)
        self._pipeline.add(voice)
        voice.sync_state_with_parent()
        pad.add_probe(Gst.PadProbeType.BUFFER, self._spoken)
        pad.link(voice.get_static_pad("sink"))

    def _spoken(self, *_: Any) -> Any:
        return Gst.PadProbeReturn.OK if self._hooks.may_speak(self) else Gst.PadProbeReturn.DROP

    def _state(self, *_: Any) -> None:
        state = self._bin.get_property("connection-state")
        if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            self._hooks.connected(self)
        elif state == GstWebRTC.WebRTCPeerConnectionState.FAILED:
            self._hooks.failed(self, "the connection with the viewer failed")
