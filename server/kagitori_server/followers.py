"""What follows the audit trail in this process: jobs that are done again and again, each on a thread of its own.

None of them is in the way of a call, and none waits for another: where one is slow or fails, the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from kagitori_server.workers import every


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


class Followers:
    """Runs followers from `start` to `close`."""

    def __init__(self, followers: Sequence[Follower]) -> None:
        self._followers = [(each, ThreadPoolExecutor(1, each.name.replace(" ", "-"))) for each in followers]

    def start(self) -> list[asyncio.Task[None]]:
        """Begins, in the running event loop. The tasks are to be cancelled before `close`."""
        return [
            asyncio.create_task(every(each.seconds, each.job.run_once, pool, each.name))
            for each, pool in self._followers
        ]

    def close(self) -> None:
        """Ends what is being done, and returns when it has ended. Blocks."""
        for each, _ in self._followers:
            each.job.stop()
        for _, pool in self._followers:
            pool.shutdown()
