"""The host: what it lacks, serving it, measuring it, and what runs on it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from oriel.cli.options import HomeOption, JsonFlag, connect, home_of
from oriel.cli.output import DONE, FAILED, Output
from oriel.model.errors import NotFoundError, OrielError, UnavailableError

if TYPE_CHECKING:
    from oriel.host.layout import Home

__all__ = ["bench", "doctor", "serve", "version"]

CHECKOUT = Path(__file__).resolve().parents[3]
# A runtime is proven by a bounded test boot; the slowest is QEMU's without hardware help.
DOCTOR_DEADLINE_S = 300.0


def doctor(
    json: JsonFlag = False,
    home: HomeOption = None,
    install_firecracker: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="First install a Firecracker release, firecracker-vVERSION-ARCH.tgz."
        ),
    ] = None,
    sha256: Annotated[
        str, typer.Option(metavar="SUM", help="Its SHA-256 sum, if FILE.sha256.txt is not beside it.")
    ] = "",
) -> int:
    """What this host needs for desktops, each with what to do about it; changes nothing but as told."""
    output = Output(json=json)
    if install_firecracker is not None:
        _install_firecracker(home_of(home), install_firecracker, sha256, output)
    checks = _checks(home, output)
    broken = [check for check in checks if check["fatal"] and not check["ok"]]
    rows = [(_verdict(check), check["id"], check["detail"]) for check in checks]
    output.table({"passed": not broken, "checks": checks}, ("", "CHECK", "SEEN"), rows)
    for check in checks:
        if not check["ok"] and check["hint"]:
            output.note(f"{check['id']}: {check['hint']}")
    return FAILED if broken else DONE


def _install_firecracker(home: Home, archive: Path, sha256: str, output: Output) -> None:
    import asyncio

    from oriel.host.accounts import require_root
    from oriel.machine.firecracker.install import install

    require_root("installing Firecracker")
    home.root.mkdir(parents=True, exist_ok=True)
    release = asyncio.run(install(home, archive, sha256))
    output.note(f"Firecracker {release.version} is installed: {release.firecracker.parent}")


def _verdict(check: dict[str, Any]) -> str:
    if check["ok"]:
        return "ok"
    return "FAIL" if check["fatal"] else "note"


def _checks(home: Path | None, output: Output) -> list[dict[str, Any]]:
    """From the controller's host if ORIEL_URL names one; else of this host, by its hostd if there is one."""
    import asyncio

    if home is None and os.environ.get("ORIEL_URL"):
        with connect(home) as oriel:
            return list(oriel.host()["checks"])
    return asyncio.run(_examine(home_of(home), output))


async def _examine(home: Home, output: Output) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from oriel.host.doctor import examine
    from oriel.model import wire

    output.note("looking at this host; a test boot proves each runtime …")
    try:
        answer = await wire.call(wire.unix(home.hostd_socket), "doctor", deadline_s=DOCTOR_DEADLINE_S)
        return list(answer["checks"])
    except UnavailableError:  # no hostd serves this home: look ourselves
        return [*map(asdict, await examine(home)), *await _runtimes(home)]


async def _runtimes(home: Home) -> list[dict[str, Any]]:
    """Each runtime tried now, with the home's image if it has one."""
    from oriel.hostd.images import default_image
    from oriel.hostd.runtimes import probes_of
    from oriel.machine.driver import ImageFiles

    image = default_image(home)
    files = ImageFiles.of(home.image(image)) if image else None
    checks = []
    for name, probe in probes_of(home).items():
        check = {"id": f"runtime.{name}", "fatal": False}
        try:
            found = await probe(files)
            checks.append(
                check
                | {"ok": found.works, "detail": f"{found.isolation}: {found.detail}", "hint": found.hint}
            )
        except OrielError as error:
            checks.append(check | {"ok": False, "detail": error.message, "hint": error.hint})
    return checks


def serve(context: typer.Context) -> None:
    """Serve a home: hostd and the controller, each brought back when it ends. Every setting is an option."""
    import asyncio

    from oriel.cli.serve import serve as serve_home
    from oriel.host.layout import Home

    options, flags = _serve_options(context.args)
    output = Output(json=options.json)

    def ready(url: str) -> None:
        output.result({"url": url, "pid": os.getpid()}, f"serving {url}")
        sys.stdout.flush()
        if options.ready_fd is not None:
            os.write(options.ready_fd, f"{url}\n".encode())
            os.close(options.ready_fd)

    asyncio.run(serve_home(Home(options.home.resolve()), flags, ready=ready))


class _Parser(argparse.ArgumentParser):
    """Its faults are told as every other command's."""

    def error(self, message: str) -> NoReturn:
        raise typer.BadParameter(message)


def _serve_options(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, str | None]]:
    """The command's own options, and the settings' flags as text."""
    from oriel.host.layout import default_home
    from oriel.host.settings import add_flags

    parser = _Parser(prog="oriel serve", description=serve.__doc__, allow_abbrev=False)
    parser.add_argument(
        "--home", type=Path, default=default_home(), help="home directory (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, once ready")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    add_flags(parser)
    options = parser.parse_args(arguments)
    own = ("home", "json", "ready_fd")
    return options, {name: value for name, value in vars(options).items() if name not in own}


def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As image, instant, egress, latency.")],
    json: JsonFlag = False,
) -> int:
    """Measure, against a named rival in the same run. Needs a checkout."""
    import subprocess

    known = sorted(path.stem for path in (CHECKOUT / "bench").glob("[!_]*.py"))
    if name not in known:
        hint = f"there are: {', '.join(known)}" if known else "run it from a checkout of the source"
        raise NotFoundError(f"no benchmark is called {name!r}", hint=hint)
    argv = [sys.executable, "-m", f"bench.{name}", *(["--json"] if json else [])]
    return subprocess.run(argv, cwd=CHECKOUT, check=False).returncode


def version(json: JsonFlag = False) -> None:
    """The version of this command."""
    from oriel import __version__

    Output(json=json).result({"version": __version__}, __version__)
