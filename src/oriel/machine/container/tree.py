"""A container's root: the image's read-only tree under the desktop's own disk, ids mapped to the slot's.

Nothing here needs counting or recording. The image is mounted once on a host: every further desktop
clones the mount of another, and the superblock goes with the last of them. The disk is mounted in a
mount namespace that only the machine is in: it goes with the machine, even if everything is killed, and
no other container can carry a copy of it away. The loop device under it goes with its mount.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from oriel.host.loops import loop_device, loops_of, wait_detached
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

__all__ = ["mount_image", "mount_tree", "release_tree"]

DETACH_DEADLINE_S = 10
IMAGE = "image"  # the name of each desktop's plain view of the image, by which others find it


def mount_image(spec: MachineSpec) -> None:
    """On the host: this desktop's view of the image, in `spec.directory`. Raises HostError."""
    target = spec.directory / IMAGE
    target.mkdir(parents=True, exist_ok=True)
    root = spec.image.root
    lock = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two first desktops would make two page caches
        for item in _views(root):
            try:
                return clone_mount(item, target)
            except HostError:
                continue  # that desktop has just gone
        _mount_first(root, target)
    finally:
        os.close(lock)


def mount_tree(spec: MachineSpec) -> None:
    """In the machine's own mount namespace: its root at `spec.root_mount`. Raises HostError.

    An image with nothing in it is one of the layout `copy`: there the disk is the root.
    """
    if any((spec.directory / IMAGE).iterdir()):
        _mount_overlay(spec)
    else:
        _mount_copy(spec)


def _mount_overlay(spec: MachineSpec) -> None:
    image, lower, upper = (spec.directory / name for name in (IMAGE, "lower", "upper"))
    for directory in (lower, upper, spec.disk_mount, spec.root_mount):
        directory.mkdir(parents=True, exist_ok=True)
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
    # The overlay holds its layers by itself from here on; other desktops' views are none of its business.
    for view in (lower, upper, spec.disk_mount, *_views()):
        unmount(view)


def _mount_copy(spec: MachineSpec) -> None:
    for directory in (spec.disk_mount, spec.root_mount):
        directory.mkdir(parents=True, exist_ok=True)
    with loop_device(spec.disk) as device:
        mount(device, spec.disk_mount, "ext4", flags=NODEV)
    with user_namespace(first_id(spec.slot)) as namespace:
        clone_mount(spec.disk_mount, spec.root_mount, user_namespace_fd=namespace)
    for view in (spec.disk_mount, *_views()):
        unmount(view)


def release_tree(spec: MachineSpec) -> None:
    """Once the machine's processes have ended: wait for the disk, unmount the image. Idempotent."""
    if spec.disk.exists():
        wait_detached(spec.disk, deadline_s=DETACH_DEADLINE_S)
    unmount_below(spec.directory)


def _views(root: Path | None = None) -> list[Path]:
    """Where desktops have views of an image mounted: of any, or of the one in the file `root`."""
    sources = None if root is None else {str(root), *map(str, loops_of(root))}
    return [
        item.target
        for item in read_mounts()
        if item.kind == "erofs" and item.target.name == IMAGE and (sources is None or item.source in sources)
    ]


def _mount_first(root: Path, target: Path) -> None:
    try:
        mount(root, target, "erofs", flags=RDONLY | NODEV)
    except HostError as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.ENOTBLK:
            raise
        # Before Linux 6.12 EROFS needs a block device.
        with loop_device(root, read_only=True) as device:
            mount(device, target, "erofs", flags=RDONLY | NODEV)


def _escape(path: Path) -> str:
    """For overlayfs's options, in which a comma and a colon separate."""
    return str(path).replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")
