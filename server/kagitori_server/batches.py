"""What is particular to batches: their items, their outcomes, and the turns that they have in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from kagitori_server.model.call import Call
from kagitori_server.model.errors import ValidationException
from kagitori_server.model.limits import BATCH_ITEMS_MAX
from kagitori_server.operations.shapes.crypto import BatchItemError, BatchOutcome
from kagitori_server.recording import Trace

_SECONDS = 0.002
"""That a batch may work on its items before other calls get their turn."""
_FIRST_PORTION = 8
_LARGEST_PORTION = 32
_PORTION_SECONDS = 0.008
"""Of processor time that a portion should take, at most."""


class Turn:
    """The time that a batch has in the event loop before others are let in."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began = monotonic()

    def is_over(self) -> bool:
        """Whether others should be let in."""
        return self._monotonic() - self._began > _SECONDS

    async def end(self) -> None:
        """Lets them in; then another turn begins."""
        await asyncio.sleep(0)
        self._began = self._monotonic()


class Portions:
    """How many items of a batch a computing thread is handed at once, from what they took lately. Handing over and back
    costs some 50 µs; what takes long keeps the thread from other calls. Thread-safe: a lost update does no harm.

    `thread_time` is the processor time of the thread that asks, in seconds: how busy the machine is has no say.
    """

    def __init__(self, thread_time: Callable[[], float]) -> None:
        self.thread_time = thread_time
        self._size = _FIRST_PORTION

    @property
    def size(self) -> int:
        """Items of the next portion."""
        return self._size

    def measured(self, items: int, began: float) -> None:
        """Takes note that this thread has computed `items` since `began`, by the same clock."""
        seconds = max(self.thread_time() - began, 1e-6)
        self._size = max(1, min(_LARGEST_PORTION, int(items * _PORTION_SECONDS / seconds)))


def outcome_of(item: Trace) -> BatchOutcome:
    """What the answer says of an item that was worked on."""
    if item.error is None:
        return BatchOutcome(response=item.answer)
    return BatchOutcome(error=BatchItemError(code=item.error.code(), message=item.error.message))


def items_of(call: Call) -> Sequence[Any]:
    """The members of each item. Raises ValidationException for none or too many, and what decoding raises."""
    items = call.decode().get("items") or ()
    if not 1 <= len(items) <= BATCH_ITEMS_MAX:
        raise ValidationException(
            f"1 validation error detected: Value at 'items' failed to satisfy constraint: "
            f"Member must have between 1 and {BATCH_ITEMS_MAX} elements, it has {len(items)}"
        )
    return items
