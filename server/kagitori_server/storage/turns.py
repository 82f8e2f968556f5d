"""Waiting in line to write: within a process first come, first served; between processes turn by turn."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from kagitori_server.storage.write_mark import WriteMark

_NAP_SECONDS = 0.00005
_LONGEST_TURNSTILE_NAP_SECONDS = 0.001


class FairLock:
    """A lock handed to whoever waits longest. `threading.Lock` lets the last holder barge in again."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = False
        self._line: deque[threading.Lock] = deque()

    def acquire(self, timeout: float) -> bool:
        """False when `timeout` seconds passed first."""
        with self._guard:
            if not self._held:
                self._held = True
                return True
            place = threading.Lock()
            place.acquire()
            self._line.append(place)
        if place.acquire(timeout=timeout):
            return True
        with self._guard:
            try:
                self._line.remove(place)
            except ValueError:
                return True  # handed over between the timeout and now: it is ours
            return False

    def release(self) -> None:
        """Hands the lock on."""
        with self._guard:
            if self._line:
                self._line.popleft().release()
            else:
                self._held = False


class FileTurn:
    """A lock between processes on two files beside the database; one caller per process at a time.

    flock alone isn't fair: a busy writer takes it back before a waiting one has woken. So who wants to write
    holds the turnstile while waiting for the lock itself, and a writer that has just finished finds the
    turnstile taken. The kernel drops both locks when a process dies. Waits are polled, so they end on time.
    """

    def __init__(self, database: Path, monotonic: Callable[[], float]) -> None:
        """Opens (and makes) `DATABASE-turnstile` and `DATABASE-writer`, mode 0600."""
        self._monotonic = monotonic
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._turnstile = os.open(f"{database}-turnstile", flags, 0o600)
        self._writer = os.open(f"{database}-writer", flags, 0o600)
        self.mark = WriteMark(self._writer)
        """Odd while somebody has the turn."""

    def acquire(self, timeout: float) -> bool:
        """False when `timeout` seconds passed first."""
        end = self._monotonic() + timeout
        if not self._lock(self._turnstile, end, _LONGEST_TURNSTILE_NAP_SECONDS):
            return False
        try:
            # One process alone waits here, so it may look often.
            if not self._lock(self._writer, end, _NAP_SECONDS):
                return False
        finally:
            fcntl.flock(self._turnstile, fcntl.LOCK_UN)
        self.mark.begin()
        return True

    def release(self) -> None:
        """Lets the next one in. The transaction must have ended."""
        self.mark.end()
        fcntl.flock(self._writer, fcntl.LOCK_UN)

    def close(self) -> None:
        """Lets go of the files."""
        self.mark.close()
        os.close(self._turnstile)
        os.close(self._writer)

    def _lock(self, descriptor: int, end: float, longest_nap: float) -> bool:
        nap = _NAP_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._monotonic() >= end:
                    return False
                time.sleep(nap)
                nap = min(nap * 1.5, longest_nap)
            else:
                return True
