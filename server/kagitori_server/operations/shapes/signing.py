"""Shapes of Sign, Verify, GenerateMac and VerifyMac (AWS KMS API reference)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kagitori_server.model import limits
from kagitori_server.model.keys import MacAlgorithm, SigningAlgorithm
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.crypto import grant_tokens
from kagitori_server.operations.shapes.keys import key_id


class MessageType(StrEnum):
    """AWS `MessageType`: what the message of Sign and Verify is."""

    RAW = "RAW"
    DIGEST = "DIGEST"
    EXTERNAL_MU = "EXTERNAL_MU"


def _message() -> bytes:
    message: bytes = member(required=True, minimum=1, maximum=limits.MESSAGE_MAX, sensitive=True)
    return message


def _proof() -> bytes:
    proof: bytes = member(required=True, minimum=1, maximum=limits.CIPHERTEXT_MAX)
    return proof


@dataclass(frozen=True, slots=True, kw_only=True)
class SignRequest:
    """AWS `SignRequest`."""

    key_id: str = key_id()
    message: bytes = _message()
    message_type: MessageType = member(default=MessageType.RAW)
    grant_tokens: tuple[str, ...] = grant_tokens()
    signing_algorithm: SigningAlgorithm = member(required=True)
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignResponse:
    """AWS `SignResponse`; `key_id` is the key ARN."""

    key_id: str
    signature: bytes
    signing_algorithm: SigningAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """AWS `VerifyRequest`."""

    key_id: str = key_id()
    message: bytes = _message()
    message_type: MessageType = member(default=MessageType.RAW)
    signature: bytes = _proof()
    signing_algorithm: SigningAlgorithm = member(required=True)
    grant_tokens: tuple[str, ...] = grant_tokens()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResponse:
    """AWS `VerifyResponse`; `key_id` is the key ARN. An invalid signature is an exception, never `False`."""

    key_id: str
    signature_valid: bool
    signing_algorithm: SigningAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateMacRequest:
    """AWS `GenerateMacRequest`."""

    message: bytes = _message()
    key_id: str = key_id()
    mac_algorithm: MacAlgorithm = member(required=True)
    grant_tokens: tuple[str, ...] = grant_tokens()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateMacResponse:
    """AWS `GenerateMacResponse`; `key_id` is the key ARN."""

    mac: bytes
    mac_algorithm: MacAlgorithm
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyMacRequest:
    """AWS `VerifyMacRequest`."""

    message: bytes = _message()
    key_id: str = key_id()
    mac_algorithm: MacAlgorithm = member(required=True)
    mac: bytes = _proof()
    grant_tokens: tuple[str, ...] = grant_tokens()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyMacResponse:
    """AWS `VerifyMacResponse`; `key_id` is the key ARN. An invalid MAC is an exception, never `False`."""

    key_id: str
    mac_valid: bool
    mac_algorithm: MacAlgorithm
