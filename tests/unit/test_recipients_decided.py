"""Attested recipients as policies, records, batches and limits see them."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.attestations import (
    MODULE,
    NOW,
    PCR0,
    Change,
    Hypervisor,
    enclave_key,
    hypervisor,
    put,
    spki,
    verify,
)
from tests.support.inprocess import ALLOW_ALL, HOME, REGION, FakeClock, InProcess
from tests.support.kms_calls import (
    ABSENT_ID,
    OTHER,
    delegating,
    encrypt,
    key_policy,
    last_record,
    new_key,
    refused,
    root,
    statement,
    user_arn,
)
from tests.support.recipients import (
    ATTESTED,
    IMAGE,
    OTHER_IMAGE,
    SHOWN,
    Scene,
    flipped,
    of_tpm,
    open_scene,
    open_service,
    opened,
    recipient,
    signed_by_another,
)
from tests.support.simulations import identity_change, simulate

from kagitori_server.attestation import Attestation, AttestationVerifier
from kagitori_server.model.errors import (
    AccessDeniedException,
    DryRunOperationException,
    NotFoundException,
    ThrottlingException,
    ValidationException,
)
from kagitori_server.operations.recipients import read_shown, shown
from kagitori_server.operations.shapes.keys import KeyMetadata
from kagitori_server.storage.catalog import open_catalog


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_service(tmp_path_factory.mktemp("service")) as service:
        yield open_scene(service)


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
    for forged in (Hypervisor().document(), flipped(hypervisor().document()), signed_by_another()):
        refused(service, ValidationException, "Decrypt", sent(forged), token=token)


CONDITIONS = [
    # (key, value, whether an enclave's document has it, whether a TPM's has)
    ("ImageSha384", IMAGE, True, False), ("PCR0", IMAGE, True, False), ("pcr0", IMAGE, True, False),
    ("PCR1", "00" * 48, True, False), ("PCR15", OTHER_IMAGE.hex(), True, False), ("PCR2", "00" * 48, False, False),
    ("PCR00", IMAGE, False, False), ("PCR", IMAGE, False, False), ("PCR31", IMAGE, False, False),
    ("NitroTPMPCR4", IMAGE, False, True), ("NitroTPMPCR23", OTHER_IMAGE.hex(), False, True),
    ("NitroTPMPCR0", IMAGE, False, False), ("PCR4", IMAGE, False, False),
]


@pytest.mark.parametrize(("name", "value", "in_enclave", "in_tpm"), CONDITIONS, ids=[row[0] for row in CONDITIONS])
def test_each_condition_key(scene: Scene, name: str, value: str, in_enclave: bool, in_tpm: bool) -> None:
    """Present for documents that have the register, absent for others and for operations without recipients."""
    service, user = scene.service, f"condition-{scene.service.ids.uuid()}"
    token = service.new_user(user)
    key = _attested_key(service, user, {"StringEquals": {f"kms:RecipientAttestation:{name}": value}})
    for document, allowed in ((hypervisor().document(), in_enclave), (hypervisor().document(of_tpm), in_tpm)):
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
    scene.answer("GenerateRandom", hypervisor().document(of_tpm))
    assert last_record(scene.service)["additionalEventData"]["recipient"] == {
        "attestationDocumentModuleId": MODULE, "attestationDocumentNitroTPMPCR4": IMAGE,
        "attestationDocumentNitroTPMPCR23": OTHER_IMAGE.hex(),
    }


def test_no_document_reaches_a_record(scene: Scene) -> None:
    """Neither its bytes nor what else is in it, however they are written."""
    hidden = b"user data of the document"
    document = hypervisor().document(put(user_data=hidden, nonce=hidden))
    scene.answer("GenerateDataKey", document)
    text = json.dumps(last_record(scene.service))
    for secret in (hidden, spki(enclave_key())[-32:], document[-32:], hypervisor().leaf.der[-32:]):
        for written in (secret.hex(), base64.b64encode(secret).decode()[:-4], repr(secret)[2:-1]):
            assert written not in text


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


class Meanwhile(AttestationVerifier):
    """Something happens while it verifies."""

    def __init__(self, roots: frozenset[bytes], event: Callable[[], None]) -> None:
        super().__init__(roots)
        self.event = event

    def verify(self, attestation_document: bytes, now: float) -> Attestation:
        self.event()
        return super().verify(attestation_document, now)


def test_what_changes_while_a_document_is_verified_counts(tmp_path: Path) -> None:
    """Another process closes the key: the call, which waited for its turn to be verified, hears of it."""
    verifier = Meanwhile(hypervisor().roots, lambda: None)
    with open_service(tmp_path, attestation=verifier) as service, contextlib.closing(
        open_catalog(tmp_path / "kagitori.db", monotonic=time.monotonic)
    ) as others:
        key = new_key(service)
        values = {"key_id": key.key_id, "number_of_bytes": 16}
        sent = {**values, "recipient": recipient(hypervisor().document())}
        assert service.call("GenerateDataKey", sent).ciphertext_for_recipient

        def close() -> None:
            with others.write() as writer:
                policy = key_policy(statement(root(HOME), "kms:DescribeKey"))
                writer.set_key_policy(REGION, key.key_id, policy, {root(HOME): HOME})

        verifier.event = close
        with pytest.raises(AccessDeniedException):
            service.call("GenerateDataKey", sent)


def test_batches(scene: Scene) -> None:
    """Each item has a recipient of its own, or none."""
    blob = encrypt(scene.service, scene.symmetric.key_id)
    item = {"ciphertext_blob": blob}
    document, before = hypervisor().document(), len(scene.service.records())
    outcomes = scene.service.call("BatchDecrypt", {"items": [
        item, {**item, "recipient": recipient(document)}, {**item, "recipient": recipient(b"junk")},
        {**item, "recipient": recipient(hypervisor().document(of_tpm))}, {**item, "recipient": {}},
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


def test_what_if_a_document_were_shown(scene: Scene) -> None:
    """ExplainAccess supposes measurements; who asks by it has none."""
    service, user = scene.service, "explained"
    service.new_user(user)
    named = "kms:RecipientAttestation:PCR0"
    key = _attested_key(service, user, {"StringEquals": {named: IMAGE}})
    values = {"principal_arn": user_arn(user), "action": "kms:Decrypt", "resource_arn": key.arn}

    def explained(**given: str) -> Any:
        supposed = {name: {"values": [value]} for name, value in given.items()}
        return service.call("ExplainAccess", {**values, "condition_values": supposed})

    answer = explained()
    assert answer.decision == "IMPLICIT_DENY"
    assert named.lower() not in answer.condition_values
    assert explained(**{named: OTHER_IMAGE.hex()}).decision == "IMPLICIT_DENY"
    for supposed in (named, named.upper()):
        answer = explained(**{supposed: IMAGE})
        assert (answer.decision, answer.condition_values[named.lower()].values) == ("ALLOWED", (IMAGE,))


@pytest.mark.parametrize("change", [None, of_tpm])
def test_recorded_calls_are_simulated_with_their_documents(tmp_path: Path, change: Change | None) -> None:
    """A policy that asks for the image turns those of other images and those without a document, and no others."""
    required = "PCR15" if change is None else "NitroTPMPCR23"
    with open_service(tmp_path) as service:
        key, token = new_key(service), service.new_user("worker", policies={"p": ALLOW_ALL})
        values = {"key_id": key.key_id, "number_of_bytes": 16}
        right = recipient(hypervisor().document(change))
        wrong = recipient(hypervisor().document(put(pcrs={0: OTHER_IMAGE, 15: PCR0})))
        for given in ({"recipient": right}, {"recipient": right}, {"recipient": wrong}, {}, {"recipient": right}):
            service.call("GenerateDataKey", {**values, **given}, token=token)
        document = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": "*",
            "Condition": {"StringEquals": {f"kms:RecipientAttestation:{required}": OTHER_IMAGE.hex()}},
        }]}
        service.clock.advance(1)
        result = simulate(service, **identity_change("worker", json.dumps(document), "p"))
        assert result.found == [("worker", "kms:GenerateDataKey", "ALLOWED", "IMPLICIT_DENY", 2)]
        assert result.reasons == {}
        # And the other way: what was refused for want of the right image.
        service.call("PutIdentityPolicy", {
            "principal_arn": user_arn("worker"), "policy_name": "p", "policy_document": json.dumps(document),
        })
        for given in ({"recipient": wrong}, {}):
            refused(service, AccessDeniedException, "GenerateDataKey", {**values, **given}, token=token)
        looser = json.dumps(document).replace(required, "PCR0")
        service.clock.advance(1)
        result = simulate(service, **identity_change("worker", looser, "p"))
        turned = {(before, after): calls for _, _, before, after, calls in result.found}
        assert turned == {("IMPLICIT_DENY", "ALLOWED"): 2, ("ALLOWED", "IMPLICIT_DENY"): 3}


@pytest.mark.parametrize("change", [None, of_tpm, put(pcrs={0: PCR0}), put(pcrs={1: PCR0})])
def test_records_show_all_that_conditions_can_ask_for(change: Change | None) -> None:
    """What is read from a record again has the same condition keys."""
    attestation = verify(hypervisor().document(change))
    assert read_shown(shown(attestation), NOW).condition_values() == attestation.condition_values()
