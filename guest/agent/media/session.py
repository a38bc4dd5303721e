"""One viewer's session: its signalling with the controller, its peers, and what its data channels carry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.arguments import Arguments
from agent.display import Display
from agent.input import Input
from agent.media.cursor import Cursor
from agent.media.encoder import CODECS, Coded
from agent.media.hands import Hands
from agent.media.inbox import Inbox
from agent.media.peer import Peer
from agent.media.rate import Rate, Report
from agent.media.sound import Sound
from agent.media.stream import Stream
from oriel.model import wire
from oriel.model.errors import OrielError

__all__ = ["Session", "Shared"]

MOST_MESSAGE = 1 << 16  # characters of one message of a data channel
DRIVING_EVERY_S = 1.0
RATE_EVERY_S = 0.25
QUIET_S = 2.0  # without a picture: then nothing was lost lately
MOST_WAITING = 1 << 20  # bytes of `desk` that the viewer has not taken: then it is told less


@dataclass(frozen=True)
class Shared:
    """What all sessions have together. `hands`: the connection to the display that `input` works on."""

    stream: Stream
    hands: Display
    input: Input
    sound: Sound


class Session:
    """Lives as long as its connection. Peers call back in threads of GStreamer's; all else is on the loop."""

    def __init__(self, shared: Shared, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._stream = stream = shared.stream
        self._reader, self._writer = reader, writer
        self._loop = asyncio.get_running_loop()
        self._hands = Hands(shared.hands, shared.input, lambda number: stream.echo(self, number))
        self._inbox = Inbox()
        self._sound = shared.sound
        self._rate = Rate()
        self._sampling: asyncio.TimerHandle | None = None
        self._control = False
        self._video: Peer | None = None
        self.codec = ""
        self._watching = False
        self._needs_key = True
        self._sent_at = 0.0
        self._cursors: set[int] = set()
        self._cursor: Cursor | None = None
        self._size = (0, 0)
        self._open: set[str] = set()
        self._driving_at = 0.0
        self._sent = _Sent()
        self._statistics: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Until the controller closes the connection."""
        try:
            while (line := await wire.read_line(self._reader)) is not None:
                self._signal(line)
        finally:
            self._close_peers()
            self._hands.close()

    # --- signalling

    def _signal(self, line: Mapping[str, Any]) -> None:
        match line:
            case {"type": "hello"}:
                self._begin(line)
            case {"type": "answer", "peer": "video", "sdp": str(sdp)} if self._video is not None:
                self._video.answer(sdp)
            case {"type": "control", "on": bool(on)}:
                self._control = on
                if not on:
                    self._hands.release()
                self._tell("desk", {"type": "control", "on": on})
            case {"type": "input", "messages": list(messages)}:
                for message in messages:
                    if isinstance(message, dict):
                        self._guarded("input", self._input, "input", message)
                self._say({"type": "took", "s": self._inbox.taken})
            case {"type": "close"}:
                self._close_peers()

    def _begin(self, line: Mapping[str, Any]) -> None:
        args = Arguments(line)
        wanted = args.texts("codecs", default=list(CODECS))
        self._control = args.flag("control") if args.has("control") else self._control
        self._close_peers()
        self._inbox = Inbox()
        sound = args.flag("audio")
        codec = next((codec for codec in wanted if codec in CODECS), "")
        if not codec:
            hint = f"it streams {' and '.join(CODECS)}"
            self._say({"type": "unavailable", "code": "no_codec", "hint": hint,
                       "message": "the viewer decodes nothing that this desktop encodes"})  # fmt: skip
            return
        self.codec = codec
        self._video = Peer(codec, self, sound=sound)
        if sound:
            self._sound.listen(self._video.play)

    def _say(self, message: Mapping[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def _close_peers(self) -> None:
        self._stream.leave(self)
        self._watching = False
        self._hands.release()
        for timer in (self._statistics, self._sampling):
            if timer is not None:
                timer.cancel()
        if self._video is not None:
            self._sound.unlisten(self._video.play)
            self._loop.run_in_executor(None, self._video.close)
            self._video = None
        self._open.clear()
        self._cursors.clear()

    # --- the peer's news, in threads of GStreamer's

    def offered(self, peer: Peer, sdp: str) -> None:
        self._loop.call_soon_threadsafe(self._offer, peer, sdp)

    def connected(self, peer: Peer) -> None:
        self._loop.call_soon_threadsafe(self._watch, peer)

    def opened(self, peer: Peer, label: str) -> None:
        self._loop.call_soon_threadsafe(self._channel, peer, label)

    def said(self, peer: Peer, label: str, message: str | bytes) -> None:
        self._loop.call_soon_threadsafe(self._hear, peer, label, message)

    def may_speak(self, peer: Peer) -> bool:
        return self._control and peer is self._video

    def wants_key(self, peer: Peer) -> None:
        if peer is self._video:
            self._loop.call_soon_threadsafe(self._renew)

    def failed(self, peer: Peer, why: str) -> None:
        self._loop.call_soon_threadsafe(self._fail, peer, why)

    def coded(self, frame: Coded, seconds: float) -> None:
        """A picture for this viewer, who begins with a key frame."""
        peer = self._video
        if peer is None or frame.codec != self.codec or (self._needs_key and not frame.key):
            return
        self._needs_key = False
        self._sent_at = self._loop.time()
        peer.send(frame.buffer)
        self._sent.add(frame, seconds)
        for viewer, number, began in frame.echoes:
            if viewer is self:
                told = {"type": "echo", "id": number, "rtp": frame.pts * 9 // 100_000 & 0xFFFF_FFFF,
                        "guest_ms": round((frame.at - began) * 1000, 1)}  # fmt: skip
                peer.say("desk", json.dumps(told))

    # --- on the loop

    def _offer(self, peer: Peer, sdp: str) -> None:
        if peer is self._video:
            self._say({"type": "offer", "peer": "video", "fresh": True, "sdp": sdp})

    def _watch(self, peer: Peer) -> None:
        if peer is self._video and not self._watching:
            self._watching = self._needs_key = True
            self._rate = Rate()
            self._stream.join(self)
            self._sampling = self._loop.call_later(RATE_EVERY_S, self._sample, "")

    def _renew(self) -> None:
        """The viewer asks for a key frame.

        Chrome does so whenever it got no picture for three seconds, and for us that is a quiet screen. A
        small one will do then: if it lacks what came before, it notices, and asks again.
        """
        if self._needs_key or self._loop.time() - self._sent_at < QUIET_S:
            self._stream.key()
        else:
            self._stream.nudge()

    def _fail(self, peer: Peer, why: str) -> None:
        if peer is self._video:
            print(f"a peer failed: {why}", flush=True)
            self._close_peers()
            self._say(
                {"type": "ended", "code": "peer_failed", "message": "the connection with the viewer ended"}
            )

    def _channel(self, peer: Peer, label: str) -> None:
        if peer is not self._video:
            return
        self._open.add(label)
        if label == "desk":
            self._tell("desk", {"type": "control", "on": self._control})
            if self._size != (0, 0):
                self.sized(*self._size)
            if self._cursor is not None:
                self.pointed(self._cursor)
            self._statistics = self._loop.call_later(1, self._tell_statistics)

    def sized(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._tell("desk", {"type": "screen", "width": width, "height": height})

    def pointed(self, cursor: Cursor) -> None:
        self._cursor = cursor
        if self._tell("desk", cursor.to_wire(whole=cursor.serial not in self._cursors)):
            self._cursors.add(cursor.serial)

    def _tell(self, label: str, message: Mapping[str, Any]) -> bool:
        peer = self._video
        if peer is None or label not in self._open or peer.waiting(label) > MOST_WAITING:
            return False
        return peer.say(label, json.dumps(message, separators=(",", ":")))

    @property
    def kbps(self) -> float:
        """What this viewer's network carries, as far as is known."""
        return self._rate.kbps

    def _sample(self, before: str) -> None:
        """Look at what came of the packets; `before`: the mark of the last report."""
        found = self._video.feedback() if self._video is not None else None
        mark = before
        if found is not None and found.mark != before:
            mark = found.mark
            self._rate.take(
                Report(found.sent_kbps, found.received_kbps, found.loss, found.later_ms), self._loop.time()
            )
            self._stream.adapt()
        self._sampling = self._loop.call_later(RATE_EVERY_S, self._sample, mark)

    def _tell_statistics(self) -> None:
        self._statistics = self._loop.call_later(1, self._tell_statistics)
        if self._sent.frames:
            width, height = self._size
            self._tell("desk", {"type": "stats", "codec": self.codec, "width": width, "height": height,
                                "target_kbps": self._stream.kbps, **self._sent.take()})  # fmt: skip

    def _hear(self, peer: Peer, label: str, message: str | bytes) -> None:
        """What a viewer says over a data channel; nonsense is dropped."""
        if peer is self._video and len(message) <= MOST_MESSAGE:
            self._guarded(label, self._understand, label, message)

    def _guarded(self, label: str, do: Callable[..., None], *args: Any) -> None:
        """One message that is refused stops none of the others."""
        try:
            do(*args)
        except (ValueError, RecursionError, OrielError) as error:
            print(f"a message over {label} was refused: {error}", flush=True)

    def _understand(self, label: str, message: str | bytes) -> None:
        told = None if isinstance(message, bytes) else json.loads(message)
        if not isinstance(told, dict):
            return
        if label in ("input", "pointer"):
            self._input(label, told)
        elif label == "desk":
            self._desk(told)

    def _input(self, label: str, told: Mapping[str, Any]) -> None:
        # Taken in turn even if it does not count: what comes behind it must not wait.
        due = self._inbox.take(told) if label == "input" else iter((told,))
        for message in due:
            if self._control:
                self._guarded(label, self._hands.take, label, message)
        if not self._control:
            return
        now = self._loop.time()
        if now - self._driving_at >= DRIVING_EVERY_S:
            self._driving_at = now
            self._say({"type": "driving"})

    def _desk(self, told: Mapping[str, Any]) -> None:
        match told:
            case {"type": "ping", "id": int(number)}:
                self._tell("desk", {"type": "pong", "id": number, "took": self._inbox.taken})
            case {"type": "keyframe"}:
                self._stream.key()
            case {"type": "visible", "on": bool(on)} if self._video is not None and on != self._watching:
                self._watching = self._needs_key = on
                (self._stream.join if on else self._stream.leave)(self)


class _Sent:
    """What was sent to one viewer since it was last told."""

    def __init__(self) -> None:
        self.frames = 0
        self._bytes = 0
        self._encode_s = self._capture_s = 0.0

    def add(self, frame: Coded, capture_s: float) -> None:
        self.frames += 1
        self._bytes += frame.size
        self._encode_s += frame.seconds
        self._capture_s += capture_s

    def take(self) -> dict[str, float]:
        frames = max(1, self.frames)
        told = {
            "fps": self.frames, "kbps": self._bytes * 8 // 1000,
            "encode_ms": round(self._encode_s / frames * 1000, 1),
            "capture_ms": round(self._capture_s / frames * 1000, 1),
        }  # fmt: skip
        self.frames = self._bytes = 0
        self._encode_s = self._capture_s = 0.0
        return told
