"""Trying a proxy from the controller, with the gateway's own code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oriel.egress.check import check_upstream
from oriel.egress.gateway import Gateway
from oriel.model.egress import EgressMode, EgressSpec
from oriel.model.secret import Secret

__all__ = ["check_proxy"]

DEADLINE_S = 20.0


async def check_proxy(url: Secret, echo_url: str, direct_allow: Sequence[str]) -> dict[str, Any]:
    """`{reachable, authenticated, latency_ms, exit_ip, problem, hint}`; what is wrong is the result."""
    gateway = Gateway(emit=lambda _: None)
    gateway.configure(
        EgressSpec(mode=EgressMode.PROXY, proxy="check", upstreams=(url,), direct_allow=tuple(direct_allow))
    )
    return await check_upstream(
        gateway, {"url": url.reveal(), "echo_url": echo_url, "deadline_s": DEADLINE_S}
    )
