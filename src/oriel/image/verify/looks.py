"""Checks that are one script each: what is installed, set, running and listening."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oriel.image.verify.inside import Facts, Inside, Verdict
from oriel.model.errors import OrielError

__all__ = ["Look", "looked", "looks"]

COMMANDS = {  # what MISSION's tools are called by, if the recipe has them
    "@openai/codex": "codex", "@anthropic-ai/claude-code": "claude", "@google/gemini-cli": "gemini",
}  # fmt: skip
MISSION_UNITS = ("xvfb.service", "x11vnc.service", "desktop.service", "oriel-agent.service")
LOOK_S = 300  # a tool's first start in an emulated machine
NOTHING = r"\A\s*\Z"
BROWSER_INSIDE = (Path(__file__).parent / "browser_inside.py").read_text()


@dataclass(frozen=True)
class Look:
    """It must exit with 0 and print what `wanted` matches. `direct`: run as it is, without any shell."""

    id: str
    script: str
    wanted: str = ""
    user: str = "user"
    direct: bool = False


def looks(facts: Facts) -> Iterator[Look]:
    """All of them, for an image with these facts."""
    yield from _tools([command for package, command in COMMANDS.items() if package in facts.tools])
    yield from _units(facts)
    yield from PLAIN


async def looked(inside: Inside, look: Look) -> Verdict:
    began = time.monotonic()
    try:
        if look.direct:
            code, output = await inside.exec(shlex.split(look.script), timeout_s=LOOK_S)
        else:
            code, output = await inside.sh(look.script, user=look.user, timeout_s=LOOK_S)
    except OrielError as error:
        return Verdict(look.id, False, time.monotonic() - began, error.message)
    passed = code == 0 and re.search(look.wanted, output, re.MULTILINE) is not None
    return Verdict(look.id, passed, time.monotonic() - began, output.strip()[:500] or f"exit code {code}")


def _tools(commands: list[str]) -> Iterator[Look]:
    if not commands:
        return
    yield Look("node_20", "node --version", r"^v20\.")
    for name in commands:
        yield Look(f"tool_{name}", f"{name} --version", r"\d+\.\d+\.\d+")
        yield Look(f"exec_{name}", f"{name} --version", r"\d+\.\d+\.\d+", direct=True)
    # In a window of the terminal program, as a person starts them.
    place = "/tmp/oriel-verify.tools"  # noqa: S108 - in the guest
    typed = "; ".join(f"{name} --version" for name in commands)
    inner = shlex.quote(f"tty >{place}; ({typed}) >>{place} 2>&1 </dev/tty")
    yield Look(
        "tools_in_a_terminal",
        f"DISPLAY=:1 xterm -e bash -lc {inner}; cat {place}; rm {place}",
        r"/dev/pts/\d+\n" + r"[^§]*\d+\.\d+\.\d+" * len(commands),
    )


def _units(facts: Facts) -> Iterator[Look]:
    units = " ".join(facts.units)
    missing = [unit for unit in MISSION_UNITS if unit not in facts.units]
    yield Look("units_of_the_mission", f"echo {' '.join(missing)}", NOTHING)
    yield Look("units_enabled", f"systemctl is-enabled {units}", r"^(enabled\n?)+\Z", "root")
    yield Look("units_active", f"systemctl is-active {units}", r"^(active\n?)+\Z", "root")
    yield Look(
        "restart_policy",
        f"systemctl show -p Restart -p RestartUSec {' '.join([*facts.services, *facts.called])} "
        "| grep . | sort -u",
        r"\ARestart=on-failure\nRestartUSec=3s\s*\Z",
        "root",
    )


def _browser(command: str) -> str:
    return f"python3 - {command} <<'END-OF-PROGRAM'\n{BROWSER_INSIDE}\nEND-OF-PROGRAM"


PLAIN: tuple[Look, ...] = (
    Look("none_failed", "systemctl list-units --failed --plain --no-legend", NOTHING, "root"),
    Look("sudo", "sudo -n id -u", r"^0$"),
    Look(
        "proxy",
        'for v in HTTP_PROXY HTTPS_PROXY http_proxy https_proxy; do [ "${!v}" = http://192.168.0.1:3128 ] '
        '&& grep -q "^$v=http://192.168.0.1:3128$" /etc/environment || exit 1; done; echo "$NO_PROXY"',
        r"^localhost,127\.0\.0\.1,192\.168\.0\.0/16$",
    ),
    Look("session_files", "cat /etc/xdg/autostart/terminal.desktop ~/.xinitrc", r"CLI Terminal[^§]*100x30"),
    Look(
        "browser_sandbox",
        "pid=$(pgrep -f -- [-]-type=renderer | head -n 1); own=$(readlink /proc/self/ns/pid); "
        'grep Seccomp: /proc/$pid/status; [ "$(sudo readlink /proc/$pid/ns/pid)" != "$own" ] '
        "&& echo own-pids; ! pgrep -f -- [-]-no-sandbox",
        r"Seccomp:\s+2[\s\S]*own-pids",
    ),
    Look("browser_policies", _browser("policies"), "in force"),
    Look("glyphs", _browser("glyphs"), "its own shape"),
    Look(
        "time_zone",
        "was=$(readlink /etc/localtime); sudo ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime; "
        'date +%Z; sudo ln -sf "$was" /etc/localtime',
        r"\AJST$",
    ),
    Look(
        "locale",
        "sudo localedef -i de_DE -f UTF-8 de_DE.UTF-8 && LC_ALL=de_DE.UTF-8 date -d 2026-03-01 +%B; "
        "sudo localedef --delete-from-archive de_DE.utf8",
        r"^März$",
    ),
    Look(
        "no_identity",
        "ls /etc/ssh/ssh_host_* /var/lib/systemd/random-seed 2>/dev/null; "
        "find /var/lib/apt/lists /var/log -type f -size +0 -not -path '*/journal/*' -not -name '[bw]tmp*'",
        NOTHING,
        "root",
    ),
    Look("vnc_listens", "ss -ltnH 'sport = :5901' | awk '{ print $4 }'", r"5901"),
    Look(
        "debugging_on_loopback_only",
        "ss -ltnH 'sport = :9222' | awk '{ print $4 }'",
        r"\A127\.0\.0\.1:9222\s*\Z",
    ),
)
