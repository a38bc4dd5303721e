"""What a real desktop, root inside, can reach below its proxy: nothing. On a container and an emulated VM.

Every target stands in a namespace of the tests' own and counts; each test first shows that the host itself
reaches it, and then that nothing of the desktop has.
"""

from __future__ import annotations

import secrets
import socket
import struct
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.attack.desktops import Desktop, Provider, until
from tests.attack.world import (
    EXITS,
    HOST,
    METADATA,
    PRIVATE,
    PUBLIC,
    PUBLIC_6,
    TARGETS,
    TCP_PORTS,
    UDP_PORTS,
    World,
    host_names,
)
from tests.fakes.origin import Origin

GUEST_MAC, GATEWAY_MAC = "024f52000002", "024f52000001"


def test_no_address_outside(desktop: Desktop, outside: World) -> None:
    outside.show(*TARGETS)
    targets = [(address, port) for address in TARGETS for port in TCP_PORTS]
    assert "open" not in desktop.do("tcp", targets=targets)
    outside.untouched()


def test_the_cloud_s_metadata(desktop: Desktop, outside: World) -> None:
    outside.show(METADATA)
    desktop.way_out("direct")
    curl = "curl -s -m 10 -o /dev/null -w '%{http_code} '"
    said = desktop.sh(
        f"for host in {METADATA} metadata.google.internal; do "
        f"{curl} http://$host/; {curl} --noproxy '*' http://$host/; done; true"
    )
    assert said.split() == ["403", "000", "403", "000"]
    outside.untouched()


SPELLINGS = [
    "10.77.0.1", "10.77.1", "0x0a4d0001", "172836865", "0xa.0x4d.0.1", "012.0115.0.1", "[::ffff:10.77.0.1]",
    "[::ffff:a4d:1]", "[64:ff9b::a4d:1]", "[2002:a4d:1::]", "172.16.77.1", "192.168.77.1", "100.64.77.1",
    "169.254.169.254", "0xa9fea9fe", "[fe80::1]", f"[{PUBLIC_6}]", "10.77.0.1.", "①⓪.77.0.1",
]  # fmt: skip


def test_private_ranges_under_any_spelling(desktop: Desktop, outside: World) -> None:
    outside.show(*PRIVATE, PUBLIC_6)
    for mode in ("direct", "one"):
        desktop.way_out(mode)
        spelled = [host.encode().decode("latin-1") for host in SPELLINGS]
        asked = [f"CONNECT {host}:80" for host in spelled] + [f"GET http://{host}/" for host in spelled]
        assert set(desktop.ask_proxy(*asked)) <= {400, 403}, mode
    outside.untouched()


def test_names_that_resolve_to_private_addresses(
    desktop: Desktop, outside: World, tmp_path: Path, origin: Origin
) -> None:
    outside.show(PUBLIC, METADATA, PRIVATE[0], PUBLIC_6)
    inner = {"private.test": PRIVATE[0], "metadata.test": METADATA, "six.test": PUBLIC_6, "self.test": HOST,
             "loop.test": "127.0.0.1"}  # fmt: skip
    with host_names(tmp_path, **inner, **{"open.test": PUBLIC}):
        assert socket.gethostbyname("private.test") == PRIVATE[0]
        desktop.way_out("direct")
        assert desktop.ask_proxy("GET http://open.test/") == [200]
        outside.forget()
        asked = [f"{verb}{name}{rest}" for name in inner
                 for verb, rest in (("CONNECT ", ":80"), ("GET http://", "/"))]  # fmt: skip
        assert set(desktop.ask_proxy(*asked)) == {403}
        # The same without a proxy: by the name, captured below the program.
        captured = desktop.do("names", names=list(inner))
        assert all(addresses[0].startswith("198.1") for addresses in captured)
        desktop.do("tcp", targets=[(addresses[0], 80) for addresses in captured])
    outside.untouched()


