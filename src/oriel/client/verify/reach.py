"""Checks from the terminal's environment: the way out, and the tools."""

from __future__ import annotations

import re

from oriel.client.verify.inspection import Inspection
from oriel.client.verify.report import UnmetError
from oriel.model.link import GATEWAY_ADDRESS

__all__ = ["TOOLS", "cli_tools", "internet"]

TOOLS = ("codex", "claude", "gemini")
CURL_DEADLINE_S = 30
# In full emulation a tool written for Node takes tens of seconds to say its version.
TOOL_DEADLINE_S = 180.0


async def internet(inspection: Inspection) -> str:
    """`curl`, as a user would, and through the gateway: nothing else can count as the proxy."""
    egress = await inspection.desktop.egress()
    if egress.get("mode") == "none":
        raise UnmetError("the desktop has no way out (its egress mode is none); give it a proxy")
    report = "%{http_code} %{remote_ip} %{time_total}"
    argv = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        report,
        "--max-time",
        str(CURL_DEADLINE_S),
        inspection.url,
    ]
    result = await inspection.run(*argv, timeout_s=2 * CURL_DEADLINE_S)
    if result.exit_code:
        said = result.stderr.strip() or f"exit code {result.exit_code}"
        raise UnmetError(f"curl {inspection.url}: {said}")
    status, address, seconds = result.stdout.split()
    if address != GATEWAY_ADDRESS:
        raise UnmetError(f"curl talked to {address}, not to the gateway {GATEWAY_ADDRESS}: no proxy is set")
    if not _reached(inspection.url, int(status)):
        raise UnmetError(
            f"curl {inspection.url}: HTTP {status}, which may be the gateway's or the proxy's own"
        )
    inspection.online = True
    after = await inspection.desktop.egress()
    through = after.get("proxy") or after.get("mode")
    seen = f", seen outside as {after['exit_ip']}" if after.get("exit_ip") else ""
    return f"curl {inspection.url}: HTTP {status} in {float(seconds):.2f} s through {through}{seen}"


def _reached(url: str, status: int) -> bool:
    # Inside TLS only the origin can have answered; in the clear a 4xx or 5xx may be a proxy's.
    return status >= 200 if url.startswith("https:") else 200 <= status < 400


async def cli_tools(inspection: Inspection) -> str:
    """Each of them run, not only found."""
    versions = []
    for tool in TOOLS:
        inspection.doing(f"running {tool}")
        result = await inspection.run(tool, "--version", timeout_s=TOOL_DEADLINE_S)
        version = re.search(r"\d+\.\d+[\w.+-]*", result.stdout)
        if result.exit_code or not version:
            said = (result.stderr or result.stdout).strip()[-200:]
            raise UnmetError(f"{tool} --version: exit code {result.exit_code}: {said or 'it said nothing'}")
        versions.append(f"{tool} {version[0]}")
    return ", ".join(versions)
