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


class Turn:
    """The time that a batch has in the event loop before others are let in."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began = monotonic()

    async def pause(self) -> None:
        """Lets others in when it's over; then another begins."""
        if self._monotonic() - self._began > _SECONDS:
            await asyncio.sleep(0)
            self._began = self._monotonic()


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
