"""What Firecracker is asked, held against its published schema, and the jailer's command line."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from oriel.machine.firecracker import calls
from oriel.machine.firecracker.calls import Call
from oriel.machine.firecracker.command import jailer_argv, kernel_command_line, limits
from oriel.machine.firecracker.ending import explained
from oriel.machine.firecracker.jail import Jail, files_of
from oriel.machine.firecracker.metrics import Totals
from oriel.model.link import Link
from oriel.model.spec import Rates
from tests.fakes.firecracker_schema import CONFIGURED, FRESH, PAUSED, RUNNING, Refusal, check, checked
from tests.unit.test_machine_commands import SPEC as OTHER_SPEC

SPEC = replace(OTHER_SPEC, link=Link(netns=Path("/run/netns/n"), device="guest0"))


def body(path: str) -> dict:
    """Of the request of a cold boot that goes to `path`."""
    (found,) = [call.body for call in calls.boot(SPEC, "console=ttyS0") if call.path == path]
    assert found is not None
    return dict(found)


def test_every_request_is_one_of_the_published_schema_in_a_state_that_takes_it() -> None:
    boot = calls.boot(SPEC, kernel_command_line())
    for number, call in enumerate(boot):
        checked(call.method, call.path, call.body, FRESH if number == 0 else CONFIGURED)
    checks: list[tuple[Call, str]] = [
        (calls.load(), FRESH), (calls.halt(), RUNNING), (calls.proceed(), PAUSED),
        (calls.save(), PAUSED), (calls.instance(), PAUSED),
        (calls.flush_metrics(), RUNNING), (calls.control_alt_delete(), RUNNING),
    ]  # fmt: skip
    for call, state in checks:
        checked(call.method, call.path, call.body, state)


def test_the_schema_refuses_what_the_real_one_refuses() -> None:
    drive = body("/drives/disk")
    for wrong, why in (
        ({**drive, "is_readonly": False}, "unknown field `is_readonly`"),
        ({key: value for key, value in drive.items() if key != "is_root_device"}, "missing field"),
        ({**drive, "cache_type": "None"}, "unknown variant"),
        ({**drive, "is_read_only": "yes"}, "invalid type"),
        ({**drive, "drive_id": "root"}, "does not match"),
    ):
        with pytest.raises(Refusal, match=why):
            checked("PUT", "/drives/disk", wrong, CONFIGURED)
    with pytest.raises(Refusal, match="invalid value of `vcpu_count`: 33"):
        check("MachineConfiguration", {"vcpu_count": 33, "mem_size_mib": 512})
    with pytest.raises(Refusal, match="after starting"):
        checked("PUT", "/drives/disk", drive, RUNNING)
    with pytest.raises(Refusal, match="before starting"):
        checked("PUT", "/snapshot/load", calls.load().body, CONFIGURED)
    with pytest.raises(Refusal, match="Invalid request method and/or path"):
        checked("POST", "/actions", {"action_type": "InstanceStart"}, FRESH)


def test_the_image_comes_first_and_cannot_be_written_and_the_disks_flush_reaches_its_file() -> None:
    paths = [call.path for call in calls.boot(SPEC, "")]
    assert paths == [
        "/machine-config", "/boot-source", "/drives/root", "/drives/disk", "/network-interfaces/link",
        "/balloon", "/entropy", "/actions",
    ]  # fmt: skip
    root, disk = body("/drives/root"), body("/drives/disk")
    assert (root["path_on_host"], root["is_read_only"], root["is_root_device"]) == (
        "/root.erofs",
        True,
        False,
    )
    assert (disk["path_on_host"], disk["is_read_only"], disk["cache_type"]) == (
        "/disk.img",
        False,
        "Writeback",
    )


def test_the_guest_has_the_agreed_address_and_the_specs_size() -> None:
    assert body("/network-interfaces/link") == {
        "iface_id": "link",
        "host_dev_name": "guest0",
        "guest_mac": "02:4f:52:00:00:02",
        "rx_rate_limiter": {"bandwidth": {"size": 0, "refill_time": 1000}},
        "tx_rate_limiter": {"bandwidth": {"size": 0, "refill_time": 1000}},
    }
    assert body("/machine-config")["vcpu_count"] == 2
    assert body("/machine-config")["mem_size_mib"] == 2048
    assert body("/balloon") == {"amount_mib": 0, "deflate_on_oom": True, "free_page_reporting": True}


def test_the_specs_rates_are_buckets_of_a_second_and_none_is_an_empty_one() -> None:
    limited = replace(SPEC, rates=Rates(disk_mib_s=2, disk_ops_s=300, network_mib_s=4))
    found = {call.path: call.body or {} for call in calls.boot(limited, "")}
    disk = {"bandwidth": {"size": 2 << 20, "refill_time": 1000}, "ops": {"size": 300, "refill_time": 1000}}
    link = {"bandwidth": {"size": 4 << 20, "refill_time": 1000}}
    assert found["/drives/disk"]["rate_limiter"] == disk
    assert "rate_limiter" not in found["/drives/root"], "the image is everybody's, from the page cache"
    assert found["/network-interfaces/link"]["rx_rate_limiter"] == link
    assert found["/network-interfaces/link"]["tx_rate_limiter"] == link
    for call in calls.boot(limited, "")[:-1]:
        checked(call.method, call.path, call.body, CONFIGURED)
    for call, wanted in zip(
        calls.limit(limited.rates), ("/drives/disk", "/network-interfaces/link"), strict=True
    ):
        checked(call.method, call.path, call.body, PAUSED)
        assert call.path == wanted
    assert (calls.limit(limited.rates)[0].body or {})["rate_limiter"] == disk
    assert body("/drives/disk")["rate_limiter"]["ops"] == {"size": 0, "refill_time": 1000}


def test_the_kernel_ends_the_machine_by_the_keyboard_and_is_loud_only_when_asked() -> None:
    assert kernel_command_line() == "console=ttyS0 panic=-1 reboot=k net.ifnames=0 quiet"
    assert kernel_command_line("oriel.probe=1", loud=True).endswith("net.ifnames=0 oriel.probe=1")
    assert "nomodule" not in kernel_command_line()


def test_a_restored_machine_stands_still_and_its_clock_is_not_moved() -> None:
    found = calls.load().body
    assert found is not None
    assert found["resume_vm"] is False
    assert "clock_realtime" not in found


def test_the_jailer_confines_to_uid_namespace_group_and_files() -> None:
    argv = jailer_argv(
        jailer=Path("/fc/jailer"), firecracker=Path("/fc/firecracker"), name="d-aaaaaaaaaa", uid=200007,
        base=Path("/d/machine/jail"), netns=Path("/run/netns/n"), options=["--api-sock", "/api.sock"],
    )  # fmt: skip
    assert list(map(str, argv)) == [
        "/fc/jailer", "--id", "d-aaaaaaaaaa", "--exec-file", "/fc/firecracker", "--uid", "200007",
        "--gid", "200007", "--chroot-base-dir", "/d/machine/jail", "--netns", "/run/netns/n",
        "--cgroup-version", "2", "--parent-cgroup", "oriel/d-aaaaaaaaaa", "--resource-limit", "no-file=256",
        "--", "--enable-pci", "--level", "Error", "--api-sock", "/api.sock",
    ]  # fmt: skip
    assert "--no-seccomp" not in argv
    without = jailer_argv(
        jailer=Path("/j"), firecracker=Path("/f"), name="x", uid=1, base=Path("/b"), netns=None, options=[]
    )
    assert "--netns" not in [option for option, _ in pairwise(without)]


def test_the_jail_lies_where_the_jailer_makes_it_and_shows_just_the_machines_files() -> None:
    jail = Jail(Path("/d/machine/jail"), "d-aaaaaaaaaa")
    assert jail.root == Path("/d/machine/jail/firecracker/d-aaaaaaaaaa/root")
    assert jail.path("/disk.img") == jail.root / "disk.img"
    assert files_of(SPEC) == {
        "/vmlinux": Path("/images/default@1/vmlinux"),
        "/initrd": Path("/images/default@1/initrd"),
        "/root.erofs": Path("/images/default@1/root.erofs"),
        "/disk.img": Path("/d/disk.img"),
    }


def test_a_guests_memory_is_never_swapped() -> None:
    found = limits(SPEC)
    assert (found.memory_mib, found.cpus, found.swap) == (2048 + 128, 3, False)


def test_an_end_tells_the_code_and_what_was_counted() -> None:
    assert explained(0, {}) == "the microVM powered off or restarted"
    assert explained(-9, {}) == "Firecracker was killed by SIGKILL"
    assert "SIGBUS" in explained(149, {"signals.sigbus": 1})
    told = explained(148, {"seccomp.num_faults": 2})
    assert told.endswith("its filter forbids (it counted seccomp.num_faults 2)")
    assert explained(None, {}) == "the microVM has ended"


def test_counters_are_added_up_since_a_line_tells_what_came_since_the_one_before() -> None:
    totals = Totals()
    lines = [
        {"block": {"read_bytes": 4096}, "seccomp": {"num_faults": 1}, "vcpu": {"failures": 0}},
        {"block": {"read_bytes": 512, "event_fails": 2}, "seccomp": {"num_faults": 1}, "net": "odd"},
        {"block": {"read_bytes": "many"}},
    ]
    for line in lines:
        totals.add(line)
    assert totals.counted["block.read_bytes"] == 4608
    assert totals.counted["net.rx_bytes_count"] == 0
    assert totals.faults == {"seccomp.num_faults": 1, "block.event_fails": 2}
