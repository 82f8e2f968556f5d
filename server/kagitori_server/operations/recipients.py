"""Answers for an attested recipient (AWS `RecipientInfo`), and what a record shows of it."""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_server.attestation import Attestation, Platform, ciphertext_for_recipient
from kagitori_server.operations.context import Context

RECIPIENT = "recipient"
"""The name under which a record shows whom the answer was for."""

_MODULE = "attestationDocumentModuleId"
_IMAGE = "attestationDocumentEnclaveImageDigest"
_REGISTERS = {
    Platform.NITRO_ENCLAVE: "attestationDocumentEnclavePCR", Platform.NITRO_TPM: "attestationDocumentNitroTPMPCR",
}


def addressed(context: Context, secret: bytes) -> tuple[bytes | None, bytes | None]:
    """(`secret` in the clear, `secret` for the call's recipient alone): the first without a recipient, the second with
    one, and never both."""
    if context.attestation is None:
        return secret, None
    random = context.services.stores.default.random
    return None, ciphertext_for_recipient(context.attestation.public_key, secret, random)


def shown(attestation: Attestation) -> dict[str, str]:
    """What a record shows of a recipient, by CloudTrail's names; PCR0 of an enclave is its image's digest. CloudTrail
    shows a few of the registers; this is all of them, so that every condition can be followed."""
    members = {_MODULE: attestation.module_id}
    for index, value in attestation.pcrs.items():
        if index == 0 and attestation.platform is Platform.NITRO_ENCLAVE:
            members[_IMAGE] = value
        else:
            members[f"{_REGISTERS[attestation.platform]}{index}"] = value
    return members


def read_shown(members: Mapping[str, object], when: float) -> Attestation:
    """The recipient that a record shows of a call made at `when` (seconds since 1970): without the key that the answer
    was for, so nothing can be answered to it."""
    platform = Platform.NITRO_ENCLAVE
    if any(name.startswith(_REGISTERS[Platform.NITRO_TPM]) for name in members):
        platform = Platform.NITRO_TPM
    pcrs = {0: str(members[_IMAGE])} if _IMAGE in members else {}
    for index in range(platform.registers):
        value = members.get(f"{_REGISTERS[platform]}{index}")
        if value is not None:
            pcrs[index] = str(value)
    return Attestation(
        platform=platform, module_id=str(members.get(_MODULE)), issued_at=when, pcrs=pcrs, public_key=b"",
        user_data=None, nonce=None,
    )
