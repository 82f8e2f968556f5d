"""PostgreSQL 13 or newer, or what speaks its protocol and keeps its promises: row locks and snapshots.

Every process must reach the primary. What is deleted stays in the server's dead rows until it's vacuumed, and
in its log and backups as long as those are kept: unlike SQLite's, they are not ours to overwrite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.pool import ConnectionPoolEntry

from kagitori_server.storage.database import DatabaseKind
from kagitori_server.storage.failures import CatalogUnusableError, timed_out
from kagitori_server.storage.options import CatalogOptions
from kagitori_server.storage.postgres_prover import PostgresProver
from kagitori_server.storage.turns import FairLock
from kagitori_server.storage.view import Prover, View

_CONNECT_SECONDS = 3
_MIGRATION_LOCK = 0x6B616769746F7269  # "kagitori"


class PostgresDatabase:
    """Pools of connections to the primary: several to read, one to write."""

    kind: DatabaseKind = "postgresql"

    def __init__(self, url: URL, options: CatalogOptions, monotonic: Callable[[], float]) -> None:
        """Connects when first used."""
        self._options = options
        self._monotonic = monotonic
        self._url = url.set(drivername="postgresql+psycopg")
        wait = options.write_wait_seconds
        self._write_engine = _engine(self._url, 1, options)
        self._read_engine = _engine(self._url, options.read_connections, options).execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._line = FairLock()
        self._line_seconds = wait
        self._prover: PostgresProver | None = None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """REPEATABLE READ: one snapshot, taken by the first statement."""
        with self._read_engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """READ COMMITTED, so that statements after the clock's row lock see what was committed before it."""
        if not self._line.acquire(self._line_seconds):
            raise timed_out("too many writes are waiting")
        try:
            with self._write_engine.begin() as connection:
                yield connection
        finally:
            self._line.release()

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Behind an advisory lock, and the clock's row lock where there is a clock already."""
        with self.writing() as connection:
            if connection.scalar(text("SHOW server_encoding")) != "UTF8":
                raise CatalogUnusableError("the PostgreSQL database's encoding must be UTF8")
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            if connection.scalar(text("SELECT to_regclass('catalog_clock')")) is not None:
                connection.execute(text("SELECT version FROM catalog_clock FOR UPDATE"))
            yield connection

    def scrub(self, *, patiently: bool) -> bool:  # noqa: ARG002 - the protocol's
        """Nothing we could do."""
        return True

    def prover(self, view: View) -> Prover:
        """By one query that all callers share who arrived before it was sent."""
        arguments = self._write_engine.dialect.create_connect_args(self._url)[1]
        limits = _connect_arguments(self._url, self._options.prove_seconds, self._options.prove_seconds)

        def connect() -> psycopg.Connection[tuple[object, ...]]:
            return psycopg.connect(**{**arguments, **limits}, autocommit=True)

        self._prover = PostgresProver(view, connect, self._options.prove_seconds, self._monotonic)
        return self._prover

    def close(self) -> None:
        """Closes all connections."""
        if self._prover is not None:
            self._prover.close()
        self._read_engine.dispose()
        self._write_engine.dispose()


def _engine(url: URL, connections: int, options: CatalogOptions) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=options.write_wait_seconds,
        pool_pre_ping=True,
        connect_args=_connect_arguments(url, options.write_wait_seconds, options.statement_seconds),
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _keep_promises(raw: psycopg.Connection[tuple[str]], _entry: ConnectionPoolEntry) -> None:
        # A commit must be durable when it returns, whatever the server's default; stronger settings stay.
        row = raw.execute("SHOW synchronous_commit").fetchone()
        if row is None or row[0] == "off":
            raw.execute("SET SESSION synchronous_commit = on")
        raw.commit()

    return engine


def _connect_arguments(url: URL, lock_seconds: float, statement_seconds: float) -> dict[str, str | int]:
    """libpq's parameters with which nothing waits for ever."""
    limits = {
        "lock_timeout": lock_seconds,
        "statement_timeout": statement_seconds,
        "idle_in_transaction_session_timeout": 2 * statement_seconds,
    }
    settings = " ".join(f"-c {name}={round(seconds * 1000)}" for name, seconds in limits.items())
    given = url.query.get("options", "")
    return {
        "options": f"{given if isinstance(given, str) else ' '.join(given)} {settings}".strip(),
        "application_name": "kagitori",
        "client_encoding": "utf8",
        "connect_timeout": _CONNECT_SECONDS,
        "target_session_attrs": "read-write",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": round(statement_seconds * 1000),
    }
