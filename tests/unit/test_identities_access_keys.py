"""Access keys: shown once, kept wrapped and bound, two of a principal, never in a record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.identities import HOME_ARN, assume, new_role, trust
from tests.support.inprocess import HOME, REGION, START, InProcess

from kagitori_keystore.base import Domain, MaterialCorrupt
from kagitori_server.model.errors import (
    DeleteConflictException,
    LimitExceededException,
    NoSuchEntityException,
    ValidationException,
)

OTHER = "222222222222"
ALICE = f"{HOME_ARN}:user/alice"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        opened.call("CreateUser", {"user_name": "alice"})
        yield opened


def test_the_secret_is_shown_once_and_can_be_read_again(service: InProcess, tmp_path: Path) -> None:
    made = service.call("CreateAccessKey", {"principal_arn": ALICE})
    key, secret = made.access_key, made.secret_access_key
    assert key.access_key_id.startswith("AKIA")
    assert len(key.access_key_id) == 20
    assert len(secret) == 43
    assert (key.principal_arn, key.status, key.create_date) == (ALICE, "Active", START)
    assert service.call("ListAccessKeys", {"principal_arn": ALICE}).access_keys == (key,)
    with InProcess(tmp_path, service.clock) as second:
        record = second.catalog.view.access_key(key.access_key_id)
        assert record is not None
        label = f"access-key/{key.access_key_id}"
        assert second.store.unwrap_secret(Domain(HOME, record.region), label, record.wrapped_secret) == secret.encode()
        with pytest.raises(MaterialCorrupt):
            second.store.unwrap_secret(Domain(HOME, REGION), "access-key/AKIAOTHER", record.wrapped_secret)


def test_the_secret_is_nowhere_in_clear(service: InProcess, tmp_path: Path) -> None:
    made = service.call("CreateAccessKey", {"principal_arn": ALICE})
    record = service.records()[-1]
    assert record["responseElements"]["accessKey"]["accessKeyId"] == made.access_key.access_key_id
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("kagitori.db*")) + service.audit_text().encode()
    assert made.access_key.access_key_id.encode() in kept
    assert made.secret_access_key.encode() not in kept
    assert made.secret_access_key not in repr(made)


def test_keys_are_made_inactive_and_deleted_everywhere_at_once(service: InProcess, tmp_path: Path) -> None:
    key_id = service.call("CreateAccessKey", {"principal_arn": ALICE}).access_key.access_key_id
    with InProcess(tmp_path, service.clock) as second:
        for status in ("Inactive", "Active"):
            service.call("UpdateAccessKey", {"access_key_id": key_id, "status": status})
            second.catalog.view.prove_blocking()
            record = second.catalog.view.access_key(key_id)
            assert record is not None
            assert record.active == (status == "Active")
            [listed] = second.call("ListAccessKeys").access_keys
            assert listed.status == status
        service.call("DeleteAccessKey", {"access_key_id": key_id})
        second.catalog.view.prove_blocking()
        assert second.catalog.view.access_key(key_id) is None


def test_a_principal_has_at_most_two(service: InProcess) -> None:
    first, _ = (service.call("CreateAccessKey", {"principal_arn": ALICE}) for _ in range(2))
    with pytest.raises(LimitExceededException):
        service.call("CreateAccessKey", {"principal_arn": ALICE})
    service.call("DeleteAccessKey", {"access_key_id": first.access_key.access_key_id})
    service.call("CreateAccessKey", {"principal_arn": ALICE})
    service.clock.advance(1)
    service.call("CreateAccessKey", {"principal_arn": f"{HOME_ARN}:root"})
    page = service.call("ListAccessKeys", {"limit": 2})
    assert page.truncated
    rest = service.call("ListAccessKeys", {"limit": 2, "marker": page.next_marker}).access_keys
    assert [key.principal_arn for key in rest] == [f"{HOME_ARN}:root"]
    with pytest.raises(DeleteConflictException):
        service.call("DeleteUser", {"user_name": "alice"})


def test_roles_and_nobody_get_none(service: InProcess) -> None:
    role = new_role(service)
    with pytest.raises(ValidationException):
        service.call("CreateAccessKey", {"principal_arn": role})
    for nobody in (f"{HOME_ARN}:user/none", f"{HOME_ARN}:group/none", f"arn:aws:iam::{OTHER}:root"):
        with pytest.raises(NoSuchEntityException):
            service.call("CreateAccessKey", {"principal_arn": nobody})


@pytest.mark.parametrize("operation", ["UpdateAccessKey", "DeleteAccessKey"])
def test_keys_of_others_and_of_sessions_are_as_good_as_unknown(service: InProcess, operation: str) -> None:
    tenant = service.new_account(OTHER)
    alice = service.new_token(ALICE)
    mine = service.call("CreateAccessKey", {"principal_arn": ALICE}).access_key.access_key_id
    role = new_role(service, trust_policy=trust(ALICE))
    of_session = assume(service, role, alice).credentials.access_key_id
    more = {"status": "Inactive"} if operation == "UpdateAccessKey" else {}
    for key_id, by in ((mine, tenant), (of_session, None), ("AKIA" + "A" * 16, None)):
        with pytest.raises(NoSuchEntityException):
            service.call(operation, {"access_key_id": key_id, **more}, token=by)
    assert [key.access_key_id for key in service.call("ListAccessKeys").access_keys] == [mine]


@pytest.mark.parametrize(
    "values", [{"access_key_id": "AKIA" + "A" * 16}, {"access_key_id": "x", "status": "Active"},
               {"access_key_id": "AKIA" + "A" * 16, "status": "active"}],
)
def test_bad_updates_are_refused(service: InProcess, values: dict[str, str]) -> None:
    with pytest.raises(ValidationException):
        service.call("UpdateAccessKey", values)
