"""Shapes of the operations that rotate key material (AWS KMS API reference)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kagitori_server.model import limits
from kagitori_server.model.keys import ExpirationModel, MaterialState, RotationType
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import key_id, limit, marker


class IncludeKeyMaterial(StrEnum):
    """AWS `IncludeKeyMaterial`: which material ListKeyRotations lists."""

    ALL_KEY_MATERIAL = "ALL_KEY_MATERIAL"
    ROTATIONS_ONLY = "ROTATIONS_ONLY"


class ImportState(StrEnum):
    """AWS `ImportState`: whether imported material is here."""

    IMPORTED = "IMPORTED"
    PENDING_IMPORT = "PENDING_IMPORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnableKeyRotationRequest:
    """AWS `EnableKeyRotationRequest`."""

    key_id: str = key_id()
    rotation_period_in_days: int | None = member(
        minimum=limits.ROTATION_PERIOD_DAYS[0], maximum=limits.ROTATION_PERIOD_DAYS[1]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DisableKeyRotationRequest:
    """AWS `DisableKeyRotationRequest`."""

    key_id: str = key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetKeyRotationStatusRequest:
    """AWS `GetKeyRotationStatusRequest`."""

    key_id: str = key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetKeyRotationStatusResponse:
    """AWS `GetKeyRotationStatusResponse`; times are seconds since the epoch, `key_id` is the key ARN."""

    key_rotation_enabled: bool
    key_id: str
    rotation_period_in_days: int | None
    next_rotation_date: float | None
    on_demand_rotation_start_date: float | None
    """Always absent: a rotation on demand is done when it is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKeyOnDemandRequest:
    """AWS `RotateKeyOnDemandRequest`."""

    key_id: str = key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKeyOnDemandResponse:
    """AWS `RotateKeyOnDemandResponse`; `key_id` is the key ARN."""

    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKeyRotationsRequest:
    """AWS `ListKeyRotationsRequest`."""

    key_id: str = key_id()
    include_key_material: IncludeKeyMaterial = member(default=IncludeKeyMaterial.ROTATIONS_ONLY)
    limit: int | None = limit(1000)
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationsListEntry:
    """AWS `RotationsListEntry`: one version of a key's material. Times are seconds since the epoch."""

    key_id: str
    key_material_id: str
    key_material_description: str | None
    import_state: ImportState | None
    key_material_state: MaterialState
    expiration_model: ExpirationModel | None
    valid_to: float | None
    rotation_date: float | None
    rotation_type: RotationType | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKeyRotationsResponse:
    """AWS `ListKeyRotationsResponse`, oldest first."""

    rotations: tuple[RotationsListEntry, ...]
    next_marker: str | None
    truncated: bool
