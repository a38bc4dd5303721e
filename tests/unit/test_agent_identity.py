"""`personalise`: strict arguments, and the files it leaves under a root."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from agent.identity import parse_identity, set_host_line, write_files
from oriel.model.errors import InvalidError

GOOD: dict[str, Any] = {
    "session_id": "a.B-9_",
    "hostname": "desk",
    "machine_id": "0123456789abcdef0123456789abcdef",
    "time_ns": 1_800_000_000 * 10**9,
    "entropy": base64.b64encode(b"e" * 64).decode(),
    "screen": {"width": 1280, "height": 720},
}


def test_a_good_identity_and_its_silence_about_its_entropy() -> None:
    identity = parse_identity(GOOD)
    assert (identity.session_id, identity.screen.width, identity.entropy) == ("a.B-9_", 1280, b"e" * 64)
    assert GOOD["entropy"] not in repr(identity)
    assert "eeee" not in repr(identity)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_id", ""), ("session_id", "a b"), ("session_id", "a\nROOT=1"), ("session_id", "x" * 65),
        ("session_id", 5), ("session_id", None), ("session_id", "a\n"),
        ("hostname", "-a"), ("hostname", "A"), ("hostname", "a" * 64), ("hostname", "a.b"),
        ("hostname", "a\n"), ("machine_id", ["a" * 32]),
        ("machine_id", "0" * 32), ("machine_id", "A" * 32), ("machine_id", "a" * 31),
        ("machine_id", "a" * 33), ("machine_id", None),
        ("time_ns", 0), ("time_ns", True), ("time_ns", 1.5), ("time_ns", "1"), ("time_ns", 1 << 80),
        ("entropy", "%%%"), ("entropy", base64.b64encode(b"e" * 63).decode()), ("entropy", "é"),
        ("screen.width", 319), ("screen.height", 2161), ("screen.width", "1280"),
        ("screen", [1280, 720]), ("surprise", 1),
    ],
)  # fmt: skip
def test_each_bad_value_is_named(field: str, value: object) -> None:
    args: dict[str, Any] = {**GOOD, "screen": dict(GOOD["screen"])}
    name, _, inner = field.partition(".")
    if inner:
        args[name][inner] = value
    else:
        args[name] = value
    with pytest.raises(InvalidError) as caught:
        parse_identity(args)
    assert field in [fault.field for fault in caught.value.faults]


def test_everything_missing_is_told_together() -> None:
    with pytest.raises(InvalidError) as caught:
        parse_identity({})
    assert {fault.field for fault in caught.value.faults} >= {
        "session_id", "hostname", "machine_id", "time_ns", "entropy", "screen",
    }  # fmt: skip


def test_the_files_of_an_identity(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/environment").write_bytes(b"# \xff kept\nSESSION_ID=old\nA=1\n")
    (tmp_path / "etc/environment").chmod(0o640)
    (tmp_path / "etc/machine-id").write_text("uninitialized\n")
    (tmp_path / "etc/machine-id").chmod(0o444)
    (tmp_path / "var/lib/dbus").mkdir(parents=True)
    (tmp_path / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    write_files(parse_identity(GOOD), tmp_path)
    environment = tmp_path / "etc/environment"
    assert environment.read_bytes() == b"# \xff kept\nSESSION_ID=a.B-9_\nA=1\n"
    assert environment.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "etc/machine-id").read_text() == GOOD["machine_id"] + "\n"
    assert (tmp_path / "etc/machine-id").stat().st_mode & 0o777 == 0o444
    assert (tmp_path / "var/lib/dbus/machine-id").is_symlink()  # it follows by itself
    assert (tmp_path / "etc/hosts").read_text() == "127.0.0.1 localhost\n127.0.1.1 desk\n"
    assert not list(tmp_path.rglob("*.part"))


def test_what_is_already_so_is_not_written_again(tmp_path: Path) -> None:
    write_files(parse_identity(GOOD), tmp_path)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    write_files(parse_identity(GOOD), tmp_path)
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before


def test_the_line_of_this_host() -> None:
    hosts = "127.0.0.1\tlocalhost ip4\n::1 localhost\n127.0.1.1 template old\n# 127.0.1.1 comment\n"
    assert set_host_line(hosts, "new") == (
        "127.0.0.1\tlocalhost ip4\n::1 localhost\n# 127.0.1.1 comment\n127.0.1.1 new\n"
    )


def test_the_time_it_took_is_added_to_the_clock() -> None:
    before = time.monotonic_ns()
    assert before <= parse_identity(GOOD).received_ns <= time.monotonic_ns()
