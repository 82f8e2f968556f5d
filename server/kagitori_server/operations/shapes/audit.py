"""Shapes of the operations on the audit trail (AWS CloudTrail `LookupEvents`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.principals import account_id

_TOKEN_MAX = 32 * 1024
_FILTERS_MAX = 20


class LookupAttributeKey(StrEnum):
    """What records can be selected by: first what CloudTrail has, as it spells it."""

    EVENT_ID = "EventId"
    EVENT_NAME = "EventName"
    READ_ONLY = "ReadOnly"
    USERNAME = "Username"
    RESOURCE_TYPE = "ResourceType"
    RESOURCE_NAME = "ResourceName"
    EVENT_SOURCE = "EventSource"
    ACCESS_KEY_ID = "AccessKeyId"
    REQUEST_ID = "RequestId"
    SOURCE_IP_ADDRESS = "SourceIPAddress"
    PRINCIPAL_ARN = "PrincipalArn"
    ERROR_CODE = "ErrorCode"
    OUTCOME = "Outcome"
    KEY = "Key"
    KEY_ALIAS = "KeyAlias"
    ENCRYPTION_CONTEXT = "EncryptionContext"
    REGION = "Region"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupAttribute:
    """A selection of records."""

    attribute_key: LookupAttributeKey = member(required=True)
    attribute_value: str = member(required=True, minimum=1, maximum=2_000)
    context_key: str | None = member(minimum=1, maximum=2_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupEventsRequest:
    """What LookupEvents takes."""

    account_id: str | None = account_id()
    start_time: float | None = member()
    end_time: float | None = member()
    lookup_attribute: LookupAttribute | None = member()
    max_results: int | None = member(minimum=1, maximum=50)
    next_token: str | None = member(minimum=1, maximum=_TOKEN_MAX)
    filters: tuple[LookupAttribute, ...] | None = member(items_maximum=_FILTERS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class TailEventsRequest:
    """What TailEvents takes."""

    account_id: str | None = account_id()
    filters: tuple[LookupAttribute, ...] | None = member(items_maximum=_FILTERS_MAX)
    resume_token: str | None = member(minimum=1, maximum=_TOKEN_MAX)
    backlog: int | None = member(minimum=0, maximum=10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportEventsRequest:
    """What ExportEvents takes."""

    account_id: str | None = account_id()
    start_time: float | None = member()
    end_time: float | None = member()
    filters: tuple[LookupAttribute, ...] | None = member(items_maximum=_FILTERS_MAX)
    resume_token: str | None = member(minimum=1, maximum=_TOKEN_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventResource:
    """What a record is about."""

    resource_type: str
    resource_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """A record, with what is most asked for taken out of it."""

    event_id: str
    event_name: str
    read_only: bool
    event_time: float
    event_source: str
    username: str | None
    access_key_id: str | None
    resources: tuple[EventResource, ...]
    cloud_trail_event: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupEventsResponse:
    """What LookupEvents answers."""

    events: tuple[AuditEvent, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TailEventsResponse:
    """A message of the stream of TailEvents."""

    events: tuple[AuditEvent, ...]
    resume_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportEventsResponse:
    """A message of the stream of ExportEvents."""

    events: tuple[AuditEvent, ...]
    resume_token: str
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyAuditTrailRequest:
    """What VerifyAuditTrail takes."""

    chain_name: str | None = member(minimum=1, maximum=128, pattern="[a-z0-9-]+")
    delivered: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditProblem:
    """Something that isn't as it was written. `line` is 0 for the file as a whole."""

    chain_name: str
    segment_file: str
    line: int
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditChain:
    """The state of one chain. `head_hash` is the 32 bytes of the last record's SHA-256."""

    chain_name: str
    records: int
    first_sequence: int
    last_sequence: int
    head_hash: bytes
    problems: tuple[AuditProblem, ...]
    pruned_sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryProblem:
    """Something that is wrong with what was delivered."""

    place: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryCheck:
    """What was delivered, as verification found it."""

    digests: int
    log_files: int
    records: int
    sealed: int
    problem_count: int
    problems: tuple[DeliveryProblem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyAuditTrailResponse:
    """What VerifyAuditTrail answers."""

    chains: tuple[AuditChain, ...]
    delivery: DeliveryCheck | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTrailResponse:
    """What DescribeTrail answers."""

    name: str
    trail_arn: str
    home_region: str
    s3_bucket_name: str
    s3_key_prefix: str | None
    kms_key_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTrailStatusResponse:
    """What GetTrailStatus answers. Times are seconds since the epoch, None for never."""

    is_logging: bool
    start_logging_time: float | None
    stop_logging_time: float | None
    latest_delivery_attempt_time: float | None
    latest_delivery_time: float | None
    latest_delivery_error: str | None
    latest_digest_delivery_attempt_time: float | None
    latest_digest_delivery_time: float | None
    latest_digest_delivery_error: str | None


class AuditKeyPurpose(StrEnum):
    """What keys of the service are for that sign for its trail."""

    AUDIT_DIGEST = "AUDIT_DIGEST"
    AUDIT_LOG = "AUDIT_LOG"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAuditPublicKeysRequest:
    """What ListAuditPublicKeys takes."""

    purpose: AuditKeyPurpose | None = member()
    start_time: float | None = member()
    end_time: float | None = member()
    limit: int | None = member(minimum=1, maximum=1_000)
    marker: str | None = member(minimum=1, maximum=1_024)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPublicKey:
    """A key that signs, or signed. Times are seconds since the epoch."""

    purpose: AuditKeyPurpose
    key_id: str
    region: str
    public_key: bytes
    fingerprint: str | None
    validity_start_time: float
    validity_end_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAuditPublicKeysResponse:
    """What ListAuditPublicKeys answers."""

    public_keys: tuple[AuditPublicKey, ...]
    next_marker: str | None
    truncated: bool
