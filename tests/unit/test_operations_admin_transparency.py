"""GetTreeHead, GetInclusionProof, GetConsistencyProof, and receipts with calls."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess

from kagitori_client.receipts import Receipt, TrustedKey, check_growth, open_checkpoint, verify_receipt
from kagitori_server.audit.trail import TrailLimits, open_trail
from kagitori_server.model.delivery_records import KeyPurpose
from kagitori_server.model.errors import (
    AccessDeniedException,
    DependencyTimeoutException,
    KMSInternalException,
    NoSuchEntityException,
    ValidationException,
)
from kagitori_server.workers import DeletionWorker

TENANT = "111111111111"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


@pytest.fixture(scope="module")
def key(service: InProcess) -> str:
    arn: str = service.call("CreateKey").key_metadata.arn
    return arn


@pytest.fixture(scope="module")
def tenant(service: InProcess) -> str:
    return service.new_account(TENANT)


def keys_of(service: InProcess) -> list[TrustedKey]:
    return [TrustedKey.parse(key) for key in service.call("GetTreeHead").verifier_keys]


def proven(service: InProcess, receipt: bytes | None) -> Receipt:
    assert receipt is not None
    return verify_receipt(receipt, keys_of(service))


def test_a_key_is_made_when_first_needed(tmp_path: Path) -> None:
    """And only then; the head that the call answers with is one of a trail that tells of it."""
    with InProcess(tmp_path) as service:
        service.call("ListUsers", {"account_id": HOME})
        service.transparency.run_once()
        assert service.call("ListKeys").keys == ()
        head = service.call("GetTreeHead")
        [listed] = service.call("ListAliases").aliases
        assert listed.alias_name == "alias/kagitori/audit-log"
        assert [record["eventName"] for record in service.records()] == [
            "ListUsers", "ListKeys", "CreateKey", "GetTreeHead", "ListAliases",
        ]
        assert head.tree_size == 3
        again = service.call("GetTreeHead")
        proof = service.call("GetConsistencyProof", {"first_size": head.tree_size, "second_size": again.tree_size})
        keys = keys_of(service)
        check_growth(open_checkpoint(head.checkpoint, keys), open_checkpoint(again.checkpoint, keys), proof.hashes)
        assert (proof.first_root_hash, proof.second_root_hash) == (head.root_hash, again.root_hash)


def test_a_record_in_an_old_segment_is_proven_in_time(tmp_path: Path) -> None:
    """By the index, however long the trail is: without it, what is to be read takes longer than callers wait. What came
    since is found as well, and what isn't there is said not to be."""
    trail = open_trail(tmp_path / "audit", limits=TrailLimits(segment_bytes=1_000_000))
    for number in range(400):
        told = {"eventID": f"old-{number}", "requestID": f"call-{number // 2}", "recipientAccountId": HOME}
        trail.append_blocking(json.dumps({**told, "padding": "x" * 20_000}, separators=(",", ":")).encode())
    trail.close()
    assert len(list((tmp_path / "audit/chain-00").glob("*.jsonl"))) > 7
    moments = itertools.count(0.0, 0.4)
    with InProcess(tmp_path, log_monotonic=lambda: next(moments)) as service:
        service.transparency.run_once()
        with pytest.raises(DependencyTimeoutException, match="found in time"):
            service.call("GetInclusionProof", {"event_id": "old-3"})
        service.indexer.run_once()
        recent = service.call("ListKeys") and service.records()[-1]["eventID"]
        cases: tuple[tuple[dict[str, str], list[int] | None], ...] = (
            ({"event_id": "old-3"}, [3]), ({"request_id": "call-5"}, [10, 11]), ({"event_id": recent}, None),
        )
        for wanted, indices in cases:
            proofs = service.call("GetInclusionProof", wanted).proofs
            assert indices is None or [proof.leaf_index for proof in proofs] == indices
            for proof in proofs:
                record = proven(service, proof.proof.encode()).record
                assert record is not None
                assert wanted in ({"event_id": record["eventID"]}, {"request_id": record["requestID"]})
        for unknown in ({"event_id": "old-400"}, {"request_id": "call-200"}):
            with pytest.raises(NoSuchEntityException):
                service.call("GetInclusionProof", unknown)


def test_heads_outlive_the_rotation_of_the_key(tmp_path: Path) -> None:
    """Old keys are listed behind the new one."""
    with InProcess(tmp_path) as service:
        service.call("ListKeys")
        receipt = service.with_receipt("ListKeys", {})
        service.service_keys.rotate(KeyPurpose.AUDIT_LOG)
    with InProcess(tmp_path) as service:
        new, old = keys_of(service)
        assert receipt is not None
        assert verify_receipt(receipt, [old]).record is not None
        assert open_checkpoint(service.call("GetTreeHead").checkpoint, [new]).size > 2
        assert proven(service, receipt).record is not None


