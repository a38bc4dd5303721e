"""Every file of an image's root: for its content hash, its size by part, and what must not be in it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Item", "content_hash", "list_tree", "private_items", "sizes_by_part"]

# A path belongs to the first part one of whose beginnings it has.
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("browser", ("usr/lib/chromium", "opt/google", "usr/share/chromium", "etc/chromium")),
    ("codex", ("usr/local/lib/node_modules/@openai/",)),
    ("claude", ("usr/local/lib/node_modules/@anthropic-ai/",)),
    ("gemini", ("usr/local/lib/node_modules/@google/",)),
    ("npm", ("usr/local/lib/node_modules/",)),
    ("node", ("usr/lib/x86_64-linux-gnu/libnode", "usr/bin/node", "usr/share/nodejs", "usr/lib/nodejs")),
    ("kernel modules", ("usr/lib/modules",)),
    ("OpenGL", (
        "usr/lib/x86_64-linux-gnu/libLLVM", "usr/lib/x86_64-linux-gnu/libgallium",
        "usr/lib/x86_64-linux-gnu/libz3", "usr/lib/x86_64-linux-gnu/dri", "usr/lib/x86_64-linux-gnu/gbm",
    )),
    ("media", ("usr/lib/x86_64-linux-gnu/gstreamer", "usr/lib/x86_64-linux-gnu/libgst")),
    ("fonts and icons", ("usr/share/fonts", "usr/share/icons", "usr/share/themes", "var/cache/fontconfig")),
    ("python", ("usr/lib/python3", "usr/bin/python3")),
    ("perl", ("usr/share/perl", "usr/lib/x86_64-linux-gnu/perl", "usr/bin/perl")),
    ("git", ("usr/lib/git-core", "usr/bin/git", "usr/share/git-core")),
    ("oriel", ("usr/lib/oriel", "usr/share/oriel")),
    ("libraries", ("usr/lib/x86_64-linux-gnu",)),
    ("programs", ("usr/bin", "usr/sbin", "usr/libexec", "usr/lib/systemd")),
    ("licences", ("usr/share/doc",)),
)  # fmt: skip
REST = "the rest"
# What would be one desktop's own, or the build host's. A directory's name stands for all files below it.
PRIVATE = (
    "etc/ssh/ssh_host_", "var/lib/systemd/random-seed", "var/lib/dbus/machine-id", "root/.ssh/", "root/.npm",
    "home/user/.ssh/", "home/user/.npmrc", "root/.npmrc", "usr/local/etc/npmrc", "etc/npmrc",
    "var/lib/apt/lists/", "var/log/", "var/cache/apt/", "tmp/", "var/tmp/", "run/", "etc/ssl/private/",
    "root/.bash_history", "home/user/.bash_history",
)  # fmt: skip
EMPTY = ("etc/machine-id",)  # may be there, but says nothing


@dataclass(frozen=True)
class Item:
    """One entry of a tree. `digest`: of a file's content, a link's target, a device's number, else ""."""

    path: str
    kind: str  # the first letter of ls -l
    mode: int
    owner: tuple[int, int]
    size: int
    digest: str
    attributes: tuple[tuple[str, str], ...] = ()  # extended, in hex


def list_tree(root: Path) -> list[Item]:
    """Everything below `root`, sorted by path. Reads every file."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda path: _item(root, path), sorted(_walk(root)), chunksize=1))


def content_hash(items: Iterable[Item], others: Mapping[str, bytes]) -> str:
    """Of names, kinds, modes, owners, contents, attributes; `others`: files beside the root, as the kernel.

    Dates are no part of it: everything in an image has one date.
    """
    digest = hashlib.sha256()
    for item in items:
        size = item.size if item.kind == "-" else 0
        line = [item.path, item.kind, item.mode, item.owner, size, item.digest, item.attributes]
        digest.update(json.dumps(line).encode() + b"\n")
    for name, content in sorted(others.items()):
        digest.update(json.dumps([name, hashlib.sha256(content).hexdigest()]).encode() + b"\n")
    return digest.hexdigest()


def sizes_by_part(items: Iterable[Item]) -> dict[str, int]:
    """Bytes of the files of each part, the largest first. The sum is that of all files."""
    sizes: dict[str, int] = {}
    for item in items:
        if item.kind == "-":
            part = next((name for name, begins in PARTS if item.path.startswith(begins)), REST)
            sizes[part] = sizes.get(part, 0) + item.size
    return dict(sorted(sizes.items(), key=lambda entry: -entry[1]))


def private_items(items: Iterable[Item]) -> list[str]:
    """Paths of files that no image may have: identities, keys, lists, logs, settings of the build host."""
    return [
        item.path
        for item in items
        if item.kind == "-" and (item.path.startswith(PRIVATE) or (item.path in EMPTY and item.size))
    ]


def _walk(root: Path) -> Iterator[str]:
    for directory, names, files in os.walk(root):
        inside = os.path.relpath(directory, root)
        for name in (*names, *files):
            yield name if inside == "." else f"{inside}/{name}"


def _item(root: Path, name: str) -> Item:
    path = root / name
    status = path.lstat()
    match kind := stat.filemode(status.st_mode)[0]:
        case "-":
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        case "l":
            digest = str(path.readlink())
        case "c" | "b":
            digest = str(status.st_rdev)
        case _:
            digest = ""
    attributes = tuple(
        (key, os.getxattr(path, key, follow_symlinks=False).hex())
        for key in sorted(os.listxattr(path, follow_symlinks=False))
        if not key.startswith("trusted.overlay.")
    )
    return Item(
        path=name,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        size=status.st_size,
        digest=digest,
        attributes=attributes,
    )
