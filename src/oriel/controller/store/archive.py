"""A backup: one file with every row, the key that opens its secrets, and what else must not be lost.

It is taken from one moment while the controller serves, and does not depend on which database that uses: what
was written from SQLite can be restored into PostgreSQL. It is as secret as the home itself.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, MetaData, Table, insert, select, text

import oriel
from oriel.controller.store.database import LATEST, make_engine
from oriel.controller.store.schema import migrate
from oriel.model.errors import HostError, InvalidError, StateError
from oriel.model.events import utc_now

__all__ = ["Summary", "back_up", "read_back"]

FORMAT = 1
ROWS_AT_ONCE = 500
_VERSION_TABLE = "alembic_version"


@dataclass(frozen=True)
class Summary:
    """What a backup holds."""

    created_at: str
    version: str  # of Oriel
    rows: Mapping[str, int]
    files: tuple[str, ...]


def back_up(url: str, files: Mapping[str, Path], target: Path) -> Summary:
    """Write `target` (0600), whole or not at all. `files`: what stands beside the rows, those that exist.

    HostError if the database cannot be read or `target` not be written.
    """
    present = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with _opened(url) as engine, _new(draft) as archive:
            members: dict[str, str] = {}
            with _one_moment(engine) as connection:
                schema = MigrationContext.configure(connection).get_current_revision()
                if schema is None:
                    raise HostError("there is no database of Oriel to back up", hint="start Oriel once first")
                rows = {
                    table.name: _add_table(archive, members, connection, table)
                    for table in _tables(connection)
                }
                counters = _counters(connection)
            for name, data in present.items():
                _add(archive, members, f"files/{name}", io.BytesIO(data), len(data))
            created_at = utc_now()
            manifest = {
                "format": FORMAT, "version": oriel.__version__, "created_at": created_at, "schema": schema,
                "rows": rows, "counters": counters, "members": members,
            }  # fmt: skip
            data = json.dumps(manifest, indent=1).encode()
            _add(archive, {}, "manifest.json", io.BytesIO(data), len(data))
        draft.replace(target)
    except OSError as error:
        raise HostError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return Summary(created_at, oriel.__version__, rows, tuple(present))


def read_back(url: str, source: Path, files: Mapping[str, Path]) -> Summary:
    """Fill the empty database at `url`, bring it up to date, and write `files` that are not there yet.

    The backup is read and checked as a whole before anything is changed. InvalidError if it is damaged or no
    backup, StateError if the database is not empty, HostError if a newer Oriel wrote it.
    """
    with _read(source) as archive:
        manifest = _checked(archive, source)
        with _opened(url) as engine, engine.begin() as connection:
            if _tables(connection):
                raise StateError(
                    "the database is not empty",
                    hint="restore into a new one, and name it in database_url",
                )
            try:
                migrate(connection, str(manifest["schema"]))
            except HostError as error:
                raise HostError(
                    f"the backup was made by a newer Oriel, {manifest['version']}",
                    hint="install that one",
                ) from error
            for table in _tables(connection):
                _fill(archive, connection, table)
            _set_counters(connection, manifest["counters"])
            migrate(connection, LATEST)
        written = [name for name in files if f"files/{name}" in manifest["members"]]
        for name in written:
            _write_file(files[name], _member(archive, f"files/{name}"))
    return Summary(manifest["created_at"], manifest["version"], manifest["rows"], tuple(written))


@contextmanager
def _opened(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _one_moment(engine: Engine) -> Iterator[Connection]:
    """Everything read from it is of the moment of the first read; writers go on meanwhile."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def _tables(connection: Connection) -> list[Table]:
    """Those the database has, each after those it refers to."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != _VERSION_TABLE]


def _add_table(
    archive: tarfile.TarFile, members: dict[str, str], connection: Connection, table: Table
) -> int:
    count = 0
    with tempfile.TemporaryFile() as lines:
        for row in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(select(table)):
            values = {name: _plain(value) for name, value in row._mapping.items()}
            lines.write(json.dumps(values, separators=(",", ":")).encode() + b"\n")
            count += 1
        size = lines.tell()
        lines.seek(0)
        _add(archive, members, f"tables/{table.name}.jsonl", lines, size)
    return count


def _fill(archive: tarfile.TarFile, connection: Connection, table: Table) -> None:
    batch: list[dict[str, Any]] = []
    for line in _member(archive, f"tables/{table.name}.jsonl").splitlines():
        batch.append({name: _value(value) for name, value in json.loads(line).items()})
        if len(batch) == ROWS_AT_ONCE:
            connection.execute(insert(table), batch)
            batch = []
    if batch:
        connection.execute(insert(table), batch)


def _plain(value: object) -> object:
    return {"$bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _value(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"$bytes"}:
        return base64.b64decode(value["$bytes"])
    return value


def _numbered(connection: Connection) -> list[tuple[Table, str]]:
    """Tables whose rows the database numbers, and by which column."""
    return [
        (table, table.autoincrement_column.name)
        for table in _tables(connection)
        if table.autoincrement_column is not None
    ]


def _counters(connection: Connection) -> dict[str, int]:
    """The highest number each table has given, also to rows that are gone: none is ever given twice."""
    if connection.dialect.name == "sqlite":
        given = {
            row.name: row.seq for row in connection.execute(text("SELECT name, seq FROM sqlite_sequence"))
        }
    else:
        last = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, :column)::regclass)")
        given = {
            table.name: connection.execute(last, {"name": table.name, "column": column}).scalar()
            for table, column in _numbered(connection)
        }
    return {name: int(number) for name, number in given.items() if number}


def _set_counters(connection: Connection, counters: Mapping[str, int]) -> None:
    for table, column in _numbered(connection):
        number = counters.get(table.name, 0)
        if connection.dialect.name == "sqlite":
            connection.execute(
                text("UPDATE sqlite_sequence SET seq = max(seq, :number) WHERE name = :name"),
                {"number": number, "name": table.name},
            )
        elif number:
            connection.execute(
                text("SELECT setval(pg_get_serial_sequence(:name, :column), :number)"),
                {"number": number, "name": table.name, "column": column},
            )


# --- the file


@contextmanager
def _new(path: Path) -> Iterator[tarfile.TarFile]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=3) as archive:
            yield archive
        file.flush()
        os.fsync(file.fileno())


def _add(archive: tarfile.TarFile, members: dict[str, str], name: str, data: IO[bytes], size: int) -> None:
    digest = hashlib.sha256()
    while piece := data.read(1 << 20):
        digest.update(piece)
    members[name] = digest.hexdigest()
    data.seek(0)
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    archive.addfile(member, data)


@contextmanager
def _read(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:gz") as archive:
            yield archive
    except FileNotFoundError as error:
        raise InvalidError(f"there is no {path}") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InvalidError(
            f"{path} is no backup of Oriel, or damaged ({error})", hint="take another one"
        ) from error


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise InvalidError(f"the backup has no {name}: it is damaged", hint="take another one")
    return file.read()


def _checked(archive: tarfile.TarFile, path: Path) -> dict[str, Any]:
    """The manifest, once every member is what it says."""
    try:
        manifest = json.loads(_member(archive, "manifest.json"))
        known: bool = manifest["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidError(f"{path} is no backup of Oriel", hint="`oriel backup FILE` makes one") from error
    if not known:
        raise HostError(f"{path} has a format this Oriel does not know", hint="install the one that wrote it")
    for name, digest in manifest["members"].items():
        if hashlib.sha256(_member(archive, name)).hexdigest() != digest:
            raise InvalidError(f"{name} in {path} is damaged", hint="take another backup")
    return dict(manifest)


def _write_file(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
