"""A virtual machine as QEMU's command line: one pure function per group of devices.

QEMU opens nothing by a path of ours: kernel, disks, tap, console and monitor come as descriptors. So it
runs as a user that may not even look into the home directory. Every PCI device has its place named, so
that a machine restored from a template finds the same board.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oriel.host.cgroups import Limits
from oriel.machine.driver import MachineSpec
from oriel.model.link import GUEST_MAC

__all__ = [
    "KVM",
    "QEMU",
    "TCG",
    "Accelerator",
    "Board",
    "Descriptors",
    "board_argv",
    "confined",
    "kernel_command_line",
    "limits",
    "qemu_argv",
    "trial_argv",
]

QEMU = "qemu-system-x86_64"
MAX_PROCESSES = 256  # threads: one per vCPU, and a few for I/O
# Of translated code under emulation; QEMU has 1024. 256 saves an idle desktop a hundredth of a core, and
# costs each used one 100 MiB; with 64 the browser is translated again and again, at twice the processor.
TRANSLATION_CACHE_MIB = 128
OVERHEAD_MIB = 256  # QEMU itself, beside the guest's memory and the translation cache


@dataclass(frozen=True)
class Accelerator:
    """How the guest's instructions are run, and which CPU it sees."""

    name: str
    option: str
    cpu: str
    overhead_mib: int
    kernel_words: tuple[str, ...] = ()  # added to the kernel's command line


# In emulation with a thread per CPU, a CPU now and then still meets the breakpoint by which another one
# patches the kernel's own text, and panics ("int3" in sched_clock_cpu, one boot in fifteen with QEMU 7.2).
# That patching is done while the kernel starts: so it starts on one CPU, and the image's first program
# (guest/initrd/init) brings up the others.
START_ON_ONE_CPU = "maxcpus=1"
# What guards a real processor against its own speculation is only work for an emulated one. Its second CPU
# need not measure for a second how long its loops take (`lpj`: at 2.5 GHz and 250 ticks). Of the security
# modules only those with anything to do: for that of BPF systemd loads a program, which takes a second more.
# Its clock needs no other clock as a watchdog, which on a busy host takes it for broken, and reads a port for
# each look at the time from then on. Large pages are no faster where every look-up is emulated.
PLAINLY = (
    "mitigations=off", "lpj=10000000", "lsm=landlock,yama", "tsc=nowatchdog", "transparent_hugepage=never",
)  # fmt: skip

KVM = Accelerator("kvm", "kvm", "host", OVERHEAD_MIB)
# `max` would bring what emulation is slow at (five-level paging, SVM); Debian needs x86-64, Chrome SSE3.
TCG = Accelerator(
    "tcg",
    f"tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}",
    "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand,-svm",
    OVERHEAD_MIB + TRANSLATION_CACHE_MIB,
    (START_ON_ONE_CPU, *PLAINLY),
)


@dataclass(frozen=True, kw_only=True)
class Descriptors:
    """Open files, by their numbers in QEMU: `root` read-only, `disk` for writing, `monitor` listening,
    `base` read-only: what the memory is to be mapped from."""

    kernel: int
    initrd: int
    root: int
    disk: int
    tap: int
    monitor: int
    base: int | None = None


@dataclass(frozen=True, kw_only=True)
class Board:
    """What a machine is built of. `append` is the kernel's command line."""

    name: str
    vcpus: int
    memory_mib: int
    accelerator: Accelerator
    append: str


def kernel_command_line(*extra: str) -> str:
    """A panic ends the machine instead of leaving it dead; the console is the serial port."""
    return " ".join(("console=ttyS0", "panic=-1", "net.ifnames=0", "quiet", *extra))


def trial_argv(board: Board, kernel: int, initrd: int) -> list[str]:
    """A machine with nothing but a kernel and a console, for a test boot."""
    return [
        QEMU,
        *_name(board),
        *_accelerator(board),
        *board_argv(board),
        *_kernel(board, kernel, initrd),
        *_console(),
        *_confinement(),
    ]


def qemu_argv(board: Board, files: Descriptors) -> list[str]:
    """A desktop's machine."""
    return [
        QEMU,
        *_name(board),
        *_accelerator(board),
        *board_argv(board),
        *_kernel(board, files.kernel, files.initrd),
        *_drive("root", 0x2, files.root, read_only=True),
        *_drive("disk", 0x3, files.disk, read_only=False),
        *_network(files),
        *_entropy(),
        *_console(),
        *_monitor(files),
        *_moments(files),
        *_confinement(),
    ]


