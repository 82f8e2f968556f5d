"""The few file operations that a trail consists of, so that tests can put a failing disk in their place."""

from __future__ import annotations

import os
from pathlib import Path

_APPENDING = os.O_WRONLY | os.O_DSYNC | os.O_CLOEXEC


class Disk:
    """Plain POSIX. Every method raises OSError.

    Files are opened with O_DSYNC, under which a write returns as though fdatasync had followed it (open(2)).
    One call instead of two also means one wait for the interpreter lock instead of two, which under load is a
    quarter of the service's rate. After a failed write nothing is known about the bytes from its offset on:
    the page cache may have dropped them, so that trying it again on the same file would prove nothing.
    """

    def create(self, path: Path) -> int:
        """Makes an empty file (mode 0600), makes its directory entry durable and returns its descriptor."""
        descriptor = os.open(path, _APPENDING | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            self.sync_directory(path.parent)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        return descriptor

    def reopen(self, path: Path) -> int:
        """The descriptor of an existing file, for writing."""
        return os.open(path, _APPENDING)

    def write_durably(self, descriptor: int, data: bytes, offset: int) -> None:
        """Writes `data` at `offset` and returns when it is on stable storage."""
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view = view[written:]
            offset += written

    def cut(self, descriptor: int, length: int) -> None:
        """Shortens the file to `length` bytes, durably."""
        os.ftruncate(descriptor, length)
        os.fsync(descriptor)

    def remove(self, path: Path) -> None:
        """Removes a file, durably."""
        path.unlink(missing_ok=True)
        self.sync_directory(path.parent)

    def close(self, descriptor: int) -> None:
        """Gives the descriptor back."""
        os.close(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Makes the entries of a directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
