"""What becomes of a key when imported material comes, goes or awaits its rotation.

A key lacks what it needs when any version is gone that ever was current: it is PendingImport until all are back. A
version that awaits its rotation is not needed. In a multi-Region family it is known everywhere from the moment at
which the primary key got it, and ready for the rotation once every Region has it.
"""

from __future__ import annotations

from kagitori_keystore.base import MaterialRef
from kagitori_server.model.keys import Key, KeyState, MaterialState, MaterialVersion
from kagitori_server.operations.context import Services
from kagitori_server.storage.writer import Writer

_READY = MaterialState.PENDING_ROTATION
_INCOMPLETE = MaterialState.PENDING_MULTI_REGION_IMPORT_AND_ROTATION


def take_away(services: Services, writer: Writer, key: Key, version: MaterialVersion) -> None:
    """Deletes one version of a key's material, `version` of `key` as they are in the catalog.

    Its id stays so that it can be imported again, but for one that awaits its rotation: that is forgotten, by a primary
    key with all its replicas.
    """
    if version.waiting and not key.is_replica:
        for region in key.regions:
            member = writer.get_key(region, key.key_id)
            found = member.material(version.material_id) if member is not None else None
            if found is not None:
                _destroy(services, key, found)
                writer.drop_material(region, key.key_id, version.material_id)
        return
    _destroy(services, key, version)
    writer.empty_material(key.region, key.key_id, version.material_id)
    if version.waiting:
        settle_waiting(writer, key)
    elif not key.dying:
        writer.set_key_state(key.region, key.key_id, KeyState.PENDING_IMPORT)


def _destroy(services: Services, key: Key, version: MaterialVersion) -> None:
    """In the key store. Doing it twice is no error, so a transaction that fails afterwards may be repeated."""
    store = services.stores.default
    if version.present:
        store.destroy(MaterialRef(store.describe().kind, version.reference, version.material_id))
    store.forget(key.key_id)


def settle_waiting(writer: Writer, key: Key) -> None:
    """Says of the version that awaits its rotation whether every Region of the key's family has it."""
    members = [found for region in key.regions if (found := writer.get_key(region, key.key_id)) is not None]
    waiting = [version for member in members if (version := member.waiting_material) is not None]
    if not waiting:
        return
    state = _READY if len(waiting) == len(members) and all(version.present for version in waiting) else _INCOMPLETE
    for member in members:
        version = member.waiting_material
        if version is not None and version.state is not state:
            writer.set_material_state(member.region, member.key_id, version.material_id, state)


def settle_state(writer: Writer, region: str, key_id: str, now: float) -> None:
    """Ends PendingImport when nothing that the key needs is missing any more at `now`."""
    stored = writer.get_key(region, key_id)
    if stored is None or stored.dying:
        return
    key = stored.as_of(now)
    if key.awaits_import:
        state = KeyState.PENDING_IMPORT
    elif key.state is KeyState.PENDING_IMPORT:
        state = KeyState.ENABLED
    else:
        return
    if state is not stored.state:
        writer.set_key_state(region, key_id, state)
