"""The server's own small secrets, wrapped directly under a domain's key-encryption key, version 1.

    offset  bytes  field
         0      1  0x01
         1     24  nonce (XAES-256-GCM)
        25      n  secret, 1 to 1,024 bytes
      25+n     16  tag

Additional data: "kagitori secret v1\\0" || account (12) || length of Region (1) || Region || label.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag

from kagitori_keystore.base import Domain, MaterialCorrupt, RequestRefused
from kagitori_keystore.xaes import NONCE_BYTES, TAG_BYTES, XaesKey

_VERSION = b"\x01"
_SEALED_AT = 1 + NONCE_BYTES
_AAD = b"kagitori secret v1\x00"
_SECRET_MAX_BYTES = 1_024
_LABEL_MAX = 255


def secret_aad(domain: Domain, label: str) -> bytes:
    """What a secret is bound to. Raises `RequestRefused` for a label that has not 1 to 255 ASCII characters."""
    if not (1 <= len(label) <= _LABEL_MAX and label.isascii()):
        raise RequestRefused(f"a label has 1 to {_LABEL_MAX} ASCII characters")
    region = domain.region.encode("ascii")
    return b"".join((_AAD, domain.account.encode("ascii"), bytes((len(region),)), region, label.encode("ascii")))


def check_secret(secret: bytes) -> None:
    """Raises `RequestRefused` unless the secret has 1 to 1,024 bytes."""
    if not 1 <= len(secret) <= _SECRET_MAX_BYTES:
        raise RequestRefused(f"a secret to wrap has 1 to {_SECRET_MAX_BYTES} bytes")


def check_wrapped(wrapped: bytes) -> None:
    """Raises `MaterialCorrupt` for what no wrapping could have made."""
    if not 1 <= len(wrapped) - _SEALED_AT - TAG_BYTES <= _SECRET_MAX_BYTES or wrapped[:1] != _VERSION:
        raise MaterialCorrupt("a wrapped secret is malformed")


def seal_secret(kek: XaesKey, nonce: bytes, secret: bytes, aad: bytes) -> bytes:
    """The wrapped secret. The nonce (24 bytes) must be random."""
    return _VERSION + nonce + kek.encrypt(nonce, secret, aad)


def unseal_secret(kek: XaesKey, wrapped: bytes, aad: bytes) -> bytes:
    """The secret of what `check_wrapped` let pass. Raises `MaterialCorrupt` if it does not verify."""
    try:
        return kek.decrypt(wrapped[1:_SEALED_AT], wrapped[_SEALED_AT:], aad)
    except InvalidTag:
        # No cause: its frames hold key handles.
        raise MaterialCorrupt("a wrapped secret does not verify for what it belongs to") from None
