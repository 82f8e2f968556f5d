"""Times: protobuf's Timestamp and Duration <-> seconds as a float.

A float holds the microseconds of any time near ours, and no finer.
"""

from __future__ import annotations

from typing import Any

from kagitori_server.model.errors import SerializationException

_MICROSECONDS = 1_000_000
_EARLIEST = -62_135_596_800
_LATEST = 253_402_300_799
"""The years 1 and 9999 (google/protobuf/timestamp.proto)."""
_LONGEST = 315_576_000_000
"""Seconds of 10,000 years (google/protobuf/duration.proto)."""


def read_timestamp(sent: Any) -> float:
    """Seconds since the epoch. Raises SerializationException outside of the years 1 to 9999."""
    if not (_EARLIEST <= sent.seconds <= _LATEST and 0 <= sent.nanos <= 999_999_999):
        raise SerializationException("A timestamp of the request is out of range.")
    return float(sent.seconds + sent.nanos / 1e9)


def write_timestamp(seconds: float) -> dict[str, int]:
    """What a Timestamp is made of."""
    whole, micros = divmod(round(seconds * _MICROSECONDS), _MICROSECONDS)
    return {"seconds": whole, "nanos": micros * 1000}


def read_duration(sent: Any) -> float:
    """Seconds. Raises SerializationException beyond 10,000 years or when the parts differ in sign."""
    same_sign = sent.seconds * sent.nanos >= 0
    if not (-_LONGEST <= sent.seconds <= _LONGEST and abs(sent.nanos) <= 999_999_999 and same_sign):
        raise SerializationException("A duration of the request is out of range.")
    return float(sent.seconds + sent.nanos / 1e9)


def write_duration(seconds: float) -> dict[str, int]:
    """What a Duration is made of: both parts with the sign of the whole."""
    sign = -1 if seconds < 0 else 1
    whole, micros = divmod(round(abs(seconds) * _MICROSECONDS), _MICROSECONDS)
    return {"seconds": sign * whole, "nanos": sign * micros * 1000}
