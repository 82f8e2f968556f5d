"""Shapes of GetUsage and of AWS GetKeyLastUsage."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kagitori_server.model.shape import member
from kagitori_server.model.usage import KeyLastUsageTrackingOperation
from kagitori_server.operations.shapes.keys import key_id, marker
from kagitori_server.operations.shapes.principals import account_id

_PAGE_MAX = 1_000


class UsageDimension(StrEnum):
    """What usage can be added up by."""

    USAGE_TYPE = "USAGE_TYPE"
    ACCOUNT = "ACCOUNT"
    REGION = "REGION"
    KEY = "KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetUsageRequest:
    """What GetUsage takes. Times are seconds since the epoch."""

    account_id: str | None = account_id()
    start_time: float = member(required=True)
    end_time: float = member(required=True)
    group_by: tuple[UsageDimension, ...] = member(default=(), items_maximum=len(UsageDimension))
    limit: int | None = member(minimum=1, maximum=_PAGE_MAX)
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageItem:
    """A sum. What it wasn't grouped by is None, and so is the key of calls without one."""

    usage_type: str | None
    account_id: str | None
    region: str | None
    key_arn: str | None
    quantity: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetUsageResponse:
    """What GetUsage answers."""

    items: tuple[UsageItem, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GetKeyLastUsageRequest:
    """AWS `GetKeyLastUsageRequest`."""

    key_id: str = key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLastUsageData:
    """AWS `KeyLastUsageData`; all None for a key that wasn't used."""

    operation: KeyLastUsageTrackingOperation | None
    timestamp: float | None
    cloud_trail_event_id: str | None
    kms_request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetKeyLastUsageResponse:
    """AWS `GetKeyLastUsageResponse`."""

    key_id: str
    key_last_usage: KeyLastUsageData
    tracking_start_date: float
    key_creation_date: float
