"""Where log files and digests are brought to, and read again when they're verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

OBJECT_MAX_BYTES = 256 * 1024 * 1024
"""Longest object that is read again. Log files are much smaller."""


class DestinationFailed(Exception):
    """The destination can't be reached, or refuses; the message says which and holds nothing secret."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was found."""

    content: bytes
    metadata: Mapping[str, str]


class Destination(Protocol):
    """A bucket of objects. Thread-safe; everything blocks and raises DestinationFailed.

    Keys have parts of letters, digits, `.`, `_` and `-` between slashes; metadata is short ASCII text.
    """

    def put(self, key: str, content: bytes, metadata: Mapping[str, str]) -> None:
        """Keeps the object durably, in place of one that may be there. Nobody sees a part of it, or the object
        without its metadata."""
        ...

    def get(self, key: str) -> Stored | None:
        """The object; None if there is none. Raises DestinationFailed, too, for one beyond `OBJECT_MAX_BYTES`."""
        ...

    def tidy(self, before: float, until: Callable[[], bool]) -> None:
        """Removes what puts left that were broken off before that time (seconds since the epoch), as long as `until` is
        false. Raises OSError."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin so, in order."""
        ...
