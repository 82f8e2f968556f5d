"""Writing custom key stores."""

from __future__ import annotations

from kagitori_server.model.custom_key_stores import CustomKeyStore, DoomedMaterial
from kagitori_server.model.errors import CustomKeyStoreNameInUseException, CustomKeyStoreNotFoundException
from kagitori_server.storage.changes import Change, ChangeKind
from kagitori_server.storage.custom_store_reader import store_values
from kagitori_server.storage.custom_store_schema import custom_key_stores, doomed_materials, material_uses
from kagitori_server.storage.recorder import Recorder


class CustomStoreWrites(Recorder):
    """Changes to custom key stores."""

    def put_custom_key_store(self, store: CustomKeyStore) -> None:
        """A new custom key store, or a changed one of the same id. Secrets that it had leave no trace.

        Raises CustomKeyStoreNameInUseException when another of the account and Region has its name.
        """
        named = self.find_custom_key_store(store.account, store.region, store.name)
        if named is not None and named.store_id != store.store_id:
            raise CustomKeyStoreNameInUseException(f"The custom key store name {store.name} is in use.")
        values = store_values(store)
        before = self.custom_key_store(store.store_id)
        if before is None:
            self._insert(custom_key_stores, values)
        else:
            self._update(custom_key_stores, values, custom_key_stores.c.store_id == store.store_id)
            self._scrub |= not {before.wrapped_secret, before.new_secret} <= {
                store.wrapped_secret, store.new_secret, None
            }
        self._touch(Change(ChangeKind.CUSTOM_KEY_STORE, store.store_id))

    def delete_custom_key_store(self, store_id: str) -> None:
        """Forgets a custom key store that has no keys. Raises CustomKeyStoreNotFoundException."""
        if not self._delete(custom_key_stores, custom_key_stores.c.store_id == store_id):
            raise CustomKeyStoreNotFoundException(f"The custom key store {store_id} does not exist.")
        self._scrub = True
        self._touch(Change(ChangeKind.CUSTOM_KEY_STORE, store_id))

    def doom_material(self, doomed: DoomedMaterial) -> None:
        """Notes that material has to go from its store."""
        values = {"store_id": doomed.store_id, "material_id": doomed.material_id, "reference": doomed.reference}
        self._insert(doomed_materials, values)
        self._delete(material_uses, material_uses.c.material_id == doomed.material_id)

    def forget_doomed(self, doomed: DoomedMaterial) -> None:
        """Its store has let the material go."""
        columns = doomed_materials.c
        self._delete(
            doomed_materials, columns.store_id == doomed.store_id, columns.material_id == doomed.material_id
        )

    def reserve_uses(self, material_id: str, count: int) -> int:
        """Reserves `count` encryptions under a material. Returns how many had been reserved before."""
        row = self._one(material_uses, material_uses.c.material_id == material_id)
        before = 0 if row is None else int(row.reserved)
        if row is None:
            self._insert(material_uses, {"material_id": material_id, "reserved": count})
        else:
            self._update(material_uses, {"reserved": before + count}, material_uses.c.material_id == material_id)
        return before
