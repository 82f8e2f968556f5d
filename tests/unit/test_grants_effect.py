"""What a grant permits, to whom and for which encryption contexts; and that nothing more follows from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.grantees import PAIRS, TENANT, Keyholder, user
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess

from kagitori_server.model.errors import (
    AccessDeniedException,
    DisabledException,
    InvalidCiphertextException,
    InvalidGrantTokenException,
    KMSInvalidStateException,
    NotFoundException,
)
from kagitori_server.operations.lifecycle import destroy

ROOT = f"arn:aws:iam::{HOME}:root"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


@pytest.fixture
def holder(service: InProcess) -> Keyholder:
    return Keyholder(service)


def statement(effect: str, action: str, **more: Any) -> str:
    return json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": "*", **more}]}
    )


def test_a_grant_permits_its_operations_to_its_grantee_alone(service: InProcess, holder: Keyholder) -> None:
    alice, bob = service.new_user("alice"), service.new_user("bob")
    with pytest.raises(AccessDeniedException):
        holder.encrypt(alice)
    holder.grant("alice", "Encrypt", "DescribeKey")
    blob = holder.encrypt(alice)
    assert service.call("DescribeKey", {"key_id": holder.key_arn}, token=alice).key_metadata.arn == holder.key_arn
    refused: list[tuple[str, dict[str, Any]]] = [
        ("Decrypt", {"ciphertext_blob": blob}),
        ("GenerateDataKey", {"key_id": holder.key_id, "key_spec": "AES_256"}),
        ("GetKeyPolicy", {"key_id": holder.key_id}),
        ("ListGrants", {"key_id": holder.key_id}),
        ("CreateGrant", {"key_id": holder.key_id, "grantee_principal": user("bob"), "operations": ("Encrypt",)}),
    ]
    for operation, values in refused:
        with pytest.raises(AccessDeniedException):
            service.call(operation, values, token=alice)
    with pytest.raises(AccessDeniedException):
        holder.encrypt(bob)
    other = service.call("CreateKey").key_metadata.arn
    with pytest.raises(AccessDeniedException):
        holder.encrypt(alice, key_id=other)


def test_every_operation_served_can_be_granted(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    operations = (
        "Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
        "DescribeKey",
    )
    holder.grant("alice", *operations)
    blob = holder.encrypt(alice)
    assert service.call("Decrypt", {"ciphertext_blob": blob}, token=alice).plaintext == b"p"
    for name in ("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"):
        assert service.call(name, {"key_id": holder.key_id, "key_spec": "AES_256"}, token=alice).ciphertext_blob
    values = {"ciphertext_blob": blob, "destination_key_id": holder.key_id}
    assert service.call("ReEncrypt", values, token=alice).ciphertext_blob
    batch = service.call("BatchEncrypt", {"items": [{"key_id": holder.key_id, "plaintext": b"x"}]}, token=alice)
    assert batch.outcomes[0].error is None


def test_re_encrypt_needs_both_halves_and_their_own_contexts(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    blob = holder.encrypt(service.root_token, PAIRS)
    values = {
        "ciphertext_blob": blob, "source_encryption_context": PAIRS, "destination_key_id": holder.key_id,
        "destination_encryption_context": {"to": "y"},
    }
    holder.grant("alice", "ReEncryptFrom", constraints={"encryption_context_equals": PAIRS})
    with pytest.raises(AccessDeniedException):
        service.call("ReEncrypt", values, token=alice)
    holder.grant("alice", "ReEncryptTo", constraints={"encryption_context_equals": {"to": "y"}})
    assert service.call("ReEncrypt", values, token=alice).ciphertext_blob
    with pytest.raises(AccessDeniedException):
        service.call("ReEncrypt", {**values, "destination_encryption_context": PAIRS}, token=alice)
    with pytest.raises(AccessDeniedException):
        service.call("ReEncrypt", {**values, "source_encryption_context": {"to": "y"}}, token=alice)


@pytest.mark.parametrize(
    ("constraint", "admitted", "refused"),
    [
        ("encryption_context_equals", [PAIRS, dict(reversed(PAIRS.items()))],
         [{}, {"app": "shop"}, {**PAIRS, "b": "2"}, {**PAIRS, "stage": "Live"}, {"App": "shop", "stage": "live"}]),
        ("encryption_context_subset", [PAIRS, {**PAIRS, "b": "2"}],
         [{}, {"app": "shop"}, {**PAIRS, "app": "SHOP"}, {"APP": "shop", "stage": "live"}]),
    ],
)
def test_a_constraint_is_held_against_each_context(
    service: InProcess, holder: Keyholder, constraint: str, admitted: list[dict[str, str]],
    refused: list[dict[str, str]],
) -> None:
    alice = service.new_user("alice")
    holder.grant("alice", "Encrypt", "Decrypt", "DescribeKey", constraints={constraint: PAIRS})
    # More than once and by turns: what was decided for one context must not count for another.
    for _ in range(2):
        for context in admitted:
            blob = holder.encrypt(alice, context)
            values = {"ciphertext_blob": blob, "encryption_context": context}
            assert service.call("Decrypt", values, token=alice).plaintext == b"p"
        for context in refused:
            with pytest.raises(AccessDeniedException):
                holder.encrypt(alice, context)
    blob = holder.encrypt(service.root_token, {})
    with pytest.raises((AccessDeniedException, InvalidCiphertextException)):
        service.call("Decrypt", {"ciphertext_blob": blob}, token=alice)
    service.call("DescribeKey", {"key_id": holder.key_arn}, token=alice)


def test_one_of_several_grants_is_enough(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    for number in range(5):
        holder.grant("alice", "Encrypt", constraints={"encryption_context_equals": {"n": str(number)}})
        holder.grant("alice", "Encrypt", constraints={"encryption_context_subset": {"m": str(number)}})
    holder.encrypt(alice, {"n": "4"})
    holder.encrypt(alice, {"m": "3", "n": "9"})
    with pytest.raises(AccessDeniedException):
        holder.encrypt(alice, {"n": "4", "x": ""})
    holder.grant("alice", "Encrypt")
    holder.encrypt(alice, {"n": "4", "x": ""})


def test_a_deny_beats_a_grant(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    holder.grant("alice", "Encrypt")
    holder.encrypt(alice)
    policy = {"principal_arn": user("alice"), "policy_name": "deny"}
    service.call("PutIdentityPolicy", {**policy, "policy_document": statement("Deny", "kms:Encrypt")})
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        holder.encrypt(alice)
    service.call("DeleteIdentityPolicy", policy)
    holder.encrypt(alice)
    document = json.loads(service.call("GetKeyPolicy", {"key_id": holder.key_id}).policy)
    denied = {"Effect": "Deny", "Principal": {"AWS": user("alice")}, "Action": "kms:Encrypt", "Resource": "*"}
    document["Statement"].append(denied)
    service.call("PutKeyPolicy", {"key_id": holder.key_id, "policy": json.dumps(document)})
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        holder.encrypt(alice)


def test_a_grant_to_a_role_is_for_all_its_sessions_one_to_a_session_for_that_alone(
    service: InProcess, holder: Keyholder
) -> None:
    role = service.call("CreateRole", {"role_name": "worker", "path": "/jobs/"}).role.arn
    one, two = service.new_token(role, "one"), service.new_token(role, "two")
    session = f"arn:aws:sts::{HOME}:assumed-role/worker/one"
    grant = holder.grant(session, "Encrypt").grant_id
    holder.encrypt(one)
    with pytest.raises(AccessDeniedException):
        holder.encrypt(two)
    service.call("RevokeGrant", {"key_id": holder.key_id, "grant_id": grant})
    with pytest.raises(AccessDeniedException):
        holder.encrypt(one)
    holder.grant(role, "Encrypt")
    holder.encrypt(one)
    holder.encrypt(two)


def test_a_grant_to_an_account_is_delegated_to_its_policies(service: InProcess, holder: Keyholder) -> None:
    root = service.new_account(TENANT)
    alice = service.new_user("alice", account=TENANT)
    allowed = service.new_user("bob", account=TENANT, policies={"p": statement("Allow", "kms:Encrypt")})
    holder.grant(f"arn:aws:iam::{TENANT}:root", "Encrypt")
    holder.encrypt(root)
    holder.encrypt(allowed)
    with pytest.raises(AccessDeniedException):
        holder.encrypt(alice)


def test_a_foreign_user_needs_nothing_but_its_grant(service: InProcess, holder: Keyholder) -> None:
    root = service.new_account(TENANT)
    alice = service.new_user("alice", account=TENANT)
    everything = service.new_user("admin", account=TENANT, policies={"all": ALLOW_ALL})
    holder.grant(user("alice", TENANT), "Encrypt", "Decrypt", "CreateGrant", "DescribeKey")
    blob = holder.encrypt(alice)
    assert service.call("Decrypt", {"ciphertext_blob": blob}, token=alice).plaintext == b"p"
    child = holder.grant(user("admin", TENANT), "Encrypt", token=alice).grant_id
    holder.encrypt(everything)
    entry = service.call("ListGrants", {"key_id": holder.key_id, "grant_id": child}).grants[0]
    assert entry.issuing_account == f"arn:aws:iam::{TENANT}:root"
    for token in (root, everything):
        with pytest.raises(AccessDeniedException):
            service.call("Decrypt", {"ciphertext_blob": blob}, token=token)
        with pytest.raises(AccessDeniedException):
            service.call("ListGrants", {"key_id": holder.key_arn}, token=token)
    owners = [event for event in service.records() if event["eventName"] == "Encrypt"][-1]
    assert (owners["recipientAccountId"], owners["resources"][0]["ARN"]) == (HOME, holder.key_arn)


def test_a_principal_made_anew_inherits_nothing(service: InProcess, holder: Keyholder) -> None:
    made = service.call("CreateUser", {"user_name": "alice"}).user
    grant = holder.grant("alice", "Encrypt", retiring_principal=user("alice")).grant_id
    service.call("DeleteUser", {"user_name": "alice"})
    entry = service.call("ListGrants", {"key_id": holder.key_id}).grants[0]
    assert (entry.grant_id, entry.grantee_principal, entry.retiring_principal) == (grant, made.user_id, made.user_id)
    alice = service.new_user("alice")
    with pytest.raises(AccessDeniedException):
        holder.encrypt(alice)
    with pytest.raises(AccessDeniedException):
        service.call("RetireGrant", {"key_id": holder.key_arn, "grant_id": grant}, token=alice)
    assert holder.grant_ids(grantee_principal=user("alice")) == []
    assert service.call("ListRetirableGrants", {"retiring_principal": user("alice")}).grants == ()
    assert service.call("ListGrants", {"key_id": holder.key_id}).grants[0].grantee_principal == made.user_id


def test_a_session_of_a_role_that_is_gone_is_shown_by_its_id(service: InProcess, holder: Keyholder) -> None:
    role = service.call("CreateRole", {"role_name": "worker"}).role
    session = f"arn:aws:sts::{HOME}:assumed-role/worker/one"
    holder.grant(session, "Encrypt", retiring_principal=role.arn)
    entry = service.call("ListGrants", {"key_id": holder.key_id}).grants[0]
    assert (entry.grantee_principal, entry.retiring_principal) == (session, role.arn)
    service.call("DeleteRole", {"role_name": "worker"})
    again = service.call("CreateRole", {"role_name": "worker"}).role.arn
    entry = service.call("ListGrants", {"key_id": holder.key_id}).grants[0]
    assert (entry.grantee_principal, entry.retiring_principal) == (f"{role.role_id}:one", role.role_id)
    with pytest.raises(AccessDeniedException):
        holder.encrypt(service.new_token(again, "one"))


def test_each_item_of_a_batch_has_its_own_context(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    holder.grant("alice", "Encrypt", constraints={"encryption_context_equals": PAIRS})
    contexts: list[dict[str, str]] = [PAIRS, {}, PAIRS, {"app": "shop"}]
    items = [{"key_id": holder.key_arn, "plaintext": b"x", "encryption_context": pairs} for pairs in contexts]
    outcomes = service.call("BatchEncrypt", {"items": items}, token=alice).outcomes
    codes = [None if outcome.error is None else outcome.error.code for outcome in outcomes]
    assert codes == [None, "AccessDeniedException", None, "AccessDeniedException"]


def test_the_state_of_the_key_counts_for_grantees_too(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    grant = holder.grant("alice", "Encrypt").grant_id
    service.call("DisableKey", {"key_id": holder.key_id})
    with pytest.raises(DisabledException):
        holder.encrypt(alice)
    with pytest.raises(DisabledException):
        holder.grant("alice", "Decrypt")
    service.call("ScheduleKeyDeletion", {"key_id": holder.key_id})
    with pytest.raises(KMSInvalidStateException):
        holder.grant("alice", "Decrypt")
    assert holder.grant_ids() == [grant]
    service.call("RevokeGrant", {"key_id": holder.key_id, "grant_id": grant})
    assert holder.grant_ids() == []


def test_another_process_sees_grant_and_end_at_once(tmp_path: Path) -> None:
    with InProcess(tmp_path) as one, InProcess(tmp_path) as two:
        holder = Keyholder(one)
        there = Keyholder.__new__(Keyholder)
        there.service, there.key_id, there.key_arn = two, holder.key_id, holder.key_arn
        alice = one.new_user("alice")
        for _ in range(3):
            with pytest.raises(AccessDeniedException):
                there.encrypt(alice)
            grant = holder.grant("alice", "Encrypt").grant_id
            there.encrypt(alice)
            one.call("RevokeGrant", {"key_id": holder.key_id, "grant_id": grant})
            with pytest.raises(AccessDeniedException):
                there.encrypt(alice)


def test_a_grant_to_an_account_does_not_hide_one_to_the_caller(service: InProcess, holder: Keyholder) -> None:
    service.new_account(TENANT)
    alice = service.new_user("alice", account=TENANT)
    for number in range(3):
        holder.grant(f"arn:aws:iam::{TENANT}:root", "Encrypt", name=f"a{number}")
    with pytest.raises(AccessDeniedException):
        holder.encrypt(alice)
    grant = holder.grant(user("alice", TENANT), "Encrypt").grant_id
    holder.encrypt(alice)
    service.call("RevokeGrant", {"key_id": holder.key_id, "grant_id": grant})
    with pytest.raises(AccessDeniedException):
        holder.encrypt(alice)


def test_a_key_that_is_gone_takes_its_grants_along(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    made = holder.grant("alice", "Encrypt", retiring_principal=user("alice"))
    holder.encrypt(alice, grant_tokens=(made.grant_token,))
    service.call("ScheduleKeyDeletion", {"key_id": holder.key_id, "pending_window_in_days": 7})
    service.clock.advance(8 * 86_400)
    with service.catalog.read() as reader:
        key = reader.get_key("us-east-1", holder.key_id)
    assert key is not None
    with service.catalog.write() as writer:
        destroy(service.services, writer, key)
    with pytest.raises(NotFoundException):
        service.call("RetireGrant", {"key_id": holder.key_arn, "grant_id": made.grant_id}, token=alice)
    with pytest.raises(InvalidGrantTokenException):
        service.call("RetireGrant", {"grant_token": made.grant_token}, token=alice)
    page = service.call("ListRetirableGrants", {"retiring_principal": user("alice")})
    assert page.grants == ()
