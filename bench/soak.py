"""Nothing lost, nothing torn: a program writes and syncs while its desktop is paused and resumed, or killed.

    .venv/bin/python -m bench.soak [--runtime qemu] [--cycles 100] [--kills 0] [--seed N] [--json]

In the desktop a program appends numbered lines to a log, each synced, and puts the same numbers into an
SQLite database, each committed with synchronous=FULL. A cycle pauses and resumes: then the same process must
have gone on, without a gap and without a torn line. A kill ends the machine by SIGKILL at a random moment and
starts the desktop from its disk: then all that was seen as synced before must be there, in both, and whole.
In the end the desktop is stopped, and e2fsck checks its disk. There is no rival: the figure is what is lost.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.report import percentiles, publish
from bench.server import serving_home
from bench.template import need_template
from oriel.client import Oriel
from oriel.client.sync.desktop import Desktop
from oriel.host.cgroups import Cgroup
from oriel.host.layout import Home
from oriel.host.process import ProcessId

__all__ = ["Soak", "run"]

# The log's line comes first, then the database; what was committed is told in `done`, which needs no care.
WRITER = """
import os, sqlite3, time
os.makedirs("/home/user/soak", exist_ok=True)
os.chdir("/home/user/soak")
base = sqlite3.connect("numbers.db", isolation_level=None)
base.execute("pragma synchronous=full")
base.execute("create table if not exists numbers (n integer primary key, pad text)")
log = open("log", "ab+", buffering=0)
log.seek(0)
whole = log.read()
whole = whole[:whole.rfind(b"\\n") + 1]
log.truncate(len(whole))
n = base.execute("select coalesce(max(n), 0) from numbers").fetchone()[0]
logged = int(whole.split()[-2]) if whole else 0  # killed between the two, it is one ahead
while True:
    n += 1
    if n > logged:
        log.write(b"%d %s\\n" % (n, b"x" * (n % 97 + 1)))
        os.fsync(log.fileno())
    base.execute("insert into numbers values (?, ?)", (n, "x" * (n % 97 + 1)))
    with open("done.new", "w") as done:
        done.write(f"{n} {os.getpid()}")
    os.rename("done.new", "done")
    time.sleep(0.02)
"""

# Says what is there: the last number told as done, and by whom; the log, with what is torn; the database.
READER = """
import json, os, sqlite3
os.chdir("/home/user/soak")
try:
    done, pid = map(int, open("done").read().split())
except (OSError, ValueError):
    done, pid = 0, 0
data = open("log", "rb").read()
*lines, rest = data.split(b"\\n")
torn, numbers = [], []
for line in lines:
    words = line.split()
    good = len(words) == 2 and words[0].isdigit() and words[1] == b"x" * (int(words[0]) % 97 + 1)
    numbers.append(int(words[0])) if good else torn.append(line[:80].decode("latin-1"))
