"""The states of a desktop and the only ways between them."""

from __future__ import annotations

from enum import StrEnum

from oriel.model.errors import StateError

__all__ = ["TRANSITIONS", "State", "check_transition"]


class State(StrEnum):
    CREATING = "creating"
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"
    FAILED = "failed"


_S = State
TRANSITIONS: dict[State, frozenset[State]] = {
    _S.CREATING: frozenset({_S.STARTING, _S.RUNNING, _S.FAILED, _S.DELETING}),
    _S.STARTING: frozenset({_S.RUNNING, _S.STOPPING, _S.FAILED, _S.DELETING}),
    _S.RUNNING: frozenset({_S.PAUSING, _S.STOPPING, _S.STOPPED, _S.STARTING, _S.FAILED, _S.DELETING}),
    _S.PAUSING: frozenset({_S.PAUSED, _S.RUNNING, _S.FAILED, _S.DELETING}),
    _S.PAUSED: frozenset({_S.RESUMING, _S.STOPPING, _S.STOPPED, _S.FAILED, _S.DELETING}),
    _S.RESUMING: frozenset({_S.RUNNING, _S.PAUSED, _S.FAILED, _S.DELETING}),
    _S.STOPPING: frozenset({_S.STOPPED, _S.FAILED, _S.DELETING}),
    _S.STOPPED: frozenset({_S.STARTING, _S.FAILED, _S.DELETING}),
    _S.FAILED: frozenset({_S.STARTING, _S.STOPPING, _S.STOPPED, _S.DELETING}),
    _S.DELETING: frozenset({_S.FAILED}),
}


def check_transition(old: State, new: State) -> None:
    """Raise StateError unless `old` may become `new`. Staying in a state is not a transition."""
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(TRANSITIONS[old]))
        raise StateError(
            f"a {old} desktop cannot become {new}",
            hint=f"from {old} a desktop can become: {allowed}",
        )
