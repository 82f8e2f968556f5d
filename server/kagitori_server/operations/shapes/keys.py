"""Shapes of the operations on keys themselves, their tags and their policies (AWS KMS API reference)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kagitori_server.model import limits
from kagitori_server.model.keys import (
    EncapsulationAlgorithm,
    EncryptionAlgorithm,
    ExpirationModel,
    KeyAgreementAlgorithm,
    KeyManager,
    KeySpec,
    KeyState,
    KeyUsage,
    MacAlgorithm,
    Origin,
    SigningAlgorithm,
    Tag,
)
from kagitori_server.model.shape import member

POLICY_PATTERN = "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"
"""Characters that a policy document may have (AWS `PolicyType`)."""
_POLICY_NAME = r"\w+"
_MARKER_PATTERN = "[\\u0020-\\u00FF]*"

DEFAULT_POLICY_NAME = "default"
"""The one name a key policy can have."""


def key_id() -> str:
    """The member that names a key in four or two forms, as the operation's row says."""
    name: str = member(required=True, minimum=1, maximum=limits.KEY_ID_MAX)
    return name


def limit(maximum: int) -> int | None:
    """Most items wanted in one page."""
    count: int | None = member(minimum=1, maximum=maximum)
    return count


def marker() -> str | None:
    """The `next_marker` of the page before."""
    text: str | None = member(minimum=1, maximum=limits.MARKER_MAX, pattern=_MARKER_PATTERN)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class TagShape:
    """AWS `Tag`."""

    tag_key: str = member(required=True, minimum=1, maximum=limits.TAG_KEY_MAX)
    tag_value: str = member(required=True, minimum=0, maximum=limits.TAG_VALUE_MAX)


