"""Every verb of the agent, by name. Each imports what it needs when it is first asked: the boot is short."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.arguments import Arguments
from agent.display import Display
from agent.settings import Settings
from agent.size import ScreenSize
from oriel import __version__
from oriel.model.errors import HostError, OrielError
from oriel.model.spec import LIMITS, Screen
from oriel.model.wire import Call, Handler, read_chunks, read_line, write_line

if TYPE_CHECKING:
    from agent.clipboard import Clipboard
    from agent.files import Files
    from agent.generators import Finder, Page
    from agent.input import Input

__all__ = ["Verbs"]

KINDS = ("terminal", "browser")
CLOCK_S = 30.0  # a conversation about the time; one that was cut off by a moment ends here too
LONGEST_SHIFT_NS = 4_000_000_000 * 10**9


class Verbs:
    """The agent's state (its connection to the display) and what it answers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.display = Display(settings.display)
        self.screen = ScreenSize(self.display, settings.root / "run/oriel/screen")
        self._finder: Finder | None = None
        self._marked: list[Page] = []

    def begin(self) -> None:
        """Once the event loop runs."""
        self.screen.resume()

    @cached_property
    def _input(self) -> Input:
        from agent.input import Input

        return Input(self.display)

    @cached_property
    def _clipboard(self) -> Clipboard:
        from agent.clipboard import Clipboard

        return Clipboard(self.display)

    @cached_property
    def _files(self) -> Files:
        from agent.files import Files

        return Files(self.settings.user)

    def handlers(self) -> dict[str, Handler]:
        return {
            "hello": self.hello,
            "personalise": self.personalise,
            "wake": self.wake,
            "clock": self.clock,
            "mark_generators": self.mark_generators,
            "settle": self.settle,
            "wait_ready": self.wait_ready,
            "windows": self.windows,
            "screenshot": self.screenshot,
            "cursor": self.cursor,
            "input": self.input,
            "clipboard_read": self.clipboard_read,
            "clipboard_write": self.clipboard_write,
            "clipboard_watch": self.clipboard_watch,
            "screen_set": self.screen_set,
            "exec": self.exec,
            "file_read": self.file_read,
            "file_write": self.file_write,
            "file_list": self.file_list,
            "file_delete": self.file_delete,
            "file_append": self.file_append,
            "file_offset": self.file_offset,
            "file_abandon": self.file_abandon,
            "downloads_watch": self.downloads_watch,
            "connect": self.connect,
            "media": self.media,
            "units": self.units,
            "shutdown": self.shutdown,
        }

    async def hello(self, call: Call) -> Mapping[str, Any]:
        from agent.units import boot_id

        Arguments(call.args).done()
        return {
            "version": __version__,
            "boot_id": boot_id(),
            "uptime_s": time.clock_gettime(time.CLOCK_BOOTTIME),
        }

    async def personalise(self, call: Call) -> Mapping[str, Any]:
        from agent.identity import parse_identity, write_files
        from agent.kernel import in_container, personalise_kernel

        started = time.monotonic()
        identity = parse_identity(call.args)
        root = self.settings.root
        if root == Path("/"):
            skipped = personalise_kernel(identity, container=in_container())
            self._draw_anew()
        else:
            skipped = dict.fromkeys(("entropy", "clock", "hostname"), f"the identity is for {root}")
        await asyncio.to_thread(write_files, identity, root)
        screen = await self.screen.want(identity.screen)
        return {"seconds": time.monotonic() - started, "skipped": skipped, "screen": screen}

    async def wake(self, call: Call) -> Mapping[str, Any]:
        from agent.identity import parse_waking
        from agent.kernel import in_container, wake_kernel

        waking = parse_waking(call.args)
        # A container's kernel is its host's, which did not stand still.
        if self.settings.root == Path("/") and not in_container():
            wake_kernel(waking)
            self._draw_anew()
        return {}

    async def clock(self, call: Call) -> None:
        """The time at each line, after the shift it asks for: only who asks knows how long the way took."""
        from agent.kernel import in_container, shift_clock

        Arguments(call.args).done()
        await call.answer({})
        async with asyncio.timeout(CLOCK_S):
            while (line := await read_line(call.reader)) is not None:
                args = Arguments(line)
                shift = args.whole("shift_ns", -LONGEST_SHIFT_NS, LONGEST_SHIFT_NS)
                args.done()
                # A container's clock is its host's.
                if shift and self.settings.root == Path("/") and not in_container():
                    shift_clock(shift)
                await write_line(call.writer, {"time_ns": time.time_ns()})

    async def mark_generators(self, call: Call) -> Mapping[str, Any]:
        """Before a moment is kept: what is to draw anew in each machine that begins there."""
        from agent import generators

        Arguments(call.args).done()
        if self._finder is None:
            self._finder = generators.Finder()
        self._marked = await asyncio.to_thread(self._finder.find)
        return {"pages": len(self._marked)}

    def _draw_anew(self) -> None:
        """HostError if a program could go on with another machine's random numbers."""
        from agent import generators

        try:
            generators.empty(self._marked)
        except OSError as error:
            raise HostError(
                f"a program's random numbers could not be renewed: {error.strerror}",
                hint="the agent must run as root in the desktop",
            ) from error
        self._marked = []

    async def settle(self, call: Call) -> Mapping[str, Any]:
        from agent.caller import unless_gone
        from agent.settling import settle

        args = Arguments(call.args)
        deadline_s = args.seconds("deadline_s", 1, 3600)
        least_s = args.seconds("least_s", 0, 3600)
        args.done()
        return await unless_gone(call.writer, settle(self.display, least_s=least_s, deadline_s=deadline_s))

    async def wait_ready(self, call: Call) -> Mapping[str, Any]:
        from agent.caller import unless_gone
        from agent.readiness import wait_ready

        started = time.monotonic()
        args = Arguments(call.args)
        kinds = args.texts("kinds", default=list(KINDS))
        if set(kinds) - set(KINDS) or not kinds:
            args.fault("kinds", f"must be some of {', '.join(KINDS)}")
        deadline_s = args.seconds("deadline_s", 0.1, 3600)
        args.done()
        work = wait_ready(self.display, kinds, deadline_s=deadline_s)
        windows = await unless_gone(call.writer, work)
        return {"windows": [window.to_wire() for window in windows], "seconds": time.monotonic() - started}

    async def windows(self, call: Call) -> Mapping[str, Any]:
        from agent.windows import list_windows

        Arguments(call.args).done()
        return {"windows": [window.to_wire() for window in await self.display.use(list_windows)]}

    async def screenshot(self, call: Call) -> None:
        from agent.screen import whole_screen

        Arguments(call.args).done()
        area, pixels = await self.display.use(whole_screen)
        stride = area.width * 4
        await call.answer({"width": area.width, "height": area.height, "stride": stride, "format": "BGRX"})
        call.writer.write(pixels)
        await call.writer.drain()

    async def cursor(self, call: Call) -> Mapping[str, Any]:
        from agent.screen import pointer

        Arguments(call.args).done()
        x, y = await self.display.use(pointer)
        return {"x": x, "y": y}

    async def input(self, call: Call) -> Mapping[str, Any]:
        from agent.input import parse_events

        await self._input.send(parse_events(call.args))
        return {}

    async def clipboard_read(self, call: Call) -> None:
        from agent.clipboard import parse_formats

        found = await self._clipboard.read(parse_formats(call.args))
        sizes = [[name, len(data)] for name, data in found.parts.items()]
        await call.answer({"offered": found.offered, "parts": sizes, "too_large": found.too_large})
        for data in found.parts.values():
            call.writer.write(data)
        await call.writer.drain()

    async def clipboard_write(self, call: Call) -> None:
        from agent.clipboard import parse_parts

        sizes = parse_parts(call.args)
        await call.answer({})
        parts = {
            name: b"".join([piece async for piece in read_chunks(call.reader, size)])
            for name, size in sizes.items()
        }
        try:
            await self._clipboard.write(parts)
        except OrielError as error:
            await write_line(call.writer, {"ok": False, "error": error.to_wire()})
        else:
            await write_line(call.writer, {"ok": True, "result": {}})

    async def clipboard_watch(self, call: Call) -> None:
        from agent.caller import unless_gone
        from agent.selection import Watch

        Arguments(call.args).done()
        watch = Watch(self.display)
        await watch.begin()
        try:
            await call.answer({})
            while True:
                await unless_gone(call.writer, watch.next())
                await write_line(call.writer, {})
        finally:
            watch.end()

    async def screen_set(self, call: Call) -> Mapping[str, Any]:
        args = Arguments(call.args)
        limits = {name: LIMITS[f"screen.{name}"] for name in ("width", "height")}
        size = {name: args.whole(name, *limit) for name, limit in limits.items()}
        args.done()
        return {"screen": await self.screen.want(Screen(**size))}

    async def file_read(self, call: Call) -> None:
        from agent.files import parse_path

        await self._files.read(call, parse_path(call.args))

    async def file_write(self, call: Call) -> None:
        from agent.files import parse_upload

        await self._files.write(call, parse_upload(call.args))

    async def file_list(self, call: Call) -> Mapping[str, Any]:
        from agent.files import parse_listing

        return await self._files.list(**parse_listing(call.args))

    async def file_delete(self, call: Call) -> Mapping[str, Any]:
        from agent.files import parse_deletion

        await self._files.delete(**parse_deletion(call.args))
        return {}

    async def file_append(self, call: Call) -> None:
        from agent.pieces import Pieces, parse_piece

        await Pieces(self._files).append(call, parse_piece(call.args))

    async def file_offset(self, call: Call) -> Mapping[str, Any]:
        from agent.pieces import Pieces, parse_begun

        return await Pieces(self._files).offset(parse_begun(call.args))

    async def file_abandon(self, call: Call) -> Mapping[str, Any]:
        from agent.pieces import Pieces, parse_begun

        await Pieces(self._files).abandon(parse_begun(call.args))
        return {}

    async def downloads_watch(self, call: Call) -> None:
        from agent.caller import unless_gone
        from agent.downloads import Downloads

        Arguments(call.args).done()
        with Downloads(self._files.path("")) as downloads:
            await call.answer({})
            while True:
                await write_line(call.writer, await unless_gone(call.writer, downloads.next()))

    async def exec(self, call: Call) -> None:
        from agent.execution import execute

        await execute(call, self.settings)

    async def connect(self, call: Call) -> None:
        from agent.loopback import connect

        args = Arguments(call.args)
        port = args.whole("port", 1, 65535)
        if not args.faults and port not in self.settings.ports:
            args.fault("port", f"must be one of {', '.join(map(str, sorted(self.settings.ports)))}")
        args.done()
        await connect(call, port)

    async def media(self, call: Call) -> None:
        from agent.loopback import connect_media

        Arguments(call.args).done()
        await connect_media(call, self.settings.root / "run/oriel/webrtc.sock")

    async def units(self, call: Call) -> Mapping[str, Any]:
        from agent.units import UNITS, boot_id, units

        args = Arguments(call.args)
        names = args.texts("names", default=list(UNITS))
        if any(not re.fullmatch(r"[A-Za-z0-9:_.@][A-Za-z0-9:_.@-]{0,200}", name) for name in names):
            args.fault("names", "must be names of services, without .service")
        args.done()
        return {"units": await units(tuple(names)), "boot_id": boot_id()}

    async def shutdown(self, call: Call) -> Mapping[str, Any]:
        from agent.units import power_off

        Arguments(call.args).done()
        await power_off()
        return {}
