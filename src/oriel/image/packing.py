"""A directory tree as the files of an image.

Layout `overlay`: root.erofs holds everything, disk.img is all but empty. Layout `copy`: disk.img is the root
itself, and root.erofs, with nothing in it, only there because a machine has two disks. The same content gives
the same bytes, except that `copy` keeps the files' change times, which are those of the build.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from oriel.host import process
from oriel.image.plan import EPOCH

__all__ = ["pack"]

NAMESPACE = uuid.UUID("6f72696c-6f72-4c69-8c65-6f7269656c00")
DISK_MIB = 256
DIRECTORIES = ("upper", "work")  # of the disk, in layout `overlay`
PACK_DEADLINE_S = 600


async def pack(root: Path, image: Path, scratch: Path, *, layout: str, seed: str) -> None:
    """Make `image`/root.erofs and `image`/disk.img. `scratch` is an empty directory."""
    if layout == "copy":
        (scratch / "nothing").mkdir(mode=0o755)
        await _pack_root(scratch / "nothing", image / "root.erofs", seed)
        used = await process.run(["du", "--summarize", "--one-file-system", "--block-size=1M", root])
        # A tenth, and what is free in the other layout: for the file system's tables, and the first writes.
        mib = int(used.stdout.split()[0]) * 11 // 10 + DISK_MIB
        await _pack_disk(image / "disk.img", root, mib, seed)
        return
    for name in DIRECTORIES:
        (scratch / "disk" / name).mkdir(parents=True, mode=0o755)
        os.utime(scratch / "disk" / name, (EPOCH, EPOCH))
    await _pack_root(root, image / "root.erofs", seed)
    await _pack_disk(image / "disk.img", scratch / "disk", DISK_MIB, seed)
    await _date(image / "disk.img")


async def _pack_root(root: Path, target: Path, seed: str) -> None:
    """A read-only EROFS. lz4: what unpacks fastest, also emulated; a third less to read than plain."""
    identity = uuid.uuid5(NAMESPACE, seed)
    await process.run(
        ["mkfs.erofs", "--quiet", "-x1", "-zlz4", f"-T{EPOCH}", f"-U{identity}", target, root],
        deadline_s=PACK_DEADLINE_S,
    )


async def _pack_disk(target: Path, content: Path, mib: int, seed: str) -> None:
    """The template of a desktop's disk: ext4, as small as may be, sparse, ready to be grown.

    No lazy work is left for the guest (`lazy_itable_init=0`: its first seconds are worth more), and there
    are group descriptors for 4 TiB (`resize`, in blocks of 4 KiB).
    """
    with target.open("wb") as file:
        os.truncate(file.fileno(), mib << 20)
    identity = uuid.uuid5(NAMESPACE, f"{seed} disk")
    options = f"lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard,hash_seed={identity}"
    await process.run(
        ["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-J", "size=32", "-L", "oriel-disk",
         "-U", str(identity), "-E", options, "-d", content, target],
        env={"E2FSPROGS_FAKE_TIME": str(EPOCH)},
        deadline_s=PACK_DEADLINE_S,
    )  # fmt: skip
    await process.run(["fallocate", "--dig-holes", target])


async def _date(disk: Path) -> None:
    """Give the directories the change time that mkfs took from our copies, and nobody can set those."""
    lines = [f"sif /{name} ctime @{EPOCH}" for name in DIRECTORIES]
    await process.run(
        ["debugfs", "-w", "-f", "-", disk],
        stdin="\n".join(lines).encode(), env={"E2FSPROGS_FAKE_TIME": str(EPOCH)}, deadline_s=PACK_DEADLINE_S,
    )  # fmt: skip
