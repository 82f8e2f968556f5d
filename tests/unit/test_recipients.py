"""Attested recipients: who is told apart by a document, whom the answer is for, and what the records show."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from tests.support.attestations import (
    MODULE,
    NOW,
    PCR0,
    Hypervisor,
    drop,
    enclave_key,
    hypervisor,
    put,
    spki,
)
from tests.support.inprocess import ALLOW_ALL, HOME, FakeClock, InProcess
from tests.support.kms_calls import (
    ABSENT_ID,
    OTHER,
    delegating,
    encrypt,
    last_record,
    new_key,
    refused,
    statement,
    user_arn,
)
from tests.support.recipients import ALGORITHM, opened, opened_by_openssl, recipient

from kagitori_server.attestation import Attestation, AttestationVerifier
from kagitori_server.model.errors import (
    AccessDeniedException,
    DryRunOperationException,
    KmsError,
    NotFoundException,
    SerializationException,
    ThrottlingException,
    ValidationException,
)
from kagitori_server.operations.row import Operation
from kagitori_server.operations.shapes.keys import KeyMetadata
from kagitori_server.operations.table import TABLE

IMAGE = PCR0.hex()
OTHER_IMAGE = bytes(reversed(PCR0))
ATTESTED = ("Decrypt", "DeriveSharedSecret", "GenerateDataKey", "GenerateDataKeyPair", "GenerateRandom")
SECRETS = {
    "Decrypt": "plaintext", "DeriveSharedSecret": "shared_secret", "GenerateDataKey": "plaintext",
    "GenerateDataKeyPair": "private_key_plaintext", "GenerateRandom": "plaintext",
}
SHOWN = {
    "attestationDocumentModuleId": MODULE,
    "attestationDocumentEnclaveImageDigest": IMAGE,
    "attestationDocumentEnclavePCR1": "00" * 48,
    "attestationDocumentEnclavePCR15": OTHER_IMAGE.hex(),
}


@dataclass(frozen=True)
class Scene:
    """A service that believes the tests' hypervisor, with a key of each kind that is needed."""

    service: InProcess
    symmetric: KeyMetadata
    agreement: KeyMetadata

    def request(self, operation: str) -> dict[str, Any]:
        """The members of a request that succeeds without a recipient."""
        peer = ec.generate_private_key(ec.SECP256R1()).public_key()
        der = peer.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        requests: dict[str, dict[str, Any]] = {
            "Decrypt": {"ciphertext_blob": encrypt(self.service, self.symmetric.key_id)},
            "DeriveSharedSecret": {
                "key_id": self.agreement.key_id, "key_agreement_algorithm": "ECDH", "public_key": der,
            },
            "GenerateDataKey": {"key_id": self.symmetric.key_id, "key_spec": "AES_256"},
            "GenerateDataKeyPair": {"key_id": self.symmetric.key_id, "key_pair_spec": "ECC_NIST_P256"},
            "GenerateRandom": {"number_of_bytes": 24},
        }
        return requests[operation]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    verifier = AttestationVerifier(hypervisor().roots)
    folder = tmp_path_factory.mktemp("service")
    with InProcess(folder, FakeClock(NOW), attestation=verifier) as service:
        agreement = new_key(service, key_spec="ECC_NIST_P256", key_usage="KEY_AGREEMENT")
        yield Scene(service, new_key(service), agreement)


def _answer(scene: Scene, operation: str, document: bytes, **more: Any) -> Any:
    return scene.service.call(operation, {**scene.request(operation), "recipient": recipient(document), **more})


def test_these_operations_have_recipients() -> None:
    """No other row has the member, and all of these rows are tested here."""
    rows = (row for row in TABLE.values() if isinstance(row, Operation))
    assert {row.name for row in rows if "recipient" in row.request.cls.__dataclass_fields__} == set(ATTESTED)


@pytest.mark.parametrize("operation", ATTESTED)
def test_the_answer_is_for_the_recipient_alone(scene: Scene, tmp_path: Path, operation: str) -> None:
    """Nothing is in the clear, and both OpenSSL and `cryptography` open the envelope with the enclave's key."""
    answer = _answer(scene, operation, hypervisor().document())
    assert getattr(answer, SECRETS[operation]) is None
    secret = opened(answer.ciphertext_for_recipient)
    assert opened_by_openssl(answer.ciphertext_for_recipient, tmp_path) == secret
    record = last_record(scene.service)
    assert record["eventName"] == operation
    assert record["additionalEventData"]["recipient"] == SHOWN
    assert record["readOnly"] is True
    assert record["responseElements"] is None


