"""Templates made and renewed by themselves: of the default kind of each virtual machine that works here, and
of every kind that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from oriel.controller.admission import Admission
from oriel.controller.attempts import Attempts
from oriel.controller.kinds import Kind
from oriel.controller.problems import neutral
from oriel.controller.room import Room
from oriel.fleet import Fleet
from oriel.model.errors import LaunchError, OrielError
from oriel.model.spec import Runtime

__all__ = ["Templates"]

EVERY_S = 10.0  # that the host has become calm is no event
AGAIN_S, LONGEST_AGAIN_S = 60.0, 3600.0  # after one that could not be made
_LOG = structlog.get_logger(__name__)


class Templates:
    """What of the host's templates can be begun at, and the making of those that are missed."""

    def __init__(self, fleet: Fleet, admission: Admission, room: Room, *, settle_s: float) -> None:
        self._fleet = fleet
        self._admission = admission
        self._room = room
        self._settle_s = settle_s
        self._fit: dict[Kind, str] = {}
        self._asked: dict[Kind, None] = {}
        self._attempts = Attempts[Kind](AGAIN_S, LONGEST_AGAIN_S)
        self.making: Kind | None = None
        self.changed = asyncio.Event()

    def of(self, kind: Kind) -> str:
        """Which one a desktop of this kind would begin at now, as far as is known; "" for none."""
        return self._fit.get(kind, "")

    def problem(self, kind: Kind) -> str:
        """Why the last attempt to make one failed; "" if it did not."""
        return self._attempts.problem(kind)

    def ask(self, kind: Kind) -> None:
        """A desktop of this kind was asked for: more may be."""
        if kind.begins_at_templates:
            self._asked[kind] = None

    async def look(self) -> list[dict[str, Any]]:
        """All there are. Those at which nothing can begin any more have a `problem`."""
        items = await self._fleet.templates()
        fit = {Kind.read(item): f"{item['id']} {item['created_at']}" for item in items if not item["problem"]}
        if fit != self._fit:
            self._fit = fit
            self.changed.set()
        return items

    async def keep(self) -> None:
        """For ever: one at a time, while nobody's desktop starts and the processors are not busy."""
        while True:
            try:
                await self._round()
            except OrielError as error:
                _LOG.debug("templates are not looked at", reason=error.message)
            except Exception as error:
                neutral(error)
            await asyncio.sleep(EVERY_S)

    async def _round(self) -> None:
        items = await self.look()
        for item in items:
            if item["problem"]:
                _LOG.warning("a template is of no use any more", template=item["id"], reason=item["problem"])
                await self._fleet.delete_template(str(item["id"]))
        for kind in await self._wanted():
            if kind in self._fit or not self._attempts.due(kind) or self._room.background.locked():
                continue
            if await self._room.calm():
                async with self._room.background:
                    await self._make(kind)

    async def _wanted(self) -> list[Kind]:
        """The default of each runtime first. What was asked of an image that is gone is forgotten."""
        images = {str(image["id"]) for image in await self._fleet.images()}
        self._asked = {kind: None for kind in self._asked if kind.image in images}
        kinds: dict[Kind, None] = {}
        if images:
            for report in await self._fleet.runtimes():
                if report.works and report.name is not Runtime.CONTAINER:
                    kinds[Kind.read(await self._admission.shape({"runtime": str(report.name)}))] = None
        return [*(kinds | self._asked)]

    async def _make(self, kind: Kind) -> None:
        _LOG.info("a template is made", kind=kind.to_json())
        self.making = kind
        try:
            async for line in self._fleet.build_template(kind.to_json(), settle_s=self._settle_s):
                _raise_error_of(line)
            self._attempts.succeeded(kind)
        except (OrielError, TimeoutError) as error:
            why = str(error) or "no word for too long"
            self._attempts.failed(kind, why)
            _LOG.warning("a template could not be made", kind=kind.to_json(), reason=why)
        finally:
            self.making = None
        await self.look()


def _raise_error_of(line: Mapping[str, Any]) -> None:
    if isinstance(error := line.get("error"), Mapping):
        raise OrielError.from_wire(error)
    if line.get("done") and not line.get("template"):
        raise LaunchError("the template's maker ended without a template")
