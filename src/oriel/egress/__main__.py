"""`python -m oriel.egress`: the gateway of one desktop, started by its keeper.

Works with the sockets it is given and as the user it is told to become; the secrets come over the control
pair, live in this process's memory only, and go with it when the pair closes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import functools
import gc
import os
import resource
import signal
import socket
import sys
from typing import Any

from oriel.egress.exit import watch_exit
from oriel.egress.explicit import serve_explicit
from oriel.egress.gateway import Gateway
from oriel.egress.ledger import Ledger, mapped
from oriel.egress.listener import listen_dns_tcp, listen_dns_udp, listen_tcp, log, log_unexpected
from oriel.egress.media import MediaRelay
from oriel.egress.service import Outbox, serve_control
from oriel.egress.transparent import serve_transparent
from oriel.host.seccomp import NO_PROCESSES, confine
from oriel.model.errors import WireError
from oriel.model.wire import MAX_LINE

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
LAST_CAPABILITY = "/proc/sys/kernel/cap_last_cap"
SWEEP_S = 30.0


def main() -> int:
    """0 when the keeper closed the control pair, 1 if it broke the protocol."""
    options = _parse_arguments()
    if options.uid is not None:
        become(options.uid)
    harden()
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_run(options))
    return 0


def become(uid: int) -> None:
    """From root to a user (and group) of our own, without any capability, for good.

    Here rather than before the program starts: that user need not be able to read the program's files.
    """
    with open(LAST_CAPABILITY) as file:  # noqa: PTH123 - pathlib is not worth its memory here
        last = int(file.read())
    for capability in range(last + 1):
        _prctl(PR_CAPBSET_DROP, capability)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def harden() -> None:
    """No core dump, no peeking by others of the same user, no new privileges, no other programs or
    processes; many descriptors.

    We die with the keeper, whatever state we are in; that the control pair closes is the gentler way.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(PR_SET_DUMPABLE, 0)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    confine(NO_PROCESSES, alone=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


async def _run(options: argparse.Namespace) -> int:
    outbox = Outbox()
    gateway = Gateway(outbox.emit, _ledger(options.counters_fd))
    control = socket.socket(fileno=options.control_fd)
    reader, writer = await asyncio.open_connection(sock=control, limit=MAX_LINE)
    outbox.connect(writer)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_report)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, reader.feed_eof)
    code = 0
    async with asyncio.TaskGroup() as group:
        _listen(options, gateway, group)
        chores = [group.create_task(_sweep(gateway)), group.create_task(watch_exit(gateway))]
        gc.freeze()  # what is alive now stays: collections need not look at it again
        log("info", "ready")
        try:
            await serve_control(gateway, reader, outbox, group)
        except (OSError, WireError) as error:
            log("error", "the control pair broke", reason=str(error))
            code = 1
        for chore in chores:
            chore.cancel()
        gateway.close()
        # Whatever still runs serves a guest whose gateway is gone.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
    writer.close()
    return code


def _listen(options: argparse.Namespace, gateway: Gateway, group: asyncio.TaskGroup) -> None:
    if options.proxy_fd is not None:
        explicit = functools.partial(serve_explicit, gateway)
        listen_tcp(socket.socket(fileno=options.proxy_fd), explicit, group)
    if options.transparent_fd is not None:
        captured = functools.partial(serve_transparent, gateway)
        listen_tcp(socket.socket(fileno=options.transparent_fd), captured, group)
    if options.dns_udp_fd is not None:
        listen_dns_udp(socket.socket(fileno=options.dns_udp_fd), gateway.names)
    if options.media_fd is not None:
        gateway.media = MediaRelay(socket.socket(fileno=options.media_fd))
    if options.dns_tcp_fd is not None:
        listen_dns_tcp(socket.socket(fileno=options.dns_tcp_fd), gateway.names, group)


def _ledger(fd: int | None) -> Ledger:
    if fd is None:
        return Ledger()
    ledger = mapped(fd)
    os.close(fd)
    return ledger


def _report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log_unexpected("a callback failed unexpectedly", context.get("exception") or RuntimeError())


async def _sweep(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        gateway.sweep_idle()


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="oriel.egress", description="The gateway of one desktop.")
    parser.add_argument("--control-fd", type=int, required=True, help="one end of a socket pair")
    parser.add_argument("--uid", type=int, help="the user and group to become, from root")
    parser.add_argument("--proxy-fd", type=int, help="listening TCP socket of the explicit proxy")
    parser.add_argument("--transparent-fd", type=int, help="listening TCP socket for captured connections")
    parser.add_argument("--dns-udp-fd", type=int, help="bound UDP socket of the DNS server")
    parser.add_argument("--dns-tcp-fd", type=int, help="listening TCP socket of the DNS server")
    parser.add_argument("--counters-fd", type=int, help="the file in which it counts; else nothing is kept")
    parser.add_argument("--media-fd", type=int, help="bound UDP socket of the live view, on the guest's side")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
