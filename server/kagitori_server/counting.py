"""From a call to what limits it: its rate, whether its caller is frozen, the budgets that count it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kagitori_server.limiting.leases import Leases, Use
from kagitori_server.limiting.throttle import Throttle
from kagitori_server.model.budgets import NO_BUDGETS
from kagitori_server.model.custom_key_stores import DEFAULT_STORE
from kagitori_server.model.errors import AccessDeniedException, ThrottlingException
from kagitori_server.model.rates import rate_group
from kagitori_server.operations.context import Context
from kagitori_server.operations.row import Operation, Resource, Table
from kagitori_server.storage.view import NotLoaded

_NO_PAIRS: Mapping[str, str] = {}
_RANDOM = "GenerateRandom"
"""It uses no key, but may name a store."""
_ATTEMPTS = 20
"""Leases that a call in a thread makes before it gives up: each may be used up by others before its turn."""


class Limiter:
    """What the pipeline asks whether a call goes too far. Costs next to nothing where nothing is limited."""

    def __init__(self, throttle: Throttle, leases: Leases) -> None:
        self._throttle = throttle
        self._leases = leases

    def rate(self, context: Context) -> None:
        """Lets the call pass at its rate, or raises ThrottlingException. Once for a call, as soon as its group can be
        known: see `Operation.rate`."""
        if not self._throttle.on:
            return
        row, key = context.operation, next(iter(context.keys.values()), None)
        pair = getattr(context.request, "key_pair_spec", None)
        group = rate_group(row.rate, None if key is None else key.spec, pair)
        stores = _stores(context) if row.uses_keys or row.name == _RANDOM else ()
        self._throttle.take(context.caller, context.region, row.name, group, stores)

    def check_frozen(self, context: Context) -> bool:
        """Refuses callers that are frozen on a key of the call. Raises AccessDeniedException.

        Returns whether there is anything to `count`: False costs a look-up for each key, and is what most calls get.
        """
        limited = False
        for key in context.keys.values():
            held = context.lookup.budgets(key.account)
            if held is NO_BUDGETS:
                continue
            limited = True
            if held.freezes and context.lookup.freeze(key.region, key.key_id, context.caller.record.arn) is not None:
                raise AccessDeniedException(
                    f"User: {context.caller.arn} is frozen on resource: {key.arn} because a budget was exceeded, "
                    "until an administrator lifts the freeze"
                )
        return limited and context.operation.uses_keys

    def count(self, context: Context, *, blocks: bool) -> None:
        """Counts what the call does with keys, into `context.counted`. With `blocks` it makes the leases it needs,
        else it raises NotLoaded for them.

        Raises ThrottlingException for an exceeded budget, AccessDeniedException where that froze the caller.
        """
        for _ in range(_ATTEMPTS):
            uses = list(_uses(context))
            if not uses:
                return
            try:
                context.counted = self._leases.count(uses)
            except NotLoaded as missing:
                if not blocks:
                    raise
                missing.load()
                self.check_frozen(context)
            else:
                return
        raise ThrottlingException("Too many calls use up a budget at once.", retry_after=1.0)

    def give_back(self, context: Context) -> None:
        """Undoes `count` for a call that came to nothing."""
        if context.counted is not None:
            self._leases.give_back(context.counted)
            context.counted = None


def counted_actions(table: Table) -> frozenset[str]:
    """The actions, without prefix, that budgets can count."""
    return frozenset(
        permission.action.partition(":")[2]
        for row in table.values() if isinstance(row, Operation) and row.uses_keys
        for permission in row.permissions if permission.on is Resource.KEY
    )


def _uses(context: Context) -> Iterator[Use]:
    """What the call does with keys: for each permission on a key, one use for each budget that counts it."""
    principal_arn = context.caller.record.arn
    for permission in context.operation.permissions:
        if permission.on is not Resource.KEY:
            continue
        key = context.keys[permission.slot or ""]
        held = context.lookup.budgets(key.account)
        if not held.budgets:
            continue
        member = permission.context_member
        pairs = (getattr(context.request, member) or _NO_PAIRS) if member else _NO_PAIRS
        action = permission.action.partition(":")[2]
        for budget in held.on(key.arn):
            value = budget.counted_value(action, key.arn, principal_arn, pairs)
            if value is not None:
                yield Use(budget, key, principal_arn, value)


def _stores(context: Context) -> set[tuple[str, str]]:
    """The custom key stores that a call uses, with their account: a caller may name what isn't its own."""
    named: str | None = getattr(context.request, "custom_key_store_id", None)
    stores = {(key.account, key.store_id) for key in context.keys.values() if key.store_id != DEFAULT_STORE}
    return stores | {(context.account, named)} if named is not None else stores
