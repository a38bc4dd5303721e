"""This host: hostd's socket and the keepers' sockets under one home."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from oriel.fleet.contract import Capacity, Occupant, RuntimeReport
from oriel.fleet.keeper import Keeper
from oriel.host.layout import Home
from oriel.host.meters import ProcessorMeter, load_average, memory_available_mib
from oriel.model import wire
from oriel.model.errors import UnavailableError
from oriel.model.spec import DesktopSpec, Isolation, Runtime

__all__ = ["LocalHost"]

ASK_DEADLINE_S = 10.0
PROBE_DEADLINE_S = 180.0  # a test boot of every runtime, once per boot of the host
WORK_DEADLINE_S = 120.0
RENEW_DEADLINE_S = 1800.0  # one after the other, on a host that is full
BUILD_SILENCE_S = 1800.0
HINT = "is hostd running? `oriel serve` brings it back; its log is HOME/hostd/hostd.log"


class LocalHost:
    """The `Fleet` of one host."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._hostd = wire.unix(home.hostd_socket)
        self._meter = ProcessorMeter()

    def keeper(self, desktop_id: str) -> Keeper:
        return Keeper(self._home.desktop(desktop_id).keeper_socket)

    async def runtimes(self) -> list[RuntimeReport]:
        answer = await self._ask("hello", deadline_s=PROBE_DEADLINE_S)
        return [
            RuntimeReport(
                name=Runtime(name),
                works=bool(found.get("works")),
                isolation=Isolation(found.get("isolation", Isolation.CONTAINER)),
                detail=str(found.get("detail", "")),
                hint=str(found.get("hint", "")),
            )
            for name, found in answer.get("runtimes", {}).items()
            if name in list(Runtime)
        ]

    async def capacity(self) -> Capacity:
        return await asyncio.to_thread(self._capacity)

    def _capacity(self) -> Capacity:
        page = os.sysconf("SC_PAGE_SIZE")
        disk = os.statvfs(self._home.root)
        return Capacity(
            vcpus=os.cpu_count() or 1,
            memory_mib=os.sysconf("SC_PHYS_PAGES") * page >> 20,
            memory_free_mib=memory_available_mib(),
            disk_mib=disk.f_blocks * disk.f_frsize >> 20,
            disk_free_mib=disk.f_bavail * disk.f_frsize >> 20,
            busy=self._meter.busy(),
            load=load_average(),
        )

    async def occupants(self) -> list[Occupant]:
        answer = await self._ask("list")
        return [
            Occupant(
                id=str(one["id"]), name=str(one.get("name", "")), alive=bool(one.get("alive")),
                spare=bool(one.get("spare")), warm=bool(one.get("warm")),
            )
            for one in answer["desktops"]
        ]  # fmt: skip

    async def create(self, spec: DesktopSpec, *, origin: tuple[str, str] | None = None) -> None:
        args: dict[str, Any] = {"spec": spec.to_json()}
        if origin is not None:
            args["origin"] = {"desktop": origin[0], "snapshot": origin[1]}
        await self._ask("create", args, deadline_s=WORK_DEADLINE_S)

    async def remove(self, desktop_id: str) -> None:
        await self._ask("remove", {"id": desktop_id}, deadline_s=WORK_DEADLINE_S)

    async def renew(self) -> dict[str, Any]:
        return await self._ask("renew", deadline_s=RENEW_DEADLINE_S)

    async def images(self) -> list[dict[str, Any]]:
        return list((await self._ask("images"))["images"])

    async def delete_image(self, image_id: str) -> None:
        await self._ask("image_delete", {"id": image_id}, deadline_s=WORK_DEADLINE_S)

    async def templates(self) -> list[dict[str, Any]]:
        return list((await self._ask("templates"))["templates"])

    async def delete_template(self, template_id: str) -> None:
        await self._ask("template_delete", {"id": template_id}, deadline_s=WORK_DEADLINE_S)

    def build_image(self, recipe: str) -> AsyncIterator[Mapping[str, Any]]:
        return self._lines("image_build", {"recipe": recipe})

    def build_template(self, spec: Mapping[str, Any], *, settle_s: float) -> AsyncIterator[Mapping[str, Any]]:
        return self._lines("template_build", {"spec": dict(spec), "settle_s": settle_s})

    async def _lines(self, verb: str, args: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        stream = await wire.open_stream(self._hostd, verb, args)
        try:
            while True:
                async with asyncio.timeout(BUILD_SILENCE_S):
                    line = await wire.read_line(stream.reader)
                if line is None:
                    return
                yield line
        finally:
            stream.writer.transport.abort()

    async def checks(self) -> list[dict[str, Any]]:
        return list((await self._ask("doctor", deadline_s=PROBE_DEADLINE_S))["checks"])

    async def _ask(
        self, verb: str, args: Mapping[str, Any] | None = None, *, deadline_s: float = ASK_DEADLINE_S
    ) -> dict[str, Any]:
        try:
            return await wire.call(self._hostd, verb, args, deadline_s=deadline_s)
        except UnavailableError as error:
            if error.hint:
                raise
            raise UnavailableError(
                f"this host's service does not answer: {error.message}", hint=HINT, code="host_unavailable"
            ) from error
