"""Desktops as the controller wants them and last knew them. The one place that changes a state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from oriel.controller.store.database import Transaction
from oriel.controller.store.events import record
from oriel.controller.store.leases import take
from oriel.controller.store.tables import desktops, idempotency, users
from oriel.model.clipboard import Way
from oriel.model.errors import NotFoundError, StateError
from oriel.model.events import utc_now
from oriel.model.spec import DesktopSpec, Isolation, Rates, Runtime, Screen
from oriel.model.state import State, check_transition

__all__ = [
    "SELECT",
    "Desktop",
    "IdleAction",
    "Restart",
    "Ruled",
    "Wanted",
    "add",
    "advance",
    "change",
    "count_states",
    "desktop_of",
    "every",
    "find",
    "forget",
    "forget_exit",
    "known_by_key",
    "move",
    "note",
    "remember_key",
    "ruled",
    "running",
]


class Wanted:
    """What a desktop is to become."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    DELETED = "deleted"


class Restart:
    """Whether it is started again: after a failure, or whenever it does not run though it is wanted to."""

    NO = "no"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


class IdleAction:
    """What becomes of it after `idle_timeout_s` without use."""

    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True)
class Ruled:
    """As much of a desktop as its rules are about."""

    id: str
    state: State
    ready_at: str | None
    idle_timeout_s: int
    idle_action: str
    max_age_s: int


@dataclass(frozen=True, kw_only=True)
class Desktop:
    """One desktop: what was asked, and what is known of it at one moment. `owner` is the owner's name."""

    id: str
    name: str
    owner_id: str
    owner: str
    session_id: str
    wanted: str
    state: State
    runtime: Runtime
    isolation: Isolation
    image: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    screen_width: int
    screen_height: int
    proxy: str
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    idle_timeout_s: int
    labels: Mapping[str, str]
    created_at: str
    ready_at: str | None
    timings: Mapping[str, float]
    error: Mapping[str, Any] | None
    journal_seq: int
    rates: Mapping[str, int] = field(default_factory=dict)  # of its devices, where they are limited
    idle_action: str = IdleAction.PAUSE
    max_age_s: int = 0
    restart: str = Restart.NO
    clipboard: Way = Way.BOTH
    origin: str = ""  # of a fork: DESKTOP/SNAPSHOT that it begins as
    place: int = 0  # which of the proxy's addresses is its own
    limits: Mapping[str, Any] = field(default_factory=dict)  # of its policy, where not the default
    held: tuple[str, ...] = ()  # names of limits that only administrators change
    exit_ip: str = ""  # the address the world sees, as last asked
    exit_was: str = ""  # what that was before it changed without being asked to
    number: int = 0  # in the order of creation
    revision: int = 0  # goes up with every change

    def __hash__(self) -> int:
        return hash((self.id, self.revision))

    @property
    def generation(self) -> str:
        """Another one each time it has started: what was given for one run is void in the next."""
        return self.ready_at or ""

    @property
    def begins_as(self) -> tuple[str, str] | None:
        """The desktop's id and the snapshot of it that a fork begins as."""
        desktop_id, _, snapshot = self.origin.partition("/")
        return (desktop_id, snapshot) if snapshot else None

    def spec(self) -> DesktopSpec:
        """What its host is asked for."""
        return DesktopSpec(
            id=self.id,
            name=self.name,
            session_id=self.session_id,
            runtime=self.runtime,
            image=self.image,
            vcpus=self.vcpus,
            memory_mib=self.memory_mib,
            disk_gib=self.disk_gib,
            screen=Screen(width=self.screen_width, height=self.screen_height),
            rates=Rates(**self.rates),
        )


# Every column of a desktop, for `desktop_of`.
SELECT = select(desktops, users.c.name.label("owner")).join(users, users.c.id == desktops.c.owner_id)
_COLUMNS = tuple(SELECT.selected_columns.keys())
# A list makes thousands of these: looking a value up in a dictionary is several times quicker than asking
# the enumeration.
_STATES = {str(state): state for state in State}
_RUNTIMES = {str(runtime): runtime for runtime in Runtime}
_WAYS = {str(way): way for way in Way}
_ISOLATIONS = {str(isolation): isolation for isolation in Isolation}


