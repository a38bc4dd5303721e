"""What a hostile guest may not reach: the host, private networks, the upstream, under any spelling.

What is attacked listens on loopback and counts; each test first shows that it can be reached.
"""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest

from oriel.egress.failure import DeniedError
from oriel.egress.gateway import Gateway
from oriel.egress.policy import Reason
from oriel.egress.resolver import Resolver, is_of_this_host
from oriel.egress.target import Address, Target
from oriel.model.egress import EgressMode, EgressSpec
from oriel.model.secret import Secret
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.guest import guest
from tests.fakes.origin import Origin
from tests.fakes.upstream import UpstreamProxy

pytestmark = pytest.mark.anyio


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    with Origin() as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/") as answer:  # the host can reach it
            assert answer.status == 200
        server.seen.clear()
        server.accepted = 0
        yield server


@pytest.fixture
async def direct() -> AsyncIterator[RunningGateway]:
    """A gateway that goes out by the host's own address."""
    async with running_gateway() as gateway:
        await gateway.client.configure(EgressSpec(mode=EgressMode.DIRECT))
        yield gateway


LOOPBACK_SPELLINGS = [
    "127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1",
    "127.0.0.01", "0", "0.0.0.0", "localhost", "LOCALHOST", "localhost.", "x.localhost", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "[::1%lo]", "①②⑦.0.0.1", "127。0。0。1", "127.0.0.1%2e", "ip6-localhost", "ip6-loopback",
    "127.0.0.1@8.8.8.8", "metadata.google.internal", "169.254.169.254",
]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
async def test_the_host_under_any_spelling(direct: RunningGateway, origin: Origin, host: str) -> None:
    authority = f"{host}:{origin.port}".encode()
    for line in (b"CONNECT " + authority, b"GET http://" + authority + b"/"):
        async with guest(direct.proxy_port) as program:
            await program.send(line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await program.answer()).status in (400, 403)
    assert origin.accepted == 0
    await direct.client.counters()
    assert len(direct.denials()) == 2
    assert set(direct.denials()) <= {"bad_target", "not_public", "local_name"}


async def test_a_name_that_resolves_to_this_host(direct: RunningGateway, origin: Origin) -> None:
    name = socket.gethostname()
    try:
        addresses = {str(item[4][0]) for item in socket.getaddrinfo(name, None)}
    except OSError:
        pytest.skip(f"this host does not resolve its own name, {name}")
    async with guest(direct.proxy_port) as program:
        assert (await program.tunnel(f"{name}:{origin.port}")).status == 403, addresses
    assert origin.accepted == 0


class Rebinding(Resolver):
    """Answers each time with the next of its answers, as an attacker's DNS server does."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        super().__init__()
        self.answers = list(answers)

    async def resolve(self, host: str | Address) -> tuple[Address, ...]:
        return tuple(ip_address(text) for text in self.answers.pop(0))


def in_process(resolver: Resolver, *allowed: str) -> tuple[Gateway, list[dict[str, object]]]:
    events: list[dict[str, object]] = []
    gateway = Gateway(events.append)
    gateway.resolver = resolver
    gateway.configure(EgressSpec(mode=EgressMode.DIRECT, direct_allow=allowed))
    return gateway, events


async def test_rebinding_has_no_second_answer_to_give(origin: Origin) -> None:
    with Origin(address="127.0.0.2", port=origin.port) as harmless:
        gateway, _ = in_process(Rebinding(("127.0.0.2",), ("127.0.0.1",)), "127.0.0.2")
        channel = await gateway.dial_direct(Target("rebind.test", origin.port))
        assert channel.sock.getpeername()[0] == "127.0.0.2"
        channel.close()
        with pytest.raises(DeniedError) as raised:
            await gateway.dial_direct(Target("rebind.test", origin.port))
        assert raised.value.reason is Reason.NOT_PUBLIC
        assert (origin.accepted, harmless.socket.getsockname()[0]) == (0, "127.0.0.2")


async def test_a_private_address_among_public_ones_is_left_out(origin: Origin) -> None:
    answers = ("127.0.0.1", "127.0.0.2", "::1", "10.0.0.1")
    with Origin(address="127.0.0.2", port=origin.port):
        gateway, _ = in_process(Rebinding(answers), "127.0.0.2")
        channel = await gateway.dial_direct(Target("mixed.test", origin.port))
        assert channel.sock.getpeername()[0] == "127.0.0.2"
        channel.close()
    assert origin.accepted == 0


def test_the_hosts_own_addresses_are_known() -> None:
    assert is_of_this_host(ip_address("127.0.0.1"))
    assert not is_of_this_host(ip_address("203.0.113.77"))
    for family, to in ((socket.AF_INET, "203.0.113.77"), (socket.AF_INET6, "2001:db8::77")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((to, 9))  # tells which address we would use; sends nothing
            except OSError:
                continue
            assert is_of_this_host(ip_address(probe.getsockname()[0]))


async def test_the_upstream_is_no_target(origin: Origin) -> None:
    async with running_gateway() as gateway:
        with UpstreamProxy(hosts={"127.0.0.1": ("127.0.0.1", origin.port)}) as upstream:
            spec = EgressSpec(
                mode=EgressMode.PROXY, upstreams=(Secret(upstream.url),), direct_allow=("127.0.0.0/8",)
            )
            await gateway.client.configure(spec)
            async with guest(gateway.proxy_port) as program:
                assert (await program.tunnel(f"127.0.0.1:{upstream.port}")).status == 403
            assert upstream.accepted == 0
        await gateway.client.counters()
        assert gateway.denials() == ["upstream_itself"]
