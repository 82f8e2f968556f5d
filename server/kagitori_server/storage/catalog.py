"""The catalog of one process: snapshots to read, transactions to write, and a view for the hot path."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy.exc
from sqlalchemy import Connection, delete, insert, make_url, select, update

from kagitori_server.model.errors import DependencyTimeoutException
from kagitori_server.storage import migrate, schema
from kagitori_server.storage.changes import Progress
from kagitori_server.storage.database import Database, DatabaseKind, progress_since
from kagitori_server.storage.failures import CatalogUnusableError, reason, timed_out, translated
from kagitori_server.storage.kek_shelf import KekShelf
from kagitori_server.storage.options import CatalogOptions
from kagitori_server.storage.reader import Reader
from kagitori_server.storage.sqlite import SqliteDatabase
from kagitori_server.storage.view import View
from kagitori_server.storage.writer import Writer

_log = logging.getLogger(__name__)

_TRIM_EVERY = 256
"""Old changes are trimmed once in so many writes, to spread the cost."""


@dataclass(frozen=True, slots=True)
class CatalogHealth:
    """An answer to: is the database there?"""

    kind: DatabaseKind
    schema_revision: str
    version: int
    """Write transactions so far."""
    latency_seconds: float


class Catalog:
    """One per process. Everything but `view.prove_now`, `view.prove` and `view.kept` blocks.

    Within `read` and `write`: DependencyTimeoutException when the database is busy, slow or away,
    ValidationException for values that can't be stored, KMSInternalException for what nobody expected.
    """

    def __init__(
        self,
        database: Database,
        schema_revision: str,
        options: CatalogOptions,
        monotonic: Callable[[], float],
    ) -> None:
        self._database = database
        self._options = options
        self._monotonic = monotonic
        self.schema_revision = schema_revision
        self._closed = False
        with self.read() as reader:
            self.view = View(options.view_entries, reader.version, self.read)
        self.view.rely_on(database.prover(self.view))
        self.kek_shelf = KekShelf(self.read, self.write)
        # A process that was killed before us may have left its log behind.
        self._scrub_owed = True

    @property
    def kind(self) -> DatabaseKind:
        """Which kind of database it is."""
        return self._database.kind

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """One consistent snapshot."""
        self._check_open()
        with translated(), self._database.reading() as connection:
            yield Reader(connection, connection.execute(select(schema.catalog_clock.c.version)).scalar_one())

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """A transaction that no other one in any process runs beside; durable when the block has ended.

        The view is current within the block as far as others are concerned; what the block itself writes
        shows in the writer at once and in the view after the commit. An exception rolls everything back. When
        the commit itself fails with DependencyTimeoutException, the change may have been made all the same.
        """
        self._check_open()
        with translated():
            with self._database.writing() as connection:
                version = connection.execute(_TICK).scalar_one()
                self._bring_up_to_date(connection, version)
                writer = Writer(connection, version)
                yield writer
                self._record(connection, writer)
            self.view.advance(Progress(version, writer.touched))
            if writer.scrub or self._scrub_owed:
                self._scrub(patiently=writer.scrub)

    def health(self) -> CatalogHealth:
        """Asks the database. Raises DependencyTimeoutException."""
        began = self._monotonic()
        with self.read() as reader:
            version = reader.version
        if self._scrub_owed:
            self._scrub(patiently=False)
        return CatalogHealth(self.kind, self.schema_revision, version, self._monotonic() - began)

    def close(self) -> None:
        """Closes every connection; the catalog can't be used any more. Once is enough, twice does no harm."""
        if not self._closed:
            self._closed = True
            self._database.close()

    def _check_open(self) -> None:
        if self._closed:
            raise timed_out("it is closed")

    def _bring_up_to_date(self, connection: Connection, version: int) -> None:
        if version == self.view.version + 1:
            return
        found = progress_since(connection, self.view.version)
        # The tick is ours and not committed: the view stands before it until it is.
        self.view.advance(Progress(version - 1, found.changes))

    def _record(self, connection: Connection, writer: Writer) -> None:
        rows = [
            {
                "version": writer.version,
                "ordinal": ordinal,
                "kind": change.kind.value,
                "subject": change.subject,
            }
            for ordinal, change in enumerate(writer.touched)
        ]
        if rows:
            connection.execute(insert(schema.changes), rows)
        if writer.version % _TRIM_EVERY == 0:
            horizon = max(0, writer.version - self._options.changes_kept)
            connection.execute(delete(schema.changes).where(schema.changes.c.version <= horizon))
            connection.execute(update(schema.catalog_clock).values(horizon=horizon))

    def _scrub(self, *, patiently: bool) -> None:
        self._scrub_owed = True
        try:
            self._scrub_owed = not self._database.scrub(patiently=patiently)
        except (sqlalchemy.exc.SQLAlchemyError, DependencyTimeoutException) as error:
            # The change is committed and its caller must hear so; the log is emptied after a later write.
            _log.warning("the database's log could not be emptied yet: %s", reason(error))


_clock = schema.catalog_clock
_TICK = update(_clock).values(version=_clock.c.version + 1).returning(_clock.c.version)


def open_catalog(
    location: str | Path,
    *,
    monotonic: Callable[[], float],
    options: CatalogOptions | None = None,
) -> Catalog:
    """Opens, and where needed makes or upgrades, the catalog at `location`.

    `location` is a path for SQLite or a URL (`sqlite:///PATH`, `postgresql://USER@HOST/NAME`); `monotonic` is
    a clock in seconds. Raises CatalogUnusableError, or DependencyTimeoutException when the database is away.
    """
    options = options or CatalogOptions()
    database = _database(location, options, monotonic)
    try:
        with translated(), database.migrating() as connection:
            revision = migrate.upgrade(connection)
        return Catalog(database, revision, options, monotonic)
    except BaseException:
        database.close()
        raise


def _database(location: str | Path, options: CatalogOptions, monotonic: Callable[[], float]) -> Database:
    if isinstance(location, Path) or "://" not in location:
        return SqliteDatabase(Path(location), options, monotonic)
    try:
        url = make_url(location)
    except sqlalchemy.exc.ArgumentError:
        raise CatalogUnusableError("the catalog's URL can't be read") from None
    if url.drivername == "sqlite" and url.database and not url.query:
        return SqliteDatabase(Path(url.database), options, monotonic)
    if url.drivername in ("postgresql", "postgres"):
        # Not above: psycopg comes with the extra postgres, and no other catalog needs it.
        try:
            from kagitori_server.storage.postgres import PostgresDatabase
        except ImportError:
            raise CatalogUnusableError(
                "a catalog in PostgreSQL needs psycopg: install kagitori-kms with its extra postgres"
            ) from None
        return PostgresDatabase(url, options, monotonic)
    raise CatalogUnusableError("the catalog's URL must begin with sqlite:/// or postgresql://")
