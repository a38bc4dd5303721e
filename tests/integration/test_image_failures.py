"""Builds that fail: what a person reads, and that nothing is left. The mirrors are on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from oriel.host.layout import Home
from oriel.host.mounts import mounts_below
from oriel.image.build import build
from oriel.image.layers import discard
from oriel.model.errors import UnavailableError

pytestmark = pytest.mark.usefixtures("need_root")
JAMMY = """extends = "ubuntu-jammy"
summary = "Ubuntu from a mirror on loopback"
[system]
mirror = "{mirror}"
"""
# Google's source is not asked: only the mirror under test may fail here.
WITHOUT_CHROME = """sources = ["-https://dl.google.com/linux/chrome/deb/ stable main"]
keys = ["-https://dl.google.com/linux/linux_signing_key.pub"]
"""
RELEASE = "Origin: Ubuntu\nSuite: jammy\nCodename: jammy\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    home = Home(tmp_path / "home")
    home.recipes.mkdir(parents=True)
    return home


def failed_build(home: Home, text: str) -> UnavailableError:
    """The error of building that recipe; nothing of it is left."""
    (home.recipes / "mine.toml").write_text(text)
    with pytest.raises(UnavailableError) as caught:
        asyncio.run(build("mine", home, lambda _: None))
    assert [path.name for path in home.images.iterdir()] == [".cache"]
    assert [path.name for path in home.image_cache.iterdir()] == ["lock"]
    assert mounts_below(home.root) == []
    return caught.value


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Not on the test's output."""


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=directory))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ubuntu"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_mirror_that_refuses_is_named_with_what_to_do(home: Home) -> None:
    with socket.socket() as taken:  # bound and not listening: every connection to it is refused
        taken.bind(("127.0.0.1", 0))
        mirror = f"http://127.0.0.1:{taken.getsockname()[1]}/ubuntu"
        error = failed_build(home, JAMMY.format(mirror=mirror) + WITHOUT_CHROME)
    assert f"the package mirror of ubuntu jammy ({mirror}) cannot be reached" in error.message
    assert "Connection refused" in error.message
    assert "`mirror` under [system]" in error.hint
    assert "network and proxy" in error.hint


def test_a_mirror_without_the_suite_is_no_mirror_out_of_reach(home: Home, tmp_path: Path) -> None:
    with serving(tmp_path) as mirror:
        error = failed_build(home, JAMMY.format(mirror=mirror) + WITHOUT_CHROME)
    assert f"({mirror}) has not what is asked for" in error.message
    assert "jammy" in error.message


def test_a_mirror_whose_keys_are_not_here_is_told_as_that(home: Home, tmp_path: Path) -> None:
    place = tmp_path / "ubuntu/dists"
    for suite in ("jammy", "jammy-updates", "jammy-security"):
        (place / suite).mkdir(parents=True)
        (place / suite / "Release").write_text(RELEASE.replace("jammy", suite))
    with serving(tmp_path) as mirror:
        error = failed_build(home, JAMMY.format(mirror=mirror) + WITHOUT_CHROME)
    assert f"({mirror}) is signed by nobody whom this host trusts" in error.message
    assert "ubuntu-archive-keyring is installed" in error.hint


def test_a_key_that_cannot_be_fetched_is_named(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        text = JAMMY.format(mirror=f"http://127.0.0.1:{port}/ubuntu")
        keys = f'keys = ["-https://dl.google.com/linux/linux_signing_key.pub", "https://127.0.0.1:{port}/key.asc"]'
        error = failed_build(home, f"{text}{keys}\n")
    assert f"the key https://127.0.0.1:{port}/key.asc" in error.message
    assert "system.keys in the recipe" in error.hint


def test_what_a_killed_build_left_mounted_is_taken_down_and_not_into(tmp_path: Path) -> None:
    """A read-only mount fails a removal; one that is not would lose what is somebody else's."""
    theirs, layer = tmp_path / "theirs", tmp_path / "layer"
    theirs.mkdir()
    (theirs / "precious").write_text("kept")
    for name, options in (("read-only", "bind,ro"), ("writable", "bind")):
        (layer / "root" / name).mkdir(parents=True)
        subprocess.run(["mount", "-o", options, theirs, layer / "root" / name], check=True)
    asyncio.run(discard(layer))
    assert not layer.exists()
    assert mounts_below(tmp_path) == []
    assert (theirs / "precious").read_text() == "kept"
