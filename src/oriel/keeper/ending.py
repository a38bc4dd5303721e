"""How a running desktop ends: in its own way first, then by its machine's ladder."""

from __future__ import annotations

import asyncio
import logging
import time

from oriel.keeper.assembly import Assembly
from oriel.keeper.journal import Journal
from oriel.model.errors import OrielError

__all__ = ["shut_down"]

GUEST_SHARE = 0.6  # of a stop's deadline for the guest's own shutdown, the rest for the machine's ladder
_LOG = logging.getLogger(__name__)


async def shut_down(journal: Journal, assembly: Assembly, deadline_s: float) -> None:
    """The guest's own way first, then the machine's ladder; the rest is the undo stack's."""
    ends = time.monotonic() + deadline_s
    machine = assembly.machine
    try:
        async with asyncio.timeout(deadline_s * GUEST_SHARE):
            await assembly.guest.shutdown(deadline_s=deadline_s * GUEST_SHARE)
            ended = await machine.wait()
    except (OrielError, TimeoutError) as error:
        _LOG.warning("the guest did not shut down by itself: %s", error)
        try:
            ended = await machine.stop(deadline_s=max(0.5, ends - time.monotonic()))
        except OrielError as failure:
            # The undo stack kills it, and tells if it cannot.
            _LOG.warning("the machine's own way to stop failed: %s", failure)
            return
    journal.record("machine.exited", ended.detail, must_write=False, code=ended.code, asked=True)
