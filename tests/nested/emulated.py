"""The emulated host: QEMU until it has ended, its console on ours; and never for ever."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["UnfinishedError", "emulate"]

MEMORY_MIB = 8000
SILENCE_S = 1800  # the longest of its tests takes some 5 minutes on a quiet machine
DEADLINE_S = 3 * 3600
ENDING_S = 120  # from the job's end to the machine's
LAST_LINES = 25
ENDED = re.compile(rb"nested: exit (\d+)")
CHUNK = 1 << 16


class UnfinishedError(Exception):
    """It did not come to its end; the message has its last lines."""


def emulate(
    image: Path, initrd: Path, place: Path, *, shell: Path | None = None,
    silence_s: float = SILENCE_S, deadline_s: float = DEADLINE_S,
) -> int:  # fmt: skip
    """Run the job that `place` was packed with; what it ended with. Raises UnfinishedError."""
    argv, errors = _command(image, initrd, place, shell), place / "qemu.err"
    try:
        with _started(argv, errors) as console:
            return follow(console, silence_s=silence_s, deadline_s=deadline_s)
    except UnfinishedError as error:
        told = [line for line in errors.read_text().splitlines() if "doesn't support requested" not in line]
        raise UnfinishedError("\n".join([str(error), *(f"  qemu: {line}" for line in told)])) from None


def _command(image: Path, initrd: Path, place: Path, shell: Path | None) -> list[str | Path]:
    drives = [
        f"file={image / 'root.erofs'},format=raw,if=virtio,readonly=on",
        f"file={place / 'layer.img'},format=raw,if=virtio,cache=unsafe",
        f"file={place / 'luggage.img'},format=raw,if=virtio,cache=unsafe",
    ]
    words = "console=ttyS0 panic=-1 loglevel=3 net.ifnames=0 mitigations=off maxcpus=1 kvm_amd.avic=0"
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", "q35,vmport=off,hpet=off,usb=off,graphics=off"),
        *("-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "EPYC,+svm,+npt"),
        *("-smp", str(min(2, os.cpu_count() or 1)), "-m", str(MEMORY_MIB)),
        *("-kernel", image / "vmlinuz", "-initrd", initrd),
        *("-append", f"{words} nested.shell=1" if shell else words),
        *(word for drive in drives for word in ("-drive", drive)),
        *("-serial", "stdio"),
        *(("-serial", f"unix:{shell},server=on,wait=off") if shell else ()),
    ]


@contextlib.contextmanager
def _started(argv: list[str | Path], errors: Path) -> Iterator[IO[bytes]]:
    """QEMU's console. It has ended when the block has."""
    with (
        errors.open("wb") as log,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL) as qemu,
    ):
        try:
            assert qemu.stdout is not None
            yield qemu.stdout
        finally:
            qemu.kill()


def follow(console: IO[bytes], *, silence_s: float, deadline_s: float) -> int:
    """Repeat what it says until it ends; the exit status that it told.

    Raises UnfinishedError if it falls silent, takes too long, or ends without one.
    """
    ends = time.monotonic() + deadline_s
    lines: deque[bytes] = deque(maxlen=LAST_LINES)
    torn, told = b"", None
    while True:
        patience = min(silence_s, ends - time.monotonic())
        if not select.select([console], [], [], max(0, patience))[0]:
            why = f"silent for {silence_s:g} s" if patience == silence_s else f"not done in {deadline_s:g} s"
            if told is not None:
                return told  # its job is done, only its machine stays
            raise UnfinishedError(_last_words(f"the emulated host was {why}", [*lines, torn]))
        data = os.read(console.fileno(), CHUNK)
        if not data:
            break
        print(data.decode(errors="replace"), end="", flush=True)
        *whole, torn = (torn + data).split(b"\n")
        lines.extend(whole)
        for line in whole:
            if found := ENDED.search(line):
                told, ends = int(found[1]), min(ends, time.monotonic() + ENDING_S)
    if told is None:
        raise UnfinishedError(_last_words("the emulated host ended before its job did", [*lines, torn]))
    return told


def _last_words(what: str, lines: list[bytes]) -> str:
    said = "\n".join("  " + line.decode(errors="replace").rstrip() for line in lines if line.strip())
    return f"{what}; its console's last lines:\n{said or '  (none)'}"
