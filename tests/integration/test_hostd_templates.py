"""hostd tells of a template that is not what was written: at once if somebody wrote to it, when it is read if
its disk has rotted."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from oriel.host.layout import Home
from oriel.model import wire
from oriel.model.errors import OrielError
from oriel.model.spec import Runtime
from tests.integration.hosts import KEEPING_HOSTD, Host, hosted
from tests.integration.keepers import new_spec
from tests.integration.test_keeper_life import home, run

__all__ = ["home"]  # the fixture

SHAPE = ("image", "runtime", "vcpus", "memory_mib", "disk_gib", "screen")


async def build(host: Host, settle_s: object = 0) -> dict[str, Any]:
    """The last line of what is told of it."""
    spec = new_spec(runtime=Runtime.CONTAINER).to_json()
    host.home.image(spec["image"]).mkdir(parents=True, exist_ok=True)
    stream = await host.stream("template_build", spec={name: spec[name] for name in SHAPE}, settle_s=settle_s)
    try:
        line: dict[str, Any] = {}
        while (told := await wire.read_line(stream.reader)) is not None:
            line = told
        return line
    finally:
        await wire.close(stream.writer)


async def problem(host: Host) -> str:
    (template,) = (await host.ask("templates"))["templates"]
    return str(template["problem"])


def rot(file: Path, *, noticed: bool) -> None:
    before = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"x")
    date = before.st_mtime_ns + (2 * 10**9 if noticed else 0)
    os.utime(file, ns=(date, date))


def test_a_template_that_was_written_to_has_a_problem_at_once(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home, KEEPING_HOSTD) as host:
            template = home.template((await build(host))["template"])
            assert await problem(host) == ""
            rot(template / "memory", noticed=True)
            assert "memory was changed" in await problem(host)

    run(scenario)


def test_a_template_that_has_rotted_has_a_problem_once_it_is_read(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home, KEEPING_HOSTD) as host:
            template = home.template((await build(host))["template"])
            rot(template / "memory", noticed=False)
            host.kill()
            await host.launch()
            while not (told := await problem(host)):
                await asyncio.sleep(0.05)  # it is read in the background
            assert "memory is damaged" in told

    run(scenario)


def test_what_is_no_time_to_settle_makes_no_template(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home, KEEPING_HOSTD) as host:
            line = await build(host, settle_s="long")
            with pytest.raises(OrielError, match="settle_s: must be a number"):
                raise OrielError.from_wire(line["error"])
            assert (await host.ask("templates"))["templates"] == []
            assert (await host.ask("list"))["desktops"] == []

    run(scenario)