def test_rebinding(desktop: Desktop, outside: World, tmp_path: Path) -> None:
    """A name that leads somewhere harmless at first, and to a private address later."""
    outside.show(PUBLIC, PRIVATE[0])
    with host_names(tmp_path, **{"rebind.test": PUBLIC}) as names:
        desktop.way_out("direct")
        assert desktop.ask_proxy("GET http://rebind.test/") == [200]
        names["rebind.test"] = PRIVATE[0]
        names.write()  # type: ignore[attr-defined]
        assert socket.gethostbyname("rebind.test") == PRIVATE[0]
        outside.forget()
        # What was judged is what is connected to; and one that asks anew judges anew.
        assert desktop.ask_proxy("GET http://rebind.test/") == [200]
        assert {port for _, port, _ in outside.arrived} == {80}
        assert not any(socket.inet_aton(PRIVATE[0]) in frame[26:34] for frame in outside.frames)
        old = desktop.gateway()
        old.kill()
        until(lambda: not old.is_running() and desktop.gateway().pid != old.pid, "another gateway")
        until(lambda: desktop.ask_proxy("GET http://rebind.test/") == [403], "it is refused")
        outside.settle()
        assert not any(socket.inet_aton(PRIVATE[0]) in frame[26:34] for frame in outside.frames)


def test_the_host_and_the_controller(desktop: Desktop, outside: World) -> None:
    """Every port on which this host listens, by every address it has here."""
    desktop.way_out("direct")
    with socket.create_server(("0.0.0.0", 0)) as ours:
        ours.settimeout(0)
        listening = {
            item.laddr.port for item in psutil.net_connections("tcp") if item.status == psutil.CONN_LISTEN
        }
        controller = int(desktop.server.url.rpartition(":")[2])
        assert {controller, ours.getsockname()[1]} <= listening
        with socket.create_connection((HOST, ours.getsockname()[1]), timeout=5):
            ours.accept()[0].close()
        ports = sorted(listening)[:300]
        named = {53, 3128, 7078}
        assert "open" not in desktop.do("tcp", targets=[(HOST, port) for port in ports])
        gate = [("192.168.0.1", port) for port in sorted({*ports, 22, 80, 3129, 7077, 8080} - named)]
        assert "open" not in desktop.do("tcp", targets=gate)
        asked = [f"CONNECT {host}:{port}" for port in {controller, ours.getsockname()[1]}
                 for host in (HOST, "127.0.0.1", "0.0.0.0", "localhost", "192.168.0.1")]  # fmt: skip
        assert set(desktop.ask_proxy(*asked)) == {403}
        with pytest.raises(BlockingIOError):
            ours.accept()


def test_another_desktop(desktop: Desktop, neighbour: Desktop) -> None:
    """It has the same address as ours, so there is no way to name it: all others are silent."""
    neighbour.api("GET", "/windows")  # the host reaches it
    # A container's own loopback answers for its address, so only the others are tried.
    targets = [(f"192.168.0.{last}", port) for last in (3, 4, 77, 254, 255)
               for port in (22, 5901, 7077, 9222)]  # fmt: skip
    assert "open" not in desktop.do("tcp", targets=targets)
    asked = [f"CONNECT 192.168.0.{last}:{port}" for last in (1, 2, 3) for port in (5901, 7077, 9222)]
    assert set(desktop.ask_proxy(*asked)) == {403}


def test_ipv6(desktop: Desktop, outside: World) -> None:
    """Switched on by root, with an address, a route and an advertisement of its own: still nothing."""
    outside.show(PUBLIC_6)
    device = "host0" if desktop.runtime == "container" else "eth0"
    for argv in (
        ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", f"net.ipv6.conf.{device}.disable_ipv6=0"],
        ["ip", "-6", "addr", "add", "2001:db8:77::66/64", "dev", device, "nodad"],
        ["ip", "-6", "neigh", "replace", PUBLIC_6, "lladdr", ":".join(_pairs(GATEWAY_MAC)), "dev", device],
        ["ip", "-6", "route", "add", "default", "dev", device],
    ):
        desktop.do("run", argv=argv)
    answers = desktop.do("tcp", targets=[(PUBLIC_6, 80), (f"::ffff:{PUBLIC}", 80), ("fe80::1", 80)])
    assert "open" not in answers
    desktop.do("udp", targets=[(PUBLIC_6, 53), (PUBLIC_6, 3478)])
    desktop.do("frames", frames=[_advertisement()])
    netns = f"oriel-{desktop.id}"
    told = subprocess.run(["ip", "-n", netns, "-6", "addr"], capture_output=True, text=True, check=True)
    assert told.stdout == ""
    outside.untouched()


