"""Every row of `findings.json`: which statements are warned about, and in which code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kagitori_server.policy import (
    Finding,
    IdentityKind,
    default_key_policy,
    lint_identity_policy,
    lint_key_policy,
    parse_identity_policy,
    parse_key_policy,
)

A = "111122223333"
KEY = f"arn:aws:kms:us-east-1:{A}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NAMES = {
    "<A>": A,
    "<K>": KEY,
    "<OTHER>": f"arn:aws:kms:us-east-1:{A}:key/0987dcba-09fe-87dc-65ba-ab0987654321",
    "<USER>": f"arn:aws:iam::{A}:user/P",
    "<ROLE>": f"arn:aws:iam::{A}:role/R",
}
PRINCIPALS = {A: A, NAMES["<USER>"]: "AIDAP", NAMES["<ROLE>"]: "AROAR"}
GOOD = {"Sid": "x", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}
ADMINISTRATOR = {"Effect": "Allow", "Principal": {"AWS": A}, "Action": "kms:PutKeyPolicy", "Resource": "*"}


def _load() -> dict[str, Any]:
    text = (Path(__file__).parent / "findings.json").read_text(encoding="utf-8")
    for name, value in NAMES.items():
        text = text.replace(name, value)
    table: dict[str, Any] = json.loads(text)
    return table


TABLE = _load()


def _statement(changes: dict[str, Any], **more: object) -> dict[str, Any]:
    members = GOOD | more | changes
    return {name: value for name, value in members.items() if value is not None}


def _lint_key(*statements: dict[str, Any]) -> tuple[Finding, ...]:
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    return lint_key_policy(parse_key_policy(text, PRINCIPALS.get), KEY)


@pytest.mark.parametrize("row", TABLE["key"], ids=lambda row: row["name"])
def test_key_policy(row: dict[str, Any]) -> None:
    """Statements of key policies, beside one that keeps the key administered."""
    findings = _lint_key(ADMINISTRATOR, _statement(row["statement"], Principal={"AWS": A}))
    assert [each.code for each in findings] == row["codes"]
    assert all((each.index, each.sid) == (1, "x") for each in findings)


@pytest.mark.parametrize("row", TABLE["identity"], ids=lambda row: row["name"])
def test_identity_policy(row: dict[str, Any]) -> None:
    """Statements of identity policies."""
    text = json.dumps({"Version": "2012-10-17", "Statement": [GOOD | {"Sid": "y"}, _statement(row["statement"])]})
    findings = lint_identity_policy(parse_identity_policy(text, IdentityKind.ROLE))
    assert [each.code for each in findings] == row["codes"]
    assert all((each.index, each.sid) == (1, "x") for each in findings)


@pytest.mark.parametrize(
    ("changes", "administered"),
    [
        ({}, True),
        ({"Principal": "*", "Condition": {"StringEquals": {"kms:CallerAccount": A}}}, True),
        ({"Principal": {"AWS": NAMES["<USER>"]}, "Action": "kms:Put*"}, True),
        ({"Action": "kms:Get*"}, False),
        ({"Resource": NAMES["<OTHER>"]}, False),
        ({"Effect": "Deny"}, False),
        ({"Principal": {"Service": "logs.us-east-1.amazonaws.com"}}, False),
    ],
)
def test_nobody_administers(changes: dict[str, Any], administered: bool) -> None:
    """A key whose policy nobody may change is lost for administration."""
    codes = [(each.index, each.code) for each in _lint_key(ADMINISTRATOR | changes)]
    assert ((None, "nobody-administers") not in codes) is administered


@pytest.mark.parametrize(
    ("changes", "administered"),
    [({}, False), ({"Action": "kms:Decrypt"}, True), ({"Principal": {"AWS": A}}, True)],
)
def test_denied_to_everybody(changes: dict[str, Any], administered: bool) -> None:
    """A Deny to everybody counts more than any Allow."""
    deny = ADMINISTRATOR | {"Effect": "Deny", "Principal": "*"} | changes
    codes = [each.code for each in _lint_key(ADMINISTRATOR, deny)]
    assert ("nobody-administers" not in codes) is administered


def test_the_default_policy_is_clean() -> None:
    """What keys get when nothing is asked for gives no cause for warnings."""
    policy = parse_key_policy(default_key_policy(A), lambda _: A)
    assert lint_key_policy(policy, KEY) == ()


def test_every_code_occurs() -> None:
    """The table has a row for every warning that the module can give."""
    source = Path(lint_key_policy.__code__.co_filename).read_text(encoding="utf-8")
    codes = set(re.findall(r'yield "([a-z-]+)"', source))
    assert codes == {code for rows in (TABLE["key"], TABLE["identity"]) for row in rows for code in row["codes"]}
