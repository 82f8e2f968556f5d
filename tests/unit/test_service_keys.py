"""Keys of the service's own: made when needed, seen by all, used by nobody else, replaced in time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.support.inprocess import ALLOW_ALL, HOME, REGION, START, InProcess
from tests.support.kms_calls import DAY, deletion_worker, new_key
from tests.support.sample_requests import Scene

from kagitori_server.model.errors import (
    AccessDeniedException,
    InvalidAliasNameException,
    NotFoundException,
    UnsupportedOperationException,
)
from kagitori_server.model.keys import Key
from kagitori_server.model.limits import Quotas
from kagitori_server.operations.row import Find, Operation
from kagitori_server.operations.table import TABLE
from kagitori_server.service_keys import KeyPurpose, ListedKey, ServiceKeys

DAYS = 90


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def keys_of(service: InProcess) -> ServiceKeys:
    return ServiceKeys(service.services, REGION, service.events, DAYS)


def check(public_key_der: bytes, signature: bytes, message: bytes) -> None:
    """Raises InvalidSignature."""
    key = load_der_public_key(public_key_der)
    if isinstance(key, RSAPublicKey):
        assert key.key_size == 2_048
        key.verify(signature, message, PKCS1v15(), SHA256())
    else:
        assert isinstance(key, Ed25519PublicKey)
        key.verify(signature, message)


@pytest.mark.parametrize("purpose", list(KeyPurpose))
def test_a_key_is_made_once_and_signs(service: InProcess, purpose: KeyPurpose) -> None:
    mine, others = keys_of(service), keys_of(service)
    assert mine.listed(purpose) == ()
    key = mine.current(purpose)
    check(key.public_key_der, key.sign(b"a message"), b"a message")
    with pytest.raises(InvalidSignature):
        check(key.public_key_der, key.sign(b"a message"), b"another")
    assert others.current(purpose).key_id == mine.current(purpose).key_id == key.key_id
    [listed] = others.listed(purpose)
    assert (listed.key_id, listed.public_key_der, listed.number) == (key.key_id, key.public_key_der, 1)
    assert (listed.valid_from, listed.valid_until) == (START, START + DAYS * DAY)
    made = [record for record in service.records() if record["eventName"] == "CreateKey"]
    assert [(record["eventType"], record["serviceEventDetails"]["purpose"]) for record in made] == [
        ("AwsServiceEvent", purpose.value)
    ]


def test_it_lasts_over_restarts(tmp_path: Path) -> None:
    with InProcess(tmp_path) as service:
        key_id = keys_of(service).current(KeyPurpose.AUDIT_LOG).key_id
    with InProcess(tmp_path) as service:
        key = keys_of(service).current(KeyPurpose.AUDIT_LOG)
        assert key.key_id == key_id
        check(key.public_key_der, key.sign(b"m"), b"m")


def test_everybody_may_look_and_nobody_use_or_change_it(service: InProcess) -> None:
    key = keys_of(service).current(KeyPurpose.AUDIT_DIGEST)
    named = {"key_id": "alias/kagitori/audit-digest"}
    metadata = service.call("DescribeKey", named).key_metadata
    assert (metadata.key_id, metadata.key_manager, metadata.aws_account_id) == (key.key_id, "AWS", HOME)
    assert service.call("GetPublicKey", named).public_key == key.public_key_der
    assert json.loads(service.call("GetKeyPolicy", {"key_id": key.key_id}).policy)["Statement"]
    signing = {"message": b"m", "signing_algorithm": "RSASSA_PKCS1_V1_5_SHA_256"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    ]})
    for operation, values in (
        ("Sign", signing), ("Verify", {**signing, "signature": b"s"}), ("DisableKey", {}),
        ("ScheduleKeyDeletion", {}), ("PutKeyPolicy", {"policy": policy}),
        ("PutKeyPolicy", {"policy": policy, "bypass_policy_lockout_safety_check": True}),
        ("UpdateKeyDescription", {"description": "mine"}),
        ("TagResource", {"tags": [{"tag_key": "a", "tag_value": "b"}]}),
        ("CreateGrant", {"grantee_principal": f"arn:aws:iam::{HOME}:root", "operations": ["Sign"]}),
        ("CreateAlias", {"alias_name": "alias/mine"}),
    ):
        key_member = "target_key_id" if operation == "CreateAlias" else "key_id"
        with pytest.raises(AccessDeniedException):
            service.call(operation, {key_member: key.key_id, **values})


# GetParametersForImport is permitted as if it were looking; but these keys' material isn't imported.
REFUSED_OTHERWISE = {"GetParametersForImport": UnsupportedOperationException}
LOOKS = ("kms:Describe", "kms:Get", "kms:List")
NAMED = [
    (row, slot.member) for row in TABLE.values() if isinstance(row, Operation)
    for slot in row.keys if slot.find in (Find.MEMBER, Find.CIPHERTEXT)
    if row.name in REFUSED_OTHERWISE or not row.permissions[0].action.startswith(LOOKS)
]
"""The operations that take a key by a name of it and do more than look, and the members with that name."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """With a key that signs and one that was replaced."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        keys_of(opened).current(KeyPurpose.AUDIT_DIGEST)
        keys_of(opened).rotate(KeyPurpose.AUDIT_DIGEST)
        yield opened


