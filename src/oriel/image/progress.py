"""What a build tells while it works, and programs that are followed line by line."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oriel.host import process
from oriel.model.errors import LaunchError, NoSpaceError, OrielError, UnavailableError

__all__ = ["TRUST", "Progress", "Tell", "follow", "trust_settings"]

LOOK_EVERY_S = 0.5
# What the operator's environment says about reaching registries: passed on, as nothing else is.
TRUST = (
    "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
# What a failed program's output says of why, in apt's and npm's words: the first that matches counts.
_REASONS = (
    (
        re.compile(r"404\s+(?:File )?Not Found|does not have a Release file", re.IGNORECASE),
        "has not what is asked for",
    ),
    (
        re.compile(r"NO_PUBKEY|is not signed|signatures couldn't be verified", re.IGNORECASE),
        "is signed by nobody whom this host trusts",
    ),
    (
        re.compile(
            r"Could not (?:resolve|connect)|Temporary failure resolving|Unable to connect|"
            r"Connection (?:refused|timed out|failed)|"
            r"Failed to fetch|\b(?:ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ECONNRESET|"
            r"SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT\w*)\b"
        ),
        "cannot be reached",
    ),
)
KEPT = "then build again: what is done is kept"


@dataclass(frozen=True)
class Progress:
    """One step of a build: the layer it is about, and what is being done."""

    phase: str
    message: str

    def __str__(self) -> str:
        return f"{self.phase}: {self.message}"


Tell = Callable[[Progress], None]


def trust_settings() -> dict[str, str]:
    """Of this process's environment, what says how registries are reached and whom to trust."""
    return {name: os.environ[name] for name in TRUST if name in os.environ}


async def follow(
    argv: Sequence[str | Path],
    *,
    phase: str,
    log: Path,
    on_line: Callable[[str], None],
    env: Mapping[str, str],
    deadline_s: float,
    where: str,
    remedy: str = "check this host's network, proxy and certificates",
) -> None:
    """Run to the end, its output in `log` and each line of it to `on_line`.

    `where` names what it fetches from, `remedy` says what to do if that fails: UnavailableError, if the
    output says so. NoSpaceError if the disk is full, else LaunchError with the tail. When that happens, and
    when cancelled, the process is gone.
    """
    child = process.spawn(argv, log=log, env=env)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s
    position = 0
    ended = asyncio.create_task(asyncio.to_thread(child.wait))
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=LOOK_EVERY_S)  # the log has no event worth having
            position = _read_lines(log, position, on_line)
            if loop.time() > deadline:
                raise LaunchError(
                    f"{phase}: not done within {deadline_s:g} s: {process.paste(argv)}\n{process.tail(log)}",
                    hint=f"is {where} slow or out of reach?",
                )
    finally:
        if not ended.done() and (identity := process.ProcessId.of(child.pid)):
            await process.end(identity, deadline_s=10)
        await ended
    if child.returncode != 0:
        said = f"exit code {child.returncode}: {process.paste(argv)}\n{process.tail(log)}"
        raise _unavailable(phase, log, where, remedy) or LaunchError(
            f"the layer {phase!r} could not be built: {said}"
        )


def _read_lines(log: Path, position: int, on_line: Callable[[str], None]) -> int:
    with log.open("rb") as file:
        file.seek(position)
        for line in file:
            if not line.endswith(b"\n"):
                break
            position += len(line)
            on_line(line.decode(errors="replace").strip())
    return position


def _unavailable(phase: str, log: Path, where: str, remedy: str) -> OrielError | None:
    """What the output says is lacking outside of the program that failed, if it does."""
    text = log.read_text(errors="replace")
    if "No space left on device" in text or "ENOSPC" in text:
        return NoSpaceError(
            f"the layer {phase!r} did not fit on the disk", hint="free some GiB, or move the home"
        )
    for pattern, what in _REASONS:
        if found := pattern.search(text):
            line = next(line for line in text.splitlines() if found.group() in line)
            return UnavailableError(
                f"the layer {phase!r} could not be built: {where} {what} ({line.strip()[:300]})",
                hint=f"{remedy}; {KEPT}",
            )
    return None
