"""The rotation of the root key: its three steps (`kagitori_keystore.rootkey.provider`) over the catalog."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from kagitori_keystore.base import Domain, RequestRefused
from kagitori_server.model.errors import ConflictException, UnsupportedOperationException
from kagitori_server.operations.administration.ports import RotatedRootKey
from kagitori_server.storage.kek_shelf import KekShelf

Rewrap = Callable[[Domain, bytes], bytes]
"""(whose key-encryption key, the wrapped key) -> the same key wrapped under the current version."""


class RootKeyVersions(Protocol):
    """The part of a root key provider that a rotation needs. Everything may raise KeyStoreError."""

    def current_version(self) -> str: ...
    def versions(self) -> tuple[str, ...]: ...
    def version_of(self, blob: bytes) -> str: ...
    def add_version(self) -> str: ...
    def retire(self, version: str) -> None: ...


class RootKeyRotation:
    """Implements `RootKeyPort`. One per process; other processes may rotate at the same time without harm.

    The version that wrapped before is kept until the next rotation: another process may still be about to store a
    key that it wrapped under it. Older versions that wrap nothing any more are erased.
    """

    def __init__(self, provider: str, keys: RootKeyVersions, rewrap: Rewrap, shelf: KekShelf) -> None:
        self.provider = provider
        self._keys = keys
        self._rewrap = rewrap
        self._shelf = shelf
        self._turn = threading.Lock()

    def current_version(self) -> str:
        """Id of the version that wraps now."""
        return self._keys.current_version()

    def rotate(self) -> RotatedRootKey:
        """Crash-safe in and after each step: every version that a stored key names is still held."""
        if not self._turn.acquire(blocking=False):
            raise ConflictException("A rotation of the root key is under way.")
        try:
            previous = self._keys.current_version()
            current = self._add_version()
            rewrapped = self._rewrap_all()
            self._erase_unused({previous, current})
        finally:
            self._turn.release()
        return RotatedRootKey(previous, current, rewrapped)

    def _add_version(self) -> str:
        try:
            return self._keys.add_version()
        except RequestRefused:
            raise UnsupportedOperationException("The provider of the root key can't make a new version.") from None

    def _rewrap_all(self) -> int:
        rewrapped = 0
        with self._shelf.replacing() as kept:
            for account, region, old in kept.all():
                domain = Domain(account, region)
                new = self._rewrap(domain, old)
                if new != old:
                    kept.replace(domain, old, new)
                    rewrapped += 1
        return rewrapped

    def _erase_unused(self, recent: set[str]) -> None:
        held = set(self._keys.versions())
        used = {self._keys.version_of(wrapped) for _, _, wrapped in self._shelf.all()}
        for version in sorted(held - used - recent - {self._keys.current_version()}):
            self._keys.retire(version)
