"""The checks in the order they are run: what others build on first, the soak last."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

from oriel.client.aio.desktop import Desktop
from oriel.client.verify.endurance import no_disconnects, stays_alive
from oriel.client.verify.hands import browser_navigates, terminal_typing
from oriel.client.verify.inspection import Check, Inspection, Vitals
from oriel.client.verify.reach import cli_tools, internet
from oriel.client.verify.report import CRITERIA, CheckResult, Report
from oriel.client.verify.sight import boot_under_30s, browser_visible, terminal_visible, vnc_connects
from oriel.model.errors import OrielError, StateError

__all__ = ["DEFAULT_URL", "SEQUENCE", "verify"]

DEFAULT_URL = "https://claude.ai/"
SEQUENCE: tuple[tuple[str, Check], ...] = (
    ("boot_under_30s", boot_under_30s),
    ("vnc_connects", vnc_connects),
    ("terminal_visible", terminal_visible),
    ("browser_visible", browser_visible),
    ("terminal_typing", terminal_typing),
    ("internet", internet),  # before the browser, which asks for the same URL if it is in reach
    ("browser_navigates", browser_navigates),
    ("cli_tools", cli_tools),
    ("stays_alive", stays_alive),
    ("no_disconnects", no_disconnects),
)


async def verify(
    desktop: Desktop,
    *,
    url: str = DEFAULT_URL,
    soak_s: float = 0,
    on_result: Callable[[CheckResult], None] = lambda _result: None,
    doing: Callable[[str], None] = lambda _what: None,
) -> Report:
    """Run all ten; a check that fails does not keep the others from being tried.

    It types into the desktop's terminal and browser. `url`: for the two checks that go out. `soak_s`:
    how long to look on, after the others, for the last two. Raises StateError if the desktop is not
    running, and the controller's errors if it cannot be asked at all.
    """
    info = await desktop.refresh()
    if info.state != "running":
        raise StateError(
            f"desktop {info.name} is {info.state}: only a running one can be verified",
            hint=f"oriel start {info.name}",
        )
    results: dict[str, CheckResult] = {}
    async with AsyncExitStack() as stack:
        inspection = Inspection(desktop=desktop, url=url, soak_s=soak_s, doing=doing, stack=stack)
        with suppress(OrielError):  # the last two checks say that it is missing
            inspection.vitals = await Vitals.of(desktop)
        for name, check in SEQUENCE:
            doing(name)
            results[name] = await inspection.judge(name, check)
            on_result(results[name])
    return Report(tuple(results[name] for name in CRITERIA))
