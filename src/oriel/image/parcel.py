"""Packs an image's content into one file, in a mount namespace of its own.

A parcel is a tar archive, packed with zstd: the records, the kernel, the initrd, and below `root/` every file
of the root. Not the image's own files: EROFS has packed each of these already, by itself and for speed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from oriel.host import process
from oriel.image.plan import EPOCH

__all__ = ["BESIDE", "CHECKPOINT_MIB", "packing_argv", "unpacking_argv"]

BESIDE = ("vmlinuz", "initrd")  # packed beside the records and the root; all else is made again from these
LEVEL = 12
WINDOW = "--long=27"  # 128 MiB: the largest that every zstd unpacks without being asked
CHECKPOINT_MIB = 100
DEADLINE_S = 3600


def packing_argv(image: Path, place: Path, target: Path) -> list[str | Path]:
    """Pack `place`/root and what stands beside it in `image`. Tells each CHECKPOINT_MIB as `tar: #`."""
    return [
        *("tar", "--create", "--file", target, f"--use-compress-program=zstd -T0 -{LEVEL} {WINDOW}"),
        *("--format=posix", "--pax-option=delete=atime,delete=ctime", "--sort=name", "--numeric-owner"),
        *(f"--mtime=@{EPOCH}", "--xattrs", "--xattrs-include=*"),
        "--exclude=root/lost+found",  # of ext4, in the layout `copy`
        *(f"--checkpoint={CHECKPOINT_MIB * 102}", "--checkpoint-action=echo=#"),  # records of 10 KiB
        *("-C", image, "manifest.json", "sbom.cdx.json", *BESIDE, "-C", place, "root"),
    ]


def unpacking_argv(parcel: Path, place: Path) -> list[str | Path]:
    return [
        *("tar", "--extract", "--file", parcel, f"--use-compress-program=zstd -d {WINDOW}"),
        *("--numeric-owner", "--same-owner", "--same-permissions", "--xattrs", "--xattrs-include=*"),
        *("--delay-directory-restore", "--keep-old-files", "-C", place),
    ]


async def pack(image: Path, layout: str, place: Path, target: Path) -> None:
    """`place` gets the directory `root`, on which the image's root is mounted until this process ends."""
    root = place / "root"
    root.mkdir()
    source, options = ("disk.img", "ro,loop,noload") if layout == "copy" else ("root.erofs", "ro,loop")
    await process.run(["mount", "-o", options, image / source, root])
    argv = packing_argv(image, place, target)
    child = process.spawn(argv, log=sys.stdout.fileno())
    if code := await asyncio.to_thread(child.wait):
        raise SystemExit(f"exit code {code}: {process.paste(argv)}")


if __name__ == "__main__":
    asyncio.run(pack(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
