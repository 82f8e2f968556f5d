"""What the reader of policies accepts, how large it may be, and what it remembers."""

from __future__ import annotations

import json

import pytest

from kagitori_server.model.errors import LimitExceededException, MalformedPolicyDocumentException
from kagitori_server.policy import (
    Caller,
    CallerKind,
    IdentityKind,
    KeyPolicy,
    Query,
    decide_identity,
    decide_key,
    default_key_policy,
    load_key_policy,
    parse_identity_policy,
    parse_key_policy,
    policy_size,
)

A = "111122223333"
KEY = f"arn:aws:kms:us-east-1:{A}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
USER = f"arn:aws:iam::{A}:user/division/P"
PRINCIPALS = {A: A, f"arn:aws:iam::{A}:root": A, USER: "AIDAP"}


def _key_text(**members: object) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": "kms:*", "Resource": "*"} | members
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


def _allows(policy: KeyPolicy, unique_id: str = "AIDAP") -> bool:
    query = Query(Caller(A, CallerKind.USER, USER, unique_id), "kms:Decrypt", KEY, A)
    return decide_key(query, policy, [], cross_account_capable=False).allowed


@pytest.mark.parametrize(
    "text",
    [
        _key_text(),
        _key_text(Sid="Allow use of the key"),
        _key_text(Sid=""),
        _key_text(Action=["kms:Encrypt", "kms:Decrypt"], Resource=["*"]),
        _key_text(Principal={"AWS": [USER, A]}),
        _key_text(Principal={"AWS": USER, "Service": ["logs.us-east-1.amazonaws.com"]}),
        _key_text(Principal={"AWS": USER, "Federated": "accounts.example.org", "CanonicalUser": "79a5"}),
        _key_text().replace('"2012-10-17"', '"2008-10-17"'),
        _key_text().replace('"Version": "2012-10-17", ', ""),
        _key_text().replace('"Version"', '"Id": "my policy", "Version"'),
        _key_text().replace('"Action"', '"\\u0041ction"'),
        " \t\r\n" + _key_text() + "\n",
    ],
)
def test_accepted_key_policies(text: str) -> None:
    """Single values and lists, both versions, optional elements, any layout."""
    assert _allows(parse_key_policy(text, PRINCIPALS.get))


@pytest.mark.parametrize("version", ['"Version": "2008-10-17",', ""])
def test_variables_are_plain_text_before_2012(version: str) -> None:
    """Under the first version `${…}` is literal text, so there is nothing to refuse."""
    resource = "arn:aws:kms:us-east-1:111122223333:alias/${aws:username}"
    text = f'{{{version} "Statement": {{"Effect": "Allow", "Action": "kms:*", "Resource": "{resource}"}}}}'
    policy = parse_identity_policy(text, IdentityKind.USER)
    caller = Caller(A, CallerKind.USER, USER, "AIDAP")
    asked = [resource, resource.replace("${aws:username}", "P")]
    decisions = [decide_identity(Query(caller, "kms:CreateAlias", arn, A), [("p", policy)]) for arn in asked]
    assert [each.allowed for each in decisions] == [True, False]


def test_bindings_are_what_was_resolved() -> None:
    """Each principal is resolved once, and remembered as it was written."""
    asked: list[str] = []

    def resolve(arn: str) -> str | None:
        asked.append(arn)
        return PRINCIPALS.get(arn)

    statements = [
        {"Effect": effect, "Principal": {"AWS": [USER, A, "*"]}, "Action": "kms:*", "Resource": "*"}
        for effect in ("Allow", "Deny")
    ]
    policy = parse_key_policy(json.dumps({"Statement": statements}), resolve)
    assert asked == [USER, A]
    assert dict(policy.bindings) == {USER: "AIDAP", A: A}


def test_stored_policy_keeps_its_bindings() -> None:
    """Loaded again after the user was replaced, the policy still means the one it was written for."""
    stored = parse_key_policy(_key_text(), PRINCIPALS.get)
    loaded = load_key_policy(_key_text(), dict(stored.bindings))
    assert _allows(loaded)
    assert not _allows(loaded, "AIDANEW")
    assert dict(loaded.bindings) == dict(stored.bindings)