def test_records_are_proven_to_those_whose_they_are(service: InProcess, key: str, tenant: str) -> None:
    """By ids the records of one's own account, or of another for the home account."""
    service.call("ListUsers", {"account_id": TENANT}, token=tenant)
    record = service.records()[-1]
    asked = {"event_id": record["eventID"]}
    answer = service.call("GetInclusionProof", asked, token=tenant)
    [proof] = answer.proofs
    found = verify_receipt(proof.proof.encode(), keys_of(service), origin=answer.origin)
    assert found.record == record
    assert (found.leaf, found.index) == (proof.leaf_hash, proof.leaf_index)
    assert service.call("GetInclusionProof", {**asked, "account_id": TENANT}).proofs[0].leaf_hash == found.leaf
    with pytest.raises(NoSuchEntityException):
        service.call("GetInclusionProof", asked)
    own = service.records()[0]["eventID"]
    with pytest.raises(NoSuchEntityException):
        service.call("GetInclusionProof", {"event_id": own}, token=tenant)
    hashed = service.call("GetInclusionProof", {"leaf_index": 0}, token=tenant).proofs[0]
    assert verify_receipt(hashed.proof.encode(), keys_of(service)).record is None
    assert own not in hashed.proof


def test_all_records_of_a_call(service: InProcess, key: str) -> None:
    """A batch leaves one for each item."""
    items = [{"key_id": key, "plaintext": b"x"}] * 3
    service.call("BatchEncrypt", {"items": items})
    request_id = service.records()[-1]["requestID"]
    proofs = service.call("GetInclusionProof", {"request_id": request_id}).proofs
    assert [each.leaf_index for each in proofs] == list(range(proofs[0].leaf_index, proofs[0].leaf_index + 3))
    keys = keys_of(service)
    for each in proofs:
        record = verify_receipt(each.proof.encode(), keys).record
        assert record is not None
        assert record["requestID"] == request_id


@pytest.mark.parametrize("values", [
    {}, {"event_id": "a", "request_id": "b"}, {"event_id": "a", "leaf_index": 0}, {"leaf_index": -1},
    {"leaf_index": 2**63}, {"event_id": ""}, {"event_id": 'x","y":"z'}, {"request_id": "x" * 129},
    {"leaf_index": 0, "origin": ""}, {"leaf_index": 0, "origin": "x" * 513}, {"leaf_index": 0, "account_id": "1"},
])
def test_what_no_record_is_named_by(service: InProcess, values: dict[str, Any]) -> None:
    """None or several, or malformed."""
    with pytest.raises(ValidationException):
        service.call("GetInclusionProof", values)


def test_what_is_not_there(service: InProcess) -> None:
    """Records, logs and sizes."""
    for operation, values in (
        ("GetInclusionProof", {"leaf_index": 10**9}), ("GetInclusionProof", {"event_id": "none"}),
        ("GetTreeHead", {"origin": "none"}), ("GetConsistencyProof", {"first_size": 1, "second_size": 10**9}),
        ("GetConsistencyProof", {"origin": "none", "first_size": 1}),
    ):
        with pytest.raises(NoSuchEntityException):
            service.call(operation, values)
    for sizes in ({"first_size": 0}, {}, {"first_size": 2, "second_size": 1}, {"first_size": -1}):
        with pytest.raises(ValidationException):
            service.call("GetConsistencyProof", sizes)


def test_permissions(service: InProcess) -> None:
    """Each has its own; nobody has any by default."""
    nobody = service.new_user("nobody")
    for operation, values in (
        ("GetTreeHead", {}), ("GetInclusionProof", {"leaf_index": 0}), ("GetConsistencyProof", {"first_size": 1}),
    ):
        statement = {"Effect": "Allow", "Action": f"kagitori:{operation}", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        one = service.new_user(f"only-{operation}", policies={"p": policy})
        service.call(operation, values, token=one)
        with pytest.raises(AccessDeniedException):
            service.call(operation, values, token=nobody)


def test_verification_compares_the_tree(tmp_path: Path) -> None:
    """VerifyAuditTrail tells of a tile that isn't that of the chain, and of a checkpoint that isn't."""
    with InProcess(tmp_path) as service:
        service.call("GetTreeHead")
        service.transparency.run_once()
        assert service.call("VerifyAuditTrail").chains[0].problems == ()
        checkpoint = service.audit_folder / "trees/chain-00/checkpoint"
        lines = checkpoint.read_text().split("\n")
        lines[2] = "A" * 43 + "="
        checkpoint.write_text("\n".join(lines))
        [chain] = service.call("VerifyAuditTrail").chains
        assert chain.records > 1
        [problem] = chain.problems
        assert (problem.chain_name, problem.segment_file, problem.line) == ("chain-00", "", 0)
        assert "aren't those that were signed" in problem.description


# --- receipts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("operation", "more"), [
    ("Encrypt", {"plaintext": b"secret payload", "encryption_context": {"a": "b"}}),
    ("GenerateDataKey", {"key_spec": "AES_256"}), ("DescribeKey", {}), ("UpdateKeyDescription", {"description": "new"}),
])
def test_a_call_is_answered_with_its_record(
    service: InProcess, key: str, operation: str, more: dict[str, Any]
) -> None:
    """Whether it is performed in the event loop, in a thread or in a transaction."""
    receipt = proven(service, service.with_receipt(operation, {"key_id": key, **more}))
    assert receipt.record is not None
    assert receipt.record["eventName"] == operation
    assert receipt.record in service.records()
    assert b"secret payload" not in json.dumps(receipt.record).encode()


