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
from kagitori_server.asking import decide_on_key, question
from kagitori_server.attesting import Attesting, Unverified
from kagitori_server.audit.trail import Trail
from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.callers import Callers
from kagitori_server.counting import Limiter
from kagitori_server.model.call import Call
from kagitori_server.model.errors import (
    AccessDeniedException,
    DryRunOperationException,
    InvalidKeyUsageException,
    KmsError,
    KMSInternalException,
    UnknownOperationException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.key_specs import KEY_SPECS
from kagitori_server.model.limits import BATCH_ITEMS_MAX
from kagitori_server.model.lookup import Lookup
from kagitori_server.operations.context import Context, Services
from kagitori_server.operations.grant_names import check_grant_tokens, resolve_grant
from kagitori_server.operations.identity_resources import identity_resource
from kagitori_server.operations.recipients import RECIPIENT, shown
from kagitori_server.operations.resolve import foreign_refusal, resolve_slot
from kagitori_server.operations.row import BatchOperation, Cost, Operation, Permission, Prepare, Resource, Table
from kagitori_server.operations.shapes.crypto import BatchItemError, BatchOutcome, BatchResponse
from kagitori_server.operations.store_errors import as_kms_error, of_custom_store
from kagitori_server.operations.streams import Stream
from kagitori_server.policy.evaluate import Basis
from kagitori_server.recording import Record, Recording, SettledIntents, Trace
from kagitori_server.storage.view import NotLoaded
from kagitori_server.storage.writer import Writer

_log = logging.getLogger(__name__)

_LOADS_PER_CALL = 8
"""Records that a call may have fetched one by one before it is moved to a thread."""
_ADMISSION_SECONDS = 0.05
"""How long an admitted call may wait for a thread before it is looked whether the catalog has changed meanwhile."""
_ADMISSION_SECONDS_MAX = 5.0
"""How long before it is admitted anew though nothing has changed: credentials and material expire by the clock."""
_BATCH_BREATH = 32
"""Items of a batch between two moments in which other calls get their turn."""
_COMPUTED_TOGETHER = 8
"""Items of a batch that a computing thread is handed at once: handing over and back costs some 50 µs, and what takes
the longest (RSA_4096) keeps the thread from other calls for 12 ms."""


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
        proxied: Table | None = None,
    ) -> None:
        """`proxied` are rows under names that only transports know which speak neither AWS's operations nor ours."""
        self.table = table
        self._rows = {**table, **(proxied or {})}
        self._services = services
        self._view = services.catalog.view
        self._callers = callers
        self._attesting = attesting
        self._authorizer = authorizer
        self._limiter = limiter
        self._recording = recording
        self._trail = trail
        self._pools = pools
        self._observer = observer
        self._default_region = default_region
        self._monotonic = monotonic
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
            await self._trail.append_all([record.event for record in records])
        except Exception as failure:  # noqa: BLE001 - an answer without a record must not leave
            error = _as_kms_error(failure)
            if trace.error is None and trace.writes:
                self._owed.extend(records)
        else:
            self._settled.add(records, written=trace.writes)
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
            raise UnknownOperationException(f"The operation {trace.call.operation} is not served.")
        if self._callers.is_stranger(trace.call):
            await self._callers.meet(trace.call)
        loop = asyncio.get_running_loop()
        if isinstance(row, BatchOperation):
            trace.batch = row
            return await self._batch(trace, row)
        trace.operation = row
        if row.writes:
            if row.prepare is not None:
                await self._prepare(trace, row, row.prepare)
            return await loop.run_in_executor(self._pools.writes, self._write, trace, row)
        if row.cost is Cost.OFFLOAD:
            await loop.run_in_executor(self._pools.reads, self._blocking, trace, row)
            return ()
        if not self._view.prove_now():
            await self._view.prove()
        try:
            self._run(trace, row, self._view.kept)
        except NotLoaded:
            await self._inline(partial(self._run, trace, row))
        if trace.elsewhere is not None:
            trace.answer = await self._elsewhere(trace, self._perform_elsewhere, trace, row)
        return ()

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
            else:
                return
        await loop.run_in_executor(self._pools.reads, step, self._view)

    def _blocking(self, trace: Trace, row: Operation) -> None:
        self._view.prove_blocking()
        self._run(trace, row, self._view)

    def _run(self, trace: Trace, row: Operation, lookup: Lookup) -> None:
        trace.version = self._view.version
        trace.caller = self._callers.establish(trace.call, lookup)
        trace.request = row.request.build(trace.call.decode())
        self._begin(trace, self._admit(trace, row, lookup))

    def _begin(self, trace: Trace, context: Context) -> None:
        """Performs what was admitted, unless that takes too long for here: then `trace.elsewhere` says where."""
        row, cost = context.operation, context.operation.cost
        distant = context.distant_pool() if row.uses_keys or cost is Cost.BY_KEY else None
        if distant is not None:
            self._defer(trace, distant)
        elif cost is Cost.GENERATION:
            self._defer(trace, self._pools.generation)
        elif context.attestation is not None or (
            cost is Cost.BY_KEY and not all(KEY_SPECS[key.spec].quick for key in context.keys.values())
        ):
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
                context = self._admit(trace, row, self._view)
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
        return self._admit(trace, row, self._view)

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
            context = self._admit(trace, row, self._view, writer)
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

    # --- steps 4 to 9 ----------------------------------------------------------------------------------------

    def _admit(self, trace: Trace, row: Operation, lookup: Lookup, writer: Writer | None = None) -> Context:
        """Resolves and authorises, checks limits, state, usage and parameters. Raises what the call is refused with.

        `writer` is there in the admission within the transaction; a dry run never gets there.
        """
        caller, request = trace.caller, trace.request
        if caller is None:
            message = "a call is admitted before its caller is known"
            raise RuntimeError(message)
        region = trace.call.region or self._default_region
        if region not in self._services.regions:
            served = ", ".join(self._services.regions)
            raise ValidationException(f"The Region {region!r} is not served here; these are: {served}.")
        context = trace.context = Context(
            operation=row,
            caller=caller,
            request=request,
            evidence=trace.call.evidence,
            account=caller.account,
            region=region,
            services=self._services,
            now=self._services.clock(),
            lookup=lookup,
            writer_or_none=writer,
        )
        if not row.uses_keys:
            self._rate(trace, context)
        self._choose_account(context, row, request)
        try:
            if (recipient := getattr(request, "recipient", None)) is not None:
                context.attestation = self._attesting.attest(recipient, trace.attested, blocks=lookup is self._view)
                context.extra[RECIPIENT] = shown(context.attestation)
            for permission in row.permissions:
                if permission.when is None or permission.when(request):
                    self._permit(context, permission, request)
        except KmsError:
            self._rate(trace, context)
            raise
        self._rate(trace, context)
        limited = self._limiter.check_frozen(context)
        self._check(context, row, request)
        if writer is None and getattr(request, "dry_run", False):
            raise DryRunOperationException
        if limited:
            self._limiter.count(context, blocks=lookup is self._view)
        return context

    def _check(self, context: Context, row: Operation, request: Any) -> None:
        """Step 7: grant tokens, state, usage, and what the row itself checks."""
        # An operation without keys of its own may take the tokens of a call that it only speaks of.
        if row.keys and (tokens := getattr(request, "grant_tokens", ())):
            check_grant_tokens(context, tokens)
        for slot in row.keys:
            key = context.keys[slot.name]
            if slot.origins is not None and key.origin not in slot.origins:
                raise UnsupportedOperationException(
                    f"{key.arn} origin is {key.origin} which is not valid for this operation."
                )
            refusal = slot.states.refusal(key)
            if refusal is not None:
                raise refusal
            if slot.usage is not None and key.usage is not slot.usage:
                raise InvalidKeyUsageException(
                    f"{key.arn} key usage is {key.usage} which is not valid for {row.name}."
                )
        if row.check is not None:
            row.check(context, request)

    def _rate(self, trace: Trace, context: Context) -> None:
        """Step 6, once for a call however often it is begun anew."""
        if not trace.rated:
            trace.rated = True
            self._limiter.rate(context)

    def _choose_account(self, context: Context, row: Operation, request: Any) -> None:
        """Lets the home account's administrators work in the account that the request names."""
        named: str | None = getattr(request, row.account_member) if row.account_member else None
        if named is None:
            return
        parts = named.split(":", 5)
        account = parts[4] if len(parts) == 6 else named
        if account == context.caller.account:
            return
        if context.caller.account != self._services.home_account:
            action = row.permissions[0].action
            raise AccessDeniedException(
                f"User: {context.caller.arn} is not authorized to perform: {action} in another account"
            )
        context.account = account

    def _permit(self, context: Context, permission: Permission, request: Any) -> None:
        """Steps 4 and 5 for one permission. Raises AccessDeniedException with AWS's sentence."""
        row, caller, action = context.operation, context.caller, permission.action
        if permission.on is Resource.KEY:
            slot = row.slot(permission.slot or "")
            key = context.keys.get(slot.name)
            if key is None:
                key = context.keys[slot.name] = resolve_slot(context, slot, request, action)
            decision = decide_on_key(self._authorizer, context, permission, slot, key)
            resource = key.arn
            if not decision.allowed and key.account != caller.account:
                # Neither the answer nor the record, which the caller's account may read, tells that it exists.
                del context.keys[slot.name]
                admitted = decision.basis is Basis.NO_IDENTITY_POLICY
                reason = decision.basis.reason.format(action=action) if admitted else ""
                raise foreign_refusal(context, slot, request, action, reason)
        elif permission.on is Resource.GRANT:
            slot = row.slot(permission.slot or "")
            key, grant = resolve_grant(context, slot, request, action)
            decision = self._authorizer.on_grant(question(context, permission, slot, key, key.account), key, grant)
            resource = key.arn
            if decision.allowed or key.account == caller.account:
                context.keep_grant(slot, key, grant)
            else:
                raise foreign_refusal(context, slot, request, action)
        else:
            on = identity_resource(context, permission, request)
            asked, resource = question(context, permission, None, None, on.account), on.shown
            decision = self._authorizer.on_identity(asked, on.arn, on.governing)
            on.note(context, allowed=decision.allowed)
            if not decision.allowed and on.unknown_arn != on.arn:
                # Who would be refused likewise if it weren't there doesn't hear from the reason that it is.
                unknown = self._authorizer.on_identity(asked, on.unknown_arn, on.governing)
                decision = decision if unknown.allowed else unknown
        if not decision.allowed:
            raise AccessDeniedException(decision.denial_text(caller.arn, action, resource))

    # --- batches ---------------------------------------------------------------------------------------------

    async def _batch(self, trace: Trace, batch: BatchOperation) -> Sequence[Record]:
        """Each item is admitted and performed like a call of its own and leaves a record of its own. What goes
        wrong with one is its outcome; only what is wrong with the whole refuses the whole."""
        if not self._view.prove_now():
            await self._view.prove()
        items: list[Any] = []

        def open_batch(lookup: Lookup) -> None:
            trace.version = self._view.version
            trace.caller = self._callers.establish(trace.call, lookup)
            items[:] = _items(trace.call)

        await self._inline(open_batch)
        begun: list[Trace] = []
        together: list[Trace] = []
        computed: list[asyncio.Future[None]] = []
        loop = asyncio.get_running_loop()
        for number, values in enumerate(items, 1):
            item = Trace(
                trace.call, operation=batch.item, caller=trace.caller, version=trace.version, attested=trace.attested
            )
            begun.append(item)
            try:
                await self._inline(partial(self._item, item, batch, values))
                if item.elsewhere not in (None, self._pools.computing):
                    computed.append(self._elsewhere(item, self._compute, batch, [item]))
            except Exception as failure:  # noqa: BLE001 - the item fails, the others go on
                item.error = _as_kms_error(failure)
            if item.elsewhere is self._pools.computing:
                together.append(item)
            if together and (len(together) == _COMPUTED_TOGETHER or number == len(items)):
                computed.append(loop.run_in_executor(self._pools.computing, self._compute, batch, together))
                together = []
            if number % _BATCH_BREATH == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*computed)
        outcomes: list[BatchOutcome] = []
        records: list[Record] = []
        for item in begun:
            outcomes.append(_outcome(item))
            records += self._recording.of_call(item)
        trace.answer = BatchResponse(outcomes=tuple(outcomes))
        return records

    def _compute(self, batch: BatchOperation, items: Sequence[Trace]) -> None:
        """What a few admitted items of a batch still lack, one after the other; never raises."""
        for item in items:
            try:
                item.answer = self._perform_elsewhere(item, batch.item)
            except Exception as failure:  # noqa: BLE001 - as above
                item.error = _as_kms_error(failure)

    def _item(self, item: Trace, batch: BatchOperation, values: Any, lookup: Lookup) -> None:
        item.request = batch.item.request.build(values)
        self._begin(item, self._admit(item, batch.item, lookup))


def _outcome(item: Trace) -> BatchOutcome:
    if item.error is None:
        return BatchOutcome(response=item.answer)
    return BatchOutcome(error=BatchItemError(code=item.error.code(), message=item.error.message))


def _items(call: Call) -> Sequence[Any]:
    items = call.decode().get("items") or ()
    if not 1 <= len(items) <= BATCH_ITEMS_MAX:
        raise ValidationException(
            f"1 validation error detected: Value at 'items' failed to satisfy constraint: "
            f"Member must have between 1 and {BATCH_ITEMS_MAX} elements, it has {len(items)}"
        )
    return items


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
