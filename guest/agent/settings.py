"""What the agent is told on its command line; the defaults are the desktop's fixed addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oriel.model.link import AGENT_ANNOUNCE_PORT, AGENT_PORT, GATEWAY_ADDRESS, GUEST_ADDRESS, VNC_PORT

__all__ = ["Settings", "parse"]

CDP_PORT = 9222  # Chrome's remote debugging, on the guest's loopback only


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`allow`: the one address that may connect. `announce`: where to say "I am there", None for nowhere.

    `root`: the file system that `personalise` writes into; if it is not "/", the kernel's own state
    (host name, clock, random numbers) is left alone. `ports`: what `connect` may reach on loopback.
    """

    address: str = GUEST_ADDRESS
    port: int = AGENT_PORT
    allow: str = GATEWAY_ADDRESS
    announce: tuple[str, int] | None = (GATEWAY_ADDRESS, AGENT_ANNOUNCE_PORT)
    display: str = ":1"
    root: Path = Path("/")
    user: str = "user"
    ports: frozenset[int] = frozenset({CDP_PORT, VNC_PORT})


def parse(argv: Sequence[str]) -> Settings:
    """The command line as settings; wrong usage ends the program with status 2."""
    if not argv:
        return Settings()  # as in the guest: argparse costs half a second of an emulated boot
    import argparse

    default = Settings()
    parser = argparse.ArgumentParser(prog="python3 -m agent", description=__doc__)
    parser.add_argument("--address", default=default.address, help="listen here, 0.0.0.0 for all")
    parser.add_argument("--port", type=int, default=default.port, help="0: any free one, printed on stdout")
    parser.add_argument("--allow", default=default.allow, metavar="ADDRESS", help="the only peer served")
    parser.add_argument("--announce", type=_endpoint, default=default.announce, metavar="HOST:PORT|none")
    parser.add_argument("--display", default=default.display)
    parser.add_argument("--root", type=Path, default=default.root, help="where personalise writes")
    parser.add_argument("--user", default=default.user, help="the desktop's user")
    parser.add_argument("--connectable", type=int, action="append", metavar="PORT", help="for `connect`")
    given = parser.parse_args(argv)
    return Settings(
        address=given.address,
        port=given.port,
        allow=given.allow,
        announce=given.announce,
        display=given.display,
        root=given.root,
        user=given.user,
        ports=frozenset(given.connectable or default.ports),
    )


def _endpoint(text: str) -> tuple[str, int] | None:
    if text == "none":
        return None
    host, _, port = text.rpartition(":")
    return host, int(port)
