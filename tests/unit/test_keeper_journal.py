"""The journal: nothing acknowledged is lost, nothing torn is believed, nobody who follows misses a line."""

from __future__ import annotations

import asyncio
import json
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.keeper import journal as journal_module
from oriel.keeper.journal import Journal, read_events, read_ledger
from oriel.model.errors import NoSpaceError
from oriel.model.state import State

ID = "d-aaaaaaaaaa"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def kinds(path: Path) -> list[str]:
    return [event.kind for event in read_events(path)]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes (SIGXFSZ is ignored by Python)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_was_recorded_is_there_after_reopening(path: Path) -> None:
    first = Journal(path, ID)
    first.record("keeper.started", slot=7, boot_id="b")
    first.record("state.starting")
    first.record("machine.started", record={"pid": 5}, runtime="container", isolation="container")
    first.record("state.running", total=1.5)
    first.close()
    second = Journal(path, ID)
    assert (second.seq, second.ledger.state, second.ledger.slot) == (4, State.RUNNING, 7)
    assert second.ledger.machine == {"record": {"pid": 5}, "runtime": "container", "isolation": "container"}
    assert second.record("state.stopping").seq == 5
    second.close()


@pytest.mark.parametrize(
    "torn", ['{"seq": 2, "at"', "\x00\x00\x00", '{"seq":2,"at":"x","desktop":"d","kind":"state.running"']
)
def test_a_torn_last_line_is_cut_off_and_the_next_one_is_whole(path: Path, torn: str) -> None:
    first = Journal(path, ID)
    first.record("state.starting")
    first.close()
    with path.open("a") as file:
        file.write(torn)
    second = Journal(path, ID)
    assert (second.seq, second.ledger.state) == (1, State.STARTING)
    second.record("state.failed", error={"code": "x"})
    second.close()
    assert kinds(path) == ["state.starting", "state.failed"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_damaged_line_in_the_middle_is_passed_over(path: Path) -> None:
    path.write_text(
        '{"seq":1,"at":"t","desktop":"d","kind":"state.starting","message":"","data":{}}\n'
        "not json at all\n"
        '["a list"]\n'
        '{"seq":2,"at":"t","desktop":"d","kind":"state.running","message":"","data":{}}\n'
    )
    ledger = read_ledger(path)
    assert (ledger.seq, ledger.state) == (2, State.RUNNING)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.fixed_dictionaries({
                "seq": st.integers() | st.text(max_size=3), "at": st.just("t"), "desktop": st.just(ID),
                "kind": st.sampled_from([
                    "state.running", "state.nonsense", "step.link", "machine.started", "gateway.started",
                    "keeper.started", "journal.compacted", "desktop.gone", "",
                ]),
                "message": st.just(""),
                "data": st.dictionaries(st.sampled_from(["seconds", "error", "pid", "state", "slot"]),
                                        st.none() | st.integers() | st.text(max_size=5)) | st.none(),
            }).map(lambda value: json.dumps(value).encode()),
        ),
        max_size=8,
    )
)  # fmt: skip
def test_whatever_stands_in_the_file_it_opens_and_goes_on(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal.jsonl"
        path.write_bytes(b"\n".join(lines))
        journal = Journal(path, ID)
        seq = journal.record("agent.announced").seq
        journal.close()
        assert read_ledger(path).seq == seq
        assert kinds(path)[-1] == "agent.announced"


def test_no_file_is_an_empty_ledger(path: Path) -> None:
    assert read_ledger(path).state is State.CREATING
    assert list(read_events(path)) == []


def test_a_long_journal_is_shortened_and_says_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_BYTES", 2000)
    monkeypatch.setattr(journal_module, "KEPT_EVENTS", 5)
    first = Journal(path, ID)
    first.record("keeper.started", slot=3, boot_id="b")
    first.record("state.failed", error={"code": "boom", "message": "m", "hint": "h"})
    for _ in range(40):
        first.record("egress.denied", host="example.org")
    before = first.ledger
    first.close()
    second = Journal(path, ID)
    assert second.ledger == before
    assert kinds(path) == ["journal.compacted", *["egress.denied"] * 5]
    assert second.record("agent.announced").seq == 43
    second.close()
    assert read_ledger(path).slot == 3


def test_on_a_full_disk_an_event_either_happened_or_did_not(path: Path) -> None:
    journal = Journal(path, ID)
    journal.record("state.starting")
    size = path.stat().st_size
    with full_disk(size + 20):
        with pytest.raises(NoSpaceError, match="cannot be written"):
            journal.record("state.running")
        assert (journal.seq, journal.ledger.state) == (1, State.STARTING)
        assert path.stat().st_size == size
        journal.record("state.failed", must_write=False, error={"code": "x"})
        assert journal.ledger.state is State.FAILED
    journal.record("state.starting")
    journal.close()
    assert kinds(path) == ["state.starting", "state.starting"]


def test_followers_get_the_past_and_then_the_present_in_order(path: Path) -> None:
    async def scenario() -> list[int]:
        journal = Journal(path, ID)
        for _ in range(3):
            journal.record("egress.denied")
        seen: list[int] = []

        async def follow() -> None:
            async for line in journal.follow(1):
                seen.append(json.loads(line)["seq"])
                if seen[-1] == 5:
                    return

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(follow())
            while seen != [2, 3]:
                await asyncio.sleep(0)
            journal.record("egress.denied")
            journal.record("egress.denied")
        journal.close()
        return seen

    assert asyncio.run(scenario()) == [2, 3, 4, 5]
