"""What of a moment must be there before anything goes on from it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from oriel.keeper.moments import Kept, read_moment
from oriel.machine.driver import Moment
from oriel.model.errors import HostError
from oriel.model.events import utc_now
from tests.unit.test_template_key import KEY


def kept(directory: Path, *, without: str = "", base: bool = False) -> Moment:
    """A moment in `directory` as drivers write it, but for one file."""
    moment = Moment(directory)
    directory.mkdir()
    for file in (moment.memory, *((moment.base,) if base else ())):
        file.touch()
        os.truncate(file, KEY.memory_mib << 20)
    for file in (moment.pages, moment.devices):
        file.write_bytes(b"x")
    told = Kept(key=KEY.to_json(), name=KEY.name, at=utc_now(), bytes_own=1, seconds=0.1)
    moment.manifest.write_text(json.dumps(asdict(told)))
    if without:
        (directory / without).unlink()
    return moment


def test_a_driver_without_a_base_needs_no_list_of_pages(tmp_path: Path) -> None:
    """Firecracker's memory is one whole file: it never went on from a pause while a list was asked for."""
    kept(tmp_path / "whole", without="pages")
    assert read_moment(tmp_path / "whole", KEY).directory == tmp_path / "whole"


@pytest.mark.parametrize(("missing", "base"), [("memory", False), ("devices", False), ("pages", True)])
def test_what_is_missing_is_named(tmp_path: Path, missing: str, base: bool) -> None:
    kept(tmp_path / "torn", without=missing, base=base)
    with pytest.raises(HostError, match=rf"/torn/{missing} is missing"):
        read_moment(tmp_path / "torn", KEY)


def test_memory_of_another_size_or_another_host_is_refused(tmp_path: Path) -> None:
    moment = kept(tmp_path / "cut")
    os.truncate(moment.memory, 4096)
    with pytest.raises(HostError, match="not of the memory's size"):
        read_moment(moment.directory, KEY)
    kept(tmp_path / "foreign")
    other = replace(KEY, engine="firecracker 1.15.1; linux 6.1; another processor")
    with pytest.raises(HostError, match="saved under another engine"):
        read_moment(tmp_path / "foreign", other)