def test_stored_policy_without_its_bindings_is_refused() -> None:
    """Lost bindings could turn a Deny into nothing."""
    with pytest.raises(MalformedPolicyDocumentException, match="invalid principals"):
        load_key_policy(_key_text(Effect="Deny"), {})


@pytest.mark.parametrize("answer", ["", "444455556666", "AIDAP"])
def test_account_principal_must_resolve_to_itself(answer: str) -> None:
    """A resolver that answers with another account, or a user, for an account is not believed."""
    with pytest.raises(MalformedPolicyDocumentException, match="invalid principals"):
        parse_key_policy(_key_text(Principal={"AWS": f"arn:aws:iam::{A}:root"}), lambda _: answer)


def test_key_policy_size() -> None:
    """32,768 bytes are taken, one more is not; a letter of two bytes counts twice."""
    empty = _key_text(Sid="")
    fill = 32_768 - len(empty)
    assert parse_key_policy(_key_text(Sid="x" * fill), PRINCIPALS.get)
    for text in (
        _key_text(Sid="x" * (fill + 1)),
        empty.replace('""', '"' + "é" * (fill // 2 + 1) + '"'),
        " " * 32_769,
        "\ud800" * 20_000,
    ):
        with pytest.raises(LimitExceededException, match="32768"):
            parse_key_policy(text, PRINCIPALS.get)


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (IdentityKind.USER, 2_048),
        (IdentityKind.GROUP, 5_120),
        (IdentityKind.ROLE, 10_240),
        (IdentityKind.MANAGED, 6_144),
    ],
)
def test_identity_policy_size(kind: IdentityKind, limit: int) -> None:
    """Whitespace is not counted, everything else is."""
    text = '{"Statement": \t\r\n {"Sid": "", "Effect": "Allow", "Action": "*", "Resource": "*"}}'
    fill = limit - policy_size(text)
    full = text.replace('""', '"' + "x" * fill + '"')
    assert policy_size(full) == limit
    parse_identity_policy(full + " " * 50_000, kind)
    with pytest.raises(LimitExceededException, match=str(limit)):
        parse_identity_policy(full.replace("xx", "xxx", 1), kind)


def test_identity_policy_may_not_be_all_whitespace() -> None:
    """Whitespace is free, but not without end."""
    with pytest.raises(LimitExceededException):
        parse_identity_policy(" " * 131_073, IdentityKind.USER)


def test_empty_sids_are_not_repeated() -> None:
    """An empty Sid is none."""
    statement = {"Sid": "", "Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = parse_identity_policy(json.dumps({"Statement": [statement, statement]}), IdentityKind.USER)
    assert [each.reference.sid for each in policy.allows] == [None, None]


def test_default_policy_is_laid_out_as_aws_does() -> None:
    """Byte for byte what GetKeyPolicy shows, and valid to our own reader."""
    text = default_key_policy(A)
    assert text.splitlines() == [
        "{",
        '  "Version" : "2012-10-17",',
        '  "Id" : "key-default-1",',
        '  "Statement" : [ {',
        '    "Sid" : "Enable IAM User Permissions",',
        '    "Effect" : "Allow",',
        '    "Principal" : {',
        f'      "AWS" : "arn:aws:iam::{A}:root"',
        "    },",
        '    "Action" : "kms:*",',
        '    "Resource" : "*"',
        "  } ]",
        "}",
    ]
    assert not text.endswith("\n")
    assert dict(parse_key_policy(text, PRINCIPALS.get).bindings) == {f"arn:aws:iam::{A}:root": A}
    assert '"arn:aws-cn:iam::' in default_key_policy(A, "aws-cn")


@pytest.mark.parametrize(("account", "partition"), [("1", "aws"), (f"{A}\n", "aws"), (A, ""), (A, 'aws"')])
def test_default_policy_of_nonsense_is_refused(account: str, partition: str) -> None:
    """What goes into the text can't break out of it."""
    with pytest.raises(ValueError, match="not an account"):
        default_key_policy(account, partition)
