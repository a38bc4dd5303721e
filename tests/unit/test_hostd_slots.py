"""Slots: one number, one desktop, whatever the home, whoever died meanwhile."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from oriel.host import slots

A, B, C = "d-aaaaaaaaaa", "d-bbbbbbbbbb", "d-cccccccccc"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "slots"


def home_with(tmp_path: Path, name: str, *desktops: str) -> Path:
    home = tmp_path / name
    for desktop in desktops:
        (home / "desktops" / desktop).mkdir(parents=True)
    return home


def test_the_lowest_free_number_and_always_the_same_one(tmp_path: Path, directory: Path) -> None:
    home = home_with(tmp_path, "home", A, B)
    assert slots.claim(home, A, directory=directory) == 1
    assert slots.claim(home, B, directory=directory) == 2
    assert slots.claim(home, A, directory=directory) == 1
    slots.release(home, A, directory=directory)
    assert slots.slot_of(home, A, directory=directory) is None
    assert slots.claim(home, A, directory=directory) == 1


def test_two_homes_never_share_one(tmp_path: Path, directory: Path) -> None:
    one, other = home_with(tmp_path, "one", A), home_with(tmp_path, "other", A)
    assert {slots.claim(home, A, directory=directory) for home in (one, other)} == {1, 2}
    slots.release(other, A, directory=directory)
    assert slots.slot_of(one, A, directory=directory) == 1


def test_the_slot_of_a_desktop_that_is_gone_is_taken_over(tmp_path: Path, directory: Path) -> None:
    home = home_with(tmp_path, "home", A, B)
    assert slots.claim(home, A, directory=directory) == 1
    (home / "desktops" / A).rmdir()
    assert slots.claim(home, B, directory=directory) == 1


def test_after_a_restart_of_the_host_a_desktop_gets_its_old_number_if_it_can(
    tmp_path: Path, directory: Path
) -> None:
    home = home_with(tmp_path, "home", A, B)
    assert slots.claim(home, A, preferred=9, directory=directory) == 9
    assert slots.claim(home, B, preferred=9, directory=directory) == 1


@pytest.mark.parametrize("text", ["", "{", '{"home": 3}', '{"home": "/x", "desktop": "../../etc"}'])
def test_a_damaged_file_holds_nothing(tmp_path: Path, directory: Path, text: str) -> None:
    home = home_with(tmp_path, "home", A)
    directory.mkdir()
    (directory / "1").write_text(text)
    assert slots.claim(home, A, directory=directory) == 1


def _claim(home: Path, desktop: str, directory: Path, results: multiprocessing.Queue[int]) -> None:
    results.put(slots.claim(home, desktop, directory=directory))


def test_processes_that_claim_at_once_get_different_ones(tmp_path: Path, directory: Path) -> None:
    names = [f"d-{letter * 10}" for letter in "abcdefgh"]
    home = home_with(tmp_path, "home", *names)
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=_claim, args=(home, name, directory, results)) for name in names]
    for process in processes:
        process.start()
    assert sorted(results.get(timeout=20) for _ in names) == list(range(1, 9))
    for process in processes:
        process.join(20)
