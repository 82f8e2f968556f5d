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

Nothing else may authorise, perform or audit a call. Refusals are recorded too; if a record can't be made durable
the call fails. A write commits its change together with the record it is going to leave, so that a crash in
between loses neither: what isn't in the trail by then is brought there at the next start. A process that outlives
the failure of its trail brings it there as soon as it can.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from kagitori_keystore.base import KeyStoreError
from kagitori_server.admission import Admission, Faults
from kagitori_server.attesting import Attesting, Unverified
from kagitori_server.audit.trail import Trail
from kagitori_server.authz.authorizer import Authorizer, Lengthy
from kagitori_server.batches import Portions, Turn, items_of, outcome_of
from kagitori_server.callers import Callers
from kagitori_server.counting import Limiter
from kagitori_server.model.call import LARGE_BYTES, Call, Unread
from kagitori_server.model.errors import (
    KmsError,
    KMSInternalException,
    UnknownOperationException,
)
from kagitori_server.model.key_specs import KEY_SPECS
from kagitori_server.model.lookup import Lookup
from kagitori_server.operations.context import Context, Services
from kagitori_server.operations.row import BatchOperation, Cost, Operation, Prepare, Table
from kagitori_server.operations.shapes.crypto import BatchOutcome, BatchResponse
from kagitori_server.operations.store_errors import as_kms_error, of_custom_store
from kagitori_server.operations.streams import Stream
from kagitori_server.recording import Precedent, Record, Recording, SettledIntents, Trace
from kagitori_server.storage.view import NotLoaded

_log = logging.getLogger(__name__)

_LOADS_PER_CALL = 16
"""Records that a call may have fetched one by one before it is moved to a thread."""
_ADMISSION_SECONDS = 0.05
"""How long an admitted call may wait for a thread before it is looked whether the catalog has changed meanwhile."""
_ADMISSION_SECONDS_MAX = 5.0
"""How long before it is admitted anew though nothing has changed: credentials and material expire by the clock."""

_BY_KEY = (Cost.BY_KEY, Cost.BY_PUBLIC_KEY)


class ReceiptMaker(Protocol):
    """Who proves to callers that their calls are recorded (`transparency.receipts.Receipts`)."""

    async def receipt(self, seq: int, event: bytes, *, shown: bool) -> bytes | None:
        """The receipt for the durable record `seq`, with the record in it if `shown`; None if it can't be made."""


class Observer(Protocol):
    """Who is told how calls went."""

    def observed(self, operation: str, error_code: str | None, seconds: float) -> None:
        """A call ended: with an answer (no code), or with the AWS exception of that name."""


