"""Every row of `refusals.json`: which documents are refused, by which error and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kagitori_server.model.errors import InvalidArnException, KmsError, MalformedPolicyDocumentException
from kagitori_server.policy import IdentityKind, parse_identity_policy, parse_key_policy

A = "111122223333"
ROWS: dict[str, Any] = json.loads((Path(__file__).parent / "refusals.json").read_text(encoding="utf-8"))
ERRORS: dict[str, type[KmsError]] = {"M": MalformedPolicyDocumentException, "A": InvalidArnException}
KEY_STATEMENT = {"Sid": "S", "Effect": "Allow", "Principal": {"AWS": A}, "Action": "kms:*", "Resource": "*"}
IDENTITY_STATEMENT = {"Sid": "S", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}


def _resolve(arn: str) -> str | None:
    return {A: A, f"arn:aws:iam::{A}:root": A}.get(arn)


def _text(row: dict[str, Any], good: dict[str, Any]) -> str:
    if "text" in row:
        return str(row["text"])
    if "document" in row:
        return json.dumps(row["document"])
    statement = {name: value for name, value in good.items() if name not in row.get("drop", ())}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement | row.get("set", {})]})


def test_the_good_statements_are_good() -> None:
    """Else the rows made from them would be refused for another reason."""
    parse_key_policy(_text({}, KEY_STATEMENT), _resolve)
    parse_identity_policy(_text({}, IDENTITY_STATEMENT), IdentityKind.USER)


@pytest.mark.parametrize("row", ROWS["key"], ids=lambda row: row["name"])
def test_key_policy(row: dict[str, Any]) -> None:
    """Refused key policies; AWS's words where AWS has published any."""
    with pytest.raises(KmsError) as caught:
        parse_key_policy(_text(row, KEY_STATEMENT), _resolve)
    assert type(caught.value) is ERRORS[row["error"]]
    if "message" in row:
        assert caught.value.message == row["message"]
    else:
        assert row["holds"] in caught.value.message


@pytest.mark.parametrize("row", ROWS["identity"], ids=lambda row: row["name"])
def test_identity_policy(row: dict[str, Any]) -> None:
    """Refused identity policies, in the words of AWS IAM."""
    with pytest.raises(MalformedPolicyDocumentException) as caught:
        parse_identity_policy(_text(row, IDENTITY_STATEMENT), IdentityKind.USER)
    assert caught.value.message == row["message"]


@pytest.mark.parametrize("kind", ["key", "identity"])
def test_row_names_are_unique(kind: str) -> None:
    """A row that shadows another would hide it in reports."""
    names = [row["name"] for row in ROWS[kind]]
    assert len(names) == len(set(names))
