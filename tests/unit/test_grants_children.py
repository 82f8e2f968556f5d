"""Who may make grants by a grant makes none that reaches further."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.grantees import PAIRS, Keyholder
from tests.support.inprocess import ALLOW_ALL, InProcess

from kagitori_server.model.errors import AccessDeniedException, ValidationException

EQUALS, SUBSET = "encryption_context_equals", "encryption_context_subset"
WIDER = {**PAIRS, "more": "1"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        opened.call("CreateUser", {"user_name": "bob"})
        yield opened


@pytest.fixture
def holder(service: InProcess) -> Keyholder:
    return Keyholder(service)


@pytest.mark.parametrize(
    ("operations", "allowed"),
    [
        (("Encrypt",), True),
        (("CreateGrant",), True),
        (("Encrypt", "CreateGrant"), True),
        (("Decrypt",), False),
        (("Encrypt", "Decrypt"), False),
        (("RetireGrant",), False),
        (("DescribeKey",), False),
    ],
)
def test_operations_are_among_the_parents(
    service: InProcess, holder: Keyholder, operations: tuple[str, ...], allowed: bool
) -> None:
    alice = service.new_user("alice")
    holder.grant("alice", "Encrypt", "CreateGrant")
    if allowed:
        assert holder.grant("bob", *operations, token=alice).grant_id in holder.grant_ids()
        return
    for members in ({}, {"dry_run": True}):
        with pytest.raises(AccessDeniedException):
            holder.grant("bob", *operations, token=alice, **members)
    assert len(holder.grant_ids()) == 1


@pytest.mark.parametrize(
    ("parent", "child", "allowed"),
    [
        (None, None, True),
        (None, {SUBSET: PAIRS}, True),
        ({SUBSET: PAIRS}, None, False),
        ({SUBSET: PAIRS}, {SUBSET: PAIRS}, True),
        ({SUBSET: PAIRS}, {SUBSET: WIDER}, True),
        ({SUBSET: PAIRS}, {EQUALS: WIDER}, True),
        ({SUBSET: PAIRS}, {EQUALS: {"app": "shop"}}, False),
        ({SUBSET: PAIRS}, {SUBSET: {"app": "shop"}}, False),
        ({SUBSET: PAIRS}, {SUBSET: {**PAIRS, "app": "Shop"}}, False),
        ({EQUALS: PAIRS}, None, False),
        ({EQUALS: PAIRS}, {EQUALS: PAIRS}, True),
        ({EQUALS: PAIRS}, {EQUALS: WIDER}, False),
        ({EQUALS: PAIRS}, {SUBSET: PAIRS}, False),
    ],
)
def test_constraints_are_as_strict_as_the_parents(
    service: InProcess, holder: Keyholder, parent: Mapping[str, Any] | None, child: Mapping[str, Any] | None,
    allowed: bool,
) -> None:
    alice = service.new_user("alice")
    holder.grant("alice", "Encrypt", "CreateGrant", constraints=parent)
    if allowed:
        holder.grant("bob", "Encrypt", token=alice, constraints=child)
        assert len(holder.grant_ids()) == 2
        return
    with pytest.raises(AccessDeniedException):
        holder.grant("bob", "Encrypt", token=alice, constraints=child)


@pytest.mark.parametrize("constraints", [{}, {EQUALS: {}, SUBSET: {}}, {EQUALS: PAIRS, SUBSET: PAIRS}])
def test_constraints_that_mean_nothing_open_no_way_around(
    service: InProcess, holder: Keyholder, constraints: Mapping[str, Any]
) -> None:
    alice = service.new_user("alice")
    holder.grant("alice", "Encrypt", "CreateGrant", constraints={EQUALS: PAIRS})
    with pytest.raises(ValidationException):
        holder.grant("bob", "Encrypt", token=alice, constraints=constraints)


def test_one_parent_has_to_cover_the_whole_child(service: InProcess, holder: Keyholder) -> None:
    alice = service.new_user("alice")
    holder.grant("alice", "Encrypt", "CreateGrant")
    holder.grant("alice", "Decrypt", "CreateGrant")
    holder.grant("bob", "Decrypt", token=alice)
    with pytest.raises(AccessDeniedException):
        holder.grant("bob", "Encrypt", "Decrypt", token=alice)


def test_who_may_by_policy_is_not_bound(service: InProcess, holder: Keyholder) -> None:
    admin = service.new_user("admin", policies={"all": ALLOW_ALL})
    holder.grant("admin", "Encrypt", "CreateGrant", constraints={EQUALS: PAIRS})
    holder.grant("bob", "Encrypt", "Decrypt", token=admin)


def test_children_survive_their_parent(service: InProcess, holder: Keyholder) -> None:
    alice, carol = service.new_user("alice"), service.new_user("carol")
    parent = holder.grant("alice", "Encrypt", "CreateGrant").grant_id
    holder.grant("carol", "Encrypt", token=alice)
    service.call("RevokeGrant", {"key_id": holder.key_id, "grant_id": parent})
    holder.encrypt(carol)
    with pytest.raises(AccessDeniedException):
        holder.grant("bob", "Encrypt", token=alice)
