"""Every KMS operation of the table x what has to be so for it: allowed with exactly its permissions, refused without
each of them, and refused in each wrong state of each of its keys with AWS's exception.

The cases come from the table. An operation needs a sample request (`tests/support/sample_requests.py`), and one
with keys a line in `STATES`; without either its cases fail.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inprocess import HOME, InProcess
from tests.support.keystore_parts import Workshop
from tests.support.kms_calls import OTHER, alias_arn, delegating, root, statement, user_arn
from tests.support.sample_requests import SAMPLES, Scene
from tests.support.token_double import AnyCluster

from kagitori_server.model.custom_key_stores import CustomKeyStoreType
from kagitori_server.model.errors import (
    AccessDeniedException,
    DisabledException,
    DryRunOperationException,
    KmsError,
    KMSInvalidStateException,
)
from kagitori_server.model.keys import KeyState
from kagitori_server.model.limits import Quotas
from kagitori_server.operations.row import Operation, Permission, Resource
from kagitori_server.operations.table import TABLE

ROWS = [row for row in TABLE.values() if isinstance(row, Operation) and row.service == "kms"]

STATES = """
Encrypt Decrypt ReEncrypt GenerateDataKey GenerateDataKeyWithoutPlaintext       | ok D1 S3 S3 S5 S11 S14 ok
GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext DeriveSharedSecret      | ok D1 S3 S3 S5 S11 S14 ok
Sign Verify GenerateMac VerifyMac GetPublicKey Encapsulate Decapsulate          | ok D1 S3 S3 S5 S11 S14 ok
CreateGrant                                                                     | ok D1 S3 S3 S5 ok  S14 ok
RetireGrant RevokeGrant ListGrants ListKeyPolicies GetKeyPolicy PutKeyPolicy    | ok ok ok ok ok ok  ok  ok
ListResourceTags DescribeKey DeleteAlias ListKeyRotations GetKeyLastUsage       | ok ok ok ok ok ok  ok  ok
CreateAlias TagResource UntagResource UpdateKeyDescription                      | ok ok S3 S3 ok ok  ok  ok
UpdateAlias/current                                                             | ok ok ok ok ok ok  ok  ok
UpdateAlias/new                                                                 | ok ok S3 S3 ok ok  ok  ok
EnableKey DisableKey                                                            | ok ok S3 S3 S5 ok  S14 S15
ScheduleKeyDeletion                                                             | ok ok S3 S3 ok ok  ok  S15
CancelKeyDeletion                                                               | S4 S4 ok ok S4 S4  S4  S4
EnableKeyRotation DisableKeyRotation                                            | ok D1 S3 S3 -- --  S14 ok
GetKeyRotationStatus                                                            | ok ok ok ok -- --  ok  ok
RotateKeyOnDemand                                                               | ok D1 S3 S3 S5 --  S14 ok
GetParametersForImport                                                          | ok ok S3 S3 ok --  S14 S15
ImportKeyMaterial                                                               | ok ok S3 S3 ok --  S14 ok
DeleteImportedKeyMaterial                                                       | ok ok ok ok ok --  S14 S15
ReplicateKey                                                                    | ok D1 S3 S3 S5 --  S14 S15
UpdatePrimaryRegion                                                             | ok D1 S3 S3 S5 --  S14 ok
"""
"""Operation (or operation/slot) | its answer in each of `COLUMNS` (AWS "Key states of AWS KMS keys"); `--` where keys
that the operation is for never are in that state."""

COLUMNS = (
    KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION,
    KeyState.PENDING_IMPORT, KeyState.UNAVAILABLE, KeyState.CREATING, KeyState.UPDATING,
)
REFUSALS: dict[str, tuple[type[KmsError], str]] = {
    "D1": (DisabledException, "is disabled."),
    "S3": (KMSInvalidStateException, "is pending deletion."),
    "S4": (KMSInvalidStateException, "is not pending deletion."),
    "S5": (KMSInvalidStateException, "is pending import."),
    "S11": (KMSInvalidStateException, "is unavailable."),
    "S14": (KMSInvalidStateException, "is creating."),
    "S15": (KMSInvalidStateException, "is updating."),
}


def _expected_states() -> dict[str, list[str]]:
    lines = [line.split("|") for line in STATES.strip().splitlines()]
    return {name: answers.split() for names, answers in lines for name in names.split()}


EXPECTED = _expected_states()

PERMISSIONS = [(row, permission) for row in ROWS for permission in row.permissions]
SLOTS = [(row, slot.name) for row in ROWS for slot in row.keys]
ON_KEYS = [row for row in ROWS if all(permission.on is Resource.KEY for permission in row.permissions)]
DRY = [row for row in ROWS if "dry_run" in row.request.cls.__dataclass_fields__]


def _named(value: object) -> str:
    if isinstance(value, Permission):
        return value.action.partition(":")[2]
    return value.name if isinstance(value, Operation | KeyState) else str(value)


class Caller:
    """A user whose one identity policy is put anew for each case."""

    def __init__(self, service: InProcess, name: str, account: str = HOME) -> None:
        self.service = service
        self.arn = user_arn(name, account)
        self.token = service.new_user(name, account=account)

    def may(self, *statements: dict[str, Any]) -> None:
        """From now on the user may do this much."""
        nothing = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [nothing, *statements]})
        values = {"principal_arn": self.arn, "policy_name": "p", "policy_document": document}
        self.service.call("PutIdentityPolicy", values)

    def refusal(self, row: Operation, values: dict[str, Any]) -> KmsError | None:
        """What the user's call is refused with, None when it succeeds."""
        try:
            answer = self.service.call(row.name, values, token=self.token)
        except KmsError as error:
            return error
        assert isinstance(answer, row.response)
        return None


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by all cases: each has keys of its own."""
    openers = {CustomKeyStoreType.AWS_CLOUDHSM: AnyCluster(Workshop(tmp_path_factory.mktemp("tokens")).store)}
    quotas = Quotas(custom_key_stores_per_account_region=10_000)
    with InProcess(tmp_path_factory.mktemp("service"), openers=openers, quotas=quotas) as opened:
        yield opened


@pytest.fixture(scope="module")
def user(service: InProcess) -> Caller:
    """A user of the account that owns the keys."""
    return Caller(service, "user")


@pytest.fixture(scope="module")
def foreigner(service: InProcess) -> Caller:
    """A user of another account."""
    service.new_account(OTHER)
    return Caller(service, "foreigner", OTHER)


def _scene(service: InProcess, row: Operation, policy: str | None = None) -> Scene:
    if row.name not in SAMPLES:
        pytest.fail(f"{row.name} is served and has no sample request in tests/support/sample_requests.py")
    return Scene(service, row, policy)


def _needed(row: Operation, scene: Scene, values: dict[str, Any]) -> dict[Permission, dict[str, Any]]:
    """The statement that gives each permission that this very request needs, on its resource and no other."""
    request = row.request.build(values)
    statements = {}
    for permission in row.permissions:
        if permission.when is not None and not permission.when(request):
            continue
        match permission.on:
            case Resource.KEY | Resource.GRANT:
                resource = scene.arn(permission.slot or "")
            case Resource.ALIAS:
                resource = alias_arn(values[row.alias_member or ""])
            case Resource.RETIRING_PRINCIPAL:
                resource = values["retiring_principal"]
            case Resource.ACCOUNT:
                resource = "*"
            case other:
                pytest.fail(f"no case for {other}")
        statements[permission] = {"Effect": "Allow", "Action": permission.action, "Resource": resource}
    return statements


def test_every_operation_has_its_samples() -> None:
    """Neither an operation nor a key slot is left out, and none is listed that isn't served."""
    assert {row.name for row in ROWS} == SAMPLES.keys()
    listed = EXPECTED.keys()
    assert [f"{row.name}/{slot}" for row, slot in SLOTS if not {row.name, f"{row.name}/{slot}"} & listed] == []
    assert {len(answers) for answers in EXPECTED.values()} == {len(COLUMNS)} == {len(KeyState)}


