"""Records of processes: whole or absent, and never a stranger with the same number."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oriel.host.records import own_process, read_json, read_process, tell, write_json, write_process


def test_a_process_is_recorded_exactly(tmp_path: Path) -> None:
    path = tmp_path / "keeper.json"
    write_process(path, version="1")
    assert read_process(path) == own_process()
    assert json.loads(path.read_text())["version"] == "1"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"pid": "7"}', '{"pid": 7}', "\x00"])
def test_a_damaged_record_names_nobody(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keeper.json"
    path.write_text(text)
    assert read_process(path) is None


def test_a_write_that_fails_leaves_the_old_text_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_waiter_that_has_gone_does_not_hurt() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    tell(writing, {"ok": True})
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writing)
