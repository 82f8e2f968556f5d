"""THE way of a call, the same for every transport:

    1. what this process holds of the catalog is proven current
    2. authenticate          evidence -> caller
    3. shape                 body -> request, every constraint checked
    4. resolve               the keys that the request names
    5. authorise             every permission of the row; default deny
    6. state and usage       by the row, then the operation's own parameter checks
    7. dry run               stops here
    8. perform               the handler, in a write transaction where the row says so
    9. audit                 the record is durable, whatever became of the call
   10. answer

Nothing else may authorise, perform or audit a call. Refusals are recorded too; if a record can't be made durable
the call fails. A write commits its change together with the record it is going to leave, so that a crash in
between loses neither: what isn't in the trail by then is brought there at the next start. A process that outlives
the failure of its trail brings it there as soon as it can.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from kagitori_keystore.base import KeyStoreError
from kagitori_server.asking import question
from kagitori_server.audit.trail import Trail
from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.callers import Callers
from kagitori_server.model.arn import alias_arn, check_new_alias_name, service_arn
from kagitori_server.model.call import Call
from kagitori_server.model.errors import (
    AccessDeniedException,
    DryRunOperationException,
    InvalidKeyUsageException,
    KmsError,
    KMSInternalException,
    UnknownOperationException,
    ValidationException,
)
from kagitori_server.model.limits import BATCH_ITEMS_MAX
from kagitori_server.model.lookup import Lookup
from kagitori_server.operations.administration.oidc_providers import provider_arn
from kagitori_server.operations.context import Context, Services
from kagitori_server.operations.grant_names import check_grant_tokens, resolve_grant
from kagitori_server.operations.resolve import foreign_refusal, resolve_slot
from kagitori_server.operations.row import BatchOperation, Cost, Operation, Permission, Resource, Table
from kagitori_server.operations.shapes.crypto import BatchItemError, BatchOutcome, BatchResponse
from kagitori_server.operations.store_errors import as_kms_error
from kagitori_server.policy.evaluate import Basis
from kagitori_server.recording import Record, Recording, Trace
from kagitori_server.storage.view import NotLoaded

_log = logging.getLogger(__name__)

_LOADS_PER_CALL = 8
"""Records that a call may have fetched one by one before it is moved to a thread."""
_BATCH_BREATH = 32
"""Items of a batch between two moments in which other calls get their turn."""


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


class Pipeline:
    """Takes calls through the ten steps. One per process; `handle` is called in its event loop."""

    def __init__(
        self,
        *,
        table: Table,
        services: Services,
        callers: Callers,
        authorizer: Authorizer,
        recording: Recording,
        trail: Trail,
        pools: Pools,
        observer: Observer,
        default_region: str,
        monotonic: Callable[[], float],
    ) -> None:
        self.table = table
        self._services = services
        self._view = services.catalog.view
        self._callers = callers
        self._authorizer = authorizer
        self._recording = recording
        self._trail = trail
        self._pools = pools
        self._observer = observer
        self._default_region = default_region
        self._monotonic = monotonic
        self._settled = SettledIntents()
        self._owed: deque[Record] = deque()

    async def handle(self, call: Call) -> Any:
        """The answer to a call, an instance of its row's `response` (`BatchResponse` for batches).

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
            call.operation, None if error is None else error.code(), self._monotonic() - started
        )
        if error is not None:
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
        """Steps 1 to 8. Returns the records of what was done if they were rendered on the way."""
        row = self.table.get(trace.call.operation)
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
        return ()

    async def _inline(self, step: Callable[[Lookup], None]) -> None:
        """Runs `step` in the event loop, fetching what it needs of the catalog in a thread first."""
        loop = asyncio.get_running_loop()
        for _ in range(_LOADS_PER_CALL):
            try:
                step(self._view.kept)
            except NotLoaded as missing:
                await loop.run_in_executor(self._pools.reads, self._view.load, missing)
            else:
                return
        await loop.run_in_executor(self._pools.reads, step, self._view)

    def _blocking(self, trace: Trace, row: Operation) -> None:
        self._view.prove_blocking()
        self._run(trace, row, self._view)

    def _run(self, trace: Trace, row: Operation, lookup: Lookup) -> None:
        trace.caller = self._callers.establish(trace.call, lookup)
        trace.request = row.request.build(trace.call.decode())
        context = self._admit(trace, row, lookup)
        trace.answer = row.handler(context, trace.request)

    def _write(self, trace: Trace, row: Operation) -> Sequence[Record]:
        """A row that writes. Admission is checked before the transaction, so that nobody who isn't allowed takes
        a turn to write, and again within it, where nobody else can change what it rests on."""
        self._view.prove_blocking()
        trace.caller = self._callers.establish(trace.call, self._view)
        trace.request = row.request.build(trace.call.decode())
        context = self._admit(trace, row, self._view)
        if row.prepare is not None:
            row.prepare(context, trace.request)
        prepared = context.prepared
        settled = self._settled.peek()
        with self._services.catalog.write() as writer:
            trace.caller = self._callers.establish(trace.call, self._view)
            context = self._admit(trace, row, self._view, writes=True)
            context.writer_or_none, context.prepared = writer, prepared
            trace.answer = row.handler(context, trace.request)
            records = self._recording.of_call(trace)
            chain = self._trail.position().chain
            for record in records:
                writer.add_intent(record.event_id, chain, record.event)
            writer.clear_intents(settled)
        self._settled.forget(settled)
        return records

    # --- steps 4 to 7 ----------------------------------------------------------------------------------------

    def _admit(self, trace: Trace, row: Operation, lookup: Lookup, *, writes: bool = False) -> Context:
        """Resolves and authorises, checks state, usage and parameters. Raises what the call has to be refused with.

        `writes` says that this is the admission within the transaction; a dry run never gets there.
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
        )
        self._choose_account(context, row, request)
        for permission in row.permissions:
            if permission.when is None or permission.when(request):
                self._permit(context, permission, request)
        # An operation without keys of its own may take the tokens of a call that it only speaks of.
        if row.keys and (tokens := getattr(request, "grant_tokens", ())):
            check_grant_tokens(context, tokens)
        for slot in row.keys:
            key = context.keys[slot.name]
            refusal = slot.states.refusal(key)
            if refusal is not None:
                raise refusal
            if slot.usage is not None and key.usage is not slot.usage:
                raise InvalidKeyUsageException(
                    f"{key.arn} key usage is {key.usage} which is not valid for {row.name}."
                )
        if row.check is not None:
            row.check(context, request)
        if not writes and getattr(request, "dry_run", False):
            raise DryRunOperationException
        return context

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
        """Step 4 and 5 for one permission. Raises AccessDeniedException with AWS's sentence."""
        row, caller, services = context.operation, context.caller, self._services
        action = permission.action
        if permission.on is Resource.KEY:
            slot = row.slot(permission.slot or "")
            key = context.keys.get(slot.name)
            if key is None:
                key = context.keys[slot.name] = resolve_slot(context, slot, request, action)
            asked = question(context, permission, slot, key, key.account)
            decision = self._authorizer.on_key(asked, key, cross_account=row.cross_account)
            if row.grantable and not decision.allowed and not decision.explicit_deny:
                proposed = permission.proposes(request) if permission.proposes else None
                decision = self._authorizer.by_grant(
                    asked, key, context.lookup, proposed, cross_account=row.cross_account
                ) or decision
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
            resource, account = _identity_resource(context, permission, request, services)
            decision = self._authorizer.on_identity(question(context, permission, None, None, account), resource)
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
            trace.caller = self._callers.establish(trace.call, lookup)
            items[:] = _items(trace.call)

        await self._inline(open_batch)
        outcomes: list[BatchOutcome] = []
        records: list[Record] = []
        for number, values in enumerate(items):
            if number and number % _BATCH_BREATH == 0:
                await asyncio.sleep(0)
            item = Trace(trace.call, operation=batch.item, caller=trace.caller)
            try:
                await self._inline(partial(self._item, item, batch, values))
                outcomes.append(BatchOutcome(response=item.answer))
            except Exception as failure:  # noqa: BLE001 - the item fails, the others go on
                error = item.error = _as_kms_error(failure)
                outcomes.append(BatchOutcome(error=BatchItemError(code=error.code(), message=error.message)))
            records += self._recording.of_call(item)
        trace.answer = BatchResponse(outcomes=tuple(outcomes))
        return records

    def _item(self, item: Trace, batch: BatchOperation, values: Any, lookup: Lookup) -> None:
        item.request = batch.item.request.build(values)
        context = self._admit(item, batch.item, lookup)
        item.answer = batch.item.handler(context, item.request)


