"""The authoriser's memory: decisions are kept, and never longer than what they rest on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, REGION, InProcess
from tests.support.kms_calls import (
    delegating,
    identity_policy,
    key_policy,
    new_key,
    refused,
    root,
    statement,
    user_arn,
)

from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.authz.condition_keys import Asked
from kagitori_server.model.call import Evidence
from kagitori_server.model.errors import AccessDeniedException
from kagitori_server.model.keys import Key
from kagitori_server.model.principals import Caller


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests with principals and keys of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


def _caller(service: InProcess, token: str) -> Caller:
    return service.authenticator.authenticate(Evidence(token=token), service.catalog.view)


def _key(service: InProcess, key_id: str) -> Key:
    found = service.catalog.view.key(REGION, key_id)
    assert found is not None
    return found


def _asked(caller: Caller, action: str) -> Asked:
    return Asked(
        action=action, caller=caller, request=None, evidence=Evidence(), region=REGION, resource_account=HOME, now=0.0,
        key=None, named=None, pairs={}, attested={}, same_key=lambda: None,
    )


def test_decisions_are_kept_and_dropped_with_their_records(service: InProcess) -> None:
    """The same object for the same question; another one when key or caller changed."""
    authorizer = Authorizer()
    token = service.new_user("asker", policies={"p": identity_policy("kms:Encrypt")})
    key_id = new_key(service).key_id
    caller, key = _caller(service, token), _key(service, key_id)
    first = authorizer.on_key(_asked(caller, "kms:Encrypt"), key, cross_account=True)
    assert first.allowed
    assert authorizer.on_key(_asked(caller, "kms:Encrypt"), key, cross_account=True) is first
    assert not authorizer.on_key(_asked(caller, "kms:Decrypt"), key, cross_account=True).allowed
    service.call("PutKeyPolicy", {
        "key_id": key_id, "policy": delegating(statement(user_arn("asker"), "kms:Encrypt", effect="Deny"))
    })
    assert not authorizer.on_key(_asked(caller, "kms:Encrypt"), _key(service, key_id), cross_account=True).allowed
    assert authorizer.on_key(_asked(caller, "kms:Encrypt"), key, cross_account=True).allowed
    service.call("DeleteIdentityPolicy", {"principal_arn": user_arn("asker"), "policy_name": "p"})
    other = _caller(service, token)
    assert other is not caller
    assert not authorizer.on_identity(_asked(other, "kms:ListKeys"), "*").allowed


def test_the_cross_account_column_is_part_of_the_question(service: InProcess) -> None:
    """An answer given for an operation that works across accounts isn't used for one that doesn't."""
    authorizer = Authorizer()
    service.new_account("333333333333")
    token = service.new_user("foreign", account="333333333333", policies={"p": ALLOW_ALL})
    key = _key(service, new_key(service, policy=delegating(statement(root("333333333333"), "kms:*"))).key_id)
    caller = _caller(service, token)
    for _ in range(2):
        assert authorizer.on_key(_asked(caller, "kms:X"), key, cross_account=True).allowed
        assert not authorizer.on_key(_asked(caller, "kms:X"), key, cross_account=False).allowed


def test_memory_is_bounded(service: InProcess) -> None:
    """More questions than are remembered: answers stay right."""
    authorizer = Authorizer(entries=3)
    token = service.new_user("busy", policies={"p": identity_policy("kms:Encrypt")})
    keys = [_key(service, new_key(service).key_id) for _ in range(5)]
    caller = _caller(service, token)
    for _ in range(2):
        for key in keys:
            assert authorizer.on_key(_asked(caller, "kms:Encrypt"), key, cross_account=True).allowed
            for number in range(5):
                assert not authorizer.on_key(_asked(caller, f"kms:No{number}"), key, cross_account=True).allowed
                assert not authorizer.on_identity(_asked(caller, f"kms:No{number}"), key.arn).allowed
    assert len(authorizer._keys) <= 3


def test_default_deny(service: InProcess) -> None:
    """Neither root without a statement, nor a user with nothing, nor an administrator against a silent key."""
    service.new_user("only-me")
    policy = key_policy(statement(user_arn("only-me"), "kms:*"))
    key = new_key(service, policy=policy, bypass_policy_lockout_safety_check=True)
    admin = service.new_user("admin", policies={"p": ALLOW_ALL})
    for token in (None, admin, service.new_user("nothing")):
        values = {"key_id": key.key_id, "plaintext": b"x"}
        error = refused(service, AccessDeniedException, "Encrypt", values, token=token)
        assert error.message.endswith("because no resource-based policy allows the kms:Encrypt action")


def test_policies_of_a_caller_count_together(service: InProcess) -> None:
    """Any of them may allow, each of them may deny; a role's session has the role's."""
    key = new_key(service)
    values = {"key_id": key.key_id, "plaintext": b"x"}
    role = service.call("CreateRole", {"account_id": HOME, "role_name": "worker"}).role
    token = service.new_token(role.arn, session_name="s1")
    refused(service, AccessDeniedException, "Encrypt", values, token=token)
    for name, document in (("a", identity_policy("s3:*")), ("b", identity_policy("kms:Enc*", resource=key.arn))):
        service.call("PutIdentityPolicy", {
            "principal_arn": role.arn, "policy_name": name, "policy_document": document
        })
    service.call("Encrypt", values, token=token)
    service.call("PutIdentityPolicy", {
        "principal_arn": role.arn, "policy_name": "c",
        "policy_document": identity_policy("kms:*", resource="arn:aws:kms:*:*:key/*", effect="Deny"),
    })
    error = refused(service, AccessDeniedException, "Encrypt", values, token=token)
    assert error.message.startswith(f"User: arn:aws:sts::{HOME}:assumed-role/worker/s1 is not authorized")
    assert error.message.endswith("with an explicit deny in an identity-based policy")


def test_what_is_kept_of_policies_is_bounded(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the statements in it; what is forgotten is worked out again, to the same decisions."""
    monkeypatch.setattr("kagitori_server.authz.authorizer._NARROWED_STATEMENTS", 12)
    authorizer = Authorizer()
    here = {"StringEquals": {"kms:EncryptionContext:app": "x"}}
    arn = user_arn("bounded")
    caller = _caller(service, service.new_user("bounded"))
    allowing, other = {**statement(arn, "kms:Encrypt"), "Condition": here}, statement(arn, "kms:Decrypt")
    keys = [_key(service, new_key(service, policy=delegating(allowing, other)).key_id) for _ in range(9)]
    for _ in range(2):
        for key in keys:
            for pairs in ({"app": "x"}, {"app": "y"}, {}):
                asked = Asked(
                    action="kms:Encrypt", caller=caller, request=None, evidence=Evidence(), region=REGION,
                    resource_account=HOME, now=0.0, key=key, named=None, pairs=pairs, attested={},
                    same_key=lambda: None,
                )
                decision = authorizer.on_key(asked, key, cross_account=True)
                assert decision.allowed is (pairs == {"app": "x"})
                assert 0 < authorizer._narrowed_size <= 12
                assert len(authorizer._narrowed) <= 4
