"""Which material of a key an operation uses, as the key store knows it."""

from __future__ import annotations

from kagitori_keystore.base import MaterialRef
from kagitori_server.model.keys import Key, KeySpec, MaterialVersion
from kagitori_server.operations.context import Context
from kagitori_server.operations.stores import store_kind

MATERIAL_ID = "key_material_id"
"""The name under which a record shows the material used."""


def current_reference(context: Context, key: Key) -> MaterialRef:
    """The material that encrypts, signs and so on; a record shows the one of symmetric encryption keys."""
    return reference(context, key, key.current_material)


def reference(context: Context, key: Key, version: MaterialVersion) -> MaterialRef:
    """One version of a key's material, noted for the audit record as CloudTrail does."""
    if key.spec is KeySpec.SYMMETRIC_DEFAULT:
        context.extra[MATERIAL_ID] = version.material_id
    return MaterialRef(store_kind(key), version.reference, version.material_id)
