"""What systemd says about the desktop's services."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

from oriel.model.errors import UnavailableError

__all__ = ["UNITS", "boot_id", "parse_units", "power_off", "units"]

UNITS = ("xvfb", "x11vnc", "desktop", "oriel-agent", "oriel-webrtc")
PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "NRestarts", "MainPID")


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def units(names: tuple[str, ...]) -> list[dict[str, Any]]:
    """State of the named services that exist. UnavailableError if systemd does not answer."""
    argv = ["systemctl", "show", f"--property={','.join(PROPERTIES)}", *(f"{name}.service" for name in names)]
    return parse_units((await _systemctl(argv)).decode())


def parse_units(text: str) -> list[dict[str, Any]]:
    """The output of `systemctl show`: blocks of KEY=VALUE, one block a unit."""
    found = []
    for block in text.strip().split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        if values.get("LoadState") in (None, "not-found"):
            continue
        found.append(
            {
                "name": values["Id"].removesuffix(".service"),
                "active": values["ActiveState"],
                "sub": values["SubState"],
                "restarts": int(values.get("NRestarts") or 0),
                "pid": int(values.get("MainPID") or 0),
            }
        )
    return found


async def power_off() -> None:
    """Ask systemd to power off; returns once it has taken the order."""
    await _systemctl(["systemctl", "--no-block", "poweroff"])


async def _systemctl(argv: list[str], *, deadline_s: float = 30) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise UnavailableError("the desktop has no systemctl", hint="its image is not one of ours") from error
    try:
        async with asyncio.timeout(deadline_s):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise UnavailableError(f"systemd did not answer within {deadline_s:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = errors.decode(errors="replace").strip()
        raise UnavailableError(f"systemd refused: {said}", hint="`oriel logs` shows the desktop's console")
    return output
