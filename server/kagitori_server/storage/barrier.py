"""One piece of work shared by all who asked for it before it began."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

from kagitori_server.model.errors import DependencyTimeoutException
from kagitori_server.storage.failures import timed_out

_log = logging.getLogger(__name__)

_UNPROVEN = "it could not be proven that nothing has changed"


class _Batch:
    """All who wait for the same run."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.worked = False
        self.on_loops: dict[asyncio.AbstractEventLoop, asyncio.Future[bool]] = {}

    def settle(self, *, worked: bool) -> None:
        """Lets everybody go on. Nobody joins any more."""
        self.worked = worked
        self.done.set()
        for loop, future in self.on_loops.items():
            # A loop that is closed has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_set, future, worked)


class Barrier:
    """Runs `work` in a thread of its own, again and again while somebody waits.

    Who arrives while the work runs waits for the next run: an answer counts for those alone who asked before
    the question was put. The work must end by itself in bounded time; a caller gives up after `seconds`.
    """

    def __init__(self, work: Callable[[], None], seconds: float, name: str) -> None:
        """Starts the thread, named `name`. `work` tells of failure by DependencyTimeoutException."""
        self._work = work
        self._seconds = seconds
        self._arrived = threading.Condition()
        self._next: _Batch | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def passed(self) -> None:
        """Returns once a run that began after this call has succeeded.

        Raises DependencyTimeoutException after `seconds`, or when the run failed.
        """
        loop = asyncio.get_running_loop()
        with self._arrived:
            batch = self._joined()
            # One future per loop and batch: waking a loop from another thread is what costs.
            shared = batch.on_loops.setdefault(loop, loop.create_future())
        try:
            async with asyncio.timeout(self._seconds):
                worked = await asyncio.shield(shared)
        except TimeoutError:
            worked = False
        if not worked:
            raise timed_out(_UNPROVEN)

    def passed_blocking(self) -> None:
        """The same for threads."""
        with self._arrived:
            batch = self._joined()
        if not batch.done.wait(self._seconds) or not batch.worked:
            raise timed_out(_UNPROVEN)

    def close(self) -> None:
        """Refuses who waits or still comes, and ends the thread when its run has ended."""
        with self._arrived:
            self._closed = True
            left, self._next = self._next, None
            self._arrived.notify()
        if left is not None:
            left.settle(worked=False)
        self._thread.join()

    def _joined(self) -> _Batch:
        if self._closed:
            raise timed_out("it is closed")
        if self._next is None:
            self._next = _Batch()
            self._arrived.notify()
        return self._next

    def _run(self) -> None:
        while True:
            with self._arrived:
                while self._next is None and not self._closed:
                    self._arrived.wait()
                batch, self._next = self._next, None
            if batch is None:
                return
            batch.settle(worked=self._worked())

    def _worked(self) -> bool:
        try:
            self._work()
        except DependencyTimeoutException:
            return False
        except Exception as error:  # noqa: BLE001 - whoever waits is refused; the thread must outlive it
            _log.error("%s failed: %s", self._thread.name, type(error).__name__)
            return False
        return True


def _set(future: asyncio.Future[bool], worked: bool) -> None:
    if not future.done():
        future.set_result(worked)
