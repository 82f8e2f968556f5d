"""Writing the material of keys: versions, rotation and families of several Regions."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select

from kagitori_server.model.errors import AlreadyExistsException, NotFoundException
from kagitori_server.model.keys import Key, MaterialState, MaterialVersion, RotationType
from kagitori_server.storage import rows, schema
from kagitori_server.storage.billing_writes import BillingWrites
from kagitori_server.storage.changes import Change


class MaterialWrites(BillingWrites):
    """Changes to the material of keys. Each raises NotFoundException for a key or version that isn't there.

    They concern the key of one Region; who changes what a multi-Region family shares does it in each.
    """

    def add_material(self, region: str, key_id: str, version: MaterialVersion) -> None:
        """A newer version. One that is CURRENT takes the place of the one that was.

        Raises AlreadyExistsException when the key has a version of this id.
        """
        key = self._key_to_change(region, key_id)
        if key.material(version.material_id) is not None:
            raise AlreadyExistsException(f"Key {key_id} has material {version.material_id} already.")
        if version.state is MaterialState.CURRENT:
            self._retire_current(region, key_id)
        if version.rotated is not None:
            self._bill_rotation(region, key_id, version.rotated)
        number = self._next_number(region, key_id)
        self._insert(schema.materials, rows.material_values(region, key_id, number, version))
        self._touch(Change.of_key(region, key_id))

    def make_material_current(
        self, region: str, key_id: str, material_id: str, rotated: float, rotation_type: RotationType
    ) -> None:
        """A rotation to a version that waits for it, at `rotated` (seconds since the epoch)."""
        self._retire_current(region, key_id)
        values = {"state": MaterialState.CURRENT.value, "rotated": rotated, "rotation_type": rotation_type.value}
        self._set_material(region, key_id, material_id, values)
        self._bill_rotation(region, key_id, rotated)

    def set_material_state(self, region: str, key_id: str, material_id: str, state: MaterialState) -> None:
        """What a version is to its key. For CURRENT use `make_material_current`."""
        self._set_material(region, key_id, material_id, {"state": state.value})

    def put_material(
        self, region: str, key_id: str, material_id: str, reference: bytes, expires: float | None,
        description: str | None,
    ) -> None:
        """Material imported again under an id that the key knows, with what was said of it this time."""
        values = {"reference": reference, "expires": expires, "description": description}
        self._set_material(region, key_id, material_id, values)

    def empty_material(self, region: str, key_id: str, material_id: str) -> None:
        """Forgets the reference of imported material; its id stays, so that it can be imported again.

        As with `delete_key`, the wrapped material is overwritten in the files of an SQLite database.
        """
        self._set_material(region, key_id, material_id, {"reference": b"", "expires": None})
        self._scrub = True

    def drop_material(self, region: str, key_id: str, material_id: str) -> None:
        """Forgets a version altogether, as `empty_material` does its reference."""
        materials = schema.materials.c
        if self._delete(
            schema.materials, materials.region == region, materials.key_id == key_id,
            materials.material_id == material_id,
        ) == 0:
            raise _no_material(key_id, material_id)
        self._touch(Change.of_key(region, key_id))
        self._scrub = True

    def set_rotation(self, region: str, key_id: str, period_days: int | None, next_rotation: float | None) -> None:
        """Automatic rotation: every `period_days`, next at `next_rotation` (seconds since the epoch); None: off."""
        self._set_key_values(region, key_id, {"rotation_period_days": period_days, "next_rotation": next_rotation})

    def set_on_demand_rotations(self, region: str, key_id: str, count: int) -> None:
        """How often the key was rotated on demand in its life."""
        self._set_key_values(region, key_id, {"on_demand_rotations": count})

    def set_primary_region(self, key_id: str, primary_region: str) -> None:
        """Which Region has the primary of a multi-Region family, in every Region of the family."""
        regions = self.key_regions(key_id)
        if primary_region not in regions:
            raise _no_key(key_id)
        for region in regions:
            self._set_key_values(region, key_id, {"primary_region": primary_region})

    def _retire_current(self, region: str, key_id: str) -> None:
        materials = schema.materials.c
        self._update(
            schema.materials,
            {"state": MaterialState.NON_CURRENT.value},
            materials.region == region, materials.key_id == key_id, materials.state == MaterialState.CURRENT.value,
        )

    def _set_material(self, region: str, key_id: str, material_id: str, values: Mapping[str, object]) -> None:
        materials = schema.materials.c
        changed = self._update(
            schema.materials, values,
            materials.region == region, materials.key_id == key_id, materials.material_id == material_id,
        )
        if changed == 0:
            raise _no_material(key_id, material_id)
        self._touch(Change.of_key(region, key_id))

    def _set_key_values(self, region: str, key_id: str, values: Mapping[str, object]) -> None:
        keys = schema.keys
        if self._update(keys, values, keys.c.region == region, keys.c.key_id == key_id) == 0:
            raise _no_key(key_id)
        self._touch(Change.of_key(region, key_id))

    def _next_number(self, region: str, key_id: str) -> int:
        materials = schema.materials.c
        statement = select(func.max(materials.number)).where(materials.region == region, materials.key_id == key_id)
        last = self._connection.scalar(statement)
        return 0 if last is None else last + 1

    def _key_to_change(self, region: str, key_id: str) -> Key:
        key = self.get_key(region, key_id)
        if key is None:
            raise _no_key(key_id)
        return key


def _no_key(key_id: str) -> NotFoundException:
    return NotFoundException(f"Key {key_id} is not found.")


def _no_material(key_id: str, material_id: str) -> NotFoundException:
    return NotFoundException(f"Key {key_id} has no material {material_id}.")
