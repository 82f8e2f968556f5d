"""Shapes of the operations on the server itself."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.operations.shapes.custom_key_stores import store_id


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCustomKeyStoreRequest:
    """What CheckCustomKeyStore takes."""

    custom_key_store_id: str = store_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenObject:
    """A key object of a token. `object_id` is its CKA_ID, hexadecimal."""

    object_id: str
    label: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingTokenObject:
    """Material of a key that its token doesn't hold."""

    key_arn: str
    key_material_id: str
    object_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCustomKeyStoreResponse:
    """What CheckCustomKeyStore answers. The counts are of all, the lists of the first."""

    object_count: int
    orphaned_count: int
    orphaned: tuple[TokenObject, ...]
    missing_count: int
    missing: tuple[MissingTokenObject, ...]
