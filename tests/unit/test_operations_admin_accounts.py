"""CreateAccount, ListAccounts and DeleteAccount."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.inprocess import HOME, REGION, START, InProcess

from kagitori_server.model.arn import root_arn
from kagitori_server.model.custom_key_stores import ConnectionState, CustomKeyStore, CustomKeyStoreType, XksProxy
from kagitori_server.model.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    InvalidMarkerException,
    LimitExceededException,
    NoSuchEntityException,
    UnrecognizedClientException,
    ValidationException,
)
from kagitori_server.operations.administration import accounts

TENANT = "111111111111"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """One service for all tests in which nothing is ever done."""
    with InProcess(tmp_path_factory.mktemp("refusing")) as opened:
        yield opened


def test_an_account_is_made_with_a_root_that_has_no_credentials(service: InProcess) -> None:
    made = service.call("CreateAccount", {"account_id": TENANT, "name": "Tenant ä"}).account
    assert (made.account_id, made.name, made.create_date) == (TENANT, "Tenant ä", START)
    assert made.arn == f"arn:aws:iam::{TENANT}:root"
    assert service.call("ListTokens", {"account_id": TENANT}).tokens == ()
    shown = next(record for record in service.records() if record["eventName"] == "CreateAccount")
    assert shown["requestParameters"] == {"accountId": TENANT, "name": "Tenant ä"}
    assert shown["responseElements"]["account"]["accountId"] == TENANT


def test_a_random_id_is_chosen_when_none_is_given(service: InProcess) -> None:
    ids = {service.call("CreateAccount", {"name": "tenant"}).account.account_id for _ in range(5)}
    assert len(ids) == 5
    assert all(len(account) == 12 and account.isdecimal() for account in ids)


@pytest.mark.parametrize(
    "values",
    [
        {"account_id": "11111111111", "name": "a"},
        {"account_id": "1111111111111", "name": "a"},
        {"account_id": "11111111111x", "name": "a"},
        {"account_id": "", "name": "a"},
        {"account_id": TENANT},
        {"account_id": TENANT, "name": ""},
        {"account_id": TENANT, "name": "a" * 51},
        {"account_id": TENANT, "name": "a\nb"},
        {"account_id": TENANT, "name": "a\x85b"},
    ],
)
def test_bad_members_are_refused(refusing: InProcess, values: dict[str, str]) -> None:
    with pytest.raises(ValidationException):
        refusing.call("CreateAccount", values)


def test_an_id_can_be_taken_once(service: InProcess) -> None:
    service.new_account(TENANT)
    for account in (TENANT, HOME):
        with pytest.raises(EntityAlreadyExistsException):
            service.call("CreateAccount", {"account_id": account, "name": "again"})


def test_there_is_a_most_of_accounts(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "ACCOUNTS_MAX", 2)
    service.call("CreateAccount", {"name": "second"})
    with pytest.raises(LimitExceededException):
        service.call("CreateAccount", {"name": "third"})


def test_accounts_are_listed_in_pages_in_the_order_of_ids(service: InProcess) -> None:
    for account in ("333333333333", TENANT, "222222222222"):
        service.call("CreateAccount", {"account_id": account, "name": "tenant"})
    first = service.call("ListAccounts", {"limit": 3})
    assert [account.account_id for account in first.accounts] == [HOME, TENANT, "222222222222"]
    assert first.truncated
    last = service.call("ListAccounts", {"limit": 3, "marker": first.next_marker})
    assert [account.account_id for account in last.accounts] == ["333333333333"]
    assert (last.truncated, last.next_marker) == (False, None)


@pytest.mark.parametrize("limit", [0, 1001, -1])
def test_a_page_has_1_to_1000_entries(refusing: InProcess, limit: int) -> None:
    with pytest.raises(ValidationException):
        refusing.call("ListAccounts", {"limit": limit})


def test_a_marker_of_another_list_is_refused(service: InProcess) -> None:
    for name in ("alice", "bob"):
        service.call("CreateUser", {"user_name": name})
    marker = service.call("ListUsers", {"limit": 1}).next_marker
    for wrong in (marker, "x", "%%%"):
        with pytest.raises(InvalidMarkerException):
            service.call("ListAccounts", {"marker": wrong})


def test_others_see_their_own_account_only(service: InProcess) -> None:
    token = service.new_account(TENANT)
    listed = service.call("ListAccounts", {}, token=token)
    assert [account.account_id for account in listed.accounts] == [TENANT]
    assert not listed.truncated


def test_an_empty_account_can_be_deleted(service: InProcess) -> None:
    service.call("CreateAccount", {"account_id": TENANT, "name": "tenant"})
    service.call("DeleteAccount", {"account_id": TENANT})
    assert [account.account_id for account in service.call("ListAccounts").accounts] == [HOME]
    with pytest.raises(NoSuchEntityException):
        service.call("DeleteAccount", {"account_id": TENANT})


def test_the_home_account_stays(service: InProcess) -> None:
    with pytest.raises(DeleteConflictException):
        service.call("DeleteAccount", {"account_id": HOME})


def test_an_account_with_anything_in_it_stays(service: InProcess) -> None:
    root = service.new_account(TENANT)
    with pytest.raises(DeleteConflictException):  # the token
        service.call("DeleteAccount", {"account_id": TENANT})
    key = service.call("CreateKey", {}, token=root).key_metadata.key_id
    service.call("CreateUser", {"user_name": "alice"}, token=root)
    service.call(
        "RegisterCertificate", {"principal_arn": root_arn("aws", TENANT), "uri_san": "spiffe://x/y"}, token=root
    )
    [certificate] = service.call("ListCertificates", {"account_id": TENANT}).certificates
    [token] = service.call("ListTokens", {"account_id": TENANT}).tokens
    service.call("ScheduleKeyDeletion", {"key_id": key, "pending_window_in_days": 7}, token=root)
    service.call("RevokeToken", {"account_id": TENANT, "token_id": token.token_id})
    with pytest.raises(DeleteConflictException):
        service.call("DeleteAccount", {"account_id": TENANT})
    service.call("DeleteUser", {"account_id": TENANT, "user_name": "alice"})
    with pytest.raises(DeleteConflictException):
        service.call("DeleteAccount", {"account_id": TENANT})
    service.call("DeregisterCertificate", {"account_id": TENANT, "certificate_id": certificate.certificate_id})
    with pytest.raises(DeleteConflictException):  # the key, pending deletion
        service.call("DeleteAccount", {"account_id": TENANT})


def test_an_account_with_a_custom_key_store_stays(service: InProcess) -> None:
    service.call("CreateAccount", {"account_id": TENANT, "name": "tenant"})
    store = CustomKeyStore(
        account=TENANT, region=REGION, store_id="cks-1", name="store", kind=CustomKeyStoreType.EXTERNAL_KEY_STORE,
        created=START, state=ConnectionState.DISCONNECTED, changed=START, wrapped_secret=b"wrapped",
        proxy=XksProxy("https://proxy.example", "/kms/xks/v1", "A" * 20),
    )
    with service.catalog.write() as writer:
        writer.put_custom_key_store(store)
    with pytest.raises(DeleteConflictException, match="key stores"):
        service.call("DeleteAccount", {"account_id": TENANT})
    with service.catalog.write() as writer:
        writer.delete_custom_key_store(store.store_id)
    service.call("DeleteAccount", {"account_id": TENANT})


def test_expired_tokens_keep_no_account(service: InProcess) -> None:
    service.call("CreateAccount", {"account_id": TENANT, "name": "tenant"})
    token = service.call("CreateToken", {"principal_arn": root_arn("aws", TENANT), "duration_seconds": 900}).token
    service.clock.advance(900)
    service.call("DeleteAccount", {"account_id": TENANT})
    with pytest.raises(UnrecognizedClientException):
        service.call("GetCallerIdentity", token=token)
