"""Before the pipeline: calls from where too many proofs have failed lately have to prove their caller first.

Those that do go on as always. Those that don't are refused with what the pipeline would refuse them with, but leave no
record of their own: they are counted, and what was counted is recorded now and then, in one service event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kagitori_server.audit.trail import Trail
from kagitori_server.callers import Callers
from kagitori_server.limiting.strangers import LeftOut, Strangers
from kagitori_server.model.call import Call
from kagitori_server.model.errors import (
    DependencyTimeoutException,
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
    UnknownOperationException,
)
from kagitori_server.operations.row import Table
from kagitori_server.pipeline import Observer, Pipeline
from kagitori_server.recording import Recording

LEFT_OUT_EVENT = "CallsLeftOut"
REPORT_SECONDS = 10.0
"""How often what was left out is recorded, if anything was."""

_OURS = (DependencyTimeoutException, KeyUnavailableException, KMSInternalException)
"""Failures of the service, and of what it needs to verify a proof, which say nothing of the caller."""

_log = logging.getLogger(__name__)


class Reception:
    """Stands in for the pipeline towards transports. `handle` is called in the event loop."""

    def __init__(
        self, pipeline: Pipeline, strangers: Strangers, *, callers: Callers, recording: Recording, trail: Trail,
        observer: Observer, monotonic: Callable[[], float],
    ) -> None:
        """All but `strangers` are those of the pipeline."""
        self._pipeline = pipeline
        self._strangers = strangers
        self._callers = callers
        self._recording = recording
        self._trail = trail
        self._observer = observer
        self._monotonic = monotonic

    @property
    def table(self) -> Table:
        """The pipeline's."""
        return self._pipeline.table

    @property
    def left_out(self) -> int:
        """Calls that left no record of their own, since the start."""
        return self._strangers.left_out

    async def handle(self, call: Call) -> Any:
        """As `Pipeline.handle`."""
        source = call.evidence.source_ip
        if self._strangers.are_many(source):
            await self._recognise(call)
        try:
            return await self._pipeline.handle(call)
        except BaseException as error:
            # Also when its caller has gone, and it is cancelled: its record is on its way.
            if not call.proven and not isinstance(error, _OURS):
                self._strangers.failed(source)
            raise

    def report(self) -> None:
        """Records what was left out since the last report. Blocks. Raises KmsError when the trail fails; then the next
        report tells it."""
        untold = self._strangers.take_untold()
        if untold is None:
            return
        try:
            self._trail.append_blocking(self._recording.of_upkeep(LEFT_OUT_EVENT, _details(untold)).event)
        except BaseException:
            self._strangers.give_back(untold)
            _log.error("it can't be recorded that %d calls proved no caller", untold.calls)
            raise
        _log.warning("%d calls that proved no caller were refused without a record of their own", untold.calls)

    async def _recognise(self, call: Call) -> None:
        """Lets who proves who it is pass. Raises KmsError for others."""
        started = self._monotonic()
        try:
            await self._callers.recognise(call)
        except _OURS:
            # The pipeline meets it again, answers and records it.
            return
        except KmsError as error:
            self._strangers.leave_out(call.evidence.source_ip)
            # What isn't served is told so, whoever asks for it.
            row, refusal = self._pipeline.row_of(call.operation), error
            if row is None:
                refusal = UnknownOperationException(f"{call.operation} is not an operation of this service.")
            name = call.operation if row is None else row.name
            self._observer.observed(name, refusal.code(), self._monotonic() - started)
            raise refusal from None
        except Exception:  # noqa: BLE001 - as above
            return


def _details(untold: LeftOut) -> dict[str, object]:
    told = sorted(untold.of_source.items(), key=lambda item: -item[1])
    elsewhere = untold.calls - sum(untold.of_source.values())
    return {
        "calls": untold.calls,
        "first": datetime.fromtimestamp(untold.first, UTC),
        "last": datetime.fromtimestamp(untold.last, UTC),
        "sources": [{"source": source or "local", "calls": calls} for source, calls in told],
        "calls_elsewhere": elsewhere or None,
    }
