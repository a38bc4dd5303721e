"""Trying a proxy from the controller, with the gateway's own code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oriel.egress.check import check_upstream
from oriel.egress.gateway import Gateway
from oriel.host.settings import Settings
from oriel.model.egress import EgressMode, EgressSpec
from oriel.model.secret import Secret

__all__ = ["check_proxy"]

DEADLINE_S = 20.0


async def check_proxy(url: Secret, settings: Settings, ports: Sequence[int]) -> dict[str, Any]:
    """What `GatewayClient.check` promises; what is wrong is the result."""
    gateway = Gateway(emit=lambda _: None)
    spec = EgressSpec(
        mode=EgressMode.PROXY, proxy="check", upstreams=(url,), direct_allow=settings.direct_allow
    )
    gateway.configure(spec)
    args = {"url": url.reveal(), "echo_url": settings.echo_url, "ports": [*ports], "deadline_s": DEADLINE_S}
    return await check_upstream(gateway, args)
