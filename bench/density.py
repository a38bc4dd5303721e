"""Many idle desktops alive together: what each takes of the host, where it goes, and whether each answers.

    .venv/bin/python -m bench.density [--json] [--runtime qemu] [--count 20] [--seconds 60] [--settle 150]

The rival is one desktop of the same kind that was booted instead of begun at the template, measured in the
same run and in the same way. Memory is PSS: a page that n processes share counts 1/n for each. The desktops
stand idle on their start page, with nobody looking, until a viewer is opened on each, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.report import percentiles, publish
from bench.server import serving
from bench.template import RIVAL_DISK_GIB, need_template
from oriel.client import AsyncOriel, Oriel
from oriel.client.sync.desktop import Desktop
from oriel.client.viewer import open_viewer
from oriel.host.cgroups import Cgroup

__all__ = ["memory_of", "threads_of"]

MIB = 1 << 20
SETTLE_S = 45.0  # what a new desktop does in its first minute is not what an idle one does
# Programs of the desktop, by processor time: read twice, the difference is what they used.
GUEST_TIMES = "cd /proc; for p in [0-9]*; do cat $p/stat 2>/dev/null; done; echo; getconf CLK_TCK"


def memory_of(pid: int, memory_mib: int) -> dict[str, float]:
    """A VMM's PSS in MiB by what it is for: the guest's memory, translated code, the rest."""
    found: Counter[str] = Counter()
    size, flags, sizes = 0, "", Counter[str]()
    for line in [*Path(f"/proc/{pid}/smaps").read_text().splitlines(), "0-0 ---p"]:
        head = line.split(maxsplit=2)
        if "-" in head[0] and not head[0].endswith(":"):
            part = _part(size, flags, memory_mib)
            found[part] += sizes["Pss"]
            if part == "guest":
                found["guest private"] += sizes["Private_Dirty"] + sizes["Private_Clean"]
            start, end = (int(edge, 16) for edge in head[0].split("-"))
            size, flags, sizes = end - start, head[1], Counter()
        elif len(head) == 3 and head[2] == "kB":
            sizes[head[0].rstrip(":")] += int(head[1])
    return {name: round(kib / 1024, 1) for name, kib in found.items() if kib}


def _part(size: int, flags: str, memory_mib: int) -> str:
    if size == memory_mib * MIB:
        return "guest"
    return "translated code" if flags.startswith("rwx") else "programs"


def threads_of(pid: int) -> dict[str, float]:
    """Processor seconds of a process by the names of its threads."""
    found: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        found[name] = found.get(name, 0.0) + sum(map(int, rest.split()[11:13])) / 100
    return found


class Watched:
    """One desktop over a time."""

    def __init__(self, desktop: Desktop, pid: int | None) -> None:
        self.desktop = desktop
        self.pid = pid
        self.before = desktop.usage()
        self.threads = threads_of(pid) if pid else {}
        self.at = time.monotonic()

    def ended(self) -> dict[str, Any]:
        """What it took meanwhile: memory now, and processor in percent of one."""
        passed, after = time.monotonic() - self.at, self.desktop.usage()
        percent = {
            name: round((after["by"][name]["cpu_s"] - self.before["by"][name]["cpu_s"]) / passed * 100, 2)
            for name in after["by"]
        }
        told: dict[str, Any] = {
            "pss_mib": after["memory_mib"], "private_mib": after["private_mib"],
            "pss_by": {name: part["memory_mib"] for name, part in after["by"].items()},
            "cpu_percent": round(sum(percent.values()), 2), "cpu_by": percent,
        }  # fmt: skip
        if self.pid:
            told["machine_pss"] = memory_of(self.pid, int(self.desktop.info.document["memory_mib"]))
            told["machine_cpu"] = {
                name: round((seconds - self.threads.get(name, 0)) / passed * 100, 2)
                for name, seconds in threads_of(self.pid).items()
            }
        return told


def guest_times(desktop: Desktop) -> dict[str, float]:
    """Processor seconds of the desktop's own programs, by name."""
    lines, _, ticks = desktop.exec(["sh", "-c", GUEST_TIMES], timeout_s=120).stdout.strip().rpartition("\n")
    found: dict[str, float] = {}
    for line in lines.splitlines():
        name, _, rest = line.partition("(")[2].rpartition(")")
        if rest:
            found[name] = found.get(name, 0.0) + sum(map(int, rest.split()[11:13])) / int(ticks)
    return found


