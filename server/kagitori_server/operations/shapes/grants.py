"""Shapes of the operations on grants (AWS KMS API reference)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kagitori_server.model import limits
from kagitori_server.model.grants import GrantOperation
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import key_id, limit, marker

_PRINCIPAL = r"[\w+=,.@:/-]+"
_SERVICE = r"([A-Za-z0-9\-]+)\.([A-Za-z0-9\-]+)(\.[A-Za-z0-9\-]+)+"
_ARN = r"arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+"


def _principal() -> str | None:
    arn: str | None = member(minimum=1, maximum=256, pattern=_PRINCIPAL)
    return arn


def _service() -> str | None:
    name: str | None = member(minimum=1, maximum=128, pattern=_SERVICE)
    return name


def _grant_id(*, required: bool = False) -> str:
    name: str = member(required=required, minimum=1, maximum=128)
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantConstraints:
    """AWS `GrantConstraints`. A map without pairs is one that wasn't given."""

    encryption_context_subset: Mapping[str, str] | None = member(total_maximum=limits.ENCRYPTION_CONTEXT_MAX)
    encryption_context_equals: Mapping[str, str] | None = member(total_maximum=limits.ENCRYPTION_CONTEXT_MAX)
    source_arn: str | None = member(minimum=20, maximum=512, pattern=_ARN)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGrantRequest:
    """AWS `CreateGrantRequest`."""

    key_id: str = key_id()
    grantee_principal: str | None = _principal()
    retiring_principal: str | None = _principal()
    operations: tuple[GrantOperation, ...] = member(required=True)
    constraints: GrantConstraints | None = member()
    grant_tokens: tuple[str, ...] = member(
        minimum=1, maximum=limits.GRANT_TOKEN_MAX, items_maximum=limits.GRANT_TOKENS_MAX, sensitive=True, default=()
    )
    name: str | None = member(minimum=1, maximum=256, pattern="[a-zA-Z0-9:/_-]+")
    dry_run: bool = member(default=False)
    grantee_service_principal: str | None = _service()
    retiring_service_principal: str | None = _service()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGrantResponse:
    """AWS `CreateGrantResponse`."""

    grant_token: str = member(sensitive=True, required=True)
    grant_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListGrantsRequest:
    """AWS `ListGrantsRequest`."""

    limit: int | None = limit(100)
    marker: str | None = marker()
    key_id: str = key_id()
    grant_id: str | None = _grant_id()
    grantee_principal: str | None = _principal()
    grantee_service_principal: str | None = _service()


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantListEntry:
    """AWS `GrantListEntry`. `key_id` is the key's ARN, `creation_date` seconds since the epoch."""

    key_id: str
    grant_id: str
    name: str | None
    creation_date: float
    grantee_principal: str
    retiring_principal: str | None
    issuing_account: str
    operations: tuple[GrantOperation, ...]
    constraints: GrantConstraints | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListGrantsResponse:
    """AWS `ListGrantsResponse`, the answer of ListRetirableGrants too."""

    grants: tuple[GrantListEntry, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRetirableGrantsRequest:
    """AWS `ListRetirableGrantsRequest`."""

    limit: int | None = limit(100)
    marker: str | None = marker()
    retiring_principal: str | None = _principal()
    retiring_service_principal: str | None = _service()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireGrantRequest:
    """AWS `RetireGrantRequest`."""

    grant_token: str | None = member(minimum=1, maximum=limits.GRANT_TOKEN_MAX, sensitive=True)
    key_id: str | None = member(minimum=1, maximum=limits.KEY_ID_MAX)
    grant_id: str | None = _grant_id()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeGrantRequest:
    """AWS `RevokeGrantRequest`."""

    key_id: str = key_id()
    grant_id: str = _grant_id(required=True)
    dry_run: bool = member(default=False)