def _identity_resource(
    context: Context, permission: Permission, request: Any, services: Services
) -> tuple[str, str]:
    """(ARN, account) of what a permission is asked on that identity policies alone decide."""
    row, caller = context.operation, context.caller
    if permission.on is Resource.ALIAS:
        name: str = getattr(request, row.alias_member or "")
        check_new_alias_name(name)
        return alias_arn(services.partition, context.region, context.account, name), context.account
    if permission.on in (Resource.PRINCIPAL, Resource.POLICY):
        # Whether the call may reach that ARN's account was decided by `_choose_account`.
        return request.principal_arn if permission.on is Resource.PRINCIPAL else request.policy_arn, caller.account
    if permission.on is Resource.OIDC_PROVIDER:
        return provider_arn(context, request), caller.account
    if permission.on is Resource.RETIRING_PRINCIPAL and request.retiring_principal:
        parts = request.retiring_principal.split(":", 5)
        return request.retiring_principal, parts[4] if len(parts) == 6 else caller.account
    return service_arn(services.partition, row.service, context.region, caller.account), caller.account


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


class SettledIntents:
    """Intents whose records are in the trail: what the next write transaction may forget. Thread-safe."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self._lock = threading.Lock()

    def add(self, records: Sequence[Record], *, written: bool) -> None:
        """Notes records that have become durable; `written` when they were intents of a transaction."""
        if written:
            with self._lock:
                self._ids.update((record.event_id, None) for record in records)

    def peek(self) -> list[str]:
        """What may be forgotten now, at most 500."""
        with self._lock:
            return list(self._ids)[:500]

    def forget(self, event_ids: Sequence[str]) -> None:
        """The catalog has forgotten these."""
        with self._lock:
            for event_id in event_ids:
                self._ids.pop(event_id, None)
