"""EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKeyOnDemand and ListKeyRotations."""

from __future__ import annotations

from kagitori_keystore.algorithms import KeySpec as MaterialSpec
from kagitori_keystore.base import MaterialRef
from kagitori_server.model import limits
from kagitori_server.model.errors import (
    ConflictException,
    InvalidMarkerException,
    KMSInvalidStateException,
    LimitExceededException,
    UnsupportedOperationException,
)
from kagitori_server.model.keys import (
    ExpirationModel,
    Key,
    KeySpec,
    KeyState,
    MaterialState,
    MaterialVersion,
    Origin,
    RotationType,
)
from kagitori_server.operations.consequences import rotated
from kagitori_server.operations.context import Context, Services, domain_of
from kagitori_server.operations.paging import cut, decode_marker, encode_marker
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.rotation import (
    DisableKeyRotationRequest,
    EnableKeyRotationRequest,
    GetKeyRotationStatusRequest,
    GetKeyRotationStatusResponse,
    ImportState,
    IncludeKeyMaterial,
    ListKeyRotationsRequest,
    ListKeyRotationsResponse,
    RotateKeyOnDemandRequest,
    RotateKeyOnDemandResponse,
    RotationsListEntry,
)
from kagitori_server.storage.writer import Writer

_LISTING = "ListKeyRotations"
_DEFAULT_PAGE = 100
_DYING = frozenset({KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION})


def _check_symmetric(key: Key) -> None:
    if key.spec is not KeySpec.SYMMETRIC_DEFAULT:
        # AWS says no more.
        raise UnsupportedOperationException


def _check_primary(key: Key) -> None:
    if key.is_replica:
        raise UnsupportedOperationException(
            f"{key.arn} is a replica; its rotation is that of the primary key in {key.primary_region}."
        )


def check_rotation_setting(
    context: Context, _request: EnableKeyRotationRequest | DisableKeyRotationRequest
) -> None:
    """Refuses keys that can't rotate by themselves, and replicas. Raises UnsupportedOperationException."""
    _check_symmetric(context.key)
    _check_primary(context.key)


def enable_key_rotation(context: Context, request: EnableKeyRotationRequest) -> Empty:
    """Lets a key rotate every so many days, counted from now (AWS EnableKeyRotation)."""
    days = request.rotation_period_in_days or limits.ROTATION_PERIOD_DEFAULT
    due = context.now + days * limits.SECONDS_PER_DAY
    for region in context.key.regions:
        context.writer.set_rotation(region, context.key.key_id, days, due if region == context.region else None)
    return EMPTY


def disable_key_rotation(context: Context, _request: DisableKeyRotationRequest) -> Empty:
    """Ends the automatic rotation of a key; what it encrypted stays readable (AWS DisableKeyRotation)."""
    for region in context.key.regions:
        context.writer.set_rotation(region, context.key.key_id, None, None)
    return EMPTY


def check_get_key_rotation_status(context: Context, _request: GetKeyRotationStatusRequest) -> None:
    """Refuses keys that can't rotate. Raises UnsupportedOperationException."""
    _check_symmetric(context.key)


def get_key_rotation_status(context: Context, _request: GetKeyRotationStatusRequest) -> GetKeyRotationStatusResponse:
    """Whether and when a key rotates by itself (AWS GetKeyRotationStatus). While a key is pending deletion it doesn't;
    a replica's date is the primary key's."""
    key = context.key
    rotates = key.rotation_period_days is not None and key.state not in _DYING
    due = key.next_rotation
    if rotates and key.is_replica and key.primary_region is not None:
        primary = context.lookup.key(key.primary_region, key.key_id)
        due = primary.next_rotation if primary is not None else None
    return GetKeyRotationStatusResponse(
        key_rotation_enabled=rotates,
        key_id=key.arn,
        rotation_period_in_days=key.rotation_period_days if rotates else None,
        next_rotation_date=due if rotates else None,
        on_demand_rotation_start_date=None,
    )


def check_rotate_key_on_demand(context: Context, _request: RotateKeyOnDemandRequest) -> None:
    """Refuses keys that can't rotate (now). Raises UnsupportedOperationException, LimitExceededException,
    ConflictException, or KMSInvalidStateException for imported material of which no other version waits."""
    key = context.key
    _check_symmetric(key)
    _check_primary(key)
    if key.on_demand_rotations >= limits.ON_DEMAND_ROTATIONS:
        raise LimitExceededException(f"{key.arn} was rotated on demand {key.on_demand_rotations} times, the most.")
    if key.next_rotation is not None and key.next_rotation - context.now <= limits.ROTATION_GUARD_SECONDS:
        raise ConflictException(f"The automatic rotation of {key.arn} is about to begin; try again when it is done.")
    if key.origin is Origin.EXTERNAL and _pending(key) is None:
        raise KMSInvalidStateException(f"No available key material pending rotation for the key: {key.arn}.")


