"""Where the key store keeps its wrapped key-encryption keys: in the catalog, one per account and Region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from kagitori_server.storage.reader import Reader
from kagitori_server.storage.writer import Writer


class KekDomain(Protocol):
    """What one key-encryption key is for."""

    @property
    def account(self) -> str:
        """12 digits."""

    @property
    def region(self) -> str:
        """A Region's name."""


class KekReplacement:
    """All key-encryption keys within one write transaction, for the rotation of the root key."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def all(self) -> list[tuple[str, str, bytes]]:
        """(account, Region, wrapped key), in order."""
        return self._writer.key_encryption_keys()

    def replace(self, domain: KekDomain, old: bytes, new: bytes) -> None:
        """Raises NotFoundException when `old` isn't what is kept."""
        self._writer.replace_key_encryption_key(domain.account, domain.region, old, new)


class KekShelf:
    """Durable before any call returns. All calls block, and raise what `Catalog.read` and `write` raise."""

    def __init__(
        self,
        read: Callable[[], AbstractContextManager[Reader]],
        write: Callable[[], AbstractContextManager[Writer]],
    ) -> None:
        self._read = read
        self._write = write

    def get(self, domain: KekDomain) -> bytes | None:
        """The wrapped key of the domain."""
        with self._read() as reader:
            return reader.key_encryption_key(domain.account, domain.region)

    def put_if_absent(self, domain: KekDomain, wrapped: bytes) -> bytes:
        """Keeps `wrapped` unless another was first. Returns the winner's, durable."""
        with self._write() as writer:
            return writer.put_key_encryption_key(domain.account, domain.region, wrapped)

    def all(self) -> list[tuple[str, str, bytes]]:
        """(account, Region, wrapped key) of every domain, in order."""
        with self._read() as reader:
            return reader.key_encryption_keys()

    @contextmanager
    def replacing(self) -> Iterator[KekReplacement]:
        """One transaction in which all keys are rewrapped: all of them or, when it raises, none."""
        with self._write() as writer:
            yield KekReplacement(writer)
