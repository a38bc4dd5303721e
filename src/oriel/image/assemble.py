"""Puts an image together, in a mount namespace of its own: `unshare … python -m oriel.image.assemble JOB`.

Whatever kills this process, its mounts vanish with the namespace. JOB is a directory with `job.json`; the
image's files appear in JOB/image. Progress goes to stdout, a line each.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel.host import process
from oriel.image.content import lay
from oriel.image.initrd import archive, initrd_entries, module_files
from oriel.image.kernel import elf_of
from oriel.image.listing import content_hash, list_tree, private_items, sizes_by_part
from oriel.image.packing import pack
from oriel.image.plan import EPOCH
from oriel.model.errors import HostError

__all__ = ["Job"]

USER_ID = 1000
# What a build leaves behind and a desktop must not inherit: identities, lists, caches, logs.
LEFTOVERS = (
    "var/lib/apt/lists", "var/cache", "var/log", "var/tmp", "tmp", "var/lib/systemd/random-seed",
    "var/lib/dbus/machine-id", "etc/ssh/ssh_host_*", "etc/hostname.*", "boot", "var/lib/ghostscript",
    "var/cache/ldconfig", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-",
)  # fmt: skip
EMPTY_DIRECTORIES = {
    "var/log": 0o755, "var/tmp": 0o1777, "tmp": 0o1777, "boot": 0o755, "var/lib/apt/lists/partial": 0o755,
    "var/cache/apt/archives/partial": 0o755, "var/cache/fontconfig": 0o755, "var/lib/oriel": 0o755,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to put together. Paths are absolute; `files` as in Plan."""

    base: Path
    tools: Path
    files: list[tuple[Path, str]]
    init: Path
    modules: list[str]
    links: dict[str, str]
    enable: list[str]
    mask: list[str]
    locale: str
    timezone: str
    unused: list[str]
    first_boot: list[str]
    screen: tuple[int, int]
    layout: str
    version: str
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(vars(self), default=str))  # type: ignore[no-any-return]

    @staticmethod
    def from_json(data: dict[str, Any]) -> Job:
        values = dict(data)
        for key in ("base", "tools", "init"):
            values[key] = Path(values[key])
        values["files"] = [(Path(source), landing) for source, landing in values["files"]]
        return Job(**values)


async def assemble(directory: Path, job: Job) -> None:
    """Build `directory`/image. On failure the directory is left as it is, for the caller to remove."""
    root, image = directory / "root", directory / "image"
    upper, work, scratch = (directory / name for name in ("upper", "work", "scratch"))
    for path in (root, image, upper, work, scratch):
        path.mkdir()
    options = f"lowerdir={job.tools}:{job.base},upperdir={upper},workdir={work}"
    await process.run(["mount", "-t", "overlay", "-o", options, "overlay", root])
    _say("files: laying them over the base")
    await _add_user(root)
    for source, landing in job.files:
        lay(source, root / landing)
    await process.run(["chown", "-R", f"{USER_ID}:{USER_ID}", root / "home/user"])
    await _set_up(root, job)
    await _kernel(root, image, job)
    _clean(root, job.unused)
    await _font_cache(root)
    _say("final: reading every file")
    found = _examine(root, image) | await _versions(root)
    (directory / "found.json").write_text(json.dumps(found))
    _say("final: packing the root")
    await pack(root, image, scratch, layout=job.layout, seed=job.version)


async def _add_user(root: Path) -> None:
    await _inside(root, ["useradd", "--create-home", "--uid", str(USER_ID), "--user-group",
                         "--shell", "/bin/bash", "user"])  # fmt: skip


async def _set_up(root: Path, job: Job) -> None:
    for name, target in job.links.items():
        link = root / "usr/local/bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    for place, target in (("etc/localtime", f"/usr/share/zoneinfo/{job.timezone}"),):
        (root / place).unlink(missing_ok=True)
        (root / place).symlink_to(target)
    (root / "etc/locale.conf").write_text(f"LANG={job.locale}\n")
    if job.locale != "C.UTF-8":
        with (root / "etc/locale.gen").open("a") as wanted:
            wanted.write(f"{job.locale} UTF-8\n")
        await _inside(root, ["locale-gen"])
    (root / "usr/lib/oriel/image.json").write_text(json.dumps(job.facts, indent=1) + "\n")
    (root / "usr/lib/oriel/first-screen").write_text(f"{job.screen[0]} {job.screen[1]}\n")
    units = list(job.enable)
    if job.first_boot:
        (root / "usr/lib/oriel/first-boot").write_text("".join(f"{line}\n" for line in job.first_boot))
        units.append("oriel-first-boot.service")
    await process.run(["systemctl", f"--root={root}", "--quiet", "enable", *units])
    if job.mask:
        await process.run(["systemctl", f"--root={root}", "--quiet", "mask", *job.mask])
    await process.run(["systemctl", f"--root={root}", "--quiet", "set-default", "multi-user.target"])
    await _inside(root, ["python3", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash",
                         "/usr/lib/oriel"])  # fmt: skip
    await _inside(root, ["/usr/lib/oriel/finish"])
    (root / "etc/machine-id").write_text("")
    # systemd-update-done.service(8): what a change of /usr asks for was done here, not at every first boot.
    for place in ("etc/.updated", "var/.updated"):
        (root / place).write_text(f"TIMESTAMP_NSEC={EPOCH + 1}000000000\n")


