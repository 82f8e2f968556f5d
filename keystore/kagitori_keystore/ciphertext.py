"""Ciphertext blob, version 1: what symmetric encryption returns and Decrypt accepts. Nothing in it is secret.

    offset  bytes  field
         0      1  version, 0x01
         1      1  store kind: 1 software, 2 PKCS#11, 3 external key store
         2      1  form of the key id: 1 UUID, 2 multi-Region ("mrk-")
         3     16  key id: the 32 hexadecimal digits of either form
        19     32  material id
        51      n  nonce: 24 bytes for kind 1 (XAES-256-GCM), 12 for kind 2 (the token's AES-256-GCM),
                   14 to 38 for kind 3 (see below)
      51+n      p  ciphertext, 1 to 4,096 bytes; for kind 3, 41 to 4,136
    51+n+p     16  tag

For kind 3 nonce, ciphertext and tag are an external key manager's, of AES-256-GCM. Its plaintext is what the software
store's cipher made of the caller's: 24 bytes of nonce, ciphertext, 16 bytes of tag. The place of the nonce holds

        51      1  length of the initialisation vector, 12 or 16
        52      1  length of the ciphertext metadata, 0 to 20
        53      i  initialisation vector
      53+i      m  ciphertext metadata

What is authenticated there is in `xks/store.py`; the rest of this page is about kinds 1 and 2.

The first 51 bytes are the header. Header and context are authenticated as additional data:

    "kagitori ciphertext v1\\0" || header || length of context, 4 bytes big-endian || context

The key is named, so Decrypt needs no key id; the Region is not, so a multi-Region key's blob is read wherever
its material is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kagitori_keystore.algorithms import CIPHERTEXT_BLOB_MAX_BYTES, PLAINTEXT_MAX_BYTES
from kagitori_keystore.base import CiphertextInvalid, RequestRefused, StoreKind

VERSION = 1
HEADER_BYTES = 51
TAG_BYTES = 16

NONCE_BYTES: dict[StoreKind, int] = {StoreKind.SOFTWARE: 24, StoreKind.PKCS11: 12}
"""The nonce's size by store kind, where it is constant: not for `StoreKind.XKS`."""

_AAD_SEPARATOR = b"kagitori ciphertext v1\x00"
_PROXY_SEPARATOR = b"kagitori proxied v1\x00"
_KIND_BY_CODE = {kind.code: kind for kind in StoreKind}
XKS_IV_BYTES = (12, 16)
"""AWS external key store proxy API: how long an initialisation vector may be."""
XKS_METADATA_MAX_BYTES = 20
"""The same: how much ciphertext metadata a proxy may add."""
XKS_INNER_BYTES = 40
"""What the inner encryption of kind 3 adds to a plaintext: nonce and tag of XAES-256-GCM."""
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MULTI_REGION = re.compile(r"mrk-[0-9a-f]{32}")
_FORM_UUID = 1
_FORM_MULTI_REGION = 2


class CiphertextBlob(NamedTuple):
    """A blob taken apart, nothing of it verified yet. `sealed` is ciphertext and tag."""

    kind: StoreKind
    key_id: str
    material_id: str
    header: bytes
    nonce: bytes
    sealed: bytes


def encode_key_id(key_id: str) -> bytes:
    """The form byte and the 16 bytes of a key id. Raises `RequestRefused` if it has neither form."""
    if _UUID.fullmatch(key_id):
        return bytes((_FORM_UUID,)) + bytes.fromhex(key_id.replace("-", ""))
    if _MULTI_REGION.fullmatch(key_id):
        return bytes((_FORM_MULTI_REGION,)) + bytes.fromhex(key_id[4:])
    raise RequestRefused("a key id is a lower-case UUID, or mrk- and 32 hexadecimal digits")


def encode_header(kind: StoreKind, key_id: str, material_id: str) -> bytes:
    """The 51 header bytes, the same for every blob made with one material. Raises `RequestRefused`."""
    material = bytes.fromhex(material_id)
    header = bytes((VERSION, kind.code)) + encode_key_id(key_id) + material
    if len(header) != HEADER_BYTES:
        raise RequestRefused("a material id has 64 hexadecimal digits")
    return header


def aad_prefix(header: bytes) -> bytes:
    """The part of the additional data that is the same for every blob with this header."""
    return _AAD_SEPARATOR + header


def proxy_aad_prefix(header: bytes) -> bytes:
    """In the place of `aad_prefix` for what is sealed for a proxy (`capabilities.ProxyEncryption`): no blob."""
    return _PROXY_SEPARATOR + header


def with_context(prefix: bytes, context: bytes) -> bytes:
    """The whole additional data: `aad_prefix` and the encryption context."""
    return prefix + len(context).to_bytes(4) + context


def parse(blob: bytes) -> CiphertextBlob:
    """Takes a blob apart. Raises `CiphertextInvalid` for anything that no store could have written."""
    size = len(blob)
    if not HEADER_BYTES < size <= CIPHERTEXT_BLOB_MAX_BYTES or blob[0] != VERSION:
        raise CiphertextInvalid
    kind = _KIND_BY_CODE.get(blob[1])
    if kind is None:
        raise CiphertextInvalid
    if kind is StoreKind.XKS:
        nonce_bytes, inner_bytes = _xks_nonce_bytes(blob), XKS_INNER_BYTES
    else:
        nonce_bytes, inner_bytes = NONCE_BYTES[kind], 0
    body = HEADER_BYTES + nonce_bytes
    if not 1 <= size - body - TAG_BYTES - inner_bytes <= PLAINTEXT_MAX_BYTES:
        raise CiphertextInvalid
    key = blob[3:19].hex()
    form = blob[2]
    if form == _FORM_UUID:
        key_id = f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"
    elif form == _FORM_MULTI_REGION:
        key_id = "mrk-" + key
    else:
        raise CiphertextInvalid
    return CiphertextBlob(
        kind, key_id, blob[19:HEADER_BYTES].hex(), blob[:HEADER_BYTES], blob[HEADER_BYTES:body], blob[body:]
    )


def _xks_nonce_bytes(blob: bytes) -> int:
    if len(blob) < HEADER_BYTES + 2:
        raise CiphertextInvalid
    vector, metadata = blob[HEADER_BYTES], blob[HEADER_BYTES + 1]
    if vector not in XKS_IV_BYTES or metadata > XKS_METADATA_MAX_BYTES:
        raise CiphertextInvalid
    return 2 + vector + metadata
