"""What a host needs, one check a need: whether it is there, and what to do if it is not."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from oriel.host.accounts import oriel_account
from oriel.host.capacity import limits
from oriel.host.checks import Check
from oriel.host.hardening import advice
from oriel.host.layout import Home
from oriel.host.mounts import read_mounts
from oriel.host.process import run
from oriel.model.errors import OrielError

__all__ = ["examine"]

LEAST_KERNEL = (5, 15)  # idmapped mounts for ext4 (5.12) and cgroup.kill (5.14)
LEAST_DISK_GIB, GOOD_DISK_GIB = 6, 20  # a golden image with its build, and some desktops
LEAST_MEMORY_GIB, GOOD_MEMORY_GIB = 2, 8  # one desktop of 2 GiB, and a few
PORT = 8080
SOCKET_ROOM = 70  # bytes: the longest home whose sockets still have room for their names

# Program: the Debian package it is in, and whether Oriel can do nothing at all without it.
TOOLS = {
    "ip": ("iproute2", True), "nft": ("nftables", True), "nsenter": ("util-linux", True),
    "setpriv": ("util-linux", True), "resize2fs": ("e2fsprogs", True),
    "mke2fs": ("e2fsprogs", True), "mkfs.erofs": ("erofs-utils", False), "mmdebstrap": ("mmdebstrap", False),
    "npm": ("npm", False), "systemd-nspawn": ("systemd-container", False),
    "qemu-system-x86_64": ("qemu-system-x86", False), "qemu-img": ("qemu-utils", False),
}  # fmt: skip


async def examine(home: Home) -> list[Check]:
    """Every check, in the order in which a person would mend things. Nothing is changed on the host."""
    checks = [_root(), _kernel(), _account(), _home(home), *_tools()]
    checks += [_disk(home), _memory(), _cgroups(), _systemd(), _kvm(), _loop(), _port()]
    probes: dict[str, tuple[Callable[[], Awaitable[str]], bool, str]] = {
        "namespaces": (_namespaces, True, "the kernel or a container around us forbids network namespaces"),
        "user_namespaces": (_user_namespaces, False, "sysctl user.max_user_namespaces must not be 0"),
        "nftables": (_nftables, True, "modprobe nf_tables; in a container give it CAP_NET_ADMIN"),
        "overlay": (
            lambda: _file_system("overlay"),
            False,
            "modprobe overlay; the container runtime needs it",
        ),
        "erofs": (lambda: _file_system("erofs"), False, "modprobe erofs; the container runtime needs it"),
    }
    for name, (probe, fatal, hint) in probes.items():
        try:
            checks.append(Check(name, True, fatal, await probe()))
        except OrielError as error:
            checks.append(Check(name, False, fatal, error.message, hint))
    return checks + await asyncio.to_thread(_capacity, home) + advice()


def _capacity(home: Home) -> list[Check]:
    """Only root may look into the processes of desktops, and write where they will be."""
    try:
        return limits(home)
    except (OSError, OrielError) as error:
        return [Check("capacity.measured", False, False, f"could not be measured: {error}", "be root")]


def _root() -> Check:
    root = os.geteuid() == 0
    return Check("root", root, True, "root" if root else f"uid {os.geteuid()}", "" if root else "use sudo")


def _kernel() -> Check:
    release = platform.release()
    numbers = tuple(map(int, re.findall(r"\d+", release)[:2]))
    ok = numbers >= LEAST_KERNEL
    hint = "" if ok else f"Linux {'.'.join(map(str, LEAST_KERNEL))} or newer is needed"
    return Check("kernel", ok, True, f"Linux {release} on {platform.machine()}", hint)


def _account() -> Check:
    try:
        account = oriel_account()
    except OrielError as error:
        return Check("account", False, True, error.message, error.hint)
    return Check("account", True, True, f"uid {account.uid}, gid {account.gid}")


def _home(home: Home) -> Check:
    length = len(os.fsencode(home.root))
    if length > SOCKET_ROOM:
        hint = f"sockets stand below it: choose a path of at most {SOCKET_ROOM} bytes"
        return Check("home", False, True, f"{home.root} is {length} bytes long", hint)
    return Check("home", True, True, str(home.root))


def _tools() -> list[Check]:
    checks = []
    for tool, (package, fatal) in TOOLS.items():
        found = shutil.which(tool)
        hint = "" if found else f"apt-get install {package}"
        checks.append(Check(f"tool.{tool}", found is not None, fatal, found or "not installed", hint))
    return checks


def _disk(home: Home) -> Check:
    where = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(where).free / (1 << 30)
    hint = f"{GOOD_DISK_GIB} GiB are comfortable" if free < GOOD_DISK_GIB else ""
    return Check("disk", free >= LEAST_DISK_GIB, False, f"{free:.1f} GiB free at {where}", hint)


def _memory() -> Check:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(fields[key].split()[0]) / (1 << 20) for key in ("MemTotal", "MemAvailable"))
    hint = f"{GOOD_MEMORY_GIB} GiB are comfortable" if total < GOOD_MEMORY_GIB else ""
    return Check("memory", total >= LEAST_MEMORY_GIB, False, f"{free:.1f} of {total:.1f} GiB available", hint)


def _cgroups() -> Check:
    kinds = {item.kind for item in read_mounts() if item.kind in ("cgroup", "cgroup2")}
    detail = " and ".join(sorted({"cgroup": "version 1", "cgroup2": "version 2"}[kind] for kind in kinds))
    hint = "" if "cgroup2" in kinds else "mount -t cgroup2 none /sys/fs/cgroup/unified"
    return Check("cgroup", "cgroup2" in kinds, True, detail or "none mounted", hint)


def _systemd() -> Check:
    running = Path("/run/systemd/system").is_dir()
    detail = "systemd is PID 1" if running else "no systemd as PID 1: `oriel serve` supervises by itself"
    return Check("systemd", True, False, detail)


def _kvm() -> Check:
    """Opening proves nothing: there are hosts whose KVM makes a VM that never runs. The runtimes tell."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        hint = "enable virtualization (or nested virtualization); without it VMs are emulated, slowly"
        return Check("kvm", False, False, f"/dev/kvm: {error.strerror}", hint)
    return Check("kvm", True, False, "/dev/kvm opens; whether guests run is the runtimes' check below")


