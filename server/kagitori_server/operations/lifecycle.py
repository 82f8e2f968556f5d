"""EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion, and the end of a key whose time has come."""

from __future__ import annotations

from kagitori_keystore.base import MaterialRef
from kagitori_server.model import limits
from kagitori_server.model.custom_key_stores import DEFAULT_STORE, DoomedMaterial
from kagitori_server.model.errors import ValidationException
from kagitori_server.model.keys import Key, KeyState
from kagitori_server.operations.context import Context, Services
from kagitori_server.operations.imported_material import settle_waiting
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.keys import (
    CancelKeyDeletionRequest,
    CancelKeyDeletionResponse,
    DisableKeyRequest,
    EnableKeyRequest,
    ScheduleKeyDeletionRequest,
    ScheduleKeyDeletionResponse,
)
from kagitori_server.storage.writer import Writer


def enable_key(context: Context, _request: EnableKeyRequest) -> Empty:
    """Makes a disabled key usable again (AWS EnableKey). Enabling an enabled key changes nothing."""
    context.writer.set_key_state(context.region, context.key.key_id, KeyState.ENABLED, None)
    return EMPTY


def disable_key(context: Context, _request: DisableKeyRequest) -> Empty:
    """Stops cryptographic use of a key until it is enabled (AWS DisableKey)."""
    context.writer.set_key_state(context.region, context.key.key_id, KeyState.DISABLED, None)
    return EMPTY


def check_schedule_key_deletion(_context: Context, request: ScheduleKeyDeletionRequest) -> None:
    """Refuses a waiting period outside of 7 to 30 days."""
    shortest, longest = limits.PENDING_WINDOW_DAYS
    if not shortest <= request.pending_window_in_days <= longest:
        raise ValidationException(f"PendingWindowInDays must be between {shortest} and {longest} inclusive.")


def schedule_key_deletion(context: Context, request: ScheduleKeyDeletionRequest) -> ScheduleKeyDeletionResponse:
    """Sets the day on which the key ends; until then it can be rescued (AWS ScheduleKeyDeletion).

    A primary key waits for the end of its replicas first: its own waiting period begins with the last one's end.
    """
    key, days = context.key, request.pending_window_in_days
    if key.multi_region and not key.is_replica and len(key.family_regions) > 1:
        context.writer.await_replica_deletion(context.region, key.key_id, days)
        due, state = None, KeyState.PENDING_REPLICA_DELETION
    else:
        due, state = context.now + days * limits.SECONDS_PER_DAY, KeyState.PENDING_DELETION
        context.writer.set_key_state(context.region, key.key_id, state, due)
    context.writer.stop_billing(context.region, key.key_id, context.now)
    return ScheduleKeyDeletionResponse(
        key_id=key.arn, deletion_date=due, key_state=state, pending_window_in_days=days
    )


def cancel_key_deletion(context: Context, _request: CancelKeyDeletionRequest) -> CancelKeyDeletionResponse:
    """Rescues a key that is pending deletion; it is disabled afterwards, or awaits its import (AWS
    CancelKeyDeletion)."""
    state = KeyState.PENDING_IMPORT if context.key.awaits_import else KeyState.DISABLED
    context.writer.set_key_state(context.region, context.key.key_id, state, None)
    context.writer.resume_billing(context.region, context.key.key_id)
    return CancelKeyDeletionResponse(key_id=context.key.arn)


def destroy(services: Services, writer: Writer, key: Key) -> None:
    """Ends a key for good: its material in the key store, then everything the catalog knows of it. The end of the
    last replica begins the waiting period of a primary key that waits for it.

    Destroying material twice is no error, so a crash before the transaction commits only means doing it again. That
    of a custom key store is destroyed once the key is gone, as soon as the store can be reached.
    """
    present = [version for version in key.materials if version.present]
    if key.store_id == DEFAULT_STORE:
        store = services.stores.default
        kind = store.describe().kind
        for version in present:
            store.destroy(MaterialRef(kind, version.reference, version.material_id))
        store.forget(key.key_id)
    elif key.custom_store is not None:
        for version in present:
            writer.doom_material(DoomedMaterial(key.store_id, version.material_id, version.reference))
    writer.delete_key(key.region, key.key_id)
    primary = writer.get_key(key.primary_region, key.key_id) if key.primary_region is not None else None
    if primary is not None:
        settle_waiting(writer, primary)
    if primary is not None and primary.pending_window_days is not None and len(primary.family_regions) == 1:
        due = services.clock() + primary.pending_window_days * limits.SECONDS_PER_DAY
        writer.set_key_state(primary.region, primary.key_id, KeyState.PENDING_DELETION, due)
