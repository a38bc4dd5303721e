"""What `oriel create` makes of its options before anything is asked."""

from __future__ import annotations

import pytest

from oriel.cli.desktops import _choices, cell
from oriel.cli.execution import _environment
from oriel.cli.files import _split
from oriel.model.errors import InvalidError
from oriel.model.spec import Screen


def test_screen_and_labels() -> None:
    assert _choices("1920x1080", ["team=a", "note=x=y"]) == (
        Screen(width=1920, height=1080),
        {"team": "a", "note": "x=y"},
    )
    assert _choices(None, []) == (None, None)


def test_all_faults_are_told_together() -> None:
    with pytest.raises(InvalidError) as raised:
        _choices("1920*1080", ["team", "a=b"])
    assert [fault.field for fault in raised.value.faults] == ["--screen", "--label"]


def test_environment() -> None:
    assert _environment(["A=b=c", "D="]) == {"A": "b=c", "D": ""}
    with pytest.raises(InvalidError, match="KEY=VALUE"):
        _environment(["=x"])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("box:/etc/hosts", ("box", "/etc/hosts")),
        ("box:", ("box", ".")),
        ("./with:colon", (None, "./with:colon")),
        ("/tmp/a:b", (None, "/tmp/a:b")),
        ("plain", (None, "plain")),
    ],
)
def test_which_side_of_a_copy_is_in_a_desktop(text: str, parts: tuple[str | None, str]) -> None:
    assert _split(text) == parts


def test_values_as_people_read_them() -> None:
    assert cell({"width": 1280, "height": 720}) == "width 1280, height 720"
    assert cell(0.41239) == "0.412"
