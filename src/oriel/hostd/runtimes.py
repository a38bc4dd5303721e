"""Which runtimes this host can really run: proven by test boots, once per boot of the host."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from oriel.host.layout import Home
from oriel.host.probes import read_probes, write_probes
from oriel.hostd.images import default_image
from oriel.machine.driver import ImageFiles, Probe
from oriel.model.spec import Isolation, Runtime

__all__ = ["Probing", "Runtimes", "probes_of"]

Probing = Mapping[Runtime, Callable[[ImageFiles | None], Awaitable[Probe]]]
_LOG = logging.getLogger(__name__)


async def _container(image: ImageFiles | None) -> Probe:
    from oriel.machine.container.probe import probe

    return await probe(image)


async def _qemu(image: ImageFiles | None) -> Probe:
    from oriel.machine.qemu.probe import probe

    return await probe(image)


async def _firecracker(home: Home, image: ImageFiles | None) -> Probe:
    from oriel.machine.firecracker.probe import probe
    from oriel.machine.firecracker.release import installed

    return await probe(lambda: installed(home), image)


def probes_of(home: Home) -> Probing:
    """A probe per runtime; Firecracker's programs may be the home's own."""
    return {
        Runtime.FIRECRACKER: functools.partial(_firecracker, home),
        Runtime.QEMU: _qemu,
        Runtime.CONTAINER: _container,
    }


class Runtimes:
    """The probes' results. Asked while they are still running, everybody waits for the same run."""

    def __init__(self, home: Home, probes: Probing | None = None) -> None:
        self._home = home
        self._probes = probes if probes is not None else probes_of(home)
        self._proving = asyncio.Lock()

    async def all(self) -> dict[str, dict[str, Any]]:
        """`{NAME: {works, isolation, detail, hint}}` for every runtime.

        What was only looked at for want of an image is proven once there is one.
        """
        async with self._proving:
            image = await asyncio.to_thread(default_image, self._home) or ""
            proven_with, known = read_probes(self._home)
            if set(known) == set(map(str, self._probes)) and (proven_with or not image):
                return known
            files = ImageFiles.of(self._home.image(image)) if image else None
            found = {str(name): asdict(await _tried(probe, files)) for name, probe in self._probes.items()}
            for name, result in found.items():
                _LOG.info("runtime %s", name, extra={"event": result})
            write_probes(self._home, image, found)
            return found


async def _tried(probe: Callable[[ImageFiles | None], Awaitable[Probe]], image: ImageFiles | None) -> Probe:
    try:
        return await probe(image)
    except Exception as error:
        _LOG.exception("a probe failed")
        return Probe(False, Isolation.VM, f"its probe failed: {error}", "hostd.log has the details")
