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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel.host import process
from oriel.image.content import lay
from oriel.image.initrd import archive, initrd_entries, module_files
from oriel.image.kernel import elf_of
from oriel.image.packing import pack_disk, pack_root

__all__ = ["Job"]

EPOCH = 1_700_000_000  # the date of everything in an image, so that the day of the build leaves no trace
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
    version: str

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
    upper, work = directory / "upper", directory / "work"
    for path in (root, image, upper, work):
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
    _clean(root)
    await _font_cache(root)
    _say("final: packing the root")
    await pack_root(root, image / "root.erofs", seed=job.version, epoch=EPOCH)
    await pack_disk(image / "disk.img", directory / "disk")
    await _record_packages(root, directory)


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
    await process.run(["systemctl", f"--root={root}", "--quiet", "enable", *job.enable])
    if job.mask:
        await process.run(["systemctl", f"--root={root}", "--quiet", "mask", *job.mask])
    await process.run(["systemctl", f"--root={root}", "--quiet", "set-default", "multi-user.target"])
    await _inside(root, ["python3", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash",
                         "/usr/lib/oriel"])  # fmt: skip
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


def _clean(root: Path) -> None:
    for pattern in LEFTOVERS:
        for path in root.glob(pattern):
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


async def _record_packages(root: Path, directory: Path) -> None:
    listed = await process.run(
        ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W",
         "-f", "${Package}\\t${Version}\\t${Architecture}\\t${Installed-Size}\\n"]
    )  # fmt: skip
    rows = [line.split("\t") for line in listed.stdout.decode().splitlines()]
    packages = {row[0]: {"version": row[1], "architecture": row[2], "kib": int(row[3] or 0)} for row in rows}
    node_modules = root / "usr/local/lib/node_modules"
    tools = dict(_npm_versions(node_modules.glob("**/package.json")))
    release = next((root / "usr/lib/modules").iterdir()).name
    found = {"packages": packages, "npm": dict(sorted(tools.items())), "kernel": release}
    (directory / "found.json").write_text(json.dumps(found))


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
    place = Path(sys.argv[1])
    asyncio.run(assemble(place, Job.from_json(json.loads((place / "job.json").read_text()))))
