"""Trying an upstream: does it answer, does it take our credentials, which address does the world see?"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

from oriel.egress.body import read_body
from oriel.egress.channel import Channel, HeadTooLargeError, read_head
from oriel.egress.dial import open_tunnel, open_upstream, start_tls, tls_context
from oriel.egress.failure import Fault, UnreachableError, UpstreamError
from oriel.egress.gateway import Gateway
from oriel.egress.head import MAX_HEAD, HeadError, encode_head, parse_response, response_framing
from oriel.egress.target import Target, TargetError, parse_address, parse_authority
from oriel.egress.upstream import Upstream, parse_upstream
from oriel.model.egress import EgressMode
from oriel.model.errors import Fault as FieldFault
from oriel.model.errors import InvalidError, OrielError, StateError

__all__ = ["check_upstream"]

MAX_ECHO = 64 << 10
MAX_PORTS = 16
ADDRESS = re.compile(r"(?<![\w.:])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)(?![\w.:])")


async def check_upstream(gateway: Gateway, args: Mapping[str, Any]) -> dict[str, Any]:
    """`{url?, echo_url?, ports?, deadline_s?}` → what `GatewayClient.check` promises.

    Never raises for what is wrong with the upstream: that is the result. InvalidError for bad arguments.
    """
    echo = _parse_echo(str(args.get("echo_url", "")))
    ports = _parse_ports(args.get("ports", []))
    upstream = _which(gateway, str(args.get("url", "")))
    report: dict[str, Any] = {
        "reachable": False, "authenticated": None, "latency_ms": None,
        "exit_ip": "", "ports": {}, "problem": "", "hint": "",
    }  # fmt: skip
    try:
        async with asyncio.timeout(min(120.0, float(args.get("deadline_s", 30)))):
            await _try(gateway, upstream, echo, report)
            if upstream is not None and echo is not None:
                for port in ports:
                    target = Target(echo[0].host, port)
                    report["ports"][str(port)] = await _port_allowed(gateway, upstream, target)
    except TimeoutError:
        report |= {"problem": "no answer in time", "hint": "try again; then check the proxy's address"}
    except OrielError as error:
        if isinstance(error, UpstreamError) and upstream is not None and upstream in gateway.upstreams:
            gateway.upstream_failed(upstream, error)
        if isinstance(error, UpstreamError) and error.fault is Fault.AUTHENTICATION:
            report |= {"reachable": True, "authenticated": False}
        elif isinstance(error, UnreachableError):
            report["reachable"] = True
        report |= {"problem": error.message, "hint": error.hint}
    except (OSError, HeadError, HeadTooLargeError):
        report["problem"] = "the echo service did not answer properly"
        report["hint"] = "check the echo URL in the operator's settings"
    return report


async def _try(
    gateway: Gateway, upstream: Upstream | None, echo: tuple[Target, bool, str] | None, report: dict[str, Any]
) -> None:
    started = time.monotonic()
    if upstream is not None:
        channel: Channel = await open_upstream(upstream, gateway.resolver, gateway.tls_context)
        report["reachable"] = True
        report["latency_ms"] = round((time.monotonic() - started) * 1000, 1)
        channel.abort()
    if echo is None:
        return
    target, tls, path = echo
    started = time.monotonic()
    if upstream is not None:
        channel = await open_tunnel(upstream, target, gateway.resolver, gateway.tls_context)
        report["authenticated"] = True
        if upstream in gateway.upstreams:
            gateway.upstream_works(upstream)
    else:
        channel = await gateway.dial_direct(target)
        report["reachable"] = True
        report["latency_ms"] = round((time.monotonic() - started) * 1000, 1)
    try:
        if tls:
            channel = await start_tls(channel, tls_context(gateway.spec.upstream_ca), str(target.host))
        report["exit_ip"] = await _ask(channel, target, path)
    finally:
        channel.abort()
    if not report["exit_ip"]:
        report["problem"] = "the echo service's answer contains no address"
        report["hint"] = "it must answer with the caller's address, as text or JSON"
    elif upstream is None or upstream in gateway.upstreams:
        gateway.ledger.exit_ip = report["exit_ip"]


async def _port_allowed(gateway: Gateway, upstream: Upstream, target: Target) -> bool | None:
    """Whether the proxy connects to this port; None if it tried and the target did not answer."""
    try:
        channel = await open_tunnel(upstream, target, gateway.resolver, gateway.tls_context)
    except UnreachableError as error:
        return False if error.forbidden else None
    channel.abort()
    return True


async def _ask(channel: Channel, target: Target, path: str) -> str:
    headers = [
        (b"Host", target.authority.encode("ascii")),
        (b"User-Agent", b"curl/8"),
        (b"Accept", b"*/*"),
        (b"Connection", b"close"),
    ]
    await channel.write(encode_head(b"GET " + path.encode("ascii") + b" HTTP/1.1", headers))
    response = parse_response(await read_head(channel, MAX_HEAD))
    body = bytearray()
    async for piece in read_body(channel, response_framing(b"GET", response)):
        body += piece
        if len(body) > MAX_ECHO:
            break
    for found in ADDRESS.findall(body.decode("ascii", "replace")):
        if parse_address(found) is not None:
            return str(found)
    return ""


def _which(gateway: Gateway, url: str) -> Upstream | None:
    """The upstream to try; None for the host's own address."""
    if url:
        return parse_upstream(url)
    if gateway.spec.mode is EgressMode.NONE:
        raise StateError("this desktop has no way out to check", hint="assign a proxy first")
    return gateway.upstreams[0] if gateway.upstreams else None


def _parse_ports(value: object) -> list[int]:
    if isinstance(value, list) and len(value) <= MAX_PORTS:
        ports = [port for port in value if isinstance(port, int) and 0 < port < 65536]
        if len(ports) == len(value):
            return ports
    raise InvalidError.of([FieldFault("ports", f"must be at most {MAX_PORTS} numbers from 1 to 65535")])


def _parse_echo(url: str) -> tuple[Target, bool, str] | None:
    """(target, whether TLS, path), None for ""."""
    if not url:
        return None
    match = re.fullmatch(r"(https?)://([^/?#@]+)([/?][\x21-\x7e]*)?", url)
    problem = "must be http:// or https://, a host, and a path"
    if match is None:
        raise InvalidError.of([FieldFault("echo_url", problem)])
    tls = match[1] == "https"
    path = match[3] or "/"
    try:
        target = parse_authority(match[2], default_port=443 if tls else 80)
    except TargetError as error:
        raise InvalidError.of([FieldFault("echo_url", str(error))]) from error
    return target, tls, path if path.startswith("/") else f"/{path}"
