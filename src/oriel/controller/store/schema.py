"""The revisions of the tables, by Alembic: forward from every released one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from oriel.model.errors import HostError

__all__ = ["migrate"]


def migrate(connection: Connection, revision: str) -> None:
    """Bring the tables to a revision. HostError if one of the two is none of ours."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise HostError(
            f"the database does not fit this version of Oriel: {error}",
            hint="start the version that wrote it, or restore a backup",
            code="unknown_revision",
        ) from error
