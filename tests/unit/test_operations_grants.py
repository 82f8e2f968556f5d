"""CreateGrant, ListGrants, ListRetirableGrants and RevokeGrant: names, pages, limits, dry runs, records, refusals."""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.grantees import PAIRS, TENANT, Keyholder, user
from tests.support.inprocess import ALLOW_ALL, HOME, START, InProcess

from kagitori_server.model.errors import (
    AccessDeniedException,
    DryRunOperationException,
    InvalidArnException,
    InvalidGrantIdException,
    InvalidMarkerException,
    KmsError,
    LimitExceededException,
    NotFoundException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.grants import Grant, GrantOperation, GrantPrincipal
from kagitori_server.model.limits import Quotas

EQUALS, SUBSET = "encryption_context_equals", "encryption_context_subset"
ROOT = f"arn:aws:iam::{HOME}:root"
NO_GRANT = "0" * 64


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        for name in ("alice", "bob"):
            opened.call("CreateUser", {"user_name": name})
        yield opened


@pytest.fixture
def holder(service: InProcess) -> Keyholder:
    return Keyholder(service)


def test_what_was_granted_is_listed(service: InProcess, holder: Keyholder) -> None:
    made = holder.grant(
        "alice", "Encrypt", "Decrypt", "Encrypt", name="shop/1", retiring_principal=ROOT,
        constraints={SUBSET: PAIRS},
    )
    assert re.fullmatch(r"[0-9a-f]{64}", made.grant_id)
    assert len(base64.b64decode(made.grant_token, validate=True)) == 32
    answer = service.call("ListGrants", {"key_id": holder.key_id})
    assert (answer.truncated, answer.next_marker) == (False, None)
    entry = answer.grants[0]
    assert (entry.key_id, entry.grant_id, entry.name) == (holder.key_arn, made.grant_id, "shop/1")
    assert (entry.grantee_principal, entry.retiring_principal, entry.issuing_account) == (user("alice"), ROOT, ROOT)
    assert (entry.operations, entry.creation_date) == (("Decrypt", "Encrypt"), START)
    assert entry.constraints.encryption_context_subset == PAIRS
    assert entry.constraints.encryption_context_equals is None
    plain = holder.grant("bob", "DescribeKey").grant_id
    entry = service.call("ListGrants", {"key_id": holder.key_id, "grant_id": plain}).grants[0]
    assert (entry.name, entry.retiring_principal, entry.constraints) == (None, None, None)
    assert made.grant_token not in repr(made)


def test_the_same_name_and_terms_are_the_same_grant_with_another_token(holder: Keyholder) -> None:
    terms: dict[str, Any] = {"name": "n", "retiring_principal": ROOT, "constraints": {EQUALS: PAIRS}}
    first = holder.grant("alice", "Encrypt", "Decrypt", **terms)
    again = holder.grant("alice", "Decrypt", "Encrypt", **terms)
    assert (again.grant_id, holder.grant_ids()) == (first.grant_id, [first.grant_id])
    assert again.grant_token != first.grant_token
    other: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("Encrypt",), {}),
        (("Encrypt", "Decrypt"), {"name": "m"}),
        (("Encrypt", "Decrypt"), {"name": None}),
        (("Encrypt", "Decrypt"), {"retiring_principal": None}),
        (("Encrypt", "Decrypt"), {"constraints": {SUBSET: PAIRS}}),
        (("Encrypt", "Decrypt"), {"constraints": None}),
    ]
    for operations, changed in other:
        assert holder.grant("alice", *operations, **{**terms, **changed}).grant_id != first.grant_id
    assert holder.grant("bob", "Encrypt", "Decrypt", **terms).grant_id != first.grant_id
    assert len(holder.grant_ids()) == 8
    assert holder.grant("alice", "Encrypt").grant_id != holder.grant("alice", "Encrypt").grant_id


