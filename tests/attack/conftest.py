"""One server, one world, and for the whole layer one container and one emulated machine; with
ORIEL_FIRECRACKER_BIN, and a KVM that runs guests, one Firecracker too."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from oriel.host.layout import Home
from tests.attack.desktops import Desktop, Provider
from tests.attack.world import EXITS, ORIGIN_PORT, PUBLIC, SECURE_PORT, TCP_PORTS, World, entered, world
from tests.conftest import TEST_HOME, Server, start_server, stop_server
from tests.fakes.origin import Authority, Origin
from tests.fakes.upstream import UpstreamProxy

READY_S = 600  # a cold boot in full emulation, beside whatever else this machine does
RUNTIMES = [
    pytest.param("container", marks=pytest.mark.container),
    pytest.param("qemu", marks=pytest.mark.emulated),
]
FIRECRACKER = os.environ.get("ORIEL_FIRECRACKER_BIN")
if FIRECRACKER:  # without one no test is skipped for it: the same ones run on the other two
    RUNTIMES.append(pytest.param("firecracker", marks=pytest.mark.firecracker))


@pytest.fixture(scope="session")
def outside(need_root: None) -> Iterator[World]:
    """The world in which whatever a desktop leaks arrives."""
    with world() as made:
        yield made


@pytest.fixture(scope="session")
def server(golden_image: Path, images_directory: Path, outside: World) -> Iterator[Server]:
    """A server whose desktops may reach one address of that world directly, and no other."""
    home = TEST_HOME / "homes" / secrets.token_hex(4)
    home.mkdir(parents=True)
    if FIRECRACKER:
        installed = Home(home).firecracker
        installed.mkdir()
        for name in ("firecracker", "jailer"):
            shutil.copy(Path(FIRECRACKER).with_name(name), installed / name)
    (home / "oriel.toml").write_text(
        f'direct_allow = ["{PUBLIC}"]\necho_url = "http://origin.test/ip"\n', encoding="utf-8"
    )
    made = start_server(images_directory, "--no-desktop", home=home)
    yield made
    stop_server(made)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def origin(outside: World) -> Iterator[Origin]:
    """A web server at the world's public address; its requests tell from which address they came."""
    with entered("oriel-attack-world"):
        made = Origin(address=PUBLIC, port=ORIGIN_PORT)
    with made:
        yield made


@pytest.fixture(scope="session")
def secure(
    outside: World, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Origin]:
    """The same over TLS, for `origin.test`."""
    tls = authority.server_context(tmp_path_factory.mktemp("tls"), "origin.test", "github.com")
    with entered("oriel-attack-world"):
        made = Origin(address=PUBLIC, port=SECURE_PORT, tls=tls)
    with made:
        yield made


@pytest.fixture(scope="session")
def providers(server: Server, origin: Origin, secure: Origin) -> Iterator[tuple[Provider, Provider]]:
    """Two proxies with passwords, seen by origins from two addresses. Names they do not know are no hosts."""
    assert ORIGIN_PORT not in TCP_PORTS
    hosts = {
        "origin.test:80": (PUBLIC, ORIGIN_PORT),
        "origin.test:443": (PUBLIC, SECURE_PORT),
        "github.com:443": (PUBLIC, SECURE_PORT),
    }
    with (
        UpstreamProxy(
            username="one", password=f"canary-{secrets.token_hex(12)}", source=EXITS[0], hosts=hosts
        ) as first,
        UpstreamProxy(
            username="two", password=f"canary-{secrets.token_hex(12)}", source=EXITS[1], hosts=hosts
        ) as second,
    ):
        made = Provider(server, "one", first), Provider(server, "two", second)
        for provider in made:
            provider.register()
        yield made


def make_desktop(server: Server, name: str, runtime: str, proxy: str) -> Desktop:
    wanted = ["--runtime", runtime, "--proxy", proxy]
    if runtime != "container":
        wanted += ["--memory-mib", "1024"]
    made = server.json("create", name, *wanted, "--deadline", str(READY_S), timeout=READY_S)
    assert made["state"] == "running"
    return Desktop(server, name, made["id"], runtime)


@pytest.fixture(scope="session", params=RUNTIMES)
def desktop(
    request: pytest.FixtureRequest, server: Server, providers: tuple[Provider, Provider]
) -> Iterator[Desktop]:
    """The desktop that attacks; behind the first provider unless a test says otherwise."""
    made = make_desktop(server, f"attacker-{request.param}", request.param, "one")
    yield made
    made.stop_probe()
    server.oriel("delete", made.name)


@pytest.fixture(scope="session")
def neighbour(server: Server, providers: tuple[Provider, Provider]) -> Iterator[Desktop]:
    """Another user's desktop on the same host, behind the second provider."""
    made = make_desktop(server, "neighbour", "container", "two")
    yield made
    made.stop_probe()
    server.oriel("delete", made.name)
