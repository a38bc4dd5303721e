"""What the emulated host is made of: a layer over the golden image, and what the test brings along."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

from oriel.image.initrd import Entry, archive

__all__ = ["HERE", "add_layer", "checked_out", "disk", "kept_of", "luggage", "with_own_init"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTHON = "3.13"  # the image's
PACKAGES = ("nftables", "systemd-container", "iputils-ping", "openssl")
LEFT_OUT = ("playwright", "mypy", "ruff", "import-linter", "grimp")  # no test in there needs them
CHECKOUT = (
    *("src", "guest", "tests", "recipes", "bench", "scripts", "deploy", "pyproject.toml", "run"),
    "web/dist",
)
HOME = "var/home"  # /var/tmp/home in there


def add_layer(image: Path, place: Path, checkout: Path) -> Path:
    """What `apt-get install` changes in the image, as the upper and work directory of an overlay.

    The Python in there compiles `checkout` as well: emulated, that takes minutes.
    """
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
            run("chroot", merged, "apt-get", "update", "-qq")
            run("chroot", merged, "apt-get", "install", "-qqy", "--no-install-recommends", *PACKAGES)
            run("chroot", merged, "useradd", "--system", "--user-group", "--no-create-home", "oriel")
            run("mount", "--bind", checkout, merged / "mnt")
            try:
                compiling = ("python3", "-m", "compileall", "-q", "--invalidation-mode", "checked-hash")
                run("chroot", merged, *compiling, "-s", "/mnt", "-p", "/mnt/checkout", "/mnt")
            finally:
                run("umount", merged / "mnt")
        finally:
            run("umount", merged)
    finally:
        run("umount", lower)
    for cache in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(layer / "upper" / cache, ignore_errors=True)
    return layer


def luggage(image: Path, firecracker: Path, checkout: Path, job: Path, target: Path) -> Path:
    """What stands on /mnt in there: `checkout`, the programs, the image's small files."""
    programs, images = target / "bin", target / HOME / "images" / image.name
    for directory in (programs, images, target / "var/kept"):
        directory.mkdir(parents=True)
    run("cp", "-al", checkout, target / "checkout")
    _release(firecracker, programs)
    for name in ("vmlinux", "vmlinuz", "initrd", "manifest.json"):
        shutil.copy(image / name, images / name)
    run("cp", "--sparse=always", image / "disk.img", images / "disk.img")
    (images / "root.erofs").symlink_to("/dev/vda")  # the first disk of the emulated host
    (target / "image").symlink_to(f"/var/tmp/home/images/{image.name}")
    shutil.copy(HERE / "begin", target / "begin")
    shutil.copy(job, target / "job")
    return target


def checked_out(target: Path) -> Path:
    """This checkout with what scripts/setup would make: libraries for the image's Python, and `oriel`."""
    target.mkdir(parents=True)
    files = subprocess.run(
        ["tar", "c", "--exclude=__pycache__", *CHECKOUT], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "x"], cwd=target, input=files.stdout, check=True)
    _environment(target)
    return target


def _environment(checkout: Path) -> None:
    pins = "\n".join((ROOT / name).read_text() for name in ("requirements.txt", "requirements-dev.txt"))
    wanted = sorted(set(re.findall(r"^([\w.-]+==[^\s]+)", pins, re.MULTILINE)))
    chosen = [pin for pin in wanted if pin.partition("==")[0] not in LEFT_OUT]
    venv = checkout / ".venv"
    site = venv / f"lib/python{PYTHON}/site-packages"
    run(
        sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:",
        f"--python-version={PYTHON}", "--target", site, *chosen,
    )  # fmt: skip
    (site / "oriel.pth").write_text("/mnt/checkout/src\n/mnt/checkout/guest\n/mnt/checkout\n")
    (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {PYTHON}\n")
    (venv / "bin").mkdir()
    (venv / "bin/python").symlink_to("/usr/bin/python3")
    command = venv / "bin/oriel"
    command.write_text(
        "#!/mnt/checkout/.venv/bin/python\nimport sys\nfrom oriel.cli.main import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    (checkout / "scripts/setup").write_text("#!/bin/sh\n# All is there: tests/nested brought it.\n")


def _release(firecracker: Path, programs: Path) -> None:
    """The two programs, and again as the archive in which an operator would download them, with its sum."""
    packed = programs / "firecracker-x86_64.tgz"
    with tarfile.open(packed, "w:gz", compresslevel=1) as release:
        for program in (firecracker, firecracker.with_name("jailer")):
            shutil.copy(program, programs / program.name)
            release.add(program, f"release-vX-x86_64/{program.name}-vX-x86_64")
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    packed.with_name(f"{packed.name}.sha256.txt").write_text(f"{digest}  {packed.name}\n")


def with_own_init(initrd: Path) -> bytes:
    """The image's initrd with our first program: a second archive's files replace the first one's."""
    data = initrd.read_bytes()
    own = Entry("init", stat.S_IFREG | 0o755, (HERE / "init").read_bytes())
    return data + bytes(-len(data) % 512) + archive([own])


def disk(content: Path, file: Path, size: str) -> None:
    run("truncate", "-s", size, file)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", content, file)


def kept_of(luggage: Path, target: Path) -> None:
    """What the job left in /var/tmp/kept, out of the disk of a host that has ended."""
    target.mkdir(parents=True, exist_ok=True)
    run("debugfs", "-R", f"rdump /var/kept {target}", luggage)


def run(*argv: str | Path) -> None:
    subprocess.run(argv, check=True)
