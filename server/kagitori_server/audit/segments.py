"""The segments of a chain wherever they are: in its folder as they were written, or compressed in its archive.

    ROOT/chain-00/archive              a link to the archive's folder of the chain, if there is one
    ROOT/chain-00/archive/N.jsonl.gz   segments that were sealed and moved there

Readers open segments here, and see no difference. A segment that is in both places is read where it was written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from kagitori_server.audit.archived import ArchivedSegment
from kagitori_server.audit.chain import ARCHIVE_NAME, ARCHIVED, segment_name


class Segment(Protocol):
    """A segment, open for reading. A writer may append to it."""

    @property
    def size(self) -> int:
        """Its length in bytes when it was opened."""
        ...

    def pread(self, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset` on, none at the end. Raises OSError."""
        ...

    def close(self) -> None: ...


class _PlainSegment:
    """One that stands as it was written."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def pread(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        os.close(self._descriptor)


def open_segment(chain_dir: Path, number: int) -> Segment | None:
    """The segment, or None if it isn't there: removed by a writer's repair, when nothing in it was ever durable, or
    pruned. Raises OSError. Whoever opens it closes it.
    """
    name = segment_name(number)
    try:
        return _PlainSegment(chain_dir / name)
    except FileNotFoundError:
        pass
    try:
        return ArchivedSegment(chain_dir / ARCHIVE_NAME / (name + ARCHIVED))
    except FileNotFoundError:
        return None
