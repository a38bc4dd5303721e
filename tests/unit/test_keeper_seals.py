"""A moment's seal: what was changed in its files is noticed, what only looks different is not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from oriel.keeper.seals import check_seal, check_template, seal_of, stamp_of
from oriel.machine.driver import Moment
from oriel.model.errors import HostError

MIB = 1 << 20


@pytest.fixture
def template(tmp_path: Path) -> Moment:
    """With a memory of 8 MiB of which two pages are used."""
    directory = tmp_path / "template"
    directory.mkdir()
    moment = Moment(directory)
    for file in (moment.memory, moment.disk):
        with file.open("wb") as opened:
            opened.write(b"first page")
            opened.seek(5 * MIB + 4096)
            opened.write(b"another page")
            opened.truncate(8 * MIB)
    moment.pages.write_bytes(b"which")
    moment.devices.write_bytes(b"their state")
    return moment


def flip(file: Path, offset: int, *, silently: bool) -> None:
    """Change one byte. `silently`: without its date, as a disk does that rots."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)
        opened.seek(offset)
        opened.write(bytes([byte[0] ^ 1]))
    later = before.st_mtime_ns if silently else before.st_mtime_ns + 10**9
    os.utime(file, ns=(later, later))


def test_what_was_not_changed_is_believed(template: Moment) -> None:
    seal = seal_of(template, template=True)
    check_seal(template, seal)
    check_template(template, seal)


@pytest.mark.parametrize("name", ["pages", "devices"])
def test_a_small_file_is_read_each_time(template: Moment, name: str) -> None:
    seal = seal_of(template, template=False)
    flip(template.directory / name, 2, silently=True)
    with pytest.raises(HostError, match=f"{name} is damaged"):
        check_seal(template, seal)


@pytest.mark.parametrize("name", ["memory", "disk.img"])
def test_a_template_that_was_written_to_is_noticed_at_once(template: Moment, name: str) -> None:
    seal, stamp = seal_of(template, template=True), stamp_of(template)
    flip(template.directory / name, 3, silently=False)
    with pytest.raises(HostError, match=f"{name} was changed"):
        check_seal(template, seal)
    assert stamp_of(template) != stamp


@pytest.mark.parametrize("offset", [3, 2 * MIB, 5 * MIB + 4096, 8 * MIB - 1])
def test_a_template_that_rots_is_noticed_when_it_is_read(template: Moment, offset: int) -> None:
    seal = seal_of(template, template=True)
    flip(template.memory, offset, silently=True)
    check_seal(template, seal)
    with pytest.raises(HostError, match="memory is damaged"):
        check_template(template, seal)


@pytest.mark.parametrize("name", ["pages", "memory", "disk.img"])
def test_a_file_that_is_missing_is_said(template: Moment, name: str) -> None:
    seal = seal_of(template, template=True)
    (template.directory / name).unlink()
    with pytest.raises(HostError, match=f"{name} cannot be read"):
        check_seal(template, seal)


def test_a_desktop_does_not_go_on_over_a_base_that_was_changed(template: Moment, tmp_path: Path) -> None:
    own = Moment(tmp_path / "paused")
    own.directory.mkdir()
    for name in ("memory", "pages", "devices"):
        shutil.copy(template.directory / name, own.directory / name)
    os.link(template.memory, own.base)
    seal = seal_of(own, template=False)
    check_seal(own, seal)
    flip(template.memory, 0, silently=False)
    with pytest.raises(HostError, match="base was changed"):
        check_seal(own, seal)


def test_a_copy_whose_holes_were_filled_is_the_same(template: Moment, tmp_path: Path) -> None:
    seal = seal_of(template, template=True)
    copy = Moment(tmp_path / "copy")
    copy.directory.mkdir()
    for file in template.directory.iterdir():
        (copy.directory / file.name).write_bytes(file.read_bytes())
        shutil.copystat(file, copy.directory / file.name)
    assert copy.memory.stat().st_blocks > template.memory.stat().st_blocks
    check_seal(copy, seal)
    check_template(copy, seal)
