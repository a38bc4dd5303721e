"""Oriel with the real Firecracker, in an emulated host of its own, for hosts whose KVM runs no guests.

`python -m tests.nested [--job JOB] IMAGE FIRECRACKER`. QEMU emulates a processor with virtualization (nested
SVM); its disks are the golden image IMAGE, a layer with what a host of Oriel needs on top, and this checkout
with the image again. FIRECRACKER has its jailer beside it. Needs root and the mirrors of apt and pip. The
exit status is the job's. Jobs:

    contract   the contract suite over the driver
    life       a desktop's whole life by the command line, templates, ten creates and deletes, `oriel verify`
    attack     the attacks on the way out, from a desktop in Firecracker
    all        one after the other, each in a host of its own

`--keep DIR`: what the job put into /var/tmp/kept (pictures, times). `--shell SOCKET`: a shell in there beside
the job, on a Unix socket (`socat - UNIX:SOCKET`). JOB may also be a file: a script of your own.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from oriel.host.layout import Home
from oriel.image.build import plan_of
from tests.nested.emulated import UnfinishedError, emulate
from tests.nested.luggage import HERE, add_layer, checked_out, disk, kept_of, luggage, with_own_init

JOBS = ("contract", "life", "attack")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.nested",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", type=Path)
    parser.add_argument("firecracker", type=Path)
    parser.add_argument("--job", default="contract")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    parser.add_argument("--shell", type=Path, metavar="SOCKET")
    given = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # QEMU ends, and the scratch goes
    wanted = plan_of("default", Home(Path("/nonexistent"))).image_id
    if given.image.name != wanted:
        parser.error(f"{given.image} is not this checkout's image, which is {wanted}: `oriel image build`")
    jobs = JOBS if given.job == "all" else (given.job,)
    with tempfile.TemporaryDirectory(prefix="oriel-nested-", dir="/var/tmp") as scratch:
        checkout = checked_out(Path(scratch) / "checkout")
        layer = add_layer(given.image, Path(scratch) / "layer", checkout)
        return max([run(job, given, checkout, layer, Path(scratch) / Path(job).name) for job in jobs])


def run(job: str, given: argparse.Namespace, checkout: Path, layer: Path, place: Path) -> int:
    """One job to its end, in a host that has seen nothing else."""
    script = HERE / "jobs" / job if job in JOBS else Path(job)
    place.mkdir()
    disk(layer, place / "layer.img", "3G")
    packed = luggage(given.image, given.firecracker, checkout, script, place / "luggage")
    disk(packed, place / "luggage.img", "12G")
    initrd = place / "initrd"
    initrd.write_bytes(with_own_init(given.image / "initrd"))
    try:
        return emulate(given.image, initrd, place, shell=given.shell)
    except UnfinishedError as error:
        print(f"nested: {job}: {error}", file=sys.stderr)
        return 1
    finally:
        if given.keep is not None:
            kept_of(place / "luggage.img", given.keep)


if __name__ == "__main__":
    sys.exit(main())
