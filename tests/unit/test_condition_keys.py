"""Conditions of policies meet the call: each condition key, for the operations that have it and for no others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.inprocess import HOME, REGION, START, InProcess
from tests.support.kms_calls import new_key, user_arn

from kagitori_server.model.call import Evidence, TlsFacts
from kagitori_server.model.errors import AccessDeniedException, MalformedPolicyDocumentException

USER = "conditioned"
TLS = TlsFacts("TLSv1.3", "-")


@dataclass(frozen=True)
class Conditioned:
    """A service with one user, whose only policy each test puts, and a key with an alias and a tag."""

    service: InProcess
    token: str
    key_id: str

    def put(self, condition: Mapping[str, Any], *, action: str = "kms:*", effect: str = "Allow") -> None:
        """Gives the user a policy with that condition; beside a Deny it may do everything else."""
        statements = [{"Effect": effect, "Action": action, "Resource": "*", "Condition": condition}]
        if effect == "Deny":
            statements.append({"Effect": "Allow", "Action": "kms:*", "Resource": "*"})
        self.service.call("PutIdentityPolicy", {
            "principal_arn": user_arn(USER), "policy_name": "p",
            "policy_document": json.dumps({"Version": "2012-10-17", "Statement": statements}),
        })

    def may(self, operation: str, values: Mapping[str, Any], **evidence: Any) -> bool:
        """Whether the user's call is permitted."""
        try:
            self.service.send(operation, values, Evidence(token=self.token, **evidence))
        except AccessDeniedException:
            return False
        return True


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conditioned]:
    with InProcess(tmp_path_factory.mktemp("conditions")) as service:
        key_id = new_key(service, tags=[{"tag_key": "Team", "tag_value": "x"}]).key_id
        service.call("CreateAlias", {"alias_name": "alias/conditioned", "target_key_id": key_id})
        yield Conditioned(service, service.new_user(USER), key_id)


def _encrypt(key: str, **more: Any) -> dict[str, Any]:
    return {"key_id": key, "plaintext": b"x", **more}


CONTEXT = {"Tenant": "t1", "app": "demo"}


