"""Which address of a pool whose desktop gets: one per user and again the same, or one per desktop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oriel.controller.store import desktops, people, proxies
from oriel.controller.store.database import Database
from oriel.controller.store.desktops import Desktop
from oriel.controller.store.people import User
from oriel.controller.store.proxies import Proxy
from oriel.model.errors import StateError
from oriel.model.events import utc_now
from tests.unit.test_controller_store import ANN, desktop, opened

BOB = User(id="u-bob", name="bob", role="user", created_at=utc_now())


class Book:
    """A database with two people and a pool; desktops are numbered."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def make(self, number: int, owner: User, proxy: str = "pool") -> int:
        """The place that a new desktop gets."""
        wanted: Desktop = replace(desktop(number), proxy=proxy, owner_id=owner.id, owner=owner.name)
        return (await self.database.write(lambda t: desktops.add(t, wanted))).place

    async def change(self, number: int, **values: Any) -> int:
        ref = desktop(number).id
        return (await self.database.write(lambda t: desktops.change(t, ref, **values))).place

    async def forget(self, number: int) -> None:
        await self.database.write(lambda t: desktops.forget(t, desktop(number).id))

    async def change_proxy(self, **values: Any) -> None:
        await self.database.write(lambda t: proxies.change(t, "p-pool", values))


def against(count: int, **kind: bool) -> Callable[[Callable[[Book], Any]], Callable[[Path], None]]:
    """A test over a pool of `count` addresses."""

    def decorate(test: Callable[[Book], Any]) -> Callable[[Path], None]:
        def run(tmp_path: Path) -> None:
            async def body() -> None:
                async with opened(f"sqlite:///{tmp_path}/oriel.db") as (database, _):
                    for user in (ANN, BOB):
                        await database.write(lambda t, user=user: people.add_user(t, user))
                    pool = Proxy(
                        id="p-pool", name="pool", owner_id=ANN.id, owner=ANN.name, secret=b"sealed",
                        addresses=[f"http://h.example:{port}" for port in range(1, count + 1)],
                        has_password=True, labels={}, created_at=utc_now(), **kind,
                    )  # fmt: skip
                    await database.write(lambda t: proxies.add(t, pool))
                    await test(Book(database))

            asyncio.run(body())

        run.__doc__ = test.__doc__
        return run

    return decorate


@against(2)
async def test_a_user_has_one_address_for_all_their_desktops(book: Book) -> None:
    assert [await book.make(n, who) for n, who in ((1, ANN), (2, BOB), (3, ANN))] == [0, 1, 0]
    for number in (1, 3):
        await book.forget(number)
    # Ann has none left; her address is still hers while there is another.
    assert await book.make(4, ANN) == 0


@against(1)
async def test_one_address_is_everybodys_unless_it_is_exclusive(book: Book) -> None:
    assert [await book.make(n, who) for n, who in ((1, ANN), (2, BOB))] == [0, 0]
    with pytest.raises(StateError) as raised:
        await book.change_proxy(exclusive=True)
    assert raised.value.code == "proxy_in_use"


@against(1, exclusive=True)
async def test_an_exclusive_proxy_in_use_is_refused(book: Book) -> None:
    assert await book.make(1, ANN) == 0
    with pytest.raises(StateError) as raised:
        await book.make(2, ANN)
    assert raised.value.code == "proxy_in_use"
    await book.make(2, ANN, proxy="direct")
    with pytest.raises(StateError):
        await book.change(2, proxy="pool")
    await book.change(1, proxy="none")
    assert await book.change(2, proxy="pool") == 0


@against(3, exclusive=True)
async def test_each_desktop_an_address_and_users_find_theirs_again(book: Book) -> None:
    assert [await book.make(n, who) for n, who in ((1, ANN), (2, BOB), (3, ANN))] == [0, 1, 2]
    with pytest.raises(StateError) as raised:
        await book.make(4, BOB)
    assert raised.value.code == "proxy_exhausted"
    await book.forget(1)
    await book.forget(2)
    assert await book.make(5, BOB) == 1
    assert await book.make(6, ANN) == 0


@against(2)
async def test_an_address_nobody_uses_goes_to_another_only_when_there_is_no_other(book: Book) -> None:
    await book.make(1, ANN)
    await book.forget(1)
    assert await book.make(2, BOB) == 1
    third = User(id="u-cid", name="cid", role="user", created_at=utc_now())
    await book.database.write(lambda t: people.add_user(t, third))
    assert await book.make(3, third) == 0
    with pytest.raises(StateError) as raised:
        await book.make(4, ANN)
    assert raised.value.code == "proxy_exhausted"


@against(2)
async def test_a_desktop_given_away_gets_its_new_owners_address(book: Book) -> None:
    await book.make(1, ANN)
    await book.make(2, BOB)
    assert await book.change(1, owner_id=BOB.id) == 1


@against(2)
async def test_what_is_in_use_is_not_taken_away(book: Book) -> None:
    await book.make(1, ANN)
    await book.make(2, BOB)
    with pytest.raises(StateError):
        await book.change_proxy(addresses=["http://h.example:1"])
    await book.forget(2)
    await book.change_proxy(addresses=["http://h.example:1"])
    assert [use.desktop for use in await book.database.read(lambda c: proxies.uses(c, ["pool"]))] == ["one-1"]
