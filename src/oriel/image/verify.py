"""`oriel image verify`: a booted image, looked at from inside.

The caller boots the image and hands over a way to run programs in it; the checks say what they saw. Every
program that systemd watches is killed for real, the agent last, for it is what carries us.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from oriel.model.errors import OrielError

__all__ = ["CHECKS", "Inside", "Look", "Verdict", "verify"]

REVIVAL_S = 60  # RestartSec=3, and an emulated machine may take long to start Chrome
AGENT = "oriel-agent.service"
UNITS = (
    "autostart@terminal.service", "autostart@browser.service", "autostart@panel.service", "desktop.service",
    "x11vnc.service", "session-bus.socket", "xvfb.service", AGENT,
)  # fmt: skip
# Killed one by one. The screen takes all on it along, so it comes last.
KILLED = (
    "autostart@terminal.service", "autostart@browser.service", "autostart@panel.service", "desktop.service",
    "x11vnc.service", "xvfb.service",
)  # fmt: skip
ON_SCREEN = ("x11vnc.service", "desktop.service", "autostart@terminal.service", "autostart@browser.service")


class Inside(Protocol):
    """A way into a booted image."""

    async def sh(self, script: str, *, user: str = "root", timeout_s: float = 120) -> tuple[int, str]:
        """Run a script in a login shell of `user`: its exit code and output. OrielError if out of reach."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What one check found; `detail` is for people."""

    id: str
    passed: bool
    seconds: float
    detail: str


@dataclass(frozen=True)
class Look:
    """A check that is one script: it must exit with 0 and print what `wanted` matches."""

    id: str
    script: str
    wanted: str = ""
    user: str = "user"


CHECKS: tuple[Look, ...] = (
    Look("node_20", "node --version", r"^v20\."),
    *(Look(f"tool_{tool}", f"{tool} --version", r"\d+\.\d+\.\d+") for tool in ("codex", "claude", "gemini")),
    Look("sudo", "sudo -n id -u", r"^0$"),
    Look(
        "proxy",
        'for v in HTTP_PROXY HTTPS_PROXY http_proxy https_proxy; do [ "${!v}" = http://192.168.0.1:3128 ] '
        '&& grep -q "^$v=http://192.168.0.1:3128$" /etc/environment || exit 1; done; echo "$NO_PROXY"',
        r"^localhost,127\.0\.0\.1,192\.168\.0\.0/16$",
    ),
    Look("session_files", "cat /etc/xdg/autostart/terminal.desktop ~/.xinitrc", r"CLI Terminal[^§]*100x30"),
    Look("units_enabled", f"systemctl is-enabled {' '.join(UNITS)}", r"^(enabled\n?)+\Z", "root"),
    Look("units_active", f"systemctl is-active {' '.join(UNITS)}", r"^(active\n?)+\Z", "root"),
    Look("none_failed", "systemctl list-units --failed --plain --no-legend", r"\A\s*\Z", "root"),
    Look(
        "restart_policy",
        f"systemctl show -p Restart -p RestartUSec {' '.join(u for u in UNITS if u.endswith('.service'))} "
        "| grep . | sort -u",
        r"\ARestart=on-failure\nRestartUSec=3s\s*\Z",
        "root",
    ),
    Look(
        "browser_sandbox",
        "pid=$(pgrep -f -- [-]-type=renderer | head -n 1); own=$(readlink /proc/self/ns/pid); "
        'grep Seccomp: /proc/$pid/status; [ "$(sudo readlink /proc/$pid/ns/pid)" != "$own" ] '
        "&& echo own-pids; ! pgrep -f -- [-]-no-sandbox",
        r"Seccomp:\s+2[\s\S]*own-pids",
    ),
    Look("fonts_latin", "fc-list ':charset=e9' file | wc -l", r"^[1-9]"),
    Look("fonts_cjk", "fc-list ':charset=6f22 304b d55c' file | wc -l", r"^[1-9]"),  # 漢 か 한
    Look("fonts_emoji", "fc-list ':charset=1f600' file | wc -l", r"^[1-9]"),
    Look("time_zone", "TZ=Asia/Tokyo date +%Z", r"^JST$"),
    Look("locale", "sudo localedef -i de_DE -f UTF-8 /tmp/de.locale && ls /tmp/de.locale", r"LC_TIME"),
    Look(
        "no_identity",
        "ls /etc/ssh/ssh_host_* /var/lib/systemd/random-seed 2>/dev/null; "
        "find /var/lib/apt/lists /var/log -type f -size +0 -not -path '*/journal/*' -not -name '[bw]tmp*'",
        r"\A\s*\Z",
        "root",
    ),
    Look("vnc_listens", "ss -ltnH 'sport = :5901' | awk '{ print $4 }'", r"5901"),
    Look(
        "debugging_on_loopback_only",
        "ss -ltnH 'sport = :9222' | awk '{ print $4 }'",
        r"\A127\.0\.0\.1:9222\s*\Z",
    ),
)  # fmt: skip