class MultiRegionKeyType(StrEnum):
    """AWS `MultiRegionKeyType`."""

    PRIMARY = "PRIMARY"
    REPLICA = "REPLICA"


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiRegionKey:
    """AWS `MultiRegionKey`: one of a family."""

    arn: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiRegionConfiguration:
    """AWS `MultiRegionConfiguration`: a family as seen from one of its keys."""

    multi_region_key_type: MultiRegionKeyType
    primary_key: MultiRegionKey
    replica_keys: tuple[MultiRegionKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class XksKeyConfiguration:
    """AWS `XksKeyConfigurationType`: the external key behind a key."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMetadata:
    """What DescribeKey and CreateKey tell of a key. Times are seconds since the epoch."""

    aws_account_id: str
    key_id: str
    arn: str
    creation_date: float
    enabled: bool
    description: str
    key_usage: KeyUsage
    key_state: KeyState
    deletion_date: float | None
    valid_to: float | None
    origin: Origin
    custom_key_store_id: str | None
    cloud_hsm_cluster_id: str | None
    expiration_model: ExpirationModel | None
    key_manager: KeyManager
    customer_master_key_spec: KeySpec | None
    key_spec: KeySpec
    encryption_algorithms: tuple[EncryptionAlgorithm, ...]
    signing_algorithms: tuple[SigningAlgorithm, ...]
    key_agreement_algorithms: tuple[KeyAgreementAlgorithm, ...]
    encapsulation_algorithms: tuple[EncapsulationAlgorithm, ...]
    multi_region: bool
    multi_region_configuration: MultiRegionConfiguration | None
    pending_deletion_window_in_days: int | None
    mac_algorithms: tuple[MacAlgorithm, ...]
    xks_key_configuration: XksKeyConfiguration | None
    current_key_material_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateKeyRequest:
    """AWS `CreateKeyRequest`."""

    policy: str | None = member(minimum=1, maximum=limits.POLICY_SHAPE_MAX, pattern=POLICY_PATTERN)
    description: str | None = member(minimum=0, maximum=limits.DESCRIPTION_MAX)
    key_usage: KeyUsage | None = member()
    customer_master_key_spec: KeySpec | None = member()
    key_spec: KeySpec | None = member()
    origin: Origin = member(default=Origin.AWS_KMS)
    custom_key_store_id: str | None = member(minimum=1, maximum=64)
    bypass_policy_lockout_safety_check: bool = member(default=False)
    tags: tuple[TagShape, ...] = member(default=())
    multi_region: bool = member(default=False)
    xks_key_id: str | None = member(minimum=1, maximum=128, pattern=r"[a-zA-Z0-9-_.]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateKeyResponse:
    """AWS `CreateKeyResponse`."""

    key_metadata: KeyMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeKeyRequest:
    """AWS `DescribeKeyRequest`."""

    key_id: str = key_id()
    grant_tokens: tuple[str, ...] = member(
        minimum=1, maximum=limits.GRANT_TOKEN_MAX, items_maximum=limits.GRANT_TOKENS_MAX, sensitive=True, default=()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeKeyResponse:
    """AWS `DescribeKeyResponse`."""

    key_metadata: KeyMetadata


class ResourceOwner(StrEnum):
    """Whose keys ListKeys lists. Nothing is ever shared through AWS RAM here, so the second lists none."""

    SELF = "SELF"
    OTHER_ACCOUNTS_VIA_RAM = "OTHER_ACCOUNTS_VIA_RAM"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKeysRequest:
    """AWS `ListKeysRequest`."""

    limit: int | None = limit(1000)
    marker: str | None = marker()
    resource_owners: tuple[ResourceOwner, ...] = member(items_minimum=1, items_maximum=2, default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyListEntry:
    """AWS `KeyListEntry`."""

    key_id: str
    key_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKeysResponse:
    """AWS `ListKeysResponse`."""

    keys: tuple[KeyListEntry, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateKeyDescriptionRequest:
    """AWS `UpdateKeyDescriptionRequest`."""

    key_id: str = key_id()
    description: str = member(required=True, minimum=0, maximum=limits.DESCRIPTION_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnableKeyRequest:
    """AWS `EnableKeyRequest`."""

    key_id: str = key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class DisableKeyRequest:
    """AWS `DisableKeyRequest`."""

    key_id: str = key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleKeyDeletionRequest:
    """AWS `ScheduleKeyDeletionRequest`. The shape allows 1 to 365 days, the operation 7 to 30."""

    key_id: str = key_id()
    pending_window_in_days: int = member(minimum=1, maximum=365, default=limits.PENDING_WINDOW_DEFAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleKeyDeletionResponse:
    """AWS `ScheduleKeyDeletionResponse`; `key_id` is the key ARN. A primary key that waits for its replicas has no
    date yet."""

    key_id: str
    deletion_date: float | None
    key_state: KeyState
    pending_window_in_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelKeyDeletionRequest:
    """AWS `CancelKeyDeletionRequest`."""

    key_id: str = key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelKeyDeletionResponse:
    """AWS `CancelKeyDeletionResponse`; `key_id` is the key ARN."""

    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TagResourceRequest:
    """AWS `TagResourceRequest`."""

    key_id: str = key_id()
    tags: tuple[TagShape, ...] = member(required=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class UntagResourceRequest:
    """AWS `UntagResourceRequest`."""

    key_id: str = key_id()
    tag_keys: tuple[str, ...] = member(required=True, minimum=1, maximum=limits.TAG_KEY_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListResourceTagsRequest:
    """AWS `ListResourceTagsRequest`."""

    key_id: str = key_id()
    limit: int | None = limit(50)
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListResourceTagsResponse:
    """AWS `ListResourceTagsResponse`."""

    tags: tuple[Tag, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GetKeyPolicyRequest:
    """AWS `GetKeyPolicyRequest`."""

    key_id: str = key_id()
    policy_name: str = member(minimum=1, maximum=128, pattern=_POLICY_NAME, default=DEFAULT_POLICY_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetKeyPolicyResponse:
    """AWS `GetKeyPolicyResponse`: the document byte for byte as it was put."""

    policy: str
    policy_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutKeyPolicyRequest:
    """AWS `PutKeyPolicyRequest`."""

    key_id: str = key_id()
    policy_name: str = member(minimum=1, maximum=128, pattern=_POLICY_NAME, default=DEFAULT_POLICY_NAME)
    policy: str = member(required=True, minimum=1, maximum=limits.POLICY_SHAPE_MAX, pattern=POLICY_PATTERN)
    bypass_policy_lockout_safety_check: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKeyPoliciesRequest:
    """AWS `ListKeyPoliciesRequest`."""

    key_id: str = key_id()
    limit: int | None = limit(1000)
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKeyPoliciesResponse:
    """AWS `ListKeyPoliciesResponse`."""

    policy_names: tuple[str, ...]
    next_marker: str | None
    truncated: bool
