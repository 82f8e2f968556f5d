"""Receipts for calls: whoever wants one waits until the record is proven, together with those who came meanwhile."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor
from typing import NamedTuple

from kagitori_server.transparency.log import TransparencyLog, Wanted

_log = logging.getLogger(__name__)

RECEIPT_SECONDS = 5.0
"""How long an answer waits for its receipt. A tree that is far behind the trail goes on without the call."""

_MOST_TOGETHER = 256


class _Waiting(NamedTuple):
    wanted: Wanted
    future: asyncio.Future[bytes | None]


class Receipts:
    """Makes receipts in a thread, one signature for all that gathered while the last were made. For one event loop."""

    def __init__(self, log: TransparencyLog, thread: Executor, patience: float = RECEIPT_SECONDS) -> None:
        """`patience` is in seconds."""
        self._log = log
        self._patience = patience
        self._thread = thread
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def receipt(self, seq: int, event: bytes, *, shown: bool) -> bytes | None:
        """The receipt for the durable record `seq`, with the record in it if that may be shown and isn't too long.

        None if it can't be made in time; the call is answered all the same, and its record can be proven later.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes | None] = loop.create_future()
        self._waiting.append(_Waiting(Wanted(seq, event, shown), future))
        if self._working is None:
            self._working = loop.create_task(self._work())
        try:
            await asyncio.wait((future,), timeout=self._patience)
            return future.result() if future.done() else None
        finally:
            # Nothing is made for who doesn't wait any more.
            future.cancel()

    def _next(self) -> list[_Waiting]:
        waiting = [each for each in self._waiting if not each.future.done()]
        self._waiting = waiting[_MOST_TOGETHER:]
        return waiting[:_MOST_TOGETHER]

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while group := self._next():
                made: list[bytes] | list[None] = [None] * len(group)
                try:
                    wanted = [each.wanted for each in group]
                    made = await loop.run_in_executor(self._thread, self._log.receipts, wanted)
                except Exception as failure:  # noqa: BLE001 - whatever it is, the calls are answered
                    _log.error("%d receipts could not be made: %s", len(group), type(failure).__name__)
                finally:
                    for each, receipt in zip(group, made, strict=True):
                        if not each.future.done():
                            each.future.set_result(receipt)
        finally:
            self._working = None
