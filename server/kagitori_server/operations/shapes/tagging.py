"""Shapes of the AWS Resource Groups Tagging API (2017-01-26), as far as it is served."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model import limits
from kagitori_server.model.shape import member

_TOKEN_MAX = 2_048


def _pagination_token() -> str | None:
    text: str | None = member(minimum=0, maximum=_TOKEN_MAX)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class TagFilter:
    """Tagging `TagFilter`: a tag's key, and which values it may have; any without values."""

    key: str | None = member(minimum=1, maximum=limits.TAG_KEY_MAX)
    values: tuple[str, ...] = member(
        minimum=0, maximum=limits.TAG_VALUE_MAX, items_minimum=0, items_maximum=20, default=()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GetResourcesRequest:
    """Tagging `GetResources`."""

    pagination_token: str | None = _pagination_token()
    tag_filters: tuple[TagFilter, ...] = member(items_minimum=0, items_maximum=50, default=())
    resources_per_page: int | None = member()
    tags_per_page: int | None = member()
    resource_type_filters: tuple[str, ...] = member(minimum=0, maximum=256, default=())
    include_compliance_details: bool | None = member()
    exclude_compliant_resources: bool | None = member()
    resource_arn_list: tuple[str, ...] = member(
        minimum=1, maximum=1_011, items_minimum=1, items_maximum=100, default=()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceTag:
    """Tagging `Tag`."""

    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceTagMapping:
    """Tagging `ResourceTagMapping`."""

    resource_arn: str
    tags: tuple[ResourceTag, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetResourcesResponse:
    """What Tagging GetResources answers. An empty token says that this was the last page."""

    pagination_token: str
    resource_tag_mapping_list: tuple[ResourceTagMapping, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTagKeysRequest:
    """Tagging `GetTagKeys`."""

    pagination_token: str | None = _pagination_token()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTagKeysResponse:
    """What Tagging GetTagKeys answers."""

    pagination_token: str
    tag_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTagValuesRequest:
    """Tagging `GetTagValues`."""

    pagination_token: str | None = _pagination_token()
    key: str = member(required=True, minimum=1, maximum=limits.TAG_KEY_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTagValuesResponse:
    """What Tagging GetTagValues answers."""

    pagination_token: str
    tag_values: tuple[str, ...]