@pytest.mark.parametrize(
    ("condition", "operation", "values", "allowed"),
    [
        ({"StringEquals": {"kms:CallerAccount": HOME}}, "Encrypt", {}, True),
        ({"StringEquals": {"kms:CallerAccount": "111111111111"}}, "Encrypt", {}, False),
        ({"StringEquals": {"kms:CallerAccount": HOME}}, "ListKeys", None, False),
        ({"StringEquals": {"kms:CallerAccount": HOME}}, "DescribeCustomKeyStores", None, True),
        ({"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT"}}, "Encrypt", {}, True),
        ({"StringEquals": {"kms:CustomerMasterKeySpec": "RSA_2048"}}, "Encrypt", {}, False),
        ({"StringEquals": {"kms:KeyUsage": "ENCRYPT_DECRYPT"}}, "DescribeKey", {}, True),
        ({"StringEquals": {"kms:KeyOrigin": "AWS_KMS"}}, "DescribeKey", {}, True),
        ({"Bool": {"kms:MultiRegion": "false"}}, "DescribeKey", {}, True),
        ({"Null": {"kms:MultiRegionKeyType": "true"}}, "DescribeKey", {}, True),
        ({"StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}, "Encrypt", {}, True),
        ({"StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}, "GenerateDataKey",
         {"number_of_bytes": 16}, True),
        ({"StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}, "DescribeKey", {}, False),
        ({"StringEquals": {"kms:EncryptionContext:tenant": "t1"}}, "Encrypt", {"encryption_context": CONTEXT}, True),
        ({"StringEquals": {"kms:EncryptionContext:Tenant": "T1"}}, "Encrypt", {"encryption_context": CONTEXT}, False),
        ({"StringEquals": {"kms:EncryptionContext:tenant": "t1"}}, "Encrypt", {}, False),
        ({"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "Tenant"}}, "Encrypt",
         {"encryption_context": CONTEXT}, True),
        ({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["Tenant"]}}, "Encrypt",
         {"encryption_context": CONTEXT}, False),
        ({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["Tenant"]}}, "Encrypt", {}, True),
        ({"StringEquals": {"kms:RequestAlias": "alias/conditioned"}}, "Encrypt", {"key_id": "alias/conditioned"}, True),
        ({"StringEquals": {"kms:RequestAlias": "alias/conditioned"}}, "Encrypt", {}, False),
        ({"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/cond*"}}, "Encrypt", {}, True),
        ({"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/other"}}, "Encrypt", {}, False),
        ({"StringEquals": {"aws:ResourceTag/Team": "x"}}, "Encrypt", {}, True),
        ({"StringEquals": {"aws:ResourceTag/Team": "y"}}, "Encrypt", {}, False),
        ({"StringEquals": {"aws:ResourceAccount": HOME}}, "Encrypt", {}, True),
        ({"ArnEquals": {"aws:PrincipalArn": user_arn(USER)}}, "Encrypt", {}, True),
        ({"StringEquals": {"aws:username": "${aws:username}"}}, "Encrypt", {}, True),
        ({"StringEquals": {"aws:username": USER, "aws:PrincipalType": "User"}}, "Encrypt", {}, True),
        ({"StringEquals": {"aws:RequestedRegion": REGION}}, "ListKeys", None, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, "ListKeys", None, False),
        ({"Bool": {"aws:ViaAWSService": "false", "aws:PrincipalIsAWSService": "false"}}, "ListKeys", None, True),
        ({"NumericLessThanEquals": {"kms:ScheduleKeyDeletionPendingWindowInDays": "7"}}, "ScheduleKeyDeletion",
         {"pending_window_in_days": 30}, False),
        ({"NumericLessThanEquals": {"kms:RotationPeriodInDays": "180"}}, "EnableKeyRotation", {}, False),
        ({"NumericLessThanEquals": {"kms:RotationPeriodInDays": "180"}}, "EnableKeyRotation",
         {"rotation_period_in_days": 180}, True),
        ({"NumericEquals": {"kms:RotationPeriodInDays": "365"}}, "EnableKeyRotation", {}, True),
        ({"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}}, "CreateKey", None, False),
        ({"StringEquals": {"aws:RequestTag/team": "x"}}, "CreateKey",
         {"key_id": None, "tags": [{"tag_key": "Team", "tag_value": "x"}]}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["Team"]}, "Null": {"aws:TagKeys": "false"}}, "TagResource",
         {"tags": [{"tag_key": "Team", "tag_value": "x"}]}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["Team"]}}, "UntagResource", {"tag_keys": ["other"]}, False),
        ({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}, "Encrypt", {}, False),
        ({"StringEquals": {"kms:NoSuchKey": "x"}}, "Encrypt", {}, False),
    ],
)
def test_each_condition_key(
    user: Conditioned, condition: Mapping[str, Any], operation: str, values: dict[str, Any] | None, allowed: bool
) -> None:
    """A user whose only Allow has this condition may, or may not, make this call."""
    user.put(condition)
    request = {} if values is None else {"key_id": user.key_id, **values}
    if operation == "Encrypt":
        request = {"plaintext": b"x", **request}
    assert user.may(operation, {name: value for name, value in request.items() if value is not None}) is allowed


def test_where_a_call_comes_from(user: Conditioned) -> None:
    """Addresses, TLS and the time of the call."""
    user.put({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}})
    assert user.may("ListKeys", {}, source_ip="192.0.2.7")
    assert not user.may("ListKeys", {}, source_ip="198.51.100.7")
    assert not user.may("ListKeys", {}, local_socket=False)
    user.put({"Bool": {"aws:SecureTransport": "false"}}, effect="Deny")
    assert user.may("ListKeys", {}, tls=TLS)
    assert not user.may("ListKeys", {})
    user.put({"StringLike": {"aws:UserAgent": "grpc-*"}})
    assert user.may("ListKeys", {}, user_agent="grpc-python/1.85")
    assert not user.may("ListKeys", {}, user_agent="curl")
    user.put({"DateLessThan": {"aws:CurrentTime": "2030-01-01T00:00:00Z"},
                   "NumericGreaterThan": {"aws:EpochTime": str(int(START) - 1)}})
    assert user.may("ListKeys", {})
    user.put({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}})
    assert not user.may("ListKeys", {})


def test_a_decision_with_conditions_is_not_remembered(user: Conditioned) -> None:
    """The same caller, action and key with another encryption context is another question."""
    key = new_key(user.service).key_id
    user.put({"StringEquals": {"kms:EncryptionContext:tenant": "t1"}}, effect="Deny")
    for _ in range(2):
        assert user.may("Encrypt", _encrypt(key, encryption_context={"tenant": "t2"}))
        assert not user.may("Encrypt", _encrypt(key, encryption_context={"tenant": "t1"}))


