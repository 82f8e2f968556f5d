"""THE way of a call, the same for every transport:

    1. what this process holds of the catalog is proven current
    2. authenticate          evidence -> caller
    3. shape                 body -> request, every constraint checked; the document of an attested recipient
    4. resolve               the keys that the request names
    5. authorise             every permission of the row; default deny
    6. rate, freezes         a token for the call, allowed or not; whether its caller is frozen on its keys
    7. state and usage       by the row, then the operation's own parameter checks
    8. dry run               stops here
    9. budgets               count the use of keys; given back if it comes to nothing
   10. perform               the handler, in a write transaction where the row says so
   11. audit                 the record is durable, whatever became of the call
   12. answer

Nothing but this and its parts (`admission`, `performing`, `batches`, `recording`) may authorise, perform or audit a
call. Refusals are recorded too; if a record can't be made durable
the call fails. A write commits its change together with the record it is going to leave, so that a crash in
between loses neither: what isn't in the trail by then is brought there at the next start. A process that outlives
the failure of its trail brings it there as soon as it can.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from kagitori_server.admission import Admission, Faults
from kagitori_server.attesting import Attesting
from kagitori_server.audit.trail import Trail
from kagitori_server.authz.authorizer import Authorizer, Lengthy
from kagitori_server.batches import Batches
from kagitori_server.callers import Callers
from kagitori_server.counting import Limiter
from kagitori_server.model.call import LARGE_BYTES, Call
from kagitori_server.model.errors import KmsError, UnknownOperationException
from kagitori_server.model.lookup import Lookup
from kagitori_server.operations.context import Context, Services
from kagitori_server.operations.row import BatchOperation, Cost, Operation, Prepare, Row, Table
from kagitori_server.operations.streams import Stream
from kagitori_server.performing import Performing, Pools, as_refusal
from kagitori_server.recording import Record, Recording, SettledIntents, Trace
from kagitori_server.storage.view import NotLoaded

_log = logging.getLogger(__name__)


class ReceiptMaker(Protocol):
    """Who proves to callers that their calls are recorded (`transparency.receipts.Receipts`)."""

    async def receipt(self, seq: int, event: bytes, *, shown: bool) -> bytes | None:
        """The receipt for the durable record `seq`, with the record in it if `shown`; None if it can't be made."""


class Observer(Protocol):
    """Who is told how calls went."""

    def observed(self, operation: str, error_code: str | None, seconds: float) -> None:
        """A call ended: with an answer (no code), or with the AWS exception of that name."""


