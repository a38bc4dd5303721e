"""The database: many readers, one writer.

Every change goes through one thread that commits what has queued up meanwhile as one transaction, so a
burst of changes costs one flush to the disk. A change is acknowledged only after that flush; a change
that fails is undone alone. Events recorded in a transaction are published after it, in their order.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from oriel.model.errors import HostError, NoSpaceError, OrielError, UnavailableError
from oriel.model.events import Event

__all__ = ["LATEST", "Database", "Transaction", "make_engine"]

LATEST = "0001"  # the newest revision of the tables

READERS = 4
MAX_BATCH = 256
BUSY_TIMEOUT_S = 10
_LOG = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass
class Transaction:
    """What a change gets: a connection inside a transaction, and where its events are collected."""

    connection: Connection
    # (who owns the desktop, event), published after the commit
    events: list[tuple[str, Event]] = field(default_factory=list)


@dataclass
class _Change:
    work: Callable[[Transaction], Any]
    done: Future[Any]


Publish = Callable[[list[tuple[str, Event]]], None]


class Database:
    """Opened by `open`, closed by `close`. Reads and changes raise OrielErrors only."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._writer: threading.Thread | None = None
        self._publish: Publish = lambda _: None
        self._loop: asyncio.AbstractEventLoop

    async def open(self, publish: Publish) -> None:
        """Bring the tables up to date and start the writer. `publish` is called in the running loop.

        HostError if the file is no database of ours or of a newer version.
        """
        self._loop = asyncio.get_running_loop()
        self._publish = publish
        await asyncio.to_thread(self._prepare)
        self._writer = threading.Thread(target=self._write, name="store-write", daemon=True)
        self._writer.start()

    async def close(self) -> None:
        """Everything asked for is written first."""
        if self._writer is not None:
            self._changes.put(None)
            await asyncio.to_thread(self._writer.join)
            self._engine.dispose()
        self._readers.shutdown()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, which only reads."""

        def run() -> T:
            try:
                with self._engine.connect() as connection:
                    return work(connection)
            except DBAPIError as error:
                raise _translated(error) from error

        return await self._loop.run_in_executor(self._readers, run)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """The result of `work`, once it is on the disk. If it raises, nothing of it is.

        Goes on when the caller is cancelled: what was begun is written.
        """
        change = _Change(work, Future())
        self._changes.put(change)
        result: T = await asyncio.shield(asyncio.wrap_future(change.done))
        return result

    def _prepare(self) -> None:
        try:
            self._engine = make_engine(self._url)
            try:
                with self._engine.begin() as connection:
                    _bring_up_to_date(connection)
            except BaseException:
                self._engine.dispose()
                raise
        except DBAPIError as error:
            raise _translated(error) from error
        except SQLAlchemyError as error:
            # Without its text: that may hold the address, and the address a password.
            raise HostError(
                f"database_url is no database Oriel can use ({type(error).__name__})",
                hint="postgresql://USER@HOST/NAME, or leave it empty for SQLite in the home",
            ) from None

    def _write(self) -> None:
        with self._engine.connect() as connection:
            while (first := self._changes.get()) is not None:
                batch, ended = self._gather(first)
                self._commit(connection, batch)
                if ended:
                    return

    def _gather(self, first: _Change) -> tuple[list[_Change], bool]:
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                change = self._changes.get_nowait()
            except queue.Empty:
                break
            if change is None:
                return batch, True
            batch.append(change)
        return batch, False

    def _commit(self, connection: Connection, batch: list[_Change]) -> None:
        outcomes: list[tuple[_Change, Any, BaseException | None]] = []
        published: list[tuple[str, Event]] = []
        try:
            with connection.begin():
                for change in batch:
                    outcomes.append((change, *_apply(connection, change, published)))
        except Exception as failure:
            # None of the batch is on the disk; whoever was told an error of its own keeps that one.
            failed = _translated(failure)
            for change in batch:
                change.done.set_exception(failed)
            return
        if published:
            self._call(self._publish, published)
        for change, result, error in outcomes:
            if error is not None:
                change.done.set_exception(error)
            else:
                change.done.set_result(result)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)


def _apply(
    connection: Connection, change: _Change, published: list[tuple[str, Event]]
) -> tuple[Any, BaseException | None]:
    transaction = Transaction(connection)
    try:
        with connection.begin_nested():
            result = change.work(transaction)
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(error, OperationalError):
            raise
        return None, error
    except Exception as error:
        return None, error
    published += transaction.events
    return result, None


def _bring_up_to_date(connection: Connection) -> None:
    if _revision(connection) != LATEST:
        # Alembic takes a tenth of a second to load, which a controller that comes back has not.
        from oriel.controller.store.schema import migrate

        migrate(connection, LATEST)


def _revision(connection: Connection) -> str | None:
    """The tables' own word; None if there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def make_engine(url: str) -> Engine:
    """How Oriel speaks with a database: SQLite by WAL, synced at every commit."""
    engine = create_engine(
        url, pool_size=READERS + 1, max_overflow=2, pool_pre_ping=not url.startswith("sqlite"),
        # Several times quicker than the standard library's, and a list reads five JSON columns a row.
        json_serializer=lambda value: to_json(value).decode(), json_deserializer=from_json,
    )  # fmt: skip
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Transactions begin where SQLAlchemy says, not where the driver guesses; savepoints need that.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # what is acknowledged survives a loss of power
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_S * 1000}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _translated(error: Exception) -> OrielError:
    if isinstance(error, OrielError):
        return error
    _LOG.error("the database failed", exc_info=error)
    if "disk is full" in str(error) or "No space left" in str(error):
        return NoSpaceError(
            "the host's disk is full: nothing can be stored",
            hint="free space on the file system of the home directory",
        )
    return UnavailableError(
        "the database does not answer", hint="the controller's log says why; check the disk and try again"
    )