def test_what_the_envelopes_hold(scene: Scene) -> None:
    """What would have been answered in the clear; AWS leaves out the material's id, but for data key pairs."""
    document = hypervisor().document()
    answer = _answer(scene, "Decrypt", document)
    assert opened(answer.ciphertext_for_recipient) == b"attack at dawn"
    assert (answer.key_id, answer.key_material_id) == (scene.symmetric.arn, None)
    answer = _answer(scene, "GenerateDataKey", document)
    again = scene.service.call("Decrypt", {"ciphertext_blob": answer.ciphertext_blob})
    assert opened(answer.ciphertext_for_recipient) == again.plaintext
    assert answer.key_material_id is None
    assert again.ciphertext_for_recipient is None
    answer = _answer(scene, "GenerateDataKeyPair", document)
    private = load_der_private_key(opened(answer.ciphertext_for_recipient), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert spki(private) == answer.public_key
    assert answer.key_material_id is not None
    assert len(opened(_answer(scene, "GenerateRandom", document).ciphertext_for_recipient)) == 24
    request = scene.request("DeriveSharedSecret")
    clear = scene.service.call("DeriveSharedSecret", request)
    answer = scene.service.call("DeriveSharedSecret", {**request, "recipient": recipient(document)})
    assert opened(answer.ciphertext_for_recipient) == clear.shared_secret
    assert clear.ciphertext_for_recipient is None


def test_a_large_private_key(scene: Scene, tmp_path: Path) -> None:
    """The pair is made in its own pool, and the largest answer fits."""
    answer = _answer(scene, "GenerateDataKeyPair", hypervisor().document(), key_pair_spec="RSA_4096")
    assert answer.private_key_plaintext is None
    assert load_der_private_key(opened_by_openssl(answer.ciphertext_for_recipient, tmp_path), None)


def test_asymmetric_ciphertexts(scene: Scene) -> None:
    """Decrypt with a key whose computations are done elsewhere."""
    service, algorithm = scene.service, "RSAES_OAEP_SHA_256"
    key = new_key(service, key_spec="RSA_2048", key_usage="ENCRYPT_DECRYPT")
    blob = encrypt(service, key.key_id, encryption_algorithm=algorithm)
    values = {"key_id": key.key_id, "ciphertext_blob": blob, "encryption_algorithm": algorithm}
    answer = service.call("Decrypt", {**values, "recipient": recipient(hypervisor().document())})
    assert (answer.plaintext, opened(answer.ciphertext_for_recipient)) == (None, b"attack at dawn")


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_sizes_of_the_recipients_key(scene: Scene, bits: int) -> None:
    """All that a recipient may have; others are in the list of refusals."""
    key = enclave_key(bits)
    answer = _answer(scene, "Decrypt", hypervisor().document(put(public_key=spki(key))))
    assert opened(answer.ciphertext_for_recipient, key) == b"attack at dawn"


def _flipped(document: bytes) -> bytes:
    return document[:-1] + bytes((document[-1] ^ 1,))


def _signed_by_another() -> bytes:
    by = hypervisor()
    return by.sign(cbor2.dumps(by.fields()), key=ec.generate_private_key(ec.SECP384R1()))


UNACCEPTED: dict[str, tuple[Callable[[], bytes], str]] = {
    "junk": (lambda: b"document", "malformed"),
    "longest": (lambda: bytes(262_144), "malformed"),
    "flipped": (lambda: _flipped(hypervisor().document()), "signature"),
    "signed by another": (_signed_by_another, "signature"),
    "foreign root": (lambda: Hypervisor().document(), "trusted root"),
    "too old": (lambda: hypervisor().document(put(timestamp=int((NOW - 301) * 1000))), "too old"),
    "from the future": (lambda: hypervisor().document(put(timestamp=int((NOW + 61) * 1000))), "not yet valid"),
    "no key": (lambda: hypervisor().document(drop("public_key")), "no public key"),
    "null key": (lambda: hypervisor().document(put(public_key=None)), "no public key"),
    "small key": (lambda: hypervisor().document(put(public_key=spki(enclave_key(1024)))), "too small"),
    "key of another kind": (
        lambda: hypervisor().document(put(public_key=spki(ec.generate_private_key(ec.SECP384R1())))), "not an RSA key"
    ),
    "no registers": (lambda: hypervisor().document(drop("pcrs")), "malformed"),
}


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("name", UNACCEPTED)
def test_documents_that_prove_nothing(scene: Scene, name: str, dry_run: bool) -> None:
    """AWS's ValidationException, whoever calls; the record shows nothing of what such a document says."""
    make, text = UNACCEPTED[name]
    values = {**scene.request("Decrypt"), "recipient": recipient(make()), "dry_run": dry_run}
    for token in (None, scene.service.new_user(f"nobody-{name.replace(' ', '-')}-{dry_run}")):
        error = refused(scene.service, ValidationException, "Decrypt", values, token=token)
        assert error.message.startswith("The attestation document of the recipient was not accepted: ")
        assert text in error.message
        assert [violation.field for violation in error.violations] == ["recipient.attestation_document"]
        assert "additionalEventData" not in last_record(scene.service)


@pytest.mark.parametrize("operation", ATTESTED)
def test_no_operation_forgets_to_verify(scene: Scene, operation: str) -> None:
    """Nothing is answered, in the clear or otherwise."""
    values = {**scene.request(operation), "recipient": recipient(Hypervisor().document())}
    refused(scene.service, ValidationException, operation, values)


@pytest.mark.parametrize("operation", ATTESTED)
@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({}, ValidationException, "AttestationDocument"),
        ({"key_encryption_algorithm": ALGORITHM}, ValidationException, "AttestationDocument"),
        ({"attestation_document": b"x"}, ValidationException, "KeyEncryptionAlgorithm"),
        ({"attestation_document": b"x", "key_encryption_algorithm": "RSAES_OAEP_SHA_1"}, ValidationException,
         "RSAES_OAEP_SHA_256"),
        ({"attestation_document": b"", "key_encryption_algorithm": ALGORITHM}, ValidationException,
         "'recipient.attestationDocument'"),
        ({"attestation_document": bytes(262_145), "key_encryption_algorithm": ALGORITHM}, ValidationException,
         "262144"),
        ({"attestation_document": "x", "key_encryption_algorithm": ALGORITHM}, SerializationException, ""),
        ({"document": b"x"}, SerializationException, ""),
    ],
)
def test_recipients_of_a_wrong_shape(
    scene: Scene, operation: str, given: dict[str, Any], error: type[KmsError], text: str
) -> None:
    """Also those that lack a member, which AWS's model doesn't require but nothing can be done without."""
    values = {**scene.request(operation), "recipient": given}
    assert text in refused(scene.service, error, operation, values).message


