"""RetireGrant: the grant says who may. And grant tokens: verified, and worth nothing by themselves."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.grantees import TENANT, Keyholder, user
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess

from kagitori_server.model.errors import (
    AccessDeniedException,
    InvalidArnException,
    InvalidGrantIdException,
    InvalidGrantTokenException,
    NotFoundException,
    ValidationException,
)

MAY_RETIRE = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:RetireGrant","Resource":"*"}]}'
)
NO_TOKEN = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        opened.call("CreateUser", {"user_name": "bob"})
        yield opened


@pytest.fixture
def holder(service: InProcess) -> Keyholder:
    return Keyholder(service)


def retire(service: InProcess, holder: Keyholder, made: Any, token: str) -> None:
    """Retires by id, or by token when `made` isn't an id; refused calls must leave the grant."""
    before = holder.grant_ids()
    values = {"key_id": holder.key_arn, "grant_id": made.grant_id}
    try:
        service.call("RetireGrant", values, token=token)
    except AccessDeniedException:
        assert holder.grant_ids() == before
        with pytest.raises(AccessDeniedException):
            service.call("RetireGrant", {"grant_token": made.grant_token}, token=token)
        assert holder.grant_ids() == before
        raise
    assert made.grant_id not in holder.grant_ids()
    with pytest.raises(NotFoundException):
        service.call("RetireGrant", values)


