"""Rows of the operations that use keys of other families than symmetric encryption."""

from __future__ import annotations

from kagitori_server.model.keys import KeyUsage
from kagitori_server.model.rates import CryptoRate, RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.model.states import StateRule
from kagitori_server.operations import key_pairs, shared_secrets, signing
from kagitori_server.operations.row import (
    Answer,
    AuditRule,
    BatchOperation,
    Cost,
    Find,
    KeySlot,
    Operation,
    Permission,
    Resource,
)
from kagitori_server.operations.shapes import key_pairs as pair_shapes
from kagitori_server.operations.shapes import shared_secrets as secret_shapes
from kagitori_server.operations.shapes import signing as signing_shapes

_SERVICE = "kms"


def _key(usage: KeyUsage | None) -> KeySlot:
    return KeySlot(
        name="key", find=Find.MEMBER, member="key_id", alias_allowed=True, states=StateRule.USABLE, usage=usage
    )


def _on_key(action: str, context_member: str | None = None) -> Permission:
    return Permission(action=f"kms:{action}", on=Resource.KEY, slot="key", context_member=context_member)


def _shown(*members: str) -> AuditRule:
    return AuditRule(request_shown=("key_id", *members), answer=Answer.NOTHING)


SIGN = Operation(
    name="Sign", service=_SERVICE,
    request=Shape(signing_shapes.SignRequest), response=signing_shapes.SignResponse,
    keys=(_key(KeyUsage.SIGN_VERIFY),), alias_member=None, account_member=None,
    permissions=(_on_key("Sign"),),
    grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
    audit=_shown("message_type", "signing_algorithm"),
    cost=Cost.BY_KEY, check=signing.check_signing, prepare=None, handler=signing.sign,
)
VERIFY = Operation(
    name="Verify", service=_SERVICE,
    request=Shape(signing_shapes.VerifyRequest), response=signing_shapes.VerifyResponse,
    keys=(_key(KeyUsage.SIGN_VERIFY),), alias_member=None, account_member=None,
    permissions=(_on_key("Verify"),),
    grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
    audit=_shown("message_type", "signing_algorithm"),
    cost=Cost.BY_PUBLIC_KEY, check=signing.check_signing, prepare=None, handler=signing.verify,
)
GENERATE_MAC = Operation(
    name="GenerateMac", service=_SERVICE,
    request=Shape(signing_shapes.GenerateMacRequest), response=signing_shapes.GenerateMacResponse,
    keys=(_key(KeyUsage.GENERATE_VERIFY_MAC),), alias_member=None, account_member=None,
    permissions=(_on_key("GenerateMac"),),
    grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
    audit=_shown("mac_algorithm"),
    cost=Cost.BY_KEY, check=signing.check_mac, prepare=None, handler=signing.generate_mac,
)

ASYMMETRIC: tuple[Operation, ...] = (
    SIGN,
    VERIFY,
    GENERATE_MAC,
    Operation(
        name="VerifyMac", service=_SERVICE,
        request=Shape(signing_shapes.VerifyMacRequest), response=signing_shapes.VerifyMacResponse,
        keys=(_key(KeyUsage.GENERATE_VERIFY_MAC),), alias_member=None, account_member=None,
        permissions=(_on_key("VerifyMac"),),
        grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
        audit=_shown("mac_algorithm"),
        cost=Cost.BY_KEY, check=signing.check_mac, prepare=None, handler=signing.verify_mac,
    ),
    Operation(
        name="GetPublicKey", service=_SERVICE,
        request=Shape(pair_shapes.GetPublicKeyRequest), response=pair_shapes.GetPublicKeyResponse,
        keys=(_key(None),), alias_member=None, account_member=None,
        permissions=(_on_key("GetPublicKey"),),
        grantable=True, cross_account=True, read_only=True, writes=False, rate=RateGroup.DESCRIBE,
        audit=_shown(),
        cost=Cost.BY_KEY, check=key_pairs.check_get_public_key, prepare=None, handler=key_pairs.get_public_key,
    ),
    Operation(
        name="DeriveSharedSecret", service=_SERVICE,
        request=Shape(secret_shapes.DeriveSharedSecretRequest), response=secret_shapes.DeriveSharedSecretResponse,
        keys=(_key(KeyUsage.KEY_AGREEMENT),), alias_member=None, account_member=None,
        permissions=(_on_key("DeriveSharedSecret"),),
        grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
        audit=_shown("key_agreement_algorithm"),
        cost=Cost.BY_KEY, check=shared_secrets.check_derive_shared_secret, prepare=None,
        handler=shared_secrets.derive_shared_secret,
    ),
    Operation(
        name="Encapsulate", service=_SERVICE,
        request=Shape(secret_shapes.EncapsulateRequest), response=secret_shapes.EncapsulateResponse,
        keys=(_key(KeyUsage.ENCAPSULATE_DECAPSULATE),), alias_member=None, account_member=None,
        permissions=(_on_key("Encapsulate"),),
        grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
        audit=_shown("encapsulation_algorithm"),
        cost=Cost.BY_KEY, check=shared_secrets.check_encapsulation, prepare=None, handler=shared_secrets.encapsulate,
    ),
    Operation(
        name="Decapsulate", service=_SERVICE,
        request=Shape(secret_shapes.DecapsulateRequest), response=secret_shapes.DecapsulateResponse,
        keys=(_key(KeyUsage.ENCAPSULATE_DECAPSULATE),), alias_member=None, account_member=None,
        permissions=(_on_key("Decapsulate"),),
        grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
        audit=_shown("encapsulation_algorithm"),
        cost=Cost.BY_KEY, check=shared_secrets.check_encapsulation, prepare=None, handler=shared_secrets.decapsulate,
    ),
    Operation(
        name="GenerateDataKeyPair", service=_SERVICE,
        request=Shape(pair_shapes.GenerateDataKeyPairRequest), response=pair_shapes.GenerateDataKeyPairResponse,
        keys=(_key(KeyUsage.ENCRYPT_DECRYPT),), alias_member=None, account_member=None,
        permissions=(_on_key("GenerateDataKeyPair", "encryption_context"),),
        grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.PAIR,
        audit=_shown("encryption_context", "key_pair_spec"),
        cost=Cost.GENERATION, check=key_pairs.check_data_key_pair, prepare=None,
        handler=key_pairs.generate_data_key_pair,
    ),
    Operation(
        name="GenerateDataKeyPairWithoutPlaintext", service=_SERVICE,
        request=Shape(pair_shapes.GenerateDataKeyPairWithoutPlaintextRequest),
        response=pair_shapes.GenerateDataKeyPairWithoutPlaintextResponse,
        keys=(_key(KeyUsage.ENCRYPT_DECRYPT),), alias_member=None, account_member=None,
        permissions=(_on_key("GenerateDataKeyPairWithoutPlaintext", "encryption_context"),),
        grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.PAIR,
        audit=_shown("encryption_context", "key_pair_spec"),
        cost=Cost.GENERATION, check=key_pairs.check_data_key_pair, prepare=None,
        handler=key_pairs.generate_data_key_pair_without_plaintext,
    ),
)

ASYMMETRIC_BATCHES: tuple[BatchOperation, ...] = (
    BatchOperation(name="BatchSign", item=SIGN, payload=("message",)),
    BatchOperation(name="BatchVerify", item=VERIFY, payload=("message", "signature")),
    BatchOperation(name="BatchGenerateMac", item=GENERATE_MAC, payload=("message",)),
)
