"""The host: what it lacks, serving it, measuring it, and what runs on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from oriel.cli.options import HomeOption, JsonFlag
from oriel.cli.output import DONE, FAILED, Output
from oriel.model.errors import NotFoundError, OrielError, UnavailableError

__all__ = ["bench", "doctor", "serve", "version"]

CHECKOUT = Path(__file__).resolve().parents[3]
# A runtime is proven by a bounded test boot; the slowest is QEMU's without hardware help.
DOCTOR_DEADLINE_S = 300.0


def doctor(json: JsonFlag = False, home: HomeOption = None) -> int:
    """What this host needs for desktops, each with what to do about it; changes nothing."""
    output = Output(json=json)
    checks = _checks(home, output)
    broken = [check for check in checks if check["fatal"] and not check["ok"]]
    rows = [(_verdict(check), check["id"], check["detail"]) for check in checks]
    output.table({"passed": not broken, "checks": checks}, ("", "CHECK", "SEEN"), rows)
    for check in checks:
        if not check["ok"] and check["hint"]:
            output.note(f"{check['id']}: {check['hint']}")
    return FAILED if broken else DONE


def _verdict(check: dict[str, Any]) -> str:
    if check["ok"]:
        return "ok"
    return "FAIL" if check["fatal"] else "note"


def _checks(home: Path | None, output: Output) -> list[dict[str, Any]]:
    """From the controller's host if ORIEL_URL names one; else of this host, by its hostd if there is one."""
    import asyncio

    if home is None and os.environ.get("ORIEL_URL"):
        from oriel.cli.options import connect

        with connect(home) as oriel:
            return list(oriel.host()["checks"])
    from oriel.host.layout import Home, default_home

    paths = Home((home or default_home()).resolve())
    return asyncio.run(_examine(paths, output))


async def _examine(home: Any, output: Output) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from oriel.host.doctor import examine
    from oriel.hostd.runtimes import PROBES
    from oriel.model import wire

    output.note("looking at this host; a test boot proves each runtime …")
    try:
        answer = await wire.call(wire.unix(home.hostd_socket), "doctor", deadline_s=DOCTOR_DEADLINE_S)
        return list(answer["checks"])
    except UnavailableError:
        checks = [asdict(check) for check in await examine(home)]  # no hostd serves this home: look ourselves
    for runtime, probe in PROBES.items():
        checks.append(await _runtime(str(runtime), probe))
    return checks


async def _runtime(name: str, probe: Any) -> dict[str, Any]:
    check = {"id": f"runtime.{name}", "fatal": False}
    try:
        found = await probe()
    except OrielError as error:
        return check | {"ok": False, "detail": error.message, "hint": error.hint}
    return check | {"ok": found.works, "detail": f"{found.isolation}: {found.detail}", "hint": found.hint}


def serve(
    host: Annotated[str, typer.Option(envvar="ORIEL_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="ORIEL_PORT", min=0, max=65535, help="0 for any.")] = 8080,
    home: HomeOption = None,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    json: JsonFlag = False,
) -> None:
    """Serve a home: hostd and the controller, each brought back when it ends. SIGTERM ends it."""
    import asyncio

    from oriel.cli.serve import serve as serve_home
    from oriel.host.layout import Home, default_home

    output = Output(json=json)

    def ready(url: str) -> None:
        output.result({"url": url, "pid": os.getpid()}, f"serving {url}")
        sys.stdout.flush()
        if ready_fd is not None:
            os.write(ready_fd, f"{url}\n".encode())
            os.close(ready_fd)

    paths = Home((home or default_home()).resolve())
    asyncio.run(serve_home(paths, host=host, port=port, ready=ready))


def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As image, instant, egress, latency.")],
    json: JsonFlag = False,
) -> int:
    """Measure, against a named rival in the same run. Needs a checkout."""
    import subprocess

    known = sorted(path.stem for path in (CHECKOUT / "bench").glob("[!_]*.py"))
    if name not in known:
        hint = (
            f"there are: {', '.join(known)}"
            if known
            else "benchmarks are part of the source, not of an installation"
        )
        raise NotFoundError(f"no benchmark is called {name!r}", hint=hint)
    argv = [sys.executable, "-m", f"bench.{name}", *(["--json"] if json else [])]
    return subprocess.run(argv, cwd=CHECKOUT, check=False).returncode


def version(json: JsonFlag = False) -> None:
    """The version of this command."""
    from oriel import __version__

    Output(json=json).result({"version": __version__}, __version__)
