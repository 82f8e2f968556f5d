"""AWS CloudTrail: LookupEvents over the audit trail, and what is told of the trail that is delivered."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from kagitori_server.model.arn import shortened
from kagitori_server.model.delivery_records import KeyPurpose
from kagitori_server.model.errors import ValidationException
from kagitori_server.model.limits import SECONDS_PER_DAY
from kagitori_server.model.neighbour_errors import (
    CloudTrailARNInvalidException,
    InvalidEventCategoryException,
    InvalidLookupAttributesException,
    InvalidMaxResultsException,
    InvalidNextTokenException,
    InvalidTimeRangeException,
    InvalidTokenException,
    InvalidTrailNameException,
    TrailNotFoundException,
)
from kagitori_server.operations.administration.ports import DeliveredTrail, EventFilter, EventQuery, FoundEvent
from kagitori_server.operations.administration.trail import LOOKUP_DAYS
from kagitori_server.operations.context import Context
from kagitori_server.operations.digest_keys import public_key
from kagitori_server.operations.shapes import cloudtrail as shapes
from kagitori_server.operations.shapes.audit import LookupAttributeKey

_MOST_RESULTS = 50
_ATTRIBUTES = frozenset({
    LookupAttributeKey.EVENT_ID, LookupAttributeKey.EVENT_NAME, LookupAttributeKey.READ_ONLY,
    LookupAttributeKey.USERNAME, LookupAttributeKey.RESOURCE_TYPE, LookupAttributeKey.RESOURCE_NAME,
    LookupAttributeKey.EVENT_SOURCE, LookupAttributeKey.ACCESS_KEY_ID,
})
"""CloudTrail's, of those that the trail can be asked by."""
_INSIGHT = "insight"
_NAME = re.compile(r"[A-Za-z0-9](?:[._-]?[A-Za-z0-9])+")
_NAME_LENGTHS = (3, 128)
_ARN = re.compile(
    r"arn:(?P<partition>[a-z-]+):cloudtrail:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}):trail/(?P<name>.+)"
)


def lookup_events(context: Context, request: shapes.LookupEventsRequest) -> shapes.LookupEventsResponse:
    """Events of the account from the last 90 days, newest first, of the call's Region (AWS CloudTrail LookupEvents).

    A page may hold less than was asked for, even nothing, although there is a token to go on from.
    """
    query = EventQuery(
        account=context.account,
        start_time=request.start_time,
        end_time=request.end_time,
        attribute=_attribute(request.lookup_attributes),
        max_results=_results(request.max_results),
        next_token=request.next_token,
        filters=((LookupAttributeKey.REGION, context.region, None),),
        # Not a start time: it moves, and a token goes with one query only.
        not_before=context.now - LOOKUP_DAYS * SECONDS_PER_DAY,
    )
    if request.start_time is not None and request.end_time is not None and request.start_time > request.end_time:
        raise InvalidTimeRangeException("StartTime must not be after EndTime.")
    if request.event_category is not None:
        if request.event_category != _INSIGHT:
            raise InvalidEventCategoryException(f"There is no category {shortened(request.event_category)}.")
        return shapes.LookupEventsResponse(events=(), next_token=None)
    try:
        page = context.services.administration.audit.lookup(query)
    except ValidationException as refusal:
        # Times and attribute have been looked at: what is left is the token.
        if request.next_token is None:
            raise
        raise InvalidNextTokenException(refusal.message) from None
    return shapes.LookupEventsResponse(events=tuple(map(_event, page.events)), next_token=page.next_token)


def describe_trails(context: Context, request: shapes.DescribeTrailsRequest) -> shapes.DescribeTrailsResponse:
    """The trails that are named, or all of the account; those that aren't there are left out (AWS CloudTrail
    DescribeTrails)."""
    wanted = [_trail_name(name) for name in request.trail_name_list]
    delivered = _delivered(context)
    trails = [] if delivered is None else [delivered]
    if request.include_shadow_trails is False:
        trails = [trail for trail in trails if trail.home_region == context.region]
    listed = [trail for trail in trails if not wanted or trail.name in wanted or trail.arn in wanted]
    return shapes.DescribeTrailsResponse(trail_list=tuple(map(_shape, listed)))


