"""https by the controller itself, and a certificate that is renewed while it serves."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from oriel.host.layout import Home
from oriel.host.records import read_json
from oriel.model.errors import HostError
from tests.fakes.origin import Authority

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120


@contextmanager
def serving(directory: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """A controller as a program of its own: its process, URL and log."""
    home, log = Home(directory / "home"), directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "oriel.controller", "--home", home.root, "--port", "0", *words],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
    try:
        until(lambda: process.poll() is not None or home.controller_record.exists())
        assert process.poll() is None, log.read_text()
        yield process, str((read_json(home.controller_record) or {})["url"]), log
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def served(url: str, authority: Authority) -> int:
    """The serial number of the certificate that a new connection gets."""
    host, port = url.removeprefix("https://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=PATIENCE_S) as plain,
        authority.client_context().wrap_socket(plain, server_hostname=host) as tls,
    ):
        return int(str((tls.getpeercert() or {})["serialNumber"]), 16)


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    authority = Authority()
    pem = authority.issue(tmp_path, "127.0.0.1")
    with serving(tmp_path, f"--tls-certificate={pem}", f"--tls-key={pem}") as (process, url, log):
        assert url.startswith("https://")
        with httpx.Client(base_url=url, verify=authority.client_context(), trust_env=False) as before:
            assert before.get("/healthz").json()["status"] == "ok"
            token = (tmp_path / "home/controller/admin.token").read_text().strip()
            signed_in = before.post("/v1/session", json={"token": token})
            assert signed_in.headers["set-cookie"].startswith("__Host-oriel=")
            first = served(url, authority)

            good = pem.read_bytes()
            pem.write_bytes(good[: len(good) // 2])
            process.send_signal(signal.SIGHUP)
            until(lambda: "the certificate stays the old one" in log.read_text())
            assert served(url, authority) == first

            authority.issue(tmp_path, "127.0.0.1")
            process.send_signal(signal.SIGHUP)
            until(lambda: served(url, authority) != first)
            assert before.get("/healthz").status_code == 200, "what was open goes on"


def test_without_a_certificate_a_hangup_ends_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, url, _):
        process.send_signal(signal.SIGHUP)
        assert httpx.get(f"{url}/healthz", trust_env=False, timeout=PATIENCE_S).status_code == 200
        assert process.poll() is None


@pytest.mark.parametrize("fault", ["missing", "foreign key"])
def test_a_certificate_that_is_no_use_is_refused_at_once(tmp_path: Path, fault: str) -> None:
    from oriel.controller.tls import Certificate

    authority = Authority()
    pem, key = authority.issue(tmp_path, "a.example"), tmp_path / "key.pem"
    if fault == "foreign key":
        shutil.copy(authority.issue(tmp_path, "b.example"), key)
    with pytest.raises(HostError, match="certificate cannot be used"):
        Certificate(pem, key)
