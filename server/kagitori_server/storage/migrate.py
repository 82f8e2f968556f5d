"""Brings a database to the schema this program was made for."""

from __future__ import annotations

from pathlib import Path

import alembic.command
import alembic.config
import alembic.util
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from kagitori_server.storage.failures import CatalogUnusableError

_MIGRATIONS = Path(__file__).with_name("migrations")


def upgrade(connection: Connection) -> str:
    """Runs what is missing within the connection's transaction; the caller holds the write lock.

    Returns the revision. Raises CatalogUnusableError for a database made by a newer program.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        alembic.command.upgrade(config, "head")
    except alembic.util.CommandError:
        raise CatalogUnusableError(
            f"the catalog's schema {revision(connection)!r} is unknown to this version of the program"
        ) from None
    return revision(connection)


def revision(connection: Connection) -> str:
    """The schema revision of the database; empty when it has none."""
    return MigrationContext.configure(connection).get_current_revision() or ""
