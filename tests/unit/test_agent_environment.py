"""/etc/environment read and edited, and the environment made of it."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from agent.environment import account, login_environment, parse_environment, set_variable
from oriel.model.errors import NotFoundError

FILE = """# proxies
HTTP_PROXY="http://192.168.0.1:3128"
export no_proxy='localhost,127.0.0.1'
  SPACED = no
EMPTY=
SESSION_ID=old
URL=http://a/?b=c#d
not a variable
1BAD=x
QUOTE="half
"""


def test_it_reads_as_a_login_does() -> None:
    assert parse_environment(FILE) == {
        "HTTP_PROXY": "http://192.168.0.1:3128",
        "no_proxy": "localhost,127.0.0.1",
        "EMPTY": "",
        "SESSION_ID": "old",
        "URL": "http://a/?b=c#d",
        "QUOTE": '"half',
    }


def test_setting_a_variable_touches_its_line_only() -> None:
    assert set_variable(FILE, "SESSION_ID", "new") == FILE.replace("SESSION_ID=old", "SESSION_ID=new")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "A=1\n"),
        ("B=2", "B=2\nA=1\n"),
        ("#A=0\nB=2\n", "#A=0\nB=2\nA=1\n"),
        ("A=0\nB=2\nexport A=3\n", "A=1\nB=2\n"),
        ("AA=0\n", "AA=0\nA=1\n"),
    ],
)
def test_setting_a_variable_once_and_for_all(before: str, after: str) -> None:
    assert set_variable(before, "A", "1") == after
    assert set_variable(after, "A", "1") == after


def make_account(home: Path, uid: int = 1000) -> pwd.struct_passwd:
    return pwd.struct_passwd(("user", "x", uid, uid, "", str(home), "/bin/bash"))


def test_a_login_environment_goes_from_least_to_most_particular(tmp_path: Path) -> None:
    (tmp_path / "etc/default").mkdir(parents=True)
    (tmp_path / "etc/default/locale").write_text("LANG=de_DE.UTF-8\nLC_TIME=C\n")
    (tmp_path / "etc/environment").write_text("LC_TIME=fr\nHOME=/elsewhere\nPATH=/opt\nSESSION_ID=s\n")
    values = login_environment(
        make_account(Path("/home/user")), display=":1", extra={"LANG": "C", "MORE": "1"}, root=tmp_path
    )
    assert values["LANG"] == "C"
    assert values["LC_TIME"] == "fr"
    assert values["PATH"] == "/opt"
    assert values["HOME"] == "/home/user"
    assert values["DISPLAY"] == ":1"
    assert (values["SESSION_ID"], values["MORE"]) == ("s", "1")


def test_files_that_are_missing_are_no_matter(tmp_path: Path) -> None:
    values = login_environment(make_account(tmp_path, 0), display=":1", extra={}, root=tmp_path)
    assert values["PATH"].startswith("/usr/local/sbin:")
    assert values["SHELL"] == "/bin/bash"


def test_an_unknown_user_is_told() -> None:
    with pytest.raises(NotFoundError, match="no user 'nobody-here'"):
        account("nobody-here")
