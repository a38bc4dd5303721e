"""A desktop whose disk is full: its programs are told, and nobody else notices."""

from __future__ import annotations

import secrets

from oriel.client import Oriel
from oriel.client.sync.desktop import Desktop
from tests.conftest import Server

DEADLINE_S = 400


def shell(desktop: Desktop, script: str) -> str:
    result = desktop.exec(["bash", "-c", script], timeout_s=DEADLINE_S)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def test_a_full_disk_is_the_trouble_of_its_desktop_alone(server: Server) -> None:
    with Oriel(server.url, server.token) as client:
        full, other = (
            client.desktops.create(f"disk-{secrets.token_hex(2)}", proxy="none", deadline_s=DEADLINE_S)
            for _ in range(2)
        )
        try:
            # First all that may be reserved at once, then the last blocks by writing them.
            shell(
                full,
                "fallocate -l $(df --output=avail -B1 ~ | tail -n 1) ~/all; cat /dev/zero > ~/rest || true",
            )
            refused = full.exec(["cp", "/usr/bin/bash", "/home/user/more"], timeout_s=DEADLINE_S)
            assert "No space left" in refused.stderr
            full.pause()
            full.resume()
            assert full.computer.screenshot().startswith(b"\x89PNG")
            assert shell(other, "echo room > ~/room && cat ~/room") == "room"
            assert shell(full, "rm ~/all ~/rest; echo again > ~/more && cat ~/more") == "again"
            full.stop()
            full.start(deadline_s=DEADLINE_S)
            assert shell(full, "cat ~/more") == "again"
        finally:
            full.delete()
            other.delete()
