"""The database: one writer, whole changes, states only along the table, migrations that fit the tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from oriel.controller.store import desktops, events, listing, people, schema
from oriel.controller.store.database import LATEST, Database, Transaction
from oriel.controller.store.desktops import Desktop, Wanted
from oriel.controller.store.people import User
from oriel.controller.store.tables import metadata
from oriel.model.errors import HostError, NotFoundError, StateError
from oriel.model.events import Event, utc_now
from oriel.model.spec import Isolation, Runtime
from oriel.model.state import State
from tests.fakes.postgres import Cluster, cluster

ANN = User(id="u-ann", name="ann", role="user", created_at=utc_now())


def desktop(number: int = 1, **changes: Any) -> Desktop:
    letters = f"{number:0>10}".replace("0", "a").replace("1", "b")
    made = Desktop(
        id=f"d-{letters}", name=f"one-{number}", owner_id=ANN.id, owner=ANN.name, session_id="s",
        wanted=Wanted.RUNNING, state=State.CREATING, runtime=Runtime.CONTAINER, isolation=Isolation.CONTAINER,
        image="default@0123456789ab", vcpus=1, memory_mib=1024, disk_gib=1, screen_width=1280,
        screen_height=720, proxy="direct", allow=(), deny=("*.example.com",), idle_timeout_s=0,
        labels={"a": "b"}, created_at=utc_now(), ready_at=None, timings={}, error=None, journal_seq=0,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database: every promise of the store holds on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/oriel.db"
    return request.getfixturevalue("postgresql").database()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Database, list[Event]]]:
    published: list[Event] = []
    database = Database(url)
    await database.open(lambda several: published.extend(event for _, event in several))
    try:
        yield database, published
    finally:
        await database.close()


async def with_ann(database: Database) -> None:
    await database.write(lambda t: people.add_user(t, ANN))


def test_what_is_stored_comes_back(store: str) -> None:
    async def run() -> None:
        async with opened(store) as (database, published):
            await with_ann(database)
            wanted = desktop()
            made = await database.write(lambda t: desktops.add(t, wanted))
            assert made == replace(wanted, number=1)
            assert await database.read(lambda c: desktops.find(c, wanted.name)) == made
            assert [event.kind for event in published] == ["state.creating"]
        async with opened(store) as (database, _):
            assert await database.read(lambda c: desktops.find(c, wanted.id)) == made

    asyncio.run(run())


def test_a_state_moves_only_along_the_table_and_each_move_is_an_event(store: str) -> None:
    async def run() -> None:
        async with opened(store) as (database, published):
            await with_ann(database)
            made = await database.write(lambda t: desktops.add(t, desktop()))
            with pytest.raises(StateError):
                await database.write(lambda t: desktops.move(t, made.id, State.PAUSED))
            for state in (State.STARTING, State.RUNNING, State.RUNNING, State.STOPPING, State.STOPPED):
                await database.write(lambda t, state=state: desktops.move(t, made.id, state))
            await database.write(lambda t: desktops.move(t, made.id, State.DELETING))
            await database.write(lambda t: desktops.forget(t, made.id))
            with pytest.raises(NotFoundError):
                await database.write(lambda t: desktops.move(t, made.id, State.STARTING))
            kinds = ["creating", "starting", "running", "stopping", "stopped", "deleting"]
            assert [event.kind for event in published] == [
                *(f"state.{kind}" for kind in kinds),
                "desktop.gone",
            ]
            stored = await database.read(
                lambda c: events.after(c, 0, desktop=made.id, owner_id=None, limit=100)
            )
            assert stored == published

    asyncio.run(run())


def test_a_change_that_fails_is_undone_alone(store: str) -> None:
    """Changes that queue up are one transaction on the disk, and still each for itself."""

    async def run() -> None:
        async with opened(store) as (database, published):
            await with_ann(database)

            def fail(transaction: Transaction) -> None:
                desktops.add(transaction, desktop(50))
                raise RuntimeError("halfway")

            # The first one holds the writer until the others wait behind it.
            gate = asyncio.Event()
            loop = asyncio.get_running_loop()

            def wait(_: Transaction) -> None:
                asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)

            first = asyncio.create_task(database.write(wait))
            await asyncio.sleep(0)
            rest = [
                asyncio.create_task(database.write(lambda t, n=n: desktops.add(t, desktop(n))))
                for n in range(2, 9)
            ]
            bad = asyncio.create_task(database.write(fail))
            taken = asyncio.create_task(database.write(lambda t: desktops.add(t, desktop(99, name="one-2"))))
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(first, *rest)
            with pytest.raises(RuntimeError):
                await bad
            with pytest.raises(StateError):
                await taken
            known = await database.read(desktops.every)
            assert [one.name for one in known] == [f"one-{number}" for number in range(2, 9)]
            assert len(published) == 7

    asyncio.run(run())


def test_pages_go_backwards_from_the_newest(store: str) -> None:
    async def run() -> None:
        async with opened(store) as (database, _):
            await with_ann(database)
            for number in range(1, 6):
                await database.write(lambda t, n=number: desktops.add(t, desktop(n)))
            first = await database.read(lambda c: listing.page(c, owner_id=ANN.id, before=None, limit=2))
            rest = await database.read(
                lambda c: listing.page(c, owner_id=None, before=first[-1].number, limit=9)
            )
            assert [one.name for one in [*first, *rest]] == ["one-5", "one-4", "one-3", "one-2", "one-1"]
            assert (
                await database.read(lambda c: listing.page(c, owner_id="u-bob", before=None, limit=9)) == []
            )

    asyncio.run(run())


def test_event_numbers_are_never_given_twice(store: str) -> None:
    async def run() -> None:
        async with opened(store) as (database, published):
            await with_ann(database)
            await database.write(lambda t: desktops.add(t, desktop()))
            await database.write(lambda t: events.trim(t, -10))
            assert await database.read(events.newest) == 0
            await database.write(lambda t: desktops.move(t, desktop().id, State.STARTING))
            assert [event.seq for event in published] == [1, 2]

    asyncio.run(run())


def test_migrations_lead_to_the_tables(store: str) -> None:
    async def run() -> None:
        async with opened(store) as (database, _):
            with database._engine.connect() as connection:
                context = MigrationContext.configure(connection)
                assert compare_metadata(context, metadata) == []
                assert context.get_current_revision() == LATEST

    assert ScriptDirectory(str(Path(schema.__file__).parent / "migrations")).get_heads() == [LATEST]

    asyncio.run(run())


def test_a_newer_database_is_refused(store: str) -> None:
    async def run() -> None:
        async with opened(store) as (database, _):
            await database.write(
                lambda t: t.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
            )
        database = Database(store)
        with pytest.raises(HostError, match="does not fit"):
            await database.open(lambda _: None)

    asyncio.run(run())


def test_only_an_admin_that_is_not_the_last_goes(store: str) -> None:
    async def run() -> None:
        async with opened(store) as (database, _):
            root = User(id="u-root", name="root", role="admin", created_at=utc_now())
            await database.write(lambda t: people.add_user(t, root))
            await with_ann(database)
            for change in (
                lambda t: people.remove_user(t, root),
                lambda t: people.change_user(t, root, role="user"),
            ):
                with pytest.raises(StateError, match="last administrator"):
                    await database.write(change)
            await database.write(lambda t: desktops.add(t, desktop()))
            with pytest.raises(StateError, match="still owns 1 desktops"):
                await database.write(lambda t: people.remove_user(t, ANN))

    asyncio.run(run())


def test_a_desktop_that_is_gone_is_never_taken_for_the_next_one(store: str) -> None:
    """Lists keep what they have read by number; SQLite by itself gives the newest row's number again."""

    async def run() -> None:
        async with opened(store) as (database, _):
            await with_ann(database)
            for number in (1, 2):
                made = await database.write(lambda t, n=number: desktops.add(t, desktop(n)))
                listed = await database.read(lambda c: listing.page(c, owner_id=None, before=None, limit=10))
                assert [one.id for one in listed] == [made.id]
                await database.write(lambda t, made=made: desktops.forget(t, made.id))

    asyncio.run(run())