def test_without_being_wanted_there_is_none(service: InProcess, key: str) -> None:
    """A call that doesn't ask has none and doesn't wait for one."""
    before = len(service.records())
    service.call("Encrypt", {"key_id": key, "plaintext": b"x"})
    assert len(service.records()) == before + 1


def test_a_refusal_is_proven_by_its_hash(service: InProcess, key: str) -> None:
    """The record names what a caller without permission isn't told: the key behind an alias, say."""
    service.call("CreateAlias", {"alias_name": "alias/hidden", "target_key_id": key})
    nobody = service.new_user("refused")
    made = service.with_receipt("Encrypt", {"key_id": "alias/hidden", "plaintext": b"x"}, token=nobody)
    receipt = proven(service, made)
    record = service.records()[receipt.index]
    assert record["errorCode"] == "AccessDenied"
    assert key in json.dumps(record)
    assert made is not None
    assert receipt.record is None
    assert key.encode() not in made
    event = json.dumps(record, separators=(",", ":")).encode()
    assert verify_receipt(made, keys_of(service), record=event).record == record


def test_batches_have_none(service: InProcess, key: str) -> None:
    """Each item has a record of its own: GetInclusionProof proves them."""
    assert service.with_receipt("BatchEncrypt", {"items": [{"key_id": key, "plaintext": b"x"}]}) is None


def test_the_callers_own_record_is_proven(service: InProcess, tenant: str) -> None:
    """Of a call on another account's key, which leaves a copy for the key's owner."""
    policy = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "kms:*", "Resource": "*"}
        for account in (HOME, TENANT)
    ]})
    shared = service.call("CreateKey", {"policy": policy}).key_metadata.arn
    service.call("CreateUser", {"account_id": TENANT, "user_name": "alice"})
    user = f"arn:aws:iam::{TENANT}:user/alice"
    service.call("PutIdentityPolicy", {"principal_arn": user, "policy_name": "p", "policy_document": ALLOW_ALL})
    token = service.new_token(user)
    made = service.with_receipt("Encrypt", {"key_id": shared, "plaintext": b"x"}, token=token)
    receipt = proven(service, made)
    assert receipt.record is not None
    assert receipt.record["recipientAccountId"] == TENANT
    assert service.records()[receipt.index + 1]["sharedEventID"] == receipt.record["eventID"]


def test_a_call_that_leads_to_other_records(service: InProcess) -> None:
    """Its own is proven, whatever the service recorded beside it, and wherever that stands."""
    primary = service.call("CreateKey", {"multi_region": True}).key_metadata.key_id
    besides = {
        "ReplicateKey": ({"replica_region": "eu-west-1"}, ["CreateKey"]),
        "RotateKeyOnDemand": ({}, ["RotateKey", "SynchronizeMultiRegionKey"]),
    }
    for operation, (more, names) in besides.items():
        before = len(service.records())
        receipt = proven(service, service.with_receipt(operation, {"key_id": primary, **more}))
        assert receipt.record is not None
        assert (receipt.record["eventName"], receipt.record["eventType"]) == (operation, "AwsApiCall")
        left = service.records()[before : before + len(names) + 1]
        assert sorted(record["eventName"] for record in left) == sorted([*names, operation])
        assert service.records()[receipt.index] == receipt.record
        assert "invokedBy" not in receipt.record["userIdentity"]
        found = service.call("GetInclusionProof", {"request_id": receipt.record["requestID"]}).proofs
        assert receipt.leaf in {proof.leaf_hash for proof in found}
    single = service.call("CreateKey").key_metadata.key_id
    receipt = proven(service, service.with_receipt("ScheduleKeyDeletion", {"key_id": single}))
    assert receipt.record == service.records()[receipt.index]
    assert receipt.record["eventName"] == "ScheduleKeyDeletion"
    service.clock.advance(31 * 86_400)
    DeletionWorker(service.services, service.events).run_once()
    assert service.records()[-1]["eventName"] == "DeleteKey"


def test_a_trail_that_cannot_be_proven_still_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The call was made and recorded; that its receipt fails doesn't undo it."""
    with InProcess(tmp_path) as service:
        arn = service.call("CreateKey").key_metadata.arn
        service.call("GetTreeHead")
        service.transparency.run_once()
    checkpoint = service.audit_folder / "trees/chain-00/checkpoint"
    lines = checkpoint.read_text().split("\n")
    lines[2] = "A" * 43 + "="
    checkpoint.write_text("\n".join(lines))
    with InProcess(tmp_path) as service:
        assert service.with_receipt("Encrypt", {"key_id": arn, "plaintext": b"x"}) is None
        assert service.records()[-1]["eventName"] == "Encrypt"
        with pytest.raises(KMSInternalException, match="can't be proven"):
            service.call("GetTreeHead")
    assert "can't be used" in caplog.text
