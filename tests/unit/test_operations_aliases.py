"""CreateAlias, UpdateAlias, DeleteAlias, ListAliases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess
from tests.support.kms_calls import (
    ABSENT_ID,
    OTHER,
    alias_arn,
    delegating,
    encrypt,
    identity_policy,
    key_arn,
    key_policy,
    last_record,
    new_key,
    refused,
    root,
    statement,
    user_arn,
)

from kagitori_server.model.errors import (
    AccessDeniedException,
    AlreadyExistsException,
    InvalidAliasNameException,
    InvalidArnException,
    InvalidMarkerException,
    KmsError,
    LimitExceededException,
    NotFoundException,
    ValidationException,
)
from kagitori_server.operations.paging import encode_marker


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that only look at keys and aliases of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


def _create(service: InProcess, name: str, key_id: str, **how: Any) -> None:
    service.call("CreateAlias", {"alias_name": name, "target_key_id": key_id}, **how)


def _listed(service: InProcess, **values: Any) -> list[str]:
    return [alias.alias_name for alias in service.call("ListAliases", values).aliases]


def test_an_alias_from_birth_to_death(service: InProcess) -> None:
    """Made, listed with its times, repointed, deleted; each step recorded with alias and key."""
    first, second = new_key(service), new_key(service)
    _create(service, "alias/life", first.arn)
    made = service.clock()
    record = last_record(service)
    assert record["requestParameters"] == {"aliasName": "alias/life", "targetKeyId": first.arn}
    assert record["responseElements"] == {"keyId": first.arn}
    assert [resource["ARN"] for resource in record["resources"]] == [alias_arn("alias/life"), first.arn]
    blob = encrypt(service, "alias/life")
    service.clock.advance(60)
    service.call("UpdateAlias", {"alias_name": "alias/life", "target_key_id": second.key_id})
    record = last_record(service)
    assert record["responseElements"] == {"keyId": second.arn}
    assert [resource["ARN"] for resource in record["resources"]] == [alias_arn("alias/life"), first.arn, second.arn]
    (entry,) = service.call("ListAliases", {"key_id": second.arn}).aliases
    assert (entry.alias_name, entry.alias_arn, entry.target_key_id) == (
        "alias/life", alias_arn("alias/life"), second.key_id
    )
    assert (entry.creation_date, entry.last_updated_date) == (made, made + 60)
    assert _listed(service, key_id=first.key_id) == []
    assert service.call("DescribeKey", {"key_id": "alias/life"}).key_metadata.key_id == second.key_id
    assert service.call("Decrypt", {"ciphertext_blob": blob}).key_id == first.arn
    service.call("DeleteAlias", {"alias_name": "alias/life"})
    assert last_record(service)["requestParameters"] == {"aliasName": "alias/life"}
    assert last_record(service)["responseElements"] == {"keyId": second.arn}
    refused(service, NotFoundException, "DescribeKey", {"key_id": "alias/life"})
    _create(service, "alias/life", first.key_id)


SYMMETRIC: dict[str, str] = {}
RSA_SIGNING = {"key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY"}
RSA_ENCRYPTION = {"key_spec": "RSA_2048", "key_usage": "ENCRYPT_DECRYPT"}
P256_SIGNING = {"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"}
P384_SIGNING = {"key_spec": "ECC_NIST_P384", "key_usage": "SIGN_VERIFY"}
P256_AGREEMENT = {"key_spec": "ECC_NIST_P256", "key_usage": "KEY_AGREEMENT"}
HMAC_256 = {"key_spec": "HMAC_256", "key_usage": "GENERATE_VERIFY_MAC"}
HMAC_512 = {"key_spec": "HMAC_512", "key_usage": "GENERATE_VERIFY_MAC"}


@pytest.mark.parametrize(
    ("current", "new", "moves"),
    [
        (P256_SIGNING, P384_SIGNING, True), (RSA_SIGNING, P256_SIGNING, True), (HMAC_256, HMAC_512, True),
        (P256_SIGNING, P256_AGREEMENT, False), (RSA_SIGNING, RSA_ENCRYPTION, False),
        (SYMMETRIC, RSA_ENCRYPTION, False), (RSA_ENCRYPTION, SYMMETRIC, False), (SYMMETRIC, HMAC_256, False),
    ],
)
def test_an_alias_moves_among_keys_of_one_type_and_usage(
    service: InProcess, current: dict[str, str], new: dict[str, str], moves: bool
) -> None:
    old, target = new_key(service, **current).key_id, new_key(service, **new).key_id
    name = f"alias/from-{old}"
    _create(service, name, old)
    values = {"alias_name": name, "target_key_id": target}
    if moves:
        service.call("UpdateAlias", values)
    else:
        refused(service, ValidationException, "UpdateAlias", values)
    assert _listed(service, key_id=target if moves else old) == [name]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", ValidationException), ("life", InvalidAliasNameException), ("alias", InvalidAliasNameException),
        ("alias/", InvalidAliasNameException), ("Alias/x", InvalidAliasNameException),
        ("alias/aws/s3", InvalidAliasNameException), ("alias/aws/", InvalidAliasNameException),
        ("alias/AWS/s3", InvalidAliasNameException), ("alias/a b", ValidationException),
        ("alias/a\n", ValidationException), ("alias/ö", ValidationException), ("alias/a*", ValidationException),
        ("alias/" + "x" * 251, ValidationException), (alias_arn("alias/x"), InvalidAliasNameException),
        ("x" * 257, ValidationException),
    ],
)
@pytest.mark.parametrize("operation", ["CreateAlias", "UpdateAlias", "DeleteAlias"])
def test_names_that_are_refused(service: InProcess, operation: str, name: str, error: type[KmsError]) -> None:
    """Without prefix, reserved, with other characters, too long; by every operation that takes a name."""
    values = {"alias_name": name}
    if operation != "DeleteAlias":
        values["target_key_id"] = ABSENT_ID
    refused(service, error, operation, values)


@pytest.mark.parametrize("name", ["alias/x", "alias/" + "y" * 250, "alias/a:/_-Z9", "alias//", "alias/awsome",
                                  "alias/alias/x", "alias/aws", "alias/key/x"])
def test_names_that_are_allowed(service: InProcess, name: str) -> None:
    """The shortest, the longest, and every character there is."""
    key = new_key(service)
    _create(service, name, key.key_id)
    assert service.call("DescribeKey", {"key_id": name}).key_metadata.key_id == key.key_id
    assert service.call("DescribeKey", {"key_id": alias_arn(name)}).key_metadata.key_id == key.key_id
    service.call("DeleteAlias", {"alias_name": name})


@pytest.mark.parametrize("operation", ["CreateAlias", "UpdateAlias"])
@pytest.mark.parametrize(
    ("target", "error"),
    [(ABSENT_ID, NotFoundException), (key_arn(ABSENT_ID), NotFoundException), ("nonsense", NotFoundException),
     ("alias/target", InvalidArnException), (alias_arn("alias/target"), InvalidArnException),
     (key_arn(ABSENT_ID, region="eu-west-1"), NotFoundException),
     (key_arn(ABSENT_ID, account=OTHER), AccessDeniedException)],
)
def test_targets_that_are_refused(
    service: InProcess, operation: str, target: str, error: type[KmsError]
) -> None:
    """Absent, elsewhere, somebody else's, or an alias itself."""
    name = f"alias/{service.ids.uuid()}"
    key = new_key(service)
    _create(service, name, key.key_id)
    used = f"{name}-new" if operation == "CreateAlias" else name
    refused(service, error, operation, {"alias_name": used, "target_key_id": target})
    assert service.call("DescribeKey", {"key_id": name}).key_metadata.key_id == key.key_id


