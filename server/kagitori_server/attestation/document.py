"""The content of an attestation document: its fields, their types and their bounds.

Source: section 2.2 of AWS's "Nitro Enclaves Attestation Process", and "Validate a NitroTPM Attestation
Document" of the EC2 guide, which differs in the name of the registers and in how many there are. Optional
fields may be null: the hypervisor writes them so.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from kagitori_server.attestation.cbor import Value, decode
from kagitori_server.attestation.errors import AttestationFault, AttestationRefused

_CERTIFICATE_MAX_BYTES = 1_024
_BUNDLE_MAX = 8
_TEXT_MAX = 256
_BYTES_MAX = 1_024
_REGISTER_BYTES = 48  # SHA-384

_REQUIRED = {"module_id", "digest", "timestamp", "certificate", "cabundle"}
_OPTIONAL = {"public_key", "user_data", "nonce"}


class Platform(enum.Enum):
    """What measured the caller; the value is the field that holds the registers."""

    NITRO_ENCLAVE = "pcrs"
    NITRO_TPM = "nitrotpm_pcrs"

    @property
    def registers(self) -> int:
        """How many platform configuration registers there can be."""
        return 32 if self is Platform.NITRO_ENCLAVE else 24


@dataclass(frozen=True, slots=True)
class Document:
    """A document's fields, within their bounds; nothing of them is verified. `timestamp` is in milliseconds."""

    platform: Platform
    module_id: str
    timestamp: int
    pcrs: dict[int, bytes]
    certificate: bytes
    bundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None


def parse(payload: bytes) -> Document:
    """Reads the payload of the COSE_Sign1. Raises `AttestationRefused` (MALFORMED, ALGORITHM)."""
    fields = decode(payload, outer_map_may_be_open=True)
    if not isinstance(fields, dict):
        raise _malformed("it is not a map")
    platforms = [platform for platform in Platform if platform.value in fields]
    if len(platforms) != 1:
        raise _malformed("it has no platform configuration registers, or two kinds of them")
    platform = platforms[0]
    if _REQUIRED - fields.keys() or fields.keys() - _REQUIRED - _OPTIONAL - {platform.value}:
        raise _malformed("a field is missing or unknown")
    if fields["digest"] != "SHA384":
        raise AttestationRefused(AttestationFault.ALGORITHM, "an attestation document measures with SHA-384")
    timestamp = fields["timestamp"]
    if not isinstance(timestamp, int) or timestamp <= 0:
        raise _malformed("the timestamp is not a positive number")
    return Document(
        platform=platform,
        module_id=_module_id(fields["module_id"]),
        timestamp=timestamp,
        pcrs=_registers(fields[platform.value], platform),
        certificate=_certificate(fields["certificate"]),
        bundle=_bundle(fields["cabundle"]),
        public_key=_optional(fields.get("public_key")),
        user_data=_optional(fields.get("user_data")),
        nonce=_optional(fields.get("nonce")),
    )


def _module_id(value: Value) -> str:
    # It goes into audit records, hence nothing that a terminal would act upon.
    if not isinstance(value, str) or not 1 <= len(value) <= _TEXT_MAX or not (value.isascii() and value.isprintable()):
        raise _malformed("the module id is not a short printable text")
    return value


def _registers(value: Value, platform: Platform) -> dict[int, bytes]:
    if not isinstance(value, dict) or not value:
        raise _malformed("the platform configuration registers are not a map")
    registers: dict[int, bytes] = {}
    for index, content in value.items():
        if not isinstance(index, int) or not 0 <= index < platform.registers:
            raise _malformed("a platform configuration register has no such number")
        if not isinstance(content, bytes) or len(content) != _REGISTER_BYTES:
            raise _malformed("a platform configuration register is not a SHA-384 hash")
        registers[index] = content
    return registers


def _bundle(value: Value) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _BUNDLE_MAX:
        raise _malformed(f"the bundle does not hold 1 to {_BUNDLE_MAX} certificates")
    return tuple(_certificate(entry) for entry in value)


def _certificate(value: Value) -> bytes:
    return _bytes(value, lambda size: 1 <= size <= _CERTIFICATE_MAX_BYTES)


def _optional(value: Value) -> bytes | None:
    return None if value is None else _bytes(value, lambda size: size <= _BYTES_MAX)


def _bytes(value: Value, fits: Callable[[int], bool]) -> bytes:
    if not isinstance(value, bytes) or not fits(len(value)):
        raise _malformed("a field is not a byte string of a size in its bounds")
    return value


def _malformed(what: str) -> AttestationRefused:
    return AttestationRefused(AttestationFault.MALFORMED, f"the attestation document is malformed: {what}")
