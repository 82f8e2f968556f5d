"""Types that hold key material: they refuse to show, copy, pickle or compare what they hold.

Python cannot promise that no other copy of a secret exists: values read from the operating system arrive as
immutable `bytes`, and the memory allocator may move or reuse blocks. Overwriting is therefore best effort; it
shortens the time a key lies in the process's memory, no more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, SupportsIndex

RandomSource = Callable[[int], bytes]
"""Returns that many bytes fit for keys and nonces (`os.urandom` in production). Must be thread-safe."""


class Guarded:
    """Mixin for what holds keys or handles on keys: `repr` shows the type alone, the rest is refused.

    Raises `TypeError` on pickling, copying and `==`; an instance is not hashable.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, contents withheld>"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("secrets are not compared with ==")

    def __hash__(self) -> NoReturn:
        raise TypeError("secrets are not hashable")

    def __copy__(self) -> NoReturn:
        raise TypeError("secrets are not copied")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("secrets are not copied")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("secrets are not pickled")


class SecretBytes(Guarded):
    """Key bytes in a buffer that is overwritten: on leaving the `with` block that reads them, or by `wipe`.

    The buffer is taken over, not copied: the caller must not keep it.
    """

    __slots__ = ("_buffer",)

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer

    def __enter__(self) -> bytearray:
        return self._buffer

    def __exit__(self, *exc_info: object) -> None:
        self.wipe()

    def __len__(self) -> int:
        return len(self._buffer)

    def wipe(self) -> None:
        """Overwrites the buffer with zeros; its length stays."""
        wipe(self._buffer)


def wipe(buffer: bytearray) -> None:
    """Overwrites `buffer` in place, so that views on it see the zeros too."""
    buffer[:] = bytes(len(buffer))
