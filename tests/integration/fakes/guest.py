"""A guest without a desktop: the agent's verbs the keeper needs, an RFB greeting, and its ways to fail.

Started inside the guest's namespace as `python -m tests.integration.fakes.guest BEHAVIOUR DIRECTORY`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from oriel.model import wire
from oriel.model.errors import OrielError
from oriel.model.link import AGENT_ANNOUNCE_PORT, AGENT_PORT, GATEWAY_ADDRESS, GUEST_ADDRESS, VNC_PORT


async def serve(behaviour: str, directory: Path) -> None:
    ended = asyncio.Event()
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def personalise(call: wire.Call) -> dict:
        (directory / "identity.json").write_text(json.dumps(dict(call.args)))
        return {"seconds": 0.0}

    async def wait_ready(call: wire.Call) -> dict:
        if behaviour == "unpainted":
            await asyncio.Event().wait()
        if behaviour == "crashes":
            print("kernel panic: the fake had enough", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return {"windows": list(call.args["kinds"]), "seconds": 0.0}

    async def shutdown(_call: wire.Call) -> dict:
        if behaviour != "stubborn":
            asyncio.get_running_loop().call_later(0.01, ended.set)
        return {}

    async def nothing(_call: wire.Call) -> dict:
        return {}

    async def connect(call: wire.Call) -> None:
        await call.answer({})
        await echo(call.reader, call.writer)

    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers = {
            "personalise": personalise,
            "wait_ready": wait_ready,
            "shutdown": shutdown,
            "wake": nothing,
            "mark_generators": nothing,
            "settle": nothing,
            "connect": connect,
        }
        await wire.handle_connection(reader, writer, handlers, on_unknown_error=lambda e: OrielError(repr(e)))

    await asyncio.start_server(agent, GUEST_ADDRESS, AGENT_PORT)
    await asyncio.start_server(vnc, GUEST_ADDRESS, VNC_PORT)
    print(f"fake guest up at {time.time():.3f}", flush=True)
    (directory / "up").touch()
    if behaviour in ("silent", "restored"):
        await asyncio.Event().wait()
    _, writer = await asyncio.open_connection(GATEWAY_ADDRESS, AGENT_ANNOUNCE_PORT)
    await wire.close(writer)
    await ended.wait()


async def vnc(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"RFB 003.008\n")
    await echo(reader, writer)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    await wire.close(writer)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
