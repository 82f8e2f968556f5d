"""The text form of keys (RFC 7468)."""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum

from kagitori_client.errors import InvalidPublicKey

PUBLIC = "PUBLIC KEY"
PRIVATE = "PRIVATE KEY"

_BLOCK = re.compile(rb"\s*-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*")
_LINE = 64


class KeyForm(StrEnum):
    """How a key is written."""

    PEM = "pem"
    DER = "der"


def written(der: bytes, label: str, form: KeyForm) -> bytes:
    """A key as the content of a file."""
    if form is KeyForm.DER:
        return der
    text = base64.b64encode(der).decode("ascii")
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode("ascii")


def public_key(content: bytes) -> bytes:
    """The DER form of a public key in either form. What is in it is the service's to judge.

    Raises InvalidPublicKey for what is neither.
    """
    if content.startswith(b"\x30"):
        return content
    found = _BLOCK.fullmatch(content)
    if found is None:
        raise InvalidPublicKey("a public key is one PEM block PUBLIC KEY, or DER")
    try:
        return base64.b64decode(b"".join(found[1].split()), validate=True)
    except binascii.Error:
        raise InvalidPublicKey("the PEM block is not base64") from None
