"""GetKeyPolicy, PutKeyPolicy, ListKeyPolicies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess
from tests.support.kms_calls import (
    delegating,
    identity_policy,
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
    InvalidArnException,
    InvalidMarkerException,
    KmsError,
    LimitExceededException,
    MalformedPolicyDocumentException,
    NotFoundException,
    SerializationException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.operations.paging import encode_marker
from kagitori_server.policy.defaults import default_key_policy

LOCKED_OUT = "The new key policy will not allow you to update the key policy in the future."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that only look at keys of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


def _put(service: InProcess, key_id: str, policy: str, **how: Any) -> None:
    service.call("PutKeyPolicy", {"key_id": key_id, "policy": policy}, **how)


def test_the_policy_of_a_key_made_without_one(service: InProcess) -> None:
    """AWS's default, laid out as AWS lays it out."""
    key = new_key(service)
    answer = service.call("GetKeyPolicy", {"key_id": key.key_id})
    assert (answer.policy, answer.policy_name) == (default_key_policy(HOME), "default")
    assert json.loads(answer.policy)["Statement"][0]["Principal"] == {"AWS": root(HOME)}
    assert last_record(service)["responseElements"] is None


@pytest.mark.parametrize(
    "text",
    [
        delegating(), f"\r\n\t {delegating()} \n", delegating().replace("Allow", "All\\u006fw"),
        delegating().replace('"Version"', '"Id": "\u00e9\u00ff", "Version"'),
        json.dumps(json.loads(delegating()), indent=7),
        delegating() + " " * (32_768 - len(delegating())),
    ],
    ids=["plain", "blanks around", "escapes", "latin", "indented", "as long as allowed"],
)
def test_policies_return_byte_for_byte(service: InProcess, text: str) -> None:
    """What was put is what is got and what the record shows."""
    key = new_key(service)
    _put(service, key.arn, text)
    record = last_record(service)
    assert record["requestParameters"]["policy"] == text
    assert record["requestParameters"]["bypassPolicyLockoutSafetyCheck"] is False
    assert record["responseElements"] == {"keyId": key.arn}
    assert service.call("GetKeyPolicy", {"key_id": key.key_id, "policy_name": "default"}).policy == text


CONDITION = {**statement(root(HOME), "kms:*"), "Condition": {"StringEquals": {"kms:ViaService": "s3"}}}


@pytest.mark.parametrize(
    ("policy", "error", "text"),
    [
        ("", ValidationException, "'policy'"), (None, ValidationException, "'policy'"),
        ("x" * 131_073, ValidationException, "131072"), ("\x07", ValidationException, "pattern"),
        ("\u0100", ValidationException, "pattern"), ("\ud800", ValidationException, "'policy'"),
        (delegating() + " " * 32_768, LimitExceededException, "32768"),
        ("\u00ff" * 16_385, LimitExceededException, "32768"),
        ("nonsense", MalformedPolicyDocumentException, ""), ("[]", MalformedPolicyDocumentException, ""),
        ("{}", MalformedPolicyDocumentException, ""), ("null", MalformedPolicyDocumentException, ""),
        ("[" * 30_000, MalformedPolicyDocumentException, ""),
        ('{"Statement":' * 2_000, MalformedPolicyDocumentException, ""),
        (delegating().replace('"Effect"', '"Effect": "Deny", "Effect"'), MalformedPolicyDocumentException, ""),
        (delegating() + "x", MalformedPolicyDocumentException, ""),
        (delegating(statement(user_arn("unknown"), "kms:*")), MalformedPolicyDocumentException,
         "Policy contains a statement with one or more invalid principals."),
        (delegating(statement("999999999999", "kms:*")), MalformedPolicyDocumentException, "invalid principals"),
        (delegating(statement("arn:aws:iam", "kms:*")), InvalidArnException, "An ARN in the specified key policy"),
        (key_policy({"Effect": "Allow", "Action": "kms:*", "Resource": "*"}), MalformedPolicyDocumentException,
         "Policy contains a statement with no principal."),
        (key_policy(statement(root(HOME), "kms:Describe*")), MalformedPolicyDocumentException, LOCKED_OUT),
        (delegating(statement(root(HOME), "kms:PutKeyPolicy", effect="Deny")), MalformedPolicyDocumentException,
         LOCKED_OUT),
    ],
)
def test_policies_that_are_refused(
    service: InProcess, policy: str | None, error: type[KmsError], text: str
) -> None:
    """Each with AWS's exception; the old policy stays in force."""
    key = new_key(service)
    assert text in refused(service, error, "PutKeyPolicy", {"key_id": key.key_id, "policy": policy}).message
    assert service.call("GetKeyPolicy", {"key_id": key.key_id}).policy == default_key_policy(HOME)


@pytest.mark.parametrize(
    ("name", "get", "put"),
    [
        ("other", NotFoundException, UnsupportedOperationException),
        ("Default", NotFoundException, UnsupportedOperationException),
        ("", ValidationException, ValidationException), ("a-b", ValidationException, ValidationException),
        ("x" * 129, ValidationException, ValidationException),
        ("default\n", ValidationException, ValidationException), (7, SerializationException, SerializationException),
    ],
)
def test_names_of_policies(service: InProcess, name: Any, get: type[KmsError], put: type[KmsError]) -> None:
    """There is `default` and nothing else."""
    key = new_key(service)
    error = refused(service, get, "GetKeyPolicy", {"key_id": key.key_id, "policy_name": name})
    if get is NotFoundException:
        assert error.message == "No such policy exists"
    refused(service, put, "PutKeyPolicy", {"key_id": key.key_id, "policy_name": name, "policy": delegating()})


