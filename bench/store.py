"""The controller's database under kill -9: what was acknowledged is there, and nothing is half there.

    .venv/bin/python -m bench.store [--kills 200] [--url postgresql://…] [--json]

A process moves desktops from state to state as fast as it can and says each acknowledged move on a pipe.
It is killed at a random one, 200 times, over the same database; each time that is opened again and compared
with what was said.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from bench.report import publish
from oriel.controller.store import desktops, events, people
from oriel.controller.store.database import Database, Transaction
from oriel.controller.store.desktops import Desktop, Wanted
from oriel.controller.store.people import User
from oriel.model.events import Event, utc_now
from oriel.model.spec import Isolation, Runtime
from oriel.model.state import State

__all__ = ["Killed", "killed"]

ROOT = Path(__file__).resolve().parents[1]
DESKTOPS = 16
CYCLE = (State.STARTING, State.RUNNING, State.STOPPING, State.STOPPED)
OWNER = User(id="u-owner", name="owner", role="user", created_at="2026-01-01T00:00:00.000Z")


@dataclass
class Killed:
    """What was seen. `lost`: acknowledged and not there; `lies`: a state its last event does not tell."""

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    lies: int = 0
    corrupt: int = 0


def _desktop(number: int) -> Desktop:
    return Desktop(
        id=f"d-{number:0>10}".replace("0", "a").replace("1", "b"), name=f"one-{number}", owner_id=OWNER.id,
        owner=OWNER.name, session_id="s", wanted=Wanted.RUNNING, state=State.CREATING,
        runtime=Runtime.CONTAINER, isolation=Isolation.CONTAINER, image="default@0123456789ab", vcpus=1,
        memory_mib=1024, disk_gib=1, screen_width=1280, screen_height=720, proxy="direct", allow=(), deny=(),
        idle_timeout_s=0, labels={}, created_at=utc_now(), ready_at=None, timings={}, error=None,
        journal_seq=0,
    )  # fmt: skip


async def _write_forever(url: str) -> None:
    """Say `ID STATE` of every move once it is acknowledged."""
    database = Database(url)
    await database.open(lambda _: None)

    def prepare(transaction: Transaction) -> list[Desktop]:
        if not (known := desktops.every(transaction.connection)):
            people.add_user(transaction, OWNER)
            known = [desktops.add(transaction, _desktop(number)) for number in range(DESKTOPS)]
        return known

    async def drive(one: Desktop) -> None:
        at = CYCLE.index(one.state) + 1 if one.state in CYCLE else 0
        while True:
            state = CYCLE[at % len(CYCLE)]
            moved = await database.write(partial(desktops.move, desktop_id=one.id, state=state))
            sys.stdout.write(f"{one.id} {moved.state} {moved.revision}\n")
            sys.stdout.flush()
            at += 1

    async with asyncio.TaskGroup() as group:
        for one in await database.write(prepare):
            group.create_task(drive(one))


async def killed(url: str, kills: int, seed: int = 0) -> Killed:
    """Kill the writer so many times, and look each time."""
    chance, seen = random.Random(seed), Killed()
    said: dict[str, tuple[str, int]] = {}
    for _ in range(kills):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.store", "--write", url, cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, limit=1 << 20,
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 60)):
            _hear(await process.stdout.readline(), said, seen)
        process.kill()
        # What it said before it died, it had been acknowledged; a last half line it had not said.
        for line in (await process.stdout.read()).splitlines(keepends=True):
            if line.endswith(b"\n"):
                _hear(line, said, seen)
        await process.wait()
        seen.kills += 1
        await _look(url, said, seen)
    return seen


def _hear(line: bytes, said: dict[str, tuple[str, int]], seen: Killed) -> None:
    desktop, state, revision = line.decode().split()
    said[desktop] = (state, int(revision))
    seen.acknowledged += 1


async def _look(url: str, said: dict[str, tuple[str, int]], seen: Killed) -> None:
    database = Database(url)
    await database.open(lambda _: None)
    try:
        if url.startswith("sqlite"):
            found = await database.read(lambda c: c.execute(text("PRAGMA integrity_check")).scalar())
            seen.corrupt += found != "ok"
        known = {one.id: one for one in await database.read(desktops.every)}
        for desktop, (state, revision) in said.items():
            one = known[desktop]
            # One more than was heard may be there: acknowledged, and killed before it was said.
            seen.lost += one.revision < revision or (one.revision == revision and one.state != state)
            history = await database.read(partial(_history, desktop=desktop))
            kinds = [event.kind for event in history]
            seen.lies += kinds[-1] != f"state.{one.state}" or len(kinds) != one.revision + 1
    finally:
        await database.close()


def _history(connection: Connection, desktop: str) -> list[Event]:
    return events.after(connection, 0, desktop=desktop, owner_id=None, limit=1_000_000)


async def _run(kills: int, url: str) -> dict[str, Any]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="os-") as directory:
        seen = await killed(url or f"sqlite:///{directory}/oriel.db", kills)
    return {**vars(seen), "seconds": round(time.monotonic() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description="The controller's database under kill -9.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--url", default="", help="another database than a new SQLite file")
    parser.add_argument("--write", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: stdout is JSON anyway")
    options = parser.parse_args()
    if options.write:
        asyncio.run(_write_forever(options.write))
        return
    found = asyncio.run(_run(options.kills, options.url))
    publish("the database, killed -9 while it writes", [found], found)
    sys.exit(1 if found["lost"] or found["lies"] or found["corrupt"] else 0)


if __name__ == "__main__":
    main()