def _loop() -> Check:
    there = Path("/dev/loop-control").exists()
    return Check("loop", there, False, "/dev/loop-control", "" if there else "modprobe loop")


def _port() -> Check:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError as error:
            hint = (
                "fine if it is Oriel's own; else `./run --port` chooses another (`ss -ltnp` tells who has it)"
            )
            return Check("port", False, False, f"127.0.0.1:{PORT}: {error.strerror}", hint)
    return Check("port", True, False, f"127.0.0.1:{PORT} is free")


async def _namespaces() -> str:
    await run(["unshare", "--net", "ip", "link", "set", "lo", "up"], deadline_s=10)
    return "network namespaces can be made"


async def _user_namespaces() -> str:
    await run(["unshare", "--user", "--map-root-user", "true"], deadline_s=10)
    return "user namespaces can be made"


async def _nftables() -> str:
    rules = "add table inet t\nadd chain inet t input { type filter hook input priority 0; policy drop; }\n"
    await run(["unshare", "--net", "nft", "-f", "-"], stdin=rules.encode(), deadline_s=10)
    return "rules can be loaded"


async def _file_system(name: str) -> str:
    if not await asyncio.to_thread(_knows, name):
        await run(["modprobe", name], deadline_s=10)
    return f"the kernel has {name}"


def _knows(file_system: str) -> bool:
    return file_system in Path("/proc/filesystems").read_text().split()
