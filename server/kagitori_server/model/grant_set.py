"""The grants of one grantee on one key, laid out so that a call looks at those alone that could permit it.

A principal may hold thousands of grants on a key, one per disk or table, each for an encryption context of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import lru_cache
from operator import attrgetter

from kagitori_server.model.grants import ConstraintKind, Grant, GrantOperation

CONTEXT_OPERATIONS = frozenset({
    GrantOperation.ENCRYPT, GrantOperation.DECRYPT, GrantOperation.RE_ENCRYPT_FROM, GrantOperation.RE_ENCRYPT_TO,
    GrantOperation.GENERATE_DATA_KEY, GrantOperation.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,
    GrantOperation.GENERATE_DATA_KEY_PAIR, GrantOperation.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT,
})
"""The operations that take an encryption context, which constraints bind."""

_Pair = tuple[str, str]
_Where = frozenset[_Pair] | _Pair | None
"""Where a grant is found for an operation: by the whole encryption context that it demands, or by one of the pairs that
the context has to hold (the one that fewest grants demand), or whatever the context is."""
_Shelf = dict[_Where, list[Grant]]


class GrantSet:
    """Never changes: another state of the catalog is another set."""

    __slots__ = ("_by_id", "_demanded", "_shelves", "records")

    def __init__(self, records: tuple[Grant, ...]) -> None:
        self.records = records
        """All of them, in the order of grant ids."""
        self._by_id = {grant.grant_id: grant for grant in records}
        self._shelves: dict[str, _Shelf] = {}
        self._demanded: Counter[_Pair] = Counter()
        for grant in records:
            self._demanded.update(_held(grant))
        for grant in records:
            for shelf, where in self._places(grant):
                shelf.setdefault(where, []).append(grant)

    @property
    def ids(self) -> Set[str]:
        """The ids of all of them."""
        return self._by_id.keys()

    def changed(self, gone: Iterable[str], made: Iterable[Grant]) -> GrantSet:
        """The set without the grants of the ids `gone`, with the grants `made`. Copies tables, but looks at no other
        grant, so it takes a small part of what making a large set anew does."""
        new = GrantSet(())
        new._by_id, new._demanded = self._by_id.copy(), self._demanded.copy()
        new._shelves = {operation: shelf.copy() for operation, shelf in self._shelves.items()}
        for grant_id in gone:
            new._take(new._by_id.pop(grant_id))
        for grant in made:
            new._by_id[grant.grant_id] = grant
            new._demanded.update(_held(grant))
            for shelf, where in new._places(grant):
                # The list itself belongs to the old set too.
                shelf[where] = [*shelf.get(where, ()), grant]
        new.records = tuple(sorted(new._by_id.values(), key=attrgetter("grant_id")))
        return new

    def candidates(self, operation: str, encryption_context: Mapping[str, str]) -> Iterator[Grant]:
        """The grants that could permit the operation (`Encrypt`): all that do, and some that don't."""
        shelf = self._shelves.get(operation)
        if shelf is None:
            return
        yield from shelf.get(None, ())
        yield from shelf.get(frozenset(encryption_context.items()), ())
        for pair in encryption_context.items():
            yield from shelf.get(pair, ())

    def _places(self, grant: Grant) -> Iterator[tuple[_Shelf, _Where]]:
        """Where the grant belongs, for each of its operations."""
        demand: _Where = None
        if grant.constraint is not None:
            if grant.constraint.kind is ConstraintKind.EQUALS:
                demand = frozenset(grant.constraint.pairs.items())
            else:
                demand = min(grant.constraint.pairs.items(), key=self._demanded.__getitem__)
        for operation, bound in _listed(grant.operations):
            yield self._shelves.setdefault(operation, {}), demand if bound else None

    def _take(self, grant: Grant) -> None:
        """Takes a grant out. Which of its pairs it was placed by was decided when others were there."""
        self._demanded.subtract(_held(grant))
        everywhere = (None, *_held(grant), *(demand for _, demand in self._places(grant)))
        for operation, _ in _listed(grant.operations):
            shelf = self._shelves[operation]
            for where in everywhere:
                found = shelf.get(where)
                if found is not None:
                    shelf[where] = [other for other in found if other is not grant]
                    if not shelf[where]:
                        del shelf[where]


def _held(grant: Grant) -> Iterable[_Pair]:
    """The pairs that the encryption context has to hold among others."""
    if grant.constraint is None or grant.constraint.kind is ConstraintKind.EQUALS:
        return ()
    return grant.constraint.pairs.items()


@lru_cache(maxsize=1024)
def _listed(operations: frozenset[GrantOperation]) -> tuple[tuple[str, bool], ...]:
    """The names of the operations, and whether constraints bind them. Most grants list the same ones."""
    return tuple((operation.value, operation in CONTEXT_OPERATIONS) for operation in operations)


NO_GRANTS = GrantSet(())
