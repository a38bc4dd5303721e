"""The sum of a journal: what a keeper must know to take up where another one was killed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from oriel.model.events import Event
from oriel.model.state import State

__all__ = ["Ledger"]

_LOG = logging.getLogger(__name__)


@dataclass
class Ledger:
    """One desktop as its journal tells it. `take` events in order."""

    seq: int = 0
    state: State = State.CREATING
    error: dict[str, Any] | None = None  # {code, message, hint, console} of a failed desktop
    slot: int | None = None
    boot_id: str = ""  # of the host, when the last keeper began
    machine: dict[str, Any] | None = None  # {record, runtime, isolation} while one may run
    gateway: dict[str, int] | None = None  # {pid, started} of the last gateway started
    timings: dict[str, float] = field(default_factory=dict)
    rewinding: str | None = None  # the snapshot to which a return was begun
    gone: bool = False  # deleted: nothing is left but the directory

    def take(self, event: Event) -> None:
        """Add one event. Kinds that say nothing about recovery change only `seq`; damage changes no more."""
        self.seq = event.seq
        try:
            self._take(event)
        except (KeyError, ValueError, TypeError):
            _LOG.warning("event %d (%s) says nothing that can be used", event.seq, event.kind)

    def _take(self, event: Event) -> None:
        data = event.data
        topic, _, rest = event.kind.partition(".")
        if topic == "state":
            self._take_state(State(rest), data)
        elif topic == "step":
            self.timings[rest] = float(data.get("seconds", 0))
        elif event.kind == "keeper.started":
            self.slot, self.boot_id = int(data["slot"]), str(data["boot_id"])
        elif event.kind == "machine.started":
            self.machine = dict(data)
        elif event.kind == "machine.gone":
            self.machine = None
        elif event.kind == "gateway.started":
            self.gateway = {"pid": int(data["pid"]), "started": int(data["started"])}
        elif event.kind == "rewind.begun":
            self.rewinding = str(data["name"])
        elif event.kind == "rewind.done":
            self.rewinding = None
        elif event.kind == "desktop.gone":
            self.gone = True
        elif event.kind == "journal.compacted":
            self._take_all(data)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"state": str(self.state)}

    def _take_state(self, state: State, data: Mapping[str, Any]) -> None:
        self.state = state
        self.error = data.get("error")
        if state is State.STARTING:
            self.timings = {}
        elif state is State.RUNNING and "total" in data:
            self.timings["total"] = float(data["total"])

    def _take_all(self, data: Mapping[str, Any]) -> None:
        state = State(data["state"])
        for item in fields(self):
            if item.name in data and item.name != "seq":
                setattr(self, item.name, data[item.name])
        self.state = state
