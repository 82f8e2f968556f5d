"""A root key on its way from one provider to another: the new one wraps, both unwrap.

Rotating the root key (`provider.py`) then wraps everything under the new provider, and the old one serves nobody.
"""

from __future__ import annotations

from kagitori_keystore.rootkey.provider import RootKeyProvider
from kagitori_keystore.rootkey.versions import VERSION_ID_BYTES
from kagitori_keystore.secret import Guarded, SecretBytes


class MovingRootKeys(Guarded):
    """Implements `RootKeyProvider` over two of them, and closes both. Their versions have ids of their own."""

    __slots__ = ("_new", "_old")

    def __init__(self, new: RootKeyProvider, old: RootKeyProvider) -> None:
        self._new = new
        self._old = old

    def wrap(self, secret: bytearray, aad: bytes) -> bytes:
        return self._new.wrap(secret, aad)

    def unwrap(self, blob: bytes, aad: bytes) -> SecretBytes:
        return self._holder(blob).unwrap(blob, aad)

    def version_of(self, blob: bytes) -> str:
        return self._holder(blob).version_of(blob)

    def current_version(self) -> str:
        return self._new.current_version()

    def versions(self) -> tuple[str, ...]:
        return (*self._old.versions(), *self._new.versions())

    def add_version(self) -> str:
        return self._new.add_version()

    def retire(self, version: str) -> None:
        """Of the old provider nothing is erased: whoever moved removes the whole of it."""
        if version not in self._old.versions():
            self._new.retire(version)

    def close(self) -> None:
        self._new.close()
        self._old.close()

    def _holder(self, blob: bytes) -> RootKeyProvider:
        """Whose wrap it is: each provider reads its own form, and in all of them the id comes after one byte."""
        named = blob[1 : 1 + VERSION_ID_BYTES].hex()
        return self._old if named in self._old.versions() else self._new
