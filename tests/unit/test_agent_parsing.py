"""The agent's other pure parts: arguments, commands, input events, keysyms, units, the command line."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from agent.arguments import Arguments
from agent.input import parse_events
from agent.keyboard import keysym_of_character, keysym_of_name
from agent.program import parse_command, which
from agent.settings import Settings, parse
from agent.units import parse_units
from oriel.model.errors import InvalidError

SETTINGS = Settings()


def test_the_defaults_are_the_desktop_s_fixed_addresses() -> None:
    assert parse([]) == SETTINGS == Settings(address="192.168.0.2", port=7077, allow="192.168.0.1")
    assert SETTINGS.announce == ("192.168.0.1", 7078)
    assert SETTINGS.ports == {9222, 5901}


def test_the_command_line() -> None:
    listening = "--address 0.0.0.0 --port 0 --allow 10.0.0.1 --announce none"
    desktop = "--display :7 --root /r --user me --connectable 80"
    assert parse(f"{listening} {desktop}".split()) == Settings(
        address="0.0.0.0", port=0, allow="10.0.0.1", announce=None, display=":7", root=Path("/r"), user="me",
        ports=frozenset({80}),
    )  # fmt: skip
    assert parse(["--announce", "127.0.0.1:99"]).announce == ("127.0.0.1", 99)


def test_arguments_gather_their_faults() -> None:
    args = Arguments({"a": "x\0", "b": 5, "c": "\ud800", "d": {"e": 1}, "f": [1], "extra": None, "more": 1})
    args.text("a")
    args.text("b")
    args.text("c")
    inner = args.nested("d")
    inner.text("e")
    inner.unknown()
    args.texts("f")
    args.whole("g", 1, 2)
    with pytest.raises(InvalidError) as caught:
        args.done()
    assert [fault.field for fault in caught.value.faults] == ["a", "b", "c", "d.e", "f", "g", "extra", "more"]


def test_a_command_with_its_defaults() -> None:
    command = parse_command({"argv": ["ls", ""]}, SETTINGS)
    assert (command.argv, command.user, command.cwd, command.tty, command.timeout_s) == (
        ["ls", ""],
        "user",
        "",
        None,
        0,
    )
    tty = parse_command({"argv": ["ls"], "tty": {}, "timeout_s": 1.5}, SETTINGS).tty
    assert tty is not None
    assert (tty.rows, tty.cols, tty.term) == (24, 80, "xterm-256color")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "argv"), ({"argv": []}, "argv"), ({"argv": "ls"}, "argv"), ({"argv": ["a\0"]}, "argv"),
        ({"argv": ["a"], "tty": 1}, "tty"), ({"argv": ["a"], "tty": {"term": "a b"}}, "tty.term"),
        ({"argv": ["a"], "tty": {"what": 1}}, "tty.what"), ({"argv": ["a"], "env": {"A": 1}}, "env"),
        ({"argv": ["a"], "env": []}, "env"), ({"argv": ["a"], "timeout_s": float("nan")}, "timeout_s"),
        ({"argv": ["a"], "timeout_s": True}, "timeout_s"), ({"argv": ["a"], "user": "daemon"}, "user"),
    ],
)  # fmt: skip
def test_a_bad_command_names_its_field(values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_command(values, SETTINGS)
    assert [fault.field for fault in caught.value.faults] == [field]


def test_which_is_a_shell_s(tmp_path: Path) -> None:
    for name, mode in (("first/tool", 0o644), ("second/tool", 0o755), ("first/plain", 0o644)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    search = f"{tmp_path}/first:{tmp_path}/second"
    assert which("tool", path=search, cwd="/") == f"{tmp_path}/second/tool"
    assert which("./second/tool", path="", cwd=str(tmp_path)) == f"{tmp_path}/second/tool"
    for name, code in (("plain", errno.EACCES), ("absent", errno.ENOENT), (str(tmp_path), errno.EACCES)):
        with pytest.raises(OSError, match=name.rpartition("/")[2]) as caught:
            which(name, path=search, cwd="/")
        assert caught.value.errno == code


def test_characters_and_names_as_keysyms() -> None:
    assert [keysym_of_character(c) for c in "aZ é"] == [0x61, 0x5A, 0x20, 0xE9]
    assert [keysym_of_character(c) for c in "\n\r\t\b\x1b"] == [0xFF0D, 0xFF0D, 0xFF09, 0xFF08, 0xFF1B]
    assert [keysym_of_character(c) for c in "€日😀"] == [0x10020AC, 0x10065E5, 0x101F600]
    assert [keysym_of_character(c) for c in "\x01\x7f\x9f\ud800"] == [None] * 4
    assert [keysym_of_name(n) for n in ("Return", "Control_L", "F5", "a", "é", "XF86_AudioMute")] == [
        0xFF0D, 0xFFE3, 0xFFC2, 0x61, 0xE9, 0x1008FF12,
    ]  # fmt: skip
    assert keysym_of_name("NoSuchKey") is None


def test_input_events() -> None:
    events = parse_events(
        {
            "events": [
                {"type": "text", "text": "a\r\nb"},
                {"type": "key", "keysym": 0xFF0D, "down": False},
                {"type": "wheel", "dy": -3},
            ]
        }
    )
    assert events[0].keysyms == (0x61, 0xFF0D, 0x62)
    assert (events[1].keysyms, events[1].down) == ((0xFF0D,), False)
    assert (events[2].dx, events[2].dy) == (0, -3)


@pytest.mark.parametrize("value", [None, [], {}, [1], ["move"], [{"type": "move", "x": 0, "y": 0}] * 1001])
def test_what_is_no_list_of_events_is_refused(value: object) -> None:
    with pytest.raises(InvalidError):
        parse_events({"events": value})


def test_units_as_systemd_shows_them() -> None:
    text = """Id=xvfb.service
LoadState=loaded
ActiveState=active
SubState=running
NRestarts=2
MainPID=123

Id=oriel-webrtc.service
LoadState=not-found
ActiveState=inactive
SubState=dead
MainPID=0

MainPID=0
NRestarts=0
Id=x11vnc.service
LoadState=loaded
ActiveState=activating
SubState=auto-restart
"""
    assert parse_units(text) == [
        {"name": "xvfb", "active": "active", "sub": "running", "restarts": 2, "pid": 123},
        {"name": "x11vnc", "active": "activating", "sub": "auto-restart", "restarts": 0, "pid": 0},
    ]
