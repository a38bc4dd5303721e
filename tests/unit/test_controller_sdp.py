"""What of a session description passes between a viewer and a hostile guest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.controller.sdp import answer_for_guest, candidates_of, offer_for_viewer
from oriel.model.errors import WireError

FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)
OFFER = "\r\n".join(
    [
        "v=0", "o=- 42 0 IN IP4 192.168.0.2", "s=-", "t=0 0", "a=ice-options:trickle",
        "a=group:BUNDLE video0 application1", "m=video 9 UDP/TLS/RTP/SAVPF 96 97", "c=IN IP4 192.168.0.2",
        "a=ice-ufrag:guestsown", "a=ice-pwd:guestsownpassword", "a=setup:actpass", "a=rtpmap:96 H264/90000",
        "a=fmtp:96 packetization-mode=1;profile-level-id=42e02a", "a=mid:video0", FINGERPRINT,
        "a=candidate:1 1 UDP 2015363327 192.168.0.2 50000 typ host", "a=evil:<script>",
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel", "a=mid:application1", "a=sctp-port:5000", "",
    ]
)  # fmt: skip
CREDENTIALS = {"ufrag": "relayufrag", "pwd": "relaypassword"}


def test_the_viewer_sees_the_relay_and_nothing_of_the_guest() -> None:
    candidates = candidates_of(["192.0.2.1"], 52001, "any")
    told = offer_for_viewer(OFFER, CREDENTIALS, candidates, version=3).split("\r\n")
    text = "\n".join(told)
    assert "192.168" not in text
    assert "guestsown" not in text
    assert "evil" not in text
    assert told.count("a=ice-ufrag:relayufrag") == 2
    assert "a=ice-lite" in told
    assert "o=- 1 3 IN IP4 0.0.0.0" in told
    udp, tcp = (line for line in told if line.startswith("a=candidate:"))
    assert " UDP " in udp
    assert udp.endswith(" 192.0.2.1 52001 typ host")
    assert " TCP " in tcp
    assert tcp.endswith(" typ host tcptype passive")
    assert int(udp.split()[3]) > int(tcp.split()[3])
    assert "a=fmtp:96 packetization-mode=1;profile-level-id=42e02a" in told


@pytest.mark.parametrize(
    ("transport", "kinds"), [("udp", ["UDP"]), ("tcp", ["TCP"]), ("any", ["UDP", "TCP"])]
)
def test_the_transport_chooses_the_candidates(transport: str, kinds: list[str]) -> None:
    candidates = candidates_of(["192.0.2.1"], 52001, transport)
    told = offer_for_viewer(OFFER, CREDENTIALS, candidates, version=1)
    found = [line.split()[2] for line in told.splitlines() if line.startswith("a=candidate:")]
    assert found == kinds


def test_the_guest_learns_nothing_of_the_viewers_network() -> None:
    answer = OFFER.replace("192.168.0.2", "198.51.100.7").replace("guestsown", "viewersown")
    told = answer_for_guest(answer, CREDENTIALS)
    assert "198.51.100.7" not in told
    assert "viewersown" not in told
    assert "a=candidate:1 1 UDP" in told
    assert "192.168.0.1 7079" in told


@pytest.mark.parametrize(
    "wrong",
    [
        "", "v=0\r\n", "m=video 9 UDP/TLS/RTP/SAVPF 96\x00\r\n", "m=image 9 TCP/TLS 1\r\n", "x" * 40000,
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 9, OFFER + "a=mid:\u2028\r\n", OFFER + "a=mid:" + "x" * 2000,
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" + "a=mid:a\r\n" * 500,
    ],
)  # fmt: skip
def test_nonsense_is_refused(wrong: str) -> None:
    with pytest.raises(WireError):
        offer_for_viewer(wrong, CREDENTIALS, [], version=1)


@given(st.text(max_size=300))
def test_anything_is_refused_or_harmless(text: str) -> None:
    try:
        told = offer_for_viewer("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" + text, CREDENTIALS, [], version=1)
    except WireError:
        return
    assert told.isascii()
    assert "a=candidate" not in told
