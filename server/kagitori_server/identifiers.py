"""Fresh names from the system's random source."""

from __future__ import annotations

import base64
import re
import secrets
import threading
from collections.abc import Callable

from kagitori_server.operations.context import Identifiers

_POOLED = 256
"""UUIDs made of one read of the random source, which costs as much as the rest of making one."""


class UuidSource:
    """Random UUIDs (RFC 9562, version 4) in their 36-character form. Thread-safe.

    They name things and are no secrets, so it does no harm that the next ones lie in memory.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._pool: list[str] = []
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """A UUID that nobody was given before."""
        try:
            return self._pool.pop()
        except IndexError:
            return self._refill()

    def _refill(self) -> str:
        with self._lock:
            uuids = _uuids(self._random(16 * _POOLED))
            self._pool.extend(uuids[1:])
            return uuids[0]


def _repeated(one: str) -> int:
    return int(one.replace("-", "") * _POOLED, 16)


_RANDOM_BITS = _repeated("ffffffff-ffff-0fff-3fff-ffffffffffff")
_VERSION_4 = _repeated("00000000-0000-4000-8000-000000000000")
_DIGITS = re.compile("(.{8})(.{4})(.{4})(.{4})(.{12})")


def _uuids(random: bytes) -> list[str]:
    """The UUIDs with these random bits, made all at once."""
    digits = ((int.from_bytes(random) & _RANDOM_BITS) | _VERSION_4).to_bytes(len(random)).hex()
    return ["-".join(groups) for groups in _DIGITS.findall(digits)]


def system_identifiers(random: Callable[[int], bytes]) -> Identifiers:
    """Names for a real deployment."""

    def unique_id(prefix: str) -> str:
        return prefix + base64.b32encode(random(11)).decode()[:17]

    return Identifiers(uuid=UuidSource(random), unique_id=unique_id, secret=lambda: secrets.token_urlsafe(32))
