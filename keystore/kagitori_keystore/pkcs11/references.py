"""What the server keeps of a key in a token: everything that tells this key from all others, and none of it.

    offset  bytes  field
         0      1  version, 0x01
         1      1  code of the key spec
         2     16  CKA_ID of the key, random
        18     16  CKA_ID of the token's binding key, an HMAC key that never leaves it
        34     32  SHA-256 over account, Region and key id: whose key it is
        66      n  check value, see below
      66+n     32  HMAC-SHA-256 over all before under the binding key

The check value lets the key be recognised at its first use, since nothing protects a token's memory or files
against damage: for AES a known block under AES-GCM (IV, ciphertext, tag: 44 bytes), for HMAC keys the MAC of a
known message, for all others the DER SubjectPublicKeyInfo, against which a signature is verified.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from kagitori_keystore.algorithms import MATERIAL_REFERENCE_MAX_BYTES, SPEC_BY_CODE, KeySpec
from kagitori_keystore.base import Domain, MaterialCorrupt, StoreKind
from kagitori_keystore.ciphertext import NONCE_BYTES, encode_key_id

ID_BYTES = 16
IV_BYTES = NONCE_BYTES[StoreKind.PKCS11]
OWNER_BYTES = 32
TAG_BYTES = 32
VERSION = 1

_BINDER_AT = 2 + ID_BYTES
_OWNER_AT = _BINDER_AT + ID_BYTES
_CHECK_AT = _OWNER_AT + OWNER_BYTES
_REFERENCE = b"kagitori pkcs11 reference v1\x00"
_OWNER = b"kagitori pkcs11 owner v1\x00"
_MATERIAL = b"kagitori pkcs11 material v1\x00"


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference taken apart; nothing of it verified but its shape, until its tag is."""

    spec: KeySpec
    object_id: bytes
    binder_id: bytes
    owner: bytes
    check: bytes = field(repr=False)
    tag: bytes = field(default=b"", repr=False)

    def body(self) -> bytes:
        """All before the tag."""
        head = bytes((VERSION, self.spec.code))
        return head + self.object_id + self.binder_id + self.owner + self.check

    def authenticated(self) -> bytes:
        """What the tag is the MAC of."""
        return _REFERENCE + self.body()

    def encode(self) -> bytes:
        """The bytes of this module's docstring."""
        return self.body() + self.tag


def decode(reference: bytes) -> Reference:
    """Takes a reference apart. Raises `MaterialCorrupt`."""
    if (
        not _CHECK_AT + TAG_BYTES < len(reference) <= MATERIAL_REFERENCE_MAX_BYTES
        or reference[0] != VERSION
        or reference[1] not in SPEC_BY_CODE
    ):
        raise MaterialCorrupt("a reference to a token's key is malformed")
    return Reference(
        SPEC_BY_CODE[reference[1]],
        reference[2:_BINDER_AT],
        reference[_BINDER_AT:_OWNER_AT],
        reference[_OWNER_AT:_CHECK_AT],
        reference[_CHECK_AT:-TAG_BYTES],
        reference[-TAG_BYTES:],
    )


def owner_of(domain: Domain, key_id: str) -> bytes:
    """Whose key it is, in 32 bytes. Raises `RequestRefused` for a key id of no known form."""
    region = domain.region.encode()
    text = domain.account.encode() + bytes((len(region),)) + region + encode_key_id(key_id)
    return hashlib.sha256(_OWNER + text).digest()


def material_id_of(serial: bytes, reference: Reference) -> str:
    """The public name of a material that nobody can hash: of its token, its id and its check value."""
    text = len(serial).to_bytes(2) + serial + reference.object_id + reference.check
    return hashlib.sha256(_MATERIAL + text).hexdigest()
