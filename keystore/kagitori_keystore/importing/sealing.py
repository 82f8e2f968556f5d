"""Sealed wrapping keys: what an import token carries, version 1.

    offset  bytes  field
         0      1  0x01
         1      1  code of the wrapping key's spec
         2     24  nonce (XAES-256-GCM)
        26      n  PKCS#8 DER of the wrapping private key, at most 2,377
      26+n     16  tag

At most 2,419 bytes. Additional data: "kagitori import v1\\0" || version, spec || key id (17) || account (12) ||
length of Region (1) || Region || binding. So a sealed key opens for one key in one domain, and with one binding.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from kagitori_keystore.algorithms import WrappingSpec
from kagitori_keystore.base import Domain, MaterialCorrupt, RequestRefused
from kagitori_keystore.ciphertext import encode_key_id
from kagitori_keystore.secret import SecretBytes
from kagitori_keystore.xaes import NONCE_BYTES, TAG_BYTES, XaesKey

BINDING_MAX_BYTES = 1024

_VERSION = 1
_SEALED_AT = 2 + NONCE_BYTES
_AAD = b"kagitori import v1\x00"
_SPECS = {spec.key_spec.code: spec for spec in WrappingSpec}


def seal(
    kek: XaesKey, nonce: bytes, spec: WrappingSpec, domain: Domain, key_id: str, binding: bytes, key: RSAPrivateKey
) -> bytes:
    """Seals a wrapping key of that spec. The nonce (24 bytes) must be random.

    Raises `RequestRefused` for a malformed key id, or a binding of more than 1,024 bytes.
    """
    prefix = bytes((_VERSION, spec.key_spec.code))
    aad = _aad(prefix, domain, key_id, binding)
    with SecretBytes(bytearray(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))) as material:
        return prefix + nonce + kek.encrypt(nonce, material, aad)


def unseal(kek: XaesKey, domain: Domain, key_id: str, binding: bytes, sealed: bytes) -> RSAPrivateKey:
    """The wrapping key. Raises `MaterialCorrupt`, whatever is wrong, and `RequestRefused` as `seal` does."""
    size = len(sealed) - _SEALED_AT - TAG_BYTES
    spec = _SPECS.get(sealed[1]) if size > 0 else None
    if spec is None or sealed[0] != _VERSION or size > spec.key_spec.material_bytes:
        raise MaterialCorrupt("a sealed wrapping key is malformed")
    aad = _aad(sealed[:2], domain, key_id, binding)
    with SecretBytes(bytearray(size)) as material:
        try:
            kek.decrypt_into(sealed[2:_SEALED_AT], sealed[_SEALED_AT:], aad, material)
        except InvalidTag:
            # No cause: its frames hold key handles.
            raise MaterialCorrupt("a sealed wrapping key does not verify for this key and binding") from None
        # Sealed by us and just authenticated: checking primes once more would take longer than all the rest.
        key = load_der_private_key(material, password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        raise MaterialCorrupt("a sealed wrapping key is of another kind")
    return key


def _aad(prefix: bytes, domain: Domain, key_id: str, binding: bytes) -> bytes:
    if len(binding) > BINDING_MAX_BYTES:
        raise RequestRefused(f"a binding has at most {BINDING_MAX_BYTES} bytes")
    region = domain.region.encode("ascii")
    # Every part has a fixed length, or its length before it, but the last: no two inputs give the same bytes.
    place = domain.account.encode("ascii") + bytes((len(region),)) + region
    return b"".join((_AAD, prefix, encode_key_id(key_id), place, binding))
