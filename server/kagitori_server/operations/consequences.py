"""What a call or the service does besides, and what CloudTrail has a record of its own for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from kagitori_server.model.custom_key_stores import CustomKeyStoreType
from kagitori_server.model.keys import Key, MaterialVersion, RotationType

ROTATED = "RotateKey"
SYNCHRONIZED = "SynchronizeMultiRegionKey"
DELETED = "DeleteKey"
EXPIRED = "DeleteExpiredKeyMaterial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """One record beside that of a call, or one that no call led to.

    Members have snake_case names, as those of records.
    """

    name: str
    """What it is called, such as `RotateKey`."""
    key: Key
    api_call: bool = False
    """Whether its type is that of a call, as CloudTrail has it, and not of a service event."""
    by_caller: bool = False
    """Whether it is recorded in the name of the call's caller; else in the service's own."""
    request: Mapping[str, object] | None = None
    answer: Mapping[str, object] | None = None
    extra: Mapping[str, object] | None = None
    details: Mapping[str, object] | None = None
    """Shown as serviceEventDetails."""


def rotated(key: Key, kind: RotationType, previous: str, current: str) -> list[Consequence]:
    """A primary or single key got new material. If it has replicas, their properties were brought in line."""
    details: dict[str, object] = {
        "key_id": key.key_id, "key_origin": key.origin, "rotation_type": kind,
        "previous_key_material_id": previous, "current_key_material_id": current,
    }
    rotation = Consequence(name=ROTATED, key=key, details=details)
    return [rotation, *synchronized(key)]


def synchronized(key: Key) -> list[Consequence]:
    """Shared properties of a primary key went to its replicas; nothing if it has none."""
    if len(key.regions) < 2:
        return []
    return [Consequence(name=SYNCHRONIZED, key=key, api_call=True, answer={"key_id": key.arn})]


def deleted(key: Key) -> Consequence:
    """A key came to its end. That of a custom key store names its material there, which is destroyed afterwards, as
    soon as the store can be reached."""
    return Consequence(name=DELETED, key=key, answer={"key_id": key.arn}, extra=_backing(key))


def _backing(key: Key) -> dict[str, object] | None:
    store = key.custom_store
    if store is None:
        return None
    extra: dict[str, object] = {"custom_key_store_id": store.store_id, "custom_key_store_name": store.name}
    if store.kind is CustomKeyStoreType.EXTERNAL_KEY_STORE:
        # The external key is its owner's and stays.
        return {**extra, "xks_key_id": key.xks_key_id}
    # Lists as texts of JSON, as CloudTrail has them.
    backing = [{"backingKeyId": version.material_id} for version in key.materials if version.present]
    status = [{**each, "deletionStatus": "PENDING"} for each in backing]
    return {
        **extra, "cluster_id": store.cluster_id,
        "backing_keys": json.dumps(backing, separators=(",", ":")),
        "backing_keys_deletion_status": json.dumps(status, separators=(",", ":")),
    }


def backing_key(version: MaterialVersion) -> str:
    """How the record of a key's making names its material in the token."""
    return json.dumps({"backingKeyId": version.material_id}, separators=(",", ":"))


def expired(key: Key, version: MaterialVersion) -> Consequence:
    """Imported material was deleted at the end of its time."""
    return Consequence(
        name=EXPIRED, key=key, details={"key_id": key.key_id, "key_material_id": version.material_id}
    )
