"""When is delivered: log files on a period, digests on theirs, and all that is left when the service stops."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from kagitori_server.delivery.destination import DestinationFailed
from kagitori_server.delivery.digests import Digests
from kagitori_server.delivery.log_files import LogFiles
from kagitori_server.delivery.naming import TrailDescription
from kagitori_server.model.delivery_records import TrailState
from kagitori_server.model.errors import KmsError
from kagitori_server.storage.catalog import Catalog

_log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0
LOOK_SECONDS = 60.0
"""How often digests of other processes that didn't arrive are looked for."""
LEFT_SECONDS = 3_600.0
"""How old what is unfinished at the destination has to be before it's removed: nobody is putting it any more."""
Tidy = Callable[[float, Callable[[], bool]], None]
_ERROR_MAX = 256
_FAILURES = (DestinationFailed, KmsError, OSError)


class _Schedule:
    """When something is to be done next, by a clock that doesn't jump: sooner after a failure, later after several."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._failures = 0
        self.due = 0.0

    def succeeded(self, now: float, wait: float | None = None) -> None:
        self._failures = 0
        self.due = now + (self._period if wait is None else min(max(wait, 0.0), self._period))

    def failed(self, now: float) -> None:
        self.due = now + min(self._period, FIRST_RETRY_SECONDS * 2.0**self._failures)
        self._failures = min(self._failures + 1, 20)


class Delivery:
    """The delivery of a process. `run_once` and `finish` are for one thread at a time; all of it blocks.

    `period` is that of log files in seconds; `accounts` are those with digests from the beginning, and their Regions.
    `tidy` is the destination's, and done once.
    """

    def __init__(
        self, catalog: Catalog, description: TrailDescription, log_files: LogFiles, digests: Digests,
        clock: Callable[[], float], monotonic: Callable[[], float], period: float,
        digest_period: float, accounts: Sequence[tuple[str, str]], tidy: Tidy,
    ) -> None:
        self.description = description
        self._catalog = catalog
        self._log_files = log_files
        self._digests = digests
        self._clock = clock
        self._monotonic = monotonic
        self._accounts = tuple(accounts)
        self._tidy: Tidy | None = tidy
        self._logs_due = _Schedule(period)
        self._digests_due = _Schedule(min(digest_period, LOOK_SECONDS))
        self._begun = False
        self._stopping = False

    def run_once(self) -> None:
        """Does what is due. A failure is noted, and done again after a while. Raises KmsError when it can't be noted.
        """
        now = self._monotonic()
        if now < min(self._logs_due.due, self._digests_due.due):
            return
        try:
            self._do_what_is_due(now)
        except KmsError:
            self._logs_due.failed(now)
            self._digests_due.failed(now)
            raise

    def delivered(self, chain: str) -> int | None:
        """The number of a chain's last record that was delivered, None while it has none. Raises KmsError, OSError."""
        return self._log_files.delivered(chain)

    def _do_what_is_due(self, now: float) -> None:
        if not self._begun:
            self._begin()
        if now >= self._logs_due.due:
            if self._deliver(self._stopped):
                self._logs_due.succeeded(now)
            else:
                self._logs_due.failed(now)
        if now >= self._digests_due.due:
            wait = self._make_digests(self._digests.make_due)
            if wait is None:
                self._digests_due.failed(now)
            else:
                self._digests_due.succeeded(now, wait)
        if self._tidy is not None:
            tidy, self._tidy = self._tidy, None
            try:
                tidy(self._clock() - LEFT_SECONDS, self._stopped)
            except OSError as error:
                _log.warning("what a crash left at the destination could not be removed: %s", error.strerror)

    def stop(self) -> None:
        """Lets `run_once` end soon."""
        self._stopping = True

    def finish(self, seconds: float) -> None:
        """Delivers what is left, with a digest of it, before the service ends; what takes longer is left for the next
        start. Logs failures."""
        end = self._monotonic() + seconds

        def late() -> bool:
            return self._monotonic() > end

        try:
            if self._deliver(late):
                self._make_digests(lambda: (self._digests.make_final(late), 0.0))
            self._note(stopped=self._clock())
        except KmsError as error:
            _log.warning("the catalog could not be told how delivery ended: %s", error.code())

    def state(self) -> TrailState:
        """How delivery goes, in all processes."""
        with self._catalog.read() as reader:
            return reader.trail_state()

    def _stopped(self) -> bool:
        return self._stopping

    def _begin(self) -> None:
        self._digests.begin(self._accounts)
        state = self.state()
        if state.started is None or state.stopped is not None:
            self._note(started=state.started or self._clock(), stopped=None)
        self._begun = True

    def _deliver(self, until: Callable[[], bool]) -> bool:
        try:
            files = self._log_files.deliver(until)
        except _FAILURES as error:
            text = _text(error)
            _log.warning("log files could not be delivered: %s", text)
            self._note(log_attempted=self._clock(), log_error=text)
            return False
        if files or self.state().log_error is not None:
            now = self._clock()
            self._note(log_attempted=now, log_delivered=now, log_error=None, stopped=None)
        return True

    def _make_digests(self, make: Callable[[], tuple[int, float]]) -> float | None:
        """In how many seconds to come again; None after a failure."""
        try:
            made, wait = make()
        except _FAILURES as error:
            text = _text(error)
            _log.warning("a digest could not be delivered: %s", text)
            self._note(digest_attempted=self._clock(), digest_error=text)
            return None
        if made:
            now = self._clock()
            self._note(digest_attempted=now, digest_delivered=now, digest_error=None)
        return wait

    def _note(self, **changes: float | str | None) -> None:
        with self._catalog.write() as writer:
            writer.set_trail_state(replace(writer.trail_state(), **changes))  # type: ignore[arg-type]  # by name


def _text(error: Exception) -> str:
    if isinstance(error, KmsError):
        text = f"{error.code()}: {error.message}" if error.message else error.code()
    else:
        text = str(error)
    return text[:_ERROR_MAX]