def test_an_expired_certificate(scene: Scene) -> None:
    """A fresh document under certificates whose time is over."""
    service = scene.service
    document = hypervisor().document(put(timestamp=int((NOW + 3601) * 1000)))
    values = {**scene.request("Decrypt"), "recipient": recipient(document)}
    service.clock.now = NOW + 3601
    try:
        error = refused(service, ValidationException, "Decrypt", values)
    finally:
        service.clock.now = NOW
    assert "not valid at this time" in error.message


def test_a_document_can_be_used_until_it_is_too_old(scene: Scene) -> None:
    """More than once, and not a moment longer."""
    service, values = scene.service, {**scene.request("Decrypt"), "recipient": recipient(hypervisor().document())}
    try:
        for age in (0, 299, 300):
            service.clock.now = NOW + age
            assert service.call("Decrypt", values).ciphertext_for_recipient
        service.clock.now = NOW + 301
        refused(service, ValidationException, "Decrypt", values)
    finally:
        service.clock.now = NOW


def _attested_key(service: InProcess, user: str, condition: Mapping[str, Any], *actions: str) -> KeyMetadata:
    """A key that the user may use where the condition holds, and else nobody."""
    allowed = {**statement(user_arn(user), *(actions or ("kms:*",))), "Condition": condition}
    return new_key(service, policy=delegating(allowed))


