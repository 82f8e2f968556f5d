"""Shapes of DevService's operations, which AWS doesn't have."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model.arn import ACCOUNT_PATTERN, KEY_ID_PATTERN, PARTITION_PATTERN, REGION_PATTERN
from kagitori_server.model.faults import Fault, FaultKind
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import marker
from kagitori_server.operations.shapes.principals import page_limit

_KEY = rf"(?:arn:{PARTITION_PATTERN}:kms:{REGION_PATTERN}:{ACCOUNT_PATTERN}:key/)?(?:{KEY_ID_PATTERN})"
_YEAR_SECONDS = 31_557_600


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockResponse:
    """What GetClock, SetClock and AdvanceClock answer."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SetClockRequest:
    """What SetClock takes."""

    now: float = member(required=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceClockRequest:
    """What AdvanceClock takes."""

    seconds: int = member(required=True, minimum=1, maximum=100 * _YEAR_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectFaultRequest:
    """What InjectFault takes."""

    kind: FaultKind = member(required=True)
    operation: str | None = member(minimum=1, maximum=64, pattern="[A-Za-z]+")
    account_id: str | None = member(minimum=12, maximum=12, pattern=ACCOUNT_PATTERN)
    region: str | None = member(minimum=1, maximum=63, pattern=REGION_PATTERN)
    key_id: str | None = member(minimum=1, maximum=2_048, pattern=_KEY)
    calls: int | None = member(minimum=1, maximum=1_000_000)
    delay_milliseconds: int = member(minimum=1, maximum=600_000, default=1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectFaultResponse:
    """What InjectFault answers."""

    fault: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFaultsRequest:
    """What ListFaults takes."""

    limit: int | None = page_limit()
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFaultsResponse:
    """What ListFaults answers."""

    faults: tuple[Fault, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearFaultsRequest:
    """What ClearFaults takes."""

    fault_id: str | None = member(minimum=1, maximum=64, pattern="[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearFaultsResponse:
    """What ClearFaults answers."""

    cleared: int
