"""Proof that a view is current, by asking PostgreSQL in a thread of its own."""

from __future__ import annotations

import logging
import select
from collections.abc import Callable

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from kagitori_server.model.errors import DependencyTimeoutException
from kagitori_server.storage.barrier import Barrier
from kagitori_server.storage.changes import progress
from kagitori_server.storage.failures import timed_out
from kagitori_server.storage.view import View

_log = logging.getLogger(__name__)

_STATEMENT = b"kagitori_progress"
# One statement, hence one snapshot.
_SQL = (
    b"SELECT clock.version, clock.horizon, changes.kind, changes.subject FROM catalog_clock AS clock"
    b" LEFT JOIN changes ON changes.version > $1 AND clock.horizon <= $1"
    b" ORDER BY changes.version, changes.ordinal"
)
_BIGINT = 20
"""The type's number in every PostgreSQL (pg_type)."""

Connect = Callable[[], psycopg.Connection[tuple[object, ...]]]


class _SlowError(psycopg.OperationalError):
    """The deadline has passed: asking once more would only make it later."""


class PostgresProver:
    """Fails closed: no answer in time, no proof."""

    def __init__(
        self, view: View, connect: Connect, seconds: float, monotonic: Callable[[], float]
    ) -> None:
        """`connect` makes a connection in autocommit mode; `seconds` is the longest a caller waits."""
        self._view = view
        self._connect = connect
        self._seconds = seconds
        self._monotonic = monotonic
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._barrier = Barrier(self._prove, seconds, "catalog-prover")

    def now(self) -> bool:
        """Never: the server has to be asked."""
        return False

    async def soon(self) -> None:
        """Raises DependencyTimeoutException."""
        await self._barrier.passed()

    def blocking(self) -> None:
        """Raises DependencyTimeoutException."""
        self._barrier.passed_blocking()

    def close(self) -> None:
        """Ends the thread and closes the connection."""
        self._barrier.close()
        self._hang_up()

    def _prove(self) -> None:
        used_before = self._connection is not None
        try:
            self._ask()
        except _SlowError as error:
            raise self._given_up(error) from None
        except (psycopg.Error, OSError) as error:
            if not used_before:
                raise self._given_up(error) from None
            # The server may have been restarted since the last question.
            self._hang_up()
            try:
                self._ask()
            except (psycopg.Error, OSError) as again:
                raise self._given_up(again) from None
        except BaseException:
            self._hang_up()
            raise

    def _given_up(self, error: Exception) -> DependencyTimeoutException:
        self._hang_up()
        lines = str(error).splitlines() or [type(error).__name__]
        _log.warning("PostgreSQL can't prove the view current: %s", lines[0])
        return timed_out("PostgreSQL did not answer")

    def _ask(self) -> None:
        if self._connection is None:
            self._connection = self._connect()
            self._connection.pgconn.send_prepare(_STATEMENT, _SQL, [_BIGINT])
            self._answer(self._connection.pgconn)
        self._catch_up(self._connection.pgconn)

    def _catch_up(self, pgconn: PGconn) -> None:
        since = self._view.version
        pgconn.send_query_prepared(_STATEMENT, [b"%d" % since])
        result = self._answer(pgconn)
        rows = [[result.get_value(row, column) for column in range(4)] for row in range(result.ntuples)]
        version, horizon = int(rows[0][0] or b""), int(rows[0][1] or b"")
        changes = [(kind.decode(), (subject or b"").decode()) for _, _, kind, subject in rows if kind]
        self._view.advance(progress(since, version, horizon, changes))

    def _answer(self, pgconn: PGconn) -> PGresult:
        """What the server answers to what was sent; psycopg itself would wait for it without end.

        Raises _SlowError after the deadline, psycopg.OperationalError for an error.
        """
        end = self._monotonic() + self._seconds
        poll = select.poll()
        answer: PGresult | None = None
        while True:
            while (unsent := pgconn.flush()) or pgconn.is_busy():
                poll.register(pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
                left = end - self._monotonic()
                if left <= 0 or not poll.poll(left * 1000):
                    raise _SlowError("no answer in time")
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                break
            answer = result
        if answer is None or answer.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise psycopg.OperationalError((answer.error_message if answer else b"").decode(errors="replace"))
        return answer

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
