"""Backup and restore, as an operator does it: while Oriel serves, into another home, another database."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select, text

from oriel.controller.store.archive import back_up, read_back
from oriel.controller.store.database import Database, make_engine
from oriel.controller.store.tables import metadata
from oriel.host.layout import Home
from oriel.model.errors import StateError
from tests.fakes.controller import Running, against, controller
from tests.fakes.postgres import Cluster, cluster

ORIEL = [sys.executable, "-m", "oriel.cli.main"]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


def oriel(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ORIEL, *words], capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"]}
    )


def rows_of(url: str) -> dict[str, list[tuple]]:
    """Everything in it, but which numbers are given next."""
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return {
                table.name: [
                    tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))
                ]
                for table in metadata.sorted_tables
            }
    finally:
        engine.dispose()


@against()
async def test_a_home_comes_back_from_its_backup(c: Running) -> None:
    await c.desktop("mine")
    async with c.http() as http:
        url = "http://user:a-password@192.0.2.7:8080"
        assert (await http.post("/v1/proxies", json={"name": "p", "url": url})).status_code == 201
    file = c.home.root / "oriel.backup"
    made = await asyncio.to_thread(oriel, "backup", file, "--home", c.home.root, "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["rows"]["desktops"] == 1
    assert file.stat().st_mode & 0o777 == 0o600
    token = c.token

    busy = await asyncio.to_thread(oriel, "restore", file, "--home", c.home.root, "--replace")
    assert busy.returncode == 4
    assert "another controller serves" in busy.stderr

    with tempfile.TemporaryDirectory(prefix="or-") as other:
        done = await asyncio.to_thread(oriel, "restore", file, "--home", other)
        assert done.returncode == 0, done.stderr
        again = await asyncio.to_thread(oriel, "restore", file, "--home", other)
        assert (again.returncode, "--replace" in again.stderr) == (4, True)
        replaced = await asyncio.to_thread(oriel, "restore", file, "--home", other, "--replace")
        assert replaced.returncode == 0, replaced.stderr
        assert (Home(Path(other)).controller / "oriel.db.before-restore").exists()
        async with controller(Path(other)) as restored:
            assert restored.token == token
            # Its host has none of these desktops: what it knew is there, and it says what is not.
            assert (await restored.until("mine", "failed"))["error"]["code"] == "vanished"
            async with restored.http() as http:
                assert (await http.get("/v1/proxies/p")).json()["has_password"] is True
                assert (await http.post("/v1/desktops", json={"name": "behind", "proxy": "p"})).is_success
            await restored.until("behind", "running")
            spec = restored.host.named("behind").egress
            assert spec is not None
            assert spec.upstreams[0].reveal() == url


def test_rows_and_numbers_are_the_same_in_every_database(tmp_path: Path, postgresql: Cluster) -> None:
    home = Home(tmp_path / "one")
    home.controller.mkdir(parents=True)
    first = f"sqlite:///{home.database}"
    asyncio.run(_fill(first))
    urls = [first, postgresql.database(), postgresql.database(), f"sqlite:///{tmp_path}/last.db"]
    for number, (source, target) in enumerate(pairwise(urls)):
        back_up(source, {}, tmp_path / str(number))
        read_back(target, tmp_path / str(number), {})
    assert rows_of(urls[-1]) == rows_of(urls[1]) == rows_of(first)
    for url in urls:
        assert asyncio.run(_next_event(url)) == 4, url
    with pytest.raises(StateError, match="not empty"):
        read_back(urls[-1], tmp_path / "0", {})


def test_a_damaged_backup_changes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "one")
    home.controller.mkdir(parents=True)
    asyncio.run(_fill(f"sqlite:///{home.database}"))
    file = tmp_path / "whole"
    back_up(f"sqlite:///{home.database}", {}, file)
    cut = tmp_path / "cut"
    cut.write_bytes(file.read_bytes()[:-200])
    forged = tmp_path / "forged"
    with tarfile.open(file) as old, tarfile.open(forged, "w:gz") as new:
        for member in old.getmembers():
            data = old.extractfile(member)
            assert data is not None
            changed = data.read().replace(b"ann", b"bob") if "users" in member.name else data.read()
            member.size = len(changed)
            new.addfile(member, io.BytesIO(changed))
    (tmp_path / "text").write_text("hello")
    for number, name in enumerate(("cut", "forged", "text", "nowhere")):
        target = tmp_path / f"home{number}"
        failed = oriel("restore", tmp_path / name, "--home", target)
        assert failed.returncode != 0, name
        assert "Traceback" not in failed.stderr
        left = [path.name for path in (target / "controller").iterdir()]
        assert left == ["stills"], (name, left)


async def _fill(url: str) -> None:
    from oriel.controller.store import desktops, people
    from tests.unit.test_controller_store import ANN, desktop

    database = Database(url)
    await database.open(lambda _: None)
    await database.write(lambda t: people.add_user(t, ANN))
    for number in (1, 2, 3):
        await database.write(lambda t, n=number: desktops.add(t, desktop(n, error={"message": "\u20ac"})))
    await database.write(lambda t: t.connection.execute(text("DELETE FROM events WHERE seq = 3")))
    await database.close()


async def _next_event(url: str) -> int:
    from oriel.controller.store import desktops, events
    from oriel.model.state import State
    from tests.unit.test_controller_store import desktop

    database = Database(url)
    await database.open(lambda _: None)
    try:
        await database.write(lambda t: desktops.move(t, desktop(1).id, State.STARTING))
        return await database.read(events.newest)
    finally:
        await database.close()