def desktop_of(row: Row[Any]) -> Desktop:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["state"] = _STATES[values["state"]]
    values["runtime"] = _RUNTIMES[values["runtime"]]
    values["isolation"] = _ISOLATIONS[values["isolation"]]
    values["clipboard"] = _WAYS[values["clipboard"]]
    for name in ("allow", "deny", "held"):
        values[name] = tuple(values[name])
    return Desktop(**values)


def find(connection: Connection, ref: str) -> Desktop | None:
    """By id or by name. An id has a form that no name of a person's choosing should have, and wins."""
    row = connection.execute(SELECT.where(desktops.c.id == ref)).first()
    if row is None:
        row = connection.execute(SELECT.where(desktops.c.name == ref)).first()
    return None if row is None else desktop_of(row)


def every(connection: Connection) -> list[Desktop]:
    return [desktop_of(row) for row in connection.execute(SELECT.order_by(desktops.c.number))]


def count_states(connection: Connection) -> dict[str, int]:
    """How many desktops are in each state."""
    rows = connection.execute(select(desktops.c.state, func.count()).group_by(desktops.c.state))
    return {str(state): int(count) for state, count in rows}


def ruled(connection: Connection) -> list[Ruled]:
    """Those that run or are paused, and are not to do so for ever."""
    columns = (desktops.c[name] for name in Ruled.__dataclass_fields__)
    lasting = desktops.c.state.in_((State.RUNNING, State.PAUSED))
    limited = or_(desktops.c.idle_timeout_s > 0, desktops.c.max_age_s > 0)
    rows = connection.execute(select(*columns).where(lasting, limited))
    return [Ruled(row.id, _STATES[row.state], *row[2:]) for row in rows]


def running(connection: Connection, owner_id: str | None) -> list[str]:
    """The ids of those that run; of one owner, or of all."""
    query = select(desktops.c.id).where(desktops.c.state == State.RUNNING)
    if owner_id is not None:
        query = query.where(desktops.c.owner_id == owner_id)
    return list(connection.execute(query).scalars())


def add(transaction: Transaction, desktop: Desktop) -> Desktop:
    """A new desktop, `creating`. StateError if the name is taken."""
    columns = (column.name for column in desktops.columns if column.name != "number")
    values = _plain({name: getattr(desktop, name) for name in columns})
    place = take(transaction, desktop.proxy, desktop_id=desktop.id, owner_id=desktop.owner_id)
    values |= {"place": place, "exit_ip": "", "exit_was": ""}
    try:
        transaction.connection.execute(insert(desktops).values(values))
    except IntegrityError as error:
        raise _taken(desktop.name) from error
    record(transaction, desktop, f"state.{desktop.state}")
    return _present(transaction, desktop.id)


def change(transaction: Transaction, desktop_id: str, **values: Any) -> Desktop:
    """Change fields that are no state. NotFoundError if it is gone.

    StateError if the new name is taken, or if no address of the new proxy is free.
    """
    values |= _new_exit(transaction, desktop_id, values)
    note(transaction, desktop_id, **values)
    return _present(transaction, desktop_id)


def note(transaction: Transaction, desktop_id: str, **values: Any) -> None:
    """`change` without an answer. A keeper's journal is thousands of these."""
    try:
        result = transaction.connection.execute(
            update(desktops)
            .where(desktops.c.id == desktop_id)
            .values({**_plain(values), "revision": desktops.c.revision + 1})
        )
    except IntegrityError as error:
        raise _taken(str(values.get("name"))) from error
    if not result.rowcount:
        raise NotFoundError("this desktop is gone")


