"""Shapes of ReplicateKey and UpdatePrimaryRegion (AWS KMS API reference)."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model import limits
from kagitori_server.model.keys import Tag
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import POLICY_PATTERN, KeyMetadata, TagShape, key_id

_REGION_PATTERN = r"([a-z]+-){2,3}\d+"


def _region() -> str:
    name: str = member(required=True, minimum=1, maximum=32, pattern=_REGION_PATTERN)
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicateKeyRequest:
    """AWS `ReplicateKeyRequest`."""

    key_id: str = key_id()
    replica_region: str = _region()
    policy: str | None = member(minimum=1, maximum=limits.POLICY_SHAPE_MAX, pattern=POLICY_PATTERN)
    bypass_policy_lockout_safety_check: bool = member(default=False)
    description: str | None = member(minimum=0, maximum=limits.DESCRIPTION_MAX)
    tags: tuple[TagShape, ...] = member(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicateKeyResponse:
    """AWS `ReplicateKeyResponse`."""

    replica_key_metadata: KeyMetadata
    replica_policy: str
    replica_tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePrimaryRegionRequest:
    """AWS `UpdatePrimaryRegionRequest`."""

    key_id: str = key_id()
    primary_region: str = _region()
