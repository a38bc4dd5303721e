"""A real Oriel for a benchmark: the one of ORIEL_URL, else one of its own on a home that is removed after."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from oriel.client import Oriel

__all__ = ["ROOT", "serving", "serving_home"]

ROOT = Path(__file__).resolve().parents[1]
HOMES = Path(os.environ.get("ORIEL_TEST_HOME", "/var/lib/oriel-test"))


@contextlib.contextmanager
def serving(**settings: str) -> Iterator[Oriel]:
    """A client of a server that is ready. Its own server uses the tests' image cache and makes nothing ahead,
    unless `settings` say so."""
    if url := os.environ.get("ORIEL_URL"):
        with Oriel(url, os.environ["ORIEL_TOKEN"]) as client:
            yield client
        return
    with serving_home(**settings) as (client, _):
        yield client


@contextlib.contextmanager
def serving_home(**settings: str) -> Iterator[tuple[Oriel, Path]]:
    """As `serving`, always a server of its own; with its home, for what only the host can tell."""
    home = HOMES / "homes" / f"bench-{secrets.token_hex(3)}"
    home.mkdir(parents=True)
    settings = {
        "pool_size": "0",
        "keep_templates": "false",
        "images_directory": str(HOMES / "images"),
    } | settings
    environment = {**os.environ, **{f"ORIEL_{name.upper()}": value for name, value in settings.items()}}
    try:
        with (home / "run.out").open("w+") as out:
            command = [str(ROOT / "run"), "--detach", "--no-desktop", "--port", "0", "--home", str(home)]
            subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=out)
            out.seek(0)
            answer = json.loads(out.read().splitlines()[-1])
        with Oriel(answer["url"], answer["token"]) as client:
            yield client, home
    finally:
        subprocess.run(
            [ROOT / "run", "--stop", "--all", "--home", home], check=True, stdin=subprocess.DEVNULL
        )
        shutil.rmtree(home)
