"""One desktop, and the collection of them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from math import inf
from typing import Any
from urllib.parse import quote

from oriel.client.aio.command import Command
from oriel.client.aio.computer import Computer, Files
from oriel.client.aio.control import Control
from oriel.client.aio.transport import Socket, Transport
from oriel.client.values import CommandResult, DesktopInfo, Page, Ticket
from oriel.model.errors import LaunchError, UnavailableError, WireError
from oriel.model.events import Event
from oriel.model.spec import Screen

__all__ = ["Desktop", "Desktops"]

READY_DEADLINE_S = 600.0  # a first boot in full emulation on a busy host
# Stopping asks the guest first; the keeper's own deadlines are shorter than ours.
CHANGE_DEADLINE_S = 180.0
COMMAND_DEADLINE_S = 600.0
KEPT_DEADLINE_S = 30.0
OnEvent = Callable[[Event], None]


class Desktop:
    """A handle on one desktop. `info` is what the controller last said of it; `refresh` asks again."""

    def __init__(self, transport: Transport, info: DesktopInfo) -> None:
        self._transport = transport
        self._path = f"/v1/desktops/{quote(info.id, safe='')}"
        self.info = info
        self.files = Files(transport, self._path)
        self.computer = Computer(transport, self._path)
        self.control = Control(transport, self._path)

    def __repr__(self) -> str:
        return f"Desktop({self.info.name!r}, {self.info.id}, {self.info.state})"

    async def refresh(self) -> DesktopInfo:
        self.info = DesktopInfo.of(await self._transport.json("GET", self._path))
        return self.info

    async def wait_ready(
        self, *, deadline_s: float = READY_DEADLINE_S, on_event: OnEvent | None = None
    ) -> DesktopInfo:
        """Until it is running, by its events: both windows are then on its screen.

        Raises LaunchError if it failed or stopped instead, UnavailableError after `deadline_s`; the
        desktop is left as it is.
        """
        deadline = time.monotonic() + deadline_s
        seen = 0
        while True:
            progressed = False
            async with aclosing(self._server_events(seen, deadline - time.monotonic())) as events:
                async for event in events:
                    if event is not None and event.seq > seen:
                        seen, progressed = event.seq, True
                        if on_event:
                            on_event(event)
                    if (event is None or event.kind.startswith("state.")) and await self._settled():
                        return self.info
                    if time.monotonic() >= deadline:
                        raise UnavailableError(
                            f"desktop {self.info.name} is not ready after {deadline_s:g} s",
                            hint=f"it goes on starting: `oriel events {self.info.name}` shows how far it is",
                        )
            if not progressed:
                raise UnavailableError(
                    "the controller ended the event stream before the desktop was ready",
                    hint=f"`oriel show {self.info.name}` tells its state",
                )

    async def _settled(self) -> bool:
        await self.refresh()
        if self.info.state in ("failed", "stopped", "deleting"):
            raise LaunchError(
                f"desktop {self.info.name} is {self.info.state}: {self.info.error or 'no reason given'}",
                hint=f"`oriel logs {self.info.name}` shows its console; then `oriel start {self.info.name}`",
            )
        return self.info.state == "running"

    async def start(
        self, *, wait: bool = True, deadline_s: float = READY_DEADLINE_S, on_event: OnEvent | None = None
    ) -> DesktopInfo:
        """Start a stopped or failed desktop; with `wait`, until it is ready (see `wait_ready`)."""
        await self._change("start")
        return (
            await self.wait_ready(deadline_s=deadline_s, on_event=on_event) if wait else await self.refresh()
        )

    async def stop(self) -> DesktopInfo:
        """Shut down; the disk stays."""
        await self._change("stop")
        return await self.refresh()

    async def pause(self) -> DesktopInfo:
        await self._change("pause")
        return await self.refresh()

    async def resume(self) -> DesktopInfo:
        await self._change("resume")
        return await self.refresh()

    async def fork(
        self,
        name: str,
        *,
        snapshot: str | None = None,
        proxy: str | None = None,
        wait: bool = True,
        deadline_s: float = READY_DEADLINE_S,
    ) -> Desktop:
        """A new desktop, a copy of this one's memory and disk as they are, or were at `snapshot`."""
        given = {"name": name, "snapshot": snapshot, "proxy": proxy}
        wanted = {key: value for key, value in given.items() if value is not None}
        made = Desktop(self._transport, DesktopInfo.of(await self._change("fork", wanted)))
        if wait:
            await made.wait_ready(deadline_s=deadline_s)
        return made

    async def snapshot(self, name: str) -> dict[str, Any]:
        """Keep this moment under `name`."""
        return dict(await self._change("snapshots", {"name": name}))

    async def usage(self) -> dict[str, Any]:
        """What it takes of its host now: `{memory_mib, private_mib, cpu_s, by}`."""
        return dict(await self._transport.json("GET", f"{self._path}/usage"))

    async def snapshots(self) -> list[dict[str, Any]]:
        """Those kept, newest first."""
        return list((await self._transport.json("GET", f"{self._path}/snapshots"))["items"])

    async def delete_snapshot(self, name: str) -> None:
        await self._transport.json("DELETE", f"{self._path}/snapshots/{name}", deadline_s=CHANGE_DEADLINE_S)

    async def rewind(self, snapshot: str) -> DesktopInfo:
        """Back to a snapshot; what came after it is lost."""
        await self._change("rewind", {"snapshot": snapshot})
        return await self.refresh()

    async def delete(self) -> None:
        """Gone, with its disk."""
        await self._transport.json("DELETE", self._path, deadline_s=CHANGE_DEADLINE_S)

    async def change(self, **fields: Any) -> DesktopInfo:
        """Change what may be changed of it: `name`, `labels`, `idle_timeout_s` …"""
        self.info = DesktopInfo.of(await self._transport.json("PATCH", self._path, body=fields))
        return self.info

    async def ticket(self, mode: str = "control", *, ttl_s: int | None = None) -> Ticket:
        """A right to see (`view`) or drive (`control`) it, for one connection, soon."""
        body: dict[str, Any] = {"mode": mode}
        if ttl_s is not None:
            body["ttl_s"] = ttl_s
        return Ticket.of(await self._transport.json("POST", f"{self._path}/tickets", body=body))

    async def share(
        self, user: str, mode: str = "view", *, expires_in_s: int | None = None
    ) -> dict[str, Any]:
        """Let another user see (`view`) or drive (`control`) it."""
        body: dict[str, Any] = {"user": user, "mode": mode}
        if expires_in_s is not None:
            body["expires_in_s"] = expires_in_s
        return dict(await self._transport.json("POST", f"{self._path}/shares", body=body))

    async def shares(self) -> list[dict[str, Any]]:
        """Users it is shared with, and the links in force."""
        return Page.of(await self._transport.json("GET", f"{self._path}/shares")).items

    async def end_share(self, share_id: str) -> None:
        """A user's or a link's right, at once."""
        await self._transport.json("DELETE", f"{self._path}/shares/{quote(share_id, safe='')}")

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_s: float | None = None,
    ) -> CommandResult:
        """Run to the end as the desktop's user. A command that fails is a result, not an error."""
        body = {
            "argv": list(argv), "cwd": cwd, "env": None if env is None else dict(env),
            "stdin": stdin, "timeout_s": timeout_s,
        }  # fmt: skip
        # The guest's time-out comes first; ours only guards against a controller that is gone.
        deadline_s = COMMAND_DEADLINE_S if timeout_s is None else timeout_s + CHANGE_DEADLINE_S
        answer = await self._transport.json(
            "POST",
            f"{self._path}/exec",
            body={key: value for key, value in body.items() if value is not None},
            deadline_s=deadline_s,
        )
        return CommandResult.of(answer)

    async def command(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        tty: dict[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Command:
        """Start a command whose input and outputs stream; `tty`: `{rows, cols, term}` for a terminal."""
        command = Command(await self._transport.socket(f"{self._path}/exec"))
        await command.begin(argv, cwd=cwd, env=env, tty=tty, timeout_s=timeout_s)
        return command

    async def terminal(self, *, rows: int, columns: int, term: str = "xterm-256color") -> Command:
        """A login shell of the desktop's user on a terminal of its own."""
        command = Command(await self._transport.socket(f"{self._path}/terminal"))
        await command.begin(None, tty={"rows": rows, "cols": columns, "term": term})
        return command

    async def vnc(self, *, ticket: str | None = None) -> Socket:
        """A WebSocket that carries RFB, as the page's viewer opens it."""
        return await self._transport.socket(f"{self._path}/vnc", ticket=ticket)

    async def cdp(self, *, ticket: str | None = None) -> Socket:
        """A WebSocket that carries Chrome's DevTools protocol (its browser endpoint)."""
        return await self._transport.socket(f"{self._path}/cdp", ticket=ticket)

    async def downloads(self, *, ticket: str | None = None) -> AsyncGenerator[dict[str, Any], None]:
        """`{name, size}` of each file that is finished in ~/Downloads from now on; `files` fetches it."""
        socket = await self._transport.socket(f"{self._path}/downloads", ticket=ticket)
        try:
            while (message := await socket.receive()) is not None:
                yield json.loads(message)
        finally:
            await socket.aclose()

    async def windows(self) -> list[dict[str, Any]]:
        """The windows on its screen, as its agent sees them."""
        answer = await self._transport.json("GET", f"{self._path}/windows")
        return list(answer["windows"])

    async def units(self) -> dict[str, Any]:
        """Its services with their restart counters, and the boot they belong to: `{units, boot_id}`."""
        return dict(await self._transport.json("GET", f"{self._path}/units"))

    async def logs(self) -> str:
        """The tail of its machine's console."""
        return str((await self._transport.json("GET", f"{self._path}/logs"))["text"])

    async def egress(self) -> dict[str, Any]:
        """Its way out, with counters."""
        return dict(await self._transport.json("GET", f"{self._path}/egress"))

    async def access_log(self) -> list[dict[str, Any]]:
        """The end of its access log, newest last; empty unless its policy has `access_log`."""
        return list((await self._transport.json("GET", f"{self._path}/egress/access"))["items"])

    async def set_egress(self, **fields: Any) -> dict[str, Any]:
        """Change `proxy`, `allow`, `deny`."""
        return dict(await self._transport.json("PATCH", f"{self._path}/egress", body=fields))

    async def events(
        self, *, after: int | None = None, timeout_s: float = inf
    ) -> AsyncGenerator[Event, None]:
        """Its events; `after` a `seq`, 0 from the first one kept, None from now on. Ends with the desktop."""
        async with aclosing(self._server_events(after, timeout_s)) as events:
            async for event in events:
                if event is not None:
                    yield event

    async def kept_events(self) -> list[Event]:
        """Its events up to now, as far as they are kept."""
        async with aclosing(self._server_events(0, KEPT_DEADLINE_S, follow=False)) as events:
            return [event async for event in events if event is not None]

    def _server_events(
        self, after: int | None, timeout_s: float, *, follow: bool = True
    ) -> AsyncGenerator[Event | None, None]:
        path = f"{self._path}/events"
        return events_of(self._transport, path, after=after, timeout_s=timeout_s, follow=follow)

    async def _change(self, verb: str, body: object = None) -> Any:
        return await self._transport.json(
            "POST", f"{self._path}/{verb}", body=body, deadline_s=CHANGE_DEADLINE_S
        )


class Desktops:
    """Those the caller may see."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self,
        name: str | None = None,
        *,
        runtime: str | None = None,
        image: str | None = None,
        vcpus: int | None = None,
        memory_mib: int | None = None,
        disk_gib: int | None = None,
        screen: Screen | None = None,
        rates: Mapping[str, int] | None = None,
        proxy: str | None = None,
        idle_timeout_s: int | None = None,
        idle_action: str | None = None,
        max_age_s: int | None = None,
        restart: str | None = None,
        clipboard: str | None = None,
        labels: Mapping[str, str] | None = None,
        wait: bool = True,
        deadline_s: float = READY_DEADLINE_S,
        on_event: OnEvent | None = None,
    ) -> Desktop:
        """A new desktop; what is None the controller chooses. With `wait` it is ready when this returns.

        Raises InvalidError with every fault, BusyError at a limit, NoSpaceError; then there is none.
        LaunchError if it was made but did not start: then it is there, `failed`.
        """
        body = {
            "name": name, "runtime": runtime, "image": image, "vcpus": vcpus, "memory_mib": memory_mib,
            "disk_gib": disk_gib, "proxy": proxy, "idle_timeout_s": idle_timeout_s,
            "idle_action": idle_action, "max_age_s": max_age_s, "restart": restart,
            "clipboard": clipboard,
            "labels": None if labels is None else dict(labels),
            "rates": None if rates is None else dict(rates),
            "screen": None if screen is None else {"width": screen.width, "height": screen.height},
        }  # fmt: skip
        answer = await self._transport.json(
            "POST",
            "/v1/desktops",
            body={key: value for key, value in body.items() if value is not None},
            headers={"Idempotency-Key": uuid.uuid4().hex},
            deadline_s=CHANGE_DEADLINE_S,
        )
        desktop = Desktop(self._transport, DesktopInfo.of(answer))
        if wait:
            await desktop.wait_ready(deadline_s=deadline_s, on_event=on_event)
        return desktop

    async def get(self, name_or_id: str) -> Desktop:
        """NotFoundError if there is none, or it is not the caller's."""
        path = f"/v1/desktops/{quote(name_or_id, safe='')}"
        return Desktop(self._transport, DesktopInfo.of(await self._transport.json("GET", path)))

    async def list(self) -> list[Desktop]:
        """All of them, newest first."""
        found: list[Desktop] = []
        cursor: str | None = None
        while True:
            page = Page.of(await self._transport.json("GET", "/v1/desktops", params={"cursor": cursor}))
            found.extend(Desktop(self._transport, DesktopInfo.of(item)) for item in page.items)
            cursor = page.next
            if cursor is None:
                return found


async def events_of(
    transport: Transport, path: str, *, after: int | None, timeout_s: float, follow: bool = True
) -> AsyncGenerator[Event | None, None]:
    """The events of a stream; None once, first, when it is open and nothing will be missed."""
    opened = False
    stream = transport.events(path, after=after, timeout_s=max(1.0, timeout_s), follow=follow)
    async with aclosing(stream) as lines:
        async for line in lines:
            if line is not None:
                yield _event(line.data)
            elif not opened:
                opened = True
                yield None


def _event(data: str) -> Event:
    """An event of the controller's stream; WireError if it is none."""
    try:
        document = json.loads(data)
        return Event.from_json({"message": "", "data": {}} | document)
    except (ValueError, KeyError, TypeError) as error:
        raise WireError("the controller's event stream carries something that is no event") from error
