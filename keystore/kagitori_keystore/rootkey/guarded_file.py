"""One small secret file in a private directory: refused if others can reach it, replaced atomically."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kagitori_keystore.base import RootKeyRefused
from kagitori_keystore.secret import wipe

FILE_MAX_BYTES = 65_536
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a pipe in the file's place is refused instead of waited for.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

Stamp = tuple[int, int, int]
"""Inode, modification time in nanoseconds and size: differs after every `replace`."""


class GuardedFile:
    """A regular file of the process's own user, mode 0600 or narrower, in a 0700 directory or narrower.

    The directory is made on first use (its parent must exist). Checks are made on open descriptors, so what
    was checked is what is read. All methods raise `RootKeyRefused` if the place is unsafe or out of order.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the lock that all processes take around read-change-replace; not reentrant."""
        with self._open_directory() as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    def read(self) -> tuple[bytearray, Stamp] | None:
        """The content, in a buffer the caller wipes, and its stamp; None if there is no file yet."""
        with self._open_directory() as directory:
            try:
                descriptor = os.open(self._name, _READ_FLAGS, dir_fd=directory)
            except FileNotFoundError:
                return None
            try:
                status = os.fstat(descriptor)
                self._check(status, "file")
                content = bytearray(FILE_MAX_BYTES + 1)
                size = os.readv(descriptor, [content])
            finally:
                os.close(descriptor)
            if size > FILE_MAX_BYTES or size != status.st_size:
                wipe(content)
                raise RootKeyRefused("the root key file is too long or changed while it was read")
            exact = content[:size]
            wipe(content)
            return exact, _stamp(status)

    def stamp(self) -> Stamp | None:
        """The stamp of the file as it is now; None if there is none."""
        with self._open_directory() as directory:
            try:
                return _stamp(os.stat(self._name, dir_fd=directory, follow_symlinks=False))
            except FileNotFoundError:
                return None

    def replace(self, content: bytearray) -> None:
        """Puts `content` in the file's place, durably: all of it or nothing. Call under `exclusive`."""
        draft = self._name + ".new"
        with self._open_directory() as directory:
            with suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=directory)  # left by a crash before the rename; never read
            descriptor = os.open(draft, _CREATE_FLAGS, _FILE_MODE, dir_fd=directory)
            try:
                with memoryview(content) as view:
                    written = 0
                    while written < len(view):
                        written += os.write(descriptor, view[written:])
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(draft, self._name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)

    @contextmanager
    def _open_directory(self) -> Iterator[int]:
        try:
            self._make_directory()
            descriptor = os.open(self._directory, _DIRECTORY_FLAGS)
            try:
                self._check(os.fstat(descriptor), "directory")
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as failure:
            # An OSError holds a path and an errno, never content.
            raise RootKeyRefused(f"the root key's place cannot be used: {failure.strerror}") from failure

    def _make_directory(self) -> None:
        if self._directory.is_dir():
            return
        try:
            self._directory.mkdir(mode=_DIRECTORY_MODE)
        except FileExistsError:
            return  # another process was first, or it is no directory, which opening it will tell
        parent = os.open(self._directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)

    def _check(self, status: os.stat_result, what: str) -> None:
        expected = stat.S_ISDIR if what == "directory" else stat.S_ISREG
        if not expected(status.st_mode):
            raise RootKeyRefused(f"the root key's {what} is something else")
        if status.st_uid != os.geteuid():
            raise RootKeyRefused(f"the root key's {what} belongs to another user")
        if status.st_mode & _OTHERS:
            raise RootKeyRefused(f"the root key's {what} is open to group or others; narrow its mode")


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size
