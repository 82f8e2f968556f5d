"""GetPublicKey, GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext."""

from __future__ import annotations

from kagitori_keystore import algorithms as material
from kagitori_keystore.base import StoreKind
from kagitori_keystore.capabilities import DataKeyPair
from kagitori_server.model import key_specs
from kagitori_server.model.encryption_context import canonical
from kagitori_server.model.errors import InvalidKeyUsageException, UnsupportedOperationException
from kagitori_server.model.keys import KeySpec
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.key_metadata import served
from kagitori_server.operations.recipients import addressed
from kagitori_server.operations.references import current_reference
from kagitori_server.operations.shapes.key_pairs import (
    GenerateDataKeyPairRequest,
    GenerateDataKeyPairResponse,
    GenerateDataKeyPairWithoutPlaintextRequest,
    GenerateDataKeyPairWithoutPlaintextResponse,
    GetPublicKeyRequest,
    GetPublicKeyResponse,
)
from kagitori_server.operations.store_errors import spec_not_made
from kagitori_server.operations.stores import store_kind

PairRequest = GenerateDataKeyPairRequest | GenerateDataKeyPairWithoutPlaintextRequest


def check_get_public_key(context: Context, _request: GetPublicKeyRequest) -> None:
    """Refuses keys without a public half. Raises UnsupportedOperationException."""
    key = context.key
    if not key_specs.KEY_SPECS[key.spec].asymmetric:
        raise UnsupportedOperationException(f"{key.arn} key spec is {key.spec}, which has no public key.")


def get_public_key(context: Context, _request: GetPublicKeyRequest) -> GetPublicKeyResponse:
    """The public half of an asymmetric key (AWS GetPublicKey)."""
    key, store = context.key, context.store(context.key)
    lacking = store.describe().lacking
    public = store.public_key(
        domain_of(key.account, key.region), key.key_id, current_reference(context, key)
    )
    return GetPublicKeyResponse(
        key_id=key.arn,
        public_key=public,
        customer_master_key_spec=key.spec if key_specs.KEY_SPECS[key.spec].old_name else None,
        key_spec=key.spec,
        key_usage=key.usage,
        encryption_algorithms=served(key_specs.encryption_algorithms(key.spec, key.usage), lacking),
        signing_algorithms=served(key_specs.signing_algorithms(key.spec, key.usage), lacking),
        key_agreement_algorithms=key_specs.agreement_algorithms(key.spec, key.usage),
        encapsulation_algorithms=key_specs.encapsulation_algorithms(key.spec, key.usage),
    )


def check_data_key_pair(context: Context, request: PairRequest) -> None:
    """Refuses keys that don't encrypt symmetrically or are external, as AWS KMS does, and specs of China Regions; a
    dry run also hears of an unacceptable encryption context.

    Raises InvalidKeyUsageException or UnsupportedOperationException.
    """
    key = context.key
    if key.spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise InvalidKeyUsageException(f"{key.arn} key spec is {key.spec}; data key pairs need SYMMETRIC_DEFAULT.")
    if store_kind(key) is StoreKind.XKS:
        raise UnsupportedOperationException(f"{key.arn} is in an external key store, which encrypts no data key pairs.")
    spec = material.DataKeyPairSpec.__members__.get(request.key_pair_spec.value)
    if spec is None:
        raise UnsupportedOperationException(f"Key pair spec {request.key_pair_spec} is not served.")
    if spec.key_spec not in context.services.stores.default.describe().key_specs:
        raise spec_not_made(KeySpec[spec.key_spec.name])
    if request.dry_run:
        canonical(request.encryption_context)


def generate_data_key_pair(context: Context, request: GenerateDataKeyPairRequest) -> GenerateDataKeyPairResponse:
    """Makes a key pair, its private key in the clear and encrypted under the KMS key (AWS GenerateDataKeyPair)."""
    pair, material_id = _pair(context, request)
    plaintext, for_recipient = addressed(context, pair.private_key)
    return GenerateDataKeyPairResponse(
        private_key_ciphertext_blob=pair.blob,
        private_key_plaintext=plaintext,
        public_key=pair.public_key,
        key_id=context.key.arn,
        key_pair_spec=request.key_pair_spec,
        ciphertext_for_recipient=for_recipient,
        key_material_id=material_id,
    )


def generate_data_key_pair_without_plaintext(
    context: Context, request: GenerateDataKeyPairWithoutPlaintextRequest
) -> GenerateDataKeyPairWithoutPlaintextResponse:
    """Makes a key pair, its private key encrypted only (AWS GenerateDataKeyPairWithoutPlaintext)."""
    pair, material_id = _pair(context, request)
    return GenerateDataKeyPairWithoutPlaintextResponse(
        private_key_ciphertext_blob=pair.blob,
        public_key=pair.public_key,
        key_id=context.key.arn,
        key_pair_spec=request.key_pair_spec,
        key_material_id=material_id,
    )


def _pair(context: Context, request: PairRequest) -> tuple[DataKeyPair, str]:
    key = context.key
    reference = current_reference(context, key)
    pair = context.store(key).generate_data_key_pair(
        domain_of(key.account, key.region),
        key.key_id,
        reference,
        material.DataKeyPairSpec(request.key_pair_spec),
        canonical(request.encryption_context),
    )
    return pair, reference.material_id
