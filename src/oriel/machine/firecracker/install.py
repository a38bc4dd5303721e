"""Installing a Firecracker release that the operator downloaded: checked first, then there as a whole."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

from oriel.host.layout import Home
from oriel.host.records import write_json
from oriel.host.threads import in_thread
from oriel.machine.firecracker.release import Release, examined
from oriel.model.errors import HostError, InvalidError

__all__ = ["install"]

MEMBER = re.compile(r"(?:.*/)?(firecracker|jailer)-v[\w.-]+\Z")  # release-vX-ARCH/jailer-vX-ARCH
NOT_A_PROGRAM = re.compile(r".*\.(debug|json|yaml|txt)\Z")
LIMIT_BYTES = 64 << 20  # of a program; a release's has 3 MiB
SUM = re.compile(r"\b[0-9a-f]{64}\b")


async def install(home: Home, archive: Path, sha256: str = "") -> Release:
    """Check `archive` against `sha256`, or ARCHIVE.sha256.txt beside it, and install its two programs.

    Raises InvalidError for a wrong or missing sum and for what is no release; HostError for a release that
    is for another machine, too old or known to be bad. Then whatever was installed before is still there.
    """
    draft = home.root / ".firecracker.new"
    try:
        await in_thread(lambda: _unpack(archive, sha256, draft))
        release = await examined(draft / "firecracker", draft / "jailer")
        write_json(draft / "release.json", {"version": release.version, "archive": archive.name})
        await in_thread(lambda: _put_in_place(draft, home.firecracker))
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    home.probes.unlink(missing_ok=True)  # what a test boot proved was another release
    return replace(release, firecracker=home.firecracker / "firecracker", jailer=home.firecracker / "jailer")


def _unpack(archive: Path, sha256: str, draft: Path) -> None:
    """The two programs of a vouched-for archive into `draft`."""
    try:
        _check_sum(archive, sha256)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o755)
        with tarfile.open(archive, "r:gz") as release:
            for member in release:
                found = MEMBER.match(member.name)
                if found and member.isreg() and not NOT_A_PROGRAM.match(member.name):
                    _write(release, member, draft / found[1])
    except (OSError, tarfile.TarError, EOFError) as error:
        raise InvalidError(
            f"{archive} cannot be read: {error}", hint="it must be firecracker-vVERSION-ARCH.tgz as published"
        ) from error
    if missing := [name for name in ("firecracker", "jailer") if not (draft / name).exists()]:
        raise InvalidError(
            f"{archive} has no {' and no '.join(missing)}",
            hint="it must be firecracker-vVERSION-ARCH.tgz as published",
        )


def _check_sum(archive: Path, sha256: str) -> None:
    beside = archive.with_name(f"{archive.name}.sha256.txt")
    text = sha256 or (beside.read_text() if beside.exists() else "")
    if not text:
        raise InvalidError(
            f"nothing vouches for {archive}",
            hint=f"put {beside.name}, as published, beside it, or give --sha256",
        )
    wanted = SUM.search(text.lower())
    if wanted is None:
        raise InvalidError(f"{text.strip()[:80]!r} is no SHA-256 sum", hint="it has 64 hexadecimal digits")
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted[0]:
        raise InvalidError(
            f"{archive} has the SHA-256 sum {found}, and not {wanted[0]}", hint="download it again"
        )


def _write(release: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = release.extractfile(member)
    if content is None or member.size > LIMIT_BYTES:
        raise InvalidError(f"{member.name} is {member.size >> 20} MiB large: that is no program of a release")
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
        os.fchmod(file.fileno(), 0o755)


def _put_in_place(draft: Path, target: Path) -> None:
    """Machines that run are not concerned: the jailer has copied its program."""
    old = target.with_name(".firecracker.old")
    shutil.rmtree(old, ignore_errors=True)
    try:
        if target.exists():
            target.rename(old)
        draft.rename(target)
    except OSError as error:
        raise HostError(f"{target} cannot be replaced: {error.strerror}") from error
    shutil.rmtree(old, ignore_errors=True)
