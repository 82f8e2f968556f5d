"""Segments in the archive: compressed, but still read from any offset.

The format is BGZF (SAM/BAM format specification, section 4.1): a gzip file of many members, each of at most 64 KiB of
content and with its compressed size in an extra field, so that places are found by hopping from header to header. Any
tool that reads gzip reads it.
"""

from __future__ import annotations

import bisect
import os
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

_CONTENT_BYTES = 65_280
"""Of a member, so that it also fits when it can't be compressed (as bgzip has it)."""
_HEADER = struct.Struct("<4BI2BH2BHH")
_TRAILER = struct.Struct("<II")
_FIXED = (31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2)
"""The header without the size: gzip, deflate, an extra field, no time, unknown system; the field is `BC`, 2 bytes."""
_LEVEL = 6
_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


class ArchiveDamagedError(OSError):
    """What is in the archive isn't what was put there."""


def compress(source: BinaryIO) -> Iterator[bytes]:
    """The bytes of an archived segment with the content of `source`, part after part."""
    while content := source.read(_CONTENT_BYTES):
        deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = deflate.compress(content) + deflate.flush()
        size = _HEADER.size + len(body) + _TRAILER.size
        yield _HEADER.pack(*_FIXED, size - 1) + body + _TRAILER.pack(zlib.crc32(content), len(content))
    yield _END


class ArchivedSegment:
    """An archived segment, open for reading; offsets and sizes are those of its content."""

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError, OSError, ArchiveDamagedError."""
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(self._descriptor)
            self._places, self._starts = _members(path, found.st_ino, found.st_size, found.st_mtime_ns)
        except BaseException:
            os.close(self._descriptor)
            raise
        self.size = self._starts[-1]
        self._held: tuple[int, bytes] = (-1, b"")

    def pread(self, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset` on, fewer at the end. Raises OSError, ArchiveDamagedError."""
        parts: list[bytes] = []
        while size > 0 and offset < self.size:
            member = bisect.bisect_right(self._starts, offset) - 1
            content = self._content(member)
            begin = offset - self._starts[member]
            part = content[begin : begin + size]
            parts.append(part)
            size -= len(part)
            offset += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Gives the file back."""
        os.close(self._descriptor)

    def _content(self, member: int) -> bytes:
        if self._held[0] != member:
            begin, end = self._places[member], self._places[member + 1]
            packed = os.pread(self._descriptor, end - begin, begin)
            check, size = _TRAILER.unpack(packed[-_TRAILER.size :])
            try:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed[_HEADER.size : -_TRAILER.size], 1 << 16)
            except zlib.error:
                raise self._damaged() from None
            if len(content) != size or zlib.crc32(content) != check:
                raise self._damaged()
            self._held = member, content
        return self._held[1]

    def _damaged(self) -> ArchiveDamagedError:
        return _damaged(self._path)


@lru_cache(maxsize=16)
def _members(path: Path, inode: int, length: int, changed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where the members of a file begin in it, and their contents in the segment; each has the end besides.

    Finding out takes longer than reading a block, and who follows a chain opens its segments for each. Raises OSError,
    ArchiveDamagedError.
    """
    places, starts = [0], [0]
    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        found = os.fstat(descriptor)
        if (found.st_ino, found.st_size, found.st_mtime_ns) != (inode, length, changed):
            raise _damaged(path)
        while places[-1] < length:
            header = os.pread(descriptor, _HEADER.size, places[-1])
            if len(header) < _HEADER.size:
                raise _damaged(path)
            *_, b, c, field, size = fields = _HEADER.unpack(header)
            end = places[-1] + size + 1
            if tuple(fields[:4]) != _FIXED[:4] or (b, c, field) != _FIXED[8:] or end > length:
                raise _damaged(path)
            _, content = _TRAILER.unpack(os.pread(descriptor, _TRAILER.size, end - _TRAILER.size))
            if content > 1 << 16:
                raise _damaged(path)
            places.append(end)
            starts.append(starts[-1] + content)
        if os.pread(descriptor, len(_END), max(0, length - len(_END))) != _END:
            raise _damaged(path)
    return tuple(places), tuple(starts)


def _damaged(path: Path) -> ArchiveDamagedError:
    return ArchiveDamagedError(f"the archived segment {path.name} is damaged")
