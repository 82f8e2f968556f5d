"""Root key versions in memory and the wraps they make; how versions are stored is a format's business.

Wrap, version 1:

    offset  bytes  field
         0      1  0x01
         1     16  id of the root key version
        17     24  nonce (XAES-256-GCM)
        41      k  wrapped key
      41+k     16  tag

Additional data: "kagitori root wrap v1\\0" || first 17 bytes || the caller's additional data.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag

from kagitori_keystore.base import MaterialCorrupt, MaterialUnknown, RequestRefused, RootKeyRefused, StoreLost
from kagitori_keystore.rootkey.guarded_file import GuardedFile, Stamp
from kagitori_keystore.secret import Guarded, RandomSource, SecretBytes, wipe
from kagitori_keystore.xaes import KEY_BYTES, NONCE_BYTES, TAG_BYTES, XaesKey

VERSION_ID_BYTES = 16
VERSIONS_MAX = 64
WRAPPED_KEY_MAX_BYTES = 64

_WRAP_VERSION = 1
_PREFIX_BYTES = 1 + VERSION_ID_BYTES
_SEALED_AT = _PREFIX_BYTES + NONCE_BYTES
_AAD_SEPARATOR = b"kagitori root wrap v1\x00"


@dataclass(slots=True, eq=False, repr=False)
class StoredVersions(Guarded):
    """What a root key file says: the versions oldest first, and which one is current."""

    current: bytes
    keys: dict[bytes, SecretBytes]

    def wipe(self) -> None:
        """Overwrites every key."""
        for key in self.keys.values():
            key.wipe()


class RootKeyFormat(Protocol):
    """How versions are written in a file."""

    def encode(self, versions: StoredVersions) -> bytearray:
        """The file's content, which the caller wipes; the versions are wiped on the way."""
        ...

    def decode(self, content: bytearray) -> StoredVersions:
        """Raises `RootKeyRefused` unless every byte is as `encode` writes it."""
        ...


def first_version(random: RandomSource) -> StoredVersions:
    """The content of a root key that is used for the first time."""
    version = random(VERSION_ID_BYTES)
    return StoredVersions(version, {version: SecretBytes(bytearray(random(KEY_BYTES)))})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Ring(Guarded):
    """The versions opened, as of one state of the file."""

    stamp: Stamp
    current: bytes
    keys: dict[bytes, XaesKey]


class RootKeys(Guarded):
    """A root key kept in one guarded file, shared by processes; implements `RootKeyProvider`.

    Before it wraps, and when a wrap names a version it does not know, it looks whether another process has
    changed the file. The file must exist: `open_file_root` and `open_passphrase_root` see to that.
    """

    __slots__ = ("_closed", "_file", "_format", "_lock", "_random", "_ring")

    def __init__(self, file: GuardedFile, file_format: RootKeyFormat, random: RandomSource) -> None:
        self._file = file
        self._format = file_format
        self._random = random
        self._lock = threading.Lock()
        self._closed = False
        self._ring = self._load()

    def wrap(self, secret: bytearray, aad: bytes) -> bytes:
        if not 1 <= len(secret) <= WRAPPED_KEY_MAX_BYTES:
            raise RequestRefused("a key to wrap is out of its size bounds")
        ring = self._fresh_ring()
        prefix = bytes((_WRAP_VERSION,)) + ring.current
        nonce = self._random(NONCE_BYTES)
        return prefix + nonce + ring.keys[ring.current].encrypt(nonce, secret, _AAD_SEPARATOR + prefix + aad)

    def unwrap(self, blob: bytes, aad: bytes) -> SecretBytes:
        version = _version_id(blob)
        key = self._open_ring().keys.get(version) or self._reload().keys.get(version)
        if key is None:
            raise MaterialUnknown("the root key version of a wrapped key is not held")
        secret = bytearray(len(blob) - _SEALED_AT - TAG_BYTES)
        whole_aad = _AAD_SEPARATOR + blob[:_PREFIX_BYTES] + aad
        try:
            key.decrypt_into(blob[_PREFIX_BYTES:_SEALED_AT], blob[_SEALED_AT:], whole_aad, secret)
        except InvalidTag:
            # No cause: its frames hold key handles.
            raise MaterialCorrupt("a wrapped key does not verify under the root key") from None
        return SecretBytes(secret)

    def version_of(self, blob: bytes) -> str:
        return _version_id(blob).hex()

    def current_version(self) -> str:
        return self._fresh_ring().current.hex()

    def versions(self) -> tuple[str, ...]:
        return tuple(version.hex() for version in self._fresh_ring().keys)

    def add_version(self) -> str:
        self._open_ring()
        with self._file.exclusive():
            stored, _ = self._read()
            try:
                if len(stored.keys) >= VERSIONS_MAX:
                    raise RequestRefused(f"a root key has at most {VERSIONS_MAX} versions; retire some")
                version = self._random(VERSION_ID_BYTES)
                stored.keys[version] = SecretBytes(bytearray(self._random(KEY_BYTES)))
                stored.current = version
                self._write(stored)
            finally:
                stored.wipe()
        self._reload()
        return version.hex()

    def retire(self, version: str) -> None:
        self._open_ring()
        with self._file.exclusive():
            stored, _ = self._read()
            try:
                if stored.current.hex() == version:
                    raise RequestRefused("the current root key version cannot be retired")
                doomed = [held for held in stored.keys if held.hex() == version]
                for held in doomed:
                    stored.keys.pop(held).wipe()
                if doomed:
                    self._write(stored)
            finally:
                stored.wipe()
        self._reload()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._ring = _Ring(self._ring.stamp, b"", {})

    def _open_ring(self) -> _Ring:
        if self._closed:
            raise StoreLost("the root key is closed")
        return self._ring

    def _fresh_ring(self) -> _Ring:
        ring = self._open_ring()
        return ring if self._file.stamp() == ring.stamp else self._reload()

    def _reload(self) -> _Ring:
        fresh = self._load()
        with self._lock:
            if not self._closed:
                self._ring = fresh
        return fresh

    def _load(self) -> _Ring:
        stored, stamp = self._read()
        try:
            keys = {}
            for version, secret in stored.keys.items():
                with secret as key:
                    keys[version] = XaesKey(key)
        finally:
            stored.wipe()
        return _Ring(stamp, stored.current, keys)

    def _read(self) -> tuple[StoredVersions, Stamp]:
        found = self._file.read()
        if found is None:
            raise RootKeyRefused("the root key file is gone")
        content, stamp = found
        try:
            return self._format.decode(content), stamp
        finally:
            wipe(content)

    def _write(self, stored: StoredVersions) -> None:
        content = self._format.encode(stored)
        try:
            self._file.replace(content)
        finally:
            wipe(content)


def _version_id(blob: bytes) -> bytes:
    size = len(blob) - _SEALED_AT - TAG_BYTES
    if not 1 <= size <= WRAPPED_KEY_MAX_BYTES or blob[0] != _WRAP_VERSION:
        raise MaterialCorrupt("a wrapped key is malformed")
    return blob[1:_PREFIX_BYTES]
