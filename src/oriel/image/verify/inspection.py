"""All checks, in an order that leaves the desktop running: those that look first, those that kill last."""

from __future__ import annotations

from collections.abc import AsyncIterator

from oriel.image.verify.inside import Facts, Inside, Verdict
from oriel.image.verify.layout import SCREENS, laid_out
from oriel.image.verify.looks import looked, looks
from oriel.image.verify.packages import Mirror, installed
from oriel.image.verify.revival import revived

__all__ = ["verify"]


async def verify(inside: Inside, mirror: Mirror | None = None) -> AsyncIterator[Verdict]:
    """Each verdict as it is found. Everything in the desktop has been started anew at the end.

    `mirror`: what the desktop's proxy leads to, if it has one; else nothing is installed.
    """
    facts = await Facts.of(inside)
    for look in looks(facts):
        yield await looked(inside, look)
    if mirror is not None:
        yield await installed(inside, mirror)
    for screen in SCREENS:
        yield await laid_out(inside, screen)
    async for verdict in revived(inside, facts):
        yield verdict
