"""From a wish to a desktop that can be made: every fault of it together."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oriel.controller.rights import Principal
from oriel.controller.room import Room
from oriel.controller.store.database import Database
from oriel.controller.store.desktops import Desktop, IdleAction, Wanted
from oriel.controller.ways_out import proxy_fault
from oriel.controller.wishes import Wish
from oriel.fleet import Capacity, Fleet, RuntimeReport
from oriel.host.settings import Settings
from oriel.model.clipboard import Way
from oriel.model.errors import Fault, InvalidError, UnavailableError
from oriel.model.events import utc_now
from oriel.model.spec import LIMITS, Isolation, Runtime
from oriel.model.state import State

__all__ = ["Admission", "new_id"]

# `auto` takes the first that works; without hardware virtualization a VM is emulated, and comes last.
_PREFERENCE = (
    (Runtime.FIRECRACKER, Isolation.VM),
    (Runtime.QEMU, Isolation.VM),
    (Runtime.CONTAINER, Isolation.CONTAINER),
    (Runtime.QEMU, Isolation.EMULATED_VM),
)
FIRECRACKER_VCPUS = 32  # as its API takes
DOCTOR = "`oriel doctor` tells what this host can do and what it lacks"


class Admission:
    """Decides what is left open in a wish, and whether this host can fulfil it."""

    def __init__(self, fleet: Fleet, database: Database, room: Room, settings: Settings) -> None:
        self._fleet = fleet
        self._database = database
        self._room = room
        self._settings = settings

    async def admit(self, given: object, principal: Principal) -> Desktop:
        """A desktop that may be made for `principal`, not stored yet.

        Raises InvalidError with every fault, BusyError or NoSpaceError if the host has no room for it now,
        or UnavailableError if the host does not answer or has no runtime or image.
        """
        wish, faults = Wish.read(given)
        bad = {fault.field.partition(".")[0] for fault in faults}
        settings = self._settings
        capacity = await self._fleet.capacity()
        faults += [fault for fault in _too_big(wish, capacity) if fault.field not in bad]
        proxy = wish.get("proxy", settings.default_proxy)
        if "proxy" not in bad:
            fault = await self._database.read(lambda c: proxy_fault(c, proxy, principal))
            faults += [fault] if fault else []
        if faults:
            raise InvalidError.of(faults, hint=_limits(capacity))
        await self._room.check(wish.get("memory_mib", settings.memory_mib))
        runtime = await self._runtime(wish.get("runtime", settings.runtime))
        if beyond := _beyond(runtime.name, wish):
            raise InvalidError.of(beyond)
        image = await self._image(wish.get("image") or settings.image)
        return self._desktop(wish, principal, runtime, image, proxy)

    async def copy_of(
        self, source: Desktop, principal: Principal, name: str | None, proxy: str | None
    ) -> Desktop:
        """A fork of `source` for whoever asks, not stored yet. Errors as `admit`."""
        way_out = proxy or source.proxy
        fault = await self._database.read(lambda c: proxy_fault(c, way_out, principal))
        if fault is not None:
            raise InvalidError.of([fault])
        await self._room.check(source.memory_mib)
        desktop_id = new_id()
        return replace(
            source, id=desktop_id, name=name or f"desktop-{desktop_id[2:8]}", owner_id=principal.user_id,
            owner=principal.name, session_id=secrets.token_hex(16), wanted=Wanted.RUNNING,
            state=State.CREATING, proxy=way_out, created_at=utc_now(), ready_at=None, timings={},
            error=None, journal_seq=0,
        )  # fmt: skip

    async def shape(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Image, runtime and sizes of a wish for a template, what is left out filled in."""
        settings = self._settings
        runtime = await self._runtime(given.get("runtime", settings.runtime))
        image = await self._image(given.get("image") or settings.image)
        return {
            "image": str(image["id"]), "runtime": str(runtime.name),
            "vcpus": given.get("vcpus", settings.vcpus),
            "memory_mib": given.get("memory_mib", settings.memory_mib),
            "disk_gib": given.get("disk_gib", settings.disk_gib),
            "screen": given.get("screen") or image.get("screen") or {"width": 1280, "height": 720},
        }  # fmt: skip

    async def _runtime(self, name: str) -> RuntimeReport:
        reports = await self._fleet.runtimes()
        working = [report for report in reports if report.works]
        if name == "auto":
            for runtime, isolation in _PREFERENCE:
                for report in working:
                    if (report.name, report.isolation) == (runtime, isolation):
                        return report
            raise UnavailableError("no runtime works on this host", hint=DOCTOR, code="no_runtime")
        found = next((report for report in reports if report.name == name), None)
        if found is None or not found.works:
            able = ", ".join(report.name for report in working) or "none"
            why = found.detail if found and found.detail else "not available"
            raise UnavailableError(
                f"the runtime {name} does not work on this host: {why}",
                hint=(found.hint if found and found.hint else f"those that do: {able}; {DOCTOR}"),
                code="runtime_unavailable",
            )
        return found

    async def _image(self, name: str) -> Mapping[str, Any]:
        images = await self._fleet.images()
        if not name:
            chosen = [image for image in images if image.get("default")] or images[:1]
            if not chosen:
                raise UnavailableError(
                    "this host has no golden image yet", hint="build it: `oriel image build`", code="no_image"
                )
            return chosen[0]
        for image in images:
            if name in (image["id"], image.get("name")):
                return image
        known = ", ".join(str(image["id"]) for image in images) or "none yet: `oriel image build`"
        raise InvalidError.of([Fault("image", f"there is no image {name!r}")], hint=f"images here: {known}")

    def _desktop(
        self,
        wish: Mapping[str, Any],
        principal: Principal,
        runtime: RuntimeReport,
        image: Mapping[str, Any],
        proxy: str,
    ) -> Desktop:
        settings = self._settings
        screen = wish.get("screen") or image.get("screen") or {}
        desktop_id = new_id()
        return Desktop(
            id=desktop_id,
            name=wish.get("name") or f"desktop-{desktop_id[2:8]}",
            owner_id=principal.user_id,
            owner=principal.name,
            session_id=secrets.token_hex(16),
            wanted=Wanted.RUNNING,
            state=State.CREATING,
            runtime=runtime.name,
            isolation=runtime.isolation,
            image=str(image["id"]),
            vcpus=wish.get("vcpus", settings.vcpus),
            memory_mib=wish.get("memory_mib", settings.memory_mib),
            disk_gib=wish.get("disk_gib", settings.disk_gib),
            screen_width=screen.get("width", 1280),
            screen_height=screen.get("height", 720),
            rates={name: rate for name, rate in wish.get("rates", {}).items() if rate},
            proxy=proxy,
            allow=(),
            deny=(),
            idle_timeout_s=wish.get("idle_timeout_s", 0),
            idle_action=wish.get("idle_action", IdleAction.PAUSE),
            max_age_s=wish.get("max_age_s", 0),
            restart=wish.get("restart", settings.restart),
            clipboard=Way(wish.get("clipboard", settings.clipboard)),
            labels=wish.get("labels", {}),
            created_at=utc_now(),
            ready_at=None,
            timings={},
            error=None,
            journal_seq=0,
        )