def test_the_lockout_check_asks_for_the_caller(service: InProcess) -> None:
    """It's the caller who must be able to go on, by whichever way; the bypass skips this check and no other."""
    admin = service.new_user("key-admin", policies={"p": ALLOW_ALL})
    direct = service.new_user("direct", policies={"p": identity_policy("kms:PutKeyPolicy")})
    key = new_key(service)
    locked = key_policy(statement(user_arn("key-admin"), "kms:*"))
    error = refused(service, MalformedPolicyDocumentException, "PutKeyPolicy",
                    {"key_id": key.key_id, "policy": locked}, token=direct)
    assert error.message == LOCKED_OUT
    _put(service, key.key_id, locked, token=admin)
    # Now the account isn't named any more: not even the root user may.
    refused(service, AccessDeniedException, "PutKeyPolicy", {"key_id": key.key_id, "policy": delegating()})
    refused(service, AccessDeniedException, "GetKeyPolicy", {"key_id": key.key_id})
    values = {"key_id": key.key_id, "bypass_policy_lockout_safety_check": True}
    broken = values | {"policy": key_policy(statement(user_arn("unknown"), "kms:*"))}
    refused(service, MalformedPolicyDocumentException, "PutKeyPolicy", broken, token=admin)
    service.call("PutKeyPolicy", values | {"policy": key_policy(statement(user_arn("direct"), "kms:*"))}, token=admin)
    refused(service, AccessDeniedException, "PutKeyPolicy", values | {"policy": locked}, token=admin)
    _put(service, key.key_id, key_policy(statement([user_arn("direct"), root(HOME)], "kms:*")), token=direct)
    assert service.call("GetKeyPolicy", {"key_id": key.key_id}).policy


def test_a_policy_is_in_force_at_once(service: InProcess) -> None:
    """Given, taken away, given again: the next call knows."""
    token = service.new_user("fickle")
    key = new_key(service)
    named = delegating(statement(user_arn("fickle"), "kms:Encrypt"))
    values = {"key_id": key.key_id, "plaintext": b"x"}
    for _ in range(2):
        refused(service, AccessDeniedException, "Encrypt", values, token=token)
        _put(service, key.key_id, named)
        service.call("Encrypt", values, token=token)
        _put(service, key.key_id, delegating())


def test_a_user_made_anew_is_somebody_else(service: InProcess) -> None:
    """A statement names whom its ARN meant when it was put."""
    service.new_user("phoenix")
    key = new_key(service, policy=delegating(statement(user_arn("phoenix"), "kms:*")))
    for token in [each.token_id for each in service.call("ListTokens", {"principal_arn": user_arn("phoenix")}).tokens]:
        service.call("RevokeToken", {"account_id": HOME, "token_id": token})
    service.call("DeleteUser", {"account_id": HOME, "user_name": "phoenix"})
    values = {"key_id": key.key_id, "plaintext": b"x"}
    service.call("Encrypt", values)
    reborn = service.new_user("phoenix")
    refused(service, AccessDeniedException, "Encrypt", values, token=reborn)
    _put(service, key.key_id, service.call("GetKeyPolicy", {"key_id": key.key_id}).policy)
    service.call("Encrypt", values, token=reborn)


def test_the_list_of_policies(service: InProcess) -> None:
    """One name, one page."""
    key = new_key(service)
    for values in ({}, {"limit": 1}, {"limit": 1000}):
        answer = service.call("ListKeyPolicies", {"key_id": key.arn, **values})
        assert (answer.policy_names, answer.truncated, answer.next_marker) == (("default",), False, None)
    after = {"key_id": key.key_id, "marker": encode_marker("ListKeyPolicies", "default")}
    assert service.call("ListKeyPolicies", after).policy_names == ()
    for bad, error in (
        ({"limit": 0}, ValidationException), ({"limit": 1001}, ValidationException),
        ({"marker": "x"}, InvalidMarkerException),
        ({"marker": encode_marker("ListKeys", "default")}, InvalidMarkerException),
    ):
        refused(service, error, "ListKeyPolicies", {"key_id": key.key_id, **bad})


def test_each_is_a_permission_of_its_own(service: InProcess) -> None:
    """Whoever may read a policy may not write it; an explicit deny anywhere wins."""
    key = new_key(service)
    requests: dict[str, dict[str, Any]] = {
        "GetKeyPolicy": {}, "ListKeyPolicies": {},
        "PutKeyPolicy": {"policy": key_policy(statement(root(HOME), "kms:*"))},
    }
    for action in requests:
        token = service.new_user(f"only-{action}", policies={"p": identity_policy(f"kms:{action}")})
        denied = service.new_user(
            f"denied-{action}",
            policies={"p": ALLOW_ALL, "q": identity_policy(f"kms:{action.upper()}", effect="Deny")},
        )
        for operation, more in requests.items():
            values = {"key_id": key.key_id, **more}
            allowed, forbidden = (token, denied) if operation == action else (denied, token)
            service.call(operation, values, token=allowed)
            refused(service, AccessDeniedException, operation, values, token=forbidden)


def test_refusals_of_permission_come_first(service: InProcess) -> None:
    """A caller who may not put policies learns nothing about what is wrong with one."""
    token = service.new_user("curious")
    key = new_key(service)
    for policy in ("nonsense", key_policy(CONDITION), "\u00ff" * 20_000):
        refused(service, AccessDeniedException, "PutKeyPolicy", {"key_id": key.key_id, "policy": policy}, token=token)
    refused(service, AccessDeniedException, "GetKeyPolicy", {"key_id": key.key_id, "policy_name": "x"}, token=token)
