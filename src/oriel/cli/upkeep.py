"""Before and after an upgrade: nothing new begins, and keepers of the new version."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from oriel.cli.options import HomeOption, JsonFlag, connect
from oriel.cli.output import DONE, FAILED, Output
from oriel.model.errors import UnavailableError

__all__ = ["drain", "renew"]

LOOK_S = 0.5


def drain(
    off: Annotated[bool, typer.Option("--off", help="Take new desktops again.")] = False,
    deadline: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long to wait for what is under way.")
    ] = 600,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Let nothing new begin on the host; returns once no desktop is being started or changed. All run on.

    It ends with `--off`, or when the controller is started anew.
    """
    output = Output(json=json)
    end = time.monotonic() + deadline
    with connect(home) as oriel:
        told = oriel.drain(on=not off)
        while not off and told["under_way"]:
            if time.monotonic() > end:
                raise UnavailableError(
                    f"{told['under_way']} desktops are still being changed after {deadline:g} s",
                    hint="`oriel list` shows which; `oriel drain --off` takes new ones again",
                )
            # Starts end at times of their own, on streams of events that only their owners have.
            time.sleep(LOOK_S)
            told = oriel.drain()
    output.result(told, "the host takes new desktops again" if off else "nothing new begins; all run on")


def renew(json: JsonFlag = False, home: HomeOption = None) -> int:
    """After an upgrade, replace each desktop's keeper by one of the new version. Machines run on.

    Connections through a desktop's way out break, and viewers reconnect by themselves.
    """
    output = Output(json=json)
    with connect(home) as oriel:
        told = oriel.renew()
    for problem in told["problems"]:
        output.note(problem)
    output.result(told, f"renewed: {len(told['renewed'])}, problems: {len(told['problems'])}")
    return FAILED if told["problems"] else DONE
