"""A set of grants finds every grant that could permit a call, and looks at few others."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.support.catalogs import a_grant

from kagitori_server.model.grant_set import CONTEXT_OPERATIONS, NO_GRANTS, GrantSet
from kagitori_server.model.grants import Constraint, ConstraintKind, Grant, GrantOperation, GrantPrincipal
from kagitori_server.policy import grants as policy


def _grant(number: int, constraint: Constraint | None, *operations: GrantOperation) -> Grant:
    return replace(a_grant(number), constraint=constraint, operations=frozenset(operations))


def _permits(grant: Grant, operation: GrantOperation, context: dict[str, str]) -> bool:
    """What AWS says, the long way."""
    if operation not in grant.operations:
        return False
    if grant.constraint is None or operation not in CONTEXT_OPERATIONS:
        return True
    pairs = dict(grant.constraint.pairs)
    if grant.constraint.kind is ConstraintKind.EQUALS:
        return pairs == context
    return all(context.get(name) == value for name, value in pairs.items())


def test_the_operations_with_a_context_are_those_of_the_evaluator() -> None:
    assert {operation.value for operation in CONTEXT_OPERATIONS} == policy.CONTEXT_OPERATIONS


def test_no_grant_that_permits_is_missed() -> None:
    chosen = random.Random(7)

    def pairs(least: int) -> dict[str, str]:
        return {chosen.choice("abc"): chosen.choice("xy") for _ in range(chosen.randint(least, 3))}

    operations = [GrantOperation.ENCRYPT, GrantOperation.DESCRIBE_KEY, GrantOperation.CREATE_GRANT]
    permitted = 0
    for _ in range(300):
        grants = tuple(
            _grant(
                number,
                chosen.choice([None, *(Constraint(kind, pairs(1)) for kind in ConstraintKind)]),
                *chosen.sample(operations, chosen.randint(1, 3)),
            )
            for number in range(chosen.randint(0, 8))
        )
        found = GrantSet(grants)
        assert found.records == grants
        for operation in (*operations, GrantOperation.DECRYPT):
            context = pairs(0)
            wanted = {grant.grant_id for grant in grants if _permits(grant, operation, context)}
            candidates = [grant.grant_id for grant in found.candidates(operation.value, context)]
            assert wanted <= set(candidates)
            assert len(candidates) == len(set(candidates))
            permitted += len(wanted)
    assert permitted > 500


def test_a_changed_set_is_as_one_made_anew() -> None:
    """Whatever was taken out and put in, in whatever order; and the set before is what it was."""
    chosen = random.Random(11)

    def grant(number: int) -> Grant:
        constraint = chosen.choice([None, *(
            Constraint(kind, {chosen.choice("abc"): chosen.choice("xy") for _ in range(chosen.randint(1, 3))})
            for kind in ConstraintKind
        )])
        operations = chosen.sample([GrantOperation.ENCRYPT, GrantOperation.DESCRIBE_KEY, GrantOperation.DECRYPT], 2)
        return _grant(number, constraint, *operations)

    kept = GrantSet(tuple(grant(number) for number in range(0, 40, 2)))
    number = 1
    for _ in range(60):
        before, snapshot = kept, kept.records
        gone = set(chosen.sample(sorted(kept.ids), min(len(kept.ids), chosen.randint(0, 3))))
        made = [grant(number + 2 * more) for more in range(chosen.randint(0, 3))]
        number += 6
        kept = before.changed(gone, made)
        wanted = [each for each in snapshot if each.grant_id not in gone] + made
        anew = GrantSet(tuple(sorted(wanted, key=lambda each: each.grant_id)))
        assert kept.records == anew.records
        assert kept.ids == anew.ids
        for same, other in ((kept, anew), (before, GrantSet(snapshot))):
            for operation in ("Encrypt", "DescribeKey", "Decrypt", "Sign"):
                for context in ({}, {"a": "x"}, {"a": "x", "b": "y"}, {"a": "y", "b": "x", "c": "x"}):
                    permitting = [
                        {each.grant_id for each in grants.candidates(operation, context)
                         if _permits(each, GrantOperation(operation), context)}
                        for grants in (same, other)
                    ]
                    assert permitting[0] == permitting[1]


@pytest.mark.parametrize("kind", ConstraintKind)
def test_of_many_grants_with_their_own_contexts_few_are_looked_at(kind: ConstraintKind) -> None:
    """Though they have a pair in common, as those of one table service do."""
    grants = tuple(
        _grant(number, Constraint(kind, {"account": "1", "table": str(number)}), GrantOperation.ENCRYPT)
        for number in range(2_000)
    )
    found = GrantSet(grants)
    context = {"account": "1", "table": "77"}
    assert list(found.candidates("Encrypt", context)) == [grants[77]]
    assert list(found.candidates("Encrypt", {"account": "1"})) == []
    assert list(found.candidates("Decrypt", context)) == []


def test_nothing_is_granted_by_no_grants() -> None:
    assert list(NO_GRANTS.candidates("Encrypt", {})) == []


def test_the_same_terms() -> None:
    """Everything counts but id and date."""
    grant = replace(a_grant(2), retiring=GrantPrincipal("arn", "AIDA"))
    assert grant.same_terms(replace(grant, grant_id="f" * 64, created=0.0))
    assert grant.constraint is not None
    for change in (
        {"region": "x"}, {"key_id": "x"}, {"name": None}, {"grantee": GrantPrincipal("arn", "AIDA")},
        {"retiring": None}, {"retiring": GrantPrincipal("arn", "AIDB")}, {"issuing_account": "1" * 12},
        {"operations": frozenset({GrantOperation.ENCRYPT})}, {"constraint": None},
        {"constraint": Constraint(ConstraintKind.EQUALS, grant.constraint.pairs)},
        {"constraint": Constraint(ConstraintKind.SUBSET, {"a": ""})},
    ):
        assert not grant.same_terms(replace(grant, **change))
