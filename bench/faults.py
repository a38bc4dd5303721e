"""The kill -9 matrix: every step of a desktop's life × every process that could die there.

    .venv/bin/python -m bench.faults [--process keeper …] [--verb start …] [--json]
    .venv/bin/python -m bench.faults --runtime container --images /var/lib/oriel/images

As root. hostd, keepers, namespaces and gateways are the real ones; the machine is a process in the desktop's
namespace, so that a case takes seconds, or one of --runtime with the newest image in --images. For each case
a desktop is made and the verb asked; as soon as the journal says the step, the process is killed. Then the
desktop must come to rest in a state it may be in, what its keeper says must be what the host shows, and after
its removal nothing of it may be left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.faults_controller import Api, api, settled_by_the_next
from bench.faults_told import at_rest, told_truly, until
from bench.report import publish
from oriel.host.layout import Home
from oriel.host.process import ProcessId, wait_gone
from oriel.model.errors import OrielError
from oriel.model.spec import Runtime

__all__ = ["POINTS", "PROCESSES", "Case", "run_case", "run_cell"]

STEPS = ("link", "disk", "gateway", "machine", "agent", "identity", "windows")
# What the journal says, by the verb under which it says so. A new step is one more word here.
POINTS = {
    "start": ("state.starting", *(f"{edge}.{step}" for step in STEPS for edge in ("begin", "step"))),
    "run": ("state.running",),
    "stop": ("state.stopping", "machine.exited", "machine.gone"),
    "pause": ("state.pausing", "machine.gone", "state.paused"),
    "resume": ("state.resuming", "begin.machine", "step.machine", "step.agent", "step.clock",
               "state.running"),
    # The fork's own life, from the first thing its journal says.
    "fork": ("state.starting", "begin.disk", "step.disk", "begin.machine", "step.machine", "step.agent",
             "begin.identity", "step.identity", "step.windows"),
    "delete": ("state.deleting", "machine.gone"),
}  # fmt: skip
PROCESSES = ("keeper", "gateway", "machine", "hostd", "controller")
START_S = 600.0


@dataclass(frozen=True)
class Case:
    verb: str
    point: str
    process: str


async def run_case(host: Any, case: Case, **spec: Any) -> str:
    """The state the desktop came to rest in; "-" if the process does not live then. AssertionError if it
    lies or leaks."""
    fakes: Any = importlib.import_module("tests.integration.keepers")
    inventory: Any = importlib.import_module("tests.inventory").Inventory
    keeper = await host.create(fakes.new_spec(**spec))
    desktop_id, source = keeper.spec.id, ""
    if case.verb in ("stop", "delete", "pause", "resume", "fork"):
        await keeper.ask("start", wait_s=START_S, deadline_s=START_S)
    if case.verb == "resume":
        await keeper.ask("pause", wait_s=START_S)
    if case.verb == "fork":
        await keeper.ask("snapshot", wait_s=START_S, name="forked")
        source, fork = desktop_id, fakes.new_spec(**spec)
        keeper = await host.create(fork, origin={"desktop": source, "snapshot": "forked"})
        desktop_id = fork.id
    before = keeper.events()[-1].seq
    asked = asyncio.create_task(_ask(host, keeper, case.verb))
    try:
        at = await until(keeper, case.point, since=0 if case.verb == "fork" else before)
        victim = None if at is None else _victim(host, keeper, case.process)
        if victim is None or not victim.signal(signal.SIGKILL):
            return "-"
        await wait_gone(victim)
        if case.process == "hostd":
            await asyncio.to_thread(host.process.wait)
            await host.launch()
        await asked
        state = await at_rest(host, desktop_id)
        told_truly(state, inventory.take().of(desktop_id))
        return state
    finally:
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        for one in filter(None, (desktop_id, source)):
            await host.ask("remove", id=one)
            assert not (left := inventory.take().of(one)), left


async def _ask(host: Any, keeper: Any, verb: str) -> None:
    """What goes wrong is the desktop's to tell."""
    with contextlib.suppress(OrielError, OSError):
        if verb == "delete":
            await host.ask("remove", id=keeper.spec.id)
        else:
            asked = "start" if verb in ("run", "fork") else verb
            await keeper.ask(asked, wait_s=START_S, deadline_s=START_S)


def _victim(host: Any, keeper: Any, process: str) -> ProcessId | None:
    """The process as the journal and the records know it, if it lives now."""
    recorded: dict[str, ProcessId] = {}
    for event in keeper.events():
        if event.kind == "gateway.started":
            recorded["gateway"] = ProcessId(event.data["pid"], event.data["started"])
        elif event.kind == "machine.started":
            record = event.data["record"]
            recorded["machine"] = ProcessId(record["pid"], record["started"])
    if process == "hostd":
        return ProcessId.of(host.process.pid)
    if process == "keeper":
        records: Any = importlib.import_module("oriel.host.records")
        found: ProcessId | None = records.read_process(keeper.paths.keeper_record)
        return found
    return recorded.get(process)


async def run_cell(host: Any, controller: Api | None, case: Case, **spec: Any) -> str:
    """As `run_case`, of the controller too if there is one; a failure is told."""
    try:
        if case.process != "controller":
            return await run_case(host, case, **spec)
        return (
            "-" if controller is None else await settled_by_the_next(host, controller, case.verb, case.point)
        )
    except (AssertionError, TimeoutError, OrielError) as error:
        return f"FAILED: {str(error)[:300] or type(error).__name__}"


async def _run(
    verbs: list[str], processes: list[str], runtime: str, images: Path | None
) -> list[dict[str, Any]]:
    hosts: Any = importlib.import_module("tests.integration.hosts")
    rows, spec, command = [], {}, hosts.KEEPING_HOSTD
    if runtime:
        newest = max(images.glob("*@*"), key=lambda path: path.stat().st_mtime) if images else None
        if newest is None:
            raise SystemExit("--runtime needs --images")
        spec, command = {"runtime": Runtime(runtime), "image": newest.name}, ("-m", "oriel.hostd")
    with tempfile.TemporaryDirectory(prefix="of-", dir="/tmp") as directory:
        async with contextlib.AsyncExitStack() as stack:
            host = await stack.enter_async_context(hosts.hosted(Home(Path(directory) / "h", images), command))
            above = None
            if "controller" in processes and not runtime:
                above = await stack.enter_async_context(api(host))
            for verb in verbs:
                for point in POINTS[verb]:
                    row: dict[str, Any] = {"verb": verb, "at": point}
                    for process in processes:
                        row[process] = await run_cell(host, above, Case(verb, point, process), **spec)
                    rows.append(row)
                    print(row, file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="The kill -9 matrix.")
    parser.add_argument("--verb", action="append", choices=list(POINTS))
    parser.add_argument("--process", action="append", choices=PROCESSES)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: stdout is JSON anyway")
    parser.add_argument("--runtime", default="", choices=["container", "qemu"])
    parser.add_argument("--images", type=Path, help="where its images are")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("must run as root: it makes namespaces")
    began = time.monotonic()
    verbs, processes = options.verb or list(POINTS), options.process or list(PROCESSES)
    with contextlib.redirect_stdout(sys.stderr):
        rows = asyncio.run(_run(verbs, processes, options.runtime, options.images))
    cases = [value for row in rows for key, value in row.items() if key in PROCESSES and value != "-"]
    failed = sum(value.startswith("FAILED") for value in cases)
    document = {"cases": len(cases), "failed": failed, "seconds": round(time.monotonic() - began, 1)}
    publish(f"kill -9: {len(cases)} cases, {failed} failed", rows, {**document, "matrix": rows})
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
