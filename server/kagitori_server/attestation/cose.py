"""COSE_Sign1 (RFC 9052 section 4.2) with ES384 and nothing unprotected, as Nitro signs its documents."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from kagitori_server.attestation.cbor import decode
from kagitori_server.attestation.errors import AttestationFault, AttestationRefused

MESSAGE_MAX_BYTES = 262_144
"""AWS RecipientInfo (AttestationDocument)."""
PAYLOAD_MAX_BYTES = 16_384
"""AWS, Nitro Enclaves attestation process, section 3.1."""

_COSE_SIGN1 = 18
_ALGORITHM = 1
_ES384 = -35
_COORDINATE_BYTES = 48


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A COSE_Sign1 taken apart, nothing of it verified yet. `signed` is the Sig_structure's bytes."""

    payload: bytes
    signed: bytes
    signature: bytes


def parse(message: bytes) -> SignedMessage:
    """Takes a COSE_Sign1 apart. Raises `AttestationRefused` (MALFORMED, ALGORITHM)."""
    if not 1 <= len(message) <= MESSAGE_MAX_BYTES:
        raise AttestationRefused(
            AttestationFault.MALFORMED, f"an attestation document has 1 to {MESSAGE_MAX_BYTES} bytes"
        )
    match decode(message, tag=_COSE_SIGN1):
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
            pass
        case _:
            raise AttestationRefused(AttestationFault.MALFORMED, "the attestation document is no COSE_Sign1")
    if decode(protected) != {_ALGORITHM: _ES384} or unprotected:
        raise AttestationRefused(AttestationFault.ALGORITHM, "an attestation document is signed with ES384")
    if not 1 <= len(payload) <= PAYLOAD_MAX_BYTES or len(signature) != 2 * _COORDINATE_BYTES:
        raise AttestationRefused(
            AttestationFault.MALFORMED, "the content or the signature of the attestation document has a wrong size"
        )
    # Sig_structure: ["Signature1", protected, external data (none), payload], RFC 9052 section 4.4.
    signed = b"\x84\x6aSignature1" + _byte_string(protected) + b"\x40" + _byte_string(payload)
    return SignedMessage(payload, signed, signature)


def check_signature(message: SignedMessage, key: ec.EllipticCurvePublicKey) -> None:
    """Raises `AttestationRefused` (SIGNATURE) unless `key`, which is on P-384, signed the message."""
    r = int.from_bytes(message.signature[:_COORDINATE_BYTES])
    s = int.from_bytes(message.signature[_COORDINATE_BYTES:])
    try:
        key.verify(utils.encode_dss_signature(r, s), message.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise AttestationRefused(
            AttestationFault.SIGNATURE, "the signature of the attestation document is not valid"
        ) from None


def _byte_string(data: bytes) -> bytes:
    size = len(data)
    if size < 24:
        return bytes((0x40 | size,)) + data
    if size < 1 << 8:
        return b"\x58" + size.to_bytes(1) + data
    return b"\x59" + size.to_bytes(2) + data
