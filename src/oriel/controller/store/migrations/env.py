"""Alembic's entry: migrations run inside the connection that Database hands over."""

from alembic import context

from oriel.controller.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
