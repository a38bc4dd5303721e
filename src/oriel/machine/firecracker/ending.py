"""How a Firecracker ended, in words, from its exit code and what it counted. Pure."""

from __future__ import annotations

import signal
from collections.abc import Mapping

__all__ = ["explained"]

# FcExitCode in src/vmm/src/lib.rs: 148 and on are signals that it caught itself.
CODES = {
    148: "it made a system call that its filter forbids",
    149: "it met SIGBUS: a file of its memory or disk was cut short, or the host is out of memory",
    150: "it met SIGSEGV", 151: "it met SIGXFSZ", 152: "its configuration is wrong",
    153: "its command line is wrong", 154: "it met SIGXCPU", 155: "it met SIGPIPE", 156: "it met SIGHUP",
    157: "it met SIGILL",
}  # fmt: skip


def explained(code: int | None, faults: Mapping[str, int]) -> str:
    """`code`: negative for a signal, None if it was not our child. `faults`: what it counted, by name."""
    counted = ", ".join(f"{name} {count}" for name, count in faults.items())
    return _words(code) + (f" (it counted {counted})" if counted else "")


def _words(code: int | None) -> str:
    match code:
        case None:
            return "the microVM has ended"
        case 0:
            return "the microVM powered off or restarted"
        case _ if code < 0:
            return f"Firecracker was killed by {signal.Signals(-code).name}"
        case _ if code in CODES:
            return f"Firecracker ended with exit code {code}: {CODES[code]}"
        case _:
            return f"Firecracker failed with exit code {code}"
