"""Desktops: made, listed, shown, opened, started, stopped, deleted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from oriel.cli.options import HomeOption, JsonFlag, NameArgument, connect
from oriel.cli.output import Output
from oriel.model.errors import Fault, InvalidError
from oriel.model.events import Event
from oriel.model.spec import Runtime, Screen

__all__ = ["cell", "create", "delete", "list_", "open_", "show", "start", "stop"]

WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Return once it is ready, or at once.")]
DeadlineOption = Annotated[float, typer.Option("--deadline", metavar="SECONDS", help="How long to wait.")]


def create(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Its name; chosen if left out.")] = None,
    *,
    runtime: Annotated[
        str | None, typer.Option(metavar="|".join(["auto", *Runtime]), help="What it runs in.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Golden image: NAME or NAME@VERSION.")] = None,
    vcpus: Annotated[int | None, typer.Option(help="Processors.")] = None,
    memory_mib: Annotated[int | None, typer.Option(help="Memory, MiB.")] = None,
    disk_gib: Annotated[int | None, typer.Option(help="Most it may write, GiB.")] = None,
    screen: Annotated[str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Size of its screen.")] = None,
    disk_mib_s: Annotated[
        int | None,
        typer.Option("--disk-mib-s", help="Most it may read and write, MiB a second (Firecracker)."),
    ] = None,
    disk_ops_s: Annotated[
        int | None, typer.Option("--disk-ops-s", help="Most operations of its disk, a second (Firecracker).")
    ] = None,
    network_mib_s: Annotated[
        int | None,
        typer.Option("--network-mib-s", help="Most of its link, MiB a second each way (Firecracker)."),
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(help="Proxy its internet goes through (see `oriel proxy`).")
    ] = None,
    idle_timeout: Annotated[
        int | None, typer.Option("--idle-timeout-s", help="Pause after so long without use; 0 never.")
    ] = None,
    idle_action: Annotated[
        str | None, typer.Option(metavar="pause|stop", help="What becomes of it then.")
    ] = None,
    max_age: Annotated[
        int | None, typer.Option("--max-age-s", help="Stop it so long after it was ready; 0 never.")
    ] = None,
    restart: Annotated[
        str | None,
        typer.Option(metavar="no|on-failure|always", help="Start it again, with growing pauses."),
    ] = None,
    clipboard: Annotated[
        str | None,
        typer.Option(metavar="off|in|out|both", help="Which way its clipboard goes; both if not given."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = None,
    wait: WaitOption = True,
    deadline: DeadlineOption = 600,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Make a desktop; it is ready, both windows on its screen, when this returns."""
    output = Output(json=json)
    size, labels = _choices(screen, label or [])
    rates = {"disk_mib_s": disk_mib_s, "disk_ops_s": disk_ops_s, "network_mib_s": network_mib_s}
    with connect(home) as oriel:
        desktop = oriel.desktops.create(
            name,
            runtime=runtime,
            image=image,
            vcpus=vcpus,
            memory_mib=memory_mib,
            disk_gib=disk_gib,
            screen=size,
            rates={name: rate for name, rate in rates.items() if rate is not None} or None,
            proxy=proxy,
            idle_timeout_s=idle_timeout,
            idle_action=idle_action,
            max_age_s=max_age,
            restart=restart,
            clipboard=clipboard,
            labels=labels,
            wait=False,
        )
        output.note(f"{desktop.info.name} ({desktop.info.id}) on {desktop.info.runtime}")
        if wait:
            desktop.wait_ready(deadline_s=deadline, on_event=progress(output))
        output.result(desktop.info.document, "" if not wait else f"{desktop.info.name} is ready")


def _choices(screen: str | None, labels: list[str]) -> tuple[Screen | None, dict[str, str] | None]:
    """Screen and labels from their text; InvalidError with all faults."""
    faults = []
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", screen or "")
    if screen is not None and not size:
        faults.append(Fault("--screen", "must be WIDTHxHEIGHT in pixels, as 1280x720"))
    faults += [Fault("--label", f"{text!r} must be KEY=VALUE") for text in labels if "=" not in text]
    if faults:
        raise InvalidError.of(faults)
    pairs = {key: value for key, _, value in (text.partition("=") for text in labels)}
    return Screen(width=int(size[1]), height=int(size[2])) if size else None, pairs or None


def progress(output: Output) -> Callable[[Event], None]:
    """Tells people each step with its time."""

    def tell(event: Event) -> None:
        seconds = event.data.get("seconds")
        if event.kind.startswith("step."):
            took = f" {seconds:.2f} s" if isinstance(seconds, int | float) else ""
            output.note(f"  {event.kind.removeprefix('step.')}{took}")
        elif event.kind.startswith("state."):
            output.note(event.kind.removeprefix("state."))

    return tell


def list_(json: JsonFlag = False, home: HomeOption = None) -> None:
    """All desktops that you may see, newest first."""
    with connect(home) as oriel:
        found = [desktop.info for desktop in oriel.desktops.list()]
    Output(json=json).table(
        {"items": [info.document for info in found]},
        ("NAME", "STATE", "RUNTIME", "ISOLATION", "EXIT", "OWNER", "ID"),
        [
            (
                info.name,
                info.state,
                info.runtime,
                info.isolation or "-",
                info.proxy or "-",
                info.owner,
                info.id,
            )
            for info in found
        ],
    )


def show(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """One desktop with all that is known of it."""
    with connect(home) as oriel:
        info = oriel.desktop(name).info
    rows = [(key, cell(value)) for key, value in info.document.items() if value not in (None, "", {})]
    Output(json=json).table(info.document, ("FIELD", "VALUE"), rows)


def cell(value: Any) -> str:
    """A value of a document as people read it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(item)}" for key, item in value.items())
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def open_(
    name: NameArgument,
    view: Annotated[bool, typer.Option("--view", help="A link to look on, not to drive.")] = False,
    browser: Annotated[bool, typer.Option(help="Open it in this machine's browser, if it has one.")] = True,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """A link to the desktop, good for one viewer and a short time."""
    import os
    import webbrowser

    with connect(home) as oriel:
        ticket = oriel.desktop(name).ticket("view" if view else "control")
    Output(json=json).result(
        {"viewer_url": ticket.viewer_url, "expires_at": ticket.expires_at}, ticket.viewer_url
    )
    # Without a screen `webbrowser` would start a text browser in this terminal.
    if browser and not json and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        webbrowser.open(ticket.viewer_url)


def start(
    name: NameArgument,
    wait: WaitOption = True,
    deadline: DeadlineOption = 600,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Start a stopped desktop from its disk."""
    output = Output(json=json)
    with connect(home) as oriel:
        desktop = oriel.desktop(name)
        info = desktop.start(wait=wait, deadline_s=deadline, on_event=progress(output))
    output.result(info.document, f"{info.name} is {info.state}")


def stop(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Shut a desktop down; its disk stays."""
    with connect(home) as oriel:
        info = oriel.desktop(name).stop()
    Output(json=json).result(info.document, f"{info.name} is {info.state}")


def delete(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Delete a desktop with its disk. There is no way back."""
    with connect(home) as oriel:
        desktop = oriel.desktop(name)
        desktop.delete()
    Output(json=json).result({"id": desktop.info.id, "name": desktop.info.name, "deleted": True}, "")
