"""Sign, Verify, GenerateMac and VerifyMac."""

from __future__ import annotations

from kagitori_keystore import algorithms as material
from kagitori_server.model import key_specs
from kagitori_server.model.errors import (
    InvalidKeyUsageException,
    KMSInvalidMacException,
    KMSInvalidSignatureException,
    ValidationException,
)
from kagitori_server.model.keys import Key, MacAlgorithm
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.references import current_reference
from kagitori_server.operations.shapes.signing import (
    GenerateMacRequest,
    GenerateMacResponse,
    SignRequest,
    SignResponse,
    VerifyMacRequest,
    VerifyMacResponse,
    VerifyRequest,
    VerifyResponse,
)


def check_signing(context: Context, request: SignRequest | VerifyRequest) -> None:
    """Refuses an algorithm that the key hasn't, and a message that isn't of the algorithm's form and length.

    Raises InvalidKeyUsageException or ValidationException.
    """
    key, algorithm = context.key, request.signing_algorithm
    if algorithm not in key_specs.signing_algorithms(key.spec, key.usage):
        raise InvalidKeyUsageException(f"Algorithm {algorithm} is incompatible with key spec {key.spec}.")
    known, form = material.SigningAlgorithm(algorithm), material.MessageForm(request.message_type)
    if form not in known.forms:
        taken = " or ".join(known.forms)
        raise ValidationException(f"Algorithm {algorithm} takes messages of type {taken}, not {form}.")
    least, most = known.message_bytes(form)
    if not least <= len(request.message) <= most:
        if form is material.MessageForm.DIGEST:
            raise ValidationException(f"Digest is invalid length for algorithm {algorithm}.")
        raise ValidationException(f"A message of type {form} has {_between(least, most)} bytes for {algorithm}.")


def _between(least: int, most: int) -> str:
    return f"exactly {least}" if least == most else f"{least} to {most}"


def sign(context: Context, request: SignRequest) -> SignResponse:
    """Makes a signature (AWS Sign)."""
    key = context.key
    signature = context.store(key).sign(
        domain_of(key.account, key.region),
        key.key_id,
        current_reference(context, key),
        material.SigningAlgorithm(request.signing_algorithm),
        material.MessageForm(request.message_type),
        request.message,
    )
    return SignResponse(key_id=key.arn, signature=signature, signing_algorithm=request.signing_algorithm)


def verify(context: Context, request: VerifyRequest) -> VerifyResponse:
    """Checks a signature (AWS Verify). Raises KMSInvalidSignatureException for one that isn't the key's."""
    key = context.key
    valid = context.store(key).verify(
        domain_of(key.account, key.region),
        key.key_id,
        current_reference(context, key),
        material.SigningAlgorithm(request.signing_algorithm),
        material.MessageForm(request.message_type),
        request.message,
        request.signature,
    )
    if not valid:
        raise KMSInvalidSignatureException
    return VerifyResponse(key_id=key.arn, signature_valid=True, signing_algorithm=request.signing_algorithm)


def check_mac(context: Context, request: GenerateMacRequest | VerifyMacRequest) -> None:
    """Refuses an algorithm that the key hasn't. Raises InvalidKeyUsageException."""
    _check_mac_algorithm(context.key, request.mac_algorithm)


def _check_mac_algorithm(key: Key, algorithm: MacAlgorithm) -> None:
    if algorithm not in key_specs.mac_algorithms(key.spec, key.usage):
        raise InvalidKeyUsageException(f"Algorithm {algorithm} is incompatible with key spec {key.spec}.")


def generate_mac(context: Context, request: GenerateMacRequest) -> GenerateMacResponse:
    """Makes a message authentication code (AWS GenerateMac)."""
    key = context.key
    reference = current_reference(context, key)
    mac = context.store(key).generate_mac(domain_of(key.account, key.region), key.key_id, reference, request.message)
    return GenerateMacResponse(mac=mac, mac_algorithm=request.mac_algorithm, key_id=key.arn)


def verify_mac(context: Context, request: VerifyMacRequest) -> VerifyMacResponse:
    """Checks a message authentication code (AWS VerifyMac). Raises KMSInvalidMacException for a wrong one."""
    key = context.key
    valid = context.store(key).verify_mac(
        domain_of(key.account, key.region), key.key_id, current_reference(context, key), request.message, request.mac
    )
    if not valid:
        raise KMSInvalidMacException
    return VerifyMacResponse(key_id=key.arn, mac_valid=True, mac_algorithm=request.mac_algorithm)