async def verify(inside: Inside, checks: Sequence[Look] = CHECKS) -> AsyncIterator[Verdict]:
    """Each verdict as it is found. Leaves the desktop running, with everything in it started anew."""
    for look in checks:
        yield await _looked(inside, look)
    for unit in KILLED:
        yield await _killed(inside, unit)
    yield await _killed(inside, AGENT)


async def _looked(inside: Inside, look: Look) -> Verdict:
    began = time.monotonic()
    try:
        code, output = await inside.sh(look.script, user=look.user)
    except OrielError as error:
        return Verdict(look.id, False, time.monotonic() - began, error.message)
    passed = code == 0 or look.wanted == r"\A\s*\Z"
    passed = passed and re.search(look.wanted, output, re.MULTILINE) is not None
    return Verdict(look.id, passed, time.monotonic() - began, output.strip()[:500])


async def _killed(inside: Inside, unit: str) -> Verdict:
    """KILL the unit's main process, and see that another takes its place (and, for the screen, all on it)."""
    began = time.monotonic()
    watched = (unit, *ON_SCREEN) if unit == "xvfb.service" else (unit,)
    name = f"revives_{unit.removesuffix('.service').replace('@', '_').replace('-', '_')}"
    try:
        before = await _main_pids(inside, watched)
        try:
            await inside.sh(f"kill -9 {before[unit]}", timeout_s=10)
        except OrielError:
            if unit != AGENT:  # the agent cannot answer for its own end
                raise
        after = await _until_new(inside, watched, before, deadline=began + REVIVAL_S)
    except OrielError as error:
        return Verdict(name, False, time.monotonic() - began, error.message)
    old = [item for item in watched if after.get(item, 0) in (0, before[item])]
    detail = f"not back within {REVIVAL_S} s: {', '.join(old)}" if old else f"{before} -> {after}"
    return Verdict(name, not old, time.monotonic() - began, detail)


async def _until_new(
    inside: Inside, units: Sequence[str], before: dict[str, int], *, deadline: float
) -> dict[str, int]:
    after: dict[str, int] = {}
    while time.monotonic() < deadline:
        try:
            after = await _main_pids(inside, units)
        except OrielError:
            after = {}
        if all(after.get(unit, 0) not in (0, before[unit]) for unit in units):
            break
        await asyncio.sleep(0.5)  # between probes: systemd tells no one outside of the guest
    return after


async def _main_pids(inside: Inside, units: Sequence[str]) -> dict[str, int]:
    """The main process of each unit, 0 for one that is not active."""
    _, output = await inside.sh(
        f"for u in {' '.join(units)}; do systemctl -q is-active $u && "
        "echo $u $(systemctl show -p MainPID --value $u); done; true",
        timeout_s=20,
    )
    rows = (line.split() for line in output.splitlines())
    found = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
    return {unit: found.get(unit, 0) for unit in units}
