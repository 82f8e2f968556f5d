"""What the service tells of a key (AWS `KeyMetadata`)."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from kagitori_server.model import key_specs
from kagitori_server.model.arn import key_arn
from kagitori_server.model.keys import ExpirationModel, Key, KeySpec, KeyState, MaterialState, Origin
from kagitori_server.operations.shapes.keys import (
    KeyMetadata,
    MultiRegionConfiguration,
    MultiRegionKey,
    MultiRegionKeyType,
    XksKeyConfiguration,
)

A = TypeVar("A", bound=StrEnum)

_CURRENT_SHOWN = frozenset({Origin.AWS_KMS, Origin.EXTERNAL})


def metadata(key: Key, partition: str) -> KeyMetadata:
    """The key as CreateKey, DescribeKey and ReplicateKey show it, without the algorithms that its store lacks."""
    lacking = frozenset() if key.custom_store is None else key.custom_store.lacking
    row = key_specs.KEY_SPECS[key.spec]
    return KeyMetadata(
        aws_account_id=key.account,
        key_id=key.key_id,
        arn=key.arn,
        creation_date=key.created,
        enabled=key.state is KeyState.ENABLED,
        description=key.description,
        key_usage=key.usage,
        key_state=key.state,
        deletion_date=key.deletion_date,
        valid_to=key.valid_to,
        origin=key.origin,
        custom_key_store_id=None if key.custom_store is None else key.custom_store.store_id,
        cloud_hsm_cluster_id=None if key.custom_store is None else key.custom_store.cluster_id,
        expiration_model=_expiration_model(key),
        key_manager=key.manager,
        customer_master_key_spec=key.spec if row.old_name else None,
        key_spec=key.spec,
        encryption_algorithms=served(key_specs.encryption_algorithms(key.spec, key.usage), lacking),
        signing_algorithms=served(key_specs.signing_algorithms(key.spec, key.usage), lacking),
        key_agreement_algorithms=key_specs.agreement_algorithms(key.spec, key.usage),
        encapsulation_algorithms=key_specs.encapsulation_algorithms(key.spec, key.usage),
        multi_region=key.multi_region,
        multi_region_configuration=_family(key, partition),
        pending_deletion_window_in_days=key.pending_window_days,
        mac_algorithms=key_specs.mac_algorithms(key.spec, key.usage),
        xks_key_configuration=None if key.xks_key_id is None else XksKeyConfiguration(id=key.xks_key_id),
        current_key_material_id=_current_material_id(key),
    )


def served(algorithms: tuple[A, ...], lacking: frozenset[str]) -> tuple[A, ...]:
    """Those of the algorithms that a store doesn't lack."""
    return tuple(each for each in algorithms if each.value not in lacking) if lacking else algorithms


def _current_material_id(key: Key) -> str | None:
    if key.spec is not KeySpec.SYMMETRIC_DEFAULT or key.origin not in _CURRENT_SHOWN:
        return None
    return next((found.material_id for found in key.materials if found.state is MaterialState.CURRENT), None)


def _expiration_model(key: Key) -> ExpirationModel | None:
    if key.origin is not Origin.EXTERNAL or not any(version.present for version in key.materials):
        return None
    if key.valid_to is None:
        return ExpirationModel.KEY_MATERIAL_DOES_NOT_EXPIRE
    return ExpirationModel.KEY_MATERIAL_EXPIRES


def _family(key: Key, partition: str) -> MultiRegionConfiguration | None:
    if key.primary_region is None:
        return None

    def member(region: str) -> MultiRegionKey:
        return MultiRegionKey(arn=key_arn(partition, region, key.account, key.key_id), region=region)

    return MultiRegionConfiguration(
        multi_region_key_type=MultiRegionKeyType.REPLICA if key.is_replica else MultiRegionKeyType.PRIMARY,
        primary_key=member(key.primary_region),
        replica_keys=tuple(member(region) for region in key.family_regions if region != key.primary_region),
    )