def test_the_retiring_principal_may(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    retire(service, holder, holder.grant("bob", "Encrypt", retiring_principal=user("alice")), alice)


def test_the_grantee_may_when_it_was_granted(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    with pytest.raises(AccessDeniedException):
        retire(service, holder, holder.grant("alice", "Encrypt", "CreateGrant"), alice)
    retire(service, holder, holder.grant("alice", "Encrypt", "RetireGrant"), alice)
    constrained = {"encryption_context_equals": {"a": "b"}}
    retire(service, holder, holder.grant("alice", "Encrypt", "RetireGrant", constraints=constrained), alice)
    retire(service, holder, holder.grant("alice", "Encrypt", retiring_principal=user("alice")), alice)


def test_the_issuing_account_may_by_its_root_user_or_its_policies(service: InProcess, holder: Keyholder) -> None:
    allowed, not_allowed = service.new_user("alice", policies={"p": MAY_RETIRE}), service.new_token(user("bob"))
    retire(service, holder, holder.grant("bob", "Encrypt"), service.root_token)
    retire(service, holder, holder.grant("bob", "Encrypt"), allowed)
    with pytest.raises(AccessDeniedException):
        retire(service, holder, holder.grant("bob", "Encrypt"), not_allowed)


def test_other_accounts_may_not_whatever_their_policies_say(service: InProcess, holder: Keyholder) -> None:
    root = service.new_account(TENANT)
    admin = service.new_user("admin", account=TENANT, policies={"all": ALLOW_ALL})
    made = holder.grant("bob", "Encrypt")
    for token in (root, admin):
        with pytest.raises(AccessDeniedException):
            retire(service, holder, made, token)
        with pytest.raises(AccessDeniedException):
            service.call("RetireGrant", {"key_id": holder.key_arn, "grant_id": "0" * 64}, token=token)


def test_refused_strangers_learn_nothing(service: InProcess, holder: Keyholder) -> None:
    """Neither from the answer nor from their account's record: a grant that exists looks like one that doesn't."""
    root = service.new_account(TENANT)
    made = holder.grant("bob", "Encrypt")
    messages = []
    for grant_id in (made.grant_id, "0" * 64):
        with pytest.raises(AccessDeniedException) as refused:
            service.call("RetireGrant", {"key_id": holder.key_arn, "grant_id": grant_id}, token=root)
        messages.append(refused.value.message)
    assert messages[0] == messages[1]
    with pytest.raises(AccessDeniedException) as refused:
        service.call("RetireGrant", {"grant_token": made.grant_token}, token=root)
    assert holder.key_id not in refused.value.message
    for record in service.records()[-3:]:
        assert (record["recipientAccountId"], record["errorCode"]) == (TENANT, "AccessDenied")
        assert "additionalEventData" not in record
        assert not record.get("resources")
    for token in (root, service.new_user("alice")):
        with pytest.raises(AccessDeniedException):
            service.call("RevokeGrant", {"key_id": holder.key_arn, "grant_id": made.grant_id}, token=token)
        with pytest.raises(AccessDeniedException):
            service.call("RevokeGrant", {"key_id": holder.key_arn, "grant_id": "0" * 64}, token=token)


def test_a_retiring_account_delegates(service: InProcess, holder: Keyholder) -> None:
    root = service.new_account(TENANT)
    admin = service.new_user("admin", account=TENANT, policies={"all": MAY_RETIRE})
    alice = service.new_user("alice", account=TENANT)
    retiring = {"retiring_principal": f"arn:aws:iam::{TENANT}:root"}
    with pytest.raises(AccessDeniedException):
        retire(service, holder, holder.grant("bob", "Encrypt", **retiring), alice)
    for token in (root, admin):
        retire(service, holder, holder.grant("bob", "Encrypt", **retiring), token)


def test_a_key_policy_can_deny_and_not_allow(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    document = json.loads(service.call("GetKeyPolicy", {"key_id": holder.key_id}).policy)
    plain = list(document["Statement"])
    statement = {"Principal": {"AWS": user("alice")}, "Action": "kms:RetireGrant", "Resource": "*"}
    document["Statement"] = [*plain, {"Effect": "Allow", **statement}]
    service.call("PutKeyPolicy", {"key_id": holder.key_id, "policy": json.dumps(document)})
    with pytest.raises(AccessDeniedException):
        retire(service, holder, holder.grant("bob", "Encrypt"), alice)
    document["Statement"] = [*plain, {"Effect": "Deny", **statement}]
    service.call("PutKeyPolicy", {"key_id": holder.key_id, "policy": json.dumps(document)})
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        retire(service, holder, holder.grant("bob", "Encrypt", retiring_principal=user("alice")), alice)


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset"}},
        {"StringEquals": {"kms:EncryptionContext:tenant": "t1"}},
        {"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "tenant"}},
    ],
)
def test_what_the_grant_is_bound_to_can_be_asked(
    service: InProcess, holder: Keyholder, condition: dict[str, Any]
) -> None:
    """As the reference of KMS's condition keys has it: the pairs are those of the grant's constraint."""
    denied = {"Effect": "Deny", "Action": "kms:RetireGrant", "Resource": "*", "Condition": condition}
    alice = service.new_user("alice", policies={"p": json.dumps({"Version": "2012-10-17", "Statement": [denied]})})
    bound = {"encryption_context_subset": {"tenant": "t1"}}
    retiring = {"retiring_principal": user("alice")}
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        retire(service, holder, holder.grant("bob", "Encrypt", constraints=bound, **retiring), alice)
    other = {"encryption_context_equals": {"project": "p1"}}
    retire(service, holder, holder.grant("bob", "Encrypt", constraints=other, **retiring), alice)
    retire(service, holder, holder.grant("bob", "Encrypt", **retiring), alice)


@pytest.mark.parametrize("prepare", ["DisableKey", "ScheduleKeyDeletion"])
def test_in_any_state_of_the_key(service: InProcess, holder: Keyholder, prepare: str) -> None:
    made = holder.grant("bob", "Encrypt")
    service.call(prepare, {"key_id": holder.key_id})
    retire(service, holder, made, service.root_token)


def test_how_a_grant_is_named(service: InProcess, holder: Keyholder) -> None:
    made = holder.grant("bob", "Encrypt")
    by_id = {"key_id": holder.key_id, "grant_id": made.grant_id}
    for values, error in [
        ({}, ValidationException),
        ({"key_id": holder.key_id}, ValidationException),
        ({"grant_id": made.grant_id}, ValidationException),
        ({**by_id, "grant_token": made.grant_token}, ValidationException),
        ({"grant_token": made.grant_token, "grant_id": made.grant_id}, ValidationException),
        ({"grant_token": NO_TOKEN}, InvalidGrantTokenException),
        ({"grant_token": "x"}, InvalidGrantTokenException),
        ({"grant_token": made.grant_id}, InvalidGrantTokenException),
        ({"grant_token": ""}, ValidationException),
        ({**by_id, "grant_id": "0" * 64}, NotFoundException),
        ({**by_id, "grant_id": "A" * 64}, InvalidGrantIdException),
        ({**by_id, "grant_id": "g"}, InvalidGrantIdException),
        ({**by_id, "key_id": "alias/x"}, InvalidArnException),
        ({**by_id, "key_id": Keyholder(service).key_id}, NotFoundException),
    ]:
        with pytest.raises(error):
            service.call("RetireGrant", values)
    with pytest.raises(InvalidGrantTokenException):
        service.call("RetireGrant", {"grant_token": made.grant_token}, region="eu-west-1")
    with pytest.raises(NotFoundException):
        service.call("RetireGrant", by_id, region="eu-west-1")
    assert holder.grant_ids() == [made.grant_id]
    service.call("RetireGrant", {"grant_token": made.grant_token})
    with pytest.raises(InvalidGrantTokenException):
        service.call("RetireGrant", {"grant_token": made.grant_token})
    with pytest.raises(InvalidGrantTokenException):
        holder.encrypt(service.root_token, grant_tokens=(made.grant_token,))


def test_all_tokens_of_a_grant_are_as_good(service: InProcess, holder: Keyholder) -> None:
    first = holder.grant("bob", "Encrypt", name="n")
    second = holder.grant("bob", "Encrypt", name="n")
    holder.encrypt(service.new_token(user("bob")), grant_tokens=(first.grant_token, second.grant_token))
    service.call("RetireGrant", {"grant_token": first.grant_token})
    with pytest.raises(InvalidGrantTokenException):
        service.call("RetireGrant", {"grant_token": second.grant_token})


def test_tokens_are_verified_wherever_they_are_given(service: InProcess, holder: Keyholder) -> None:
    good, elsewhere = holder.grant("bob", "Encrypt").grant_token, Keyholder(service)
    foreign = elsewhere.grant("bob", "Encrypt").grant_token
    blob = holder.encrypt(service.root_token)
    calls: dict[str, dict[str, Any]] = {
        "Encrypt": {"key_id": holder.key_id, "plaintext": b"x"},
        "Decrypt": {"ciphertext_blob": blob},
        "ReEncrypt": {"ciphertext_blob": blob, "destination_key_id": holder.key_id},
        "GenerateDataKey": {"key_id": holder.key_id, "key_spec": "AES_256"},
        "GenerateDataKeyWithoutPlaintext": {"key_id": holder.key_id, "key_spec": "AES_256"},
        "DescribeKey": {"key_id": holder.key_id},
        "CreateGrant": {"key_id": holder.key_id, "grantee_principal": user("bob"), "operations": ("Decrypt",)},
    }
    for operation, values in calls.items():
        service.call(operation, {**values, "grant_tokens": (good,) * 10})
        for tokens in ((NO_TOKEN,), (good, "x"), (foreign,), (good + "=",)):
            with pytest.raises(InvalidGrantTokenException) as refused:
                service.call(operation, {**values, "grant_tokens": tokens})
            assert not any(token in str(refused.value) for token in tokens if len(token) > 1)
        with pytest.raises(ValidationException):
            service.call(operation, {**values, "grant_tokens": (good,) * 11})
    values = {**calls["ReEncrypt"], "destination_key_id": elsewhere.key_id}
    service.call("ReEncrypt", {**values, "grant_tokens": (good, foreign)})
    for token in (good, foreign, NO_TOKEN):
        assert token not in service.audit_text()


def test_a_token_carries_no_authority(service: InProcess, holder: Keyholder) -> None:
    eve = service.new_user("eve")
    made = holder.grant("bob", "Encrypt", "RetireGrant")
    with pytest.raises(AccessDeniedException):
        holder.encrypt(eve, grant_tokens=(made.grant_token,))
    with pytest.raises(AccessDeniedException):
        service.call("RetireGrant", {"grant_token": made.grant_token}, token=eve)
    # Who isn't allowed learns nothing of which tokens are valid.
    with pytest.raises(AccessDeniedException):
        holder.encrypt(eve, grant_tokens=(NO_TOKEN,))


def test_another_process_takes_a_token_at_once(tmp_path: Path) -> None:
    with InProcess(tmp_path) as one, InProcess(tmp_path) as two:
        one.call("CreateUser", {"user_name": "bob"})
        holder = Keyholder(one)
        made = holder.grant("bob", "Encrypt")
        bob = one.new_token(user("bob"))
        values = {"key_id": holder.key_arn, "plaintext": b"x", "grant_tokens": (made.grant_token,)}
        two.call("Encrypt", values, token=bob)
        one.call("RetireGrant", {"grant_token": made.grant_token})
        with pytest.raises(InvalidGrantTokenException):
            two.call("Encrypt", values)
        with pytest.raises(AccessDeniedException):
            two.call("Encrypt", values, token=bob)
        assert HOME in holder.key_arn
