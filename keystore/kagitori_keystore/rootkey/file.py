"""Root key in a private file: the provider for machines whose disk is trusted with it. Its layout:

offset  bytes  field
     0      8  "KGTROOT\\x01"
     8     16  id of the current version
    24      2  number of versions, 1 to 64, big-endian
    26   48*v  versions, oldest first: id (16), key (32)
     .     32  SHA-256 of all before, against damage; the file's permissions are what protects it
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from kagitori_keystore.base import RootKeyRefused
from kagitori_keystore.rootkey.guarded_file import GuardedFile
from kagitori_keystore.rootkey.versions import (
    VERSION_ID_BYTES,
    VERSIONS_MAX,
    RootKeys,
    StoredVersions,
    first_version,
)
from kagitori_keystore.secret import RandomSource, SecretBytes, wipe
from kagitori_keystore.xaes import KEY_BYTES

FILE_NAME = "root-key"

_MAGIC = b"KGTROOT\x01"
_COUNT_AT = len(_MAGIC) + VERSION_ID_BYTES
_VERSIONS_AT = _COUNT_AT + 2
_ENTRY_BYTES = VERSION_ID_BYTES + KEY_BYTES
_DIGEST_BYTES = 32


def open_file_root(directory: Path, random: RandomSource) -> RootKeys:
    """The root key in `directory`, made there on first start. Raises `RootKeyRefused`."""
    file = GuardedFile(directory, FILE_NAME)
    file_format = PlainFormat()
    with file.exclusive():
        if file.stamp() is None:
            versions = first_version(random)
            content = file_format.encode(versions)
            versions.wipe()
            file.replace(content)
            wipe(content)
    return RootKeys(file, file_format, random)


class PlainFormat:
    """`RootKeyFormat` of this module's docstring."""

    def encode(self, versions: StoredVersions) -> bytearray:
        end = _VERSIONS_AT + _ENTRY_BYTES * len(versions.keys)
        content = bytearray(end + _DIGEST_BYTES)  # its final size at once: growing would leave copies behind
        content[:_COUNT_AT] = _MAGIC + versions.current
        content[_COUNT_AT:_VERSIONS_AT] = len(versions.keys).to_bytes(2)
        at = _VERSIONS_AT
        for version, secret in versions.keys.items():
            content[at : at + VERSION_ID_BYTES] = version
            with secret as key:
                content[at + VERSION_ID_BYTES : at + _ENTRY_BYTES] = key
            at += _ENTRY_BYTES
        with memoryview(content) as view:
            content[end:] = hashlib.sha256(view[:end]).digest()
        return content

    def decode(self, content: bytearray) -> StoredVersions:
        count = int.from_bytes(content[_COUNT_AT:_VERSIONS_AT])
        end = _VERSIONS_AT + _ENTRY_BYTES * count
        if (
            content[: len(_MAGIC)] != _MAGIC
            or not 1 <= count <= VERSIONS_MAX
            or len(content) != end + _DIGEST_BYTES
        ):
            raise RootKeyRefused("the root key file is malformed")
        with memoryview(content) as view:
            if not hmac.compare_digest(hashlib.sha256(view[:end]).digest(), view[end:]):
                raise RootKeyRefused("the root key file is damaged")
        current = bytes(content[len(_MAGIC) : _COUNT_AT])
        keys = {
            bytes(content[at : at + VERSION_ID_BYTES]): SecretBytes(
                content[at + VERSION_ID_BYTES : at + _ENTRY_BYTES]
            )
            for at in range(_VERSIONS_AT, end, _ENTRY_BYTES)
        }
        if len(keys) != count or current not in keys:
            raise RootKeyRefused("the root key file contradicts itself")
        return StoredVersions(current, keys)
