"""Users, groups, roles and policies for tests, made through the service."""

from __future__ import annotations

import json
from typing import Any

from tests.support.inprocess import HOME, InProcess

HOME_ARN = f"arn:aws:iam::{HOME}"


def statement(action: str | list[str], effect: str = "Allow", **more: Any) -> str:
    """A policy of one statement, on every resource unless `Principal` says that it is a trust policy."""
    members = {"Effect": effect, "Action": action, **more}
    if "Principal" not in more:
        members.setdefault("Resource", "*")
    return json.dumps({"Version": "2012-10-17", "Statement": [members]})


def trust(principal: Any, action: str | list[str] = "sts:*", effect: str = "Allow", **more: Any) -> str:
    """A trust policy for a principal by ARN, or for everybody by `*`."""
    return statement(action, effect, Principal=principal if principal == "*" else {"AWS": principal}, **more)


def new_role(
    service: InProcess, name: str = "worker", trust_policy: str | None = None, inline: str | None = None, **more: Any
) -> str:
    """Makes a role. Returns its ARN."""
    values = {"role_name": name, **more}
    if trust_policy is not None:
        values["assume_role_policy_document"] = trust_policy
    arn: str = service.call("CreateRole", values).role.arn
    if inline is not None:
        put_inline(service, arn, inline)
    return arn


def put_inline(service: InProcess, arn: str, document: str, name: str = "inline") -> None:
    """Puts an inline policy on a user, role or group."""
    service.call("PutIdentityPolicy", {"principal_arn": arn, "policy_name": name, "policy_document": document})


def new_managed(service: InProcess, document: str, name: str = "managed") -> str:
    """Makes a managed policy. Returns its ARN."""
    arn: str = service.call("CreateManagedPolicy", {"policy_name": name, "policy_document": document}).policy.arn
    return arn


def attach(service: InProcess, arn: str, policy_arn: str) -> None:
    """Attaches a managed policy."""
    service.call("AttachManagedPolicy", {"principal_arn": arn, "policy_arn": policy_arn})


def assume(service: InProcess, role: str, token: str | None, session: str = "s1", **more: Any) -> Any:
    """The answer to AssumeRole by whom `token` proves."""
    return service.call("AssumeRole", {"role_arn": role, "role_session_name": session, **more}, token=token)