base = sqlite3.connect("numbers.db", timeout=60)
rows = base.execute("select n, pad from numbers order by n").fetchall()
print(json.dumps({
    "done": done, "pid": pid, "torn": torn, "log_last": numbers[-1] if numbers else 0,
    "log_gaps": sum(b != a + 1 for a, b in zip(numbers, numbers[1:])),
    "base_last": rows[-1][0] if rows else 0,
    "base_gaps": sum(b[0] != a[0] + 1 for a, b in zip(rows, rows[1:])),
    "base_torn": sum(pad != "x" * (n % 97 + 1) for n, pad in rows),
    "integrity": base.execute("pragma integrity_check").fetchone()[0],
}))
"""
UNIT = "soak"


@dataclass
class Soak:
    """One desktop that is written to. `faults`: everything that was not as it must be."""

    client: Oriel
    home: Home
    desktop: Desktop
    faults: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    written: int = 0

    def begin(self) -> None:
        """Start the writer, and wait until it has written."""
        self.desktop.files.upload(io.BytesIO(WRITER.encode()), "/home/user/writer.py")
        self.desktop.files.upload(io.BytesIO(READER.encode()), "/home/user/reader.py")
        self._launch(since=0)

    def cycle(self) -> None:
        """Pause and resume."""
        before = self.read()
        self._timed("pause", self.desktop.pause)
        self._timed("resume", self.desktop.resume)
        after = self.read(beyond=before["log_last"])
        if after["pid"] != before["pid"]:
            self.faults.append(f"the writer was {before['pid']} and is {after['pid']}")
        self._judge(before, after)

    def kill(self, chance: random.Random) -> None:
        """End the machine at a random moment, and start it from its disk."""
        time.sleep(chance.uniform(0, 1.5))
        before = self.read()
        # Between what was read and the end it writes on: that may be there or not, but whole.
        time.sleep(chance.uniform(0, 0.5))
        for pid in Cgroup(self.desktop.info.id).processes():
            if (process := ProcessId.of(pid)) is not None:
                process.signal(9)
        self._until_failed()
        self._timed("start", lambda: self.desktop.start(deadline_s=900))
        after = self.read()
        if after["log_last"] < before["done"] or after["base_last"] < before["done"]:
            self.faults.append(f"{before['done']} was synced; after the kill there was {after}")
        self._judge(before, after)
        self._launch(since=after["log_last"])

    def end(self) -> str:
        """Stop the desktop; what e2fsck says of a copy of its disk, once its journal was replayed."""
        self.desktop.stop()
        disk = self.home.desktop(self.desktop.info.id).disk_image
        with tempfile.TemporaryDirectory(dir=disk.parent) as directory:
            copy = Path(directory) / "disk.img"
            subprocess.run(["cp", "--sparse=always", "--reflink=auto", disk, copy], check=True)
            replayed, checked = (_e2fsck(option, copy) for option in ("-p", "-n"))
        # 1: the journal was replayed, and with it the superblock's counts set right (e2fsck(8)).
        if replayed.returncode > 1 or checked.returncode != 0:
            self.faults.append(f"e2fsck:\n{replayed.stdout}{checked.stdout}{checked.stderr}")
        return checked.stdout.strip().splitlines()[-1]

    def read(self, beyond: int = -1) -> dict[str, Any]:
        """What is there, once the log goes beyond a number."""
        deadline = time.monotonic() + 120
        while True:
            said = self.desktop.exec(["python3", "/home/user/reader.py"], timeout_s=120)
            if said.exit_code != 0:
                raise AssertionError(said.stderr)
            found: dict[str, Any] = json.loads(said.stdout)
            self.written = max(self.written, found["log_last"])
            if found["log_last"] > beyond:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"the writer does not go on after {beyond}: {found}")

    def _launch(self, since: int) -> None:
        self.desktop.exec(["mkdir", "-p", "/home/user/soak"])
        unit = ["systemd-run", f"--unit={UNIT}", "--uid=user", "--collect"]
        said = self.desktop.exec(["sudo", *unit, "python3", "/home/user/writer.py"], timeout_s=120)
        if said.exit_code != 0:
            raise AssertionError(said.stderr)
        self.desktop.exec(
            ["sh", "-c", "until [ -s /home/user/soak/done ]; do sleep 0.1; done"], timeout_s=120
        )
        self.read(beyond=since)

    def _judge(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        wrong = [name for name in ("torn", "log_gaps", "base_gaps", "base_torn") if after[name]]
        if after["integrity"] != "ok":
            wrong.append("integrity")
        if wrong:
            self.faults.append(f"{', '.join(wrong)}: before {before}, after {after}")

    def _until_failed(self) -> None:
        deadline = time.monotonic() + 120
        while self.desktop.refresh().state != "failed":
            if time.monotonic() > deadline:
                raise AssertionError(f"a desktop whose machine was killed is {self.desktop.info.state}")
            time.sleep(0.05)

    def _timed(self, verb: str, work: Any) -> None:
        began = time.monotonic()
        work()
        self.seconds.setdefault(verb, []).append(time.monotonic() - began)


def _e2fsck(option: str, disk: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["e2fsck", "-f", option, disk], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def run(client: Oriel, home: Home, runtime: str, *, cycles: int, kills: int, seed: int) -> dict[str, Any]:
    """What was written, lost and measured; the desktop is deleted."""
    chance = random.Random(seed)
    desktop = client.desktops.create(
        f"soak-{secrets.token_hex(3)}", runtime=runtime, proxy="none", deadline_s=900
    )
    soak = Soak(client, home, desktop)
    try:
        soak.begin()
        for number in range(cycles):
            soak.cycle()
            print(f"cycle {number + 1}: {soak.written} written, {len(soak.faults)} faults", file=sys.stderr)
        for number in range(kills):
            soak.kill(chance)
            print(f"kill {number + 1}: {soak.written} written, {len(soak.faults)} faults", file=sys.stderr)
        disk = soak.end()
    finally:
        desktop.delete()
    return {
        "runtime": runtime, "cycles": cycles, "kills": kills, "seed": seed, "written": soak.written,
        "faults": soak.faults, "disk": disk,
        "seconds": {verb: percentiles(took) for verb, took in soak.seconds.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument("--runtime", choices=["container", "qemu", "firecracker"], default="qemu")
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; told at the end")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else secrets.randbits(32)
    with serving_home() as (client, directory):
        if options.runtime != "container":
            need_template(client, options.runtime)
        figures = run(
            client, Home(Path(directory)), options.runtime,
            cycles=options.cycles, kills=options.kills, seed=seed,
        )  # fmt: skip
    runtime = figures["runtime"]
    rows = [
        {"runtime": runtime, "verb": verb, "times": took["n"], "p50 s": took["p50"], "p95 s": took["p95"]}
        for verb, took in figures["seconds"].items()
    ]  # fmt: skip
    publish(
        f"{figures['written']} numbers written and synced, {len(figures['faults'])} faults", rows, figures
    )
    sys.exit(1 if figures["faults"] else 0)


if __name__ == "__main__":
    main()
