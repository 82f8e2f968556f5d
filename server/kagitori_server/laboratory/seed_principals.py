"""The part of a seed about accounts, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kagitori_server.laboratory.steps import Fixed, Step
from kagitori_server.laboratory.tables import Table
from kagitori_server.model.arn import ACCOUNT_ID, entity_arn, root_arn

_TOKEN = re.compile("kgt_([A-Za-z0-9_-]{43})")
_TOKEN_FORM = "kgt_ and 43 characters of a-z A-Z 0-9 _ -"  # noqa: S105 - words, no token
_ACCESS_KEY_ID = re.compile("AKIA[A-Z0-9]{16}")
_SECRET = re.compile("[A-Za-z0-9_+/-]{40}")
ACCOUNT_FORM = "12 digits"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What names of a seed are completed with."""

    partition: str
    home_account: str
    region: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A user, role, group or managed policy of a seed."""

    table: Table
    kind: str
    account: str
    name: str
    arn: str


def principal_steps(root: Table, around: Surroundings) -> Iterator[Step]:
    """What makes accounts, managed policies, groups, users and roles; all that is named is there before."""
    for table in root.tables("accounts"):
        account, name = table.needed("id", ACCOUNT_ID, ACCOUNT_FORM), table.text("name")
        if account != around.home_account:
            values = {"account_id": account, "name": name or account}
            yield Step(where=table.where, operation="CreateAccount", values=values, account=around.home_account)
        arn = root_arn(around.partition, account)
        yield from _credentials(Entity(table, "root", account, "root", arn), around, role=False)
    yield from _managed_policies(root, around)
    later: list[Step] = []
    for name, kind in (("groups", "group"), ("users", "user"), ("roles", "role")):
        for table in root.tables(name):
            entity = _entity(table, kind, around)
            yield _making(entity, around)
            later += _furnishing(entity, around)
    # A trust policy may name any of them.
    yield from later


def _managed_policies(root: Table, around: Surroundings) -> Iterator[Step]:
    for table in root.tables("managed_policies"):
        entity = _entity(table, "policy", around)
        values = {
            "account_id": entity.account, "policy_name": entity.name, "path": table.text("path"),
            "description": table.text("description"), "policy_document": table.document("document"),
        }
        yield _step(entity, "CreateManagedPolicy", values, around)


def _entity(table: Table, kind: str, around: Surroundings) -> Entity:
    account = table.text("account", ACCOUNT_ID, ACCOUNT_FORM) or around.home_account
    name, path = table.needed("name"), table.text("path") or "/"
    return Entity(table, kind, account, name, entity_arn(around.partition, account, kind, path, name))


def _making(entity: Entity, around: Surroundings) -> Step:
    table = entity.table
    values: dict[str, object] = {
        "account_id": entity.account, f"{entity.kind}_name": entity.name, "path": table.text("path"),
    }
    if entity.kind != "group":
        values["tags"] = tag_list(table.pairs("tags"))
    if entity.kind == "role":
        values["max_session_duration"] = table.number("max_session_duration")
    return _step(entity, f"Create{entity.kind.capitalize()}", values, around)


def _furnishing(entity: Entity, around: Surroundings) -> Sequence[Step]:
    table, of_it = entity.table, {"principal_arn": entity.arn}
    steps = []
    for name, document in table.documents("policies").items():
        values = {**of_it, "policy_name": name, "policy_document": document}
        steps.append(_step(entity, "PutIdentityPolicy", values, around))
    for name in table.texts("managed_policies"):
        values = {**of_it, "policy_arn": _policy_arn(name, entity, around)}
        steps.append(_step(entity, "AttachManagedPolicy", values, around))
    if entity.kind == "user":
        for group in table.texts("groups"):
            values = {"account_id": entity.account, "group_name": group, "user_name": entity.name}
            steps.append(_step(entity, "AddUserToGroup", values, around))
    if entity.kind == "role" and (trust := table.document("trust")) is not None:
        values = {"account_id": entity.account, "role_name": entity.name, "policy_document": trust}
        steps.append(_step(entity, "UpdateAssumeRolePolicy", values, around))
    if entity.kind != "group":
        if (boundary := table.text("boundary")) is not None:
            values = {**of_it, "policy_arn": _policy_arn(boundary, entity, around)}
            steps.append(_step(entity, "PutPermissionsBoundary", values, around))
        steps += _credentials(entity, around, role=entity.kind == "role")
    return steps


def _credentials(entity: Entity, around: Surroundings, *, role: bool) -> Sequence[Step]:
    """Tokens, and, but for roles, access keys."""
    steps = []
    for table in entity.table.tables("tokens"):
        value = table.needed("value", _TOKEN, _TOKEN_FORM)
        values = {
            "principal_arn": entity.arn, "description": table.text("description"),
            "session_name": table.text("session_name"), "duration_seconds": table.number("duration_seconds"),
        }
        fixed = Fixed(secret=value.removeprefix("kgt_"))
        steps.append(_step(entity, "CreateToken", values, around, table.where, fixed))
    for table in () if role else entity.table.tables("access_keys"):
        fixed = Fixed(
            unique_id=table.needed("id", _ACCESS_KEY_ID, "AKIA and 16 characters of A-Z 0-9"),
            secret=table.needed("secret", _SECRET, "40 characters of a-z A-Z 0-9 _ + / -"),
        )
        steps.append(
            _step(entity, "CreateAccessKey", {"principal_arn": entity.arn}, around, table.where, fixed)
        )
    return steps


def tag_list(pairs: dict[str, str]) -> list[dict[str, str]]:
    """Tags as requests have them."""
    return [{"tag_key": key, "tag_value": value} for key, value in pairs.items()]


def _policy_arn(name: str, entity: Entity, around: Surroundings) -> str:
    """An ARN as it is; a name as that of a policy with the path `/`."""
    if name.startswith("arn:"):
        return name
    return entity_arn(around.partition, entity.account, "policy", "/", name)


def _step(
    entity: Entity, operation: str, values: Mapping[str, object], around: Surroundings, where: str | None = None,
    fixed: Fixed | None = None,
) -> Step:
    present = {name: value for name, value in values.items() if value is not None}
    return Step(
        where=where or entity.table.where, operation=operation, values=present, account=around.home_account,
        fixed=fixed or Fixed(),
    )