def test_taken_names(service: InProcess) -> None:
    """A name is taken once per account and Region; nothing is taken from others."""
    key, other = new_key(service), new_key(service)
    _create(service, "alias/taken", key.key_id)
    for target in (key, other):
        error = refused(service, AlreadyExistsException, "CreateAlias",
                        {"alias_name": "alias/taken", "target_key_id": target.key_id})
        assert error.message == f"An alias with the name {alias_arn('alias/taken')} already exists"
    _create(service, "alias/Taken", other.key_id)
    elsewhere = new_key(service, region="eu-west-1")
    _create(service, "alias/taken", elsewhere.key_id, region="eu-west-1")
    token = service.new_account("777777777777")
    theirs = new_key(service, token=token)
    _create(service, "alias/taken", theirs.key_id, token=token)
    found = service.call("DescribeKey", {"key_id": "alias/taken"}, token=token).key_metadata
    assert found.key_id == theirs.key_id
    assert service.call("DescribeKey", {"key_id": "alias/taken"}).key_metadata.key_id == key.key_id


def test_aliases_that_are_not_there(service: InProcess) -> None:
    """Neither moved nor removed."""
    key = new_key(service)
    text = f"Alias {alias_arn('alias/nowhere')} is not found."
    for operation, values in (("UpdateAlias", {"target_key_id": key.key_id}), ("DeleteAlias", {})):
        assert refused(service, NotFoundException, operation, {"alias_name": "alias/nowhere", **values}).message == text


