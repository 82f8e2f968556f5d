"""A number in memory shared by all processes on a database: unchanged means that nobody has written meanwhile.

Asking the database takes two trips out of the interpreter; reading eight bytes takes none. Every writer makes the
number odd when its turn begins and even again, and new, when its transaction has ended. So a reader that finds the
even number it knows, knows that nothing was committed since; for any other number it asks the database. A writer
that dies leaves the number odd, and readers ask the database until the next one has come and gone.
"""

from __future__ import annotations

import mmap
import os

_BYTES = 8
_WRAP = 1 << 64


class WriteMark:
    """The number at the beginning of an open file, which holds nothing else. Written under the turn to write."""

    def __init__(self, descriptor: int) -> None:
        """Raises OSError when the file can't be mapped."""
        if os.fstat(descriptor).st_size < _BYTES:
            os.ftruncate(descriptor, _BYTES)
        self._map = mmap.mmap(descriptor, _BYTES)
        self._words = memoryview(self._map).cast("Q")

    def read(self) -> int:
        """The number; even unless somebody is writing, or died of it."""
        return self._words[0]

    def begin(self) -> None:
        """A turn to write begins."""
        self._words[0] = (self._words[0] + 1 | 1) % _WRAP

    def end(self) -> None:
        """The turn ends; what it wrote is committed or gone."""
        self._words[0] = (self._words[0] + 1) % _WRAP

    def close(self) -> None:
        """Lets go of the memory. From then on the number is 0, which tells nothing."""
        self._words.release()
        self._map.close()
        self._words = memoryview(bytes(_BYTES)).cast("Q")
