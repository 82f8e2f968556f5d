"""Counts encryptions per material, from blocks that a durable counter reserves."""

from __future__ import annotations

import threading

from kagitori_keystore.base import KeyStoreError, RequestRefused, StoreLost
from kagitori_keystore.pkcs11.settings import USES_MAX, UseCounter
from kagitori_keystore.secret import Guarded

BLOCK = 4096
"""Uses reserved at once: what is left of a block when the process ends counts as used."""


class Uses(Guarded):
    """The uses that this process may still make. Thread-safe."""

    __slots__ = ("_counter", "_left", "_lock")

    def __init__(self, counter: UseCounter) -> None:
        self._counter = counter
        self._left: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, material_id: str) -> None:
        """One more use. Raises `RequestRefused` beyond `USES_MAX`, and `StoreLost` if the counter fails."""
        with self._lock:
            left = self._left.get(material_id, 0)
            self._left[material_id] = (left or self._reserve(material_id)) - 1

    def _reserve(self, material_id: str) -> int:
        try:
            first = self._counter.reserve(material_id, BLOCK)
        except KeyStoreError:
            raise
        except Exception:  # noqa: BLE001 - the port belongs to others: whatever it raises, nothing may be encrypted
            raise StoreLost("the uses of the key cannot be counted") from None
        if not 0 <= first <= USES_MAX - BLOCK:
            raise RequestRefused("the key has encrypted as often as it may: it has to be rotated")
        # Every key has encrypted once when it was made, for its check value.
        return BLOCK - 1 if first == USES_MAX - BLOCK else BLOCK