def test_a_name_means_nothing_once_its_grant_is_gone(service: InProcess, holder: Keyholder) -> None:
    first = holder.grant("alice", "Encrypt", name="n").grant_id
    service.call("RevokeGrant", {"key_id": holder.key_id, "grant_id": first})
    assert holder.grant("alice", "Encrypt", name="n").grant_id != first


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"operations": ()}, ValidationException),
        ({"operations": ("Encrypt", "PutKeyPolicy")}, ValidationException),
        ({"operations": ("ReEncrypt",)}, ValidationException),
        ({"operations": None}, ValidationException),
        ({"operations": ("Encrypt", "Sign")}, ValidationException),
        ({"operations": ("GetPublicKey",)}, ValidationException),
        ({"operations": ("GenerateMac",)}, ValidationException),
        ({"grantee_principal": None}, ValidationException),
        ({"grantee_principal": "*"}, ValidationException),
        ({"grantee_principal": "a" * 257}, ValidationException),
        ({"grantee_principal": HOME}, InvalidArnException),
        ({"grantee_principal": "alice"}, InvalidArnException),
        ({"grantee_principal": user("nobody")}, InvalidArnException),
        ({"grantee_principal": user("alice", "999999999999")}, InvalidArnException),
        ({"grantee_principal": user("alice").replace("arn:aws:", "arn:aws-cn:")}, InvalidArnException),
        ({"grantee_principal": f"arn:aws:iam::{HOME}:group/g"}, InvalidArnException),
        ({"grantee_principal": f"arn:aws:sts::{HOME}:assumed-role/none/session"}, InvalidArnException),
        ({"grantee_principal": f"arn:aws:sts::{HOME}:assumed-role/none"}, InvalidArnException),
        ({"retiring_principal": user("nobody")}, InvalidArnException),
        ({"retiring_principal": "x"}, InvalidArnException),
        ({"constraints": {}}, ValidationException),
        ({"constraints": {EQUALS: {}}}, ValidationException),
        ({"constraints": {EQUALS: PAIRS, SUBSET: PAIRS}}, ValidationException),
        ({"constraints": {EQUALS: {"": "x"}}}, ValidationException),
        ({"constraints": {SUBSET: {str(n): "" for n in range(9)}}}, ValidationException),
        ({"constraints": {SUBSET: {"a": "x" * 384}}}, ValidationException),
        ({"constraints": {SUBSET: PAIRS, "source_arn": f"arn:aws:s3:us-east-1:{HOME}:b"}},
         UnsupportedOperationException),
        ({"grantee_service_principal": "logs.us-east-1.amazonaws.com"}, UnsupportedOperationException),
        ({"retiring_service_principal": "logs.us-east-1.amazonaws.com"}, UnsupportedOperationException),
        ({"grantee_service_principal": "logs"}, ValidationException),
        ({"name": ""}, ValidationException),
        ({"name": "no spaces"}, ValidationException),
        ({"name": "n" * 257}, ValidationException),
        ({"grant_tokens": ("x",) * 11}, ValidationException),
        ({"grant_tokens": ("x" * 8193,)}, ValidationException),
        ({"key_id": "alias/none"}, InvalidArnException),
        ({"key_id": "12345678-0000-4000-8000-000000000000"}, NotFoundException),
    ],
)
def test_create_grant_refuses(
    service: InProcess, holder: Keyholder, members: Mapping[str, Any], error: type[KmsError]
) -> None:
    good = {"key_id": holder.key_id, "grantee_principal": user("alice"), "operations": ("Encrypt",)}
    for dry_run in (False, True):
        with pytest.raises(error):
            service.call("CreateGrant", {**good, **members, "dry_run": dry_run})
    assert holder.grant_ids() == []


def test_a_session_is_named_as_its_role_is_written(service: InProcess, holder: Keyholder) -> None:
    """Else who may not grant to it, by kms:GranteePrincipal, could write its role's name in another case."""
    service.call("CreateRole", {"role_name": "worker"})
    session = f"arn:aws:sts::{HOME}:assumed-role/worker/one"
    assert holder.grant(session, "Encrypt").grant_id
    with pytest.raises(InvalidArnException):
        holder.grant(session.replace("worker", "Worker"), "Encrypt")


def test_constraints_may_be_as_long_as_this(holder: Keyholder) -> None:
    holder.grant("alice", "Encrypt", constraints={SUBSET: {"a": "x" * 383}})
    holder.grant("alice", "Encrypt", constraints={SUBSET: {str(n): "x" * 47 for n in range(8)}})


def test_a_dry_run_grants_and_ends_nothing(service: InProcess, holder: Keyholder) -> None:
    with pytest.raises(DryRunOperationException):
        holder.grant("alice", "Encrypt", dry_run=True)
    assert holder.grant_ids() == []
    grant = holder.grant("alice", "Encrypt").grant_id
    for operation in ("RevokeGrant", "RetireGrant"):
        with pytest.raises(DryRunOperationException):
            service.call(operation, {"key_id": holder.key_arn, "grant_id": grant, "dry_run": True})
    assert holder.grant_ids() == [grant]
    outsider = service.new_token(user("bob"))
    for operation in ("RevokeGrant", "RetireGrant"):
        values = {"key_id": holder.key_arn, "grant_id": grant, "dry_run": True}
        with pytest.raises(AccessDeniedException):
            service.call(operation, values, token=outsider)


