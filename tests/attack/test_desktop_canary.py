"""The proxy's password, looked for wherever a desktop or a curious person could look. Found in the encrypted
store and in the memory of keeper and gateway, nowhere else."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.attack.desktops import Desktop, Provider, until
from tests.attack.world import EXITS
from tests.fakes.origin import Origin

PIECE = 8 << 20


def forms(provider: Provider) -> list[bytes]:
    """How it may be written: as it is, percent-encoded, in base64 of user:password at any offset."""
    password, user = provider.proxy.password, provider.proxy.username
    basic = base64.b64encode(f"{user}:{password}".encode()).rstrip(b"=")
    return [password.encode(), quote(password, safe="").encode(), basic[:-2], password.encode("utf-16-le")]


def found_in(pieces: Iterator[bytes], words: list[bytes]) -> list[bytes]:
    """Which of the words occur, also across the pieces' edges."""
    longest = max(map(len, words))
    edge, found = b"", set()
    for piece in pieces:
        data = edge + piece
        found |= {word for word in words if word in data}
        edge = data[-longest:]
    return sorted(found)


def of_file(path: Path) -> Iterator[bytes]:
    """What is written of a file that may be sparse."""
    with path.open("rb") as file:
        size, at = file.seek(0, os.SEEK_END), 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return  # only a hole is left
            file.seek(at)
            piece = file.read(PIECE)
            at += len(piece)
            yield piece


def of_memory(pid: int) -> Iterator[bytes]:
    """What a process has in its memory and nowhere else: files it maps are looked at as files."""
    try:
        regions = Path(f"/proc/{pid}/smaps").read_text().splitlines()
        memory = Path(f"/proc/{pid}/mem").open("rb", buffering=0)  # noqa: SIM115 - the loop closes it
    except OSError:
        return
    low = high = 0
    with memory:
        for line in regions:
            if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line):
                low, high = int(match[1], 16), int(match[2], 16)
            elif re.match(r"[0-9a-f]+-", line):
                low = high = 0
            elif line.startswith("Rss:") and int(line.split()[1]) and high:
                for at in range(low, high, PIECE):
                    try:
                        memory.seek(at)
                        yield memory.read(min(PIECE, high - at))
                    except (OSError, ValueError, OverflowError):
                        break  # a region that cannot be read, as vvar


def guest_processes(desktop: Desktop) -> list[int]:
    """The processes of a container, or the one that holds a virtual machine's memory."""
    machine = psutil.Process(desktop.machine())
    return [machine.pid, *(child.pid for child in machine.children(recursive=True))]


@pytest.fixture(scope="session")
def used(desktop: Desktop, providers: tuple[Provider, Provider], origin: Origin) -> Desktop:
    """A desktop whose programs have used the proxy, in every way it has."""
    desktop.way_out("one", access_log=True)
    assert desktop.ask_proxy("GET http://origin.test/ip", "CONNECT origin.test:80") == [200, 200]
    desktop.sh("curl -sS http://origin.test/ip; curl -sS --noproxy '*' http://origin.test/ip; sync")
    assert desktop.chrome("http://origin.test/ip?canary", "document.body.innerText")
    until(lambda: desktop.server.json("logs", desktop.name, "--access")["items"], "it is in the access log")
    return desktop


def test_the_search_finds_it_where_it_is(used: Desktop, providers: tuple[Provider, Provider]) -> None:
    words = forms(providers[0])
    assert found_in(of_memory(used.gateway().pid), words)
    assert found_in(of_memory(used.keeper().pid), words)
    vault = used.server.home / "controller" / "secret.key"
    assert oct(vault.stat().st_mode & 0o777) == "0o600"


def test_the_guests_disk_and_memory(used: Desktop, providers: tuple[Provider, Provider]) -> None:
    words = forms(providers[0])
    mark = f"mark-{os.urandom(12).hex()}"
    used.sh(f"echo {mark} > ~/marked; sync; nohup sleep 3000 {mark}x > /dev/null 2>&1 & true")
    if used.runtime == "container":
        subprocess.run(["sync", "-f", used.root / "disk"], check=True)
    disk = used.root / "disk.img"
    assert found_in(of_file(disk), [mark.encode()]), "what is written in the desktop is seen on its disk"
    assert not found_in(of_file(disk), words)
    pids = guest_processes(used)
    looked = [found_in(of_memory(pid), [*words, mark.encode()]) for pid in pids]
    assert any(mark.encode() in found for found in looked), "what is in the guest's memory is seen"
    assert not [found for one in looked for found in one if found != mark.encode()]


