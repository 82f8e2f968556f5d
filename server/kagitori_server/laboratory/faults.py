"""Which calls go wrong because a test wants it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice
from typing import NamedTuple

from kagitori_keystore.base import Domain
from kagitori_server.model.errors import (
    DependencyTimeoutException,
    KeyUnavailableException,
    KmsError,
    LimitExceededException,
    ThrottlingException,
    ValidationException,
)
from kagitori_server.model.faults import Fault, FaultKind
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes.dev import InjectFaultRequest

FAULTS_MAX = 100

_USING_STORE = frozenset({
    "CreateKey", "GetPublicKey", "GenerateRandom", "GetParametersForImport", "ImportKeyMaterial",
    "RotateKeyOnDemand", "ReplicateKey", "CheckCustomKeyStore",
})
"""Operations that need the key store beside those that use key material."""


class Strike(NamedTuple):
    """What befalls a call."""

    delay: float
    """Seconds by which its answer is late."""
    refusal: KmsError | None


class Faults:
    """The faults in force, each with a number that it has alone. Thread-safe."""

    def __init__(self, operations: frozenset[str]) -> None:
        """`operations` are those that can go wrong. Of a batch, its items do."""
        self._befallable = operations
        self._numbers = count(1)
        self._faults: dict[str, Fault] = {}
        self._lock = threading.Lock()

    def inject(self, request: InjectFaultRequest) -> Fault:
        """Begins a fault. Raises ValidationException for an operation that no fault can befall,
        LimitExceededException."""
        if request.operation is not None and request.operation not in self._befallable:
            raise ValidationException(f"No fault can befall {request.operation}: it is no operation served here.")
        with self._lock:
            if len(self._faults) >= FAULTS_MAX:
                raise LimitExceededException(f"There are {FAULTS_MAX} faults, the most there may be.")
            fault = Fault(
                fault_id=f"flt-{next(self._numbers):09}", kind=request.kind, operation=request.operation,
                account_id=request.account_id, region=request.region, key_id=request.key_id,
                calls_left=request.calls, delay_milliseconds=request.delay_milliseconds,
            )
            self._faults[fault.fault_id] = fault
        return fault

    def listed(self, after: str, limit: int) -> Sequence[Fault]:
        """Those with ids greater than `after`, oldest first."""
        with self._lock:
            return tuple(islice((fault for name, fault in self._faults.items() if name > after), limit))

    def clear(self, fault_id: str | None) -> int:
        """Ends one or all, and tells how many."""
        with self._lock:
            ended = [name for name in self._faults if fault_id in (None, name)]
            for name in ended:
                del self._faults[name]
        return len(ended)

    def strike(self, context: Context) -> Strike:
        """What befalls a call that was allowed; each fault in it counts it."""
        if not self._faults or context.operation.name not in self._befallable:
            return Strike(0.0, None)
        with self._lock:
            fitting = [fault for fault in self._faults.values() if _fits(fault, context)]
            for fault in fitting:
                self._count(fault)
        late = [fault.delay_milliseconds for fault in fitting if fault.kind is FaultKind.LATENCY]
        refusing = next((fault for fault in fitting if fault.kind is not FaultKind.LATENCY), None)
        return Strike(max(late, default=0) / 1_000, None if refusing is None else _refusal(refusing))

    def key_store_is_lost(self, domain: Domain | None = None, key_id: str | None = None) -> bool:
        """Whether the service itself finds the key store lost: as a whole, or for a key of the domain.

        By faults that aren't about one operation; they don't count it, for it is no call.
        """
        if not self._faults:
            return False
        with self._lock:
            losses = [fault for fault in self._faults.values() if fault.kind is FaultKind.KEY_STORE_LOSS]
        return any(_takes_away(fault, domain, key_id) for fault in losses if fault.operation is None)

    def _count(self, fault: Fault) -> None:
        left = None if fault.calls_left is None else fault.calls_left - 1
        if left == 0:
            del self._faults[fault.fault_id]
        else:
            befallen = fault.calls_befallen + 1
            self._faults[fault.fault_id] = replace(fault, calls_left=left, calls_befallen=befallen)


def _fits(fault: Fault, context: Context) -> bool:
    row = context.operation
    if fault.kind is FaultKind.KEY_STORE_LOSS and not row.uses_keys and row.name not in _USING_STORE:
        return False
    named = {fault.key_id} & {name for key in context.keys.values() for name in (key.key_id, key.arn)}
    return (
        fault.operation in (None, row.name)
        and fault.account_id in (None, context.caller.account)
        and fault.region in (None, context.region)
        and (fault.key_id is None or bool(named))
    )


def _takes_away(fault: Fault, domain: Domain | None, key_id: str | None) -> bool:
    if domain is None:
        return fault.account_id is None and fault.region is None and fault.key_id is None
    return (
        fault.account_id in (None, domain.account)
        and fault.region in (None, domain.region)
        and (fault.key_id is None or fault.key_id.rpartition("/")[2] == key_id)
    )


def _refusal(fault: Fault) -> KmsError:
    """The same as where that goes wrong by itself."""
    again = fault.delay_milliseconds / 1_000
    if fault.kind is FaultKind.THROTTLING:
        return ThrottlingException("Rate exceeded", retry_after=again)
    if fault.kind is FaultKind.KEY_STORE_LOSS:
        return KeyUnavailableException("The key store can't be reached.", retry_after=again)
    return DependencyTimeoutException("The Region did not answer in time.", retry_after=again)
