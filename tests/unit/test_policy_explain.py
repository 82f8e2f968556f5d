"""Explanations: the decision, and the first thing that failed in every statement and grant."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from kagitori_server.policy import (
    Caller,
    CallerKind,
    ConstraintKind,
    Explanation,
    Grant,
    GrantConstraint,
    IdentityKind,
    IdentityPolicy,
    Limits,
    Query,
    decide_identity,
    decide_key,
    explain_identity,
    explain_key,
    parse_identity_policy,
    parse_key_policy,
)

A = "111122223333"
KEY = f"arn:aws:kms:us-east-1:{A}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ROLE, SESSION = f"arn:aws:iam::{A}:role/R", f"arn:aws:sts::{A}:assumed-role/R/s1"
PRINCIPALS = {A: A, ROLE: "AROAR", SESSION: "AROAR:s1", f"arn:aws:iam::{A}:user/Q": "AIDAQ"}
QUERY = Query(
    Caller(A, CallerKind.ASSUMED_ROLE, SESSION, "AROAR:s1", "AROAR", ROLE),
    "kms:Decrypt",
    KEY,
    A,
    {"kms:viaservice": "s3.us-east-1.amazonaws.com"},
    {"app": "x"},
)
KEY_POLICY = parse_key_policy(
    json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Sid": "q", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{A}:user/Q"}, "Action": "kms:*"},
                {"Sid": "account", "Effect": "Allow", "Principal": {"AWS": A}, "Action": "kms:*", "Resource": "*"},
                {"Sid": "no", "Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"},
                {
                    "Sid": "role",
                    "Effect": "Allow",
                    "Principal": {"AWS": ROLE},
                    "Action": "kms:Decrypt",
                    "Resource": "*",
                    "Condition": {
                        "StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"},
                        "BoolIfExists": {"aws:SecureTransport": "true"},
                        "StringLike": {"KMS:EncryptionContext:App": "x*"},
                        "Null": {"aws:SourceIp": "false"},
                    },
                },
                {"Effect": "Allow", "Principal": {"AWS": SESSION}, "Action": "kms:Decrypt", "Resource": KEY + "x"},
            ],
        }
    ),
    PRINCIPALS.get,
)


def _identity(*statements: dict[str, object]) -> IdentityPolicy:
    return parse_identity_policy(json.dumps({"Version": "2012-10-17", "Statement": statements}), IdentityKind.ROLE)


ALLOW = _identity({"Sid": "all", "Effect": "Allow", "Action": "*", "Resource": "*"})
OTHER = _identity(
    {"Effect": "Deny", "Action": "kms:Decrypt", "Resource": KEY + "x"},
    {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
)
IDENTITY = [("all", ALLOW), ("other", OTHER)]
LIMITS = Limits([("edge", ALLOW)], [("session", OTHER)])
GRANTS = [
    Grant("g1", "AIDAQ", frozenset({"Decrypt"})),
    Grant("g2", "AROAR", frozenset({"Encrypt"})),
    Grant("g3", A, frozenset({"Decrypt"}), GrantConstraint(ConstraintKind.EQUALS, {"app": "y"})),
    Grant("g4", "AROAR:s1", frozenset({"Decrypt"}), GrantConstraint(ConstraintKind.SUBSET, {"app": "x"})),
]


def _explain() -> Explanation:
    return explain_key(QUERY, KEY_POLICY, IDENTITY, cross_account_capable=False, limits=LIMITS, grants=GRANTS)


def test_statements() -> None:
    """All statements of all layers, in order, each with the first element that failed."""
    shown = [
        (each.layer, each.policy, each.index, each.sid, each.effect, each.matched, each.failed)
        for each in _explain().statements
    ]
    assert shown == [
        ("key policy", None, 0, "q", "Allow", False, "principal"),
        ("key policy", None, 1, "account", "Allow", True, None),
        ("key policy", None, 2, "no", "Deny", False, "action"),
        ("key policy", None, 3, "role", "Allow", False, "condition"),
        ("key policy", None, 4, None, "Allow", False, "resource"),
        ("identity policy", "all", 0, "all", "Allow", True, None),
        ("identity policy", "other", 0, None, "Deny", False, "resource"),
        ("identity policy", "other", 1, None, "Allow", False, "action"),
        ("permissions boundary", "edge", 0, "all", "Allow", True, None),
        ("session policy", "session", 0, None, "Deny", False, "resource"),
        ("session policy", "session", 1, None, "Allow", False, "action"),
    ]


def test_failed_condition_is_named() -> None:
    """The first condition that failed, operator and key as written."""
    statements = _explain().statements
    assert [(each.operator, each.key) for each in statements if each.failed == "condition"] == [
        ("StringLike", "KMS:EncryptionContext:App")
    ]
    assert all(each.operator is None and each.key is None for each in statements if each.failed != "condition")


def test_how_the_key_policy_names_the_caller() -> None:
    """Whether itself, its role or its account is named decides what else is needed."""
    assert [each.names_caller_as for each in _explain().statements[:6]] == [
        *("none", "account", "self", "role", "self", None),
    ]


def test_grants() -> None:
    """All grants, each with the first part that failed."""
    assert [(each.grant_id, each.matched, each.failed) for each in _explain().grants] == [
        ("g1", False, "grantee"),
        ("g2", False, "operation"),
        ("g3", False, "constraint"),
        ("g4", True, None),
    ]


def test_decision_is_the_evaluators() -> None:
    """Here the session policy stops the delegation, and the last grant helps."""
    explanation = _explain()
    assert explanation.decision == decide_key(
        QUERY, KEY_POLICY, IDENTITY, cross_account_capable=False, limits=LIMITS, grants=GRANTS
    )
    assert explanation.decision.grant == "g4"


@pytest.mark.parametrize("limits", [Limits(), LIMITS])
def test_identity_question(limits: Limits) -> None:
    """Without a key there are the other layers."""
    query = Query(QUERY.caller, "kms:ListKeys", f"arn:aws:kms:us-east-1:{A}:*", A)
    explanation = explain_identity(query, IDENTITY, limits=limits)
    assert explanation.decision == decide_identity(query, IDENTITY, limits=limits)
    assert explanation.grants == ()
    layers = {each.layer for each in explanation.statements}
    assert layers == {"identity policy"} | ({"permissions boundary", "session policy"} if limits.boundary else set())


def test_explanations_are_plain_data() -> None:
    """Equal questions have equal explanations, and JSON takes them."""
    explanation = _explain()
    assert explanation == _explain()
    shown = asdict(explanation)
    shown["decision"]["basis"] = explanation.decision.basis.name
    assert json.loads(json.dumps(shown))["statements"][3]["operator"] == "StringLike"
