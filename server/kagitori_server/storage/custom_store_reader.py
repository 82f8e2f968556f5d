"""Reading custom key stores."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, select

from kagitori_server.model.custom_key_stores import (
    ConnectionErrorCode,
    ConnectionState,
    CustomKeyStore,
    CustomKeyStoreType,
    DoomedMaterial,
    XksProxy,
)
from kagitori_server.storage import schema
from kagitori_server.storage.custom_store_schema import custom_key_stores, doomed_materials
from kagitori_server.storage.snapshot import Snapshot


class CustomStoreReader(Snapshot):
    """What a snapshot says of custom key stores and what they hold."""

    def custom_key_store(self, store_id: str) -> CustomKeyStore | None:
        """The custom key store of this id."""
        row = self._one(custom_key_stores, custom_key_stores.c.store_id == store_id)
        return None if row is None else store_of(row)

    def find_custom_key_store(self, account: str, region: str, name: str) -> CustomKeyStore | None:
        """The custom key store of that name."""
        columns = custom_key_stores.c
        row = self._one(
            custom_key_stores, columns.account == account, columns.region == region, columns.name == name
        )
        return None if row is None else store_of(row)

    def list_custom_key_stores(
        self, account: str, region: str, after_name: str = "", limit: int = 100
    ) -> list[CustomKeyStore]:
        """Custom key stores in the order of names."""
        columns = custom_key_stores.c
        found = self._some(
            custom_key_stores, columns.name, limit,
            columns.account == account, columns.region == region, columns.name > after_name,
        )
        return list(map(store_of, found))

    def all_custom_key_stores(self) -> list[CustomKeyStore]:
        """Those of every account and Region, in the order of ids."""
        statement = select(custom_key_stores).order_by(custom_key_stores.c.store_id)
        return list(map(store_of, self._connection.execute(statement)))

    def count_custom_key_stores(self, account: str, region: str) -> int:
        """How many an account has in a Region."""
        columns = custom_key_stores.c
        return self._count(custom_key_stores, columns.account == account, columns.region == region)

    def count_keys_in_store(self, store_id: str) -> int:
        """How many keys a custom key store has, whatever their state."""
        return self._count(schema.keys, schema.keys.c.store_id == store_id)

    def has_xks_key(self, store_id: str, xks_key_id: str) -> bool:
        """Whether a key of an external key store uses that external key."""
        keys = schema.keys.c
        return self._count(schema.keys, keys.store_id == store_id, keys.xks_key_id == xks_key_id) > 0

    def materials_in_store(self, store_id: str) -> list[tuple[str, str, bytes]]:
        """(ARN of the key, material id, reference) of all that keys have in a custom key store, by ARN."""
        keys, materials = schema.keys.c, schema.materials.c
        statement = (
            select(keys.arn, materials.material_id, materials.reference)
            .join_from(
                schema.keys, schema.materials,
                (keys.region == materials.region) & (keys.key_id == materials.key_id),
            )
            .where(keys.store_id == store_id)
            .order_by(keys.arn, materials.number)
        )
        return [(row.arn, row.material_id, bytes(row.reference)) for row in self._connection.execute(statement)]

    def doomed_materials(self, store_id: str, limit: int = 1_000) -> list[DoomedMaterial]:
        """Material that is to go from a custom key store."""
        columns = doomed_materials.c
        found = self._some(doomed_materials, columns.material_id, limit, columns.store_id == store_id)
        return [DoomedMaterial(row.store_id, row.material_id, bytes(row.reference)) for row in found]


def store_of(row: Row[Any]) -> CustomKeyStore:
    """A custom key store from its row."""
    proxy = None
    if row.uri_endpoint is not None:
        proxy = XksProxy(row.uri_endpoint, row.uri_path, row.access_key_id)
    return CustomKeyStore(
        account=row.account,
        region=row.region,
        store_id=row.store_id,
        name=row.name,
        kind=CustomKeyStoreType(row.kind),
        created=row.created,
        state=ConnectionState(row.state),
        changed=row.changed,
        wrapped_secret=bytes(row.wrapped_secret),
        new_secret=None if row.new_secret is None else bytes(row.new_secret),
        error=None if row.error is None else ConnectionErrorCode(row.error),
        worker=row.worker,
        revision=row.revision,
        cluster_id=row.cluster_id,
        trust_anchor=row.trust_anchor,
        proxy=proxy,
        lacking=frozenset(filter(None, (row.lacking or "").split(","))),
    )


def store_values(store: CustomKeyStore) -> dict[str, Any]:
    """The columns of `custom_key_stores`."""
    proxy = store.proxy
    return {
        "account": store.account,
        "region": store.region,
        "store_id": store.store_id,
        "name": store.name,
        "kind": store.kind.value,
        "created": store.created,
        "state": store.state.value,
        "changed": store.changed,
        "wrapped_secret": store.wrapped_secret,
        "new_secret": store.new_secret,
        "error": None if store.error is None else store.error.value,
        "worker": store.worker,
        "revision": store.revision,
        "cluster_id": store.cluster_id,
        "trust_anchor": store.trust_anchor,
        "uri_endpoint": None if proxy is None else proxy.uri_endpoint,
        "uri_path": None if proxy is None else proxy.uri_path,
        "access_key_id": None if proxy is None else proxy.access_key_id,
        "lacking": ",".join(sorted(store.lacking)),
    }
