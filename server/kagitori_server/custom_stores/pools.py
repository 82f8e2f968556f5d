"""Threads for the calls to one custom key store: a store that hangs takes no more than these."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from kagitori_server.model.errors import ThrottlingException

P = ParamSpec("P")
T = TypeVar("T")


class StorePool(Executor):
    """So many threads, and so many calls that wait for one; what comes beyond is refused at once."""

    def __init__(self, store_id: str, threads: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, store_id)
        self._most = threads + waiting
        self._taken = 0
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As an executor does. Raises ThrottlingException when too many calls are there already."""
        with self._lock:
            if self._taken >= self._most:
                raise ThrottlingException(
                    "The custom key store does not keep up with the requests for it. Try again later.", retry_after=1.0
                )
            self._taken += 1
        try:
            future = self._threads.submit(fn, *args, **kwargs)
        except BaseException:
            self._gone(None)
            raise
        future.add_done_callback(self._gone)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As an executor does."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)

    def _gone(self, _future: Future[T] | None) -> None:
        with self._lock:
            self._taken -= 1