def test_pages(service: InProcess, holder: Keyholder) -> None:
    made = sorted(
        holder.grant(name, "Encrypt", retiring_principal=user("bob")).grant_id for name in ("alice", "bob") * 3
    )
    found: list[str] = []
    marker = None
    while True:
        page = service.call("ListGrants", {"key_id": holder.key_id, "limit": 4, "marker": marker})
        found += [entry.grant_id for entry in page.grants]
        marker = page.next_marker
        assert page.truncated == (marker is not None)
        if marker is None:
            break
    assert found == made
    page = service.call("ListGrants", {"key_id": holder.key_id, "limit": 1, "grantee_principal": user("bob")})
    assert (page.truncated, page.grants[0].grantee_principal) == (True, user("bob"))
    assert len(holder.grant_ids(grantee_principal=user("bob"))) == 3
    other = Keyholder(service)
    with pytest.raises(InvalidMarkerException):
        service.call("ListGrants", {"key_id": other.key_id, "marker": page.next_marker})
    for limit in (0, 101):
        with pytest.raises(ValidationException):
            service.call("ListGrants", {"key_id": holder.key_id, "limit": limit})
    elsewhere = other.grant("alice", "Encrypt", retiring_principal=user("bob")).grant_id
    found, marker = [], None
    for _ in range(4):
        values = {"retiring_principal": user("bob"), "limit": 2, "marker": marker}
        page = service.call("ListRetirableGrants", values)
        found += [entry.grant_id for entry in page.grants]
        marker = page.next_marker
    assert (sorted(found), marker) == (sorted([*made, elsewhere]), None)
    with pytest.raises(InvalidMarkerException):
        service.call("ListGrants", {"key_id": holder.key_id, "marker": "nonsense"})


def test_list_grants_refuses(service: InProcess, holder: Keyholder) -> None:
    grant = holder.grant("alice", "Encrypt").grant_id
    for members, error in [
        ({"grant_id": NO_GRANT}, InvalidGrantIdException),
        ({"grant_id": "no id"}, InvalidGrantIdException),
        ({"grantee_principal": "alice"}, InvalidArnException),
        ({"grantee_service_principal": "logs.us-east-1.amazonaws.com"}, UnsupportedOperationException),
        ({"key_id": "alias/x"}, InvalidArnException),
    ]:
        with pytest.raises(error):
            service.call("ListGrants", {"key_id": holder.key_id, **members})
    assert holder.grant_ids(grantee_principal=user("nobody")) == []
    assert holder.grant_ids(grant_id=grant, grantee_principal=user("bob")) == []
    assert holder.grant_ids(grant_id=grant, grantee_principal=user("alice")) == [grant]
    assert service.call("ListGrants", {"key_id": Keyholder(service).key_id}).grants == ()


def test_retirable_grants_are_those_of_ones_own_account_on_keys_of_any(service: InProcess, holder: Keyholder) -> None:
    service.new_account(TENANT)
    admin = service.new_user("admin", account=TENANT, policies={"all": ALLOW_ALL})
    alice = service.new_user("alice", account=TENANT)
    grant = holder.grant("alice", "Encrypt", retiring_principal=user("admin", TENANT)).grant_id
    page = service.call("ListRetirableGrants", {"retiring_principal": user("admin", TENANT)}, token=admin)
    assert [(entry.grant_id, entry.key_id) for entry in page.grants] == [(grant, holder.key_arn)]
    values = {"retiring_principal": user("alice", TENANT)}
    assert service.call("ListRetirableGrants", values, token=admin).grants == ()
    here = {"retiring_principal": user("admin", TENANT)}
    assert service.call("ListRetirableGrants", here, token=admin, region="eu-west-1").grants == ()
    for values, token, error in [
        ({"retiring_principal": user("alice")}, admin, AccessDeniedException),
        ({"retiring_principal": user("alice", TENANT)}, alice, AccessDeniedException),
        ({"retiring_principal": user("admin", TENANT)}, service.root_token, AccessDeniedException),
        ({"retiring_principal": "x"}, admin, InvalidArnException),
        ({}, admin, ValidationException),
        ({"retiring_service_principal": "logs.us-east-1.amazonaws.com"}, admin, UnsupportedOperationException),
    ]:
        with pytest.raises(error):
            service.call("ListRetirableGrants", values, token=token)


