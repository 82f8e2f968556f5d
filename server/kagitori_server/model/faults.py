"""Faults that an instance for tests can be told to have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What goes wrong."""

    THROTTLING = "THROTTLING"
    LATENCY = "LATENCY"
    KEY_STORE_LOSS = "KEY_STORE_LOSS"
    REGION_LOSS = "REGION_LOSS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, and how far it has come. It befalls calls that fit all that isn't None."""

    fault_id: str
    kind: FaultKind
    operation: str | None
    account_id: str | None
    """Of the caller."""
    region: str | None
    key_id: str | None
    """Id or ARN of a key that a call is about."""
    calls_left: int | None
    """None: until it is cleared."""
    delay_milliseconds: int
    """How long answers are held back; for kinds that refuse calls, when it makes sense to try again."""
    calls_befallen: int = 0
