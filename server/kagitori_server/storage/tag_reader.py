"""Reading which keys are tagged, and how."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, and_, exists, select

from kagitori_server.model.keys import Tag
from kagitori_server.storage import schema
from kagitori_server.storage.snapshot import Snapshot


class TagReader(Snapshot):
    """What a snapshot says of keys by their tags."""

    def tagged_keys(
        self, account: str, region: str, after_key_id: str, limit: int
    ) -> list[tuple[str, str, tuple[Tag, ...]]]:
        """(key id, ARN, tags) of keys that have tags, in the order of ids; the tags in that of their keys."""
        keys, tags = schema.keys.c, schema.tags.c
        tagged = exists().where(tags.region == keys.region, tags.key_id == keys.key_id)
        statement = (
            select(keys.key_id, keys.arn)
            .where(keys.account == account, keys.region == region, keys.key_id > after_key_id, tagged)
            .order_by(keys.key_id)
            .limit(limit)
        )
        found = self._connection.execute(statement).all()
        belonging: dict[str, list[Tag]] = {row.key_id: [] for row in found}
        if found:
            last = found[-1].key_id
            pairs = (
                select(tags.key_id, tags.tag_key, tags.tag_value)
                .where(tags.region == region, tags.key_id > after_key_id, tags.key_id <= last)
                .order_by(tags.key_id, tags.tag_key)
            )
            for row in self._connection.execute(pairs):
                if row.key_id in belonging:
                    belonging[row.key_id].append(Tag(row.tag_key, row.tag_value))
        return [(row.key_id, row.arn, tuple(belonging[row.key_id])) for row in found]

    def tag_keys(self, account: str, region: str, after: str, limit: int) -> list[str]:
        """Keys of the tags that the account's keys have, each once, in order."""
        return self._tag_texts(schema.tags.c.tag_key, account, region, after, limit)

    def tag_values(self, account: str, region: str, tag_key: str, after: str | None, limit: int) -> list[str]:
        """Values of the tags of that key, each once, in order; all where `after` is None: a value can be empty."""
        return self._tag_texts(
            schema.tags.c.tag_value, account, region, after, limit, schema.tags.c.tag_key == tag_key
        )

    def _tag_texts(
        self, column: Column[Any], account: str, region: str, after: str | None, limit: int,
        *more: ColumnElement[bool],
    ) -> list[str]:
        keys, tags = schema.keys.c, schema.tags.c
        statement = (
            select(column)
            .join(schema.keys, and_(keys.region == tags.region, keys.key_id == tags.key_id))
            .where(keys.account == account, keys.region == region, *more)
            .distinct()
            .order_by(column)
            .limit(limit)
        )
        if after is not None:
            statement = statement.where(column > after)
        return list(self._connection.scalars(statement))
