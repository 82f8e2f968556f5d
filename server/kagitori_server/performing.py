"""Where a call is worked on: in the event loop where that is quick, elsewhere where it takes its time.

A call that waited for its thread longer than an admission is good for is admitted anew there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from kagitori_keystore.base import KeyStoreError
from kagitori_server.admission import Admission
from kagitori_server.attesting import Unverified
from kagitori_server.authz.authorizer import Lengthy
from kagitori_server.callers import Callers
from kagitori_server.counting import Limiter
from kagitori_server.model.errors import KmsError, KMSInternalException
from kagitori_server.model.key_specs import KEY_SPECS
from kagitori_server.model.lookup import Lookup
from kagitori_server.operations.context import Context
from kagitori_server.operations.row import Cost, Operation
from kagitori_server.operations.store_errors import as_kms_error, of_custom_store
from kagitori_server.recording import Trace
from kagitori_server.storage.view import NotLoaded, View

_log = logging.getLogger(__name__)

_LOADS_PER_CALL = 16
"""Records that a call may have fetched one by one before it is moved to a thread."""
ADMISSION_SECONDS = 0.05
"""How long an admitted call may wait for a thread before it is looked whether the catalog has changed meanwhile."""
_ADMISSION_SECONDS_MAX = 5.0
"""How long before it is admitted anew though nothing has changed: credentials and material expire by the clock."""

_BY_KEY = (Cost.BY_KEY, Cost.BY_PUBLIC_KEY)


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


class Performing:
    """Performs what was admitted. One per process."""

    def __init__(
        self, *, view: View, callers: Callers, admission: Admission, limiter: Limiter, pools: Pools,
        monotonic: Callable[[], float],
    ) -> None:
        self._view = view
        self._callers = callers
        self._admission = admission
        self._limiter = limiter
        self._pools = pools
        self._monotonic = monotonic

    def establish(self, trace: Trace, lookup: Lookup) -> None:
        """Who calls: step 2. Raises what the call is refused with."""
        trace.caller = self._callers.establish(trace.call, lookup)

    async def inline(self, step: Callable[[Lookup], None]) -> None:
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

    def begin(self, trace: Trace, context: Context) -> None:
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
            trace.answer = self.handled(context)

    def _defer(self, trace: Trace, pool: Executor) -> None:
        trace.elsewhere, trace.admitted = pool, self._monotonic()

    def elsewhere(self, trace: Trace, job: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Runs what is left of an admitted call in `trace.elsewhere`. Raises ThrottlingException when that takes no
        more."""
        try:
            return asyncio.get_running_loop().run_in_executor(trace.elsewhere, job, *arguments)
        except BaseException:
            if trace.context is not None:
                self._limiter.give_back(trace.context)
            raise

    def perform(self, trace: Trace, row: Operation) -> Any:
        """In `trace.elsewhere`. What an admission some time ago rested on may have changed: then it is made again."""
        context = trace.context
        if context is None:
            message = "a call is performed before it is admitted"
            raise RuntimeError(message)
        waited = self._monotonic() - trace.admitted
        if waited > ADMISSION_SECONDS:
            self._view.prove_blocking()
            if waited > _ADMISSION_SECONDS_MAX or self._view.version != trace.version:
                self._limiter.give_back(context)
                self.establish(trace, self._view)
                context = self._admission.admit(trace, row, self._view)
        return self.handled(context)

    def handled(self, context: Context) -> Any:
        """The answer of the row's handler. What budgets counted of a call that fails is given back."""
        try:
            return context.operation.handler(context, context.request)
        except BaseException as failure:
            self._limiter.give_back(context)
            if isinstance(failure, KeyStoreError) and (found := of_custom_store(failure, context)) is not None:
                raise found from None
            raise


def _is_quick(cost: Cost, context: Context) -> bool:
    """Whether what is computed with the keys of a call takes less time than to hand it to another thread."""
    for key in context.keys.values():
        spec = KEY_SPECS[key.spec]
        if not (spec.quick or (spec.quick_public and cost is Cost.BY_PUBLIC_KEY)):
            return False
    return True


def as_refusal(failure: Exception) -> KmsError:
    """What a caller is told of a failure; of one that nobody foresaw, nothing but that there was one."""
    if isinstance(failure, KmsError):
        return failure
    if isinstance(failure, KeyStoreError):
        error = as_kms_error(failure)
        if isinstance(error, KMSInternalException):
            _log.error("a key store failed", exc_info=failure)
        return error
    _log.error("a call failed for an unforeseen reason", exc_info=failure)
    return KMSInternalException("The request failed because of an internal error; it may be retried.")
