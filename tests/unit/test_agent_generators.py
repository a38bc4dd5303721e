"""Generators that programs hold: found by what they asked of the kernel, and emptied as after a fork."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from agent.generators import Finder, Page, empty, parse

MADV_WIPEONFORK = 18  # <sys/mman.h>
SMAPS = b"""7f0000000000-7f0000001000 rw-p 00000000 00:00 0
Size:                  4 kB
VmFlags: rd wr mr mw me ac sd
7f0000002000-7f0000005000 rw-p 00000000 00:00 0                          [anon: wf]
Size:                 12 kB
VmFlags: rd wr mr mw me ac wf sd
7f0000006000-7f0000007000 r-xp 00000000 00:00 0                          /wf file
VmFlags: rd ex mr mw me wfx
"""


def test_only_mappings_that_are_empty_after_a_fork_are_found() -> None:
    assert list(parse(7, SMAPS)) == [Page(7, 0x7F0000002000, 0x3000)]
    assert list(parse(7, b"")) == []


def test_they_are_emptied_and_what_has_gone_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")  # this process alone is looked into
    (tmp_path / "4194304").mkdir()  # has ended since it was listed
    with mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held.madvise(MADV_WIPEONFORK)
        held.write(b"\1" * mmap.PAGESIZE)
        mine = Finder(tmp_path).find()
        assert {page.pid for page in mine} == {os.getpid()}
        empty([Page(os.getpid(), 0x1000, 8), Page(1 << 22, 0x1000, 8), *mine])
        assert held[:] == bytes(mmap.PAGESIZE)


def test_a_process_is_looked_at_again_only_when_its_mappings_have_changed(tmp_path: Path) -> None:
    process = tmp_path / "7"
    process.mkdir()
    (process / "maps").write_bytes(b"7f0000002000-7f0000005000 rw-p")
    (process / "smaps").write_bytes(SMAPS)
    finder = Finder(tmp_path)
    page = Page(7, 0x7F0000002000, 0x3000)
    assert finder.find() == [page]
    (process / "smaps").write_bytes(b"")
    assert finder.find() == [page]
    (process / "maps").write_bytes(b"another program")
    assert finder.find() == []
    (process / "maps").unlink()  # it has ended
    assert finder.find() == []
