"""The closing lines of ./test: whoever has nothing else still learns what failed, and what did not run."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import layers
from scripts.layers import Counts, read_report, run_layer, summarise

REPORT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_good"/>
<testcase classname="tests.unit.test_a" name="test_bad">
<failure message="assert 1 == 2&#10; +  where"/></testcase>
<testcase classname="tests.unit.test_a" name="test_worse"><error message="failed on teardown"/></testcase>
<testcase classname="tests.unit.test_b" name="test_one"><skipped message="no binary"/></testcase>
<testcase classname="tests.unit.test_b" name="test_two"><skipped message="no binary"/></testcase>
</testsuite></testsuites>"""


def test_the_end_says_what_failed_and_why_tests_were_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "unit.xml"
    report.write_text(REPORT)
    assert summarise({"unit": read_report(report, 1)}) == 1
    assert capsys.readouterr().out.splitlines() == [
        "",
        "FAILED tests.unit.test_a.test_bad: assert 1 == 2 + where",
        "FAILED tests.unit.test_a.test_worse: failed on teardown",
        "skipped 2 of unit: no binary",
        "unit             1 passed    2 failed    2 skipped  FAILED",
        "1 passed, 2 failed, 2 skipped",
    ]


@pytest.mark.parametrize(
    ("cases", "exit_code", "broken"),
    [
        ("", 0, "no test in this layer"),
        ('<testcase name="a"><skipped message="no"/></testcase>', 0, "every test of this layer was skipped"),
        ('<testcase name="a"/>', 2, "pytest ended with code 2"),
    ],
)
def test_a_layer_that_showed_nothing_fails(tmp_path: Path, cases: str, exit_code: int, broken: str) -> None:
    report = tmp_path / "unit.xml"
    report.write_text(f"<testsuite>{cases}</testsuite>")
    counts = read_report(report, exit_code)
    assert counts.broken == broken
    assert summarise({"unit": counts}) == 1


def test_a_layer_without_a_report_fails(tmp_path: Path) -> None:
    assert not read_report(tmp_path / "none.xml", -9).good
    assert summarise({"check": Counts(passed=2)}) == 0


SOMETIMES = """
import pathlib
def test_good(): pass
def test_at_the_second_time():
    tried = pathlib.Path("tried")
    tried.exists() or (tried.touch(), 1 / 0)
def test_each(): assert not BAD
"""


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (False, ["FLAKY tests.unit.test_a.test_at_the_second_time: ZeroDivisionError: division by zero",
                 "unit             3 passed    0 failed    0 skipped  ok"]),
        (True, ["FAILED tests.unit.test_a.test_at_the_second_time: ZeroDivisionError: division by zero",
                "FAILED tests.unit.test_a.test_each: assert not True",
                "unit             1 passed    2 failed    0 skipped  FAILED"]),
    ],
)  # fmt: skip
def test_what_fails_is_run_once_more_and_told_either_way(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bad: bool,
    said: list[str],
) -> None:
    monkeypatch.setattr(layers, "ROOT", tmp_path)
    monkeypatch.setattr(layers, "RESULTS", tmp_path)
    (tmp_path / "tests/unit").mkdir(parents=True)
    (tmp_path / "tests/unit/test_a.py").write_text(SOMETIMES.replace("BAD", str(bad)))
    counts = run_layer("unit", ["-q"], once_more=True)
    capsys.readouterr()
    assert summarise({"unit": counts}) == (1 if bad else 0)
    assert capsys.readouterr().out.splitlines()[1:-1] == said
    (tmp_path / "tried").unlink()
    assert run_layer("unit", ["-q"], once_more=False).failed == 1 + bad, "nobody asked for it"
