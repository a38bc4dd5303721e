"""Which runtime `auto` means, and who drives it."""

from __future__ import annotations

import pytest

from oriel.machine.driver import Probe
from oriel.machine.runtimes import automatic
from oriel.model.errors import HostError
from oriel.model.spec import Isolation, Runtime

ABSENT = Probe(False, Isolation.VM, "not here", "install it")
VM = Probe(True, Isolation.VM, "fine")
EMULATED = Probe(True, Isolation.EMULATED_VM, "slow")
CONTAINER = Probe(True, Isolation.CONTAINER, "fine")


@pytest.mark.parametrize(
    ("firecracker", "qemu", "container", "expected"),
    [
        (VM, VM, CONTAINER, Runtime.FIRECRACKER),
        (ABSENT, VM, CONTAINER, Runtime.QEMU),
        (ABSENT, EMULATED, CONTAINER, Runtime.CONTAINER),
        (ABSENT, EMULATED, ABSENT, Runtime.QEMU),
    ],
)
def test_the_first_that_works_and_emulation_last(
    firecracker: Probe, qemu: Probe, container: Probe, expected: Runtime
) -> None:
    probes = {Runtime.FIRECRACKER: firecracker, Runtime.QEMU: qemu, Runtime.CONTAINER: container}
    assert automatic(probes) is expected


def test_when_nothing_works_every_reason_is_given() -> None:
    with pytest.raises(
        HostError, match="firecracker: not here; qemu: not here; container: not here"
    ) as raised:
        automatic(dict.fromkeys(Runtime, ABSENT))
    assert "install it" in raised.value.hint
