"""Calls of AdminService about one user, role, group or managed policy, and what decides them.

`CASES` makes a call of each such operation, about an entity of its own with the path `PATH`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.identities import HOME_ARN, new_role, trust
from tests.support.inprocess import HOME, InProcess
from tests.support.kms_calls import identity_policy

from kagitori_server.model.errors import KmsError

PATH = "/eng/"
DOCUMENT = identity_policy("kms:ListKeys")
TRUST = trust("*", "sts:AssumeRole", effect="Deny")
numbers = itertools.count(1)


@dataclass(frozen=True)
class Case:
    """A call about an entity with a path, the ARN that decides, and the name or id that stands for it."""

    values: dict[str, Any]
    arn: str
    named: str
    member: str

    def about(self, name: str) -> dict[str, Any]:
        """The same call about something else."""
        return {**self.values, self.member: self.values[self.member].replace(self.named, name)}

    @property
    def absent(self) -> str:
        """A name or id like it, of nothing."""
        return "a" * len(self.named) if self.named.islower() else "A" * len(self.named)


Make = Callable[[InProcess], Case]


def fresh() -> str:
    """A name that nothing has."""
    return f"e{next(numbers):04}"


def new_user(service: InProcess) -> tuple[str, str]:
    """Makes a user with the path `PATH`. Returns its name and ARN."""
    name = fresh()
    return name, service.call("CreateUser", {"user_name": name, "path": PATH}).user.arn


def _user(**more: Any) -> Make:
    def make(service: InProcess) -> Case:
        name, arn = new_user(service)
        return Case({"user_name": name, **more}, arn, name, "user_name")

    return make


def _role(**more: Any) -> Make:
    def make(service: InProcess) -> Case:
        name = fresh()
        return Case({"role_name": name, **more}, new_role(service, name, path=PATH), name, "role_name")

    return make


def group_case(*, holds_user: bool | None = None) -> Make:
    """Of a group, and a user that is in it or not."""
    def make(service: InProcess) -> Case:
        name = fresh()
        arn = service.call("CreateGroup", {"group_name": name, "path": PATH}).group.arn
        values = {"group_name": name}
        if holds_user is not None:
            values["user_name"], _ = new_user(service)
        if holds_user:
            service.call("AddUserToGroup", values)
        return Case(values, arn, name, "group_name")

    return make


def _new(kind: str, **more: Any) -> Make:
    def make(_service: InProcess) -> Case:
        name, member = fresh(), f"{kind}_name"
        return Case({member: name, "path": PATH, **more}, f"{HOME_ARN}:{kind}{PATH}{name}", name, member)

    return make


def _token(service: InProcess) -> Case:
    _, arn = new_user(service)
    token_id = service.call("CreateToken", {"principal_arn": arn}).token_id
    return Case({"token_id": token_id}, arn, token_id, "token_id")


def _certificate(service: InProcess) -> Case:
    name, arn = new_user(service)
    values = {"principal_arn": arn, "uri_san": f"spiffe://test/{name}"}
    certificate_id = service.call("RegisterCertificate", values).certificate_id
    return Case({"certificate_id": certificate_id}, arn, certificate_id, "certificate_id")


def _access_key(**more: Any) -> Make:
    def make(service: InProcess) -> Case:
        _, arn = new_user(service)
        key_id = service.call("CreateAccessKey", {"principal_arn": arn}).access_key.access_key_id
        return Case({"access_key_id": key_id, **more}, arn, key_id, "access_key_id")

    return make


def _session(service: InProcess) -> Case:
    name = fresh()
    arn = new_role(service, name, path=PATH)
    session = f"arn:aws:sts::{HOME}:assumed-role/{name}/s1"
    return Case(
        {"principal_arn": session, "action": "kms:ListKeys", "resource_arn": "*"}, arn, name, "principal_arn"
    )


CASES: dict[str, Make] = {
    "CreateUser": _new("user"),
    "GetUser": _user(),
    "DeleteUser": _user(),
    "ListGroupsForUser": _user(),
    "CreateGroup": _new("group"),
    "DeleteGroup": group_case(),
    "AddUserToGroup": group_case(holds_user=False),
    "RemoveUserFromGroup": group_case(holds_user=True),
    "CreateRole": _new("role"),
    "GetRole": _role(),
    "DeleteRole": _role(),
    "UpdateAssumeRolePolicy": _role(policy_document=TRUST),
    "CreateManagedPolicy": _new("policy", policy_document=DOCUMENT),
    "RevokeToken": _token,
    "DeregisterCertificate": _certificate,
    "UpdateAccessKey": _access_key(status="Inactive"),
    "DeleteAccessKey": _access_key(),
    "ExplainAccess": _session,
}
CREATING = {"CreateUser", "CreateGroup", "CreateRole", "CreateManagedPolicy"}
BY_ID = {"RevokeToken", "DeregisterCertificate", "UpdateAccessKey", "DeleteAccessKey"}

operations = pytest.mark.parametrize("operation", CASES)


def new_caller(service: InProcess, **policies: str) -> str:
    """A user with these policies; its token."""
    return service.new_user(f"caller-{next(numbers)}", policies=policies)


def refusal(service: InProcess, operation: str, values: dict[str, Any], token: str) -> tuple[type[KmsError], str]:
    """What a refused call is answered; its record says the same."""
    with pytest.raises(KmsError) as refused:
        service.call(operation, values, token=token)
    record = service.records()[-1]
    assert (record["eventName"], record["errorMessage"]) == (operation, refused.value.message)
    return type(refused.value), refused.value.message


def unnamed(answer: tuple[type[KmsError], str], name: str) -> tuple[type[KmsError], str]:
    """The answer without what the request named."""
    kind, message = answer
    return kind, message.replace(name, "NAME")
