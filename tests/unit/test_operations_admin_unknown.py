"""Who may not do something to an entity doesn't hear whether it's there; who may, hears that it isn't."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.support.entity_calls import (
    CASES,
    CREATING,
    PATH,
    Case,
    fresh,
    new_caller,
    numbers,
    refusal,
    unnamed,
)
from tests.support.identities import HOME_ARN, assume, new_role, trust
from tests.support.inprocess import ALLOW_ALL, InProcess
from tests.support.kms_calls import OTHER, identity_policy, root

from kagitori_server.model.errors import (
    AccessDeniedException,
    EntityAlreadyExistsException,
    NoSuchEntityException,
)

finding = pytest.mark.parametrize("operation", [name for name in CASES if name not in CREATING])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("unknown")) as opened:
        opened.new_account(OTHER)
        yield opened


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
    token = new_caller(service, **UNABLE[kind](case))
    there = refusal(service, operation, case.values, token)
    not_there = refusal(service, operation, case.about(case.absent), token)
    assert there[0] is AccessDeniedException
    assert unnamed(there, case.named) == unnamed(not_there, case.absent)


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
    with pytest.raises(NoSuchEntityException):
        service.call(operation, case.about(case.absent), token=new_caller(service, all=ALLOW_ALL))


@pytest.mark.parametrize("operation", ["GetUser", "DeleteRole", "DeleteGroup", "ListGroupsForUser"])
def test_what_is_not_there_is_decided_on_without_a_path(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    arn = case.arn.replace(PATH, "/").replace(case.named, case.absent)
    able = new_caller(service, p=identity_policy("kagitori:*", resource=arn))
    with pytest.raises(NoSuchEntityException):
        service.call(operation, case.about(case.absent), token=able)
    denied = new_caller(service, all=ALLOW_ALL, d=identity_policy("kagitori:*", resource=arn, effect="Deny"))
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        service.call(operation, case.about(case.absent), token=denied)


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


def test_credentials_of_other_accounts_and_of_sessions_are_as_good_as_unknown(service: InProcess) -> None:
    foreign = service.call("CreateToken", {"principal_arn": root(OTHER)}).token_id
    role = new_role(service, fresh(), trust_policy=trust(f"{HOME_ARN}:root"))
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
