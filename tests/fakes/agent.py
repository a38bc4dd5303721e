"""A guest's agent without a guest: the verbs of docs/internals.md on things in memory. Runs no program."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oriel.model import wire
from oriel.model.clipboard import HTML, IMAGE, TEXT
from oriel.model.errors import NotFoundError, OrielError, StateError
from tests.fakes.rfb import FakeScreen

# The least that is a session description.
OFFER = "v=0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:video0\r\na=sendonly\r\n"
STDIN, STDOUT, STDERR, EXIT, RESIZE, SIGNAL = range(6)


@dataclass
class FakeAgent:
    """`asked`: every verb with its arguments, in order. `programs` that exec knows: echo, cat, false, env,
    sleep, flood; anything else is not found (127)."""

    screen: FakeScreen
    files: dict[str, bytes] = field(default_factory=dict)
    clips: dict[str, bytes] = field(default_factory=dict)  # by format
    begun: dict[tuple[str, str], bytearray] = field(default_factory=dict)  # uploads by path and id
    watchers: list[asyncio.Queue[dict]] = field(default_factory=list)  # of Downloads
    copied: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    ended: list[list[str]] = field(default_factory=list)  # commands whose caller went away
    cursor: tuple[int, int] = (0, 0)
    streams: list[list[dict]] = field(default_factory=list)  # of each live view, what it was told
    streaming: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, after the keeper has let it through."""
        handlers = {
            name.removeprefix("on_"): self._noting(name) for name in dir(self) if name.startswith("on_")
        }
        await wire.handle_connection(reader, writer, handlers, on_unknown_error=lambda e: OrielError(repr(e)))

    def _noting(self, name: str) -> wire.Handler:
        handle = getattr(self, name)

        async def noted(call: wire.Call) -> Mapping[str, Any] | None:
            self.asked.append((call.verb, dict(call.args)))
            return await handle(call)

        return noted

    async def on_screenshot(self, call: wire.Call) -> None:
        screen = self.screen
        await call.answer(
            {"width": screen.width, "height": screen.height, "stride": 4 * screen.width, "format": "BGRX"}
        )
        call.writer.write(bytes(screen.pixels))
        await call.writer.drain()

    async def on_cursor(self, _call: wire.Call) -> dict:
        return {"x": self.cursor[0], "y": self.cursor[1]}

    async def on_input(self, call: wire.Call) -> dict:
        for event in call.args["events"]:
            if event["type"] == "move":
                self.cursor = (event["x"], event["y"])
            await self.screen.note(tuple(event.values()))
        return {}

    async def on_screen_set(self, _call: wire.Call) -> dict:
        return {"screen": "set"}

    def copy(self, **parts: bytes) -> None:
        """Another program has copied something: `text`, `html` and `image`."""
        names = {"text": TEXT, "html": HTML, "image": IMAGE}
        self.clips = {names[name]: data for name, data in parts.items()}
        self.copied.set()

    async def on_clipboard_read(self, call: wire.Call) -> None:
        parts = {name: self.clips[name] for name in call.args["formats"] if name in self.clips}
        sizes = [[name, len(data)] for name, data in parts.items()]
        await call.answer({"offered": list(self.clips), "parts": sizes, "too_large": []})
        call.writer.write(b"".join(parts.values()))
        await call.writer.drain()

    async def on_clipboard_write(self, call: wire.Call) -> None:
        await call.answer({})
        self.clips = {
            name: b"".join([piece async for piece in wire.read_chunks(call.reader, size)])
            for name, size in call.args["parts"].items()
        }
        await wire.write_line(call.writer, {"ok": True, "result": {}})

    async def on_clipboard_watch(self, call: wire.Call) -> None:
        await call.answer({})
        gone = asyncio.ensure_future(call.reader.read(1))
        try:
            while not gone.done():
                waiting = asyncio.ensure_future(self.copied.wait())
                await asyncio.wait((gone, waiting), return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if self.copied.is_set():
                    self.copied.clear()
                    await wire.write_line(call.writer, {})
        finally:
            gone.cancel()

    async def on_windows(self, _call: wire.Call) -> dict:
        return {"windows": [{"id": 1, "kind": "terminal"}, {"id": 2, "kind": "browser"}]}

    async def on_units(self, _call: wire.Call) -> dict:
        return {"units": [{"name": "x11vnc.service", "active": "active", "restarts": 0}], "boot_id": "fake"}

    async def on_file_read(self, call: wire.Call) -> None:
        data = self._file(call.args["path"])
        await call.answer({"size": len(data), "mode": 0o644, "mtime": 0})
        call.writer.write(data)
        await call.writer.drain()

    async def on_file_write(self, call: wire.Call) -> None:
        await call.answer({})
        size = call.args["size"]
        data = b"".join([piece async for piece in wire.read_chunks(call.reader, size)])
        self.files[call.args["path"]] = data
        await wire.write_line(call.writer, {"ok": True})

    async def on_file_list(self, call: wire.Call) -> dict:
        folder = call.args["path"].rstrip("/") + "/"
        names = [path.removeprefix(folder) for path in self.files if path.startswith(folder)]
        return {"entries": [{"name": name, "type": "file", "size": 0} for name in sorted(names)]}

    async def on_file_append(self, call: wire.Call) -> None:
        args = call.args
        come = self.begun.setdefault((args["path"], args["upload"]), bytearray())
        if len(come) != args["offset"]:
            raise StateError(f"{len(come)} bytes of it have come", code="wrong_offset")
        await call.answer({})
        async for piece in wire.read_chunks(call.reader, args["size"]):
            come += piece
        complete = len(come) == args["total"]
        if complete:
            self.files[args["path"]] = bytes(self.begun.pop((args["path"], args["upload"])))
        result = {"offset": args["offset"] + args["size"], "complete": complete}
        await wire.write_line(call.writer, {"ok": True, "result": result})

    async def on_file_offset(self, call: wire.Call) -> dict:
        return {"offset": len(self.begun.get((call.args["path"], call.args["upload"]), b""))}

    async def on_file_abandon(self, call: wire.Call) -> dict:
        self.begun.pop((call.args["path"], call.args["upload"]), None)
        return {}

    def download(self, name: str, data: bytes) -> None:
        """A program has finished this file in Downloads."""
        self.files[f"/home/user/Downloads/{name}"] = data
        for watcher in self.watchers:
            watcher.put_nowait({"name": name, "size": len(data)})

    async def on_downloads_watch(self, call: wire.Call) -> None:
        await call.answer({})
        told: asyncio.Queue[dict] = asyncio.Queue()
        self.watchers.append(told)
        gone = asyncio.ensure_future(call.reader.read(1))
        try:
            while not gone.done():
                waiting = asyncio.ensure_future(told.get())
                await asyncio.wait((gone, waiting), return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    await wire.write_line(call.writer, waiting.result())
                waiting.cancel()
        finally:
            gone.cancel()
            self.watchers.remove(told)

    async def on_file_delete(self, call: wire.Call) -> dict:
        self._file(call.args["path"])
        del self.files[call.args["path"]]
        return {}

    def _file(self, path: str) -> bytes:
        if path not in self.files:
            raise NotFoundError(f"there is no {path}")
        return self.files[path]

    async def on_media(self, call: wire.Call) -> None:
        """A live view without pictures: it offers, and listens."""
        await call.answer({})
        told: list[dict] = []
        self.streams.append(told)
        self.streaming += 1
        try:
            while (line := await wire.read_line(call.reader)) is not None:
                told.append(line)
                if line["type"] == "hello":
                    await wire.write_line(call.writer, {"type": "offer", "peer": "video", "sdp": OFFER})
        finally:
            self.streaming -= 1

    async def on_exec(self, call: wire.Call) -> None:
        await call.answer({"pid": 4711})
        argv = list(call.args["argv"])
        try:
            code, timed_out = await self._run(argv, call)
        except (ConnectionError, asyncio.IncompleteReadError, OrielError):
            self.ended.append(argv)
            return
        ended = {"exit_code": code, "timed_out": timed_out}
        await wire.write_frame(call.writer, EXIT, json.dumps(ended).encode())

    async def _run(self, argv: list[str], call: wire.Call) -> tuple[int, bool]:
        program = argv[0].rpartition("/")[2]

        async def say(text: bytes, channel: int = STDOUT) -> None:
            await wire.write_frame(call.writer, channel, text)

        if call.args.get("tty") or program == "cat":
            return await self._echo(call), False
        if program == "echo":
            await say(" ".join(argv[1:]).encode() + b"\n")
        elif program == "env":
            await say("".join(f"{k}={v}\n" for k, v in (call.args.get("env") or {}).items()).encode())
        elif program == "flood":
            for _ in range(int(argv[1])):
                await say(b"x" * 65536)
        elif program == "sleep":
            return await self._sleep(float(argv[1]), call)
        elif program == "false":
            await say(b"no\xff\n", STDERR)
            return 1, False
        else:
            await say(f"{program}: command not found\n".encode(), STDERR)
            return 127, False
        return 0, False

    async def _echo(self, call: wire.Call) -> int:
        while True:
            frame = await wire.read_frame(call.reader)
            if frame is None:
                raise ConnectionError
            channel, payload = frame
            if channel == STDIN and not payload:
                return 0
            if channel == STDIN:
                await wire.write_frame(call.writer, STDOUT, payload)
            elif channel == SIGNAL:
                return 128 + int(json.loads(payload)["signal"])

    async def _sleep(self, seconds: float, call: wire.Call) -> tuple[int, bool]:
        limit = call.args.get("timeout_s") or seconds
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(seconds, limit)):
                while await wire.read_frame(call.reader) is not None:
                    continue
        except TimeoutError:
            timed_out = time.monotonic() - began < seconds - 0.001 and limit < seconds
            return (124 if timed_out else 0), timed_out
        raise ConnectionError
