"""The porter's command line, and its life: serve until SIGTERM, whatever becomes of controllers."""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import signal
from collections.abc import Sequence
from pathlib import Path

import uvloop

from oriel.host.layout import Home
from oriel.host.logs import log_json
from oriel.host.systemd import notify
from oriel.porter.server import Carrying, listening

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Carry until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m oriel.porter", description="Carries screens and downloads."
    )
    parser.add_argument("--home", type=Path, required=True, help="the home directory")
    options = parser.parse_args(argv)
    log_json()
    # Two descriptors a connection, of thousands.
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now != most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_serve(Home(options.home.resolve())))
    return 0


async def _serve(home: Home) -> None:
    leaving = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leaving.set)
    home.controller.mkdir(mode=0o700, parents=True, exist_ok=True)
    carrying = Carrying(leaving.set)
    async with listening(home.porter_socket, carrying):
        logging.info("carrying")
        notify("READY=1")
        await leaving.wait()
        carrying.close()
        await asyncio.sleep(0)  # what was said last goes out with this turn