def _new_exit(transaction: Transaction, desktop_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Another proxy or another owner: another address, of which nobody knows yet what the world sees."""
    if not {"proxy", "owner_id"} & values.keys():
        return {}
    old = _present(transaction, desktop_id)
    proxy, owner_id = values.get("proxy", old.proxy), values.get("owner_id", old.owner_id)
    if (proxy, owner_id) == (old.proxy, old.owner_id):
        return {}
    place = take(transaction, proxy, desktop_id=desktop_id, owner_id=owner_id)
    return {"place": place, "exit_ip": "", "exit_was": ""}


def forget_exit(transaction: Transaction, ref: str) -> Desktop:
    """Its proxy leads elsewhere now, on purpose. NotFoundError if it is gone."""
    found = find(transaction.connection, ref)
    if found is None:
        raise NotFoundError("this desktop is gone")
    return change(transaction, found.id, exit_ip="", exit_was="")


def move(
    transaction: Transaction,
    desktop_id: str,
    state: State,
    *,
    message: str = "",
    data: Mapping[str, Any] | None = None,
    **values: Any,
) -> Desktop:
    """Bring a desktop into `state`, and record that as an event; the one writer of states.

    Being there already changes only `values`. StateError if the way is not allowed, NotFoundError if
    it is gone.
    """
    advance(transaction, _present(transaction, desktop_id), state, message=message, data=data, **values)
    return _present(transaction, desktop_id)


def advance(
    transaction: Transaction,
    old: Desktop,
    state: State,
    *,
    message: str = "",
    data: Mapping[str, Any] | None = None,
    **values: Any,
) -> None:
    """`move` from what this transaction has read."""
    if old.state is not state:
        check_transition(old.state, state)
        values |= {"state": str(state)} | _consequences(old, state, values)
    if values:
        note(transaction, old.id, **values)
    if old.state is not state:
        record(transaction, old, f"state.{state}", message, data or {})


def _consequences(old: Desktop, state: State, values: Mapping[str, Any]) -> dict[str, Any]:
    if state is State.RUNNING and old.state in (State.PAUSING, State.RESUMING):
        return {"error": None}  # it goes on with the run it was in
    if state is State.RUNNING:
        return {"error": None, "ready_at": values.get("ready_at") or utc_now()}
    if state is State.STARTING:
        return {"error": None, "timings": {}, "ready_at": None}
    return {}


def forget(transaction: Transaction, desktop_id: str) -> None:
    """It is gone: only its events stay."""
    desktop = _present(transaction, desktop_id)
    transaction.connection.execute(delete(desktops).where(desktops.c.id == desktop_id))
    record(transaction, desktop, "desktop.gone")


def remember_key(
    transaction: Transaction, user_id: str, key: str, digest: str, desktop_id: str, *, forget_before: str
) -> None:
    """That this request made this desktop. Keys older than `forget_before` go."""
    connection = transaction.connection
    connection.execute(delete(idempotency).where(idempotency.c.created_at < forget_before))
    connection.execute(
        insert(idempotency).values(
            user_id=user_id, key=key, digest=digest, desktop_id=desktop_id, created_at=utc_now()
        )
    )


def known_by_key(connection: Connection, user_id: str, key: str, digest: str) -> str | None:
    """The id of the desktop that a request with this key has made. StateError if it was another request."""
    row = connection.execute(
        select(idempotency).where(idempotency.c.user_id == user_id, idempotency.c.key == key)
    ).first()
    if row is None:
        return None
    if row.digest != digest:
        raise StateError(
            "this Idempotency-Key was used for another request",
            hint="use a new key for a new request",
            code="idempotency_key_reused",
        )
    return str(row.desktop_id)


def _present(transaction: Transaction, desktop_id: str) -> Desktop:
    found = find(transaction.connection, desktop_id)
    if found is None or found.id != desktop_id:
        raise NotFoundError("this desktop is gone")
    return found


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
    }


def _taken(name: str) -> StateError:
    return StateError(
        f"there is a desktop named {name!r} already", hint="choose another name", code="name_taken"
    )
