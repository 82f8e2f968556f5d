"""Answers that are made while they are given: what the handler of a row that streams returns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Stream(Generic[T]):
    """Items that are made when they are asked for, until there are no more or nobody wants them.

    `pull` does the work and blocks, in any thread but one at a time; `close` doesn't, may come at any moment, more
    than once and while `pull` is at work, which ends soon then. Whoever has a stream closes it.
    """

    def __init__(
        self, produce: Callable[[Callable[[], bool]], Generator[T, None, None]], release: Callable[[], None]
    ) -> None:
        """`produce` gets a function that tells whether to stop, and is begun by the first `pull`. `release` is
        called once, when nothing is worked on any more."""
        self._closed = False
        self._released = False
        self._release = release
        self._items = produce(lambda: self._closed)
        self._lock = threading.Lock()

    def of(self, make: Callable[[T], U]) -> Stream[U]:
        """The stream of what `make` makes of these items, which is to be used instead of this one."""

        def produce(stopped: Callable[[], bool]) -> Generator[U, None, None]:
            while not stopped() and (item := self.pull()) is not None:
                yield make(item)

        return Stream(produce, self.close)

    def pull(self) -> T | None:
        """The next item, None at the end. Raises what making it raises; then, too, the stream is at its end."""
        item = None
        try:
            with self._lock:
                item = None if self._closed else next(self._items, None)
        finally:
            # Not before the lock is free: `close` might just have found it taken and left the rest to this call.
            if self._closed or item is None:
                self.close()
        return item

    def close(self) -> None:
        """Let go of everything, at once or when `pull` comes back."""
        self._closed = True
        if not self._lock.acquire(blocking=False):
            return
        try:
            if not self._released:
                self._released = True
                self._items.close()
                self._release()
        finally:
            self._lock.release()
