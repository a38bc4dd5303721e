"""Taking an image from one host to another, as one file.

What arrives is believed only as far as it can be checked: every file is read again, and together they must
have the content hash that the manifest names. The EROFS is then packed here, as a build would.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from oriel.host import process
from oriel.host.layout import Home
from oriel.host.threads import in_thread
from oriel.image.build import ImageInfo
from oriel.image.kernel import elf_of
from oriel.image.layers import discard
from oriel.image.listing import content_hash, list_tree, private_items
from oriel.image.packing import pack
from oriel.image.parcel import BESIDE, CHECKPOINT_MIB, WINDOW, unpacking_argv
from oriel.image.progress import Progress, Tell, follow
from oriel.image.records import FORMAT, measured, write_records
from oriel.model.errors import (
    HostError,
    InvalidError,
    LaunchError,
    NoSpaceError,
    NotFoundError,
    OrielError,
    StateError,
)
from oriel.model.spec import IMAGE_ID

__all__ = ["Exported", "export_image", "import_image"]

EXPORT_DEADLINE_S = 3600
UNPACK_DEADLINE_S = 1800
MOST_MANIFEST_BYTES = 8 << 20
MIB = 1 << 20
RESERVE_BYTES = 2 << 30


class Exported(dict[str, Any]):
    """`{id, file, size_bytes, sha256, content}` of an image that was exported."""


async def export_image(home: Home, image_id: str, target: Path, tell: Tell) -> Exported:
    """Write the image into `target`, which must not exist. Needs root.

    Raises NotFoundError, StateError (the file is there), NoSpaceError, LaunchError; no file is left then.
    """
    _need_root("exporting")
    image = home.image(image_id)
    manifest = await in_thread(lambda: _manifest_of(image, image_id))
    target = await in_thread(target.absolute)
    if await in_thread(target.exists):
        raise StateError(f"{target} is already there", hint="choose another name, or remove it")
    if not await in_thread(target.parent.is_dir):
        raise NotFoundError(f"there is no directory {target.parent}", hint="make it first")
    total = manifest["content_bytes"] // MIB
    torn = target.with_name(f".{target.name}.part")
    place = Path(await in_thread(lambda: tempfile.mkdtemp(prefix=".export-", dir=home.images)))
    packed = 0

    def on_line(line: str) -> None:
        nonlocal packed
        if line.startswith("tar: #"):
            packed = min(packed + CHECKPOINT_MIB, total)
            tell(Progress("export", f"{packed} of {total} MiB packed"))

    try:
        await follow(
            ["unshare", "--mount", "--propagation", "private", "--kill-child", "--fork", "--", sys.executable,
             "-m", "oriel.image.parcel", image, manifest["layout"], place, torn],
            phase="export",
            log=place / "log",
            on_line=on_line,
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            deadline_s=EXPORT_DEADLINE_S,
            where="nothing outside",
        )  # fmt: skip
        digest = await in_thread(lambda: _sha256(torn))
        torn.rename(target)
    finally:
        torn.unlink(missing_ok=True)
        await discard(place)
    size = await in_thread(lambda: target.stat().st_size)
    return Exported(
        id=image_id, file=str(target), size_bytes=size, sha256=digest, content=manifest["content"]
    )


async def import_image(home: Home, parcel: Path, tell: Tell, *, sha256: str = "") -> ImageInfo:
    """The image in the file, made to stand in this home. Needs root.

    `sha256`: what the file must have, if the caller knows. Raises NotFoundError (no such file), InvalidError
    (not an exported image, or damaged), StateError (another image of that name is here), NoSpaceError;
    nothing of it is left then. An image that is here already stays, and `built` is false.
    """
    _need_root("importing")
    if sha256 and (found := await in_thread(lambda: _sha256(parcel))) != sha256.lower():
        raise InvalidError(f"{parcel} has the SHA-256 {found}, not {sha256}", hint="fetch the file again")
    manifest = await in_thread(lambda: _look_into(parcel))
    image_id, directory = manifest["id"], home.image(manifest["id"])
    tell(Progress("import", f"{image_id}, built {manifest['created_at']}"))
    if await in_thread(directory.is_dir):
        here = await in_thread(lambda: _manifest_of(directory, image_id))
        if here["content"] != manifest["content"]:
            raise StateError(
                f"another image {image_id} is already here, with other package versions",
                hint="delete it first, or keep it: both were built by the same plan",
            )
        return ImageInfo(id=image_id, directory=directory, manifest=here, built=False)
    await in_thread(lambda: _check_space(home, manifest))
    work = Path(await in_thread(lambda: tempfile.mkdtemp(prefix=".import-", dir=home.images)))
    try:
        image = await _unpack(parcel, work, manifest, tell)
        image.rename(directory)
    finally:
        await discard(work)
    record = json.loads((directory / "manifest.json").read_text())
    return ImageInfo(id=image_id, directory=directory, manifest=record, built=True)


async def _unpack(parcel: Path, work: Path, manifest: dict[str, Any], tell: Tell) -> Path:
    tell(Progress("import", f"unpacking {manifest['content_bytes'] // MIB} MiB"))
    opened, image, scratch = (work / name for name in ("opened", "image", "scratch"))
    for path in (opened, image, scratch):
        path.mkdir(mode=0o755)
    try:
        await process.run(unpacking_argv(parcel, opened), deadline_s=UNPACK_DEADLINE_S)
    except LaunchError as error:
        raise _damaged(parcel, error.message.splitlines()[1]) from error
    tell(Progress("import", "reading every file"))
    kernel = await in_thread(lambda: _check_content(opened, manifest, parcel))
    for name in BESIDE:
        (opened / name).rename(image / name)
    (image / "vmlinux").write_bytes(await elf_of(kernel))
    tell(Progress("import", "packing the root"))
    await pack(opened / "root", image, scratch, layout=manifest["layout"], seed=manifest["version"])
    write_records(image, manifest | measured(image))
    return image


def _check_content(opened: Path, manifest: dict[str, Any], parcel: Path) -> bytes:
    """The kernel, once all that was unpacked is what the manifest says."""
    try:
        beside = {name: (opened / name).read_bytes() for name in BESIDE}
    except FileNotFoundError as error:
        raise _damaged(parcel, f"{Path(error.filename).name} is missing") from error
    items = list_tree(opened / "root")
    if (found := content_hash(items, beside)) != manifest["content"]:
        raise _damaged(parcel, f"its content hash is {found}, its manifest says {manifest['content']}")
    if private := private_items(items):
        raise InvalidError(f"{parcel} holds what no image may: {', '.join(private[:5])}")
    return beside["vmlinuz"]


def _look_into(parcel: Path) -> dict[str, Any]:
    """The manifest, which comes first. Unpacks no more of the file than that."""
    if not parcel.is_file():
        raise NotFoundError(f"there is no file {parcel}", hint="`oriel image export` writes one")
    with subprocess.Popen(
        ["zstd", "-dcq", WINDOW, "--", str(parcel)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as unpacker:  # fmt: skip
        try:
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
                first = archive.next()
                file = None if first is None else archive.extractfile(first)
                if first is None or first.name != "manifest.json" or file is None:
                    raise _foreign(parcel, "it does not begin with a manifest")
                manifest = json.loads(file.read(MOST_MANIFEST_BYTES))
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise _foreign(
                parcel, "it is no archive packed with zstd, or its beginning is damaged"
            ) from error
        finally:
            unpacker.kill()
    return _checked(manifest, parcel)


def _checked(manifest: object, parcel: Path) -> dict[str, Any]:
    kinds = {
        "id": str, "name": str, "version": str, "content": str, "content_bytes": int, "layout": str,
        "created_at": str, "plan": dict, "packages": dict, "npm": dict,
    }  # fmt: skip
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        told = manifest.get("format") if isinstance(manifest, dict) else None
        raise _foreign(parcel, f"its format is {told!r}, and this Oriel knows {FORMAT!r}")
    wrong = [key for key, kind in kinds.items() if not isinstance(manifest.get(key), kind)]
    if wrong or not IMAGE_ID.match(manifest["id"]) or manifest["layout"] not in ("overlay", "copy"):
        raise _foreign(parcel, f"its manifest is wrong in {', '.join(wrong) or 'id or layout'}")
    return manifest


def _manifest_of(image: Path, image_id: str) -> dict[str, Any]:
    if not IMAGE_ID.match(image_id) or not (image / "manifest.json").is_file():
        raise NotFoundError(f"there is no image {image_id}", hint="`oriel image list` shows those there are")
    manifest: dict[str, Any] = json.loads((image / "manifest.json").read_text())
    if manifest.get("format") != FORMAT:
        raise StateError(f"{image_id} was built by an older Oriel", hint="build the recipe again")
    return manifest


def _check_space(home: Home, manifest: dict[str, Any]) -> None:
    needed = 2 * manifest["content_bytes"] + RESERVE_BYTES  # unpacked, and packed again
    free = shutil.disk_usage(home.images).free
    if free < needed:
        raise NoSpaceError(
            f"{home.images} has {free / 2**30:.1f} GiB free; this import needs {needed / 2**30:.1f} GiB",
            hint="delete images or desktops you do not need, or move the home to a larger disk",
        )


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {file}", hint="`oriel image export` writes one") from error


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise HostError(
            f"{what} an image needs root, on the host that has it",
            hint="run it there with sudo: images do not travel through the controller's API",
        )


def _foreign(parcel: Path, why: str) -> OrielError:
    return InvalidError(
        f"{parcel} is no image exported by Oriel: {why}", hint="`oriel image export` writes one"
    )


def _damaged(parcel: Path, why: str) -> OrielError:
    return InvalidError(f"{parcel} is damaged: {why}", hint="fetch or export it again")
