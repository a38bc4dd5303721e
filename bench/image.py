"""How fast and how thin the golden image is: `python -m bench.image [--json] [--runtime R] [--runs N]`.

With `--build` also how long it takes to build and how large it is as one file, beside a plain build.

Boots the newest image through the real drivers, without controller and keeper, and measures from spawn until
the terminal, the browser, and both are painted; then the memory and the processor an idle desktop needs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.building import measure_builds, measure_rebuilds
from oriel.host import slots
from oriel.host.cgroups import Cgroup
from oriel.host.layout import Home, default_home
from oriel.host.namespaces import NetnsSockets
from oriel.hostd.images import default_image
from oriel.machine.container.driver import ContainerDriver
from oriel.machine.driver import Driver, ImageFiles, MachineSpec
from oriel.machine.qemu.driver import QemuDriver
from oriel.model import wire
from oriel.model.link import AGENT_PORT, GUEST_ADDRESS, Link
from oriel.model.spec import Runtime
from oriel.network.link import make_link, open_gateway_sockets, remove_link

DEADLINE_S = 300
SETTLE_S, IDLE_S = 150, 30  # Chromium's start goes on for two minutes behind its window
DRIVERS: dict[str, type[ContainerDriver | QemuDriver]] = {
    "container": ContainerDriver,
    "qemu": QemuDriver,
}
TARGETS = {"container": 1.5, "qemu": 45.0}  # seconds to both windows
KEYS = ("agent", "terminal", "browser", "both", "processor")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Guest:
    """A booted image. `seconds`: from spawn until each thing was there; `processor`: used until both were."""

    inside: NetnsSockets
    group: Cgroup
    seconds: dict[str, float]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await self.inside.connect(GUEST_ADDRESS, AGENT_PORT)

    async def sh(self, script: str, *, user: str = "root", timeout_s: float = 120) -> tuple[int, str]:
        """Run a script; its exit code and output."""
        return await self._run(["/bin/bash", "-lc", script], user, timeout_s)

    async def exec(self, argv: Sequence[str], *, timeout_s: float = 120) -> tuple[int, str]:
        return await self._run(argv, "user", timeout_s)

    async def windows(self) -> list[dict[str, Any]]:
        answer = await wire.call(self.connect, "windows", {}, deadline_s=DEADLINE_S)
        return list(answer["windows"])

    async def _run(self, argv: Sequence[str], user: str, timeout_s: float) -> tuple[int, str]:
        call = {"argv": list(argv), "user": user, "timeout_s": timeout_s}
        stream = await wire.open_stream(self.connect, "exec", call)
        output, code = b"", -1
        while frame := await wire.read_frame(stream.reader):
            channel, payload = frame
            if channel in (1, 2):
                output += payload
            elif channel == 3:
                code = json.loads(payload).get("exit_code") or 0
        await wire.close(stream.writer)
        return code, output.decode(errors="replace")

    async def ready(self, *kinds: str) -> list[dict[str, Any]]:
        """Until windows of all the kinds are painted."""
        args = {"kinds": list(kinds), "deadline_s": DEADLINE_S}
        answer = await wire.call(self.connect, "wait_ready", args, deadline_s=DEADLINE_S + 5)
        return list(answer["windows"])


@contextlib.asynccontextmanager
async def booted(runtime: Runtime, image: Path, *, memory_mib: int = 2048) -> AsyncIterator[Guest]:
    """A machine from a golden image, with its link and an agent that has announced itself."""
    driver: Driver = DRIVERS[runtime]()
    async with contextlib.AsyncExitStack() as undo:
        place = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="oriel-bench-", dir="/var/tmp")))
        desktop_id = "d-" + place.name[-8:].lower().translate(str.maketrans("0189_", "abcde")).rjust(10, "z")
        slot = slots.claim(place, desktop_id)
        undo.callback(slots.release, place, desktop_id)
        spec = MachineSpec(
            desktop_id=desktop_id, slot=slot, image=ImageFiles.of(image), disk=place / "disk.img", disk_gib=4,
            vcpus=2, memory_mib=memory_mib, directory=place / "machine", console=place / "console.log",
            disk_mount=place / "disk", root_mount=place / "root", link=Link(netns=Path("/"), device=""),
        )  # fmt: skip
        spec = replace(spec, link=await make_link(desktop_id, runtime, slots.process_uid(slot)))
        undo.push_async_callback(remove_link, desktop_id)
        inside = await NetnsSockets.open(spec.link.netns)
        undo.callback(inside.close)
        listeners = await open_gateway_sockets(inside)
        undo.callback(listeners.close)
        await driver.prepare_disk(spec)
        undo.push_async_callback(driver.release, spec)
        began = time.monotonic()
        machine = await driver.start(spec)
        undo.push_async_callback(machine.kill)
        async with asyncio.timeout(DEADLINE_S):
            announced, _ = await asyncio.get_running_loop().sock_accept(listeners.announce)
        announced.close()
        guest = Guest(inside, Cgroup(desktop_id), {"agent": time.monotonic() - began})
        for name, kinds in (
            ("terminal", ["terminal"]), ("browser", ["browser"]), ("both", ["terminal", "browser"]),
        ):  # fmt: skip
            await guest.ready(*kinds)
            guest.seconds[name] = time.monotonic() - began
        guest.seconds["processor"] = processor_seconds(guest.group)
        yield guest


def processor_seconds(group: Cgroup) -> float:
    """Used by all processes of the group, and by those of their children that ended: what hardly depends on
    how busy the machine is. Fields 14 to 17 of /proc/PID/stat (proc(5))."""
    ticks = 0
    for pid in group.processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


async def idle(guest: Guest) -> dict[str, float]:
    """What a desktop takes that nobody touches, once its start is over."""
    script = f"""
      sleep {SETTLE_S}
      ticks() {{ awk '/^cpu / {{ print $2 + $3 + $4 + $7 + $8 }}' /proc/stat; }}
      vnc() {{ awk '{{ print $14 + $15 }}' /proc/$(pgrep -x x11vnc)/stat; }}
      own() {{ cat /sys/fs/cgroup/cpu.stat 2>/dev/null | awk '/usage_usec/ {{ print $2 / 10000 }}'; }}
      a=$(own); a=${{a:-$(ticks)}} x=$(vnc); sleep {IDLE_S}; b=$(own); b=${{b:-$(ticks)}} y=$(vnc)
      free -m | awk -v cpu=$(awk "BEGIN {{ print ($b - $a) / {IDLE_S} }}") \
        -v vnc=$(awk "BEGIN {{ print ($y - $x) / {IDLE_S} }}") '/^Mem/ {{ print $3, cpu, vnc }}'"""
    _, output = await guest.sh(script, timeout_s=SETTLE_S + IDLE_S + 60)
    memory, cpu, vnc = output.split()[-3:]
    return {"memory_mib": float(memory), "cpu_percent": float(cpu), "x11vnc_percent": float(vnc)}


async def idle_processes(guest: Guest) -> dict[str, float]:
    """The same of a container, as the host sees its processes."""
    await asyncio.sleep(SETTLE_S)
    before = processor_seconds(guest.group)
    await asyncio.sleep(IDLE_S)
    return {"cpu_percent": 100 * (processor_seconds(guest.group) - before) / IDLE_S}


async def measure(runtime: Runtime, image: Path, runs: int) -> dict[str, Any]:
    samples: list[dict[str, float]] = []
    resting: dict[str, float] = {}
    for number in range(runs):
        async with booted(runtime, image) as guest:
            samples.append(guest.seconds)
            text = ", ".join(f"{key} {guest.seconds[key]:.2f} s" for key in KEYS)
            print(f"  {runtime} {number + 1}: {text}", file=sys.stderr, flush=True)
            if number == runs - 1:  # a container's /proc is the host's
                resting = await (idle(guest) if runtime is Runtime.QEMU else idle_processes(guest))
    median = {key: statistics.median(sample[key] for sample in samples) for key in KEYS}
    target = TARGETS[runtime]
    return {
        "ours": median, "target_s": target, "ratio": median["both"] / target, "idle": resting,
        "samples": samples,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.image", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON document, no table")
    parser.add_argument("--runtime", choices=sorted(DRIVERS), action="append")
    parser.add_argument(
        "--runs", type=int, default=3, help="boots of each runtime; 0: none, for --build alone"
    )
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--image", default=None, help="an image's id; default: the newest of `default`")
    parser.add_argument("--build", action="store_true", help="build and export too, from nothing; minutes")
    parser.add_argument("--rebuild", action="store_true", help="rebuild after changes, on the home's layers")
    options = parser.parse_args()
    home = Home(options.home or default_home())
    image = options.image or default_image(home)
    if image is None:
        parser.error(f"{home.root} has no golden image; `oriel image build` makes one")
    directory = home.image(image)
    manifest = json.loads((directory / "manifest.json").read_text())
    result: dict[str, Any] = {"image": image, "size_bytes": manifest["files"], "parts": manifest.get("parts")}
    for runtime in (options.runtime or ["container", "qemu"]) if options.runs else []:
        result[runtime] = asyncio.run(measure(Runtime(runtime), directory, options.runs))
    if options.rebuild:
        result["rebuild"] = asyncio.run(measure_rebuilds(home.root))
    if options.build:
        result["build"] = asyncio.run(measure_builds(home.root, manifest))
    if not options.json:
        for runtime in DRIVERS:
            if runtime in result:
                figures = result[runtime]
                line = f"{figures['ours']['both']:.2f} s to both windows (wanted {figures['target_s']} s)"
                print(f"{runtime:10} {line} {figures['idle'] or ''}", file=sys.stderr)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
