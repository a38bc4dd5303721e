"""Firecracker and its jailer without KVM: `python firecracker.py jailer|firecracker …` (see bin/).

The jailer's options, the jail's files, the uid, the socket, the API's order and its refusals are as the real
ones'; what runs inside is nothing. The same suite tests the real pair where there is one
(ORIEL_FIRECRACKER_BIN).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import mmap
import os
import stat
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.fakes.firecracker_schema import CONFIGURED, FRESH, PAUSED, RUNNING, Refusal, checked

VERSION = "1.16.1"
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x2, 0x1000, 0x4000  # <linux/if_tun.h>
MEMORY = b"fake memory"
GENERATION = 0x5000  # where the generation's number is in it
DEVICES_MAGIC = "fake firecracker"


def jailer(argv: list[str]) -> None:
    """Builds the jail and becomes the fake Firecracker, as the real one does but for the chroot itself."""
    own, _, options = "\0".join(argv).partition("\0--\0")
    parser = argparse.ArgumentParser(prog="jailer", allow_abbrev=False)
    for name in (
        "id",
        "exec-file",
        "uid",
        "gid",
        "chroot-base-dir",
        "netns",
        "cgroup-version",
        "parent-cgroup",
    ):
        parser.add_argument(f"--{name}", required=name in ("id", "exec-file", "uid", "gid"))
    parser.add_argument("--resource-limit", action="append", default=[])
    given = parser.parse_args(own.split("\0"))
    root = Path(given.chroot_base_dir or "/srv/jailer") / Path(given.exec_file).name / given.id / "root"
    root.mkdir(parents=True, exist_ok=True)
    group = Path("/sys/fs/cgroup/unified")
    group = (group if group.is_dir() else group.parent) / given.parent_cgroup
    if group.is_dir():
        (group / "cgroup.procs").write_text(str(os.getpid()))
    os.chdir(root)
    Path("dev/net").mkdir(parents=True)
    os.mknod("dev/net/tun", 0o600 | stat.S_IFCHR, os.makedev(10, 200))
    for path in (".", "dev", "dev/net", "dev/net/tun"):
        os.chown(path, int(given.uid), int(given.gid))
    inside = ["nsenter", f"--net={given.netns}", "--"] if given.netns else ["env"]
    own = [sys.executable, __file__, "firecracker", f"--uid={given.uid}", f"--id={given.id}"]
    os.execvp(inside[0], [*inside, *own, *options.split("\0")])  # noqa: S606


class Machine:
    """The state behind the API. Its root is the working directory."""

    def __init__(self, metrics: int | None) -> None:
        self.state = FRESH
        self.config: dict[str, Any] = {}
        self.ends = False
        self._metrics = metrics
        self._tap: int | None = None
        self._memory: mmap.mmap | None = None  # once restored

    def answer(self, method: str, path: str, body: Any) -> Any:
        """What a good request is answered with; Refusal for another."""
        names = checked(method, path, body, self.state)
        if (method, path) == ("GET", "/"):
            shown = {FRESH: "Not started", CONFIGURED: "Not started", RUNNING: "Running", PAUSED: "Paused"}
            return {
                "id": "fake",
                "app_name": "Firecracker",
                "vmm_version": VERSION,
                "state": shown[self.state],
            }
        if (method, path) == ("GET", "/vm/config"):
            return self._told()
        if path == "/actions":
            self._act(body["action_type"])
        elif path == "/vm":
            self.state = PAUSED if body["state"] == "Paused" else RUNNING
        elif path == "/snapshot/create":
            self._save(body)
        elif path == "/snapshot/load":
            self._load(body)
        elif method == "PATCH":
            self.config[path] |= body
        else:
            self._configure(path, body, names)
        return None

    def _told(self) -> dict[str, Any]:
        """Its devices, as GET /vm/config tells them: a bucket without size is none."""
        drives = [_without_empty(self.config[path]) for path in self.config if path.startswith("/drives/")]
        links = [_without_empty(self.config[path]) for path in self.config if path.startswith("/network-")]
        return {"drives": drives, "network-interfaces": links}

    def _act(self, action: str) -> None:
        if action == "FlushMetrics":
            self.tell_metrics()
        elif action == "InstanceStart":
            self._start()
        elif self.state not in (RUNNING, PAUSED):
            raise Refusal("The requested operation is not supported before starting the microVM.")
        else:
            self.ends = self.state == RUNNING

    def _configure(self, path: str, body: dict[str, Any], names: dict[str, str]) -> None:
        if path == "/boot-source":
            if _inside(body["kernel_image_path"]).read_bytes()[:4] != b"\x7fELF":
                raise Refusal("The kernel file cannot be opened: Invalid Elf magic number")
            if "initrd_path" in body:
                _inside(body["initrd_path"]).read_bytes()
        if "drive_id" in names:
            os.close(
                os.open(_inside(body["path_on_host"]), os.O_RDONLY if body["is_read_only"] else os.O_RDWR)
            )
        if "iface_id" in names:
            self._tap = _tap(body["host_dev_name"])
        self.config[path] = body
        self.state = CONFIGURED

    def _start(self) -> None:
        if self.state not in (FRESH, CONFIGURED):
            raise Refusal("The requested operation is not supported after starting the microVM.")
        if "/boot-source" not in self.config:
            raise Refusal("Cannot start microvm without kernel configuration.")
        self.state = RUNNING
        print("fake guest: up", flush=True)

    def _save(self, body: dict[str, Any]) -> None:
        with _inside(body["mem_file_path"]).open("wb") as file:
            file.write(MEMORY)
            file.truncate(self.config["/machine-config"]["mem_size_mib"] << 20)
        told = {"magic": DEVICES_MAGIC, "version": VERSION, "config": self.config}
        _inside(body["snapshot_path"]).write_text(json.dumps(told))

    def _load(self, body: dict[str, Any]) -> None:
        """A failure ends the process, as the real one's does."""
        with _inside(body["mem_backend"]["backend_path"]).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._memory = mmap.mmap(
                file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
            )
        try:
            told = json.loads(_inside(body["snapshot_path"]).read_text())
            assert told["magic"] == DEVICES_MAGIC
            assert told["version"] == VERSION
            assert self._memory[: len(MEMORY)] == MEMORY
            assert size == told["config"]["/machine-config"]["mem_size_mib"] << 20
            self._memory[GENERATION : GENERATION + 8] = os.urandom(
                8
            )  # as the real one: for the guest to find
        except (ValueError, KeyError, AssertionError) as error:
            self.ends = True
            raise Refusal(f"Load snapshot error: Failed to restore from snapshot: {error!r}") from error
        for path, saved in told["config"].items():
            if path.startswith("/drives/"):
                os.close(
                    os.open(
                        _inside(saved["path_on_host"]), os.O_RDONLY if saved["is_read_only"] else os.O_RDWR
                    )
                )
            if path.startswith("/network-interfaces/"):
                self._tap = _tap(saved["host_dev_name"])
        self.config = told["config"]
        self.state = RUNNING if body.get("resume_vm") else PAUSED

    def tell_metrics(self) -> None:
        if self._metrics is not None:
            told = {
                "utc_timestamp_ms": int(time.time() * 1000),
                "seccomp": {"num_faults": 0},
                "block": {"read_bytes": 512},  # since the line before
            }
            os.write(self._metrics, json.dumps(told).encode() + b"\n")


