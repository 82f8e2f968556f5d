"""Root key in a token: the versions are AES keys of a key store whose keys never leave it. Its file's layout:

offset  bytes  field
     0      8  "KGTOKEN\\x01"
     8     16  id of the current version
    24      2  number of versions, 1 to 64, big-endian
    26      .  versions, oldest first: kind of store (1), material id (32), length (2), reference
     .     32  SHA-256 of all before, against damage

Nothing in it is secret, and without it the token's keys cannot be found again. A version's id is the beginning of
its material id. Wrap, version 2: 0x02 || version id (16) || the store's ciphertext blob, whose context is

    "kagitori root wrap v2\\0" || first 17 bytes || the caller's additional data
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import (
    CiphertextInvalid,
    Domain,
    ErrorKind,
    KeyStoreError,
    MaterialCorrupt,
    MaterialRef,
    MaterialUnknown,
    RequestRefused,
    RootKeyRefused,
    SessionLost,
    StoreKind,
    StoreLost,
    SymmetricKeyStore,
    TooSlow,
)
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.rootkey.guarded_file import GuardedFile
from kagitori_keystore.rootkey.versions import VERSION_ID_BYTES, VERSIONS_MAX, WRAPPED_KEY_MAX_BYTES
from kagitori_keystore.secret import Guarded, SecretBytes

FILE_NAME = "token-root-key"
ROOT_DOMAIN = Domain("000000000000", "root")
ROOT_KEY_ID = "00000000-0000-0000-0000-000000000000"
"""Whose key a version is, for the store: no account has a key of this id, for no Region is called root."""

_MAGIC = b"KGTOKEN\x01"
_COUNT_AT = len(_MAGIC) + VERSION_ID_BYTES
_VERSIONS_AT = _COUNT_AT + 2
_MATERIAL_ID_BYTES = 32
_HEAD_BYTES = 1 + _MATERIAL_ID_BYTES + 2
_DIGEST_BYTES = 32
_WRAP_VERSION = 2
_PREFIX_BYTES = 1 + VERSION_ID_BYTES
_CONTEXT = b"kagitori root wrap v2\x00"

T = TypeVar("T")


def open_token_root(directory: Path, store: SymmetricKeyStore) -> TokenRootKeys:
    """The root key in `store`, made there on first start. Raises `RootKeyRefused` and `StoreLost`."""
    file = GuardedFile(directory, FILE_NAME)
    with file.exclusive():
        if file.stamp() is None:
            first = _retried(lambda: store.generate(KeySpec.SYMMETRIC_DEFAULT, ROOT_DOMAIN, ROOT_KEY_ID))
            file.replace(bytearray(_encode(_Versions(_id(first), {_id(first): first}))))
    return TokenRootKeys(file, store)


@dataclass(frozen=True, slots=True)
class _Versions:
    """What the file says."""

    current: bytes
    refs: dict[bytes, MaterialRef]


class TokenRootKeys(Guarded):
    """Implements `RootKeyProvider`; made by `open_token_root`. The store belongs to who opened it.

    The file is read before each operation on versions and each wrap, so that processes follow each other.
    """

    __slots__ = ("_closed", "_file", "_store")

    def __init__(self, file: GuardedFile, store: SymmetricKeyStore) -> None:
        self._file = file
        self._store = store
        self._closed = False
        self._read()

    def wrap(self, secret: bytearray, aad: bytes) -> bytes:
        if not 1 <= len(secret) <= WRAPPED_KEY_MAX_BYTES:
            raise RequestRefused("a key to wrap is out of its size bounds")
        versions = self._read()
        ref, prefix = versions.refs[versions.current], bytes((_WRAP_VERSION,)) + versions.current
        context = _CONTEXT + prefix + aad
        return prefix + _retried(lambda: self._store.encrypt(ROOT_DOMAIN, ROOT_KEY_ID, ref, bytes(secret), context))

    def unwrap(self, blob: bytes, aad: bytes) -> SecretBytes:
        version = _version_of(blob)
        ref = self._read().refs.get(version)
        if ref is None:
            raise MaterialUnknown("the root key version of a wrapped key is not held")
        context = _CONTEXT + blob[:_PREFIX_BYTES] + aad
        try:
            sealed = parse(blob[_PREFIX_BYTES:])
            plaintext = _retried(lambda: self._store.decrypt(ROOT_DOMAIN, ROOT_KEY_ID, ref, sealed, context))
        except CiphertextInvalid:
            raise MaterialCorrupt("a wrapped key does not verify under the root key") from None
        return SecretBytes(bytearray(plaintext))

    def version_of(self, blob: bytes) -> str:
        return _version_of(blob).hex()

    def current_version(self) -> str:
        return self._read().current.hex()

    def versions(self) -> tuple[str, ...]:
        return tuple(version.hex() for version in self._read().refs)

    def add_version(self) -> str:
        self._read()
        with self._file.exclusive():
            versions = self._read()
            if len(versions.refs) >= VERSIONS_MAX:
                raise RequestRefused(f"a root key has at most {VERSIONS_MAX} versions; retire some")
            made = _retried(lambda: self._store.generate(KeySpec.SYMMETRIC_DEFAULT, ROOT_DOMAIN, ROOT_KEY_ID))
            self._write(_Versions(_id(made), {**versions.refs, _id(made): made}))
        return _id(made).hex()

    def retire(self, version: str) -> None:
        self._read()
        with self._file.exclusive():
            versions = self._read()
            if versions.current.hex() == version:
                raise RequestRefused("the current root key version cannot be retired")
            doomed = [ref for held, ref in versions.refs.items() if held.hex() == version]
            if doomed:
                # From the file first: a crash leaves a key in the token that nothing names, and no name without a key.
                self._write(_Versions(versions.current, {h: r for h, r in versions.refs.items() if r not in doomed}))
        for ref in doomed:
            _retried(partial(self._store.destroy, ref))

    def close(self) -> None:
        self._closed = True

    def _read(self) -> _Versions:
        if self._closed:
            raise StoreLost("the root key is closed")
        found = self._file.read()
        if found is None:
            raise RootKeyRefused("the root key file is gone")
        return _decode(bytes(found[0]))

    def _write(self, versions: _Versions) -> None:
        self._file.replace(bytearray(_encode(versions)))


def _retried(call: Callable[[], T]) -> T:
    """Once more after a lost session. A key that the store has lost is a root key that cannot be opened."""
    for last in (False, True):
        try:
            return call()
        except SessionLost:
            if last:
                raise StoreLost("the root key's store does not answer") from None
        except TooSlow:
            raise StoreLost("the root key's store does not answer in time") from None
        except KeyStoreError as error:
            if error.kind is ErrorKind.KEY:
                raise RootKeyRefused("the root key's store does not have the key any more") from None
            raise
    raise StoreLost("the root key's store does not answer")


def _id(ref: MaterialRef) -> bytes:
    return bytes.fromhex(ref.material_id)[:VERSION_ID_BYTES]


def _version_of(blob: bytes) -> bytes:
    if len(blob) <= _PREFIX_BYTES or blob[0] != _WRAP_VERSION:
        raise MaterialCorrupt("a wrapped key is malformed")
    return blob[1:_PREFIX_BYTES]


def _encode(versions: _Versions) -> bytes:
    content = _MAGIC + versions.current + len(versions.refs).to_bytes(2)
    for ref in versions.refs.values():
        content += bytes((ref.kind.code,)) + bytes.fromhex(ref.material_id)
        content += len(ref.reference).to_bytes(2) + ref.reference
    return content + hashlib.sha256(content).digest()


def _decode(content: bytes) -> _Versions:
    """Raises `RootKeyRefused` unless every byte is as `_encode` writes it."""
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if body[: len(_MAGIC)] != _MAGIC or len(body) < _VERSIONS_AT:
        raise RootKeyRefused("the root key file is malformed")
    if not hmac.compare_digest(hashlib.sha256(body).digest(), digest):
        raise RootKeyRefused("the root key file is damaged")
    refs, at = [], _VERSIONS_AT
    try:
        while at < len(body):
            head = body[at : at + _HEAD_BYTES]
            size = int.from_bytes(head[-2:])
            at += len(head) + size
            refs.append(MaterialRef(StoreKind(head[0]), body[at - size : at], head[1 : 1 + _MATERIAL_ID_BYTES].hex()))
    except (ValueError, MaterialCorrupt):
        raise RootKeyRefused("the root key file is malformed") from None
    versions = _Versions(body[len(_MAGIC) : _COUNT_AT], {_id(ref): ref for ref in refs})
    count = int.from_bytes(body[_COUNT_AT:_VERSIONS_AT])
    if len(versions.refs) != count or not 1 <= count <= VERSIONS_MAX or _encode(versions) != content:
        raise RootKeyRefused("the root key file contradicts itself")
    if versions.current not in versions.refs:
        raise RootKeyRefused("the root key file contradicts itself")
    return versions
