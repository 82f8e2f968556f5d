"""DescribeTrail, GetTrailStatus and ListAuditPublicKeys."""

from __future__ import annotations

from kagitori_server.model.delivery_records import KeyPurpose, ListedKey
from kagitori_server.model.errors import NoSuchEntityException, ValidationException
from kagitori_server.operations.administration.pages import DEFAULT_PAGE
from kagitori_server.operations.administration.ports import DeliveredTrail
from kagitori_server.operations.context import Context
from kagitori_server.operations.digest_keys import public_key
from kagitori_server.operations.paging import cut, decode_marker, encode_marker
from kagitori_server.operations.shapes import audit as shapes
from kagitori_server.operations.shapes.service import NoMembers

_LISTING = "ListAuditPublicKeys"
_PURPOSES = {
    KeyPurpose.AUDIT_DIGEST: shapes.AuditKeyPurpose.AUDIT_DIGEST,
    KeyPurpose.AUDIT_LOG: shapes.AuditKeyPurpose.AUDIT_LOG,
}


def describe_trail(context: Context, _request: NoMembers) -> shapes.DescribeTrailResponse:
    """Tells where the audit trail is delivered to (as AWS CloudTrail DescribeTrails)."""
    trail = _trail(context)
    return shapes.DescribeTrailResponse(
        name=trail.name,
        trail_arn=trail.arn,
        home_region=trail.home_region,
        s3_bucket_name=trail.bucket,
        s3_key_prefix=trail.prefix or None,
        kms_key_id=trail.kms_key or None,
    )


def get_trail_status(context: Context, _request: NoMembers) -> shapes.GetTrailStatusResponse:
    """Tells how delivery goes (as AWS CloudTrail GetTrailStatus)."""
    _trail(context)
    with context.services.catalog.read() as reader:
        state = reader.trail_state()
    return shapes.GetTrailStatusResponse(
        is_logging=state.started is not None and state.stopped is None,
        start_logging_time=state.started,
        stop_logging_time=state.stopped,
        latest_delivery_attempt_time=state.log_attempted,
        latest_delivery_time=state.log_delivered,
        latest_delivery_error=state.log_error,
        latest_digest_delivery_attempt_time=state.digest_attempted,
        latest_digest_delivery_time=state.digest_delivered,
        latest_digest_delivery_error=state.digest_error,
    )


def list_audit_public_keys(
    context: Context, request: shapes.ListAuditPublicKeysRequest
) -> shapes.ListAuditPublicKeysResponse:
    """Lists the keys that the service signs with for its trail, and all that it ever did."""
    start, end = request.start_time, request.end_time
    if start is not None and end is not None and end < start:
        raise ValidationException("EndTime must not be before StartTime.")
    after, limit = decode_marker(_LISTING, request.marker), request.limit or DEFAULT_PAGE
    with context.services.catalog.read() as reader:
        listed = [
            key for purpose, name in _PURPOSES.items() if request.purpose in (None, name)
            for key in reader.signing_keys(purpose)
        ]
    valid = [
        key for key in listed
        if (end is None or key.valid_from <= end) and (start is None or key.valid_until >= start)
    ]
    found = [key for key in valid if _place(key) > after]
    page, more = cut(found, limit)
    return shapes.ListAuditPublicKeysResponse(
        public_keys=tuple(map(_shown, page)),
        next_marker=encode_marker(_LISTING, _place(page[-1])) if more else None,
        truncated=more,
    )


def _place(key: ListedKey) -> str:
    """In the order of these texts are they listed."""
    return f"{key.purpose} {key.number:010}"


def _trail(context: Context) -> DeliveredTrail:
    trail = context.services.administration.trail
    if trail is None:
        raise NoSuchEntityException("The audit trail is not delivered anywhere.")
    return trail


def _shown(key: ListedKey) -> shapes.AuditPublicKey:
    digests = key.purpose is KeyPurpose.AUDIT_DIGEST
    return shapes.AuditPublicKey(
        purpose=_PURPOSES[key.purpose],
        key_id=key.key_id,
        region=key.region,
        public_key=key.public_key_der,
        fingerprint=public_key(key).fingerprint if digests else None,
        validity_start_time=key.valid_from,
        validity_end_time=key.valid_until,
    )
