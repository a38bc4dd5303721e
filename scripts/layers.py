"""Runs the tests layer by layer and closes with one line of counts. What ./test calls.

A layer that ran nothing fails, and so does one whose every test was skipped. With --once-more, as in CI,
the few tests of a layer that failed are run once more by themselves: one that passes then is told as FLAKY,
a bug to be mended, but does not hold up what is otherwise good.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "test-results"
LAYERS = ("unit", "contract", "integration", "attack", "browser")
FAST = ("unit",)
LINE_CHARACTERS = 400
MOST_ONCE_MORE = 5  # of a layer: more than these are no accident


@dataclass
class Counts:
    """What one layer's report says. `broken`: why the layer fails though no test of it failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broken: str = ""
    failures: list[str] = field(default_factory=list)  # a line each: the test, and how it failed
    flaky: list[str] = field(default_factory=list)  # the same, of those that passed when run once more
    reasons: Counter[str] = field(default_factory=Counter)  # why tests were skipped, and how many

    @property
    def good(self) -> bool:
        return not self.failed and not self.broken


def read_report(path: Path, exit_code: int) -> Counts:
    """Counts from pytest's JUnit file. `exit_code` is pytest's own: 0 fine, 1 tests failed, else broken."""
    if not path.exists():
        return Counts(failed=1, broken=f"pytest ended with code {exit_code} and left no report")
    counts = Counts()
    for case in ET.parse(path).iter("testcase"):  # noqa: S314 - our own file
        if failures := [*case.iter("failure"), *case.iter("error")]:
            counts.failed += 1
            counts.failures.append(f"{case.get('classname')}.{case.get('name')}: {_line(failures[0])}")
        elif (skipped := case.find("skipped")) is not None:
            counts.skipped += 1
            counts.reasons[_line(skipped)] += 1
        else:
            counts.passed += 1
    if exit_code not in (0, 1):
        counts.broken = f"pytest ended with code {exit_code}"
    elif not counts.passed and not counts.failed:
        counts.broken = "every test of this layer was skipped" if counts.skipped else "no test in this layer"
    return counts


def _line(outcome: ET.Element) -> str:
    """What was said, on one line that a log's tail can hold."""
    return " ".join((outcome.get("message") or "").split())[:LINE_CHARACTERS]


def run_layer(layer: str, extra: list[str], *, once_more: bool) -> Counts:
    cache = RESULTS / f"{layer}.cache"  # in which pytest notes what failed
    shutil.rmtree(cache, ignore_errors=True)
    options = ["--durations=10", "-o", f"cache_dir={cache}", *extra]
    counts = _pytest(layer, options, RESULTS / f"{layer}.xml")
    if once_more and not counts.broken and 0 < counts.failed <= MOST_ONCE_MORE:
        print(f"=== {layer}: what failed, once more", flush=True)
        again = _pytest(layer, [*options, "--last-failed", "--last-failed-no-failures=none"],
                        RESULTS / f"{layer}.again.xml")  # fmt: skip
        if again.good:
            counts.flaky, counts.failures = counts.failures, []
            counts.passed, counts.failed = counts.passed + again.passed, 0
    return counts


def _pytest(layer: str, options: list[str], report: Path) -> Counts:
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", f"tests/{layer}", f"--junitxml={report}", *options]
    return read_report(report, subprocess.run(command, cwd=ROOT, check=False).returncode)


def run_checks() -> Counts:
    """Format, lint, types, architecture, and the page's own checks: each counts as one test."""
    counts = Counts()
    for name, command in (
        ("scripts/check", ["scripts/check"]),
        ("page", ["npm", "--prefix", "web", "run", "check"]),
    ):
        if subprocess.run(command, cwd=ROOT, check=False).returncode == 0:
            counts.passed += 1
        else:
            counts.failed += 1
            print(f"{name} failed", file=sys.stderr)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(prog="./test", description=__doc__)
    parser.add_argument("layers", nargs="*", help=f"fast, check, or any of {', '.join(LAYERS)}; default: all")
    parser.add_argument(
        "--pytest", action="append", default=[], help="an argument for pytest, may be repeated"
    )
    parser.add_argument("--once-more", action="store_true", help="run the few tests that failed once more")
    options = parser.parse_args()
    if unknown := set(options.layers) - {"fast", "check", *LAYERS}:
        parser.error(f"no such layer: {', '.join(sorted(unknown))}")
    chosen = list(options.layers) or ["check", *LAYERS]
    if "fast" in chosen:
        chosen = ["check", *FAST]
    RESULTS.mkdir(exist_ok=True)
    results: dict[str, Counts] = {}
    for layer in chosen:
        began = time.monotonic()
        print(f"=== {layer}", flush=True)
        results[layer] = (
            run_checks()
            if layer == "check"
            else run_layer(layer, options.pytest, once_more=options.once_more)
        )
        print(f"=== {layer}: {time.monotonic() - began:.0f} s", flush=True)
    return summarise(results)


def summarise(results: dict[str, Counts]) -> int:
    """Print what failed, why tests were skipped, a line per layer and the closing line; the exit status.

    In this order, so that whoever has only the end of a log still learns the causes.
    """
    print()
    for counts in results.values():
        for failure in counts.flaky:
            print(f"FLAKY {failure}")
        for failure in counts.failures:
            print(f"FAILED {failure}")
    for layer, counts in results.items():
        for reason, tests in counts.reasons.items():
            print(f"skipped {tests} of {layer}: {reason}")
    for layer, counts in results.items():
        verdict = "ok" if counts.good else "FAILED"
        note = f"  ({counts.broken})" if counts.broken else ""
        told = f"{counts.passed:5} passed {counts.failed:4} failed {counts.skipped:4} skipped"
        print(f"{layer:12} {told}  {verdict}{note}")
    # A layer that is broken without a failed test still counts as a failure in the closing line.
    failed = sum(counts.failed or bool(counts.broken) for counts in results.values())
    passed = sum(counts.passed for counts in results.values())
    skipped = sum(counts.skipped for counts in results.values())
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