def test_a_policy_about_the_image(scene: Scene) -> None:
    """The right image may decrypt; another, one that says so without proof, and no image at all may not."""
    service, token = scene.service, scene.service.new_user("enclave")
    key = _attested_key(
        service, "enclave", {"StringEqualsIgnoreCase": {"kms:RecipientAttestation:PCR0": IMAGE.upper()}}, "kms:Decrypt"
    )
    values = {"ciphertext_blob": encrypt(service, key.key_id)}

    def sent(document: bytes) -> dict[str, Any]:
        return {**values, "recipient": recipient(document)}

    answer = service.call("Decrypt", sent(hypervisor().document()), token=token)
    assert opened(answer.ciphertext_for_recipient) == b"attack at dawn"
    refused(service, AccessDeniedException, "Decrypt", values, token=token)
    wrong = hypervisor().document(put(pcrs={0: OTHER_IMAGE}))
    refused(service, AccessDeniedException, "Decrypt", sent(wrong), token=token)
    # A refused call tells of the image, too: it is verified, and policies can be tried on it.
    assert last_record(service)["additionalEventData"]["recipient"] == {
        "attestationDocumentModuleId": MODULE, "attestationDocumentEnclaveImageDigest": OTHER_IMAGE.hex(),
    }
    refused(service, AccessDeniedException, "Decrypt", sent(hypervisor().document(put(pcrs={1: PCR0}))), token=token)
    for forged in (Hypervisor().document(), _flipped(hypervisor().document()), _signed_by_another()):
        refused(service, ValidationException, "Decrypt", sent(forged), token=token)


TPM = {4: PCR0, 23: OTHER_IMAGE}


def _tpm(fields: dict[str, Any]) -> None:
    fields["nitrotpm_pcrs"] = TPM
    del fields["pcrs"]


CONDITIONS = [
    # (key, value, whether an enclave's document has it, whether a TPM's has)
    ("ImageSha384", IMAGE, True, False), ("PCR0", IMAGE, True, False), ("pcr0", IMAGE, True, False),
    ("PCR1", "00" * 48, True, False), ("PCR15", OTHER_IMAGE.hex(), True, False), ("PCR2", "00" * 48, False, False),
    ("PCR00", IMAGE, False, False), ("PCR", IMAGE, False, False), ("PCR31", IMAGE, False, False),
    ("NitroTPMPCR4", IMAGE, False, True), ("NitroTPMPCR23", OTHER_IMAGE.hex(), False, True),
    ("NitroTPMPCR0", IMAGE, False, False), ("PCR4", IMAGE, False, False),
]


@pytest.mark.parametrize(("name", "value", "of_enclave", "of_tpm"), CONDITIONS, ids=[row[0] for row in CONDITIONS])
def test_each_condition_key(scene: Scene, name: str, value: str, of_enclave: bool, of_tpm: bool) -> None:
    """Present for documents that have the register, absent for others and for operations without recipients."""
    service, user = scene.service, f"condition-{scene.service.ids.uuid()}"
    token = service.new_user(user)
    key = _attested_key(service, user, {"StringEquals": {f"kms:RecipientAttestation:{name}": value}})
    for document, allowed in ((hypervisor().document(), of_enclave), (hypervisor().document(_tpm), of_tpm)):
        values = {"key_id": key.key_id, "number_of_bytes": 16, "recipient": recipient(document)}
        if allowed:
            assert service.call("GenerateDataKey", values, token=token).ciphertext_for_recipient
        else:
            refused(service, AccessDeniedException, "GenerateDataKey", values, token=token)
    refused(service, AccessDeniedException, "Encrypt", {"key_id": key.key_id, "plaintext": b"x"}, token=token)


@pytest.mark.parametrize("operation", ATTESTED)
def test_each_operation_can_require_a_document(scene: Scene, operation: str) -> None:
    """By an identity policy, which GenerateRandom has too; `Null` tells calls without a document."""
    service, user = scene.service, f"requires-{operation}"
    attested = {"Null": {"kms:RecipientAttestation:ImageSha384": "false"}}
    text = {"Effect": "Allow", "Action": f"kms:{operation}", "Resource": "*", "Condition": attested}
    token = service.new_user(user, policies={"p": json.dumps({"Version": "2012-10-17", "Statement": [text]})})
    request = scene.request(operation)
    refused(service, AccessDeniedException, operation, request, token=token)
    answer = service.call(operation, {**request, "recipient": recipient(hypervisor().document())}, token=token)
    assert answer.ciphertext_for_recipient


