"""What the catalog needs of a kind of database; `sqlite` and `postgres` are the two there are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from sqlalchemy import BigInteger, Connection, and_, bindparam, select

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

    def scrub(self, *, patiently: bool) -> bool:
        """Removes what was deleted from the database's log. False when a reader was in the way: try again.

        Only `patiently` does it wait: for its turn as long as a write would, for readers a moment.
        """

    def prover(self, view: View) -> Prover:
        """Proof of currency for `view`."""

    def close(self) -> None:
        """Closes all connections."""


_clock = schema.catalog_clock
_changes = schema.changes
_since = bindparam("since", type_=BigInteger)
# One statement, hence one snapshot. The provers ask the same in their drivers' own words.
_PROGRESS = (
    select(_clock.c.version, _clock.c.horizon, _changes.c.kind, _changes.c.subject)
    .select_from(_clock.outerjoin(_changes, and_(_changes.c.version > _since, _clock.c.horizon <= _since)))
    .order_by(_changes.c.version, _changes.c.ordinal)
)


def progress_since(connection: Connection, since: int) -> Progress:
    """What changed after `since`, as far as the connection's transaction sees."""
    found = connection.execute(_PROGRESS, {"since": since}).all()
    changed = [(row.kind, row.subject) for row in found if row.kind is not None]
    return progress(since, found[0].version, found[0].horizon, changed)
