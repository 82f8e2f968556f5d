"""Attested recipients: who is told apart by a document, whom the answer is for, and what the records show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key
from tests.support.attestations import (
    NOW,
    Hypervisor,
    drop,
    enclave_key,
    hypervisor,
    put,
    spki,
)
from tests.support.kms_calls import (
    encrypt,
    last_record,
    new_key,
    refused,
)
from tests.support.recipients import (
    ALGORITHM,
    ATTESTED,
    SHOWN,
    Scene,
    flipped,
    open_scene,
    open_service,
    opened,
    opened_by_openssl,
    recipient,
    signed_by_another,
)

from kagitori_server.model.errors import (
    KmsError,
    SerializationException,
    ValidationException,
)
from kagitori_server.operations.row import Operation
from kagitori_server.operations.table import TABLE

SECRETS = {
    "Decrypt": "plaintext", "DeriveSharedSecret": "shared_secret", "GenerateDataKey": "plaintext",
    "GenerateDataKeyPair": "private_key_plaintext", "GenerateRandom": "plaintext",
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_service(tmp_path_factory.mktemp("service")) as service:
        yield open_scene(service)


def test_these_operations_have_recipients() -> None:
    """No other row has the member, and all of these rows are tested here."""
    rows = (row for row in TABLE.values() if isinstance(row, Operation))
    assert {row.name for row in rows if "recipient" in row.request.cls.__dataclass_fields__} == set(ATTESTED)


@pytest.mark.parametrize("operation", ATTESTED)
def test_the_answer_is_for_the_recipient_alone(scene: Scene, tmp_path: Path, operation: str) -> None:
    """Nothing is in the clear, and both OpenSSL and `cryptography` open the envelope with the enclave's key."""
    answer = scene.answer(operation, hypervisor().document())
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
    answer = scene.answer("Decrypt", document)
    assert opened(answer.ciphertext_for_recipient) == b"attack at dawn"
    assert (answer.key_id, answer.key_material_id) == (scene.symmetric.arn, None)
    answer = scene.answer("GenerateDataKey", document)
    again = scene.service.call("Decrypt", {"ciphertext_blob": answer.ciphertext_blob})
    assert opened(answer.ciphertext_for_recipient) == again.plaintext
    assert answer.key_material_id is None
    assert again.ciphertext_for_recipient is None
    answer = scene.answer("GenerateDataKeyPair", document)
    private = load_der_private_key(opened(answer.ciphertext_for_recipient), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert spki(private) == answer.public_key
    assert answer.key_material_id is not None
    assert len(opened(scene.answer("GenerateRandom", document).ciphertext_for_recipient)) == 24
    request = scene.request("DeriveSharedSecret")
    clear = scene.service.call("DeriveSharedSecret", request)
    answer = scene.service.call("DeriveSharedSecret", {**request, "recipient": recipient(document)})
    assert opened(answer.ciphertext_for_recipient) == clear.shared_secret
    assert clear.ciphertext_for_recipient is None


def test_a_large_private_key(scene: Scene, tmp_path: Path) -> None:
    """The pair is made in its own pool, and the largest answer fits."""
    answer = scene.answer("GenerateDataKeyPair", hypervisor().document(), key_pair_spec="RSA_4096")
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
    answer = scene.answer("Decrypt", hypervisor().document(put(public_key=spki(key))))
    assert opened(answer.ciphertext_for_recipient, key) == b"attack at dawn"


UNACCEPTED: dict[str, tuple[Callable[[], bytes], str]] = {
    "junk": (lambda: b"document", "malformed"),
    "longest": (lambda: bytes(262_144), "malformed"),
    "flipped": (lambda: flipped(hypervisor().document()), "signature"),
    "signed by another": (signed_by_another, "signature"),
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
