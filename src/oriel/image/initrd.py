"""The initrd: busybox, the few modules wanted, and guest/initrd/init, as an uncompressed cpio archive.

Uncompressed, for unpacking is what an emulated machine is slow at. Written here and not by cpio(1), so that
the same content gives the same bytes. Format "newc": cpio(5).
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oriel.host import process
from oriel.host.threads import in_thread
from oriel.model.errors import HostError

__all__ = ["Entry", "archive", "initrd_entries", "module_files"]

APPLETS = (
    "sh",
    "mount",
    "umount",
    "cat",
    "insmod",
    "ip",
    "switch_root",
    "reboot",
    "poweroff",
    "sync",
    "sleep",
)
DIRECTORIES = ("bin", "dev", "disk", "image", "modules", "proc", "root", "sys")


@dataclass(frozen=True)
class Entry:
    """A file, link (content: its target) or directory of an archive, with its whole mode."""

    name: str
    mode: int
    content: bytes = b""


def archive(entries: Sequence[Entry]) -> bytes:
    """A cpio archive, everything owned by root and dated to the epoch."""
    parts: list[bytes] = []
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], 1):
        name = entry.name.encode() + b"\0"
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        parts += [_padded(head), _padded(entry.content)]
    return b"".join(parts)


def initrd_entries(init: bytes, busybox: bytes, modules: Sequence[tuple[str, bytes]]) -> list[Entry]:
    """`modules`: (file name, content) in the order in which they are to be loaded."""
    order = "".join(f"{name}\n" for name, _ in modules).encode()
    return [
        *(Entry(name, stat.S_IFDIR | 0o755) for name in DIRECTORIES),
        Entry("init", stat.S_IFREG | 0o755, init),
        Entry("bin/busybox", stat.S_IFREG | 0o755, busybox),
        *(Entry(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox") for applet in APPLETS),
        Entry("modules/order", stat.S_IFREG | 0o644, order),
        *(Entry(f"modules/{name}", stat.S_IFREG | 0o644, content) for name, content in modules),
    ]


async def module_files(root: Path, release: str, names: Sequence[str]) -> list[tuple[str, bytes]]:
    """The modules `names` of the kernel in `root` with all they need, unpacked, in loading order."""
    files: dict[str, None] = {}
    for name in names:
        shown = await process.run(
            ["modprobe", "--dirname", root, "--set-version", release, "--show-depends", name], check=False
        )
        if shown.code != 0:
            raise HostError(
                f"the kernel {release} has no module {name}", hint="see initrd.modules in the recipe"
            )
        words = (line.split() for line in shown.stdout.decode().splitlines())
        files |= dict.fromkeys(word[1] for word in words if word[0] == "insmod")
    return [await _unpacked(Path(file)) for file in files]


async def _unpacked(file: Path) -> tuple[str, bytes]:
    for suffix, program in ((".xz", "xz"), (".zst", "zstd")):
        if file.suffix == suffix:
            return file.stem, (await process.run([program, "-dc", file])).stdout
    return file.name, await in_thread(file.read_bytes)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
