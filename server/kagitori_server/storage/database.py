"""What the catalog needs of a kind of database; `sqlite` and `postgres` are the two there are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from sqlalchemy import Connection, bindparam, select

from kagitori_server.storage import schema
from kagitori_server.storage.changes import Progress, progress
from kagitori_server.storage.view import Prover, View

DatabaseKind = Literal["sqlite", "postgresql"]


class Database(Protocol):
    """Connections to one database.

    Failures come out as SQLAlchemy's exceptions, too long waits for the turn as DependencyTimeoutException.
    """

    @property
    def kind(self) -> DatabaseKind:
        """Which."""

    def reading(self) -> AbstractContextManager[Connection]:
        """One consistent snapshot, read only."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that no other write transaction of any process runs beside once the clock is moved.

        Committed durably on normal exit, else rolled back.
        """

    def migrating(self) -> AbstractContextManager[Connection]:
        """A transaction that no other process migrates or writes beside, on a database that may be empty."""

    def scrub(self) -> bool:
        """Removes what was deleted from the database's log. False when a reader was in the way: try again."""

    def prover(self, view: View) -> Prover:
        """Proof of currency for `view`."""

    def close(self) -> None:
        """Closes all connections."""


_clock = schema.catalog_clock.c
_changes = schema.changes.c
_HORIZON = select(_clock.version, _clock.horizon)
_SINCE = (
    select(_changes.kind, _changes.subject)
    .where(_changes.version > bindparam("since"))
    .order_by(_changes.version, _changes.ordinal)
)


def progress_since(connection: Connection, since: int) -> Progress:
    """What changed after `since`, as far as the connection's transaction sees."""
    version, horizon = connection.execute(_HORIZON).one()
    if not horizon <= since <= version:
        return Progress(version, None)
    found = connection.execute(_SINCE, {"since": since})
    return progress(since, version, horizon, [(row.kind, row.subject) for row in found])
