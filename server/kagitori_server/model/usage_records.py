"""What the catalog keeps of the use of the service: how far trails were followed, counts, latest uses, life of keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class FollowedChain:
    """A chain of the trail, as far as its records have been counted."""

    chain_id: str
    """Hash of its first line, which no other chain of any audit folder has."""
    name: str
    segment: int
    offset: int
    """The place behind the last record counted."""
    seq: int
    """Of the last record counted; 0 for none."""
    began: float
    """Time of its first record, seconds since the epoch."""


class RequestCount(NamedTuple):
    """So many requests of one kind within one hour. `hour` counts from the epoch; `key_arn` is empty for none."""

    account: str
    hour: int
    region: str
    key_arn: str
    usage_type: str
    quantity: int


@dataclass(frozen=True, slots=True)
class LastUse:
    """The latest successful cryptographic use of a key."""

    key_arn: str
    moment: float
    """Seconds since the epoch."""
    operation: str
    event_id: str
    request_id: str | None


class BillingSpan(NamedTuple):
    """A time for which a key (`number` 0), or the version that its rotation of that number brought, is charged."""

    account: str
    region: str
    arn: str
    number: int
    began: float
    ended: float | None
    """None while it goes on. A key that is pending deletion has ended, until that is cancelled."""
