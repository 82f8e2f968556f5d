"""Keys that much is said about: long policies with conditions, and many grants, all about one user.

`governed` and `granted` have a key policy of 20 statements and 100 grants, and the user has 10 identity statements;
on the first the last statement allows it to encrypt, on the second one of the grants does. `plain` and `crowded`
allow it by one statement, the second has 50,000 grants beside it; on `single` the only grant allows it, on `found`
one of 50,000.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from kagitori_server.model.grants import Constraint, ConstraintKind, Grant, GrantOperation, GrantPrincipal
from kagitori_server.model.principals import PrincipalRecord
from kagitori_server.storage import rows
from kagitori_server.storage.catalog import open_catalog
from kagitori_server.storage.turns import FileTurn

HOME, REGION = "000000000000", "us-east-1"
USER = f"arn:aws:iam::{HOME}:user/governed"
GOVERNED_CONTEXT = {"tenant": "t77", "application": "benchmark"}
FEW, MANY = 100, 50_000
GRANTS = {"governed": FEW, "granted": FEW, "plain": 0, "crowded": MANY, "single": 1, "found": MANY}
"""Grants on each key, each to the user and for an encryption context of its own, one of them that of the calls."""

_AT_ONCE = 2_000
"""Grants that are written in one go."""
_TURN_SECONDS = 60.0
_OPERATIONS = frozenset({GrantOperation.ENCRYPT, GrantOperation.DECRYPT, GrantOperation.GENERATE_DATA_KEY})


def _document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _on_key(actions: str | list[str], condition: Mapping[str, Any], effect: str = "Allow") -> dict[str, Any]:
    return {
        "Effect": effect, "Principal": {"AWS": USER}, "Action": actions, "Resource": "*", "Condition": condition,
    }


_OWNER = {"Effect": "Allow", "Principal": {"AWS": HOME}, "Action": ["kms:Describe*", "kms:Put*"], "Resource": "*"}
_ALLOW = {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": "kms:Encrypt", "Resource": "*"}
# 18 statements about the very caller and action; each is looked at to its condition, and none of them holds.
_LONG = (
    _OWNER,
    *(_on_key(["kms:Encrypt", "kms:Decrypt"], {
        "StringEquals": {"aws:PrincipalAccount": HOME, "kms:EncryptionContext:tenant": f"t{n}"},
        "StringLike": {"aws:PrincipalTag/team": f"team-{n}*"},
    }) for n in range(6)),
    *(_on_key("kms:*", {"IpAddress": {"aws:SourceIp": f"10.{n}.0.0/16"}}) for n in range(6)),
    *(_on_key("kms:*", {"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::*:role/ops-{n}/*"}}) for n in range(3)),
    _on_key("kms:*", {"Bool": {"aws:SecureTransport": "false"}}, "Deny"),
    _on_key("kms:*", {"StringNotEquals": {"aws:RequestedRegion": [REGION, "eu-west-1"]}}, "Deny"),
    _on_key("kms:*", {"DateGreaterThan": {"aws:CurrentTime": "2090-01-01T00:00:00Z"}}, "Deny"),
)
_LAST = _on_key("kms:Encrypt", {
    "StringEquals": {"kms:EncryptionContext:application": "benchmark", "kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"},
    "StringLike": {"kms:EncryptionContext:tenant": "t*7"},
})
KEY_POLICIES = {
    "governed": _document(*_LONG, _LAST),
    "granted": _document(*_LONG, _on_key("kms:Encrypt", {"Null": {"kms:EncryptionContext:tenant": "true"}})),
    "plain": _document(_OWNER, _ALLOW),
    "crowded": _document(_OWNER, _ALLOW),
    "single": _document(_OWNER),
    "found": _document(_OWNER),
}
"""The policies of the keys. Their order of principal, action and condition is that in which they are looked at."""
IDENTITY_POLICY = _document(
    *({
        "Effect": "Allow", "Action": ["kms:Encrypt", "kms:GenerateDataKey*"],
        "Resource": f"arn:aws:kms:*:{HOME}:key/{n}*",
        "Condition": {"StringEquals": {"kms:EncryptionContext:tenant": "${aws:PrincipalTag/tenant, 'none'}"}},
    } for n in range(7)),
    {"Effect": "Allow", "Action": "kms:List*", "Resource": "*"},
    {
        "Effect": "Deny", "Action": "kms:*", "Resource": "*",
        "Condition": {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
    },
    {"Effect": "Deny", "Action": "kms:Encrypt", "Resource": f"arn:aws:kms:*:{HOME}:key/*-prod-*"},
)


def make_grants(catalog_file: Path, keys: Mapping[str, str]) -> None:
    """Puts the grants on the keys, by key id, into the catalog of a service that runs.

    All but the last one of a key go in as rows at once; the last one by the catalog's writer, so that the service
    learns of them.
    """
    catalog = open_catalog(catalog_file, monotonic=time.monotonic)
    try:
        with catalog.read() as reader:
            user = reader.get_principal(USER)
        if user is None:
            raise SystemExit("the benchmark's user is missing")
        for name, count in GRANTS.items():
            grants = [_grant(user, keys[name], number) for number in range(count)]
            for start in range(1, len(grants), _AT_ONCE):
                _insert(catalog_file, grants[start : start + _AT_ONCE])
            if grants:
                with catalog.write() as writer:
                    writer.insert_grant(grants[0])
    finally:
        catalog.close()


def _insert(catalog_file: Path, grants: Sequence[Grant]) -> None:
    """Grants as rows, in a turn to write: who waits for the database alone, as the service's own writers do within
    their turns, gives up after five seconds."""
    values = [rows.grant_values(grant) for grant in grants]
    columns = ", ".join(values[0])
    marks = ", ".join(f":{column}" for column in values[0])
    turn = FileTurn(catalog_file, time.monotonic)
    try:
        if not turn.acquire(_TURN_SECONDS):
            raise SystemExit("the service does not let the benchmark write")
        try:
            with closing(sqlite3.connect(catalog_file)) as connection, connection:
                connection.executemany(f"INSERT INTO grants ({columns}) VALUES ({marks})", values)  # noqa: S608 - the names are the schema's
        finally:
            turn.release()
    finally:
        turn.close()


def another_grant(catalog_file: Path, key_id: str) -> None:
    """One grant more to the user on that key."""
    catalog = open_catalog(catalog_file, monotonic=time.monotonic)
    try:
        with catalog.read() as reader:
            user = reader.get_principal(USER)
        if user is not None:
            with catalog.write() as writer:
                writer.insert_grant(_grant(user, key_id, MANY + 1))
    finally:
        catalog.close()


def _grant(user: PrincipalRecord, key_id: str, number: int) -> Grant:
    context = GOVERNED_CONTEXT if number == 0 else {**GOVERNED_CONTEXT, "tenant": f"disk-{number}"}
    return Grant(
        region=REGION, key_id=key_id, grant_id=os.urandom(32).hex(), name=None, created=time.time(),
        grantee=GrantPrincipal(USER, user.principal_id), retiring=None, issuing_account=HOME, operations=_OPERATIONS,
        constraint=Constraint(ConstraintKind.EQUALS, context),
    )
