"""The lockout safety check: whom a new key policy must still let in."""

from __future__ import annotations

import contextlib
import json

import pytest

from kagitori_server.model.errors import MalformedPolicyDocumentException
from kagitori_server.policy import (
    Caller,
    CallerKind,
    IdentityKind,
    Limits,
    check_lockout,
    default_key_policy,
    parse_identity_policy,
    parse_key_policy,
)

A, B = "111122223333", "444455556666"
KEY = f"arn:aws:kms:us-east-1:{A}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
USER = f"arn:aws:iam::{A}:user/P"
FOREIGN = f"arn:aws:iam::{B}:user/P"
PRINCIPALS = {A: A, f"arn:aws:iam::{A}:root": A, USER: "AIDAP", FOREIGN: "AIDAFOREIGN"}
CALLERS = {
    "user": Caller(A, CallerKind.USER, USER, "AIDAP"),
    "root": Caller(A, CallerKind.ROOT, f"arn:aws:iam::{A}:root", A),
    "foreign": Caller(B, CallerKind.USER, FOREIGN, "AIDAFOREIGN"),
}
MESSAGE = "The new key policy will not allow you to update the key policy in the future."


def _text(principal: object, action: object = "kms:*", effect: str = "Allow") -> str:
    statement = {"Effect": effect, "Principal": principal, "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _check(text: str, caller: str, identity_action: str | None) -> None:
    identity = []
    if identity_action:
        statement = {"Effect": "Allow", "Action": identity_action, "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        identity.append(("p", parse_identity_policy(document, IdentityKind.USER)))
    check_lockout(parse_key_policy(text, PRINCIPALS.get), CALLERS[caller], identity, KEY, {})


@pytest.mark.parametrize(
    ("text", "caller", "identity_action"),
    [
        (default_key_policy(A), "root", None),
        (default_key_policy(A), "user", "kms:PutKeyPolicy"),
        (_text({"AWS": USER}), "user", None),
        (_text({"AWS": USER}, ["kms:Put*"]), "user", None),
        (_text("*"), "user", None),
    ],
)
def test_not_locked_out(text: str, caller: str, identity_action: str | None) -> None:
    """The caller keeps kms:PutKeyPolicy, directly or by delegation."""
    _check(text, caller, identity_action)


@pytest.mark.parametrize(
    ("text", "caller", "identity_action"),
    [
        (default_key_policy(A), "user", None),
        (default_key_policy(A), "user", "kms:GetKeyPolicy"),
        (_text({"AWS": USER}), "root", None),
        (_text({"AWS": USER}, "kms:Encrypt"), "user", "kms:*"),
        (_text("*", effect="Deny"), "root", None),
        (_text({"Service": "logs.us-east-1.amazonaws.com"}), "user", "kms:*"),
        (_text({"AWS": FOREIGN}), "foreign", "kms:*"),
        (_text("*"), "foreign", "kms:*"),
    ],
)
def test_locked_out(text: str, caller: str, identity_action: str | None) -> None:
    """Others may keep the action, an identity policy may name it: without the caller it is a lockout."""
    with pytest.raises(MalformedPolicyDocumentException) as caught:
        _check(text, caller, identity_action)
    assert caught.value.message == MESSAGE


@pytest.mark.parametrize(
    ("account", "limited", "locked_out"), [(A, False, False), (B, False, True), (None, False, True), (A, True, True)]
)
def test_conditions_and_limits_count(account: str | None, limited: bool, locked_out: bool) -> None:
    """The check is made with the context and the limits that the next PutKeyPolicy would meet."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": A},
        "Action": "kms:*",
        "Resource": "*",
        "Condition": {"StringEquals": {"kms:CallerAccount": A}},
    }
    candidate = parse_key_policy(json.dumps({"Statement": statement}), PRINCIPALS.get)
    everything, other = (
        parse_identity_policy(
            json.dumps({"Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}}), IdentityKind.USER
        )
        for action in ("*", "s3:*")
    )
    limits = Limits([("boundary", other)] if limited else ())
    context = {} if account is None else {"kms:calleraccount": account}
    with pytest.raises(MalformedPolicyDocumentException) if locked_out else contextlib.nullcontext():
        check_lockout(candidate, CALLERS["user"], [("p", everything)], KEY, context, limits=limits)


@pytest.mark.parametrize("arn", ["", "1234abcd", "alias/x"])
def test_key_must_be_an_arn(arn: str) -> None:
    """Without the ARN the owner of the key is unknown."""
    with pytest.raises(ValueError, match="key ARN"):
        check_lockout(parse_key_policy(default_key_policy(A), PRINCIPALS.get), CALLERS["root"], [], arn, {})
