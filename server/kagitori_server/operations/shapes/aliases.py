"""Shapes of the operations on aliases (AWS KMS API reference)."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model import limits
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import key_id, limit, marker


def alias_name() -> str:
    """An alias name with its `alias/` prefix."""
    name: str = member(required=True, minimum=1, maximum=limits.ALIAS_NAME_MAX, pattern="[a-zA-Z0-9:/_-]+")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAliasRequest:
    """AWS `CreateAliasRequest`."""

    alias_name: str = alias_name()
    target_key_id: str = key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateAliasRequest:
    """AWS `UpdateAliasRequest`."""

    alias_name: str = alias_name()
    target_key_id: str = key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAliasRequest:
    """AWS `DeleteAliasRequest`."""

    alias_name: str = alias_name()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAliasesRequest:
    """AWS `ListAliasesRequest`."""

    key_id: str | None = member(minimum=1, maximum=limits.KEY_ID_MAX)
    limit: int | None = limit(100)
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasListEntry:
    """AWS `AliasListEntry`. Times are seconds since the epoch."""

    alias_name: str
    alias_arn: str
    target_key_id: str
    creation_date: float
    last_updated_date: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAliasesResponse:
    """AWS `ListAliasesResponse`."""

    aliases: tuple[AliasListEntry, ...]
    next_marker: str | None
    truncated: bool
