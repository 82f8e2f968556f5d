"""Writing down what the trail tells of the use of the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import literal, select
from sqlalchemy.dialects import postgresql, sqlite

from kagitori_server.model.usage_records import FollowedChain, LastUse, RequestCount
from kagitori_server.storage.recorder import Recorder
from kagitori_server.storage.usage_schema import followed_chains, key_last_uses, usage_requests


class UsageWrites(Recorder):
    """Counts, and how far the trail was followed for them, in one transaction."""

    def follow_chain(self, known: FollowedChain, reached: FollowedChain) -> bool:
        """The chain has been counted on from `known` to `reached`. False, and nothing written, when somebody else has
        counted on from there meanwhile: then what was found must not be added."""
        chains = followed_chains.c
        if known.seq == 0:
            if self._count(followed_chains, chains.chain_id == known.chain_id):
                return False
            self._insert(followed_chains, asdict(reached))
            return True
        values = {"segment": reached.segment, "offset": reached.offset, "seq": reached.seq}
        changed = self._update(
            followed_chains, values, chains.chain_id == known.chain_id, chains.seq == known.seq,
            chains.segment == known.segment, chains.offset == known.offset,
        )
        return changed == 1

    def add_requests(self, counts: Sequence[RequestCount]) -> None:
        """Adds to what is counted already. At most one count of the same account, hour, Region, key and kind."""
        insert = self._insert_or(usage_requests)
        added = insert.on_conflict_do_update(
            index_elements=list(usage_requests.primary_key),
            set_={"quantity": usage_requests.c.quantity + insert.excluded.quantity},
        )
        if counts:
            self._connection.execute(added, [count._asdict() for count in counts])

    def add_up_hour(self, hour: int, into: int) -> None:
        """Adds what was counted in an hour to another one, as if it had happened then."""
        table = usage_requests.c
        sums = select(
            table.account, literal(into), table.region, table.key_arn, table.usage_type, table.quantity
        ).where(table.hour == hour)
        insert = self._insert_or(usage_requests)
        names = ["account", "hour", "region", "key_arn", "usage_type", "quantity"]
        added = insert.from_select(names, sums).on_conflict_do_update(
            index_elements=list(usage_requests.primary_key),
            set_={"quantity": usage_requests.c.quantity + insert.excluded.quantity},
        )
        self._connection.execute(added)
        self._delete(usage_requests, table.hour == hour)

    def note_last_uses(self, uses: Sequence[LastUse]) -> None:
        """Keeps each unless a later use of the key is known. At most one of the same key."""
        insert = self._insert_or(key_last_uses)
        newer = insert.excluded
        noted = insert.on_conflict_do_update(
            index_elements=[key_last_uses.c.key_arn],
            set_={name: newer[name] for name in ("moment", "operation", "event_id", "request_id")},
            where=key_last_uses.c.moment <= newer.moment,
        )
        if uses:
            self._connection.execute(noted, [asdict(use) for use in uses])

    def _insert_or(self, table: Any) -> Any:
        """An INSERT that knows ON CONFLICT, which SQLAlchemy has for each kind of database on its own."""
        kinds = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
        return kinds[self._connection.dialect.name](table)
