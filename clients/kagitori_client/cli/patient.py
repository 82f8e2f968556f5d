"""Reading from what can keep us waiting (pipes, terminals), so that a signal always ends the wait."""

from __future__ import annotations

import io
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER = 65536


class _Patient(io.RawIOBase):
    """Waits for input or a signal, whichever comes first, and reads only then.

    Python runs a signal's handler between its own instructions. A plain read that begins just after the signal
    has come would sleep until there is input, with the handler waiting; here the signal itself writes a byte to
    `wakeup`, which ends the wait also if it was written before the wait began.
    """

    def __init__(self, descriptor: int, wakeup: int) -> None:
        self._descriptor = descriptor
        self._wakeup = wakeup
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._poll.register(wakeup, select.POLLIN)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: WriteableBuffer) -> int:
        while self._descriptor not in {descriptor for descriptor, _ in self._poll.poll()}:
            # A signal whose handler raised nothing, such as a changed window size.
            os.read(self._wakeup, _BUFFER)
        return os.readv(self._descriptor, [buffer])


@contextmanager
def patient_reader(descriptor: int) -> Iterator[IO[bytes]]:
    """A buffered reader on a descriptor, which stays open. For the main thread: Python's signals are its own."""
    heard, wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    try:
        yield io.BufferedReader(_Patient(descriptor, heard), _BUFFER)
    finally:
        signal.set_wakeup_fd(before)
        os.close(heard)
        os.close(wakeup)