def _pairs(digits: str) -> list[str]:
    return [digits[at : at + 2] for at in range(0, len(digits), 2)]


def _advertisement() -> str:
    """A router advertisement to all nodes (RFC 4861), its checksum left out: it must not get that far."""
    source = socket.inet_pton(socket.AF_INET6, "fe80::66")
    everyone = socket.inet_pton(socket.AF_INET6, "ff02::1")
    body = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    packet = struct.pack(">IHBB", 6 << 28, len(body), 58, 255) + source + everyone + body
    return "333300000001" + GUEST_MAC + "86dd" + packet.hex()


def test_a_tunnel_in_dns(desktop: Desktop, outside: World) -> None:
    """Nothing that is asked leaves the host: shown by a capture of all its traffic to port 53."""
    outside.show_udp(PUBLIC, 53)
    word = secrets.token_hex(8)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as capture:
        capture.setblocking(False)
        names = [f"{word}{n}.{'x' * 50}.tunnel.test" for n in range(10)]
        assert all(found[0].startswith("198.1") for found in desktop.do("names", names=names))
        for kind in (1, 5, 10, 16, 28, 65, 255):  # A, CNAME, NULL, TXT, AAAA, HTTPS, ANY
            query = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0)
            for label in names[0].split("."):
                query += bytes((len(label),)) + label.encode()
            query += struct.pack(">BHH", 0, kind, 1)
            assert all(len(answer) > 20 for answer in desktop.do("dns", queries=[query.hex()]))
            desktop.do("dns", queries=[query.hex()], server=PUBLIC)
        seen = 0
        while True:
            try:
                frame = capture.recv(65536)
            except BlockingIOError:
                break
            seen += 1
            port = int.from_bytes(frame[36:38], "big")
            assert not (port == 53 and word.encode() in frame)
        assert seen, "the capture sees the host's traffic"
    outside.untouched()


def test_udp_stun_and_quic(desktop: Desktop, outside: World) -> None:
    for port in UDP_PORTS:
        outside.show_udp(PUBLIC, port)
    targets = [(address, port) for address in (PUBLIC, METADATA, PRIVATE[0]) for port in UDP_PORTS]
    assert "probe" not in desktop.do("udp", targets=targets)
    # By a name, too: the captured way is for TCP only.
    fake = desktop.do("names", names=["stun.test"])[0][0]
    assert "probe" not in desktop.do("udp", targets=[(fake, port) for port in UDP_PORTS if port != 53])
    outside.untouched()


def test_icmp_raw_sockets_and_spoofed_frames(desktop: Desktop, outside: World) -> None:
    outside.show(PUBLIC)
    ping = "0800f7ff00000000"
    answers = [desktop.do("raw", address=PUBLIC, protocol=proto, payload=ping) for proto in (1, 17, 47, 255)]
    frames = [
        _udp_frame(GUEST_MAC, "192.168.0.2", PUBLIC),
        _udp_frame(GUEST_MAC, "203.0.113.66", PUBLIC),  # another source address
        _udp_frame("024f52000077", "192.168.0.2", PUBLIC),  # another MAC
        _udp_frame(GUEST_MAC, "192.168.0.1", PUBLIC),  # the gateway's own
        _arp_frame("192.168.0.1", GUEST_MAC),  # "the gateway is me"
        _arp_frame(HOST, GUEST_MAC),
    ]
    answers.append(desktop.do("frames", frames=frames))
    expected = {"PermissionError"} if desktop.runtime == "container" else {"sent"}
    assert expected <= set(answers)
    assert desktop.do("run", argv=["ping", "-c", "1", "-W", "1", PUBLIC])[0] != 0
    # And it still has its own way, so nothing of it has worked on the gateway either.
    assert desktop.ask_proxy("GET http://10.77.0.1/") == [403]
    outside.untouched()


def _udp_frame(source_mac: str, source: str, target: str) -> str:
    payload = struct.pack(">HHHH", 4000, 3478, 13, 0) + b"probe"
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~total & 0xFFFF) + head[12:]
    return GATEWAY_MAC + source_mac + "0800" + (head + payload).hex()


def _arp_frame(claimed: str, mac: str) -> str:
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2) + bytes.fromhex(mac) + socket.inet_aton(claimed)
    return "ffffffffffff" + mac + "0806" + (body + bytes(6) + socket.inet_aton(claimed)).hex()