def firecracker(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="firecracker", allow_abbrev=False)
    parser.add_argument("--uid", type=int, required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--api-sock", required=True)
    parser.add_argument("--metrics-path")
    parser.add_argument("--enable-pci", action="store_true")
    parser.add_argument("--level", choices=("Error", "Warning", "Info"))
    given = parser.parse_args(argv)
    os.setgroups([])
    os.setgid(given.uid)
    os.setuid(given.uid)
    metrics = os.open(_inside(given.metrics_path), os.O_RDWR | os.O_NONBLOCK) if given.metrics_path else None
    machine = Machine(metrics)
    with UnixStreamServer(
        str(_inside(given.api_sock)), type("Bound", (Api,), {"machine": machine})
    ) as server:
        while not machine.ends:
            server.handle_request()
    machine.tell_metrics()
    sys.exit(1 if machine.state == FRESH else 0)


class Api(BaseHTTPRequestHandler):
    """One request over the unix socket."""

    machine: Machine

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, answer = (
                200,
                self.machine.answer(self.command, self.path, json.loads(body) if body else None),
            )
        except (Refusal, OSError, ValueError) as error:
            status, answer = 400, {"fault_message": str(error)}
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status if data else 204)
        if data:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if data:
            self.wfile.write(data)

    do_GET = do_PUT = do_PATCH = _take  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing: what is printed is the guest's console."""


def _without_empty(device: dict[str, Any]) -> dict[str, Any]:
    """A device's limiters with None for what does not limit."""
    told = dict(device)
    for name in [name for name in device if name.endswith("rate_limiter")]:
        buckets = {kind: bucket if bucket["size"] else None for kind, bucket in device[name].items()}
        told[name] = {"bandwidth": None, "ops": None} | buckets if any(buckets.values()) else None
    return told


def _inside(path: str) -> Path:
    return Path(path.lstrip("/"))


def _tap(name: str) -> int:
    """The tap, if this uid may have it."""
    fd = os.open(_inside("/dev/net/tun"), os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    return fd


if __name__ == "__main__":
    {"jailer": jailer, "firecracker": firecracker}[sys.argv[1]](sys.argv[2:])