@pytest.mark.parametrize("row", ROWS, ids=_named)
def test_exactly_its_permissions_are_enough(service: InProcess, user: Caller, row: Operation) -> None:
    scene = _scene(service, row)
    values = scene.request()
    needed = _needed(row, scene, values)
    assert needed.keys() == set(row.permissions), "the sample request doesn't need every permission of the row"
    user.may()
    assert isinstance(user.refusal(row, values), AccessDeniedException)
    user.may(*needed.values())
    assert user.refusal(row, values) is None


@pytest.mark.parametrize(("row", "permission"), PERMISSIONS, ids=_named)
def test_each_permission_is_needed(
    service: InProcess, user: Caller, row: Operation, permission: Permission
) -> None:
    """Left out, given on another resource, or denied: the answer names the action that was lacking."""
    scene = _scene(service, row)
    values = scene.request()
    needed = _needed(row, scene, values)
    others = [given for asked, given in needed.items() if asked is not permission]
    elsewhere = {"Effect": "Allow", "Action": permission.action, "Resource": alias_arn("alias/elsewhere")}
    denied = {**needed[permission], "Effect": "Deny"}
    for statements in (others, [*others, elsewhere], [*needed.values(), denied]):
        user.may(*statements)
        error = user.refusal(row, values)
        assert isinstance(error, AccessDeniedException)
        assert f"not authorized to perform: {permission.action} on resource: " in error.message
        assert ("explicit deny" in error.message) is (denied in statements)


