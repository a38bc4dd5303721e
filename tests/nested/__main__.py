"""The contract suite over the real Firecracker, in an emulated host of its own.

`python -m tests.nested IMAGE FIRECRACKER`, for hosts whose KVM runs no guests. QEMU emulates a processor with
virtualization (nested SVM); its disks are the golden image IMAGE, a layer with what a host of Oriel needs on
top, and this checkout. FIRECRACKER has its jailer beside it. Needs root, the mirrors of apt and pip, and some
20 minutes. The exit status is pytest's.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from oriel.image.initrd import Entry, archive

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTHON = "3.13"  # the image's
PACKAGES = ("nftables",)
LEFT_OUT = ("playwright", "mypy", "ruff", "import-linter", "grimp")  # no test in there needs them
CHECKOUT = ("src", "guest", "tests", "recipes", "bench", "scripts", "pyproject.toml", "run")
MEMORY_MIB = 8000
DEADLINE_S = 3600
JOB = """
export PYTHONPATH=/mnt/site:/mnt/checkout/src:/mnt/checkout/guest:/mnt/checkout PYTHONDONTWRITEBYTECODE=1
export ORIEL_FIRECRACKER_BIN=/mnt/bin/firecracker ORIEL_TEST_IMAGE=/mnt/image ORIEL_TEST_HOME=/var/tmp/home
mkdir -p /var/tmp/home
python3 -m pytest -p no:cacheprovider -v --color=no --timeout=1500 -k firecracker tests/contract
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.nested", description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("firecracker", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oriel-nested-", dir="/var/tmp") as scratch:
        place = Path(scratch)
        layer = add_layer(given.image, place)
        disk(layer, place / "layer.img", "3G")
        disk(luggage(given.image, given.firecracker, place / "luggage"), place / "luggage.img", "12G")
        initrd = place / "initrd"
        initrd.write_bytes(with_own_init(given.image / "initrd"))
        return boot(given.image, initrd, place)


def add_layer(image: Path, place: Path) -> Path:
    """What `apt-get install` changes in the image, as the upper and work directory of an overlay."""
    lower, merged, layer = place / "lower", place / "merged", place / "layer"
    for directory in (lower, merged, layer / "upper", layer / "work"):
        directory.mkdir(parents=True)
    run("mount", "-t", "erofs", "-o", "ro,loop", image / "root.erofs", lower)
    try:
        options = f"lowerdir={lower},upperdir={layer}/upper,workdir={layer}/work"
        run("mount", "-t", "overlay", "overlay", "-o", options, merged)
        try:
            for name in ("resolv.conf", "hosts"):
                (merged / "etc" / name).unlink(missing_ok=True)
                shutil.copyfile(Path("/etc") / name, merged / "etc" / name)
            run("chroot", merged, "apt-get", "update", "-q")
            run("chroot", merged, "apt-get", "install", "-qy", "--no-install-recommends", *PACKAGES)
        finally:
            run("umount", merged)
    finally:
        run("umount", lower)
    for cache in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(layer / "upper" / cache, ignore_errors=True)
    return layer


def luggage(image: Path, firecracker: Path, target: Path) -> Path:
    """What stands on /mnt in there: this checkout, its libraries, the programs, the image's small files."""
    for name in ("checkout", "site", "bin", "image", "var"):
        (target / name).mkdir(parents=True)
    files = subprocess.run(
        ["tar", "c", "--exclude=__pycache__", *CHECKOUT], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "x"], cwd=target / "checkout", input=files.stdout, check=True)
    pins = "\n".join((ROOT / name).read_text() for name in ("requirements.txt", "requirements-dev.txt"))
    wanted = sorted(set(re.findall(r"^([\w.-]+==[^\s]+)", pins, re.MULTILINE)))
    chosen = [pin for pin in wanted if pin.partition("==")[0] not in LEFT_OUT]
    run(
        sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:",
        f"--python-version={PYTHON}", "--target", target / "site", *chosen,
    )  # fmt: skip
    for program in (firecracker, firecracker.with_name("jailer")):
        shutil.copy(program, target / "bin" / program.name)
    for name in ("vmlinux", "vmlinuz", "initrd", "manifest.json"):
        shutil.copy(image / name, target / "image" / name)
    run("cp", "--sparse=always", image / "disk.img", target / "image/disk.img")
    (target / "image/root.erofs").symlink_to("/dev/vda")  # the first disk of the emulated host
    shutil.copy(HERE / "begin", target / "begin")
    (target / "job").write_text(JOB)
    return target


def with_own_init(initrd: Path) -> bytes:
    """The image's initrd with our first program: a second archive's files replace the first one's."""
    data = initrd.read_bytes()
    own = Entry("init", stat.S_IFREG | 0o755, (HERE / "init").read_bytes())
    return data + bytes(-len(data) % 512) + archive([own])


def disk(content: Path, file: Path, size: str) -> None:
    run("truncate", "-s", size, file)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", content, file)


def boot(image: Path, initrd: Path, place: Path) -> int:
    """Run it to its end, its console on ours; what the job in there ended with."""
    drives = [
        f"file={image / 'root.erofs'},format=raw,if=virtio,readonly=on",
        f"file={place / 'layer.img'},format=raw,if=virtio,cache=unsafe",
        f"file={place / 'luggage.img'},format=raw,if=virtio,cache=unsafe",
    ]
    argv = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", "q35,vmport=off,hpet=off,usb=off,graphics=off"),
        *("-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "EPYC,+svm,+npt"),
        *("-smp", str(min(2, os.cpu_count() or 1)), "-m", str(MEMORY_MIB)),
        *("-kernel", image / "vmlinuz", "-initrd", initrd),
        *("-append", "console=ttyS0 panic=-1 quiet net.ifnames=0 mitigations=off maxcpus=1 kvm_amd.avic=0"),
        *(word for drive in drives for word in ("-drive", drive)),
        *("-serial", "stdio"),
    ]
    ended = None
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as qemu:
        try:
            assert qemu.stdout is not None
            for line in qemu.stdout:
                print(line.decode(errors="replace"), end="", flush=True)
                if found := re.search(rb"nested: exit (\d+)", line):
                    ended = int(found[1])
            qemu.wait(DEADLINE_S)
        finally:
            qemu.kill()
    return 1 if ended is None else ended


def run(*argv: str | Path) -> None:
    subprocess.run(argv, check=True)


if __name__ == "__main__":
    sys.exit(main())
