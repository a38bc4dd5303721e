"""The keeper's command line and its privileges."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from oriel.host.accounts import oriel_account, require_root
from oriel.host.layout import Home
from oriel.host.logs import log_json
from oriel.host.privileges import drop_capabilities, forbid_core_dumps
from oriel.host.probes import read_probes
from oriel.host.records import tell
from oriel.host.seccomp import CLOSED, confine
from oriel.keeper.server import DriverOf, keep
from oriel.machine.driver import Driver
from oriel.model.errors import OrielError
from oriel.model.spec import Isolation, Runtime, check_desktop_id

__all__ = ["NEVER_NEEDED", "driver_of", "main"]

# What neither the keeper nor a machine it starts ever uses. docs/explanation/keeper.md says why the
# others stay.
NEVER_NEEDED = (
    "linux_immutable", "net_broadcast", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio",
    "sys_pacct", "sys_boot", "sys_nice", "sys_time", "sys_tty_config", "lease", "audit_write",
    "audit_control", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read",
    "perfmon", "bpf", "checkpoint_restore",
)  # fmt: skip


def driver_of(runtime: Runtime, home: Home) -> Driver:
    """The driver of a runtime. Only the one asked for is imported: a keeper is small.

    KVM is used only where hostd's test boot has proven it since the host started.
    """
    if runtime is Runtime.CONTAINER:
        from oriel.machine.container.driver import ContainerDriver

        return ContainerDriver()
    if runtime is Runtime.QEMU:
        from oriel.machine.qemu.driver import QemuDriver

        _, proven = read_probes(home)
        return QemuDriver(kvm=proven.get(Runtime.QEMU, {}).get("isolation") == Isolation.VM)
    from oriel.machine.firecracker.driver import FirecrackerDriver
    from oriel.machine.firecracker.release import installed

    return FirecrackerDriver(lambda: installed(home))


def main(argv: Sequence[str] | None = None, *, drivers: DriverOf = driver_of) -> int:
    """Run a keeper; 0 after `delete` or SIGTERM, 1 with one JSON line on the ready descriptor on failure."""
    parser = argparse.ArgumentParser(prog="python -m oriel.keeper", description="Keep one desktop.")
    parser.add_argument("--home", type=Path, required=True, help="the home directory")
    parser.add_argument("--images", type=Path, help="where images are, if not in the home")
    parser.add_argument("--ready-fd", type=int, help="a pipe for one JSON line once the socket answers")
    parser.add_argument("id", help="the desktop's id")
    options = parser.parse_args(argv)
    log_json(desktop=options.id)
    try:
        require_root("a keeper")
        home = Home(options.home.resolve(), options.images and options.images.resolve())
        forbid_core_dumps()
        drop_capabilities(NEVER_NEEDED)
        confine(CLOSED)
        account = oriel_account()
        desktop_id = check_desktop_id(options.id)

        def ready() -> None:
            gc.collect()
            tell(options.ready_fd, {"ok": True, "pid": os.getpid()})

        asyncio.run(keep(home, desktop_id, account, drivers, ready))
    except OrielError as error:
        logging.exception("the keeper cannot go on")
        tell(options.ready_fd, {"ok": False, "error": error.to_wire()})
        return 1
    return 0
