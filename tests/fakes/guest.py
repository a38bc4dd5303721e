"""A program in the guest, talking to the gateway's port with bytes of its own choice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import h11

DEADLINE_S = 15.0


@dataclass
class Answer:
    """One response, read by h11: a reader that shares nothing with the gateway's own."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)


class Guest:
    """One connection. Every wait ends after DEADLINE_S."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.rest = b""

    async def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)
        await self.writer.drain()

    async def answer(self, method: str = "GET") -> Answer:
        """The next response; `self.rest` is what came after it."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(self.rest) if self.rest else None
        head: h11.Response | None = None
        body = b""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    parser.receive_data(await self.reader.read(1 << 16))
                elif isinstance(event, h11.Response):
                    head = event
                    if method == "CONNECT" and head.status_code == 200:
                        break
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    break
        assert head is not None
        self.rest = parser.trailing_data[0]
        headers = [(key.decode(), value.decode("latin-1")) for key, value in head.headers]
        return Answer(head.status_code, headers, body)

    async def get(self, url: str, *headers: str) -> Answer:
        host = url.removeprefix("http://").partition("/")[0]
        await self.send("\r\n".join((f"GET {url} HTTP/1.1", f"Host: {host}", *headers, "", "")))
        return await self.answer()

    async def tunnel(self, authority: str) -> Answer:
        """CONNECT; after a 200 the connection is the tunnel."""
        await self.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
        return await self.answer("CONNECT")

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            data, self.rest = self.rest, b""
            return data + await self.reader.readexactly(count - len(data))

    async def ended(self) -> bool:
        """Waits for the end: True for a reset, False for an orderly close."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while await self.reader.read(1 << 16):
                    pass
        except ConnectionError:
            return True
        return False


@contextlib.asynccontextmanager
async def guest(port: int) -> AsyncIterator[Guest]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Guest(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def refused(port: int) -> bool:
    """Whether a new connection is reset without a word, at once or after its first request."""
    try:
        async with guest(port) as program:
            await program.send("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n")
            async with asyncio.timeout(DEADLINE_S):
                return not await program.reader.read(1)
    except ConnectionError:
        return True


async def curl(proxy_port: int, *argv: str) -> tuple[int, str]:
    """curl through the gateway: (exit status, stdout)."""
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--max-time", "10", "--proxy", f"http://127.0.0.1:{proxy_port}", *argv,
        stdout=asyncio.subprocess.PIPE, env={"PATH": "/usr/bin"},
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()
