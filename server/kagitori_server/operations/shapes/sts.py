"""Shapes of AWS STS (2011-06-15), as far as it is served."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from kagitori_server.model import limits
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.access_keys import SessionCredentials
from kagitori_server.operations.shapes.principals import ARN_MAX, POLICY_CHARACTERS

_ARN_CHARACTERS = (
    "[\\u0009\\u000A\\u000D\\u0020-\\u007E\\u0085\\u00A0-\\uD7FF\\uE000-\\uFFFD\\U00010000-\\U0010FFFF]+"
)
_SESSION_NAME = "[A-Za-z0-9_+=,.@-]*"
_EXTERNAL_ID = "[A-Za-z0-9_+=,.@:/-]*"
_SERIAL_NUMBER = "[A-Za-z0-9_+=/:,.@-]*"
_WEB_POLICY_MAX = 2_048
_TOKEN_MAX = 20_000
_TOKEN_SIZE_MAX = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCallerIdentityRequest:
    """STS `GetCallerIdentity`: it has no members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCallerIdentityResponse:
    """What STS GetCallerIdentity answers."""

    user_id: str
    account: str
    arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTag:
    """STS `Tag`."""

    key: str = member(required=True, minimum=1, maximum=limits.TAG_KEY_MAX)
    value: str = member(required=True, minimum=0, maximum=limits.TAG_VALUE_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDescriptor:
    """STS `PolicyDescriptorType`: a managed policy."""

    arn: str | None = member(minimum=20, maximum=ARN_MAX, pattern=_ARN_CHARACTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvidedContext:
    """STS `ProvidedContext`."""

    provider_arn: str | None = member(minimum=20, maximum=ARN_MAX, pattern=_ARN_CHARACTERS)
    context_assertion: str | None = member(minimum=4, maximum=3_072)


def _role_arn() -> str:
    arn: str = member(required=True, minimum=20, maximum=ARN_MAX, pattern=_ARN_CHARACTERS)
    return arn


def _role_session_name() -> str:
    text: str = member(required=True, minimum=2, maximum=64, pattern=_SESSION_NAME)
    return text


def _duration_seconds() -> int | None:
    seconds: int | None = member(minimum=900, maximum=43_200)
    return seconds


def _minimum_session_token_size() -> int | None:
    size: int | None = member(minimum=0, maximum=_TOKEN_SIZE_MAX)
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumeRoleRequest:
    """STS `AssumeRole`."""

    role_arn: str = _role_arn()
    role_session_name: str = _role_session_name()
    policy_arns: tuple[PolicyDescriptor, ...] = member(default=())
    policy: str | None = member(minimum=1, pattern=POLICY_CHARACTERS)
    duration_seconds: int | None = _duration_seconds()
    tags: tuple[SessionTag, ...] = member(items_maximum=limits.TAGS_PER_KEY, default=())
    transitive_tag_keys: tuple[str, ...] = member(
        minimum=1, maximum=limits.TAG_KEY_MAX, items_maximum=limits.TAGS_PER_KEY, default=()
    )
    external_id: str | None = member(minimum=2, maximum=1_224, pattern=_EXTERNAL_ID)
    serial_number: str | None = member(minimum=9, maximum=256, pattern=_SERIAL_NUMBER)
    token_code: str | None = member(minimum=6, maximum=6, pattern="[0-9]*", sensitive=True)
    source_identity: str | None = member(minimum=2, maximum=256, pattern=_SESSION_NAME)
    provided_contexts: tuple[ProvidedContext, ...] = member(items_minimum=1, items_maximum=5, default=())
    minimum_session_token_size: int | None = _minimum_session_token_size()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumedRoleUser:
    """STS `AssumedRoleUser`."""

    assumed_role_id: str
    arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumeRoleResponse:
    """What STS AssumeRole answers, the secrets this once."""

    credentials: SessionCredentials = dataclasses.field(repr=False)
    assumed_role_user: AssumedRoleUser
    packed_policy_size: int | None
    source_identity: str | None
    session_token_utilization: int
    session_token_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumeRoleWithWebIdentityRequest:
    """STS `AssumeRoleWithWebIdentity`."""

    role_arn: str = _role_arn()
    role_session_name: str = _role_session_name()
    web_identity_token: str = member(required=True, minimum=4, maximum=_TOKEN_MAX, sensitive=True)
    provider_id: str | None = member(minimum=4, maximum=2_048)
    policy_arns: tuple[PolicyDescriptor, ...] = member(default=())
    policy: str | None = member(minimum=1, maximum=_WEB_POLICY_MAX, pattern=POLICY_CHARACTERS)
    duration_seconds: int | None = _duration_seconds()
    minimum_session_token_size: int | None = _minimum_session_token_size()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumeRoleWithWebIdentityResponse:
    """What STS AssumeRoleWithWebIdentity answers, the secrets this once."""

    credentials: SessionCredentials = dataclasses.field(repr=False)
    subject_from_web_identity_token: str
    assumed_role_user: AssumedRoleUser
    packed_policy_size: int | None
    provider: str
    audience: str
    session_token_utilization: int
    session_token_size: int
