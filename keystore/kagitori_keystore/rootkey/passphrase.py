"""Root key sealed under a passphrase: the file alone opens nothing. Its layout:

    offset  bytes  field
         0      8  "KGTSEAL\\x01"
         8     12  Argon2id cost: memory in KiB, iterations, lanes, 4 bytes each, big-endian
        20     16  salt
        36     32  verifier: HMAC-SHA-256 of the first 36 bytes, tells a wrong passphrase from a damaged file
        68     16  id of the current version
        84      2  number of versions, 1 to 64, big-endian
        86   88*v  versions, oldest first: id (16), nonce (24), sealed key (32), tag (16)
         .     32  HMAC-SHA-256 of all before

Argon2id (RFC 9106) gives 64 bytes from passphrase and salt: the first 32 are the XAES-256-GCM key that seals
versions, with additional data "kagitori sealed root v1\\0" || id; the last 32 are the key of both HMACs.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from kagitori_keystore.base import RequestRefused, RootKeyRefused
from kagitori_keystore.rootkey.guarded_file import GuardedFile
from kagitori_keystore.rootkey.versions import (
    VERSION_ID_BYTES,
    VERSIONS_MAX,
    RootKeys,
    StoredVersions,
    first_version,
)
from kagitori_keystore.secret import Guarded, RandomSource, SecretBytes, wipe
from kagitori_keystore.xaes import KEY_BYTES, NONCE_BYTES, TAG_BYTES, XaesKey

FILE_NAME = "root-key.sealed"
PASSPHRASE_MIN_BYTES = 12
PASSPHRASE_MAX_BYTES = 1024

_MAGIC = b"KGTSEAL\x01"
_COST_AT = len(_MAGIC)
_SALT_BYTES = 16
_SALT_AT = _COST_AT + 12
_VERIFIER_AT = _SALT_AT + _SALT_BYTES
_MAC_BYTES = 32
_CURRENT_AT = _VERIFIER_AT + _MAC_BYTES
_COUNT_AT = _CURRENT_AT + VERSION_ID_BYTES
_VERSIONS_AT = _COUNT_AT + 2
_SEALED_AT = VERSION_ID_BYTES + NONCE_BYTES
_ENTRY_BYTES = _SEALED_AT + KEY_BYTES + TAG_BYTES
_AAD_SEPARATOR = b"kagitori sealed root v1\x00"


@dataclass(frozen=True, slots=True)
class Argon2Cost:
    """Argon2id's cost. The default is RFC 9106's second recommendation (64 MiB, 3 passes, 4 lanes).

    Raises `RequestRefused` outside 8 MiB..4 GiB, 1..64 passes and 1..16 lanes, so that a forged file can
    neither cheapen the derivation to nothing nor exhaust the machine.
    """

    memory_kib: int = 65_536
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        if not (
            8_192 <= self.memory_kib <= 4_194_304 and 1 <= self.iterations <= 64 and 1 <= self.lanes <= 16
        ):
            raise RequestRefused("the Argon2id cost is out of bounds")

    def encode(self) -> bytes:
        """The 12 bytes in the file."""
        return self.memory_kib.to_bytes(4) + self.iterations.to_bytes(4) + self.lanes.to_bytes(4)


def open_passphrase_root(
    directory: Path, passphrase: bytes, random: RandomSource, cost: Argon2Cost | None = None
) -> RootKeys:
    """The root key sealed in `directory`, made there on first start with `cost`; later the file's cost holds.

    `passphrase` has 12 to 1,024 bytes and is not kept. Raises `RequestRefused` for another length,
    `RootKeyRefused` if it is wrong or the file is unsafe or damaged.
    """
    if not PASSPHRASE_MIN_BYTES <= len(passphrase) <= PASSPHRASE_MAX_BYTES:
        raise RequestRefused("a passphrase has 12 to 1,024 bytes")
    file = GuardedFile(directory, FILE_NAME)
    with file.exclusive():
        found = file.read()
        if found is not None:
            return RootKeys(file, _format_of_file(bytes(found[0]), passphrase, random), random)
        file_format = SealedFormat(cost or Argon2Cost(), random(_SALT_BYTES), passphrase, random)
        versions = first_version(random)
        content = file_format.encode(versions)
        versions.wipe()
        file.replace(content)
    return RootKeys(file, file_format, random)


def _format_of_file(content: bytes, passphrase: bytes, random: RandomSource) -> SealedFormat:
    if len(content) < _VERSIONS_AT or not content.startswith(_MAGIC):
        raise RootKeyRefused("the sealed root key file is malformed")
    memory_kib, iterations, lanes = (
        int.from_bytes(content[at : at + 4]) for at in range(_COST_AT, _SALT_AT, 4)
    )
    try:
        cost = Argon2Cost(memory_kib, iterations, lanes)
    except RequestRefused as refusal:
        raise RootKeyRefused("the sealed root key file is malformed") from refusal
    return SealedFormat(cost, content[_SALT_AT:_VERIFIER_AT], passphrase, random)


class SealedFormat(Guarded):
    """`RootKeyFormat` of this module's docstring, for one passphrase and salt."""

    __slots__ = ("_mac_key", "_preamble", "_random", "_sealing_key")

    def __init__(self, cost: Argon2Cost, salt: bytes, passphrase: bytes, random: RandomSource) -> None:
        derived = bytearray(KEY_BYTES + _MAC_BYTES)
        Argon2id(
            salt=salt,
            length=len(derived),
            iterations=cost.iterations,
            lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        ).derive_into(passphrase, derived)
        sealing_key = derived[:KEY_BYTES]
        self._sealing_key = XaesKey(sealing_key)
        self._mac_key = derived[KEY_BYTES:]
        wipe(sealing_key)
        wipe(derived)
        self._preamble = _MAGIC + cost.encode() + salt
        self._random = random

    def encode(self, versions: StoredVersions) -> bytearray:
        content = bytearray(self._preamble + self._mac(self._preamble))
        content += versions.current + len(versions.keys).to_bytes(2)
        for version, secret in versions.keys.items():
            nonce = self._random(NONCE_BYTES)
            with secret as key:
                content += version + nonce + self._sealing_key.encrypt(nonce, key, _AAD_SEPARATOR + version)
        return content + self._mac(content)

    def decode(self, content: bytearray) -> StoredVersions:
        data = bytes(content)
        count = int.from_bytes(data[_COUNT_AT:_VERSIONS_AT])
        end = _VERSIONS_AT + _ENTRY_BYTES * count
        if not 1 <= count <= VERSIONS_MAX or len(data) != end + _MAC_BYTES:
            raise RootKeyRefused("the sealed root key file is malformed")
        if data[:_VERIFIER_AT] != self._preamble:
            raise RootKeyRefused("the sealed root key file was sealed anew; open it again")
        if not hmac.compare_digest(self._mac(self._preamble), data[_VERIFIER_AT:_CURRENT_AT]):
            raise RootKeyRefused("the passphrase is wrong")
        if not hmac.compare_digest(self._mac(data[:end]), data[end:]):
            raise RootKeyRefused("the sealed root key file is damaged")
        current = data[_CURRENT_AT:_COUNT_AT]
        versions = StoredVersions(current, {})
        for at in range(_VERSIONS_AT, end, _ENTRY_BYTES):
            entry = data[at : at + _ENTRY_BYTES]
            versions.keys[entry[:VERSION_ID_BYTES]] = self._unseal(entry)
        if len(versions.keys) != count or current not in versions.keys:
            raise RootKeyRefused("the sealed root key file contradicts itself")
        return versions

    def _unseal(self, entry: bytes) -> SecretBytes:
        key = bytearray(KEY_BYTES)
        aad = _AAD_SEPARATOR + entry[:VERSION_ID_BYTES]
        try:
            self._sealing_key.decrypt_into(entry[VERSION_ID_BYTES:_SEALED_AT], entry[_SEALED_AT:], aad, key)
        except InvalidTag:
            # No cause: its frames hold key handles.
            raise RootKeyRefused("the sealed root key file is damaged") from None
        return SecretBytes(key)

    def _mac(self, data: bytes | bytearray) -> bytes:
        return hmac.digest(self._mac_key, data, "sha256")