async def first_frames(client: Oriel, names: list[str]) -> list[float]:
    """Seconds from asking for a ticket to a whole picture, of one after the other."""
    seconds = []
    async with AsyncOriel(client.access.url, client.access.token) as oriel:
        for name in names:
            desktop = await oriel.desktop(name)
            began = time.monotonic()
            ticket = await desktop.ticket()
            async with open_viewer(await desktop.vnc(ticket=ticket.ticket)) as viewer:
                await viewer.first_picture(deadline_s=60)
                seconds.append(time.monotonic() - began)
    return seconds


def machine_of(desktop: Desktop, runtime: str) -> int | None:
    """The VMM, if it is one."""
    if runtime == "container":
        return None
    pids = Cgroup(desktop.info.id).processes()
    return next((pid for pid in pids if "qemu" in Path(f"/proc/{pid}/comm").read_text()), None)


def measure(client: Oriel, options: argparse.Namespace) -> dict[str, Any]:
    rival = client.desktops.create(
        f"bench-{secrets.token_hex(3)}", runtime=options.runtime, proxy="none", disk_gib=RIVAL_DISK_GIB
    )
    _wait("the rival settles", SETTLE_S)
    watched = Watched(rival, machine_of(rival, options.runtime))
    _wait("the rival is watched", options.seconds)
    booted = watched.ended()
    rival.delete()
    if options.runtime != "container":
        need_template(client, options.runtime)
    desktops, created = [], []
    try:
        for number in range(options.count):
            began = time.monotonic()
            made = client.desktops.create(
                f"bench-{secrets.token_hex(3)}", runtime=options.runtime, proxy="none"
            )
            created.append(time.monotonic() - began)
            desktops.append(made)
            _say(f"{number + 1} alive, the last in {created[-1]:.2f} s")
        _wait("they settle", SETTLE_S)
        programs = guest_times(desktops[0])
        all_watched = [Watched(one, machine_of(one, options.runtime)) for one in desktops]
        _wait("they are watched", options.seconds)
        each = [one.ended() for one in all_watched]
        later = guest_times(desktops[0])
        answers = asyncio.run(first_frames(client, [one.info.id for one in desktops]))
    finally:
        for one in desktops:
            one.delete()
    return {
        "booted": booted, "each": each, "created_s": percentiles(created), "answers_s": percentiles(answers),
        "pss_mib": percentiles([one["pss_mib"] for one in each], 1),
        "cpu_percent": percentiles([one["cpu_percent"] for one in each], 2),
        "programs_s": _most({name: round(spent - programs.get(name, 0), 2) for name, spent in later.items()}),
    }  # fmt: skip


def _most(spent: dict[str, float]) -> dict[str, float]:
    return dict(sorted(spent.items(), key=lambda item: -item[1])[:8])


def _wait(what: str, seconds: float) -> None:
    """Measuring is the one thing for which time itself must pass."""
    _say(f"{what}: {seconds:g} s")
    time.sleep(seconds)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _mean(each: list[dict[str, Any]], part: str) -> str:
    names = {name for one in each for name in one.get(part, {})}
    means = {name: sum(one[part].get(name, 0) for one in each) / len(each) for name in names}
    return ", ".join(
        f"{name} {value:.1f}" for name, value in sorted(means.items(), key=lambda item: -item[1])
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.density", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument("--runtime", choices=["container", "qemu"], default="qemu")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60, help="for which processor time is counted")
    parser.add_argument("--settle", type=float, default=150, help="seconds a template is left alone first")
    options = parser.parse_args()
    with serving(template_settle_s=str(options.settle)) as client:
        ours = measure(client, options)
    booted = ours["booted"]
    document = {
        "figure": "an idle desktop among many: PSS in MiB, percent of one processor",
        "runtime": options.runtime, "count": options.count, "ours": ours,
        "rival": {"name": "one booted desktop of the same kind", **booted},
        "ratio": {
            "pss": round(booted["pss_mib"] / ours["pss_mib"]["p50"], 2),
            "cpu": round(booted["cpu_percent"] / max(0.01, ours["cpu_percent"]["p50"]), 2),
        },
    }  # fmt: skip
    rows = [
        {"": "each of ours", "PSS MiB": ours["pss_mib"]["p50"], "% of a core": ours["cpu_percent"]["p50"]},
        {"": "one booted", "PSS MiB": booted["pss_mib"], "% of a core": booted["cpu_percent"]},
    ]
    publish(f"{options.count} idle desktops ({options.runtime})", rows, document)
    for part in ("pss_by", "machine_pss", "cpu_by", "machine_cpu"):
        _say(f"{part}: {_mean(ours['each'], part)}")
    _say(f"programs in one of them, seconds: {ours['programs_s']}")
    _say(f"first frame to a viewer, seconds: p50 {ours['answers_s']['p50']}, p95 {ours['answers_s']['p95']}")


if __name__ == "__main__":
    main()
