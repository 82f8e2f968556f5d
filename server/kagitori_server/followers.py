"""What follows the audit trail in this process: jobs that are done again and again, each on a thread of its own.

None of them is in the way of a call, and none waits for another: where one is slow or fails, the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from kagitori_server.workers import every

_log = logging.getLogger(__name__)
_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


class Job(Protocol):
    """One follower."""

    def run_once(self) -> object:
        """Does what there is to do by now. Blocks."""

    def stop(self) -> None:
        """Lets `run_once` end soon; what it leaves is done another time."""


class Follower(NamedTuple):
    """A job, and how long it rests between two rounds."""

    name: str
    """For the log, and of the thread."""
    job: Job
    seconds: float


class OneThread(Executor):
    """A thread that does one thing after the other. The process doesn't wait for it at its end."""

    def __init__(self, name: str) -> None:
        self._asked: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name.replace(" ", "-"), daemon=True)
        self._started = False

    def submit(
        self, fn: Callable[_Given, _Found], /, *args: _Given.args, **kwargs: _Given.kwargs
    ) -> Future[_Found]:
        """For one thread."""
        future: Future[_Found] = Future()

        def do() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised to who asked
                future.set_exception(error)

        self._asked.put(do)
        if not self._started:
            self._started = True
            self._thread.start()
        return future

    def ask_to_end(self) -> None:
        """Lets it end after what was asked of it by now."""
        self._asked.put(None)

    def ended(self, seconds: float) -> bool:
        """Waits so long for its end; whether it came."""
        if self._started:
            self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (do := self._asked.get()) is not None:
            do()


def do_in_time(name: str, job: Callable[[], object], seconds: float) -> None:
    """Does something last, and doesn't wait for it for longer. Raises what it raises."""
    thread = OneThread(name)
    done = thread.submit(job)
    thread.ask_to_end()
    if thread.ended(seconds):
        done.result()
    else:
        _log.warning("%s: it was still under way at the end, and is gone on with after the next start", name)


class Followers:
    """Runs followers from `start` to `close`."""

    def __init__(self, followers: Sequence[Follower]) -> None:
        self._followers = [(each, OneThread(each.name)) for each in followers]

    def start(self) -> list[asyncio.Task[None]]:
        """Begins, in the running event loop. The tasks are to be cancelled before `close`."""
        return [
            asyncio.create_task(every(each.seconds, each.job.run_once, thread, each.name))
            for each, thread in self._followers
        ]

    def close(self, seconds: float) -> frozenset[str]:
        """Lets what is being done end, and waits so long for all of them together. Returns the names of those that
        haven't ended, as where a directory hangs: their cursors are durable, so nothing is lost with the process."""
        for each, thread in self._followers:
            each.job.stop()
            thread.ask_to_end()
        end = time.monotonic() + seconds
        left = frozenset(each.name for each, thread in self._followers if not thread.ended(end - time.monotonic()))
        for name in sorted(left):
            _log.warning("%s: it was still under way at the end, and is gone on with after the next start", name)
        return left
