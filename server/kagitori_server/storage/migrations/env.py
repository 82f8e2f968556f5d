"""Alembic's entry: runs revisions in the transaction that `storage.migrate` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

connection = context.config.attributes["connection"]
if not isinstance(connection, Connection):
    raise TypeError("migrations run through kagitori_server.storage.migrate alone")
# SQLite keeps DDL in the transaction as well, since we begin transactions ourselves.
context.configure(connection=connection, transactional_ddl=True)
context.run_migrations()
