"""What only the container promises: ids of its own, limits, one page cache, no power over its network."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.host import slots
from oriel.host.loops import loops_of
from oriel.machine.console import LIMIT_BYTES
from oriel.machine.container.command import first_id
from oriel.machine.container.driver import ContainerDriver
from oriel.machine.container.probe import probe
from oriel.model.link import GATEWAY_MAC, GUEST_MAC
from tests.contract.machines import Place, make_place

NSPAWN_REMARK = "Attempted to remove disk file system"

pytestmark = pytest.mark.container


def run(place: Place, script: str) -> tuple[int | None, str]:
    """A shell script as root in a container of its own: its exit code and what it said.

    The last line, a remark of nspawn's own at its end, is not the script's.
    """

    async def scenario() -> int | None:
        async with place.linked():
            driver = ContainerDriver()
            await driver.prepare_disk(place.spec)
            machine = await driver.run(place.spec, ["/bin/sh", "-c", script])
            async with asyncio.timeout(20):
                return (await machine.wait()).code

    code = asyncio.run(scenario())
    lines = place.spec.console.read_text(errors="replace").replace("\r\n", "\n").splitlines()
    return code, "\n".join(line for line in lines if NSPAWN_REMARK not in line)


def test_root_in_the_container_is_nobody_on_the_host(container_place: Place) -> None:
    async def scenario() -> None:
        async with container_place.linked():
            await container_place.driver.prepare_disk(container_place.spec)
            machine = await container_place.driver.start(container_place.spec)
            owners = {Path(f"/proc/{pid}").stat().st_uid for pid in container_place.processes()} - {0}
            await machine.kill()
            first = first_id(container_place.spec.slot)
            assert owners
            assert all(first <= owner < first + 65536 for owner in owners), owners

    asyncio.run(scenario())


def test_files_belong_to_the_same_ids_whatever_the_slot(container_place: Place) -> None:
    code, said = run(
        container_place,
        "touch /written && chown 1000:1000 /written && rm /etc/hostname && stat -c %u:%g /written /bin/sh",
    )
    assert (code, said.splitlines()[-2:]) == (0, ["1000:1000", "0:0"])
    with slot_of_another(container_place) as other:
        code, said = run(other, "stat -c %u:%g /written; test ! -e /etc/hostname && echo removed")
    assert (code, said.splitlines()[-2:]) == (0, ["1000:1000", "removed"])


def test_the_guest_has_no_power_over_its_link_host_or_devices(container_place: Place) -> None:
    attempts = {
        "address": "ip link set dev host0 address 02:00:00:00:00:99",
        "second address": "ip addr add 192.168.0.77/24 dev host0",
        "route": "ip route replace default via 192.168.0.99",
        "neighbour": f"ip neigh replace 192.168.0.1 lladdr {GUEST_MAC} dev host0",
        "ipv6": "echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6",
        "kernel setting": "echo 1 > /proc/sys/kernel/sysrq",
        "device node": "mknod /disk b 7 0",
        "disk of the host": "cat /dev/vda",
        "memory limit": "echo max > /sys/fs/cgroup/memory.max",
    }
    script = "".join(
        f"if ({command}) 2>/dev/null; then echo 'DID {name}'; fi\n" for name, command in attempts.items()
    )
    _, said = run(
        container_place, f"{script}ip -color=never -o link show host0; ip -color=never neigh; echo end"
    )
    assert said.splitlines()[-1] == "end", said
    assert "DID" not in said
    assert GUEST_MAC in said
    assert f"192.168.0.1 dev host0 lladdr {GATEWAY_MAC} PERMANENT" in said


def test_memory_beyond_the_limit_is_not_given(container_place: Place) -> None:
    container_place.spec = replace(container_place.spec, memory_mib=64)
    _, said = run(
        container_place, "for m in 32 256; do head -c ${m}M /dev/zero | tail -c ${m}M | wc -c; done"
    )
    said += "\n"
    assert f"{32 << 20}\n" in said
    assert f"{256 << 20}\n" not in said


def test_a_flood_on_the_console_stays_bounded(container_place: Place) -> None:
    code, said = run(container_place, "yes 'a line of the flood' | head -c 6000000; echo the last line")
    assert code == 0
    assert LIMIT_BYTES / 4 < container_place.spec.console.stat().st_size <= LIMIT_BYTES
    assert said.endswith("the last line")


def test_two_desktops_share_the_image_and_nothing_else(container_place: Place, second_place: Place) -> None:
    """The first one's disk is free once it is released, though the second began while it was mounted."""

    async def scenario() -> None:
        first, second = container_place, second_place
        async with first.linked(), second.linked():
            machines = []
            for place in (first, second):
                await place.driver.prepare_disk(place.spec)
                machines.append(await place.driver.start(place.spec))
                assert len(loops_of(place.spec.disk)) == 1
            views = [place.spec.directory / "image" for place in (first, second)]
            assert views[0].stat().st_dev == views[1].stat().st_dev
            await machines[0].kill()
            await first.driver.release(first.spec)
            assert loops_of(first.spec.disk) == []
            again = await first.driver.start(first.spec)
            assert (await machines[1].kill()).code is not None
            assert (await again.kill()).code is not None

    asyncio.run(scenario())


def test_the_probe_runs_a_container_and_leaves_nothing(image: Path) -> None:
    from oriel.machine.driver import ImageFiles

    found = asyncio.run(probe(ImageFiles.of(image)))
    assert found.works, found
    broken = asyncio.run(probe(ImageFiles.of(Path("/nowhere"))))
    assert not broken.works
    assert "/nowhere" in broken.detail


@pytest.fixture
def second_place(image: Path, container_place: Place) -> Iterator[Place]:
    directory = container_place.spec.disk.parent.parent
    made = make_place("container", image, directory)
    yield made
    slots.release(directory, made.spec.desktop_id)


class slot_of_another:  # noqa: N801 - reads as the context it is
    """The same desktop in another slot, as after a restart of the host."""

    def __init__(self, place: Place) -> None:
        self._directory = place.spec.disk.parent
        self._place = place

    def __enter__(self) -> Place:
        self._slot = slots.claim(self._directory, "d-aaaaaaaaaa")
        return Place(self._place.kind, replace(self._place.spec, slot=self._slot))

    def __exit__(self, *_: object) -> None:
        slots.release(self._directory, "d-aaaaaaaaaa")
