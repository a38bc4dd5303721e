"""What the command line says and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from oriel.cli.commands import COMMANDS, GROUPS, whole_app
from oriel.cli.main import run
from oriel.cli.output import Output, plain
from oriel.model.errors import (
    AuthError,
    BusyError,
    HostError,
    InvalidError,
    LaunchError,
    NoSpaceError,
    NotFoundError,
    OrielError,
    StateError,
    UnavailableError,
)

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = set(
    """doctor serve create list show open exec cp screenshot type key click shell start stop pause resume fork
    snapshot rewind delete logs events verify image template proxy user token
    backup restore audit pool drain renew share clipboard control bench version""".split()  # noqa: SIM905
)


@pytest.fixture(autouse=True)
def nobody_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ORIEL_URL", "ORIEL_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORIEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_every_command_of_the_contract_is_there_and_takes_json() -> None:
    assert {*COMMANDS, *GROUPS} == CONTRACT
    app = whole_app()
    assert len(app.registered_commands) == len(COMMANDS)
    for name in COMMANDS:
        assert "--json" in help_of(name), name
    for group in app.registered_groups:
        assert group.typer_instance
        for command in group.typer_instance.registered_commands:
            name = command.name or command.callback.__name__  # type: ignore[union-attr]
            assert "--json" in help_of(str(group.name), name), (group.name, name)


def help_of(*words: str) -> str:
    argv = [sys.executable, "-c", "from oriel.cli.main import main; main()", *words, "--help"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidError("x"), 1),
        (NotFoundError("x"), 3),
        (AuthError("x"), 4),
        (StateError("x"), 4),
        (BusyError("x"), 4),
        (UnavailableError("x"), 1),
        (NoSpaceError("x"), 1),
        (HostError("x"), 1),
        (LaunchError("x"), 1),
    ],
)
def test_exit_status_and_two_lines(
    error: OrielError, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Output(json=True).error(error) == status
    out, err = capsys.readouterr()
    what, do = err.splitlines()
    assert what == "error: x"
    assert do.startswith("hint: ")
    assert len(do) > len("hint: ")
    assert json.loads(out)["error"]["message"] == "x"


def test_a_log_tail_stands_between_the_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Output().error(LaunchError("exit code 1: x\nfirst\nlast", hint="mend it"))
    assert capsys.readouterr().err == "error: exit code 1: x\n  first\n  last\nhint: mend it\n"


def test_hostile_text_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    title = "a\x1b]0;owned\x07\x1b[2J\u202eb"
    assert plain(title) == "a�]0;owned��[2J�b"
    Output().table({}, ("TITLE",), [(title,)])
    Output().note(title)
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"], ["create", "--memory-mib", "much"], ["screenshot", "x"], ["proxy", "frob"],
        ["click", "x", "-1", "2"], ["list", "--wrong"], ["exec", "x", "ls", "-la"], ["serve", "--frob"],
    ],
)  # fmt: skip
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "--help" in err
    assert "Traceback" not in err


def test_no_controller_is_told_in_two_lines_and_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "unavailable"
    assert len(err.splitlines()) == 2
    assert "./run" in err


def test_json_after_the_dashes_is_the_commands_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["exec", "x", "--", "ls", "--json"]) == 1
    assert capsys.readouterr().out == ""


def test_settings_that_are_wrong_are_named_together(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORIEL_VCPUS", "many")
    assert run(["serve", "--port", "http"]) == 1
    err = capsys.readouterr().err
    assert "--port" in err
    assert "ORIEL_VCPUS" in err


def test_an_unknown_error_is_one_sentence_and_a_number_in_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_home: object) -> object:
        raise RuntimeError("the private cause")

    monkeypatch.setattr("oriel.cli.desktops.connect", broken)
    assert run(["list"]) == 1
    what, do = capsys.readouterr().err.splitlines()
    assert "private cause" not in what + do
    log = tmp_path / "state/oriel/cli.log"
    number = do.split("entry ")[1].split()[0]
    assert number in log.read_text()
    assert "the private cause" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_ctrl_c_is_130_and_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_home: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("oriel.cli.desktops.connect", interrupted)
    assert run(["list"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_leaves_early_is_no_drama() -> None:
    argv = f"{sys.executable} -m oriel.cli.main --help | head -n 1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", argv], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in result.stderr
    assert result.stdout.startswith("Usage")


def test_the_version_needs_no_heavy_import() -> None:
    code = (
        "import sys; from oriel.cli.main import run; run(['version']); "
        ""
        "heavy = {'httpx', 'asyncio', 'rich', 'websockets'} & set(sys.modules); "
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_proxys_url_never_comes_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy", "add", "mine", "http://user:secret@proxy.example:1000"]) == 2
