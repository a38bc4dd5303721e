"""Another process's memory, here our own: which pages it has, and giving and taking them at an offset."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oriel.host.memory import PAGE, Region, Runs
from oriel.model.errors import HostError

PAGES, BEFORE = 16, 8  # BEFORE: pages of the file that belong to another region


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "memory"
    path.write_bytes(b"".join(bytes((number,)) * PAGE for number in range(BEFORE + PAGES)))
    return path


@pytest.fixture
def mapping(file: Path) -> Iterator[mmap.mmap]:
    """The file's later part, mapped privately as a VMM maps its guest's memory."""
    with file.open("rb") as opened:
        made = mmap.mmap(
            opened.fileno(), PAGES * PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE,
            offset=BEFORE * PAGE,
        )  # fmt: skip
    yield made
    made.close()


@pytest.fixture
def region(mapping: mmap.mmap) -> Iterator[Region]:
    view = ctypes.c_char.from_buffer(mapping)
    yield Region(os.getpid(), ctypes.addressof(view), len(mapping), BEFORE * PAGE)
    del view


def test_only_written_pages_are_its_own_and_go_to_their_places(
    mapping: mmap.mmap, region: Region, tmp_path: Path
) -> None:
    assert mapping[5 * PAGE] == BEFORE + 5, "reading makes no page its own"
    mapping[2 * PAGE], mapping[3 * PAGE], mapping[9 * PAGE] = b"abc"
    assert region.own().items == [(BEFORE + 2, 2), (BEFORE + 9, 1)]
    target = os.open(tmp_path / "own", os.O_RDWR | os.O_CREAT)
    kept = region.save(region.own(), target, skip_zero=False)
    assert kept.items == region.own().items
    assert os.fstat(target).st_size == (BEFORE + PAGES) * PAGE
    assert os.pread(target, 2, (BEFORE + 9) * PAGE) == bytes((ord("c"), BEFORE + 9))
    assert os.pread(target, 1, (BEFORE + 4) * PAGE) == b"\0"
    os.close(target)


def test_pages_come_back_from_their_places(mapping: mmap.mmap, region: Region, file: Path) -> None:
    mapping[:] = bytes(len(mapping))
    with file.open("rb") as source:
        region.load(Runs([(BEFORE + 3, 2)]), source.fileno())
        with pytest.raises(HostError, match="shorter than its list of pages"):
            region.load(Runs([(BEFORE + PAGES - 1, 2)]), source.fileno())
    assert [mapping[number * PAGE] for number in range(2, 6)] == [0, BEFORE + 3, BEFORE + 4, 0]