@pytest.mark.parametrize(("row", "member"), NAMED, ids=lambda value: value if isinstance(value, str) else value.name)
def test_no_operation_uses_or_changes_it(shared: InProcess, row: Operation, member: str) -> None:
    """With a request that succeeds for other keys, by root and by an administrator, and whether the key signs now or
    was replaced. Only looking is permitted."""
    old, new = keys_of(shared).listed(KeyPurpose.AUDIT_DIGEST)[:2]
    request = Scene(shared, row).request()
    administrator = shared.new_user(f"admin-{row.name}-{member}", policies={"all": ALLOW_ALL})
    for listed in (old, new):
        for token in (None, administrator):
            before = kept(shared, listed)
            with pytest.raises(REFUSED_OTHERWISE.get(row.name, AccessDeniedException)):
                shared.call(row.name, {**request, member: before[0].arn}, token=token)
            assert kept(shared, listed) == before


def kept(service: InProcess, listed: ListedKey) -> tuple[Key, object, object]:
    """All that the catalog says of a key: itself, its grants and its aliases."""
    with service.catalog.read() as reader:
        key = reader.get_key(listed.region, listed.key_id)
    assert key is not None
    grants = service.call("ListGrants", {"key_id": key.arn}).grants
    return key, grants, service.call("ListAliases", {"key_id": key.arn}).aliases


def test_a_grant_on_it_can_neither_be_retired_nor_made(service: InProcess) -> None:
    """There is none, so RetireGrant finds none."""
    key = keys_of(service).current(KeyPurpose.AUDIT_LOG)
    arn = service.call("DescribeKey", {"key_id": key.key_id}).key_metadata.arn
    with pytest.raises(NotFoundException):
        service.call("RetireGrant", {"key_id": arn, "grant_id": "0" * 64})
    assert service.call("ListGrants", {"key_id": arn}).grants == ()


@pytest.mark.parametrize("name", ["alias/kagitori/audit-digest", "alias/kagitori/other", "alias/Kagitori/x"])
def test_its_aliases_are_reserved(service: InProcess, name: str) -> None:
    keys_of(service).current(KeyPurpose.AUDIT_DIGEST)
    key = new_key(service)
    for operation, values in (
        ("CreateAlias", {"alias_name": name, "target_key_id": key.key_id}),
        ("UpdateAlias", {"alias_name": name, "target_key_id": key.key_id}),
        ("DeleteAlias", {"alias_name": name}),
    ):
        with pytest.raises(InvalidAliasNameException, match="alias/kagitori/"):
            service.call(operation, values)


def test_each_period_has_its_key_and_all_stay_listed(service: InProcess) -> None:
    keys = keys_of(service)
    first = keys.current(KeyPurpose.AUDIT_DIGEST)
    service.clock.advance(DAYS * DAY - 1)
    assert keys.current(KeyPurpose.AUDIT_DIGEST).key_id == first.key_id
    service.clock.advance(1)
    second = keys.current(KeyPurpose.AUDIT_DIGEST)
    assert second.key_id != first.key_id
    assert service.call("DescribeKey", {"key_id": "alias/kagitori/audit-digest"}).key_metadata.key_id == second.key_id
    begun_before = keys.named(KeyPurpose.AUDIT_DIGEST, first.key_id)
    assert begun_before is not None
    check(first.public_key_der, begun_before.sign(b"m"), b"m")
    service.clock.advance(8 * DAY)
    assert deletion_worker(service).run_once() == 1
    assert keys.named(KeyPurpose.AUDIT_DIGEST, first.key_id) is None
    assert [(key.key_id, key.public_key_der) for key in keys.listed(KeyPurpose.AUDIT_DIGEST)] == [
        (first.key_id, first.public_key_der), (second.key_id, second.public_key_der)
    ]


def test_a_period_can_be_ended_early(service: InProcess) -> None:
    mine, others = keys_of(service), keys_of(service)
    first = mine.current(KeyPurpose.AUDIT_LOG)
    service.clock.advance(5)
    second = mine.rotate(KeyPurpose.AUDIT_LOG)
    assert second.key_id != first.key_id
    assert others.current(KeyPurpose.AUDIT_LOG).key_id == second.key_id
    assert [key.valid_until for key in mine.listed(KeyPurpose.AUDIT_LOG)] == [START + 5, START + 5 + DAYS * DAY]


def test_another_key_takes_the_place_of_a_lost_one(service: InProcess) -> None:
    keys = keys_of(service)
    first = keys.current(KeyPurpose.AUDIT_LOG)
    with service.catalog.write() as writer:
        writer.delete_key(REGION, first.key_id)
    second = keys.current(KeyPurpose.AUDIT_LOG)
    check(second.public_key_der, second.sign(b"m"), b"m")
    assert [key.key_id for key in keys.listed(KeyPurpose.AUDIT_LOG)] == [first.key_id, second.key_id]


def test_they_count_neither_as_keys_of_the_account_nor_in_its_bill(tmp_path: Path) -> None:
    with InProcess(tmp_path, quotas=Quotas(keys_per_account_region=1)) as service:
        keys_of(service).current(KeyPurpose.AUDIT_DIGEST)
        new_key(service)
        month = {"start_time": START - DAY, "end_time": START + DAY, "group_by": ["KEY", "USAGE_TYPE"]}
        charged = {item.key_arn for item in service.call("GetUsage", month).items}
        digest_key = service.call("DescribeKey", {"key_id": "alias/kagitori/audit-digest"}).key_metadata.arn
        assert digest_key not in charged
