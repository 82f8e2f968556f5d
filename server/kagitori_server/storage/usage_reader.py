"""Reading what is known of the use of the service."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select

from kagitori_server.model.keys import KeySpec
from kagitori_server.model.usage_records import BillingSpan, FollowedChain, LastUse, RequestCount
from kagitori_server.storage.snapshot import Snapshot
from kagitori_server.storage.usage_schema import billing_spans, followed_chains, key_last_uses, usage_requests


class UsageReader(Snapshot):
    """What a snapshot says of counts, latest uses, billing spans and how far the trail was followed."""

    def followed_chain(self, chain_id: str) -> FollowedChain | None:
        """How far the chain has been counted; None for one that wasn't begun."""
        row = self._one(followed_chains, followed_chains.c.chain_id == chain_id)
        return None if row is None else FollowedChain(
            row.chain_id, row.name, row.segment, row.offset, row.seq, row.began
        )

    def followed_since(self) -> float | None:
        """Time of the oldest record that was counted, seconds since the epoch; None before there is one."""
        began: float | None = self._connection.scalar(select(func.min(followed_chains.c.began)))
        return began

    def request_counts(
        self, first_hour: int, end_hour: int, account: str | None, *, by_region: bool, by_key: bool
    ) -> Iterator[RequestCount]:
        """Sums over the hours from the first to before the end, of one account or all, by account and kind, and by
        Region and key where wanted; these are empty and the hour is 0 in what is summed up over them."""
        table = usage_requests.c
        groups = [table.account, table.usage_type]
        groups += [table.region] if by_region else []
        groups += [table.key_arn] if by_key else []
        statement = (
            select(*groups, func.sum(table.quantity).label("total"))
            .where(table.hour >= first_hour, table.hour < end_hour)
            .group_by(*groups)
        )
        if account is not None:
            statement = statement.where(table.account == account)
        for found in self._connection.execute(statement).mappings():
            yield RequestCount(
                found["account"], 0, found.get("region", ""), found.get("key_arn", ""), found["usage_type"],
                int(found["total"]),
            )

    def first_counted_hour(self, start: int, end: int) -> int | None:
        """The first hour from `start` to before `end` that requests were counted in; None if there is none."""
        hour = usage_requests.c.hour
        found: int | None = self._connection.scalar(select(func.min(hour)).where(hour >= start, hour < end))
        return found

    def billing_spans(self, start: float, end: float, account: str | None) -> Iterator[BillingSpan]:
        """Spans that reach into the time from `start` to before `end`, of one account or all."""
        spans = billing_spans.c
        statement = select(
            spans.account, spans.region, spans.arn, spans.number, spans.began, spans.ended
        ).where(spans.began < end, spans.ended.is_(None) | (spans.ended > start))
        if account is not None:
            statement = statement.where(spans.account == account)
        for row in self._connection.execute(statement):
            yield BillingSpan(*row)

    def spec_of(self, region: str, key_id: str) -> KeySpec | None:
        """The spec of a key that is there or was; None for one that never was."""
        spans = billing_spans.c
        statement = select(spans.spec).where(spans.region == region, spans.key_id == key_id).limit(1)
        spec = self._connection.scalar(statement)
        return None if spec is None else KeySpec(spec)

    def last_use(self, key_arn: str) -> LastUse | None:
        """The latest use of a key that was counted."""
        row = self._one(key_last_uses, key_last_uses.c.key_arn == key_arn)
        return None if row is None else LastUse(row.key_arn, row.moment, row.operation, row.event_id, row.request_id)
