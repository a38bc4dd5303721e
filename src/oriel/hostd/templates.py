"""The templates of a home: which there are, making one, deleting."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oriel.host.layout import Home
from oriel.host.template import TemplateKey
from oriel.host.threads import in_thread
from oriel.keeper.assembly import machine_spec_of
from oriel.keeper.moments import erase, known, read_moment, read_template
from oriel.keeper.seals import stamp_of
from oriel.keeper.server import DriverOf
from oriel.machine.driver import Restoring
from oriel.model import wire
from oriel.model.errors import NotFoundError, OrielError, UnavailableError
from oriel.model.spec import DesktopSpec

__all__ = ["MAKER", "Examiner", "builder_spec", "delete_template", "list_templates", "make"]

MAKER = "template"  # the name of a desktop that makes one, and goes
DEADLINE_S = 900.0  # a cold boot under emulation on a busy host, and settling
SHAPE = ("image", "runtime", "vcpus", "memory_mib", "disk_gib", "screen")
Progress = Callable[[dict[str, Any]], None]
_LOG = logging.getLogger(__name__)


def list_templates(home: Home) -> list[dict[str, Any]]:
    """Every whole template: `{id, image, runtime, vcpus, …, at, bytes}`, newest first."""
    found = []
    for directory in home.templates.iterdir() if home.templates.is_dir() else ():
        if (kept := known(directory)) is not None:
            found.append(
                {"id": directory.name, **kept.key, "created_at": kept.at, "size_bytes": kept.bytes_own}
            )
    return sorted(found, key=lambda item: str(item["created_at"]), reverse=True)


class Examiner:
    """Tells what there is to begin at. A template is read in full once, and again when it was written to:
    in the background of `group`, since that takes seconds. Until then it is believed."""

    def __init__(self, home: Home, driver_of: DriverOf, group: asyncio.TaskGroup) -> None:
        self._home = home
        self._driver_of = driver_of
        self._group = group
        self._read: dict[str, tuple[tuple[int, ...], str]] = {}  # by name: what was read, and its problem
        self._turn = asyncio.Lock()

    async def examine(self) -> list[dict[str, Any]]:
        """As `list_templates`, each with its `problem`: why nothing can begin there any more, or ""."""
        found = await in_thread(lambda: list_templates(self._home))
        for item in found:
            item["problem"] = await self._problem(item)
        return found

    async def _problem(self, item: Mapping[str, Any]) -> str:
        home, spec = self._home, builder_spec({name: item[name] for name in SHAPE})
        try:
            driver = self._driver_of(spec.runtime, home)
            if not isinstance(driver, Restoring):
                return f"the runtime {spec.runtime} cannot restore it"
            key = TemplateKey.of(spec, await driver.engine(machine_spec_of(home, spec, slot=0)))
            directory = home.template(str(item["id"]))
            if not await in_thread(home.image(spec.image).is_dir):
                return f"its image {spec.image} is gone"
            stamp = await in_thread(lambda: stamp_of(read_moment(directory, key)))
        except OrielError as error:
            return error.message
        before, problem = self._read.get(directory.name, ((), ""))
        if before == stamp:
            return problem
        self._read[directory.name] = stamp, ""
        self._group.create_task(self._read_in_full(directory, key, stamp), name=f"read {directory.name}")
        return ""

    async def _read_in_full(self, directory: Path, key: TemplateKey, stamp: tuple[int, ...]) -> None:
        async with self._turn:
            try:
                await in_thread(lambda: read_template(directory, key))
            except (OrielError, OSError) as error:  # the latter if it is just being deleted
                _LOG.warning("the template %s is of no use: %s", directory.name, error)
                self._read[directory.name] = stamp, str(error)


async def delete_template(home: Home, key: str) -> None:
    """Desktops that began from it keep what they share with it. NotFoundError if there is none."""
    directory = home.template(key)
    if not await in_thread(directory.exists):
        raise NotFoundError(f"there is no template {key}", hint="`oriel template list` shows those there are")
    await in_thread(lambda: erase(directory))


def builder_spec(given: Mapping[str, Any]) -> DesktopSpec:
    """The desktop that makes a template; InvalidError with every fault of what is asked for."""
    own = {
        "id": f"d-{base64.b32encode(secrets.token_bytes(7)).decode().lower()[:10]}",
        "name": MAKER, "session_id": MAKER, "spare": True,
    }  # fmt: skip
    return DesktopSpec.from_json({**given, **own})


async def make(home: Home, spec: DesktopSpec, settle_s: object, progress: Progress) -> str:
    """Have the keeper of `spec` make the template, telling each step; the template's id. `settle_s`: for how
    long it is left alone first; the keeper checks it."""
    connect = wire.unix(home.desktop(spec.id).keeper_socket)
    telling = asyncio.create_task(_tell_steps(connect, progress))
    try:
        made = await wire.call(
            connect,
            "make_template",
            {"deadline_s": DEADLINE_S, "settle_s": settle_s},
            deadline_s=DEADLINE_S + 30,
        )
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    return str(made["template"])


async def _tell_steps(connect: wire.Connect, progress: Progress) -> None:
    try:
        stream = await wire.open_stream(connect, "events", {"after": 0})
        try:
            while (line := await wire.read_line(stream.reader)) is not None:
                kind, _, step = str(line.get("kind")).partition(".")
                if kind == "step":
                    seconds = line.get("data", {}).get("seconds")
                    progress({"phase": step, "message": f"{step}: {seconds} s"})
        finally:
            stream.writer.transport.abort()
    except (OrielError, UnavailableError) as error:
        progress({"phase": "template", "message": f"its steps cannot be followed: {error.message}"})
