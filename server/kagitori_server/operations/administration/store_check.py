"""CheckCustomKeyStore: what a token holds against what the catalog says it should."""

from __future__ import annotations

from kagitori_server.model.custom_key_stores import CustomKeyStoreType
from kagitori_server.model.errors import CustomKeyStoreNotFoundException, UnsupportedOperationException
from kagitori_server.operations.administration.reach import check_home
from kagitori_server.operations.context import Context
from kagitori_server.operations.custom_key_stores import invalid_state
from kagitori_server.operations.shapes import service as shapes
from kagitori_server.operations.stores import told

LISTED_MAX = 1_000
"""Of each list of an answer; the counts are of all."""


def check_custom_key_store_admission(context: Context, request: shapes.CheckCustomKeyStoreRequest) -> None:
    """Refuses callers of other accounts, stores that aren't there or connected, and those without a token."""
    check_home(context, request)
    store = context.lookup.custom_key_store(request.custom_key_store_id)
    if store is None:
        raise CustomKeyStoreNotFoundException(f"The custom key store {request.custom_key_store_id} does not exist.")
    if store.kind is not CustomKeyStoreType.AWS_CLOUDHSM:
        raise UnsupportedOperationException("What an external key manager holds is not the service's to look at.")
    if not store.connected:
        raise invalid_state(store)
    context.extra.update(told(store))
    context.store_id = store.store_id


def check_custom_key_store(
    context: Context, request: shapes.CheckCustomKeyStoreRequest
) -> shapes.CheckCustomKeyStoreResponse:
    """Compares the token's key objects with the materials of keys. Nothing is changed.

    Material that is to be destroyed, because its key is gone, is no orphan. What a key that is made right now has in
    the token may look like one.
    """
    store_id, services = request.custom_key_store_id, context.services
    store = services.stores.custom(store_id)
    with services.catalog.read() as reader:
        expected = reader.materials_in_store(store_id)
    present = {found.object_id: found for found in store.objects()}
    with services.catalog.read() as reader:
        known = {store.object_id(reference) for _, _, reference in reader.materials_in_store(store_id)}
        known |= {store.object_id(doomed.reference) for doomed in reader.doomed_materials(store_id, _ALL)}
    orphaned = [found for object_id, found in sorted(present.items()) if object_id not in known]
    missing = [
        shapes.MissingTokenObject(
            key_arn=arn, key_material_id=material_id, object_id=store.object_id(reference)
        )
        for arn, material_id, reference in expected if store.object_id(reference) not in present
    ]
    return shapes.CheckCustomKeyStoreResponse(
        object_count=len(present),
        orphaned_count=len(orphaned),
        orphaned=tuple(
            shapes.TokenObject(object_id=found.object_id, label=found.label, kind=found.kind)
            for found in orphaned[:LISTED_MAX]
        ),
        missing_count=len(missing),
        missing=tuple(missing[:LISTED_MAX]),
    )


_ALL = 1_000_000
"""More than could wait for their store."""
