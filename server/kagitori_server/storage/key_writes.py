"""Writing keys, their tags and aliases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import select

from kagitori_server.model.errors import AlreadyExistsException, NotFoundException
from kagitori_server.model.keys import Alias, Key, KeyState, Tag
from kagitori_server.storage import rows, schema
from kagitori_server.storage.billing_writes import BillingWrites
from kagitori_server.storage.changes import Change


class KeyWrites(BillingWrites):
    """Changes to keys. Each raises NotFoundException for a key or alias that isn't there."""

    def insert_key(self, key: Key) -> None:
        """A new key with its materials and tags. `key.aliases` must be empty: aliases are put on their own.

        Raises AlreadyExistsException when the Region has a key of this id.
        """
        if key.aliases:
            raise ValueError("a new key has no aliases yet")
        if self._key_exists(key.region, key.key_id):
            raise AlreadyExistsException(f"Key {key.key_id} exists already.")
        self._insert(schema.keys, rows.key_values(key))
        self._insert(
            schema.materials,
            *(
                rows.material_values(key.region, key.key_id, number, version)
                for number, version in enumerate(key.materials)
            ),
        )
        self._insert_tags(key.region, key.key_id, key.tags)
        self._begin_billing(key)
        self._touch_key(key)

    def set_key_state(
        self, region: str, key_id: str, state: KeyState, deletion_date: float | None = None
    ) -> None:
        """The key's state, and when its material is due for destruction (None: not at all). A waiting period that was
        to begin after the last replica's end is forgotten."""
        values = {"state": state.value, "deletion_date": deletion_date, "pending_window_days": None}
        self._set_key(region, key_id, values)

    def await_replica_deletion(self, region: str, key_id: str, window_days: int) -> None:
        """A primary key waits for the end of its replicas; `window_days` (7 to 30) begin with the last one's end."""
        values = {
            "state": KeyState.PENDING_REPLICA_DELETION.value, "deletion_date": None, "pending_window_days": window_days,
        }
        self._set_key(region, key_id, values)

    def set_key_description(self, region: str, key_id: str, description: str) -> None:
        """The key's description."""
        self._set_key(region, key_id, {"description": description})

    def set_key_policy(self, region: str, key_id: str, policy: str, bindings: Mapping[str, str]) -> None:
        """The key policy, byte for byte, and the unique ids its principals meant at this moment."""
        values = {"policy": policy, "policy_bindings": rows.pairs_text(bindings)}
        self._set_key(region, key_id, values)

    def replace_tags(self, region: str, key_id: str, tags: Iterable[Tag]) -> None:
        """All of the key's tags: these and no others."""
        self._need_key(region, key_id)
        table = schema.tags
        self._delete(table, table.c.region == region, table.c.key_id == key_id)
        self._insert_tags(region, key_id, tags)
        self._touch(Change.of_key(region, key_id))

    def delete_key(self, region: str, key_id: str) -> None:
        """Removes the key for good, with its materials, tags, aliases, grants and freezes.

        SQLite overwrites what was deleted and empties its log after the commit, so wrapped material is gone
        from the files of the database (not from file system snapshots or backups).
        """
        key = self.get_key(region, key_id)
        if key is None:
            raise _no_key(key_id)
        if self.count_grants(region, key_id):
            self._touch(Change.of_all_grants(region, key_id))
        self._touch_freezes(key)
        keys = schema.keys
        self._delete(keys, keys.c.region == region, keys.c.key_id == key_id)
        self._close_billing(key)
        self._touch_key(key)
        self._touch(*(Change.of_alias(key.account, region, name) for name in key.aliases))
        self._scrub = True

    def insert_alias(self, alias: Alias) -> None:
        """A new alias for a key of the same account and Region. Raises AlreadyExistsException."""
        if self.get_alias(alias.account, alias.region, alias.name) is not None:
            raise AlreadyExistsException(f"{alias.name} exists already.")
        self._need_key(alias.region, alias.key_id, alias.account)
        self._insert(
            schema.aliases,
            {
                "account": alias.account,
                "region": alias.region,
                "name": alias.name,
                "key_id": alias.key_id,
                "created": alias.created,
                "updated": alias.updated,
            },
        )
        self._touch_alias(alias)

    def repoint_alias(self, account: str, region: str, name: str, key_id: str, updated: float) -> None:
        """Lets an alias name another key of its account and Region; `updated` in seconds since the epoch."""
        old = self.get_alias(account, region, name)
        if old is None:
            raise _no_alias(name)
        self._need_key(region, key_id, account)
        aliases = schema.aliases
        self._update(
            aliases,
            {"key_id": key_id, "updated": updated},
            aliases.c.account == account,
            aliases.c.region == region,
            aliases.c.name == name,
        )
        self._touch_alias(old)
        self._touch(Change.of_key(region, key_id))

    def delete_alias(self, account: str, region: str, name: str) -> None:
        """Removes an alias; its key stays."""
        old = self.get_alias(account, region, name)
        if old is None:
            raise _no_alias(name)
        aliases = schema.aliases
        self._delete(
            aliases, aliases.c.account == account, aliases.c.region == region, aliases.c.name == name
        )
        self._touch_alias(old)

    def _touch_key(self, key: Key) -> None:
        """The key came or went: the rest of a multi-Region family has to know as well."""
        self._touch(Change.of_key(key.region, key.key_id))
        if key.multi_region:
            self._touch(*(Change.of_key(region, key.key_id) for region in self.key_regions(key.key_id)))

    def _touch_freezes(self, key: Key) -> None:
        """They go with the key, and a replica that is made anew has its Region and id."""
        freezes = schema.freezes.c
        frozen = list(self._connection.scalars(
            select(freezes.principal_arn).where(freezes.region == key.region, freezes.key_id == key.key_id)
        ))
        self._touch(*(Change.of_freeze(key.region, key.key_id, principal_arn) for principal_arn in frozen))
        if frozen:
            self._touch(Change.of_budgets(key.account))

    def _touch_alias(self, alias: Alias) -> None:
        self._touch(
            Change.of_alias(alias.account, alias.region, alias.name),
            Change.of_key(alias.region, alias.key_id),
        )

    def _insert_tags(self, region: str, key_id: str, tags: Iterable[Tag]) -> None:
        values = [
            {"region": region, "key_id": key_id, "tag_key": tag.tag_key, "tag_value": tag.tag_value}
            for tag in tags
        ]
        self._insert(schema.tags, *values)

    def _set_key(self, region: str, key_id: str, values: Mapping[str, object]) -> None:
        keys = schema.keys
        if self._update(keys, values, keys.c.region == region, keys.c.key_id == key_id) == 0:
            raise _no_key(key_id)
        self._touch(Change.of_key(region, key_id))

    def _need_key(self, region: str, key_id: str, account: str | None = None) -> None:
        if not self._key_exists(region, key_id, account):
            raise _no_key(key_id)

    def _key_exists(self, region: str, key_id: str, account: str | None = None) -> bool:
        keys = schema.keys.c
        conditions = [keys.region == region, keys.key_id == key_id]
        if account is not None:
            conditions.append(keys.account == account)
        return self._count(schema.keys, *conditions) == 1


def _no_key(key_id: str) -> NotFoundException:
    return NotFoundException(f"Key {key_id} is not found.")


def _no_alias(name: str) -> NotFoundException:
    return NotFoundException(f"{name} is not found.")
