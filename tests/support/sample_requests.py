"""One request per KMS operation that succeeds: what tests that go over the whole operation table send.

An operation that is served needs an entry in `SAMPLES`; where it needs a key of another kind than a symmetric one,
or one in a certain state, the entry says so. Keys are named by ARN, so that a sample works across accounts too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from tests.support.client_certificates import certificate
from tests.support.inprocess import HOME, REGION, REGIONS, InProcess
from tests.support.kms_calls import DAY, delegating, new_key, root

from kagitori_server.model.custom_key_stores import ConnectionState, CustomKeyStore, CustomKeyStoreType
from kagitori_server.model.keys import KeyState
from kagitori_server.operations.row import Find, Operation
from kagitori_server.operations.shapes.keys import KeyMetadata

CONTEXT = {"tenant": "t1"}
PLAINTEXT = b"SECRET plaintext of the sample requests"
MESSAGE = b"SECRET message of the sample requests"
PASSWORD = "SECRETpasswordOfSamples"
ELSEWHERE = REGIONS[1]
_TAG = {"tag_key": "k", "tag_value": "v"}
_ANCHOR = certificate(common_name="customer CA").decode()
_NUMBERS = itertools.count(1)
"""For names that nothing else has."""


class Scene:
    """Fresh keys for one call of an operation, one for each of its slots, owned by the home account."""

    def __init__(self, service: InProcess, row: Operation, policy: str | None = None) -> None:
        self.service = service
        self.sample = SAMPLES[row.name]
        values = dict(self.sample.key)
        if policy is not None:
            values["policy"] = policy
        self.keys: dict[str, KeyMetadata] = {}
        self._regions: dict[str, str] = {}
        for slot in row.keys:
            family = slot.find is Find.FAMILY
            self._regions[slot.name] = ELSEWHERE if family else REGION
            self.keys[slot.name] = self._replica(policy) if family else new_key(service, **values)

    def _replica(self, policy: str | None) -> KeyMetadata:
        given = {} if policy is None else {"policy": policy}
        answer = self.call("ReplicateKey", key_id=self.arn(), replica_region=ELSEWHERE, **given)
        assert isinstance(answer.replica_key_metadata, KeyMetadata)
        return answer.replica_key_metadata

    def request(self) -> dict[str, Any]:
        """The members of a request that succeeds; the keys are brought to the state that it needs."""
        values = dict(self.sample.request(self))
        if self.sample.state is not KeyState.ENABLED:
            for slot in self.keys:
                self.bring(slot, self.sample.state)
        return values

    def bring(self, slot: str, state: KeyState) -> None:
        """Puts a slot's key into a state, whether or not there is an operation that could."""
        dying = state in (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION)
        due = self.service.clock() + 7 * DAY if dying else None
        with self.service.catalog.write() as writer:
            writer.set_key_state(self._regions[slot], self.keys[slot].key_id, state, due)

    def arn(self, slot: str = "key") -> str:
        """The ARN of a slot's key."""
        arn = self.keys[slot].arn
        assert arn is not None
        return arn

    def call(self, operation: str, **values: Any) -> Any:
        """The answer to a call by the home account's root user."""
        return self.service.call(operation, values)

    def alias(self, slot: str = "key") -> str:
        """A new alias of a slot's key."""
        name = f"alias/{self.keys[slot].key_id}"
        self.call("CreateAlias", alias_name=name, target_key_id=self.keys[slot].key_id)
        return name

    def ciphertext(self, slot: str = "key") -> bytes:
        """Something encrypted under a slot's key with `CONTEXT`."""
        answer = self.call("Encrypt", key_id=self.arn(slot), plaintext=PLAINTEXT, encryption_context=CONTEXT)
        blob: bytes = answer.ciphertext_blob
        return blob

    def grant_id(self) -> str:
        """A grant on the key, to the home account's root user."""
        answer = self.call("CreateGrant", key_id=self.arn(), grantee_principal=root(HOME), operations=["Encrypt"])
        grant_id: str = answer.grant_id
        return grant_id

    def signed(self) -> dict[str, Any]:
        """A message, and its signature by the key."""
        values = {"key_id": self.arn(), "message": MESSAGE, "signing_algorithm": "ECDSA_SHA_256"}
        return {**values, "signature": self.call("Sign", **values).signature}

    def authenticated(self) -> dict[str, Any]:
        """A message, and its MAC by the key."""
        values = {"key_id": self.arn(), "message": MESSAGE, "mac_algorithm": "HMAC_SHA_256"}
        return {**values, "mac": self.call("GenerateMac", **values).mac}

    def custom_store(self, state: ConnectionState) -> str:
        """The id of a new custom key store, which nothing brings to another state than its catalog says."""
        number = next(_NUMBERS)
        store = CustomKeyStore(
            account=HOME, region=REGION, store_id=f"cks-{number:017x}", name=f"store-{number}",
            kind=CustomKeyStoreType.AWS_CLOUDHSM, created=1.0, state=state, changed=1.0, wrapped_secret=b"w",
            cluster_id=_cluster_id(number), trust_anchor=_ANCHOR,
        )
        with self.service.catalog.write() as writer:
            writer.put_custom_key_store(store)
        return store.store_id

    def encapsulated(self) -> dict[str, Any]:
        """A secret encapsulated under the key."""
        values = {"key_id": self.arn(), "encapsulation_algorithm": "ML_KEM"}
        blob = self.call("Encapsulate", **values).shared_secret_ciphertext_blob
        return {**values, "shared_secret_ciphertext_blob": blob}

    def material(self) -> dict[str, Any]:
        """Material for the key, wrapped as its import wants it."""
        parameters = self.call("GetParametersForImport", key_id=self.arn(), **_WRAPPING)
        wrapping = load_der_public_key(parameters.public_key)
        assert isinstance(wrapping, rsa.RSAPublicKey)
        return {
            "key_id": self.arn(), "import_token": parameters.import_token,
            "encrypted_key_material": wrapping.encrypt(bytes(32), OAEP(MGF1(SHA256()), SHA256(), None)),
            "expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        }

    def imported(self) -> dict[str, Any]:
        """The key, with material in it."""
        self.call("ImportKeyMaterial", **self.material())
        return {"key_id": self.arn()}


def _cluster_id(number: int) -> str:
    """Without digits that cluster ids don't have."""
    return "cluster-" + f"{number:011x}".translate({ord("0"): "y", ord("1"): "z", ord("8"): "u", ord("9"): "v"})


def _in_store(state: ConnectionState = ConnectionState.DISCONNECTED, **values: Any) -> Sample:
    return Sample(lambda scene: {"custom_key_store_id": scene.custom_store(state), **values})


def _new_store(_scene: Scene) -> Mapping[str, Any]:
    number = next(_NUMBERS)
    return {
        "custom_key_store_name": f"store-{number}", "cloud_hsm_cluster_id": _cluster_id(number),
        "trust_anchor_certificate": _ANCHOR, "key_store_password": PASSWORD,
    }


def _peer() -> bytes:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class Sample:
    """How to ask for an operation so that it succeeds."""

    request: Callable[[Scene], Mapping[str, Any]]
    key: Mapping[str, Any] = field(default_factory=dict)
    """What the keys of its slots are made with (members of CreateKey)."""
    state: KeyState = KeyState.ENABLED
    """What state its keys must be in."""


def _on_key(made: Mapping[str, Any] | None = None, **values: Any) -> Sample:
    return Sample(lambda scene: {"key_id": scene.arn(), **values}, made or {})


_SIGNING = {"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"}
_AGREEING = {"key_spec": "ECC_NIST_P256", "key_usage": "KEY_AGREEMENT"}
_AUTHENTICATING = {"key_spec": "HMAC_256", "key_usage": "GENERATE_VERIFY_MAC"}
_ENCAPSULATING = {"key_spec": "ML_KEM_768", "key_usage": "ENCAPSULATE_DECAPSULATE"}
_FAMILY = {"multi_region": True}
_EXTERNAL = {"origin": "EXTERNAL"}
_WRAPPING = {"wrapping_algorithm": "RSAES_OAEP_SHA_256", "wrapping_key_spec": "RSA_2048"}


SAMPLES: Mapping[str, Sample] = {
    "CreateKey": Sample(lambda _: {"tags": [_TAG], "policy": delegating()}),
    "DescribeKey": _on_key(),
    "ListKeys": Sample(lambda _: {}),
    "UpdateKeyDescription": _on_key(description="d"),
    "EnableKey": _on_key(),
    "DisableKey": _on_key(),
    "ScheduleKeyDeletion": _on_key(),
    "CancelKeyDeletion": Sample(lambda scene: {"key_id": scene.arn()}, state=KeyState.PENDING_DELETION),
    "CreateAlias": Sample(
        lambda scene: {"alias_name": f"alias/{scene.keys['key'].key_id}", "target_key_id": scene.arn()}
    ),
    "UpdateAlias": Sample(lambda scene: {"alias_name": scene.alias("current"), "target_key_id": scene.arn("new")}),
    "DeleteAlias": Sample(lambda scene: {"alias_name": scene.alias()}),
    "ListAliases": Sample(lambda _: {}),
    "TagResource": _on_key(tags=[_TAG]),
    "UntagResource": _on_key(tag_keys=["k"]),
    "ListResourceTags": _on_key(),
    "GetKeyPolicy": _on_key(),
    # Whoever calls has to be able to put it, also by what this policy no longer says.
    "PutKeyPolicy": _on_key(policy=delegating(), bypass_policy_lockout_safety_check=True),
    "ListKeyPolicies": _on_key(),
    # It gives no more than itself, so that a grant of nothing else permits it.
    "CreateGrant": _on_key(grantee_principal=root(HOME), operations=["CreateGrant"]),
    "ListGrants": _on_key(),
    "ListRetirableGrants": Sample(lambda _: {"retiring_principal": root(HOME)}),
    "RetireGrant": Sample(lambda scene: {"key_id": scene.arn(), "grant_id": scene.grant_id()}),
    "RevokeGrant": Sample(lambda scene: {"key_id": scene.arn(), "grant_id": scene.grant_id()}),
    "Encrypt": _on_key(plaintext=PLAINTEXT, encryption_context=CONTEXT),
    "Decrypt": Sample(lambda scene: {"ciphertext_blob": scene.ciphertext(), "encryption_context": CONTEXT}),
    "ReEncrypt": Sample(lambda scene: {
        "ciphertext_blob": scene.ciphertext("source"), "source_encryption_context": CONTEXT,
        "destination_key_id": scene.arn("destination"),
    }),
    "GenerateDataKey": _on_key(key_spec="AES_256"),
    "GenerateDataKeyWithoutPlaintext": _on_key(key_spec="AES_256"),
    "GenerateDataKeyPair": _on_key(key_pair_spec="ECC_NIST_P256"),
    "GenerateDataKeyPairWithoutPlaintext": _on_key(key_pair_spec="ECC_NIST_P256"),
    "Sign": _on_key(_SIGNING, message=MESSAGE, signing_algorithm="ECDSA_SHA_256"),
    "Verify": Sample(lambda scene: scene.signed(), _SIGNING),
    "GetPublicKey": _on_key(_SIGNING),
    "GenerateMac": _on_key(_AUTHENTICATING, message=MESSAGE, mac_algorithm="HMAC_SHA_256"),
    "VerifyMac": Sample(lambda scene: scene.authenticated(), _AUTHENTICATING),
    "DeriveSharedSecret": _on_key(_AGREEING, key_agreement_algorithm="ECDH", public_key=_peer()),
    "Encapsulate": _on_key(_ENCAPSULATING, encapsulation_algorithm="ML_KEM"),
    "Decapsulate": Sample(lambda scene: scene.encapsulated(), _ENCAPSULATING),
    "GetKeyLastUsage": _on_key(),
    "EnableKeyRotation": _on_key(),
    "DisableKeyRotation": _on_key(),
    "GetKeyRotationStatus": _on_key(),
    "RotateKeyOnDemand": _on_key(),
    "ListKeyRotations": _on_key(),
    "ReplicateKey": _on_key(_FAMILY, replica_region=ELSEWHERE, tags=[_TAG], policy=delegating()),
    "UpdatePrimaryRegion": _on_key(_FAMILY, primary_region=ELSEWHERE),
    "GetParametersForImport": _on_key(_EXTERNAL, **_WRAPPING),
    "ImportKeyMaterial": Sample(lambda scene: scene.material(), _EXTERNAL),
    "DeleteImportedKeyMaterial": Sample(lambda scene: scene.imported(), _EXTERNAL),
    "GenerateRandom": Sample(lambda _: {"number_of_bytes": 24}),
    "CreateCustomKeyStore": Sample(_new_store),
    "ConnectCustomKeyStore": _in_store(),
    "DisconnectCustomKeyStore": _in_store(ConnectionState.CONNECTED),
    "UpdateCustomKeyStore": Sample(lambda scene: {
        "custom_key_store_id": scene.custom_store(ConnectionState.DISCONNECTED),
        "new_custom_key_store_name": f"store-{next(_NUMBERS)}",
    }),
    "DeleteCustomKeyStore": _in_store(),
    "DescribeCustomKeyStores": Sample(lambda _: {}),
}
"""By the name of the operation."""
