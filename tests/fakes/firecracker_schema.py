"""The facts of Firecracker 1.16's published API schema that Oriel's requests touch.

Source: src/firecracker/swagger/firecracker.yaml of Firecracker 1.16.1, Apache-2.0. Names, types, required
fields, values and limits only; when a request may come is from the texts of the same file and from
docs/snapshotting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

FRESH, CONFIGURED, RUNNING, PAUSED = "fresh", "configured", "running", "paused"
BEFORE, AFTER = {FRESH, CONFIGURED}, {RUNNING, PAUSED}


@dataclass(frozen=True)
class Field:
    """`of`: a type, the name of another definition, or the values that are allowed."""

    of: type | str | tuple[str, ...]
    required: bool = False
    least: int | None = None
    most: int | None = None


def needed(of: type | str | tuple[str, ...], **limits: int) -> Field:
    return Field(of, required=True, **limits)


DEFINITIONS: dict[str, dict[str, Field]] = {
    "Balloon": {
        "amount_mib": needed(int), "deflate_on_oom": needed(bool), "stats_polling_interval_s": Field(int),
        "free_page_hinting": Field(bool), "free_page_reporting": Field(bool),
    },
    "BootSource": {"kernel_image_path": needed(str), "initrd_path": Field(str), "boot_args": Field(str)},
    "Drive": {
        "drive_id": needed(str), "is_root_device": needed(bool), "partuuid": Field(str),
        "cache_type": Field(("Unsafe", "Writeback")), "is_read_only": Field(bool), "path_on_host": Field(str),
        "rate_limiter": Field("RateLimiter"), "io_engine": Field(("Sync", "Async")), "socket": Field(str),
    },
    "EntropyDevice": {"rate_limiter": Field("RateLimiter")},
    "InstanceActionInfo": {"action_type": needed(("FlushMetrics", "InstanceStart", "SendCtrlAltDel"))},
    "MachineConfiguration": {
        "vcpu_count": needed(int, least=1, most=32), "mem_size_mib": needed(int), "smt": Field(bool),
        "track_dirty_pages": Field(bool), "huge_pages": Field(("None", "2M")),
    },
    "MemoryBackend": {"backend_type": needed(("File", "Uffd")), "backend_path": needed(str)},
    "NetworkInterface": {
        "iface_id": needed(str), "host_dev_name": needed(str), "guest_mac": Field(str),
        "mtu": Field(int, least=68, most=65535),
        "rx_rate_limiter": Field("RateLimiter"), "tx_rate_limiter": Field("RateLimiter"),
    },
    "PartialDrive": {
        "drive_id": needed(str), "path_on_host": Field(str), "rate_limiter": Field("RateLimiter"),
    },
    "PartialNetworkInterface": {
        "iface_id": needed(str), "rx_rate_limiter": Field("RateLimiter"),
        "tx_rate_limiter": Field("RateLimiter"),
    },
    "RateLimiter": {"bandwidth": Field("TokenBucket"), "ops": Field("TokenBucket")},
    "SnapshotCreateParams": {
        "mem_file_path": needed(str), "snapshot_path": needed(str), "snapshot_type": Field(("Full", "Diff")),
    },
    "SnapshotLoadParams": {
        "snapshot_path": needed(str), "mem_backend": needed("MemoryBackend"), "resume_vm": Field(bool),
        "track_dirty_pages": Field(bool), "clock_realtime": Field(bool),
    },
    "TokenBucket": {
        "refill_time": needed(int), "size": needed(int), "one_time_burst": Field(int),
    },
    "Vm": {"state": needed(("Paused", "Resumed"))},
}  # fmt: skip

# Method, path, the body's definition, and the states it is accepted in.
PATHS: list[tuple[str, str, str | None, set[str]]] = [
    ("GET", r"/", None, BEFORE | AFTER),
    ("GET", r"/vm/config", None, BEFORE | AFTER),
    ("PUT", r"/actions", "InstanceActionInfo", BEFORE | AFTER),
    ("PUT", r"/balloon", "Balloon", BEFORE),
    ("PUT", r"/boot-source", "BootSource", BEFORE),
    ("PUT", r"/drives/(?P<drive_id>[A-Za-z0-9_]+)", "Drive", BEFORE),
    ("PATCH", r"/drives/(?P<drive_id>[A-Za-z0-9_]+)", "PartialDrive", AFTER),
    ("PUT", r"/entropy", "EntropyDevice", BEFORE),
    ("PUT", r"/machine-config", "MachineConfiguration", BEFORE),
    ("PUT", r"/network-interfaces/(?P<iface_id>[A-Za-z0-9_]+)", "NetworkInterface", BEFORE),
    ("PATCH", r"/network-interfaces/(?P<iface_id>[A-Za-z0-9_]+)", "PartialNetworkInterface", AFTER),
    ("PUT", r"/snapshot/create", "SnapshotCreateParams", {PAUSED}),
    ("PUT", r"/snapshot/load", "SnapshotLoadParams", {FRESH}),
    ("PATCH", r"/vm", "Vm", AFTER),
]


class Refusal(Exception):  # noqa: N818 - not an error of ours
    """What the server answers 400 with."""


def checked(method: str, path: str, body: Any, state: str) -> dict[str, str]:
    """The names in the path of a request that the real one would take in `state`; else Refusal."""
    for verb, pattern, definition, states in PATHS:
        if verb == method and (found := re.fullmatch(pattern, path)):
            if definition is None:
                return {}
            check(definition, body)
            for name, value in found.groupdict().items():
                if body[name] != value:
                    raise Refusal(f"The id from the path [{value}] does not match the id from the body!")
            if state not in states:
                when = "after" if state in AFTER else "before"
                raise Refusal(f"The requested operation is not supported {when} starting the microVM.")
            return found.groupdict()
    raise Refusal(f"Invalid request method and/or path: {method} {path}.")


def check(definition: str, body: Any, where: str = "") -> None:
    """Refusal unless `body` is what the definition says: no field missing, none unknown, each of its kind."""
    fields = DEFINITIONS[definition]
    if not isinstance(body, dict):
        raise Refusal(f"{where or definition}: invalid type, expected an object")
    for name in sorted(set(body) - set(fields)):
        raise Refusal(f"unknown field `{where}{name}`")
    for name, field in fields.items():
        if name in body:
            _check_value(field, body[name], f"{where}{name}")
        elif field.required:
            raise Refusal(f"missing field `{where}{name}`")


def _check_value(field: Field, value: Any, where: str) -> None:
    if isinstance(field.of, tuple):
        if value not in field.of:
            raise Refusal(f"unknown variant `{value}` of `{where}`")
    elif isinstance(field.of, str):
        check(field.of, value, f"{where}.")
    elif type(value) is not field.of:
        raise Refusal(f"invalid type of `{where}`: {value!r}")
    elif type(value) is int and not (field.least or value) <= value <= (field.most or value):
        raise Refusal(f"invalid value of `{where}`: {value}")
