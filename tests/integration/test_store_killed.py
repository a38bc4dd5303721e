"""kill -9 under a load of writes, a few times; `python -m bench.store` does it two hundred times."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bench.store import killed

from oriel.controller.store import people
from oriel.controller.store.database import Database
from oriel.controller.store.people import User
from oriel.model.errors import UnavailableError
from oriel.model.events import utc_now
from tests.fakes.postgres import cluster


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, kind: str) -> None:
    if kind == "sqlite":
        seen = asyncio.run(killed(f"sqlite:///{tmp_path}/oriel.db", 5))
    else:
        with cluster() as made:
            seen = asyncio.run(killed(made.database(), 3))
    assert (seen.lost, seen.lies, seen.corrupt) == (0, 0, 0)
    assert seen.acknowledged >= seen.kills >= 3


def test_a_postgresql_that_restarts_is_found_again() -> None:
    async def run() -> None:
        with cluster() as made:
            database = Database(made.database())
            await database.open(lambda _: None)
            try:
                await database.write(lambda t: people.add_user(t, _user("ann")))
                await asyncio.to_thread(made.stop)
                with pytest.raises(UnavailableError, match="does not answer"):
                    await database.write(lambda t: people.add_user(t, _user("bob")))
                with pytest.raises(UnavailableError, match="does not answer"):
                    await database.read(lambda c: people.find_user(c, "ann"))
                await asyncio.to_thread(made.start)
                assert await database.read(lambda c: people.find_user(c, "ann")) is not None
                await database.write(lambda t: people.add_user(t, _user("bob")))
                assert await database.read(lambda c: people.find_user(c, "bob")) is not None
            finally:
                await database.close()

    asyncio.run(run())


def _user(name: str) -> User:
    return User(id=f"u-{name}", name=name, role="user", created_at=utc_now())