class Pipeline:
    """Takes calls through the twelve steps. One per process; `handle` is called in its event loop."""

    def __init__(
        self,
        *,
        table: Table,
        services: Services,
        callers: Callers,
        attesting: Attesting,
        authorizer: Authorizer,
        limiter: Limiter,
        recording: Recording,
        trail: Trail,
        pools: Pools,
        observer: Observer,
        default_region: str,
        monotonic: Callable[[], float],
        thread_time: Callable[[], float],
        faults: Faults | None = None,
        beside: Table | None = None,
        receipts: ReceiptMaker | None = None,
    ) -> None:
        """`faults` is for instances for tests alone; `beside` are rows under names that no caller can say, for
        transports that speak other operations than ours."""
        self.table = table
        self._rows = {**table, **(beside or {})}
        self._services = services
        self._view = services.catalog.view
        self._callers = callers
        self._admission = Admission(services, attesting, authorizer, limiter, default_region, faults)
        self._performing = Performing(
            view=self._view, callers=callers, admission=self._admission, limiter=limiter, pools=pools,
            monotonic=monotonic,
        )
        self._batches = Batches(
            performing=self._performing, view=self._view, admission=self._admission, recording=recording, pools=pools,
            monotonic=monotonic, thread_time=thread_time,
        )
        self._recording = recording
        self._trail = trail
        self._pools = pools
        self._observer = observer
        self._monotonic = monotonic
        self._receipts = receipts
        self._settled = SettledIntents()
        self._owed: deque[Record] = deque()

    def row_of(self, operation: str) -> Row | None:
        """The row of what calls name so, whoever may say that name; None if it isn't served."""
        return self._rows.get(operation)

    async def handle(self, call: Call) -> Any:
        """The answer to a call, an instance of its row's `response` (`BatchResponse` for batches, a `Stream` of them
        for rows that stream, which the caller of this closes).

        Raises KmsError, and nothing else.
        """
        started = self._monotonic()
        trace = Trace(call)
        records: Sequence[Record] = ()
        try:
            records = await self._perform(trace)
            error = None
        except Exception as failure:  # noqa: BLE001 - whatever it is, the call is recorded and answered
            error = trace.error = as_refusal(failure)
            trace.answer = None
        try:
            records = records or self._recording.of_call(trace)
            seq = await self._trail.append_all([record.event for record in records])
        except Exception as failure:  # noqa: BLE001 - an answer without a record must not leave
            error = as_refusal(failure)
            if trace.error is None and trace.writes:
                self._owed.extend(records)
        else:
            self._settled.add(records, written=trace.writes)
            if call.receipt_wanted and self._receipts is not None and trace.batch is None:
                place = next(number for number, record in enumerate(records) if record.own)
                # To whom is refused, the record may tell more than the refusal does.
                call.receipt = await self._receipts.receipt(seq + place, records[place].event, shown=error is None)
        if trace.delay:
            await asyncio.sleep(trace.delay)
        self._observer.observed(
            call.operation if trace.operation is None else trace.operation.name,
            None if error is None else error.code(),
            self._monotonic() - started,
        )
        if error is not None:
            if isinstance(trace.answer, Stream):
                trace.answer.close()
            raise error
        return trace.answer

    def settle(self) -> None:
        """Brings into the trail what it refused when its change was committed, and lets the catalog forget intents
        whose records are there. Writes do the latter on their way; this is for quiet times and the end. Blocks.

        Raises KmsError when trail or catalog fail; what is left is done by a later call, or at the next start.
        """
        while self._owed:
            record = self._owed[0]
            self._trail.append_blocking(record.event)
            self._owed.popleft()
            self._settled.add([record], written=True)
        settled = self._settled.peek()
        if settled:
            with self._services.catalog.write() as writer:
                writer.clear_intents(settled)
            self._settled.forget(settled)

    # --- how a row is run ------------------------------------------------------------------------------------

    async def _perform(self, trace: Trace) -> Sequence[Record]:
        """Steps 1 to 10. Returns the records of what was done if they were rendered on the way."""
        row = self.row_of(trace.call.operation)
        if row is None:
            await self._recognise(trace)
            raise UnknownOperationException(f"{trace.call.operation} is not an operation of this service.")
        if isinstance(row, BatchOperation):
            trace.batch = row
        else:
            trace.operation = row
        if self._callers.is_stranger(trace.call):
            await self._callers.meet(trace.call)
        loop = asyncio.get_running_loop()
        if isinstance(row, BatchOperation):
            return await self._batches.perform(trace, row)
        if row.writes:
            if row.prepare is not None:
                await self._prepare(trace, row, row.prepare)
            return await loop.run_in_executor(self._pools.writes, self._write, trace, row)
        if row.cost is Cost.OFFLOAD or trace.call.size > LARGE_BYTES:
            await loop.run_in_executor(self._pools.reads, self._blocking, trace, row)
        else:
            if not self._view.prove_now():
                await self._view.prove()
            try:
                self._run(trace, row, self._view.kept)
            except (NotLoaded, Lengthy):
                await self._performing.inline(partial(self._run, trace, row))
        if trace.elsewhere is not None:
            trace.answer = await self._performing.elsewhere(trace, self._performing.perform, trace, row)
        return ()

    async def _recognise(self, trace: Trace) -> None:
        """Who calls what isn't served, for the record alone."""
        try:
            trace.caller = await self._callers.recognise(trace.call)
        except KmsError as refusal:
            _log.debug("a caller of what isn't served is not known: %s", refusal.code())

    def _blocking(self, trace: Trace, row: Operation) -> None:
        self._view.prove_blocking()
        self._run(trace, row, self._view)

    def _run(self, trace: Trace, row: Operation, lookup: Lookup) -> None:
        trace.version = self._view.version
        self._performing.establish(trace, lookup)
        trace.request = row.request.build(trace.call.decode())
        self._performing.begin(trace, self._admission.admit(trace, row, lookup))

    async def _prepare(self, trace: Trace, row: Operation, prepare: Prepare) -> None:
        """What a row that writes does before its transaction: admission, so that nobody who isn't allowed takes a
        turn to write, and slow work."""
        loop = asyncio.get_running_loop()
        context = await loop.run_in_executor(self._pools.reads, self._admit_before, trace, row)
        usual = self._pools.stores if row.cost is Cost.STORE else self._pools.generation
        await loop.run_in_executor(context.distant_pool() or usual, prepare, context, trace.request)
        trace.prepared = context.prepared

    def _admit_before(self, trace: Trace, row: Operation) -> Context:
        """Admission of a row that writes before its transaction."""
        self._view.prove_blocking()
        self._performing.establish(trace, self._view)
        trace.request = row.request.build(trace.call.decode())
        return self._admission.admit(trace, row, self._view)

    def _write(self, trace: Trace, row: Operation) -> Sequence[Record]:
        """A row that writes. Admission was checked before the transaction, or is now, and is again within it, where
        nobody else can change what it rests on."""
        if row.prepare is None:
            self._admit_before(trace, row)
        try:
            return self._transact(trace, row)
        except BaseException:
            # Only if nothing was committed for certain: what was made may belong to the catalog by now.
            if row.abandon is not None and trace.prepared is not None and not trace.committing:
                row.abandon(self._services, trace.prepared)
            raise

    def _transact(self, trace: Trace, row: Operation) -> Sequence[Record]:
        settled = self._settled.peek()
        with self._services.catalog.write() as writer:
            self._performing.establish(trace, self._view)
            context = self._admission.admit(trace, row, self._view, writer)
            context.prepared = trace.prepared
            trace.answer = self._performing.handled(context)
            records = self._recording.of_call(trace)
            chain = self._trail.position().chain
            for record in records:
                writer.add_intent(record.event_id, chain, record.event)
            writer.clear_intents(settled)
            trace.committing = True
        self._settled.forget(settled)
        return records