def test_revoking(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_token(user("alice"))
    grant = holder.grant("alice", "Encrypt", "RetireGrant", "CreateGrant").grant_id
    values = {"key_id": holder.key_id, "grant_id": grant}
    with pytest.raises(AccessDeniedException):
        service.call("RevokeGrant", values, token=alice)
    with pytest.raises(NotFoundException):
        service.call("RevokeGrant", {**values, "key_id": Keyholder(service).key_id})
    with pytest.raises(InvalidGrantIdException):
        service.call("RevokeGrant", {**values, "grant_id": "g"})
    service.call("RevokeGrant", values)
    with pytest.raises(NotFoundException):
        service.call("RevokeGrant", values)


def test_records_show_the_grant_and_no_token(service: InProcess, holder: Keyholder) -> None:
    made = holder.grant(
        "alice", "Encrypt", "Decrypt", name="n", retiring_principal=ROOT, constraints={EQUALS: PAIRS}
    )
    created = service.records()[-1]
    assert created["requestParameters"] == {
        "keyId": holder.key_arn, "granteePrincipal": user("alice"), "retiringPrincipal": ROOT,
        "operations": ["Encrypt", "Decrypt"], "constraints": {"encryptionContextEquals": PAIRS}, "name": "n",
    }
    assert created["responseElements"] == {"grantId": made.grant_id, "keyId": holder.key_arn}
    assert created["readOnly"] is False
    assert created["resources"][0]["ARN"] == holder.key_arn
    holder.encrypt(service.root_token, grant_tokens=(made.grant_token,))
    service.call("ListGrants", {"key_id": holder.key_id})
    assert service.records()[-1]["responseElements"] is None
    service.call("RetireGrant", {"grant_token": made.grant_token})
    retired = service.records()[-1]
    assert (retired["requestParameters"], retired["responseElements"]) == (None, {"keyId": holder.key_arn})
    assert retired["additionalEventData"] == {"grantId": made.grant_id}
    other = holder.grant("alice", "Encrypt").grant_id
    service.call("RevokeGrant", {"key_id": holder.key_id, "grant_id": other})
    revoked = service.records()[-1]
    assert revoked["requestParameters"] == {"keyId": holder.key_id, "grantId": other}
    assert revoked["responseElements"] == {"keyId": holder.key_arn}
    assert made.grant_token not in service.audit_text()


def _multiply(database: Path, grant_id: str, times: int) -> None:
    """So many rows like that of one grant, itself among them: written one by one they take half a minute."""
    with closing(sqlite3.connect(database)) as connection, connection:
        found = connection.execute("SELECT * FROM grants WHERE grant_id = ?", (grant_id,))
        names = [column[0] for column in found.description]
        row = dict(zip(names, found.fetchone(), strict=True))
        copies = ({**row, "grant_id": f"{number:064x}"} for number in range(2, times + 1))
        marks = ", ".join(f":{name}" for name in names)
        connection.executemany(f"INSERT INTO grants VALUES ({marks})", copies)  # noqa: S608 - the table's own names


def test_a_full_key_takes_no_more_but_still_knows_its_grants_by_name(
    service: InProcess, holder: Keyholder, tmp_path: Path
) -> None:
    named = holder.grant("alice", "Encrypt", name="n")
    nobody = GrantPrincipal(user("gone"), "AIDAGONE")
    first = f"{1:064x}"
    with service.catalog.write() as writer:
        writer.insert_grant(
            Grant("us-east-1", holder.key_id, first, None, START, nobody, None, HOME,
                  frozenset({GrantOperation.ENCRYPT}), None)
        )
    _multiply(tmp_path / "kagitori.db", first, Quotas().grants_per_key - 1)
    assert holder.grant("alice", "Encrypt", name="n").grant_id == named.grant_id
    for dry_run in (False, True):
        with pytest.raises(LimitExceededException):
            holder.grant("alice", "Encrypt", dry_run=dry_run)
    service.call("RevokeGrant", {"key_id": holder.key_id, "grant_id": f"{1:064x}"})
    holder.grant("alice", "Encrypt")
    holder.encrypt(service.new_token(user("alice")))