def test_a_record_of_a_tpm(scene: Scene) -> None:
    """It has no image."""
    _answer(scene, "GenerateRandom", hypervisor().document(_tpm))
    assert last_record(scene.service)["additionalEventData"]["recipient"] == {
        "attestationDocumentModuleId": MODULE, "attestationDocumentNitroTPMPCR4": IMAGE,
        "attestationDocumentNitroTPMPCR23": OTHER_IMAGE.hex(),
    }


def test_no_document_reaches_a_record(scene: Scene) -> None:
    """Neither its bytes nor what else is in it, however they are written."""
    hidden = b"user data of the document"
    document = hypervisor().document(put(user_data=hidden, nonce=hidden))
    _answer(scene, "GenerateDataKey", document)
    text = json.dumps(last_record(scene.service))
    for secret in (hidden, spki(enclave_key())[-32:], document[-32:], hypervisor().leaf.der[-32:]):
        for shown in (secret.hex(), base64.b64encode(secret).decode()[:-4], repr(secret)[2:-1]):
            assert shown not in text


@pytest.mark.parametrize("operation", [name for name in ATTESTED if name != "GenerateRandom"])
def test_dry_runs(scene: Scene, operation: str) -> None:
    """All is looked at, the document included, and nothing is done."""
    values = {**scene.request(operation), "dry_run": True, "recipient": recipient(hypervisor().document())}
    refused(scene.service, DryRunOperationException, operation, values)
    assert last_record(scene.service)["additionalEventData"]["recipient"] == SHOWN


def test_the_document_goes_before_the_key(scene: Scene) -> None:
    """What is proven is settled before anything is decided, so nothing is said of keys."""
    values = {"key_id": ABSENT_ID, "number_of_bytes": 16}
    proven, forged = recipient(hypervisor().document()), recipient(b"forged")
    refused(scene.service, NotFoundException, "GenerateDataKey", {**values, "recipient": proven})
    refused(scene.service, ValidationException, "GenerateDataKey", {**values, "recipient": forged})


def test_another_accounts_key(scene: Scene) -> None:
    """The owner's record shows the recipient as well."""
    service = scene.service
    tenant = service.new_account(OTHER)
    allowed = {
        **statement(f"arn:aws:iam::{OTHER}:root", "kms:GenerateDataKey"),
        "Condition": {"StringEquals": {"kms:RecipientAttestation:ImageSha384": IMAGE}},
    }
    key = new_key(service, policy=delegating(allowed))
    values = {"key_id": key.arn, "number_of_bytes": 16}
    refused(service, AccessDeniedException, "GenerateDataKey", values, token=tenant)
    service.call("GenerateDataKey", {**values, "recipient": recipient(hypervisor().document())}, token=tenant)
    records = service.records()[-2:]
    assert [record["recipientAccountId"] for record in records] == [OTHER, HOME]
    assert [record["additionalEventData"]["recipient"] for record in records] == [SHOWN, SHOWN]


def test_a_grant_does_not_look_at_documents(scene: Scene) -> None:
    """A grantee may decrypt with a recipient or without; a Deny can still require one."""
    service, token = scene.service, scene.service.new_user("grantee")
    denied = {
        **statement(user_arn("grantee"), "kms:Decrypt", effect="Deny"),
        "Condition": {"StringNotEqualsIfExists": {"kms:RecipientAttestation:PCR0": IMAGE}},
    }
    key = new_key(service, policy=delegating(denied))
    service.call("CreateGrant", {
        "key_id": key.key_id, "grantee_principal": user_arn("grantee"), "operations": ["Decrypt"],
    })
    values = {"ciphertext_blob": encrypt(service, key.key_id)}
    refused(service, AccessDeniedException, "Decrypt", values, token=token)
    answer = service.call("Decrypt", {**values, "recipient": recipient(hypervisor().document())}, token=token)
    assert opened(answer.ciphertext_for_recipient) == b"attack at dawn"


class Counting(AttestationVerifier):
    """Tells how often and in which threads it verified."""

    def __init__(self, roots: frozenset[bytes]) -> None:
        super().__init__(roots)
        self.threads: list[str] = []

    def verify(self, attestation_document: bytes, now: float) -> Attestation:
        self.threads.append(threading.current_thread().name)
        return super().verify(attestation_document, now)


