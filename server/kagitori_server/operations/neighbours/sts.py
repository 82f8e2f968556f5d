"""AWS STS: GetCallerIdentity, AssumeRole and AssumeRoleWithWebIdentity.

Sessions are those of AdminService's AssumeRole, which see the checks; here are the members that only STS has. What
can't be kept is refused, not left out: a session that is wider than was asked for would be worse than none.
"""

from __future__ import annotations

import math

from kagitori_server.model.call import ExchangedToken
from kagitori_server.model.errors import AccessDeniedException, ValidationException
from kagitori_server.model.neighbour_errors import PackedPolicyTooLargeException
from kagitori_server.model.principals import AssumedSession, CredentialKind
from kagitori_server.operations.administration import sessions
from kagitori_server.operations.administration.entities import tags_of
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import access_keys
from kagitori_server.operations.shapes import sts as shapes
from kagitori_server.operations.shapes.keys import TagShape
from kagitori_server.policy.document import IdentityKind, parse_identity_policy

_POLICY_MAX = 2_048
"""Characters of a session policy (AWS STS AssumeRole, `Policy`)."""
_TAGS_MAX = 50 * (128 + 256)
"""Characters that session tags can have together."""
_TOKEN_MAX = 4_096
"""Bytes of a session token (AWS STS, `MinimumSessionTokenSize`)."""


def get_caller_identity(
    context: Context, _request: shapes.GetCallerIdentityRequest
) -> shapes.GetCallerIdentityResponse:
    """Tells the caller who it is. Nobody needs a permission for it (AWS STS GetCallerIdentity)."""
    caller = context.caller
    return shapes.GetCallerIdentityResponse(user_id=caller.user_id, account=caller.account, arn=caller.arn)


def check_assume_role(context: Context, request: shapes.AssumeRoleRequest) -> None:
    """As AdminService's AssumeRole, with `sts:ExternalId` for the trust policy; then what no session can have here."""
    external = {} if request.external_id is None else {"sts:ExternalId": request.external_id}
    sessions.check_assume_role(context, _administrative(request), external)
    _refuse_members(request)
    for name in ("transitive_tag_keys", "serial_number", "token_code", "provided_contexts"):
        if getattr(request, name):
            raise ValidationException(f"The parameter {_NAMES[name]} is not supported.")


def assume_role(context: Context, request: shapes.AssumeRoleRequest) -> shapes.AssumeRoleResponse:
    """Gives the caller an access key of a new session of the role (AWS STS AssumeRole)."""
    session = AssumedSession(
        policy=request.policy,
        tags=tags_of(_tags(request)),
        source_identity=request.source_identity or context.caller.source_identity,
    )
    opened = sessions.open_session(
        context, request.role_arn, request.role_session_name, request.duration_seconds, session
    )
    return shapes.AssumeRoleResponse(
        credentials=opened.credentials,
        assumed_role_user=shapes.AssumedRoleUser(assumed_role_id=opened.user_id, arn=opened.arn),
        packed_policy_size=_packed(session),
        source_identity=session.source_identity,
        session_token_utilization=_utilization(opened),
        session_token_size=len(opened.credentials.session_token),
    )


def check_assume_role_with_web_identity(
    context: Context, request: shapes.AssumeRoleWithWebIdentityRequest
) -> None:
    """Refuses sessions that the role may not have. That its trust policy admits the token was seen before, when it
    proved the caller."""
    caller = context.caller
    asked = ExchangedToken(request.web_identity_token, request.role_arn, request.role_session_name)
    # What proved the caller is just what is asked for: the transport took both out of one request.
    if caller.credential_kind is not CredentialKind.EXCHANGED_TOKEN or context.evidence.exchanged != asked:
        raise AccessDeniedException("Not authorized to perform sts:AssumeRoleWithWebIdentity")
    context.entities.append(caller.record.arn)
    if request.role_session_name.lower() == "root":
        raise ValidationException("The session name root is reserved.")
    if request.provider_id is not None:
        raise ValidationException("ProviderId is for tokens of OAuth 2.0, which are not supported.")
    sessions.check_duration(context, caller.record, request.duration_seconds)
    _refuse_members(request)
    if request.policy is not None:
        parse_identity_policy(request.policy, IdentityKind.USER)


def assume_role_with_web_identity(
    context: Context, request: shapes.AssumeRoleWithWebIdentityRequest
) -> shapes.AssumeRoleWithWebIdentityResponse:
    """Gives whom a token speaks of an access key of a new session of the role (AWS STS AssumeRoleWithWebIdentity)."""
    caller = context.caller
    told = caller.web_identity
    if told is None:
        message = "the caller was proven by a token when the call was admitted"
        raise RuntimeError(message)
    session = AssumedSession(
        policy=request.policy,
        tags={} if caller.session is None else caller.session.tags,
        federated_provider=told.provider_arn,
    )
    opened = sessions.open_session(
        context, request.role_arn, request.role_session_name, request.duration_seconds, session
    )
    return shapes.AssumeRoleWithWebIdentityResponse(
        credentials=opened.credentials,
        subject_from_web_identity_token=told.subject,
        assumed_role_user=shapes.AssumedRoleUser(assumed_role_id=opened.user_id, arn=opened.arn),
        packed_policy_size=_packed(session),
        provider=told.provider_arn,
        audience=told.audience,
        session_token_utilization=_utilization(opened),
        session_token_size=len(opened.credentials.session_token),
    )


_NAMES = {
    "transitive_tag_keys": "TransitiveTagKeys", "serial_number": "SerialNumber", "token_code": "TokenCode",
    "provided_contexts": "ProvidedContexts",
}


def _refuse_members(request: shapes.AssumeRoleRequest | shapes.AssumeRoleWithWebIdentityRequest) -> None:
    """Raises for members that sessions of both kinds can't have."""
    if request.policy_arns:
        raise ValidationException("PolicyArns are not supported; a session policy can be given as Policy.")
    if (request.minimum_session_token_size or 0) > 0:
        raise ValidationException("MinimumSessionTokenSize is not supported; session tokens are of one size.")
    if request.policy is not None and len(request.policy) > _POLICY_MAX:
        raise PackedPolicyTooLargeException(f"A session policy has at most {_POLICY_MAX} characters.")


def _administrative(request: shapes.AssumeRoleRequest) -> access_keys.AssumeRoleRequest:
    """The request as AdminService has it. A policy that is too long is left to STS's own refusal, which comes last."""
    too_long = request.policy is not None and len(request.policy) > _POLICY_MAX
    return access_keys.AssumeRoleRequest(
        role_arn=request.role_arn,
        role_session_name=request.role_session_name,
        policy=None if too_long else request.policy,
        duration_seconds=request.duration_seconds,
        tags=_tags(request),
        source_identity=request.source_identity,
    )


def _tags(request: shapes.AssumeRoleRequest) -> tuple[TagShape, ...]:
    return tuple(TagShape(tag_key=tag.key, tag_value=tag.value) for tag in request.tags)


def _packed(session: AssumedSession) -> int | None:
    """How much of what a session can have of policy and tags this one has, in percent; None without either.

    Nothing is packed here: each has room of its own, and it's the fuller one that says how near the end is.
    """
    if session.policy is None and not session.tags:
        return None
    tags = sum(len(key) + len(value) for key, value in session.tags.items())
    return max(math.ceil(100 * len(session.policy or "") / _POLICY_MAX), math.ceil(100 * tags / _TAGS_MAX))


def _utilization(opened: sessions.OpenedSession) -> int:
    return math.ceil(100 * len(opened.credentials.session_token) / _TOKEN_MAX)
