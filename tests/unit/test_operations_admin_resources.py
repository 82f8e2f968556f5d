"""Operations of AdminService are decided on the ARN of the entity that they are about, as in AWS IAM: a policy reaches
exactly what it names, and who may not ask doesn't hear what there is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.identities import HOME_ARN, assume, new_role, trust
from tests.support.inprocess import ALLOW_ALL, HOME, REGION, InProcess
from tests.support.kms_calls import OTHER, identity_policy, root

from kagitori_server.model.call import Evidence
from kagitori_server.model.errors import (
    AccessDeniedException,
    EntityAlreadyExistsException,
    KmsError,
    NoSuchEntityException,
)
from kagitori_server.model.principals import Caller, CredentialKind
from kagitori_server.operations.admin_rows import ROLE, USER, permission
from kagitori_server.operations.admin_table import ADMIN
from kagitori_server.operations.context import Context
from kagitori_server.operations.identity_resources import identity_resource
from kagitori_server.operations.row import Operation, Resource
from kagitori_server.operations.table import TABLE

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


Make = Callable[[InProcess], Case]


def _fresh() -> str:
    return f"e{next(numbers):04}"


def new_user(service: InProcess) -> tuple[str, str]:
    name = _fresh()
    return name, service.call("CreateUser", {"user_name": name, "path": PATH}).user.arn


def _user(**more: Any) -> Make:
    def make(service: InProcess) -> Case:
        name, arn = new_user(service)
        return Case({"user_name": name, **more}, arn, name, "user_name")

    return make


def _role(**more: Any) -> Make:
    def make(service: InProcess) -> Case:
        name = _fresh()
        return Case({"role_name": name, **more}, new_role(service, name, path=PATH), name, "role_name")

    return make


def _group(*, holds_user: bool | None = None) -> Make:
    def make(service: InProcess) -> Case:
        name = _fresh()
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
        name, member = _fresh(), f"{kind}_name"
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
    name = _fresh()
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
    "DeleteGroup": _group(),
    "AddUserToGroup": _group(holds_user=False),
    "RemoveUserFromGroup": _group(holds_user=True),
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
finding = pytest.mark.parametrize("operation", [name for name in CASES if name not in CREATING])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("resources")) as opened:
        opened.new_account(OTHER)
        yield opened


def new_caller(service: InProcess, **policies: str) -> str:
    """A user with these policies; its token."""
    return service.new_user(f"caller-{next(numbers)}", policies=policies)


def refusal(service: InProcess, operation: str, values: dict[str, Any], token: str) -> tuple[Any, ...]:
    """What a refused call is answered and what its record holds of the refusal."""
    with pytest.raises(KmsError) as refused:
        service.call(operation, values, token=token)
    record = service.records()[-1]
    assert record["eventName"] == operation
    told = {name: record.get(name) for name in ("errorCode", "errorMessage", "resources", "additionalEventData")}
    return type(refused.value), refused.value.message, repr(told)


def unnamed(answer: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """The answer without what the request named."""
    kind, *texts = answer
    return (kind, *(text.replace(name, "NAME") for text in texts))


def test_every_operation_about_one_entity_is_asked_here() -> None:
    on_entities = {row.name for row in ADMIN if any(each.on is Resource.ENTITY for each in row.permissions)}
    assert on_entities == set(CASES)


@operations
def test_a_policy_that_names_the_entity_permits(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    token = new_caller(service, one=identity_policy(f"kagitori:{operation}", resource=case.arn))
    service.call(operation, case.values, token=token)


@operations
def test_a_deny_on_the_entity_is_heeded(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    deny = identity_policy(f"kagitori:{operation}", resource=case.arn, effect="Deny")
    token = new_caller(service, all=ALLOW_ALL, deny=deny)
    for _ in range(2):
        with pytest.raises(AccessDeniedException, match="with an explicit deny in an identity-based policy"):
            service.call(operation, case.values, token=token)
    assert service.records()[-1]["errorCode"] == "AccessDenied"
    service.call(operation, CASES[operation](service).values, token=token)
    service.call(operation, case.values)


@operations
def test_policies_on_other_resources_permit_nothing(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    others = [
        case.arn[:-1], f"{case.arn}x", case.arn.replace(PATH, "/"), case.arn.replace(PATH, "/other/"),
        case.arn.replace(HOME, OTHER), root(HOME), f"arn:aws:kagitori:{REGION}:{HOME}:*",
        f"{HOME_ARN}:mfa{PATH}*",
    ]
    if {"group_name", "user_name"} <= case.values.keys():
        others.append(f"{HOME_ARN}:user{PATH}{case.values['user_name']}")
    token = new_caller(service, others=identity_policy("kagitori:*", resource=others))
    with pytest.raises(AccessDeniedException, match="because no identity-based policy allows"):
        service.call(operation, case.values, token=token)
    service.call(operation, case.values)


@operations
def test_a_refusal_says_no_more_than_the_request(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    token = new_caller(service)
    _, message, told = refusal(service, operation, case.values, token)
    assert f"kagitori:{operation} on resource: " in message
    assert case.named in message
    if operation not in CREATING:
        owner = case.arn.rpartition("/")[2]
        for text in (message, told):
            assert PATH not in text
            assert operation not in BY_ID or owner not in text


UNABLE: dict[str, Callable[[Case], dict[str, str]]] = {
    "nothing": lambda _case: {},
    "on another": lambda case: {"p": identity_policy("kagitori:*", resource=f"{case.arn}x")},
    "in another path": lambda case: {"p": identity_policy("kagitori:*", resource=case.arn.replace(PATH, "/ops/"))},
    "but denied": lambda case: {
        "p": identity_policy("kagitori:*", resource=f"{HOME_ARN}:*{PATH}*"),
        "d": identity_policy("kagitori:*", resource=case.arn, effect="Deny"),
    },
}
"""Policies of callers whom the call is refused, whether or not there is what it names."""


@finding
@pytest.mark.parametrize("kind", UNABLE)
def test_who_is_not_allowed_does_not_learn_what_exists(service: InProcess, operation: str, kind: str) -> None:
    case = CASES[operation](service)
    absent = "a" * len(case.named) if case.named.islower() else "A" * len(case.named)
    token = new_caller(service, **UNABLE[kind](case))
    there = refusal(service, operation, case.values, token)
    not_there = refusal(service, operation, case.about(absent), token)
    assert there[0] is AccessDeniedException
    assert unnamed(there, case.named) == unnamed(not_there, absent)


@pytest.mark.parametrize("operation", sorted(CREATING))
def test_who_may_not_create_does_not_learn_what_exists(service: InProcess, operation: str) -> None:
    taken, free = (CASES[operation](service) for _ in range(2))
    service.call(operation, taken.values)
    token = new_caller(service, p=identity_policy("kagitori:*", resource=f"{HOME_ARN}:*/ops/*"))
    there, not_there = (refusal(service, operation, case.values, token) for case in (taken, free))
    assert there[0] is AccessDeniedException
    assert unnamed(there, taken.named) == unnamed(not_there, free.named)
    # Who may is told, whatever the path of the one that exists.
    able = new_caller(service, p=identity_policy("kagitori:*", resource=f"{HOME_ARN}:*/ops/*"))
    with pytest.raises(EntityAlreadyExistsException):
        service.call(operation, {**taken.values, "path": "/ops/"}, token=able)


@finding
def test_who_is_allowed_everything_hears_what_is_not_there(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    absent = "a" * len(case.named) if case.named.islower() else "A" * len(case.named)
    with pytest.raises(NoSuchEntityException):
        service.call(operation, case.about(absent), token=new_caller(service, all=ALLOW_ALL))


@pytest.mark.parametrize("operation", ["GetUser", "DeleteRole", "DeleteGroup", "ListGroupsForUser"])
def test_what_is_not_there_is_decided_on_without_a_path(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    absent = _fresh()
    arn = case.arn.replace(PATH, "/").replace(case.named, absent)
    able = new_caller(service, p=identity_policy("kagitori:*", resource=arn))
    with pytest.raises(NoSuchEntityException):
        service.call(operation, case.about(absent), token=able)
    denied = new_caller(service, all=ALLOW_ALL, d=identity_policy("kagitori:*", resource=arn, effect="Deny"))
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        service.call(operation, case.about(absent), token=denied)


@pytest.mark.parametrize("operation", ["GetUser", "GetRole", "DeleteGroup"])
def test_other_letters_are_another_name(service: InProcess, operation: str) -> None:
    """Names are unique without regard to case and found by their exact case, so the ARN that exists has no say."""
    case = CASES[operation](service)
    shouted = case.named.upper()
    on_it = new_caller(service, p=identity_policy("kagitori:*", resource=case.arn))
    with pytest.raises(AccessDeniedException):
        service.call(operation, case.about(shouted), token=on_it)
    with pytest.raises(NoSuchEntityException):
        service.call(operation, case.about(shouted))


def test_a_created_entity_has_no_path_unless_one_is_given(service: InProcess) -> None:
    name = _fresh()
    token = new_caller(service, p=identity_policy("kagitori:CreateUser", resource=f"{HOME_ARN}:user/{name}"))
    with pytest.raises(AccessDeniedException, match=re.escape(f"{HOME_ARN}:user{PATH}{name}")):
        service.call("CreateUser", {"user_name": name, "path": PATH}, token=token)
    assert service.call("CreateUser", {"user_name": name}, token=token).user.arn == f"{HOME_ARN}:user/{name}"


def test_credentials_of_other_accounts_and_of_sessions_are_as_good_as_unknown(service: InProcess) -> None:
    foreign = service.call("CreateToken", {"principal_arn": root(OTHER)}).token_id
    role = new_role(service, _fresh(), trust_policy=trust(f"{HOME_ARN}:root"))
    caller = service.new_user(f"caller-{next(numbers)}", policies={"a": identity_policy("sts:*")})
    session_key = assume(service, role, caller).credentials.access_key_id
    everybody = new_caller(service, p=identity_policy("kagitori:*", resource="arn:aws:iam::*:*"))
    for operation, member, values in (
        ("RevokeToken", foreign, {"token_id": foreign}),
        ("DeleteAccessKey", session_key, {"access_key_id": session_key}),
    ):
        answer = refusal(service, operation, values, everybody)
        absent = ("a" if member.islower() else "A") * len(member)
        [name] = values
        unknown = refusal(service, operation, {name: absent}, everybody)
        assert answer[0] is AccessDeniedException
        assert unnamed(answer, member) == unnamed(unknown, absent)


def test_tokens_of_sessions_belong_to_the_role(service: InProcess) -> None:
    role = new_role(service, _fresh(), trust_policy=trust(f"{HOME_ARN}:root"))
    caller = service.new_user(f"caller-{next(numbers)}", policies={"a": identity_policy("sts:*")})
    assume(service, role, caller)
    [token] = service.call("ListTokens", {"principal_arn": role}).tokens
    deny = identity_policy("kagitori:RevokeToken", resource=role, effect="Deny")
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        service.call("RevokeToken", {"token_id": token.token_id}, token=new_caller(service, all=ALLOW_ALL, d=deny))
    able = new_caller(service, p=identity_policy("kagitori:RevokeToken", resource=role))
    service.call("RevokeToken", {"token_id": token.token_id}, token=able)


def test_administrators_of_the_home_account_heed_denies_on_other_accounts_entities(service: InProcess) -> None:
    name = _fresh()
    arn = service.call("CreateRole", {"account_id": OTHER, "role_name": name, "path": PATH}).role.arn
    values = {"account_id": OTHER, "role_name": name}
    deny = identity_policy("kagitori:DeleteRole", resource=arn, effect="Deny")
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        service.call("DeleteRole", values, token=new_caller(service, all=ALLOW_ALL, d=deny))
    at_home = identity_policy("kagitori:DeleteRole", resource=arn.replace(OTHER, HOME))
    with pytest.raises(AccessDeniedException):
        service.call("DeleteRole", values, token=new_caller(service, p=at_home))
    service.call("DeleteRole", values, token=new_caller(service, p=identity_policy("kagitori:*", resource=arn)))


def _explained(principal: str | None) -> dict[str, Any]:
    asked = {"action": "kms:ListKeys", "resource_arn": "*"}
    return asked if principal is None else {**asked, "principal_arn": principal}


def test_access_is_explained_to_who_may_ask_about_the_principal(service: InProcess) -> None:
    name = f"caller-{next(numbers)}"
    own = f"{HOME_ARN}:user/{name}"
    token = service.new_user(name, policies={"p": identity_policy("kagitori:ExplainAccess", resource=own)})
    for principal in (None, own):
        assert service.call("ExplainAccess", _explained(principal), token=token).decision == "IMPLICIT_DENY"
    _, other = new_user(service)
    for principal in (other, root(HOME)):
        with pytest.raises(AccessDeniedException):
            service.call("ExplainAccess", _explained(principal), token=token)


def test_a_session_asks_about_itself_by_its_role(service: InProcess) -> None:
    name = _fresh()
    arn = f"{HOME_ARN}:role{PATH}{name}"
    inline = identity_policy("kagitori:ExplainAccess", resource=arn)
    new_role(service, name, path=PATH, inline=inline)
    token = service.new_token(arn, "s1")
    for principal in (None, arn, f"arn:aws:sts::{HOME}:assumed-role/{name}/s1"):
        assert service.call("ExplainAccess", _explained(principal), token=token).decision == "IMPLICIT_DENY"


def _context(service: InProcess, row: Operation, request: Any) -> Context:
    record = service.catalog.view.principal(root(HOME))
    assert record is not None
    caller = Caller(
        kind=record.kind, account=HOME, arn=record.arn, user_id=HOME, record=record,
        credential_kind=CredentialKind.TOKEN, credential_id="",
    )
    return Context(
        operation=row, caller=caller, request=request, evidence=Evidence(), account=HOME, region=REGION,
        services=service.services, now=service.clock(), lookup=service.catalog.view,
    )


@pytest.mark.parametrize(("operation", "entity", "member"), [("DeleteUser", USER, "user_name"),
                                                             ("DeleteRole", ROLE, "role_name")])
def test_within_a_transaction_its_own_state_counts(
    service: InProcess, operation: str, entity: Any, member: str
) -> None:
    case = CASES[operation](service)
    row = TABLE[operation]
    assert isinstance(row, Operation)
    request = row.request.build({member: case.named})
    context = _context(service, row, request)
    asked = permission(operation, entity)
    assert identity_resource(context, asked, request).arn == case.arn
    with service.catalog.write() as writer:
        writer.delete_principal(case.arn)
        assert identity_resource(context, asked, request).arn == case.arn
        context.writer_or_none = writer
        found = identity_resource(context, asked, request)
    assert found.arn == found.unknown_arn == case.arn.replace(PATH, "/")


def test_a_row_that_names_no_entity_is_a_fault(service: InProcess) -> None:
    row = TABLE["GetUser"]
    assert isinstance(row, Operation)
    request = row.request.build({"user_name": "alice"})
    with pytest.raises(RuntimeError):
        identity_resource(_context(service, row, request), permission("GetUser", Resource.ENTITY), request)
