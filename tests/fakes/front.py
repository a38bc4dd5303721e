"""The real nginx and the real Caddy in front of a controller, each with the configuration that we ship."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.origin import Authority

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NAME = "localhost"  # in place of the example's
PATIENCE_S = 60


@dataclass(frozen=True)
class Front:
    """`url` is where people come; `tls` trusts the test's own authority."""

    url: str
    tls: ssl.SSLContext


@contextmanager
def front(kind: str, controller_port: int) -> Iterator[Front]:
    """`kind`, nginx or caddy, over a controller at 127.0.0.1, until the block ends."""
    program = shutil.which(kind)
    if program is None:
        pytest.fail(f"{kind} is not installed: scripts/setup test installs it")
    authority = Authority()
    with tempfile.TemporaryDirectory(prefix="of-") as name, _free_ports() as (port, plain):
        directory = Path(name)
        pem = authority.issue(directory, NAME)
        argv = _NAMED[kind](program, directory, pem, (port, plain, controller_port))
        log = directory / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={"PATH": os.environ["PATH"], "HOME": name},
            )  # fmt: skip
        try:
            _until_it_listens(process, port, log)
            yield Front(f"https://{NAME}:{port}", authority.client_context())
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@contextmanager
def _free_ports() -> Iterator[tuple[int, int]]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = one.getsockname()[1], other.getsockname()[1]
    yield ports


def _nginx(program: str, directory: Path, pem: Path, ports: tuple[int, int, int]) -> list[str]:
    text = (DEPLOY / "nginx/oriel.conf").read_text()
    text = _replaced(
        text,
        {"listen 443 ssl": f"listen 127.0.0.1:{ports[0]} ssl", "listen 80;": f"listen 127.0.0.1:{ports[1]};",
         "127.0.0.1:8080": f"127.0.0.1:{ports[2]}", "oriel.example.org": NAME,
         "/etc/ssl/oriel/fullchain.pem": str(pem), "/etc/ssl/oriel/key.pem": str(pem)},
    )  # fmt: skip
    (directory / "oriel.conf").write_text(text)
    temporary = " ".join(
        f"{name}_temp_path {directory};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; {temporary}\ninclude {directory}/oriel.conf; }}\n"
    )
    return [program, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"]


def _caddy(program: str, directory: Path, pem: Path, ports: tuple[int, int, int]) -> list[str]:
    text = _replaced(
        (DEPLOY / "caddy/Caddyfile").read_text(),
        {"oriel.example.org {": f"https://{NAME}:{ports[0]} {{\n\ttls {pem} {pem}",
         "reverse_proxy 127.0.0.1:8080": f"reverse_proxy 127.0.0.1:{ports[2]}"},
    )  # fmt: skip
    options = (
        f"{{\n\tadmin off\n\tauto_https disable_redirects\n\thttp_port {ports[1]}\n\tgrace_period 1s\n}}\n"
    )
    (directory / "Caddyfile").write_text(options + text)
    return [program, "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"]


_NAMED: dict[str, Callable[[str, Path, Path, tuple[int, int, int]], list[str]]] = {
    "nginx": _nginx,
    "caddy": _caddy,
}


def _replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"the shipped configuration has no {old!r} any more"
        text = text.replace(old, new)
    return text


def _until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
