"""Finding the controller."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oriel.client.access import Access, find_access
from oriel.host.layout import Home
from oriel.model.errors import AuthError, InvalidError, UnavailableError
from oriel.model.secret import Secret


@pytest.fixture
def home(tmp_path: Path) -> Path:
    paths = Home(tmp_path)
    paths.controller.mkdir()
    paths.controller_record.write_text(json.dumps({"pid": 1, "started": 2, "url": "http://127.0.0.1:8080"}))
    paths.admin_token.write_text("token-of-home\n")
    return tmp_path


def test_the_environment_decides_when_no_home_is_given(home: Path) -> None:
    environ = {"ORIEL_URL": "https://oriel.example/", "ORIEL_TOKEN": "t", "ORIEL_HOME": str(home)}
    access = find_access(None, environ)
    assert (access.url, access.token.reveal()) == ("https://oriel.example", "t")
    assert access.websocket_url == "wss://oriel.example"


def test_a_home_given_by_hand_decides_over_the_environment(home: Path) -> None:
    access = find_access(home, {"ORIEL_URL": "https://oriel.example", "ORIEL_TOKEN": "t"})
    assert (access.url, access.token.reveal()) == ("http://127.0.0.1:8080", "token-of-home")


def test_home_from_the_environment_and_a_token_of_ones_own(home: Path) -> None:
    assert find_access(None, {"ORIEL_HOME": str(home)}).token == Secret("token-of-home")
    assert find_access(None, {"ORIEL_HOME": str(home), "ORIEL_TOKEN": "mine"}).token == Secret("mine")


def test_a_url_without_a_token_is_not_sent_another_controllers_token(home: Path) -> None:
    with pytest.raises(AuthError, match="ORIEL_TOKEN is not"):
        find_access(None, {"ORIEL_URL": "https://elsewhere.example", "ORIEL_HOME": str(home)})


def test_what_is_missing_is_named(tmp_path: Path, home: Path) -> None:
    with pytest.raises(UnavailableError, match="no controller serves") as raised:
        find_access(tmp_path / "none", {})
    assert "./run" in raised.value.hint
    Home(home).admin_token.unlink()
    with pytest.raises(AuthError, match=r"no admin token at .*admin\.token"):
        find_access(home, {})
    Home(home).controller_record.write_text("{")
    with pytest.raises(UnavailableError, match="damaged"):
        find_access(home, {})


def test_a_token_one_may_not_read_is_said_to_be_that(home: Path) -> None:
    Home(home).admin_token.chmod(0)
    root = os.geteuid() == 0
    if root:  # who may read everything: be somebody else for a moment
        os.seteuid(65534)
    try:
        with pytest.raises(AuthError, match="may not be read"):
            find_access(home, {})
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("url", ["oriel.example", "ftp://x", "http://", "http://x/path"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(InvalidError, match="ORIEL_URL: must be http"):
        Access(url, Secret("t"))


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:80", True),
        ("http://[::1]:80", True),
        ("http://localhost", True),
        ("http://a.example", False),
    ],
)
def test_no_proxy_of_the_callers_applies_to_this_machine(url: str, loopback: bool) -> None:
    assert Access(url, Secret("t")).loopback is loopback


def test_the_token_is_not_printed() -> None:
    assert "swordfish" not in repr(Access("http://a.example", Secret("swordfish")))