def test_both_sides_of_a_re_encryption_have_their_own_context(user: Conditioned) -> None:
    """Source and destination are asked with the context that belongs to them, and know whether they are one key."""
    one, two = new_key(user.service).key_id, new_key(user.service).key_id
    user.put({"StringEquals": {"kms:EncryptionContext:side": "from"}}, action="kms:ReEncryptFrom", effect="Allow")
    blob = user.service.call("Encrypt", _encrypt(one, encryption_context={"side": "from"})).ciphertext_blob
    move = {
        "ciphertext_blob": blob, "source_encryption_context": {"side": "from"},
        "destination_key_id": two, "destination_encryption_context": {"side": "to"},
    }
    assert not user.may("ReEncrypt", move)
    user.put({"StringEquals": {"kms:EncryptionContext:side": ["from", "to"]}})
    assert user.may("ReEncrypt", move)
    user.put({"Bool": {"kms:ReEncryptOnSameKey": "true"}})
    assert not user.may("ReEncrypt", move)
    assert user.may("ReEncrypt", {**move, "destination_key_id": one})


def test_conditions_on_grants(user: Conditioned) -> None:
    """What a grant would give, to whom, and bound to what."""
    grant = {
        "key_id": user.key_id, "grantee_principal": user_arn(USER), "operations": ["Encrypt", "Decrypt"],
        "constraints": {"encryption_context_equals": {"tenant": "t1"}},
    }
    for condition, allowed in (
        ({"ForAllValues:StringEquals": {"kms:GrantOperations": ["Encrypt", "Decrypt"]}}, True),
        ({"ForAllValues:StringEquals": {"kms:GrantOperations": ["Encrypt"]}}, False),
        ({"StringEquals": {"kms:GranteePrincipal": user_arn(USER)}}, True),
        ({"StringEquals": {"kms:GranteePrincipal": user_arn("other")}}, False),
        ({"Null": {"kms:RetiringPrincipal": "true"}}, True),
        ({"StringEquals": {"kms:GrantConstraintType": "EncryptionContextEquals"}}, True),
        ({"StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset"}}, False),
        ({"StringEquals": {"kms:EncryptionContext:tenant": "t1"}}, True),
        ({"StringEquals": {"kms:EncryptionContext:tenant": "t2"}}, False),
        ({"Bool": {"kms:GrantIsForAWSResource": "true"}}, False),
    ):
        user.put(condition, action="kms:CreateGrant")
        assert user.may("CreateGrant", grant) is allowed, condition


def test_conditions_of_a_key_policy(user: Conditioned) -> None:
    """A key policy's condition bounds what identity policies can give, and some keys don't belong in it."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}, "Action": "kms:*", "Resource": "*"},
            {"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*",
             "Condition": {"StringNotEquals": {"kms:EncryptionContext:app": "x"}}},
        ],
    }
    key = new_key(user.service, policy=json.dumps(policy)).key_id
    user.put({})
    assert user.may("Encrypt", _encrypt(key, encryption_context={"app": "x"}))
    assert not user.may("Encrypt", _encrypt(key))
    policy["Statement"][1]["Condition"] = {"StringEquals": {"aws:ResourceTag/a": "b"}}  # type: ignore[index]  # JSON
    with pytest.raises(MalformedPolicyDocumentException, match="not permitted in a key policy"):
        user.service.call("PutKeyPolicy", {"key_id": key, "policy": json.dumps(policy)})


def test_a_rotation_period_that_is_not_named_is_the_usual_one(user: Conditioned) -> None:
    """Who denies long periods denies to leave the period out."""
    user.put(
        {"NumericGreaterThan": {"kms:RotationPeriodInDays": "180"}}, action="kms:EnableKeyRotation", effect="Deny"
    )
    assert not user.may("EnableKeyRotation", {"key_id": user.key_id})
    assert user.may("EnableKeyRotation", {"key_id": user.key_id, "rotation_period_in_days": 90})


def test_an_empty_value_is_a_value(user: Conditioned) -> None:
    """A pair of the encryption context whose value is empty is present, whoever asks for it first."""
    names = "kms:EncryptionContext:note"
    values = _encrypt(user.key_id, encryption_context={"note": ""})
    user.put({"Null": {names: "false"}, "StringEquals": {names: ""}})
    assert user.may("Encrypt", values)
    user.put({"Null": {names: "true"}})
    assert not user.may("Encrypt", values)