def test_documents_are_verified_once_and_elsewhere(tmp_path: Path) -> None:
    """However often a call is begun anew to load records, and never in the event loop."""
    verifier = Counting(hypervisor().roots)
    with InProcess(tmp_path, FakeClock(NOW), attestation=verifier) as service:
        key, token = new_key(service), service.new_user("fresh", policies={"p": ALLOW_ALL})
        service.call("CreateAlias", {"alias_name": "alias/fresh", "target_key_id": key.key_id})
    with InProcess(tmp_path, FakeClock(NOW), attestation=verifier) as service:
        values = {"key_id": "alias/fresh", "number_of_bytes": 16, "recipient": recipient(hypervisor().document())}
        assert service.call("GenerateDataKey", values, token=token).ciphertext_for_recipient
        assert len(verifier.threads) == 1
        bad = {**values, "recipient": recipient(b"junk")}
        refused(service, ValidationException, "GenerateDataKey", bad, token=token)
        assert len(verifier.threads) == 2
        items = [values] * 5 + [bad] * 5
        outcomes = service.call("BatchGenerateDataKey", {"items": items}, token=token).outcomes
        assert len(outcomes) == 10
        assert len(verifier.threads) == 4
        service.call("GenerateDataKey", {"key_id": "alias/fresh", "number_of_bytes": 16}, token=token)
    assert len(verifier.threads) == 4
    assert threading.current_thread().name not in verifier.threads


def test_batches(scene: Scene) -> None:
    """Each item has a recipient of its own, or none."""
    blob = encrypt(scene.service, scene.symmetric.key_id)
    item = {"ciphertext_blob": blob}
    document, before = hypervisor().document(), len(scene.service.records())
    outcomes = scene.service.call("BatchDecrypt", {"items": [
        item, {**item, "recipient": recipient(document)}, {**item, "recipient": recipient(b"junk")},
        {**item, "recipient": recipient(hypervisor().document(_tpm))}, {**item, "recipient": {}},
        {"ciphertext_blob": b"junk", "recipient": recipient(document)},
    ]}).outcomes
    codes = [None if outcome.error is None else outcome.error.code for outcome in outcomes]
    assert codes == [None, None, "ValidationException", None, "ValidationException", "InvalidCiphertextException"]
    assert outcomes[0].response.plaintext == b"attack at dawn"
    for number in (1, 3):
        answer = outcomes[number].response
        assert (answer.plaintext, opened(answer.ciphertext_for_recipient)) == (None, b"attack at dawn")
    records = scene.service.records()[before:]
    assert [record["eventName"] for record in records] == ["Decrypt"] * 6
    shown = [record.get("additionalEventData", {}).get("recipient") for record in records]
    assert [None if each is None else len(each) for each in shown] == [None, 4, None, 3, None, 4]


def test_forged_documents_cost_a_rate(tmp_path: Path) -> None:
    """Whoever sends them uses up what it may send."""
    verifier = AttestationVerifier(hypervisor().roots)
    with InProcess(tmp_path, FakeClock(NOW), attestation=verifier, principal_rates=["symmetric=2"]) as service:
        key, token = new_key(service), service.new_user("forger")
        values = {"key_id": key.key_id, "number_of_bytes": 16, "recipient": recipient(b"junk")}
        for expected in (ValidationException, ValidationException, ThrottlingException):
            refused(service, expected, "GenerateDataKey", values, token=token)


def test_budgets_count_attested_calls_that_come_to_something(tmp_path: Path) -> None:
    """A forged document uses nothing of a budget."""
    verifier = AttestationVerifier(hypervisor().roots)
    with InProcess(tmp_path, FakeClock(NOW), attestation=verifier) as service:
        key = new_key(service)
        values = {"key_id": key.key_id, "number_of_bytes": 16}
        service.call("PutBudget", {
            "budget_name": "two", "key_arn": key.arn, "principal_arn": "*", "on_exceed": "REFUSE",
            "limits": [{"window": "DAY", "count": 2}],
        })
        for _ in range(3):
            refused(service, ValidationException, "GenerateDataKey", {**values, "recipient": recipient(b"junk")})
        for _ in range(2):
            answer = service.call("GenerateDataKey", {**values, "recipient": recipient(hypervisor().document())})
            assert answer.ciphertext_for_recipient
        sent = {**values, "recipient": recipient(hypervisor().document())}
        refused(service, ThrottlingException, "GenerateDataKey", sent)
