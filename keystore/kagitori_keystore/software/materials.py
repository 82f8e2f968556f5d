"""References of the software store: the wrapped material itself, version 1.

    offset  bytes  field
         0      1  0x01
         1      1  code of the key spec
         2     24  nonce (XAES-256-GCM)
        26      m  material, in the form its spec says (`algorithms.MaterialForm`)
      26+m     16  tag

Additional data: "kagitori material v1\\0" || version, spec || key id (17) || material id (32) || account (12) ||
Region. So a reference moved to another key, account or Region does not open.

The material id is SHA-256 over "kagitori material id v1\\0" || key id (17) || length of material (4) ||
material. It is the same in every Region that holds the material, and says nothing about a random material;
two keys with one material get different ids.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag

from kagitori_keystore.algorithms import SPEC_BY_CODE, KeySpec
from kagitori_keystore.base import Domain, MaterialCorrupt, MaterialRef, MaterialUnknown, StoreKind
from kagitori_keystore.ciphertext import encode_key_id
from kagitori_keystore.secret import SecretBytes
from kagitori_keystore.xaes import NONCE_BYTES, TAG_BYTES, XaesKey

_VERSION = 1
_SEALED_AT = 2 + NONCE_BYTES
_AAD = b"kagitori material v1\x00"
_ID_SEPARATOR = b"kagitori material id v1\x00"


def seal_material(
    kek: XaesKey, nonce: bytes, spec: KeySpec, domain: Domain, key_id: str, material: bytearray
) -> MaterialRef:
    """Wraps a material (in the form and size its spec says) for one key in one domain.

    The nonce (24 bytes) must be random. The caller overwrites `material`. Raises `RequestRefused` for a
    malformed key id.
    """
    material_id = _material_id(key_id, material)
    prefix = bytes((_VERSION, spec.code))
    sealed = kek.encrypt(nonce, material, _material_aad(prefix, domain, key_id, material_id))
    return MaterialRef(StoreKind.SOFTWARE, prefix + nonce + sealed, material_id)


def spec_of(ref: MaterialRef) -> KeySpec:
    """The spec that a reference claims; true once it is unsealed. Nothing is said about the rest of it.

    Raises `MaterialUnknown` for another kind of store's, `MaterialCorrupt` if no material could have made it.
    """
    if ref.kind is not StoreKind.SOFTWARE:
        raise MaterialUnknown("the material belongs to another kind of store")
    size = len(ref.reference) - _SEALED_AT - TAG_BYTES
    spec = SPEC_BY_CODE.get(ref.reference[1]) if size > 0 else None
    if spec is None or ref.reference[0] != _VERSION or not spec.material_may_have(size):
        raise MaterialCorrupt("a material reference is malformed")
    return spec


def unseal_material(kek: XaesKey, domain: Domain, key_id: str, ref: MaterialRef) -> SecretBytes:
    """The material of a reference for which `spec_of` has spoken. Raises `MaterialCorrupt` if it does not verify."""
    reference = ref.reference
    aad = _material_aad(reference[:2], domain, key_id, ref.material_id)
    material = bytearray(len(reference) - _SEALED_AT - TAG_BYTES)
    try:
        kek.decrypt_into(reference[2:_SEALED_AT], reference[_SEALED_AT:], aad, material)
    except InvalidTag:
        # No cause: its frames hold key handles.
        raise MaterialCorrupt("a material reference does not verify for this key") from None
    return SecretBytes(material)


def _material_id(key_id: str, material: bytearray) -> str:
    digest = hashlib.sha256(_ID_SEPARATOR)
    digest.update(encode_key_id(key_id))
    digest.update(len(material).to_bytes(4))
    digest.update(material)
    return digest.hexdigest()


def _material_aad(prefix: bytes, domain: Domain, key_id: str, material_id: str) -> bytes:
    # Every part has a fixed length but the last, so no two inputs give the same bytes.
    place = (domain.account + domain.region).encode("ascii")
    return b"".join((_AAD, prefix, encode_key_id(key_id), bytes.fromhex(material_id), place))