def test_fifty_aliases(service: InProcess) -> None:
    """A key has fifty names at most, made or moved to it; moving one to where it is is no fifty-first."""
    full, other = new_key(service), new_key(service)
    for number in range(50):
        _create(service, f"alias/full-{number:02}", full.key_id)
    _create(service, "alias/over", other.key_id)
    values = {"alias_name": "alias/over-2", "target_key_id": full.key_id}
    assert full.arn in refused(service, LimitExceededException, "CreateAlias", values).message
    values = {"alias_name": "alias/over", "target_key_id": full.key_id}
    assert full.arn in refused(service, LimitExceededException, "UpdateAlias", values).message
    taken = {"alias_name": "alias/full-00", "target_key_id": full.key_id}
    refused(service, AlreadyExistsException, "CreateAlias", taken)
    service.call("UpdateAlias", taken)
    service.call("DeleteAlias", {"alias_name": "alias/full-49"})
    service.call("UpdateAlias", values)
    assert len(_listed(service, key_id=full.key_id, limit=100)) == 50
    assert len(_listed(service, key_id=full.key_id)) == 50


def test_pages_of_aliases(tmp_path: Path) -> None:
    """All aliases of account and Region in order, each once, while they change between the pages."""
    with InProcess(tmp_path) as service:
        keys = [new_key(service), new_key(service)]
        names = sorted(f"alias/{letter}{number}" for letter in "aZ_" for number in range(3))
        for number, name in enumerate(names):
            _create(service, name, keys[number % 2].key_id)
        assert _walk(service, 1) == _walk(service, 4) == _walk(service, 9) == _listed(service) == names
        assert _walk(service, 2, key_id=keys[1].arn) == names[1::2]
        page = service.call("ListAliases", {"limit": 3})
        service.call("DeleteAlias", {"alias_name": names[2]})
        service.call("DeleteAlias", {"alias_name": names[4]})
        _create(service, f"{names[5]}x", keys[0].key_id)
        rest = _listed(service, marker=page.next_marker)
        assert rest == sorted([names[3], *names[5:], f"{names[5]}x"])


def _walk(service: InProcess, limit: int, **values: Any) -> list[str]:
    names: list[str] = []
    marker = None
    while True:
        page = service.call("ListAliases", values | {"limit": limit} | ({"marker": marker} if marker else {}))
        names += [alias.alias_name for alias in page.aliases]
        marker = page.next_marker
        if marker is None:
            return names


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"limit": 0}, ValidationException), ({"limit": 101}, ValidationException),
        ({"marker": "x"}, InvalidMarkerException), ({"marker": encode_marker("ListKeys", "")}, InvalidMarkerException),
        ({"key_id": ""}, ValidationException), ({"key_id": ABSENT_ID}, NotFoundException),
        ({"key_id": "alias/x"}, InvalidArnException), ({"key_id": "arn:aws:kms"}, InvalidArnException),
        ({"key_id": key_arn(ABSENT_ID, account=OTHER)}, AccessDeniedException),
        ({"key_id": key_arn(ABSENT_ID, region="eu-west-1")}, NotFoundException),
    ],
)
def test_lists_that_are_refused(service: InProcess, values: dict[str, Any], error: type[KmsError]) -> None:
    """Pages, markers and keys out of bounds."""
    refused(service, error, "ListAliases", values)


# --- permissions: alias by identity policy, and every key involved -------------------------------------------


def test_creation_needs_alias_and_key(service: InProcess) -> None:
    """Either alone is refused, with the resource that is missing."""
    key = new_key(service)
    _permissions(service, "CreateAlias", key.arn, key.arn, {"target_key_id": key.key_id})


def test_deletion_needs_alias_and_key(service: InProcess) -> None:
    """Either alone is refused, with the resource that is missing."""
    key = new_key(service)
    _create(service, "alias/perm-deletealias", key.key_id)
    _permissions(service, "DeleteAlias", key.arn, key.arn, {})


