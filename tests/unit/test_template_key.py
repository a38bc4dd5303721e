"""Templates are told apart by all that matters, and their names are safe in paths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oriel.host.template import TemplateKey, check_template_key
from oriel.model.errors import InvalidError
from oriel.model.spec import DesktopSpec, Runtime, Screen

SPEC = DesktopSpec(
    id="d-aaaaaaaaaa", name="one", session_id="s", runtime=Runtime.QEMU, image="default@0123456789ab"
)
KEY = TemplateKey.of(SPEC, "qemu 7.2 tcg")


def test_it_comes_back_from_json() -> None:
    assert TemplateKey.from_json(KEY.to_json()) == KEY


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, image="default@ba9876543210"), replace(KEY, engine="qemu 8.2 tcg"),
        replace(KEY, vcpus=KEY.vcpus + 1), replace(KEY, memory_mib=KEY.memory_mib + 1),
        replace(KEY, disk_gib=KEY.disk_gib + 1), replace(KEY, screen=Screen(width=800, height=600)),
    ],
)  # fmt: skip
def test_any_difference_makes_another(other: TemplateKey) -> None:
    assert other.name != KEY.name


def test_who_it_is_for_makes_none() -> None:
    assert TemplateKey.of(replace(SPEC, id="d-bbbbbbbbbb", name="two", session_id="t"), KEY.engine) == KEY


def test_its_name_is_safe_in_a_path() -> None:
    assert check_template_key(KEY.name) == KEY.name
    for bad in ("", "..", "qemu-../../../x", "qemu-0123456789AB", KEY.name + "\n"):
        with pytest.raises(InvalidError):
            check_template_key(bad)
