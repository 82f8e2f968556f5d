"""Grants: their constraints, and which children a parent may have."""

from __future__ import annotations

import pytest

from kagitori_server.policy import ConstraintKind, Grant, GrantConstraint, child_grant_allowed

EQUALS, SUBSET = ConstraintKind.EQUALS, ConstraintKind.SUBSET
ALL = frozenset({"Decrypt", "Encrypt", "CreateGrant"})
_Constraint = tuple[ConstraintKind, dict[str, str]] | None


def _grant(constraint: _Constraint, operations: frozenset[str] = ALL) -> Grant:
    return Grant("g", "AIDAP", operations, None if constraint is None else GrantConstraint(*constraint))


@pytest.mark.parametrize(
    ("kind", "pairs", "context", "admitted"),
    [
        (EQUALS, {"a": "1"}, {"a": "1"}, True),
        (EQUALS, {"a": "1", "b": "2"}, {"b": "2", "a": "1"}, True),
        (EQUALS, {"a": "1"}, {"a": "1", "b": "2"}, False),
        (EQUALS, {"a": "1"}, {"A": "1"}, False),
        (EQUALS, {"a": "x"}, {"a": "X"}, False),
        (EQUALS, {"a": "1"}, {}, False),
        (EQUALS, {}, {}, True),
        (EQUALS, {}, {"a": "1"}, False),
        (SUBSET, {"a": "1"}, {"a": "1"}, True),
        (SUBSET, {"a": "1"}, {"a": "1", "b": "2"}, True),
        (SUBSET, {"a": "1"}, {"a": "2", "b": "1"}, False),
        (SUBSET, {"a": "1"}, {}, False),
        (SUBSET, {}, {"a": "1"}, True),
    ],
)
def test_constraint(
    kind: ConstraintKind, pairs: dict[str, str], context: dict[str, str], admitted: bool
) -> None:
    """Equals takes no pair more and none less, Subset none less; names and values are exact."""
    assert GrantConstraint(kind, pairs).admits(context) is admitted


@pytest.mark.parametrize(
    ("parent", "child", "allowed"),
    [
        (None, None, True),
        (None, (EQUALS, {"a": "1"}), True),
        (None, (SUBSET, {"a": "1"}), True),
        ((SUBSET, {"a": "1"}), None, False),
        ((SUBSET, {"a": "1"}), (SUBSET, {"a": "1"}), True),
        ((SUBSET, {"a": "1"}), (SUBSET, {"a": "1", "b": "2"}), True),
        ((SUBSET, {"a": "1"}), (SUBSET, {"b": "2"}), False),
        ((SUBSET, {"a": "1"}), (SUBSET, {}), False),
        ((SUBSET, {"a": "1"}), (EQUALS, {"a": "1", "b": "2"}), True),
        ((SUBSET, {"a": "1"}), (EQUALS, {"a": "2"}), False),
        ((EQUALS, {"a": "1"}), None, False),
        ((EQUALS, {"a": "1"}), (EQUALS, {"a": "1"}), True),
        ((EQUALS, {"a": "1"}), (EQUALS, {"a": "1", "b": "2"}), False),
        ((EQUALS, {"a": "1"}), (SUBSET, {"a": "1"}), False),
        ((EQUALS, {"a": "1"}), (SUBSET, {"a": "1", "b": "2"}), False),
    ],
)
def test_child_constraint(parent: _Constraint, child: _Constraint, allowed: bool) -> None:
    """A child admits no encryption context that its parent does not."""
    assert child_grant_allowed(_grant(parent), _grant(child)) is allowed
    assert child_grant_allowed(_grant(parent), _grant(child, frozenset({"Decrypt"}))) is allowed


def test_child_operations() -> None:
    """A child allows nothing its parent does not, and only a parent with CreateGrant has any."""
    decrypt = frozenset({"Decrypt"})
    assert child_grant_allowed(_grant(None), _grant(None))
    assert child_grant_allowed(_grant(None), _grant(None, decrypt))
    assert not child_grant_allowed(_grant(None, decrypt), _grant(None, decrypt))
    assert not child_grant_allowed(_grant(None), _grant(None, decrypt | {"RetireGrant"}))


def test_children_can_do_no_more_than_their_parents() -> None:
    """By enumeration: whatever a permitted child admits, its parent admits."""
    contexts = [dict(zip("ab", pair, strict=True)) for pair in [("1", "1"), ("1", "2"), ("2", "1")]]
    contexts += [{}, {"a": "1"}, {"b": "1"}, {"a": "1", "b": "1", "c": "1"}]
    constraints = [GrantConstraint(kind, pairs) for kind in ConstraintKind for pairs in contexts]
    for parent in constraints:
        for child in constraints:
            if child_grant_allowed(Grant("p", "x", ALL, parent), Grant("c", "x", ALL, child)):
                assert all(parent.admits(context) for context in contexts if child.admits(context))
