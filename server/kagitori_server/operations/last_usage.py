"""GetKeyLastUsage."""

from __future__ import annotations

from kagitori_server.model.usage import KeyLastUsageTrackingOperation
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes.usage import (
    GetKeyLastUsageRequest,
    GetKeyLastUsageResponse,
    KeyLastUsageData,
)

PATIENCE_SECONDS = 5.0
"""How long a call waits for the trail to be counted."""

_UNUSED = KeyLastUsageData(operation=None, timestamp=None, cloud_trail_event_id=None, kms_request_id=None)


def get_key_last_usage(context: Context, _request: GetKeyLastUsageRequest) -> GetKeyLastUsageResponse:
    """Tells of the latest successful cryptographic use of a key (AWS GetKeyLastUsage), this moment's included.

    Raises DependencyTimeoutException while the trail holds more than can be counted in time.
    """
    services, key = context.services, context.key
    services.administration.usage.catch_up(PATIENCE_SECONDS)
    with services.catalog.read() as reader:
        use = reader.last_use(key.arn)
        since = reader.followed_since()
    # A replica may be made again under an ARN that was used before.
    used = use is not None and use.moment >= int(key.created)
    return GetKeyLastUsageResponse(
        key_id=key.arn,
        key_last_usage=_UNUSED if use is None or not used else KeyLastUsageData(
            operation=KeyLastUsageTrackingOperation(use.operation),
            timestamp=use.moment,
            cloud_trail_event_id=use.event_id,
            kms_request_id=use.request_id,
        ),
        tracking_start_date=max(key.created, since or 0.0),
        key_creation_date=key.created,
    )
