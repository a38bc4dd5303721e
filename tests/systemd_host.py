"""A throw-away host whose PID 1 is systemd: this machine's own files, writable in memory, booted by nspawn.

It has the packages that scripts/setup installs, the network of whoever starts it, and a disk of its own for
`/opt/oriel` and `/var/lib/oriel`. Desktops run in it for real.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.inventory import TEST_HOME

ROOT = Path(__file__).resolve().parents[1]
BOOT_S, END_S = 120, 240
LOOPS = 64


@dataclass
class SystemdHost:
    nspawn: subprocess.Popen[bytes]
    leader: int
    home: Path  # /var/lib/oriel, from outside
    console: Path

    def run(
        self, *argv: str, check: bool = True, timeout: float = 300, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command of its root. With `check` a failure fails the test with what it said."""
        spaces = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")
        result = subprocess.run(
            ["nsenter", f"--target={self.leader}", *spaces, "--", *argv],
            input=stdin, capture_output=True, text=True, timeout=timeout,
            env={"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        if check and result.returncode != 0:
            journal = "" if argv[0] == "journalctl" else self.journal()
            pytest.fail(f"{argv}: {result.returncode}\n{result.stdout}{result.stderr}\n{journal}")
        return result

    def journal(self) -> str:
        """The end of what Oriel's units have said."""
        return self.run("journalctl", "--no-pager", "--lines=40", "--output=cat", "--unit=oriel*").stdout

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def write(self, path: str, text: str) -> None:
        self.run("mkdir", "-p", str(Path(path).parent))
        self.run("tee", path, stdin=text)

    def power_off(self) -> None:
        """As an operator does; returns once all of it has ended."""
        self.run("systemctl", "poweroff", check=False)
        assert self.nspawn.wait(END_S) == 0, self.console.read_text()


@contextmanager
def booted(images: Path) -> Iterator[SystemdHost]:
    with ExitStack() as stack:
        scratch = TEST_HOME / f"systemd-{secrets.token_hex(4)}"
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        root = _writable_root(scratch, stack)
        for name in ("opt", "home/images"):
            (scratch / name).mkdir(parents=True)
        notify = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notify.bind(str(scratch / "notify"))
        notify.settimeout(BOOT_S)
        binds = {ROOT: ROOT, scratch / "opt": "/opt/oriel", scratch / "home": "/var/lib/oriel",
                 images: "/var/lib/oriel/images", Path("/dev/loop-control"): "/dev/loop-control"}  # fmt: skip
        console = scratch / "console"
        argv = [
            "systemd-nspawn", "--quiet", "--keep-unit", "--register=no", "--settings=no", "--capability=all",
            "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=read-only",
            "--notify-ready=yes", f"--machine={scratch.name}", f"--directory={root}",
            *(f"--bind={source}:{target}" for source, target in binds.items()),
            "--boot", "systemd.unit=multi-user.target",
        ]  # fmt: skip
        with console.open("wb") as output:
            nspawn = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(scratch / "notify"),
                     "SYSTEMD_NSPAWN_LOCK": "0"},
            )  # fmt: skip
        stack.callback(_end, nspawn)
        while b"READY=1" not in notify.recv(4096).splitlines():
            assert nspawn.poll() is None, console.read_text()
        notify.close()  # what nobody reads would hold nspawn up once the socket is full, at the shutdown
        leader = psutil.Process(nspawn.pid).children()[0].pid
        host = SystemdHost(nspawn, leader, scratch / "home", console)
        _give_what_containers_lack(host)
        yield host


def _writable_root(scratch: Path, stack: ExitStack) -> Path:
    """This machine's root under a layer in memory, without the services it has enabled."""
    layer, root = scratch / "layer", scratch / "root"
    for directory in (layer, root):
        directory.mkdir(parents=True)
    _mount(stack, ["-t", "tmpfs", "tmpfs"], layer)
    for name in ("upper", "work"):
        (layer / name).mkdir()
    options = f"lowerdir=/,upperdir={layer / 'upper'},workdir={layer / 'work'}"
    _mount(stack, ["-t", "overlay", "-o", options, "overlay"], root)
    for wants in ("multi-user.target.wants", "sockets.target.wants", "timers.target.wants"):
        for link in (root / "etc/systemd/system").glob(f"{wants}/*"):
            link.unlink()
    (root / "etc/fstab").write_text("")
    return root


def _mount(stack: ExitStack, words: Sequence[str], target: Path) -> None:
    subprocess.run(["mount", *words, target], check=True)
    stack.callback(subprocess.run, ["umount", target], check=True)


def _give_what_containers_lack(host: SystemdHost) -> None:
    """Nodes of loop devices; settings of the kernel and control groups that may be written.

    Only once it has booted: systemd would write this machine's settings itself.
    """
    script = (
        f"for n in $(seq 0 {LOOPS - 1}); do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done\n"
        "mount -o remount,bind,rw /proc/sys\n"
        "awk '$3 == \"cgroup\" { print $2 }' /proc/mounts | xargs -r -n 1 mount -o remount,bind,rw\n"
    )
    host.run("sh", "-ec", script)


def _end(nspawn: subprocess.Popen[bytes]) -> None:
    if nspawn.poll() is None:
        nspawn.terminate()
        try:
            nspawn.wait(END_S)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()
