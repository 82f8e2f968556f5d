"""SQLite: one file on one machine, any number of processes."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from kagitori_server.storage.changes import progress
from kagitori_server.storage.database import DatabaseKind
from kagitori_server.storage.failures import CatalogUnusableError, timed_out
from kagitori_server.storage.options import CatalogOptions
from kagitori_server.storage.turns import FairLock, FileTurn
from kagitori_server.storage.view import Prover, View
from kagitori_server.storage.write_mark import WriteMark

_PRAGMAS = ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON", "trusted_schema = OFF")
_BUSY_SECONDS = 5.0
_PROVER_BUSY_SECONDS = 1.0
_SCRUB_BUSY_MILLISECONDS = 250
_SCRUB_TURN_SECONDS = 0.05
_MARK_SECONDS = 1.0


class SqliteDatabase:
    """A database file, its write-ahead log and two lock files beside it, all of mode 0600."""

    kind: DatabaseKind = "sqlite"

    def __init__(self, path: Path, options: CatalogOptions, monotonic: Callable[[], float]) -> None:
        """Makes the file when it isn't there. Raises CatalogUnusableError."""
        self._path = path
        self._options = options
        self._monotonic = monotonic
        _make_private(path)
        wait = options.write_wait_seconds
        self._read_engine = _engine(path, options.read_connections, wait, "BEGIN", "query_only = ON")
        self._write_engine = _engine(path, 1, wait, "BEGIN IMMEDIATE")
        self._line = FairLock()
        self._turn = FileTurn(path, monotonic)
        self._prover: _SqliteProver | None = None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """The snapshot is taken by the first statement."""
        with self._read_engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """First come, first served within the process, then turn by turn with other processes."""
        with self._exclusively(), self._write_engine.begin() as connection:
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Also turns the write-ahead log on, which stays on for good."""
        with self._exclusively():
            self._keep_write_ahead_log()
            with self._write_engine.begin() as connection:
                yield connection

    def scrub(self, *, patiently: bool) -> bool:
        """Moves the log into the database and cuts it to nothing."""
        turn = self._exclusively(None if patiently else _SCRUB_TURN_SECONDS)
        with turn, self._write_engine.connect() as connection:
            raw = connection.connection.driver_connection
            if not isinstance(raw, sqlite3.Connection):
                raise TypeError("not the sqlite3 driver")
            # Writers wait behind this: don't wait long for readers, rather come again.
            raw.execute(f"PRAGMA busy_timeout = {_SCRUB_BUSY_MILLISECONDS if patiently else 0}")
            try:
                busy: int = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                raw.execute(f"PRAGMA busy_timeout = {round(_BUSY_SECONDS * 1000)}")
            return busy == 0

    def prover(self, view: View) -> Prover:
        """By the writers' mark, and by `PRAGMA data_version` where that has moved."""
        self._prover = _SqliteProver(self._path, view, self._turn.mark, self._monotonic)
        return self._prover

    def close(self) -> None:
        """Closes the connections and lock files."""
        if self._prover is not None:
            self._prover.close()
        self._read_engine.dispose()
        self._write_engine.dispose()
        self._turn.close()

    def _keep_write_ahead_log(self) -> None:
        raw = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            mode = raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError:
            raise timed_out("the database is busy") from None
        except sqlite3.DatabaseError as error:
            raise CatalogUnusableError(f"{self._path}: {error}") from None
        finally:
            raw.close()
        if mode != "wal":
            raise CatalogUnusableError(f"{self._path}: this file system can't hold a write-ahead log")

    @contextmanager
    def _exclusively(self, seconds: float | None = None) -> Iterator[None]:
        wait = self._options.write_wait_seconds if seconds is None else seconds
        end = self._monotonic() + wait
        if not self._line.acquire(wait):
            raise timed_out("too many writes are waiting")
        try:
            if not self._turn.acquire(max(0.0, end - self._monotonic())):
                raise timed_out("another process is writing")
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._line.release()


class _SqliteProver:
    """The writers' mark says that nothing can have changed. Else `PRAGMA data_version` of its own connection tells,
    which differs whenever another one has committed meanwhile; and once a second in any case, for the sake of
    writers that don't know the mark (an operator with the sqlite3 tool).
    """

    def __init__(self, path: Path, view: View, mark: WriteMark, monotonic: Callable[[], float]) -> None:
        self._mark = mark
        self._monotonic = monotonic
        self._seen_mark = -1
        self._good_until = 0.0
        self._view = view
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=_PROVER_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only = ON")
        self._data_version = -1

    def now(self) -> bool:
        """Always true, or DependencyTimeoutException."""
        # Read before anything else: a write that begins from here on is later than this call.
        mark = self._mark.read()
        if mark == self._seen_mark and self._monotonic() < self._good_until:
            return True
        with self._lock:
            try:
                # Read before the changes: what is committed in between will differ at the next proof.
                data_version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
                if data_version != self._data_version:
                    self._catch_up()
                    self._data_version = data_version
                self._good_until = self._monotonic() + _MARK_SECONDS
                self._seen_mark = mark if mark % 2 == 0 else -1
            except sqlite3.Error:
                raise timed_out("the database failed") from None
        return True

    async def soon(self) -> None:
        """The same: it takes microseconds."""
        self.now()

    def blocking(self) -> None:
        """The same."""
        self.now()

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            self._seen_mark = -1
            self._connection.close()

    def _catch_up(self) -> None:
        since = self._view.version
        # One statement, hence one snapshot.
        found = self._connection.execute(
            "SELECT clock.version, clock.horizon, changes.kind, changes.subject FROM catalog_clock AS clock"
            " LEFT JOIN changes ON changes.version > ? AND clock.horizon <= ?"
            " ORDER BY changes.version, changes.ordinal",
            (since, since),
        ).fetchall()
        version, horizon = found[0][:2]
        changes = [row[2:] for row in found if row[2] is not None]
        self._view.advance(progress(since, version, horizon, changes))


def _engine(path: Path, connections: int, wait: float, begin: str, *pragmas: str) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=wait,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _prepare(raw: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        # We begin transactions ourselves: the driver wouldn't before a SELECT.
        raw.isolation_level = None
        for pragma in (*_PRAGMAS, *pragmas):
            raw.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _make_private(path: Path) -> None:
    """Raises CatalogUnusableError for a file that others may open, or whose folder isn't there."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        mode: Any = path.stat().st_mode
    except OSError as error:
        raise CatalogUnusableError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise CatalogUnusableError(f"{path} must be a file that its owner alone may open (mode 0600)")
