"""The synchronous client is the asynchronous one, word for word."""

from __future__ import annotations

import inspect
import subprocess
from pathlib import Path

from oriel.client import AsyncOriel, Oriel

ROOT = Path(__file__).resolve().parents[2]


def test_it_is_fresh() -> None:
    result = subprocess.run(
        [ROOT / "scripts/sync_client", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_both_have_the_same_methods_and_only_one_awaits() -> None:
    with Oriel("http://127.0.0.1:1", "token") as sync:
        other = AsyncOriel("http://127.0.0.1:1", "token")
        for part in ("desktops", "proxies", "images", "users", "tokens"):
            mine, theirs = type(getattr(sync, part)), type(getattr(other, part))
            names = {name for name in dir(theirs) if not name.startswith("_")}
            assert names == {name for name in dir(mine) if not name.startswith("_")}
            assert not any(inspect.iscoroutinefunction(getattr(mine, name)) for name in names)


def test_nothing_of_the_event_loop_is_left() -> None:
    for path in (ROOT / "src/oriel/client/sync").glob("*.py"):
        words = path.read_text().split()
        assert not {"async", "await", "asyncio"} & set(words), path