def _moments(files: Descriptors) -> list[str]:
    """It begins halted. The stream of devices has no header and no description: QEMU leaves both out
    where it writes devices alone, and would look for them."""
    waiting = [] if files.base is None else ["-incoming", "defer"]
    return ["-S", *waiting, *("-global", "migration.send-configuration=off")]


def board_argv(board: Board) -> list[str]:
    """What a moment needs to be the same where it is restored."""
    return [
        *("-nodefaults", "-no-user-config"),
        *("-machine", "q35,memory-backend=ram,vmport=off,hpet=off,usb=off,graphics=off,suppress-vmdesc=on"),
        *("-cpu", board.accelerator.cpu),
        *("-smp", str(board.vcpus)),
        *("-m", f"{board.memory_mib}M"),
        *("-object", f"memory-backend-ram,id=ram,size={board.memory_mib}M"),
        *("-rtc", "base=utc"),
        *("-display", "none"),
        "-no-reboot",
    ]


def _accelerator(board: Board) -> list[str]:
    return ["-accel", board.accelerator.option]


def _name(board: Board) -> list[str]:
    return ["-name", f"guest={board.name},debug-threads=on"]


def _kernel(board: Board, kernel: int, initrd: int) -> list[str]:
    return [
        *("-kernel", f"/proc/self/fd/{kernel}"),
        *("-initrd", f"/proc/self/fd/{initrd}"),
        *("-append", board.append),
    ]


def _drive(name: str, address: int, fd: int, *, read_only: bool) -> list[str]:
    """A virtio disk over a raw file. The guest's flush reaches the file, its discard frees blocks."""
    if read_only:
        access, device = "read-only=on", ""
    else:
        access, device = "read-only=off,discard=unmap", ",discard=on,write-cache=on"
    return [
        *("-add-fd", f"fd={fd},set={fd}"),
        *(
            "-blockdev",
            f"driver=file,node-name={name}-file,filename=/dev/fdset/{fd},auto-read-only=off,"
            f"cache.direct=off,cache.no-flush=off,{access}",
        ),
        *("-blockdev", f"driver=raw,node-name={name},file={name}-file,{access}"),
        *(
            "-device",
            f"virtio-blk-pci,id={name}-device,drive={name},addr={address:#x},serial=oriel-{name}{device}",
        ),
    ]


def _network(files: Descriptors) -> list[str]:
    return [
        *("-netdev", f"tap,id=link,fd={files.tap},vhost=off"),
        *("-device", f"virtio-net-pci,id=link-device,netdev=link,addr=0x4,mac={GUEST_MAC},romfile="),
    ]


def _entropy() -> list[str]:
    """Random numbers, and the generation id by which a restored guest learns that it is another."""
    return [
        *("-object", "rng-builtin,id=entropy"),
        *("-device", "virtio-rng-pci,id=entropy-device,rng=entropy,addr=0x5"),
        *("-device", "vmgenid,id=generation,guid=auto"),
    ]


def _console() -> list[str]:
    return [*("-chardev", "stdio,id=console,signal=off"), *("-serial", "chardev:console")]


def _monitor(files: Descriptors) -> list[str]:
    return [
        *("-chardev", f"socket,id=monitor,fd={files.monitor},server=on,wait=off"),
        *("-mon", "chardev=monitor,mode=control"),
    ]


def _confinement() -> list[str]:
    return ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]


def confined(
    argv: Sequence[str | Path], *, netns: Path, uid: int, groups: Sequence[int] = ()
) -> list[str | Path]:
    """`argv` in a network namespace, as `uid`, with no capability and no way to gain one."""
    return [
        *("nsenter", f"--net={netns}", "--"),
        *("setpriv", f"--reuid={uid}", f"--regid={uid}"),
        f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups",
        *("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"),
        *argv,
    ]


def limits(spec: MachineSpec, accelerator: Accelerator) -> Limits:
    """Of the whole process. A processor more than the guest has: QEMU's own work must not starve it."""
    return Limits(
        memory_mib=spec.memory_mib + accelerator.overhead_mib,
        cpus=spec.vcpus + 1,
        processes=MAX_PROCESSES,
    )
