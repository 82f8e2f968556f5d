"""Bodies of the proxy API: JSON -> members of our shapes, and answers -> JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kagitori_keystore.xks import wire
from kagitori_server.model.errors import ValidationException
from kagitori_server.model.keys import KeySpec, KeyState, KeyUsage

Members = Mapping[str, Any]

_USAGES = {
    KeyUsage.ENCRYPT_DECRYPT: ["ENCRYPT", "DECRYPT"],
    KeyUsage.SIGN_VERIFY: ["SIGN", "VERIFY"],
    KeyUsage.GENERATE_VERIFY_MAC: ["SIGN", "VERIFY"],
    KeyUsage.KEY_AGREEMENT: ["DERIVE"],
}
_ABOUT_KEYS = ("awsPrincipalArn", "kmsOperation", "kmsRequestId")


def health_members(body: bytes) -> None:
    """Checks a request of GetHealthStatus. Raises ValidationException."""
    _strict(lambda found: _noted(found, ("kmsRequestId", "kmsOperation")), body)


def metadata_members(body: bytes, key_id: str) -> Members:
    """A request of GetKeyMetadata as one of DescribeKey. Raises ValidationException."""
    _strict(lambda found: _noted(found, _ABOUT_KEYS), body)
    return {"key_id": key_id}


def encrypt_members(body: bytes, key_id: str) -> Members:
    """A request of Encrypt as members of `ProxiedEncryptRequest`. Raises ValidationException."""
    return {"key_id": key_id, **_strict(_encrypt, body)}


def decrypt_members(body: bytes, key_id: str) -> Members:
    """A request of Decrypt as members of `ProxiedDecryptRequest`. Raises ValidationException."""
    return {"key_id": key_id, **_strict(_decrypt, body)}


def metadata_answer(answer: Any) -> dict[str, object]:
    """DescribeKeyResponse -> answer of GetKeyMetadata."""
    key = answer.key_metadata
    return {
        "keySpec": wire.KEY_SPEC if key.key_spec is KeySpec.SYMMETRIC_DEFAULT else str(key.key_spec),
        "keyUsage": _USAGES.get(key.key_usage, []),
        "keyStatus": "ENABLED" if key.key_state is KeyState.ENABLED else "DISABLED",
    }


def encrypt_answer(answer: Any) -> dict[str, object]:
    """ProxiedEncryptResponse -> answer of Encrypt."""
    found: dict[str, object] = {
        "authenticationTag": wire.encoded(answer.tag),
        "ciphertext": wire.encoded(answer.ciphertext),
        "ciphertextMetadata": wire.encoded(answer.metadata),
        "initializationVector": wire.encoded(answer.iv),
    }
    if answer.integrity_value is not None:
        found["ciphertextDataIntegrityValue"] = wire.encoded(answer.integrity_value)
    return found


def decrypt_answer(answer: Any) -> dict[str, object]:
    """ProxiedDecryptResponse -> answer of Decrypt."""
    return {"plaintext": wire.encoded(answer.plaintext)}


def _strict(read: Callable[[Members], dict[str, Any]], body: bytes) -> dict[str, Any]:
    try:
        return read(wire.read_object(body))
    except wire.WireError as error:
        raise ValidationException(str(error)) from None


def _encrypt(found: Members) -> dict[str, Any]:
    _check_algorithm(found)
    integrity = found.get("ciphertextDataIntegrityValueAlgorithm")
    if integrity not in (None, wire.INTEGRITY_ALGORITHM):
        raise wire.WireError(f"ciphertextDataIntegrityValueAlgorithm is not {wire.INTEGRITY_ALGORITHM}")
    return {
        **_about_key(found),
        "plaintext": wire.octets(found, "plaintext", 1, wire.DATA_MAX_BYTES),
        "integrity": integrity is not None,
    }


def _decrypt(found: Members) -> dict[str, Any]:
    _check_algorithm(found)
    iv = wire.octets(found, "initializationVector", *wire.IV_BYTES)
    if len(iv) not in wire.IV_BYTES:
        raise wire.WireError("initializationVector has neither 12 nor 16 bytes")
    return {
        **_about_key(found),
        "iv": iv,
        "metadata": wire.optional_octets(found, "ciphertextMetadata", 0, wire.METADATA_MAX_BYTES) or b"",
        "ciphertext": wire.octets(found, "ciphertext", 1, wire.DATA_MAX_BYTES),
        "tag": wire.octets(found, "authenticationTag", wire.TAG_BYTES, wire.TAG_BYTES),
    }


def _about_key(found: Members) -> dict[str, Any]:
    noted = _noted(found, (*_ABOUT_KEYS, "kmsKeyArn"))
    aad = wire.optional_octets(found, "additionalAuthenticatedData", 0, wire.AAD_MAX_BYTES) or b""
    return {
        "additional_data": aad,
        "kms_request_id": noted["kmsRequestId"],
        "kms_operation": noted["kmsOperation"],
        "kms_key_arn": noted["kmsKeyArn"],
        "aws_principal_arn": noted["awsPrincipalArn"],
    }


def _noted(found: Members, names: tuple[str, ...]) -> dict[str, Any]:
    """What has to be in the request's metadata; more may be. Nothing of it is believed, it goes into the record."""
    metadata = found.get("requestMetadata")
    if not isinstance(metadata, dict):
        raise wire.WireError("requestMetadata is not an object")
    return {name: wire.text(metadata, name) for name in names}


def _check_algorithm(found: Members) -> None:
    if found.get("encryptionAlgorithm") != wire.ENCRYPTION_ALGORITHM:
        raise wire.WireError(f"encryptionAlgorithm is not {wire.ENCRYPTION_ALGORITHM}")
