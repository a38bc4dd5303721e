"""One desktop's keeper, as the controller speaks to it (docs/internals.md, "A keeper's verbs")."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from oriel.fleet.plain import Plain, ask_plain, connect_plain
from oriel.model import wire
from oriel.model.egress import EgressSpec
from oriel.model.events import Event
from oriel.model.spec import DesktopSpec

__all__ = ["Keeper"]

ASK_DEADLINE_S = 10.0
DELETE_DEADLINE_S = 120.0
MARGIN_S = 10.0  # a keeper answers by its own deadline; ours only notices one that hangs


class Keeper:
    """Every method raises the keeper's own error, or UnavailableError if it does not answer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connect = wire.unix(path)

    async def inspect(self) -> dict[str, Any]:
        return await self._ask("inspect")

    async def hello(self) -> dict[str, Any]:
        return await self._ask("hello")

    async def configure_egress(self, spec: EgressSpec) -> None:
        """Secrets pass only here."""
        await self._ask("configure_egress", spec.to_wire(), deadline_s=30)

    async def start(self, *, deadline_s: float) -> dict[str, float]:
        """Its timings, once both windows are painted. After an error nothing of it runs."""
        answer = await self._ask("start", {"deadline_s": deadline_s}, deadline_s=deadline_s + MARGIN_S)
        return {str(step): float(seconds) for step, seconds in answer.get("timings", {}).items()}

    async def stop(self, *, deadline_s: float) -> None:
        await self._ask("stop", {"deadline_s": deadline_s}, deadline_s=deadline_s + MARGIN_S)

    async def pause(self, *, deadline_s: float) -> dict[str, Any]:
        """`{seconds, bytes?, frozen}` once it is paused. After an error it runs on."""
        return await self._ask("pause", deadline_s=deadline_s)

    async def resume(self, *, deadline_s: float) -> dict[str, float]:
        """Its timings, once it goes on. After an error it is paused still, or failed: `inspect` tells."""
        answer = await self._ask("resume", {"deadline_s": deadline_s}, deadline_s=deadline_s + MARGIN_S)
        return {str(step): float(seconds) for step, seconds in answer.get("timings", {}).items()}

    async def snapshot(self, name: str, *, deadline_s: float) -> dict[str, Any]:
        """`{name, seconds, stood_still_s}` once it is kept."""
        return await self._ask("snapshot", {"name": name}, deadline_s=deadline_s)

    async def snapshots(self) -> list[dict[str, Any]]:
        """`{name, at, bytes, seconds}` each, newest first."""
        return list((await self._ask("snapshots"))["snapshots"])

    async def delete_snapshot(self, name: str) -> None:
        await self._ask("delete_snapshot", {"name": name}, deadline_s=60)

    async def rewind(self, name: str, *, deadline_s: float) -> None:
        """Afterwards it is stopped, and a start goes on from the snapshot."""
        await self._ask("rewind", {"name": name}, deadline_s=deadline_s)

    async def warm(self, *, deadline_s: float) -> dict[str, float]:
        """Made ready ahead, to be assigned and started. After an error nothing of it runs."""
        answer = await self._ask("warm", {"deadline_s": deadline_s}, deadline_s=deadline_s + MARGIN_S)
        return {str(step): float(seconds) for step, seconds in answer.get("timings", {}).items()}

    async def assign(self, spec: DesktopSpec) -> None:
        """Give one that has not started its name and session."""
        await self._ask("assign", {"spec": spec.to_json()})

    async def usage(self) -> dict[str, Any]:
        """`{memory_mib, cpu_s, …}` of the desktop on its host, measured now."""
        return await self._ask("usage")

    async def console(self, size: int) -> str:
        """The last `size` bytes of the machine's console."""
        return str((await self._ask("console", {"bytes": size})).get("text", ""))

    async def access_log(self, size: int) -> str:
        """The last `size` bytes of the gateway's access log."""
        return str((await self._ask("access_log", {"bytes": size})).get("text", ""))

    async def events(self, after: int) -> AsyncIterator[Event]:
        """The journal from `after` (exclusive), then what happens. Ends when the keeper ends."""
        async with self.stream("events", {"after": after}) as stream:
            while (line := await wire.read_line(stream.reader)) is not None:
                yield Event.from_json({"message": "", "data": {}} | line)

    @asynccontextmanager
    async def stream(
        self, verb: str, args: Mapping[str, Any] | None = None, *, deadline_s: float = ASK_DEADLINE_S
    ) -> AsyncIterator[wire.Stream]:
        """A stream verb (`agent`, `vnc`, `cdp`, `events`); its connection ends with the block."""
        stream = await wire.open_stream(self._connect, verb, args, deadline_s=deadline_s)
        try:
            yield stream
        finally:
            # Nothing more is wanted from the other side: no need to wait for it to agree.
            stream.writer.transport.abort()

    @asynccontextmanager
    async def socket(self, verb: str) -> AsyncIterator[Plain]:
        """As `stream`, as a bare socket of which nothing was read ahead: another process may have it."""
        sock, _ = await self.open(verb)
        with sock:
            yield sock

    async def open(self, verb: str, args: Mapping[str, Any] | None = None) -> tuple[Plain, dict[str, Any]]:
        """As `socket`, to be closed by the caller; and what the verb was answered."""
        sock = await connect_plain(self._path)
        try:
            return sock, await ask_plain(sock, verb, args)
        except BaseException:
            sock.close()
            raise

    async def _ask(
        self, verb: str, args: Mapping[str, Any] | None = None, *, deadline_s: float = ASK_DEADLINE_S
    ) -> dict[str, Any]:
        return await wire.call(self._connect, verb, args, deadline_s=deadline_s)
