"""The grants of one grantee on one key, laid out so that a call looks at those alone that could permit it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kagitori_server.model.grants import Grant
from kagitori_server.policy import grants as policy
from kagitori_server.policy.grants import ConstraintKind, GrantConstraint

_BOUND_BY_CONTEXT = frozenset(f"kms:{operation}".lower() for operation in policy.CONTEXT_OPERATIONS)


@dataclass(slots=True, eq=False)
class _Shelf:
    """The grants that list one action, by what they demand of the encryption context."""

    free: list[policy.Grant] = field(default_factory=list)
    equal: defaultdict[frozenset[tuple[str, str]], list[policy.Grant]] = field(
        default_factory=lambda: defaultdict(list)
    )
    subset: list[policy.Grant] = field(default_factory=list)


class GrantBook:
    """Made of the records of one moment; `records` is what it was made of. Never changes."""

    __slots__ = ("_shelves", "records")

    def __init__(self, records: tuple[Grant, ...]) -> None:
        self.records = records
        self._shelves: dict[str, _Shelf] = {}
        for record in records:
            grant = as_policy_grant(record)
            for action in grant.actions:
                self._place(self._shelves.setdefault(action, _Shelf()), action, grant)

    def candidates(self, action: str, encryption_context: Mapping[str, str]) -> Iterator[policy.Grant]:
        """The grants that could permit `action` (in lower case): whether they do is for the evaluator to say."""
        shelf = self._shelves.get(action)
        if shelf is None:
            return
        yield from shelf.free
        if shelf.equal:
            yield from shelf.equal.get(frozenset(encryption_context.items()), ())
        yield from shelf.subset

    @staticmethod
    def _place(shelf: _Shelf, action: str, grant: policy.Grant) -> None:
        constraint = grant.constraint
        if constraint is None or action not in _BOUND_BY_CONTEXT:
            shelf.free.append(grant)
        elif constraint.kind is ConstraintKind.EQUALS:
            shelf.equal[frozenset(constraint.pairs.items())].append(grant)
        else:
            shelf.subset.append(grant)


def as_policy_grant(record: Grant) -> policy.Grant:
    """A grant as decisions see it."""
    constraint = None
    if record.constraint is not None:
        constraint = GrantConstraint(ConstraintKind(record.constraint.kind.value), record.constraint.pairs)
    return policy.Grant(
        grant_id=record.grant_id,
        grantee=record.grantee.unique_id,
        operations=record.operations,
        constraint=constraint,
        retiring_principal=None if record.retiring is None else record.retiring.unique_id,
        issuing_account=record.issuing_account,
    )