async def _kernel(root: Path, image: Path, job: Job) -> None:
    _say("final: kernel and initrd")
    kernel = next((root / "boot").glob("vmlinuz-*"))
    release = kernel.name.removeprefix("vmlinuz-")
    await process.run(["depmod", "--basedir", root, release])
    modules = await module_files(root, release, job.modules)
    busybox = (root / "usr/bin/busybox").read_bytes()
    (image / "initrd").write_bytes(archive(initrd_entries(job.init.read_bytes(), busybox, modules)))
    shutil.copyfile(kernel, image / "vmlinuz")
    (image / "vmlinux").write_bytes(await elf_of(kernel.read_bytes()))


def _clean(root: Path, unused: Sequence[str]) -> None:
    for pattern in (*LEFTOVERS, *(pattern.lstrip("/") for pattern in unused)):
        for path in sorted(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name, mode in EMPTY_DIRECTORIES.items():
        path = root / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)


async def _font_cache(root: Path) -> None:
    """A cache holds its directories' dates: give them the date they will have in the image before."""
    for fonts in ("usr/share/fonts", "usr/local/share/fonts"):
        for directory in [root / fonts, *(root / fonts).rglob("*")]:
            if directory.is_dir():
                os.utime(directory, (EPOCH, EPOCH))
    await _inside(root, ["fc-cache", "--system-only"])


def _examine(root: Path, image: Path) -> dict[str, Any]:
    """What the image holds. HostError if something is in it that is nobody else's business."""
    items = list_tree(root)
    if private := private_items(items):
        raise HostError(
            f"the image would hold what is private: {', '.join(private[:10])}",
            hint="an overlay or a package of the recipe brought it: take it out, or add it to system.unused",
        )
    beside = {name: (image / name).read_bytes() for name in ("vmlinuz", "initrd")}
    parts = sizes_by_part(items)
    return {
        "content": content_hash(items, beside), "content_bytes": sum(parts.values()), "entries": len(items),
        "parts": parts,
    }  # fmt: skip


async def _versions(root: Path) -> dict[str, Any]:
    listed = await process.run(
        ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W",
         "-f", "${Package}\\t${Version}\\t${Architecture}\\t${Installed-Size}\\n"]
    )  # fmt: skip
    unpacked = (root / "usr/lib/oriel/unpacked").read_text()
    rows = [line.split("\t") for line in (listed.stdout.decode() + unpacked).splitlines()]
    packages = {row[0]: {"version": row[1], "architecture": row[2], "kib": int(row[3] or 0)} for row in rows}
    npm: dict[str, set[str]] = {}
    for name, version in _npm_versions((root / "usr/local/lib/node_modules").glob("**/package.json")):
        npm.setdefault(name, set()).add(version)
    release = next((root / "usr/lib/modules").iterdir()).name
    return {
        "packages": dict(sorted(packages.items())),
        "npm": {name: sorted(versions) for name, versions in sorted(npm.items())},
        "kernel": release,
    }


def _npm_versions(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for file in files:
        if file.parent.parent.name == "node_modules" or file.parent.parent.parent.name == "node_modules":
            package = json.loads(file.read_text())
            if "name" in package and "version" in package:
                yield package["name"], package["version"]


async def _inside(root: Path, argv: list[str]) -> None:
    environment = {"SOURCE_DATE_EPOCH": str(EPOCH), "DEBIAN_FRONTEND": "noninteractive"}
    await process.run(["chroot", root, *argv], env=environment, deadline_s=300)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    os.umask(0o022)
    place = Path(sys.argv[1]).resolve()  # systemctl --root finds drop-ins outside of a root behind a link
    asyncio.run(assemble(place, Job.from_json(json.loads((place / "job.json").read_text()))))
