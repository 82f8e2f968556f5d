"""ReplicateKey and UpdatePrimaryRegion: one key in several Regions.

The keys of a family share their id, spec, usage, origin, material and rotation; each has a policy, grants, aliases,
tags, a description and a state of its own. The material of each Region is wrapped under that Region's own hierarchy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kagitori_keystore.base import MaterialRef
from kagitori_server.model.arn import key_arn
from kagitori_server.model.errors import AlreadyExistsException, UnsupportedOperationException, ValidationException
from kagitori_server.model.keys import Key, KeyState, MaterialVersion, Origin, Tag
from kagitori_server.operations.consequences import Consequence
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.imported_material import settle_waiting
from kagitori_server.operations.key_metadata import metadata
from kagitori_server.operations.policies import check_policy
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.keys import KeyMetadata
from kagitori_server.operations.shapes.multi_region import (
    ReplicateKeyRequest,
    ReplicateKeyResponse,
    UpdatePrimaryRegionRequest,
)
from kagitori_server.operations.tags import merge_tags
from kagitori_server.policy.defaults import default_key_policy


def _check_primary(key: Key) -> None:
    if not key.multi_region:
        raise UnsupportedOperationException(f"{key.arn} is not a multi-Region key.")
    if key.is_replica:
        raise UnsupportedOperationException(f"{key.arn} is a replica; the primary key is in {key.primary_region}.")


def check_replicate_key(context: Context, request: ReplicateKeyRequest) -> None:
    """Refuses keys that aren't primaries, and Regions that aren't served or have the key already.

    Raises UnsupportedOperationException, ValidationException or AlreadyExistsException.
    """
    key, region = context.key, request.replica_region
    _check_primary(key)
    if region not in context.services.regions:
        served = ", ".join(context.services.regions)
        raise ValidationException(f"The Region {region} is not served here; these are: {served}.")
    if region in key.family_regions:
        arn = key_arn(context.services.partition, region, key.account, key.key_id)
        raise AlreadyExistsException(f"Key '{arn}' exists already.")
    _tags(request)


@dataclass(frozen=True, slots=True)
class ReplicatedMaterial:
    """References to a key's versions in another Region, by material id."""

    references: Mapping[str, MaterialRef]


def prepare_replicate_key(context: Context, request: ReplicateKeyRequest) -> None:
    """Wraps the material for the other Region; imported material has to be imported there by itself."""
    key = context.key
    generated = key.materials if key.origin is Origin.AWS_KMS else ()
    context.prepared = ReplicatedMaterial(
        {version.material_id: _replicate(context, key, version, request.replica_region) for version in generated}
    )


def _replicate(context: Context, key: Key, version: MaterialVersion, region: str) -> MaterialRef:
    store = context.store(key)
    reference = MaterialRef(store.describe().kind, version.reference, version.material_id)
    target = domain_of(key.account, region)
    return store.replicate(domain_of(key.account, key.region), key.key_id, reference, target)


def replicate_key(context: Context, request: ReplicateKeyRequest) -> ReplicateKeyResponse:
    """Makes a key of the same id and material in another Region (AWS ReplicateKey). It is usable at once; one whose
    material is imported awaits its import there."""
    primary, region, services = context.key, request.replica_region, context.services
    services.quotas.check_keys(context.writer.count_keys(context.account, region))
    ready: Mapping[str, MaterialRef] = context.prepared.references
    materials = []
    for version in primary.materials:
        if primary.origin is Origin.EXTERNAL:
            # Known, so that no other can be imported there, and awaiting its import.
            materials.append(replace(version, reference=b"", expires=None, description=None))
        else:
            # One that came since (a rotation) is wrapped now.
            reference = ready.get(version.material_id) or _replicate(context, primary, version, region)
            materials.append(replace(version, reference=reference.reference))
    arn = key_arn(services.partition, region, primary.account, primary.key_id)
    text = request.policy or default_key_policy(context.account, services.partition)
    bypass = request.policy is None or request.bypass_policy_lockout_safety_check
    replica = replace(
        primary,
        region=region,
        arn=arn,
        state=KeyState.PENDING_IMPORT if primary.origin is Origin.EXTERNAL else KeyState.ENABLED,
        description=request.description or "",
        created=context.now,
        materials=tuple(materials),
        policy=text,
        policy_bindings=check_policy(context, text, arn, bypass_lockout_check=bypass),
        tags=_tags(request),
        aliases=(),
        next_rotation=None,
        on_demand_rotations=0,
        family_regions=tuple(sorted((*primary.family_regions, region))),
    )
    context.writer.insert_key(replica)
    settle_waiting(context.writer, replica)
    told = metadata(replica, services.partition)
    context.consequences.append(_made(request, replica, told))
    return ReplicateKeyResponse(replica_key_metadata=told, replica_policy=text, replica_tags=replica.tags)


def _made(request: ReplicateKeyRequest, replica: Key, told: KeyMetadata) -> Consequence:
    """The record of the new key, in its own Region: as if it had been made there by CreateKey."""
    shown: dict[str, object] = {
        "description": request.description, "key_spec": replica.spec, "key_usage": replica.usage,
        "origin": replica.origin, "multi_region": True,
        "bypass_policy_lockout_safety_check": request.bypass_policy_lockout_safety_check,
        "tags": replica.tags or None, "policy": request.policy,
    }
    return Consequence(
        name="CreateKey", key=replica, api_call=True, by_caller=True, request=shown, answer={"key_metadata": told}
    )


def _tags(request: ReplicateKeyRequest) -> tuple[Tag, ...]:
    return merge_tags((), tuple(Tag(tag.tag_key, tag.tag_value) for tag in request.tags))


def check_update_primary_region(context: Context, request: UpdatePrimaryRegionRequest) -> None:
    """Refuses keys that aren't primaries, and the Region that has the primary already. Raises
    UnsupportedOperationException or ValidationException."""
    _check_primary(context.key)
    if request.primary_region == context.key.primary_region:
        raise ValidationException(f"The primary key is in {request.primary_region} already.")


def update_primary_region(context: Context, request: UpdatePrimaryRegionRequest) -> Empty:
    """Makes a replica the primary key, and the primary a replica (AWS UpdatePrimaryRegion). The schedule and the
    count of rotations go with the role."""
    key, region, writer = context.key, request.primary_region, context.writer
    writer.set_primary_region(key.key_id, region)
    writer.set_rotation(region, key.key_id, key.rotation_period_days, key.next_rotation)
    writer.set_rotation(key.region, key.key_id, key.rotation_period_days, None)
    writer.set_on_demand_rotations(region, key.key_id, key.on_demand_rotations)
    return EMPTY