def _permissions(service: InProcess, operation: str, key: str, resource: str, more: dict[str, Any]) -> None:
    name = f"alias/perm-{operation.lower()}"
    action = f"kms:{operation}"
    values = {"alias_name": name, **more}
    on_alias = service.new_user(f"{operation}-a", policies={"p": identity_policy(action, resource=alias_arn(name))})
    on_key = service.new_user(f"{operation}-k", policies={"p": identity_policy(action, resource=key)})
    other = service.new_user(
        f"{operation}-o", policies={"p": identity_policy(action, resource=[alias_arn("alias/perm-x"), key])}
    )
    both = service.new_user(
        f"{operation}-b", policies={"p": identity_policy(action, resource=[alias_arn("alias/perm-*"), key])}
    )
    error = refused(service, AccessDeniedException, operation, values, token=on_alias)
    assert f"{action} on resource: {resource} because no identity-based policy" in error.message
    for token in (on_key, other):
        error = refused(service, AccessDeniedException, operation, values, token=token)
        assert f"{action} on resource: {alias_arn(name)} because no identity-based policy" in error.message
    service.call(operation, values, token=both)


def test_moving_needs_alias_and_both_keys(service: InProcess) -> None:
    """UpdateAlias on the alias, on the key it leaves and on the key it comes to."""
    old, new = new_key(service), new_key(service)
    _create(service, "alias/moving", old.key_id)
    values = {"alias_name": "alias/moving", "target_key_id": new.key_id}
    parts = {"alias": alias_arn("alias/moving"), "old": old.arn, "new": new.arn}
    for missing, arn in parts.items():
        there = [part for name, part in parts.items() if name != missing]
        policy = identity_policy("kms:UpdateAlias", resource=there)
        token = service.new_user(f"without-{missing}", policies={"p": policy})
        error = refused(service, AccessDeniedException, "UpdateAlias", values, token=token)
        assert f"on resource: {arn} because" in error.message
    token = service.new_user(
        "mover", policies={"p": identity_policy("kms:UpdateAlias", resource=list(parts.values()))}
    )
    service.call("UpdateAlias", values, token=token)


def test_a_key_policy_alone_opens_no_alias(service: InProcess) -> None:
    """The alias is the account's: what a key policy says of CreateAlias counts for the key only."""
    token = service.new_user("named")
    key = new_key(service, policy=delegating(statement(user_arn("named"), "kms:CreateAlias")))
    refused(service, AccessDeniedException, "CreateAlias",
            {"alias_name": "alias/by-policy", "target_key_id": key.key_id}, token=token)
    denying = statement(user_arn("denied-by-key"), "kms:CreateAlias", effect="Deny")
    token = service.new_user("denied-by-key", policies={"p": ALLOW_ALL})
    key = new_key(service, policy=delegating(denying))
    error = refused(service, AccessDeniedException, "CreateAlias",
                    {"alias_name": "alias/by-policy", "target_key_id": key.key_id}, token=token)
    assert error.message.endswith("with an explicit deny in a resource-based policy")


def test_not_across_accounts(service: InProcess) -> None:
    """Whatever both policies say, another account neither names nor renames a key."""
    service.new_account(OTHER)
    guest = service.new_user("guest", account=OTHER, policies={"p": ALLOW_ALL})
    policy = key_policy(statement([root(HOME), root(OTHER)], "kms:*"))
    key = new_key(service, policy=policy)
    _create(service, "alias/home", key.key_id)
    values = {"alias_name": "alias/guest", "target_key_id": key.arn}
    refused(service, AccessDeniedException, "CreateAlias", values, token=guest)
    refused(service, NotFoundException, "CreateAlias", values | {"target_key_id": key.key_id}, token=guest)
    refused(service, NotFoundException, "DeleteAlias", {"alias_name": "alias/home"}, token=guest)
    refused(service, NotFoundException, "UpdateAlias", {"alias_name": "alias/home", "target_key_id": key.arn},
            token=guest)
    # But it may use the key by its alias ARN.
    service.call("Encrypt", {"key_id": alias_arn("alias/home"), "plaintext": b"x"}, token=guest)
    refused(service, NotFoundException, "Encrypt", {"key_id": "alias/home", "plaintext": b"x"}, token=guest)
    assert service.call("ListAliases", token=guest).aliases == ()


def test_an_alias_is_no_way_around_permissions_on_the_key(service: InProcess) -> None:
    """Permission on the alias ARN gives nothing on the key behind it."""
    key = new_key(service)
    _create(service, "alias/around", key.key_id)
    policy = identity_policy("kms:*", resource=alias_arn("alias/around"))
    token = service.new_user("around", policies={"p": policy})
    for name in ("alias/around", alias_arn("alias/around"), key.key_id):
        error = refused(service, AccessDeniedException, "Encrypt", {"key_id": name, "plaintext": b"x"}, token=token)
        assert f"on resource: {key.arn} because no identity-based policy" in error.message
