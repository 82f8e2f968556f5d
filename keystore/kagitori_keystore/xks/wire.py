"""The words of the AWS KMS External Key Store Proxy API, version 1: what client and proxy agree on.

Source: aws/aws-kms-xksproxy-api-spec, `xks_proxy_api_spec.md` of November 2022, which is all that AWS has published.
Messages are JSON objects, byte strings in them standard Base64. Readers here are strict and bounded, and raise
`WireError` alone, whose text quotes nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import NoReturn

SERVICE = "kms-xks-proxy"
"""The service in the scope of signatures."""
MEDIA_TYPE = "application/json"
API_PATH = "/kms/xks/v1"
ENCRYPTION_ALGORITHM = "AES_GCM"
INTEGRITY_ALGORITHM = "SHA_256"
KEY_SPEC = "AES_256"

KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""An external key's id."""
URI_PATH = re.compile(rf"(?=.{{10,128}}\Z)(?:/[A-Za-z0-9/_-]+)?{API_PATH}")
"""AWS's `XksProxyUriPath`, of version 1."""
ACCESS_KEY_ID = re.compile(r"[A-Z2-7]{20,30}")
SECRET = re.compile(rb"[A-Za-z0-9/+=]{43,64}")
"""AWS's `RawSecretAccessKey`."""

AAD_MAX_BYTES = 8_192
DATA_MAX_BYTES = 4_300
"""Plaintexts and ciphertexts that a proxy has to take."""
IV_BYTES = (12, 16)
TAG_BYTES = 16
METADATA_MAX_BYTES = 20
ERROR_MESSAGE_MAX = 511
FLEET_MAX = 10
USAGES_MAX = 10
MESSAGE_MAX_BYTES = 65_536
"""No request or answer of the API is longer: ours, the API's fields add up to some 30 KiB."""

_NESTING_MAX = 8
_TEXT_MAX = 2_048
_STRUCTURE = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


class WireError(ValueError):
    """A message is not one of the API. The text says what is wrong without quoting it."""


def read_object(body: bytes) -> dict[str, object]:
    """The JSON object that `body` (UTF-8, at most 64 KiB) is, no member of any object in it repeated."""
    if len(body) > MESSAGE_MAX_BYTES:
        raise WireError("the message is too long")
    try:
        text = body.decode()
        _check_nesting(text)
        found = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_refuse, parse_int=_int)
    except WireError:
        raise
    except ValueError:
        # No cause: it quotes the message.
        raise WireError("the message is not JSON") from None
    if not isinstance(found, dict):
        raise WireError("the message is not a JSON object")
    return found


def text(members: Mapping[str, object], name: str, maximum: int = _TEXT_MAX) -> str:
    """A member that has to be there and a text of 1 to `maximum` characters."""
    value = members.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= maximum:
        raise WireError(f"{name} is not a text of 1 to {maximum} characters")
    return value


def octets(members: Mapping[str, object], name: str, minimum: int, maximum: int) -> bytes:
    """A member that has to be there and the Base64 of `minimum` to `maximum` bytes."""
    found = optional_octets(members, name, minimum, maximum)
    if found is None:
        raise WireError(f"{name} is missing")
    return found


def optional_octets(members: Mapping[str, object], name: str, minimum: int, maximum: int) -> bytes | None:
    """The same, None for one that isn't there."""
    value = members.get(name)
    if value is None:
        return None
    problem = WireError(f"{name} is not the Base64 of {minimum} to {maximum} bytes")
    if not isinstance(value, str) or len(value) > (maximum + 2) // 3 * 4 or not value.isascii():
        raise problem
    try:
        found = base64.b64decode(value, validate=True)
    except binascii.Error:
        raise problem from None
    if not minimum <= len(found) <= maximum or encoded(found) != value:
        raise problem
    return found


def encoded(data: bytes) -> str:
    """Standard Base64 with padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def gcm_context(aad: bytes, metadata: bytes) -> bytes:
    """The additional data of the proxy's AES-GCM: both fields behind their lengths (specification, Encrypt)."""
    return len(aad).to_bytes(2) + aad + len(metadata).to_bytes(1) + metadata


def integrity_value(aad: bytes, metadata: bytes, iv: bytes, ciphertext: bytes, tag: bytes) -> bytes:
    """`ciphertextDataIntegrityValue` (appendix C), 32 bytes; fields that are absent are empty here."""
    return hashlib.sha256(b"".join((aad, metadata, iv, ciphertext, tag))).digest()


def _check_nesting(text: str) -> None:
    depth, in_string = 0, False
    for token in _STRUCTURE.finditer(text):
        char = token.group()
        if char == '"':
            in_string = not in_string
        elif in_string or len(char) > 1:
            continue
        elif char in "[{":
            depth += 1
            if depth > _NESTING_MAX:
                raise WireError("the message is nested too deeply")
        else:
            depth -= 1


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise WireError("a member name is repeated")
    return members


def _int(literal: str) -> int:
    if len(literal) > 15:
        raise WireError("a number is too long")
    return int(literal)


def _refuse(_: str) -> NoReturn:
    raise WireError("a number is not a whole one")
