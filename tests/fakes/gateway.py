"""The real gateway process on loopback, as its keeper starts it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oriel.egress.control import GatewayClient, gateway_argv
from oriel.egress.ledger import open_counters
from oriel.host.process import BASE_ENVIRONMENT


@dataclass
class RunningGateway:
    """Ports on 127.0.0.1, the control client, each event so far, and the log (stderr)."""

    client: GatewayClient
    process: subprocess.Popen[bytes]
    proxy_port: int
    dns_port: int
    transparent_port: int
    log: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    def denials(self) -> list[str]:
        return [event["reason"] for event in self.events if event["event"] == "denied"]


@contextlib.asynccontextmanager
async def running_gateway(
    sockets: Sequence[socket.socket] = (), *, uid: int | None = None, counters: Path | None = None
) -> AsyncIterator[RunningGateway]:
    """Start one, and see that it ends by itself when the control pair is closed.

    `sockets`: proxy, DNS UDP, DNS TCP, transparent, if the caller has made them (in a namespace).
    `uid`: whom to run it as, ourselves by default. `counters`: the file in which it counts.
    """
    listeners = list(sockets) or _loopback_sockets()
    ours, its = socket.socketpair()
    proxy, dns_udp, dns_tcp, transparent = listeners
    kept = [] if counters is None else [open_counters(counters)]
    argv = gateway_argv(
        control_fd=its.fileno(),
        uid=uid,
        proxy_fd=proxy.fileno(),
        dns_udp_fd=dns_udp.fileno(),
        dns_tcp_fd=dns_tcp.fileno(),
        transparent_fd=transparent.fileno(),
        counters_fd=kept[0] if kept else None,
    )
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "gateway.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stderr=output,
                env=BASE_ENVIRONMENT,
                cwd="/",
                pass_fds=[its.fileno(), *(sock.fileno() for sock in listeners), *kept],
            )
        its.close()
        for fd in kept:
            os.close(fd)
        events: list[dict[str, Any]] = []
        client = await GatewayClient.connect(ours, on_event=events.append)
        ports = [sock.getsockname()[1] for sock in listeners]
        for sock in listeners:
            sock.close()
        running = RunningGateway(client, process, ports[0], ports[1], ports[3], log, events)
        try:
            yield running
        finally:
            await client.close()
            try:
                await asyncio.to_thread(process.wait, 10)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            said = log.read_text()
            assert process.returncode in (0, -9), said
            assert '"level": "error"' not in said, said
            assert "Traceback" not in said, said


def _loopback_sockets() -> list[socket.socket]:
    def tcp(port: int = 0) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), backlog=1024)

    dns_tcp = tcp()
    dns_udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns_udp.bind(dns_tcp.getsockname())
    return [tcp(), dns_udp, dns_tcp, tcp()]