def new_id() -> str:
    return f"d-{base64.b32encode(secrets.token_bytes(7)).decode().lower()[:10]}"


def _too_big(wish: Mapping[str, Any], capacity: Capacity) -> list[Fault]:
    """What is asked for and no host here has."""
    faults = []
    for field, have, unit in (
        ("memory_mib", capacity.memory_mib, "MiB of memory"),
        ("disk_gib", capacity.disk_mib >> 10, "GiB of disk"),
    ):
        asked = wish.get(field, 0)
        if isinstance(asked, int) and asked > have:
            faults.append(Fault(field, f"the host has {have} {unit}"))
    return faults


def _beyond(runtime: Runtime, wish: Mapping[str, Any]) -> list[Fault]:
    """What is asked for and its runtime cannot do."""
    faults = []
    if runtime is Runtime.FIRECRACKER and wish.get("vcpus", 0) > FIRECRACKER_VCPUS:
        faults.append(Fault("vcpus", f"firecracker has at most {FIRECRACKER_VCPUS}"))
    if runtime is not Runtime.FIRECRACKER:
        limited = [name for name, rate in wish.get("rates", {}).items() if rate]
        faults += [Fault(f"rates.{name}", f"only firecracker limits it, not {runtime}") for name in limited]
    return faults


def _limits(capacity: Capacity) -> str:
    memory = min(LIMITS["memory_mib"][1], capacity.memory_mib)
    disk = min(LIMITS["disk_gib"][1], capacity.disk_mib >> 10)
    return f"this host allows up to {memory} MiB of memory and {disk} GiB of disk per desktop"
