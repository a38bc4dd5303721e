"""A container's root: the image's read-only tree under the desktop's own disk, ids mapped to the slot's.

Nothing here needs counting or recording. The image is mounted once on a host: every further desktop
clones the mount of another, and the superblock goes with the last of them. The loop device under a
disk goes with its mount. So unmounting below the desktop's directories gives everything back.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from oriel.host.loops import loop_device, loops_of
from oriel.host.mounts import (
    NODEV,
    NOSUID,
    RDONLY,
    clone_mount,
    mount,
    read_mounts,
    unmount,
    unmount_below,
    user_namespace,
)
from oriel.machine.container.command import first_id
from oriel.machine.driver import MachineSpec
from oriel.model.errors import HostError

__all__ = ["mount_tree", "unmount_tree"]

IMAGE = "image"  # the name of each desktop's plain view of the image, by which others find it


def mount_tree(spec: MachineSpec) -> None:
    """Mount the container's root at `spec.root_mount`. Raises HostError; the caller then unmounts."""
    image, lower, upper = (spec.directory / name for name in (IMAGE, "lower", "upper"))
    for directory in (image, lower, upper, spec.disk_mount, spec.root_mount):
        directory.mkdir(parents=True, exist_ok=True)
    _mount_image(spec.image.root, image)
    with loop_device(spec.disk) as device:
        mount(device, spec.disk_mount, "ext4", flags=NOSUID | NODEV)
    for name in ("upper", "work"):
        (spec.disk_mount / name).mkdir(exist_ok=True)
    with user_namespace(first_id(spec.slot)) as namespace:
        clone_mount(image, lower, user_namespace_fd=namespace)
        clone_mount(spec.disk_mount, upper, user_namespace_fd=namespace)
    layers = (
        f"lowerdir={_escape(lower)},upperdir={_escape(upper / 'upper')},workdir={_escape(upper / 'work')}"
    )
    mount("overlay", spec.root_mount, "overlay", flags=NODEV, options=layers)
    # The overlay holds its layers by itself from here on.
    unmount(lower)
    unmount(upper)


def unmount_tree(spec: MachineSpec) -> None:
    """Unmount all of it, whatever there is of it; the loop device goes too. Idempotent."""
    for directory in (spec.root_mount, spec.disk_mount, spec.directory):
        unmount_below(directory)


def _mount_image(root: Path, target: Path) -> None:
    lock = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two first desktops would make two page caches
        sources = {str(root), *map(str, loops_of(root))}
        for item in read_mounts():
            if item.kind == "erofs" and item.source in sources and item.target.name == IMAGE:
                try:
                    return clone_mount(item.target, target)
                except HostError:
                    continue  # that desktop has just gone
        try:
            mount(root, target, "erofs", flags=RDONLY | NODEV)
        except HostError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.ENOTBLK:
                raise
            # Before Linux 6.12 EROFS needs a block device.
            with loop_device(root, read_only=True) as device:
                mount(device, target, "erofs", flags=RDONLY | NODEV)
    finally:
        os.close(lock)


def _escape(path: Path) -> str:
    """For overlayfs's options, in which a comma and a colon separate."""
    return str(path).replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")
