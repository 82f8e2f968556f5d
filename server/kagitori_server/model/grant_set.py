"""The grants of one grantee on one key, laid out so that a call looks at those alone that could permit it.

A principal may hold thousands of grants on a key, one per disk or table, each for an encryption context of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kagitori_server.model.grants import ConstraintKind, Grant, GrantOperation

CONTEXT_OPERATIONS = frozenset({
    GrantOperation.ENCRYPT, GrantOperation.DECRYPT, GrantOperation.RE_ENCRYPT_FROM, GrantOperation.RE_ENCRYPT_TO,
    GrantOperation.GENERATE_DATA_KEY, GrantOperation.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,
    GrantOperation.GENERATE_DATA_KEY_PAIR, GrantOperation.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT,
})
"""The operations that take an encryption context, which constraints bind."""

_Pair = tuple[str, str]


@dataclass(slots=True, eq=False)
class _Shelf:
    """The grants that list one operation, by what they demand of the encryption context."""

    free: list[Grant] = field(default_factory=list)
    equal: dict[frozenset[_Pair], list[Grant]] = field(default_factory=dict)
    holding: dict[_Pair, list[Grant]] = field(default_factory=dict)
    """By one of the pairs that the context has to hold: the one that fewest grants demand."""


class GrantSet:
    """Never changes: another state of the catalog is another set."""

    __slots__ = ("_shelves", "records")

    def __init__(self, records: tuple[Grant, ...]) -> None:
        self.records = records
        """All of them, in the order of grant ids."""
        self._shelves: dict[str, _Shelf] = {}
        demanded: Counter[_Pair] = Counter()
        for grant in records:
            if grant.constraint is not None and grant.constraint.kind is ConstraintKind.SUBSET:
                demanded.update(grant.constraint.pairs.items())
        for grant in records:
            for operation in grant.operations:
                self._place(self._shelves.setdefault(operation.value, _Shelf()), operation, grant, demanded)

    def candidates(self, operation: str, encryption_context: Mapping[str, str]) -> Iterator[Grant]:
        """The grants that could permit the operation (`Encrypt`): all that do, and some that don't."""
        shelf = self._shelves.get(operation)
        if shelf is None:
            return
        yield from shelf.free
        if shelf.equal:
            yield from shelf.equal.get(frozenset(encryption_context.items()), ())
        if shelf.holding:
            for pair in encryption_context.items():
                yield from shelf.holding.get(pair, ())

    @staticmethod
    def _place(shelf: _Shelf, operation: GrantOperation, grant: Grant, demanded: Counter[_Pair]) -> None:
        constraint = grant.constraint
        if constraint is None or operation not in CONTEXT_OPERATIONS:
            shelf.free.append(grant)
        elif constraint.kind is ConstraintKind.EQUALS:
            shelf.equal.setdefault(frozenset(constraint.pairs.items()), []).append(grant)
        else:
            rarest = min(constraint.pairs.items(), key=demanded.__getitem__)
            shelf.holding.setdefault(rarest, []).append(grant)


NO_GRANTS = GrantSet(())
