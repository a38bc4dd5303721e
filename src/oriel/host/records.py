"""Small JSON files that other processes read: written whole or not at all, naming a process exactly."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oriel.host.process import ProcessId

__all__ = ["own_process", "read_json", "read_process", "tell", "write_json", "write_process"]


def write_json(path: Path, data: Mapping[str, Any], *, mode: int = 0o640, gid: int = -1) -> None:
    """Replace `path` atomically and durably. A reader sees the old or the new text, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            json.dump(data, file, indent=1)
            file.write("\n")
            file.flush()
            os.fchmod(file.fileno(), mode)
            if gid >= 0:
                os.fchown(file.fileno(), -1, gid)
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None if there is no such file or it holds something else."""
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def own_process() -> ProcessId:
    """This process."""
    process = ProcessId.of(os.getpid())
    assert process is not None  # noqa: S101 - we are running
    return process


def write_process(path: Path, *, gid: int = -1, **details: object) -> None:
    """Record this process in `path` as `{pid, started, …details}`."""
    process = own_process()
    write_json(path, {"pid": process.pid, "started": process.started, **details}, gid=gid)


def read_process(path: Path) -> ProcessId | None:
    """The process recorded in `path`, living or not; None without a usable record."""
    data = read_json(path) or {}
    pid, started = data.get("pid"), data.get("started")
    return ProcessId(pid, started) if isinstance(pid, int) and isinstance(started, int) else None


def tell(fd: int | None, news: Mapping[str, Any]) -> None:
    """Say one line of JSON to whoever started us, on the pipe they gave us for it, and close that."""
    if fd is not None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(fd, "w") as pipe:
            pipe.write(json.dumps(news) + "\n")