@pytest.mark.parametrize("row", ON_KEYS, ids=_named)
def test_a_key_policy_is_enough_on_keys(service: InProcess, user: Caller, row: Operation) -> None:
    """It may name the caller itself, whose identity policies then have no part in it."""
    user.may()
    actions = [permission.action for permission in row.permissions]
    for given in (actions, *([each for each in actions if each != action] for action in actions)):
        also = [statement(user.arn, *given)] if given else []
        scene = _scene(service, row, delegating(*also))
        error = user.refusal(row, scene.request())
        assert error is None if given is actions else isinstance(error, AccessDeniedException)


@pytest.mark.parametrize("row", [row for row in ON_KEYS if row.grantable], ids=_named)
def test_a_grant_is_enough_where_it_can_be(service: InProcess, user: Caller, row: Operation) -> None:
    """A grant of just the operation on each key, and no grant of all the others on one of them."""
    user.may()
    for lacking in (None, *row.permissions):
        scene = _scene(service, row)
        for permission in row.permissions:
            if permission is not lacking:
                operations = [permission.action.partition(":")[2]]
                scene.call(
                    "CreateGrant", key_id=scene.arn(permission.slot or ""), grantee_principal=user.arn,
                    operations=operations,
                )
        error = user.refusal(row, scene.request())
        assert error is None if lacking is None else isinstance(error, AccessDeniedException)


@pytest.mark.parametrize("row", ON_KEYS, ids=_named)
def test_other_accounts_need_both_sides(service: InProcess, foreigner: Caller, row: Operation) -> None:
    """The key's policy and the caller's own, and an operation that works across accounts at all."""
    actions = [permission.action for permission in row.permissions]
    for owner_allows, account_allows in ((True, True), (True, False), (False, True)):
        scene = _scene(service, row, delegating(statement(root(OTHER), *actions)) if owner_allows else None)
        values = scene.request()
        foreigner.may(*(_needed(row, scene, values).values() if account_allows else ()))
        error = foreigner.refusal(row, values)
        allowed = owner_allows and account_allows and row.cross_account
        assert error is None if allowed else isinstance(error, AccessDeniedException)


@pytest.mark.parametrize("row", DRY, ids=_named)
def test_a_dry_run_tells_what_the_call_would(service: InProcess, user: Caller, row: Operation) -> None:
    scene = _scene(service, row)
    values = {**scene.request(), "dry_run": True}
    needed = _needed(row, scene, values)
    user.may(*list(needed.values())[1:])
    assert isinstance(user.refusal(row, values), AccessDeniedException)
    user.may(*needed.values())
    assert isinstance(user.refusal(row, values), DryRunOperationException)


@pytest.mark.parametrize("state", COLUMNS, ids=_named)
@pytest.mark.parametrize(("row", "slot"), SLOTS, ids=_named)
def test_each_state_of_each_key(service: InProcess, user: Caller, row: Operation, slot: str, state: KeyState) -> None:
    """Refused as the table above says. Who isn't allowed isn't told of the state."""
    answers = EXPECTED.get(f"{row.name}/{slot}", EXPECTED.get(row.name))
    if answers is None:
        pytest.fail(f"{row.name} is served and has no line in STATES")
    answer = answers[COLUMNS.index(state)]
    if answer == "--":
        pytest.skip("keys that the operation is for never are in that state")
    scene = _scene(service, row)
    values = scene.request()
    scene.bring(slot, state)
    user.may()
    assert isinstance(user.refusal(row, values), AccessDeniedException)
    user.may(*_needed(row, scene, values).values())
    error = user.refusal(row, values)
    if answer == "ok":
        assert error is None
        return
    kind, phrase = REFUSALS[answer]
    assert type(error) is kind
    assert error.message == f"{scene.arn(slot)} {phrase}"
