"""EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion, and the end of a key whose time has come."""

from __future__ import annotations

from kagitori_keystore.base import MaterialRef
from kagitori_server.model import limits
from kagitori_server.model.errors import ValidationException
from kagitori_server.model.keys import Key, KeyState
from kagitori_server.operations.context import Context, Services
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
    """Sets the day on which the key ends; until then it can be rescued (AWS ScheduleKeyDeletion)."""
    due = context.now + request.pending_window_in_days * limits.SECONDS_PER_DAY
    context.writer.set_key_state(context.region, context.key.key_id, KeyState.PENDING_DELETION, due)
    context.writer.stop_billing(context.region, context.key.key_id, context.now)
    return ScheduleKeyDeletionResponse(
        key_id=context.key.arn,
        deletion_date=due,
        key_state=KeyState.PENDING_DELETION,
        pending_window_in_days=request.pending_window_in_days,
    )


def cancel_key_deletion(context: Context, _request: CancelKeyDeletionRequest) -> CancelKeyDeletionResponse:
    """Rescues a key that is pending deletion; it is disabled afterwards (AWS CancelKeyDeletion)."""
    context.writer.set_key_state(context.region, context.key.key_id, KeyState.DISABLED, None)
    context.writer.resume_billing(context.region, context.key.key_id)
    return CancelKeyDeletionResponse(key_id=context.key.arn)


def destroy(services: Services, writer: Writer, key: Key) -> None:
    """Ends a key for good: its material in the key store, then everything the catalog knows of it.

    Destroying material twice is no error, so a crash before the transaction commits only means doing it again.
    """
    store = services.stores[key.store_id]
    kind = store.describe().kind
    for version in filter(lambda version: version.present, key.materials):
        store.destroy(MaterialRef(kind, version.reference, version.material_id))
    store.forget(key.key_id)
    writer.delete_key(key.region, key.key_id)