def get_trail_status(context: Context, request: shapes.GetTrailStatusRequest) -> shapes.GetTrailStatusResponse:
    """Whether and when a trail was last delivered (AWS CloudTrail GetTrailStatus)."""
    name = _trail_name(request.name)
    delivered = _delivered(context)
    if delivered is None or name not in (delivered.name, delivered.arn):
        raise TrailNotFoundException(f"Unknown trail: {shortened(request.name)}")
    with context.services.catalog.read() as reader:
        state = reader.trail_state()
    return shapes.GetTrailStatusResponse(
        is_logging=state.started is not None and state.stopped is None,
        latest_delivery_error=state.log_error,
        latest_delivery_time=state.log_delivered,
        start_logging_time=state.started,
        stop_logging_time=state.stopped,
        latest_digest_delivery_time=state.digest_delivered,
        latest_digest_delivery_error=state.digest_error,
        latest_delivery_attempt_time=_moment(state.log_attempted),
        latest_delivery_attempt_succeeded=_moment(state.log_delivered),
        time_logging_started=_moment(state.started),
        time_logging_stopped=_moment(state.stopped),
    )


def list_public_keys(context: Context, request: shapes.ListPublicKeysRequest) -> shapes.ListPublicKeysResponse:
    """Keys whose validity the range touches, by which digest files are signed (AWS CloudTrail ListPublicKeys)."""
    start = context.now if request.start_time is None else request.start_time
    end = context.now if request.end_time is None else request.end_time
    if start > end:
        raise InvalidTimeRangeException("StartTime must not be after EndTime.")
    if request.next_token:
        raise InvalidTokenException("There is one page.")
    with context.services.catalog.read() as reader:
        listed = reader.signing_keys(KeyPurpose.AUDIT_DIGEST)
    keys = (public_key(key) for key in listed if key.valid_from <= end and key.valid_until >= start)
    return shapes.ListPublicKeysResponse(
        public_key_list=tuple(
            shapes.PublicKeyShape(
                value=key.value, validity_start_time=key.validity_start, validity_end_time=key.validity_end,
                fingerprint=key.fingerprint,
            )
            for key in keys
        ),
        next_token=None,
    )


def _delivered(context: Context) -> DeliveredTrail | None:
    """The trail, of which there is one in a deployment; it's the home account's."""
    services = context.services
    return services.administration.trail if context.account == services.home_account else None


def _attribute(attributes: tuple[shapes.LookupAttribute, ...]) -> EventFilter | None:
    if not attributes:
        return None
    if len(attributes) > 1:
        raise InvalidLookupAttributesException("There is one lookup attribute at most.")
    wanted = attributes[0]
    if wanted.attribute_key not in _ATTRIBUTES:
        raise InvalidLookupAttributesException(f"There is no attribute {shortened(wanted.attribute_key)}.")
    value = wanted.attribute_value
    if wanted.attribute_key == LookupAttributeKey.READ_ONLY and value not in ("true", "false"):
        raise InvalidLookupAttributesException("The value of ReadOnly must be true or false.")
    return wanted.attribute_key, value, None


def _results(wanted: int | None) -> int:
    if wanted is None:
        return _MOST_RESULTS
    if not 1 <= wanted <= _MOST_RESULTS:
        raise InvalidMaxResultsException(f"MaxResults must be between 1 and {_MOST_RESULTS}.")
    return wanted


def _event(event: FoundEvent) -> shapes.Event:
    return shapes.Event(
        event_id=event.event_id,
        event_name=event.event_name,
        read_only=event.read_only,
        access_key_id=event.access_key_id,
        event_time=event.event_time,
        event_source=event.event_source,
        username=event.username,
        resources=tuple(
            shapes.EventResource(resource_type=kind, resource_name=name) for kind, name in event.resources
        ),
        cloud_trail_event=event.cloud_trail_event,
    )


def _trail_name(text: str) -> str:
    """The name or ARN of a trail, as it was given. Raises InvalidTrailNameException, CloudTrailARNInvalidException."""
    if text.startswith("arn:"):
        found = _ARN.fullmatch(text)
        if found is None or not _is_name(found["name"]):
            raise CloudTrailARNInvalidException(f"{shortened(text)} is not the ARN of a trail.")
    elif not _is_name(text):
        raise InvalidTrailNameException(
            "A trail's name has 3 to 128 letters, digits and single periods, underscores and dashes between them."
        )
    return text


def _is_name(text: str) -> bool:
    least, most = _NAME_LENGTHS
    return least <= len(text) <= most and _NAME.fullmatch(text) is not None


def _shape(trail: DeliveredTrail) -> shapes.TrailShape:
    return shapes.TrailShape(
        name=trail.name,
        s3_bucket_name=trail.bucket,
        s3_key_prefix=trail.prefix or None,
        include_global_service_events=True,
        is_multi_region_trail=True,
        home_region=trail.home_region,
        trail_arn=trail.arn,
        log_file_validation_enabled=True,
        kms_key_id=trail.kms_key or None,
        has_custom_event_selectors=False,
        has_insight_selectors=False,
        is_organization_trail=False,
    )


def _moment(seconds: float | None) -> str:
    """A time as the texts of GetTrailStatus have it; empty for none."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
