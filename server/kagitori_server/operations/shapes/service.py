"""Shapes of the operations on the server itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMembers:
    """What GetCallerIdentity, GetServerStatus, ListKeyStoreHealth and RotateRootKey take: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPosition:
    """How far a chain has come. `head_hash` is the 32 bytes of its last record's SHA-256."""

    chain_name: str
    sequence: int
    head_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GetServerStatusResponse:
    """What GetServerStatus answers. `uptime` is in seconds."""

    version: str
    uptime: float
    region: str
    account_count: int
    key_count: int
    root_key_provider: str
    root_key_id: str
    catalog_kind: str
    catalog_schema_revision: str
    audit_positions: tuple[AuditPosition, ...]
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStoreHealth:
    """How a probe of a key store went. `latency` is in seconds."""

    key_store_id: str
    kind: str
    healthy: bool
    detail: str
    latency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKeyStoreHealthResponse:
    """What ListKeyStoreHealth answers."""

    key_stores: tuple[KeyStoreHealth, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateRootKeyResponse:
    """What RotateRootKey answers."""

    previous_root_key_id: str
    root_key_id: str
    rewrapped_count: int
