"""Session descriptions (RFC 8866) on their way between a viewer and a hostile guest. Pure.

Only lines that are known pass, each within bounds. What tells where somebody is, or lets somebody in, is
taken out and put in anew: ICE ends at the host's relay, for each side with credentials of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oriel.model.errors import WireError
from oriel.model.link import GATEWAY_ADDRESS, MEDIA_PORT

__all__ = ["Candidate", "Transport", "answer_for_guest", "candidates_of", "offer_for_viewer"]

MOST_BYTES = 32 << 10
MOST_LINES = 400
MOST_LINE = 1000
_LINE = re.compile(r"[a-z]=[\x20-\x7e]*\Z")
_MEDIA = re.compile(r"m=(audio|video|application) \d{1,5} (UDP|TCP)/(TLS|DTLS)/\w+(/\w+)?( [\w-]+){1,60}\Z")
_SESSION = re.compile(r"(v=0|s=-?|t=0 0|a=group:BUNDLE( \w+)+|a=msid-semantic: ?WMS[ \w*-]*)\Z")
_ATTRIBUTES = (
    "rtpmap", "fmtp", "rtcp-fb", "extmap", "extmap-allow-mixed", "mid", "msid", "ssrc", "ssrc-group", "setup",
    "fingerprint", "sendonly", "recvonly", "sendrecv", "inactive", "rtcp-mux", "rtcp-mux-only", "rtcp-rsize",
    "sctp-port", "max-message-size", "bundle-only", "framerate",
)  # fmt: skip
_ATTRIBUTE = re.compile(rf"a=({'|'.join(_ATTRIBUTES)})(:[\x20-\x7e]*)?\Z")
_FINGERPRINT = re.compile(r"a=fingerprint:sha-(256|384|512) ([0-9A-Fa-f]{2}:){31,63}[0-9A-Fa-f]{2}\Z")


@dataclass(frozen=True)
class Candidate:
    """Where a side may send its checks to."""

    address: str
    port: int
    tcp: bool = False

    def line(self, number: int) -> str:
        kind = "TCP" if self.tcp else "UDP"
        # RFC 8445, 5.1.2: a host's; earlier ones first, and all by UDP before any by TCP.
        priority = 126 << 24 | ((0x3FFF if self.tcp else 0xFFFF) - number) << 8 | 255
        passive = " tcptype passive" if self.tcp else ""
        return f"a=candidate:{number} 1 {kind} {priority} {self.address} {self.port} typ host{passive}"


Transport = str  # "any", "udp" or "tcp"


def candidates_of(addresses: Sequence[str], port: int, transport: Transport) -> list[Candidate]:
    kinds = {"any": (False, True), "udp": (False,), "tcp": (True,)}[transport]
    return [Candidate(address, port, tcp) for tcp in kinds for address in addresses]


def offer_for_viewer(
    sdp: str, credentials: Mapping[str, str], candidates: Sequence[Candidate], *, version: int
) -> str:
    """The guest's offer as the viewer may see it; WireError if it is no such thing.

    `version` rises with each offer of the same peer.
    """
    return _rewritten(sdp, credentials, candidates, version=version)


def answer_for_guest(sdp: str, credentials: Mapping[str, str]) -> str:
    """The viewer's answer as the guest may see it: nothing of the viewer's network."""
    return _rewritten(sdp, credentials, [Candidate(GATEWAY_ADDRESS, MEDIA_PORT)], version=1)


def _rewritten(
    sdp: str, credentials: Mapping[str, str], candidates: Sequence[Candidate], *, version: int
) -> str:
    lines = _checked(sdp)
    out = ["v=0", f"o=- 1 {version} IN IP4 0.0.0.0", "s=-", "t=0 0"]
    out += [line for line in lines[: _first_media(lines)] if _SESSION.match(line) and line[0] == "a"]
    out.append("a=ice-lite")
    session_wide = [line for line in lines[: _first_media(lines)] if _passes(line)]
    first = True
    for line in lines[_first_media(lines) :]:
        if line.startswith("m="):
            out += [line, "c=IN IP4 0.0.0.0", *session_wide]
            out += [f"a=ice-ufrag:{credentials['ufrag']}", f"a=ice-pwd:{credentials['pwd']}"]
            if first:
                out += [candidate.line(number) for number, candidate in enumerate(candidates, 1)]
                out.append("a=end-of-candidates")
            first = False
        elif _passes(line):
            out.append(line)
    return "\r\n".join(out) + "\r\n"


def _passes(line: str) -> bool:
    if line.startswith("a=fingerprint:"):
        return _FINGERPRINT.match(line) is not None
    return _ATTRIBUTE.match(line) is not None


def _first_media(lines: Sequence[str]) -> int:
    return next((index for index, line in enumerate(lines) if line.startswith("m=")), len(lines))


def _checked(sdp: str) -> list[str]:
    if len(sdp) > MOST_BYTES:
        raise WireError(f"a session description of {len(sdp)} bytes is over the limit of {MOST_BYTES}")
    lines = sdp.splitlines()
    if len(lines) > MOST_LINES or any(len(line) > MOST_LINE or not _LINE.match(line) for line in lines):
        raise WireError("that is no session description")
    media = [line for line in lines if line.startswith("m=")]
    if not 1 <= len(media) <= 8 or not all(_MEDIA.match(line) for line in media):
        raise WireError("a session description without a known medium")
    return lines