def test_kept_moments_of_its_memory(used: Desktop, providers: tuple[Provider, Provider]) -> None:
    """A snapshot and a pause write all of a machine's memory down; a container's stays where it is."""
    words = forms(providers[0])
    mark = f"mark-{os.urandom(12).hex()}"
    used.sh(f"echo {mark} > /dev/shm/mark")  # in memory, and on no disk
    used.stop_probe()
    kept = [used.root / "paused"]
    if used.runtime != "container":
        used.server.oriel("snapshot", used.name, "kept")
        kept.append(used.root / "snapshots" / "kept")
    used.server.oriel("pause", used.name)
    try:
        for moment in kept:
            files = [path for path in moment.rglob("*") if path.is_file()]
            seen = {word for file in files for word in found_in(of_file(file), [*words, mark.encode()])}
            assert seen == (set() if used.runtime == "container" else {mark.encode()}), (moment, files)
    finally:
        used.server.oriel("resume", used.name)
    # It goes on behind its proxy, and says its password to nobody but that.
    assert used.sh("cat /dev/shm/mark; curl -sS http://origin.test/ip").split() == [mark, EXITS[0]]
    if used.runtime != "container":
        used.api("DELETE", "/snapshots/kept")


def test_process_lists_environments_logs_and_the_api(
    used: Desktop, providers: tuple[Provider, Provider]
) -> None:
    words = forms(providers[0])
    for process in psutil.process_iter():
        for name in ("cmdline", "environ"):
            try:
                content = Path(f"/proc/{process.pid}/{name}").read_bytes()
            except OSError:
                continue
            if process.pid != os.getpid():
                assert not found_in(iter([content]), words), (process.pid, name)
    looked = 0
    for path in used.server.home.rglob("*"):
        if (
            path.is_file()
            and not path.is_symlink()
            and "/disk/" not in str(path)
            and "/root/" not in str(path)
        ):
            assert not found_in(of_file(path), words), path
            looked += 1
    assert looked > 10
    told = [
        used.server.get(path)
        for path in ("proxies", "proxies/one", "audit", f"desktops/{used.id}", f"desktops/{used.id}/egress",
                     f"desktops/{used.id}/logs", f"desktops/{used.id}/egress/access", "events?follow=0",
                     f"desktops/{used.id}/events?follow=0", "host")
    ]  # fmt: skip
    assert all(told)
    assert not found_in(iter(text.encode() for text in told), words)
    script = (
        "cat /proc/*/environ /proc/*/cmdline /etc/environment /etc/profile.d/*; journalctl -o cat; "
        "cat /var/log/*.log /home/user/.*rc /home/user/.config/*/*/Preferences 2>/dev/null; true"
    )
    inside = used.do("run", argv=["sh", "-c", script])
    assert len(inside[1]) > 10_000
    assert not found_in(iter([inside[1].encode(), inside[2].encode()]), words)


def test_no_core_is_dumped(used: Desktop, providers: tuple[Provider, Provider]) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    gateway = used.gateway()
    assert re.search(r"Max core file size\s+0\s+0", Path(f"/proc/{gateway.pid}/limits").read_text()), pattern
    for process in (gateway, used.keeper()):
        # Not dumpable: its memory and environment belong to root, whoever it runs as.
        assert Path(f"/proc/{process.pid}/environ").stat().st_uid == 0
    places = [Path("/"), used.root, used.server.home, Path("/var/lib/systemd/coredump"), Path("/tmp")]
    before = {path for place in places if place.is_dir() for path in place.glob("*core*")}
    gateway.send_signal(6)  # SIGABRT, which dumps what may be dumped
    until(lambda: used.gateway().pid != gateway.pid, "another gateway")
    after = {path for place in places if place.is_dir() for path in place.glob("*core*")}
    assert after <= before
    until(lambda: used.ask_proxy("GET http://origin.test/ip") == [200], "it serves again")
