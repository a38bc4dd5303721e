"""The template that a benchmark's desktops begin at, and the kind of desktop that has none."""

from __future__ import annotations

import sys

from oriel.client import Oriel

__all__ = ["RIVAL_DISK_GIB", "need_template"]

# The default is 8: one that is to be booted beside those that begin at a template is of another kind.
RIVAL_DISK_GIB = 9


def need_template(client: Oriel, runtime: str) -> None:
    """Of the default kind, built if there is none."""
    kinds = [one for one in client.templates.list() if one["runtime"] == runtime and not one["problem"]]
    if not any(one["disk_gib"] != RIVAL_DISK_GIB for one in kinds):
        client.templates.build(
            runtime=runtime, on_progress=lambda text: print(text, file=sys.stderr, flush=True)
        )