CANDIDATES = """new Promise((resolve) => {
  const peer = new RTCPeerConnection({ iceServers: [{ urls: "stun:203.0.113.10:3478" }] });
  const seen = [];
  peer.createDataChannel("x");
  peer.onicecandidate = (event) => { if (event.candidate) seen.push(event.candidate.candidate); };
  peer.onicegatheringstatechange = () => { if (peer.iceGatheringState === "complete") resolve(seen); };
  peer.createOffer().then((offer) => peer.setLocalDescription(offer));
})"""


def test_chrome_s_webrtc(desktop: Desktop, outside: World, providers: tuple[Provider, Provider]) -> None:
    """Its candidates tell no address, and its STUN reaches nobody."""
    outside.show_udp(PUBLIC, 3478)
    desktop.way_out("one")
    candidates = desktop.chrome("http://origin.test/", CANDIDATES)
    assert not [line for line in candidates if "192.168." in line or "203.0.113." in line], candidates
    assert not [line for line in candidates if " udp " in line.lower()], candidates
    outside.settle()
    assert [one for one in outside.arrived if one[0] == "udp"] == []


# Each way in which a page can make Chrome speak to somebody; a page on loopback may use all of them.
SPEAKING = """Promise.all([
  () => new WebTransport("https://203.0.113.10:443/x").ready,
  () => fetch("https://203.0.113.10/", {mode: "no-cors"}),
  () => fetch("https://[2001:db8:77::10]/", {mode: "no-cors"}),
  () => fetch("https://unknown.test/", {mode: "no-cors"}),
  () => new Promise((_, reject) => { new WebSocket("wss://203.0.113.10:443/x").onerror = reject; }),
  () => new Promise((_, reject) => {
    const link = document.createElement("link");
    Object.assign(link, {rel: "preconnect", href: "https://203.0.113.10:8080"});
    document.head.append(link);
    setTimeout(reject, 1000);
  }),
].map((speak) => Promise.race([
  Promise.resolve().then(speak).then(() => "open", () => "no"),
  new Promise((resolve) => setTimeout(resolve, 20000, "silence")),
])))"""
RESOLVERS = {
    "dns.google",
    "chrome.cloudflare-dns.com",
    "cloudflare-dns.com",
    "dns.quad9.net",
    "doh.opendns.com",
}


def test_chrome_s_quic_and_resolvers(
    desktop: Desktop, outside: World, providers: tuple[Provider, Provider]
) -> None:
    """Chrome has its proxy and nothing beside it: no QUIC, no DNS of its own, no connection of its own."""
    outside.show(PUBLIC, PUBLIC_6, port=443)
    outside.show_udp(PUBLIC, 443)
    desktop.way_out("one")
    said = desktop.chrome("http://127.0.0.1:9222/json/version", SPEAKING)
    assert len(said) == 6
    assert "open" not in said
    asked = {one.authority.rpartition(":")[0] for one in providers[0].proxy.asked}
    assert "unknown.test" in asked, "Chrome did speak, to its proxy"
    assert not asked & RESOLVERS
    outside.untouched()


def test_a_gateway_killed_lets_nothing_pass(
    desktop: Desktop, outside: World, providers: tuple[Provider, Provider], origin: Origin
) -> None:
    outside.show(*TARGETS)
    desktop.way_out("one")
    assert desktop.ask_proxy("GET http://origin.test/ip") == [200]
    origin.seen.clear()
    outside.forget()
    for _ in range(3):
        old = desktop.gateway()
        old.kill()
        # At once, while there is none; what it asks waits for the next one.
        targets = [(address, 80) for address in TARGETS]
        assert "open" not in desktop.do("tcp", targets=targets, wait=0.5)
        assert "probe" not in desktop.do("udp", targets=[(address, 443) for address in TARGETS])
        statuses = desktop.ask_proxy(*["GET http://origin.test/ip"] * 5)
        assert set(statuses) <= {200, 0, 403, 502}, statuses
        until(lambda old=old: desktop.gateway().pid != old.pid, "another gateway")
    until(lambda: desktop.ask_proxy("GET http://origin.test/ip") == [200], "the next one serves")
    assert {seen.peer for seen in origin.seen} == {EXITS[0]}
    outside.untouched()
