"""Batches: each item is admitted, performed and recorded like a call of its own, in turns that leave the event loop to
others between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kagitori_server.admission import Admission
from kagitori_server.authz.authorizer import Lengthy
from kagitori_server.model.call import Call, Unread
from kagitori_server.model.errors import KmsError, ValidationException
from kagitori_server.model.limits import BATCH_ITEMS_MAX
from kagitori_server.model.lookup import Lookup
from kagitori_server.operations.row import BatchOperation
from kagitori_server.operations.shapes.crypto import BatchItemError, BatchOutcome, BatchResponse
from kagitori_server.performing import ADMISSION_SECONDS, Performing, Pools, as_refusal
from kagitori_server.recording import Precedent, Record, Recording, Trace
from kagitori_server.storage.view import NotLoaded, View

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


class Batches:
    """Takes batches through the steps of the pipeline. One per process."""

    def __init__(
        self, *, performing: Performing, view: View, admission: Admission, recording: Recording, pools: Pools,
        monotonic: Callable[[], float], thread_time: Callable[[], float],
    ) -> None:
        self._performing = performing
        self._view = view
        self._admission = admission
        self._recording = recording
        self._pools = pools
        self._monotonic = monotonic
        self._thread_time = thread_time

    async def perform(self, trace: Trace, batch: BatchOperation) -> Sequence[Record]:
        """Each item is admitted and performed like a call of its own and leaves a record of its own. What goes
        wrong with one is its outcome; only what is wrong with the whole refuses the whole."""
        if not self._view.prove_now():
            await self._view.prove()
        items: Sequence[Any] = ()

        def open_batch(lookup: Lookup) -> None:
            nonlocal items
            trace.version = self._view.version
            self._performing.establish(trace, lookup)
            items = items_of(trace.call)

        await self._performing.inline(open_batch)
        turn = Turn(self._monotonic)
        begun = await self._begin_items(trace, batch, items, turn)
        outcomes: list[BatchOutcome] = []
        records: list[Record] = []
        for item in begun:
            if turn.is_over():
                await turn.end()
            outcomes.append(outcome_of(item))
            records += self._recording.of_item(item)
        trace.answer = BatchResponse(outcomes=tuple(outcomes))
        return records

    async def _begin_items(
        self, trace: Trace, batch: BatchOperation, items: Sequence[Any], turn: Turn
    ) -> Sequence[Trace]:
        """Admits and performs the items of a batch; all are done with when it returns. What is decided holds for items
        in a row that say the same, within one turn."""
        begun: list[Trace] = []
        together: list[Trace] = []
        computed: list[asyncio.Future[None]] = []
        loop, portions = asyncio.get_running_loop(), Portions(self._thread_time)
        before: Precedent | None = None
        proven, refusal = self._monotonic(), None
        for number in range(len(items)):
            if turn.is_over():
                await turn.end()
                before = None
                if self._monotonic() - proven > ADMISSION_SECONDS:
                    refusal, proven = await self._renew(trace), self._monotonic()
            item = Trace(
                trace.call, operation=batch.item, caller=trace.caller, version=trace.version, attested=trace.attested,
                error=refusal,
            )
            begun.append(item)
            if refusal is None:
                computed += await self._begin_item(item, batch, items, number, before, portions)
            before = item.precedent
            trace.delay = max(trace.delay, item.delay)
            if item.elsewhere is self._pools.computing:
                together.append(item)
            if together and (len(together) >= portions.size or number + 1 == len(items)):
                computed.append(loop.run_in_executor(self._pools.computing, self._compute, batch, together, portions))
                together = []
        await asyncio.gather(*computed)
        return begun

    async def _begin_item(
        self, item: Trace, batch: BatchOperation, items: Sequence[Any], number: int, before: Precedent | None,
        portions: Portions,
    ) -> Sequence[asyncio.Future[None]]:
        """Admits an item, and performs it unless that is for elsewhere: what has begun there by itself. What it is
        refused with is its error."""
        try:
            if isinstance(items, Unread) and items.is_large(number):
                step = partial(self._item, item, batch, items, number, None)
                await asyncio.get_running_loop().run_in_executor(self._pools.reads, step, self._view)
            else:
                try:
                    self._item(item, batch, items, number, before, self._view.kept)
                except (NotLoaded, Lengthy):
                    await self._performing.inline(partial(self._item, item, batch, items, number, None))
            if item.elsewhere not in (None, self._pools.computing):
                return (self._performing.elsewhere(item, self._compute, batch, [item], portions),)
        except Exception as failure:  # noqa: BLE001 - the item fails, the others go on
            item.error = as_refusal(failure)
        return ()

    async def _renew(self, trace: Trace) -> KmsError | None:
        """Looks again at what a batch rests on that has gone on for a while: why it can't go on, None if it can."""
        try:
            if not self._view.prove_now():
                await self._view.prove()
            version = self._view.version
            if version != trace.version:
                await self._performing.inline(partial(self._performing.establish, trace))
                trace.version = version
        except Exception as failure:  # noqa: BLE001 - the items that are done with have to be recorded, whatever it is
            return as_refusal(failure)
        return None

    def _compute(self, batch: BatchOperation, items: Sequence[Trace], portions: Portions) -> None:
        """What a few admitted items of a batch still lack, one after the other; never raises."""
        began = portions.thread_time()
        for item in items:
            try:
                item.answer = self._performing.perform(item, batch.item)
            except Exception as failure:  # noqa: BLE001 - as above
                item.error = as_refusal(failure)
        portions.measured(len(items), began)

    def _item(
        self, item: Trace, batch: BatchOperation, items: Sequence[Any], number: int, before: Precedent | None,
        lookup: Lookup,
    ) -> None:
        item.request = batch.item.request.build(items[number])
        terms, version = batch.terms(item.request), self._view.version
        if before is not None and before.version == version and before.terms == terms:
            item.precedent = before
            context = self._admission.admit_item(item, before, lookup)
        else:
            context = self._admission.admit(item, batch.item, lookup)
            item.precedent = None if terms is None else Precedent(terms, context, version)
        self._performing.begin(item, context)
