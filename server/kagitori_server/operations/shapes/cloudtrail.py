"""Shapes of AWS CloudTrail (2013-11-01), as far as it is served."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model.shape import member

_TEXT_MAX = 2_048
_NEXT_TOKEN_MAX = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupAttribute:
    """CloudTrail `LookupAttribute`. Which keys there are is looked at by the operation, which has an error for it."""

    attribute_key: str = member(required=True, minimum=1, maximum=_TEXT_MAX)
    attribute_value: str = member(required=True, minimum=1, maximum=2_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupEventsRequest:
    """CloudTrail `LookupEvents`. What has an error of its own is looked at by the operation."""

    lookup_attributes: tuple[LookupAttribute, ...] = member(default=())
    start_time: float | None = member()
    end_time: float | None = member()
    event_category: str | None = member(minimum=0, maximum=_TEXT_MAX)
    max_results: int | None = member()
    next_token: str | None = member(minimum=0, maximum=_NEXT_TOKEN_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventResource:
    """CloudTrail `Resource`."""

    resource_type: str
    resource_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """CloudTrail `Event`. `read_only` is `true` or `false`, times are seconds since the epoch."""

    event_id: str
    event_name: str
    read_only: str
    access_key_id: str | None
    event_time: float
    event_source: str
    username: str | None
    resources: tuple[EventResource, ...]
    cloud_trail_event: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupEventsResponse:
    """What CloudTrail LookupEvents answers."""

    events: tuple[Event, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTrailsRequest:
    """CloudTrail `DescribeTrails`."""

    trail_name_list: tuple[str, ...] = member(minimum=0, maximum=_TEXT_MAX, default=())
    include_shadow_trails: bool | None = member()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailShape:
    """CloudTrail `Trail`."""

    name: str
    s3_bucket_name: str
    s3_key_prefix: str | None
    include_global_service_events: bool
    is_multi_region_trail: bool
    home_region: str
    trail_arn: str
    log_file_validation_enabled: bool
    kms_key_id: str | None
    has_custom_event_selectors: bool
    has_insight_selectors: bool
    is_organization_trail: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTrailsResponse:
    """What CloudTrail DescribeTrails answers."""

    trail_list: tuple[TrailShape, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTrailStatusRequest:
    """CloudTrail `GetTrailStatus`."""

    name: str = member(required=True, minimum=0, maximum=_TEXT_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTrailStatusResponse:
    """What CloudTrail GetTrailStatus answers. Times are seconds since the epoch; the last four are texts, as in AWS."""

    is_logging: bool
    latest_delivery_error: str | None
    latest_delivery_time: float | None
    start_logging_time: float | None
    stop_logging_time: float | None
    latest_digest_delivery_time: float | None
    latest_digest_delivery_error: str | None
    latest_delivery_attempt_time: str
    latest_delivery_attempt_succeeded: str
    time_logging_started: str
    time_logging_stopped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPublicKeysRequest:
    """CloudTrail `ListPublicKeys`."""

    start_time: float | None = member()
    end_time: float | None = member()
    next_token: str | None = member(minimum=0, maximum=_NEXT_TOKEN_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeyShape:
    """CloudTrail `PublicKey`: `value` is the DER of an RSAPublicKey (PKCS #1), `fingerprint` its MD5 in hexadecimal."""

    value: bytes
    validity_start_time: float
    validity_end_time: float
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPublicKeysResponse:
    """What CloudTrail ListPublicKeys answers."""

    public_key_list: tuple[PublicKeyShape, ...]
    next_token: str | None
