"""One piece of work shared by all who asked for it before it began."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

from kagitori_server.storage.failures import timed_out


class Barrier:
    """Runs `work` in a thread of its own, again and again while somebody waits.

    Who arrives while the work runs waits for the next run: an answer counts for those alone who asked before
    the question was put. The work must end by itself in bounded time; a caller gives up after `seconds`.
    """

    def __init__(self, work: Callable[[], None], seconds: float, name: str) -> None:
        """Starts the thread. `work` reports failure by raising what its callers shall see."""
        self._work = work
        self._seconds = seconds
        self._arrived = threading.Condition()
        self._waiting: list[Future[None]] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def passed(self) -> None:
        """Returns once a run that began after this call has succeeded.

        Raises DependencyTimeoutException after `seconds`, or what the run raised.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await asyncio.wrap_future(self._arrive())
        except TimeoutError:
            raise timed_out("it could not be proven that nothing has changed") from None

    def passed_blocking(self) -> None:
        """The same for threads."""
        place = self._arrive()
        try:
            place.result(self._seconds)
        except TimeoutError:
            place.cancel()
            raise timed_out("it could not be proven that nothing has changed") from None

    def close(self) -> None:
        """Refuses who waits or still comes, and ends the thread when its run has ended."""
        with self._arrived:
            self._closed = True
            left, self._waiting = self._waiting, []
            self._arrived.notify()
        for place in left:
            if place.set_running_or_notify_cancel():
                place.set_exception(timed_out("it is closed"))
        self._thread.join()

    def _arrive(self) -> Future[None]:
        place: Future[None] = Future()
        with self._arrived:
            if self._closed:
                raise timed_out("it is closed")
            self._waiting.append(place)
            self._arrived.notify()
        return place

    def _run(self) -> None:
        while True:
            with self._arrived:
                while not self._waiting and not self._closed:
                    self._arrived.wait()
                if self._closed:
                    return
                batch, self._waiting = self._waiting, []
            self._answer([place for place in batch if place.set_running_or_notify_cancel()])

    def _answer(self, batch: list[Future[None]]) -> None:
        if not batch:
            return
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - each caller gets it; the thread must outlive any failure
            for place in batch:
                place.set_exception(error)
        else:
            for place in batch:
                place.set_result(None)