@dataclass(frozen=True, slots=True)
class Pools:
    """Where work that blocks is done."""

    reads: Executor
    writes: Executor
    """One thread: writes are made one after the other anyway."""
    deciding: Executor
    """For decisions by policies made to take long, or long as they are: these hold up nothing but each other."""
    computing: Executor
    """A thread per core, for signatures and the like: their computations release the interpreter lock."""
    generation: Executor
    """For finding primes and making other keys, which can take seconds: nothing else waits behind that."""
    stores: Executor
    """For trying key stores that aren't connected yet; those that are have threads of their own."""


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
        self._limiter = limiter
        self._admission = Admission(services, attesting, authorizer, limiter, default_region, faults)
        self._recording = recording
        self._trail = trail
        self._pools = pools
        self._observer = observer
        self._monotonic = monotonic
        self._receipts = receipts
        self._thread_time = thread_time
        self._settled = SettledIntents()
        self._owed: deque[Record] = deque()

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
            error = trace.error = _as_kms_error(failure)
            trace.answer = None
        try:
            records = records or self._recording.of_call(trace)
            seq = await self._trail.append_all([record.event for record in records])
        except Exception as failure:  # noqa: BLE001 - an answer without a record must not leave
            error = _as_kms_error(failure)
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
        row = self._rows.get(trace.call.operation)
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
            return await self._batch(trace, row)
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
                await self._inline(partial(self._run, trace, row))
        if trace.elsewhere is not None:
            trace.answer = await self._elsewhere(trace, self._perform_elsewhere, trace, row)
        return ()

    async def _recognise(self, trace: Trace) -> None:
        """Who calls what isn't served, for the record alone."""
        try:
            if self._callers.is_stranger(trace.call):
                await self._callers.meet(trace.call)
            if not self._view.prove_now():
                await self._view.prove()
            await self._inline(partial(self._establish, trace))
        except KmsError as refusal:
            _log.debug("a caller of what isn't served is not known: %s", refusal.code())

    def _establish(self, trace: Trace, lookup: Lookup) -> None:
        trace.caller = self._callers.establish(trace.call, lookup)

    async def _inline(self, step: Callable[[Lookup], None]) -> None:
        """Runs `step` in the event loop, fetching what it needs of the catalog in a thread first."""
        loop = asyncio.get_running_loop()
        for _ in range(_LOADS_PER_CALL):
            try:
                step(self._view.kept)
            except NotLoaded as missing:
                if isinstance(missing, Unverified):
                    await loop.run_in_executor(self._pools.computing, missing.load)
                    # There may have been a queue, and what is decided next must not rest on what was known before it.
                    if not self._view.prove_now():
                        await self._view.prove()
                    continue
                pool = self._pools.writes if missing.writes else self._pools.reads
                await loop.run_in_executor(pool, self._view.load, missing)
            except Lengthy:
                return await loop.run_in_executor(self._pools.deciding, step, self._view)
            else:
                return None
        return await loop.run_in_executor(self._pools.reads, step, self._view)

    def _blocking(self, trace: Trace, row: Operation) -> None:
        self._view.prove_blocking()
        self._run(trace, row, self._view)

    def _run(self, trace: Trace, row: Operation, lookup: Lookup) -> None:
        trace.version = self._view.version
        trace.caller = self._callers.establish(trace.call, lookup)
        trace.request = row.request.build(trace.call.decode())
        self._begin(trace, self._admission.admit(trace, row, lookup))

    def _begin(self, trace: Trace, context: Context) -> None:
        """Performs what was admitted, unless that takes too long for here: then `trace.elsewhere` says where."""
        row, cost = context.operation, context.operation.cost
        distant = context.distant_pool() if row.uses_keys or cost in _BY_KEY else None
        if distant is not None:
            self._defer(trace, distant)
        elif cost is Cost.GENERATION:
            self._defer(trace, self._pools.generation)
        elif context.attestation is not None or (cost in _BY_KEY and not _is_quick(cost, context)):
            self._defer(trace, self._pools.computing)
        else:
            trace.answer = self._handled(context)

    def _defer(self, trace: Trace, pool: Executor) -> None:
        trace.elsewhere, trace.admitted = pool, self._monotonic()

    def _elsewhere(self, trace: Trace, job: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Runs what is left of an admitted call in `trace.elsewhere`. Raises ThrottlingException when that takes no
        more."""
        try:
            return asyncio.get_running_loop().run_in_executor(trace.elsewhere, job, *arguments)
        except BaseException:
            if trace.context is not None:
                self._limiter.give_back(trace.context)
            raise

    def _perform_elsewhere(self, trace: Trace, row: Operation) -> Any:
        """In `trace.elsewhere`. What an admission some time ago rested on may have changed: then it is made again."""
        context = trace.context
        if context is None:
            message = "a call is performed before it is admitted"
            raise RuntimeError(message)
        waited = self._monotonic() - trace.admitted
        if waited > _ADMISSION_SECONDS:
            self._view.prove_blocking()
            if waited > _ADMISSION_SECONDS_MAX or self._view.version != trace.version:
                self._limiter.give_back(context)
                trace.caller = self._callers.establish(trace.call, self._view)
                context = self._admission.admit(trace, row, self._view)
        return self._handled(context)

    def _handled(self, context: Context) -> Any:
        try:
            return context.operation.handler(context, context.request)
        except BaseException as failure:
            self._limiter.give_back(context)
            if isinstance(failure, KeyStoreError) and (found := of_custom_store(failure, context)) is not None:
                raise found from None
            raise

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
        trace.caller = self._callers.establish(trace.call, self._view)
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
            trace.caller = self._callers.establish(trace.call, self._view)
            context = self._admission.admit(trace, row, self._view, writer)
            context.prepared = trace.prepared
            trace.answer = self._handled(context)
            records = self._recording.of_call(trace)
            chain = self._trail.position().chain
            for record in records:
                writer.add_intent(record.event_id, chain, record.event)
            writer.clear_intents(settled)
            trace.committing = True
        self._settled.forget(settled)
        return records

    # --- batches ---------------------------------------------------------------------------------------------

    async def _batch(self, trace: Trace, batch: BatchOperation) -> Sequence[Record]:
        """Each item is admitted and performed like a call of its own and leaves a record of its own. What goes
        wrong with one is its outcome; only what is wrong with the whole refuses the whole."""
        if not self._view.prove_now():
            await self._view.prove()
        items: Sequence[Any] = ()

        def open_batch(lookup: Lookup) -> None:
            nonlocal items
            trace.version = self._view.version
            trace.caller = self._callers.establish(trace.call, lookup)
            items = items_of(trace.call)

        await self._inline(open_batch)
        turn = Turn(self._monotonic)
        begun = await self._begin_items(trace, batch, items, turn)
        outcomes: list[BatchOutcome] = []
        records: list[Record] = []
        for item in begun:
            if turn.is_over():
                await turn.end()
            outcomes.append(outcome_of(item))
            records += self._recording.of_item(item)
        trace.answer = BatchResponse(outcomes=tuple(outcomes))
        return records

    async def _begin_items(
        self, trace: Trace, batch: BatchOperation, items: Sequence[Any], turn: Turn
    ) -> Sequence[Trace]:
        """Admits and performs the items of a batch; all are done with when it returns. What is decided holds for items
        in a row that say the same, within one turn."""
        begun: list[Trace] = []
        together: list[Trace] = []
        computed: list[asyncio.Future[None]] = []
        loop, portions = asyncio.get_running_loop(), Portions(self._thread_time)
        before: Precedent | None = None
        proven, refusal = self._monotonic(), None
        for number in range(len(items)):
            if turn.is_over():
                await turn.end()
                before = None
                if self._monotonic() - proven > _ADMISSION_SECONDS:
                    refusal, proven = await self._renew(trace), self._monotonic()
            item = Trace(
                trace.call, operation=batch.item, caller=trace.caller, version=trace.version, attested=trace.attested,
                error=refusal,
            )
            begun.append(item)
            if refusal is None:
                computed += await self._begin_item(item, batch, items, number, before, portions)
            before = item.precedent
            trace.delay = max(trace.delay, item.delay)
            if item.elsewhere is self._pools.computing:
                together.append(item)
            if together and (len(together) >= portions.size or number + 1 == len(items)):
                computed.append(loop.run_in_executor(self._pools.computing, self._compute, batch, together, portions))
                together = []
        await asyncio.gather(*computed)
        return begun

    async def _begin_item(
        self, item: Trace, batch: BatchOperation, items: Sequence[Any], number: int, before: Precedent | None,
        portions: Portions,
    ) -> Sequence[asyncio.Future[None]]:
        """Admits an item, and performs it unless that is for elsewhere: what has begun there by itself. What it is
        refused with is its error."""
        try:
            if isinstance(items, Unread) and items.is_large(number):
                step = partial(self._item, item, batch, items, number, None)
                await asyncio.get_running_loop().run_in_executor(self._pools.reads, step, self._view)
            else:
                try:
                    self._item(item, batch, items, number, before, self._view.kept)
                except (NotLoaded, Lengthy):
                    await self._inline(partial(self._item, item, batch, items, number, None))
            if item.elsewhere not in (None, self._pools.computing):
                return (self._elsewhere(item, self._compute, batch, [item], portions),)
        except Exception as failure:  # noqa: BLE001 - the item fails, the others go on
            item.error = _as_kms_error(failure)
        return ()

    async def _renew(self, trace: Trace) -> KmsError | None:
        """Looks again at what a batch rests on that has gone on for a while: why it can't go on, None if it can."""
        try:
            if not self._view.prove_now():
                await self._view.prove()
            version = self._view.version
            if version != trace.version:
                await self._inline(partial(self._establish, trace))
                trace.version = version
        except KmsError as failure:
            return failure
        return None

    def _compute(self, batch: BatchOperation, items: Sequence[Trace], portions: Portions) -> None:
        """What a few admitted items of a batch still lack, one after the other; never raises."""
        began = portions.thread_time()
        for item in items:
            try:
                item.answer = self._perform_elsewhere(item, batch.item)
            except Exception as failure:  # noqa: BLE001 - as above
                item.error = _as_kms_error(failure)
        portions.measured(len(items), began)

    def _item(
        self, item: Trace, batch: BatchOperation, items: Sequence[Any], number: int, before: Precedent | None,
        lookup: Lookup,
    ) -> None:
        item.request = batch.item.request.build(items[number])
        terms, version = batch.terms(item.request), self._view.version
        if before is not None and before.version == version and before.terms == terms:
            item.precedent = before
            context = self._admission.admit_item(item, before, lookup)
        else:
            context = self._admission.admit(item, batch.item, lookup)
            item.precedent = None if terms is None else Precedent(terms, context, version)
        self._begin(item, context)


def _is_quick(cost: Cost, context: Context) -> bool:
    """Whether what is computed with the keys of a call takes less time than to hand it to another thread."""
    for key in context.keys.values():
        spec = KEY_SPECS[key.spec]
        if not (spec.quick or (spec.quick_public and cost is Cost.BY_PUBLIC_KEY)):
            return False
    return True


def _as_kms_error(failure: Exception) -> KmsError:
    if isinstance(failure, KmsError):
        return failure
    if isinstance(failure, KeyStoreError):
        error = as_kms_error(failure)
        if isinstance(error, KMSInternalException):
            _log.error("a key store failed", exc_info=failure)
        return error
    _log.error("a call failed for an unforeseen reason", exc_info=failure)
    return KMSInternalException("The request failed because of an internal error; it may be retried.")
