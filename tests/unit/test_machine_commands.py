"""A spec as command lines: one test per group of devices."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from oriel.machine.container import command as container
from oriel.machine.driver import ImageFiles, MachineSpec
from oriel.machine.qemu import command as qemu
from oriel.model.errors import HostError
from oriel.model.link import Link

SPEC = MachineSpec(
    desktop_id="d-aaaaaaaaaa",
    slot=7,
    image=ImageFiles.of(Path("/images/default@1")),
    disk=Path("/d/disk.img"),
    disk_gib=8,
    vcpus=2,
    memory_mib=2048,
    directory=Path("/d/machine"),
    console=Path("/d/console.log"),
    disk_mount=Path("/d/disk"),
    root_mount=Path("/d/root"),
    link=Link(netns=Path("/run/netns/n"), device="", guest_netns=Path("/run/netns/n-guest")),
)
BOARD = qemu.Board(
    name="d-aaaaaaaaaa", vcpus=2, memory_mib=2048, accelerator=qemu.TCG, append="console=ttyS0"
)
FILES = qemu.Descriptors(kernel=3, initrd=4, root=5, disk=6, tap=7, monitor=8)


def options(argv: list[str], name: str) -> list[str]:
    """The values of an option, in order."""
    return [value for option, value in pairwise(argv) if option == name]


def test_a_container_boots_in_the_guests_namespace_with_its_slots_ids() -> None:
    assert container.nspawn_argv(SPEC) == [
        "nsenter", "--net=/run/netns/n-guest", "--",
        "systemd-nspawn", "--quiet", "--settings=no", "--register=no", "--keep-unit", "--link-journal=no",
        "--resolv-conf=off", "--timezone=off", "--console=read-only", "--machine=d-aaaaaaaaaa",
        "--directory=/d/root", "--private-users=1458752:65536", "--private-users-ownership=off", "--boot",
    ]  # fmt: skip


def test_a_container_can_run_one_program_instead() -> None:
    assert container.nspawn_argv(SPEC, ["/usr/bin/true"])[-2:] == ["--", "/usr/bin/true"]
    assert "--boot" not in container.nspawn_argv(SPEC, ["/usr/bin/true"])


def test_a_container_without_a_guest_namespace_is_refused() -> None:
    with pytest.raises(HostError, match="guest namespace"):
        container.nspawn_argv(replace(SPEC, link=Link(netns=Path("/run/netns/n"), device="guest0")))


def test_slots_never_share_an_id() -> None:
    for slot in range(5):
        assert container.first_id(slot + 1) - container.first_id(slot) == 65536


def test_limits_are_the_desktops_and_for_qemu_its_own_needs_on_top() -> None:
    limits = container.limits(SPEC)
    assert (limits.memory_mib, limits.cpus) == (2048, 2)
    limits = qemu.limits(SPEC, qemu.TCG)
    assert (limits.memory_mib, limits.cpus) == (2048 + 256 + 128, 3)


def test_the_board_has_no_default_device_and_its_own_memory_object() -> None:
    argv = qemu.qemu_argv(BOARD, FILES)
    assert argv[0] == "qemu-system-x86_64"
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(argv)
    assert options(argv, "-machine") == [
        "q35,memory-backend=ram,vmport=off,hpet=off,usb=off,graphics=off,suppress-vmdesc=on"
    ]
    assert options(argv, "-m") == ["2048M"]
    assert options(argv, "-smp") == ["2"]
    assert options(argv, "-display") == ["none"]
    assert options(argv, "-object") == ["memory-backend-ram,id=ram,size=2048M", "rng-builtin,id=entropy"]


@pytest.mark.parametrize(
    ("accelerator", "option"), [(qemu.KVM, "kvm"), (qemu.TCG, "tcg,thread=multi,tb-size=128")]
)
def test_the_accelerator_is_named_and_has_no_fallback(accelerator: qemu.Accelerator, option: str) -> None:
    argv = qemu.qemu_argv(replace(BOARD, accelerator=accelerator), FILES)
    assert options(argv, "-accel") == [option]
    assert options(argv, "-cpu") == [accelerator.cpu]


def test_the_kernel_comes_by_descriptor() -> None:
    argv = qemu.qemu_argv(BOARD, FILES)
    assert options(argv, "-kernel") == ["/proc/self/fd/3"]
    assert options(argv, "-initrd") == ["/proc/self/fd/4"]
    assert options(argv, "-append") == ["console=ttyS0"]


def test_the_image_is_read_only_and_the_disk_honours_flush_and_discard() -> None:
    argv = qemu.qemu_argv(BOARD, FILES)
    assert options(argv, "-add-fd") == ["fd=5,set=5", "fd=6,set=6"]
    assert options(argv, "-blockdev") == [
        "driver=file,node-name=root-file,filename=/dev/fdset/5,auto-read-only=off,"
        "cache.direct=off,cache.no-flush=off,read-only=on",
        "driver=raw,node-name=root,file=root-file,read-only=on",
        "driver=file,node-name=disk-file,filename=/dev/fdset/6,auto-read-only=off,"
        "cache.direct=off,cache.no-flush=off,read-only=off,discard=unmap",
        "driver=raw,node-name=disk,file=disk-file,read-only=off,discard=unmap",
    ]


def test_every_device_has_its_place_on_the_board() -> None:
    assert options(qemu.qemu_argv(BOARD, FILES), "-device") == [
        "virtio-blk-pci,id=root-device,drive=root,addr=0x2,serial=oriel-root",
        "virtio-blk-pci,id=disk-device,drive=disk,addr=0x3,serial=oriel-disk,discard=on,write-cache=on",
        "virtio-net-pci,id=link-device,netdev=link,addr=0x4,mac=02:4f:52:00:00:02,romfile=",
        "virtio-rng-pci,id=entropy-device,rng=entropy,addr=0x5",
        "vmgenid,id=generation,guid=auto",
    ]


def test_network_console_and_monitor_are_inherited() -> None:
    argv = qemu.qemu_argv(BOARD, FILES)
    assert options(argv, "-netdev") == ["tap,id=link,fd=7,vhost=off"]
    assert options(argv, "-chardev") == [
        "stdio,id=console,signal=off",
        "socket,id=monitor,fd=8,server=on,wait=off",
    ]
    assert options(argv, "-serial") == ["chardev:console"]
    assert options(argv, "-mon") == ["chardev=monitor,mode=control"]


def test_qemu_is_confined() -> None:
    argv = qemu.qemu_argv(BOARD, FILES)
    assert options(argv, "-sandbox") == [
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    ]
    assert qemu.confined(["qemu"], netns=Path("/run/netns/n"), uid=200007) == [
        "nsenter", "--net=/run/netns/n", "--", "setpriv", "--reuid=200007", "--regid=200007",
        "--clear-groups",
        "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--", "qemu",
    ]  # fmt: skip
    assert "--groups=108" in qemu.confined(["qemu"], netns=Path("/n"), uid=1, groups=[108])


def test_a_test_boot_has_a_kernel_a_console_and_nothing_else() -> None:
    argv = qemu.trial_argv(replace(BOARD, append=qemu.kernel_command_line("oriel.probe=1")), 3, 4)
    assert options(argv, "-device") == []
    assert options(argv, "-blockdev") == []
    assert options(argv, "-append")[0].endswith(" oriel.probe=1")