def _pending(key: Key) -> MaterialVersion | None:
    found = key.waiting_material
    return found if found and found.present and found.state is MaterialState.PENDING_ROTATION else None


def prepare_rotate_key_on_demand(context: Context, _request: RotateKeyOnDemandRequest) -> None:
    """Generates the next material, unless one that was imported waits."""
    if context.key.origin is Origin.AWS_KMS:
        context.prepared = generate_next(context.services, context.key)


def rotate_key_on_demand(context: Context, _request: RotateKeyOnDemandRequest) -> RotateKeyOnDemandResponse:
    """Gives a key new material for what it encrypts from now on (AWS RotateKeyOnDemand). The schedule stays."""
    key, writer = context.key, context.writer
    previous = key.current_material.material_id
    if key.origin is Origin.EXTERNAL:
        pending = _pending(key)
        if pending is None:
            raise KMSInvalidStateException(f"No available key material pending rotation for the key: {key.arn}.")
        current = pending.material_id
        for region in key.regions:
            writer.make_material_current(region, key.key_id, current, context.now, RotationType.ON_DEMAND)
    else:
        current = context.prepared.material_id
        add_rotated(context.services, writer, key, context.prepared, context.now, RotationType.ON_DEMAND)
    writer.set_on_demand_rotations(key.region, key.key_id, key.on_demand_rotations + 1)
    context.extra["previous_key_material_id"], context.extra["current_key_material_id"] = previous, current
    context.consequences += rotated(key, RotationType.ON_DEMAND, previous, current)
    return RotateKeyOnDemandResponse(key_id=key.arn)


def generate_next(services: Services, key: Key) -> MaterialRef:
    """New material for a key, in its Region. May take long. Raises KeyStoreError. Keys in custom key stores don't
    rotate."""
    spec = MaterialSpec[key.spec.name]
    return services.stores.default.generate(spec, domain_of(key.account, key.region), key.key_id)


def add_rotated(
    services: Services, writer: Writer, key: Key, reference: MaterialRef, now: float, kind: RotationType
) -> None:
    """Makes `reference` the current material of a key and, of a multi-Region key, of its replicas."""
    for region in key.regions:
        own = reference
        if region != key.region:
            store = services.stores.default
            own = store.replicate(
                domain_of(key.account, key.region), key.key_id, reference, domain_of(key.account, region)
            )
        writer.add_material(
            region, key.key_id,
            MaterialVersion(
                own.material_id, own.reference, created=now, state=MaterialState.CURRENT, rotated=now,
                rotation_type=kind,
            ),
        )


def check_list_key_rotations(context: Context, _request: ListKeyRotationsRequest) -> None:
    """Refuses keys that can't rotate. Raises UnsupportedOperationException."""
    _check_symmetric(context.key)


def list_key_rotations(context: Context, request: ListKeyRotationsRequest) -> ListKeyRotationsResponse:
    """The versions of a key's material, oldest first (AWS ListKeyRotations)."""
    key, everything = context.key, request.include_key_material is IncludeKeyMaterial.ALL_KEY_MATERIAL
    listed = [found for found in key.materials if everything or found.rotated is not None]
    after = decode_marker(_LISTING, request.marker)
    if after:
        ids = [found.material_id for found in listed]
        if after not in ids:
            raise InvalidMarkerException("The marker is not one that this operation returned.")
        listed = listed[ids.index(after) + 1 :]
    page, more = cut(listed, request.limit or _DEFAULT_PAGE)
    return ListKeyRotationsResponse(
        rotations=tuple(_entry(key, found) for found in page),
        next_marker=encode_marker(_LISTING, page[-1].material_id) if more else None,
        truncated=more,
    )


def _entry(key: Key, version: MaterialVersion) -> RotationsListEntry:
    imported = key.origin is Origin.EXTERNAL
    expiration = None
    if imported:
        expires = version.expires is not None
        expiration = (
            ExpirationModel.KEY_MATERIAL_EXPIRES if expires else ExpirationModel.KEY_MATERIAL_DOES_NOT_EXPIRE
        )
    return RotationsListEntry(
        key_id=key.arn,
        key_material_id=version.material_id,
        key_material_description=version.description,
        import_state=(ImportState.IMPORTED if version.present else ImportState.PENDING_IMPORT) if imported else None,
        key_material_state=version.state,
        expiration_model=expiration,
        valid_to=version.expires,
        rotation_date=version.rotated,
        rotation_type=version.rotation_type,
    )
