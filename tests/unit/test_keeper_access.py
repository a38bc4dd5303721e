"""The access log: bounded, and never in the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oriel.keeper import access
from oriel.keeper.access import AccessLog


def test_lines_in_order_and_at_most_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST_BYTES", 1000)
    log = AccessLog(tmp_path / "access.log")
    for number in range(100):
        log.write({"host": "a.test", "port": number})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["access.log", "access.log.1"]
    text = (tmp_path / "access.log.1").read_text() + (tmp_path / "access.log").read_text()
    ports = [json.loads(line)["port"] for line in text.splitlines()]
    assert ports == list(range(ports[0], 100))
    assert len(text) < 2500


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(tmp_path / "missing" / "access.log")
    for _ in range(3):
        log.write({"host": "a.test"})
    assert len(caplog.records) == 1
