"""AssumeRole: temporary credentials of a role's session for whom the role's trust policy admits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from kagitori_server.model.errors import AccessDeniedException, LimitExceededException, ValidationException
from kagitori_server.model.principals import (
    SESSION_SECONDS,
    AccessKeyRecord,
    AssumedSession,
    Caller,
    CredentialKind,
    PrincipalKind,
    PrincipalRecord,
    TokenRecord,
)
from kagitori_server.operations.administration.access_keys import NewAccessKey, new_access_key
from kagitori_server.operations.administration.credentials import TOKEN_PREFIX, credential_id, drop_expired
from kagitori_server.operations.administration.entities import tags_of
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import access_keys as shapes
from kagitori_server.policy.document import IdentityKind, parse_identity_policy

SESSIONS_MAX = 5_000
"""Sessions of a role at once. AWS STS has no such bound; this one bounds the catalog."""

_SESSION_TOKEN_PREFIX = "kgs_"  # noqa: S105 - what session tokens begin with, for scanners of leaked secrets


_NO_FACTS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A new session of a role, with the secrets that open it."""

    credentials: shapes.SessionCredentials = field(repr=False)
    token: str = field(repr=False)
    arn: str
    user_id: str


def check_assume_role(
    context: Context, request: shapes.AssumeRoleRequest, more: Mapping[str, str] = _NO_FACTS
) -> None:
    """Refuses whom the role's trust policy doesn't admit, a role that isn't there likewise; then what can't be.

    `more` are condition keys that the request brings beside those of its members. From here on the call is about the
    role's account.
    """
    caller = context.caller
    if caller.kind is PrincipalKind.ROOT:
        raise AccessDeniedException("Roles may not be assumed by root accounts.")
    actions = ("sts:AssumeRole", *(("sts:TagSession",) if request.tags else ()))
    # One that a session passes on is set for the next one, too: whoever owns that role has a say in it (AWS IAM,
    # role chaining).
    source_identity = request.source_identity or caller.source_identity
    if source_identity is not None:
        actions = (*actions, "sts:SetSourceIdentity")
    role = context.lookup.principal(request.role_arn)
    may_assume = context.services.administration.may_assume
    if role is None or not may_assume(
        context, role, actions, {**_request_facts(request, source_identity), **more}
    ):
        raise AccessDeniedException(
            f"User: {caller.arn} is not authorized to perform: {' and '.join(actions)} on resource: {request.role_arn}"
        )
    context.account = role.account
    context.entities.append(role.arn)
    if caller.source_identity not in (None, source_identity):
        raise AccessDeniedException("The source identity that a session was given can't be changed by it.")
    if request.role_session_name.lower() == "root":
        raise ValidationException("The session name root is reserved.")
    tags_of(request.tags)
    check_duration(context, role, request.duration_seconds)
    if request.policy is not None:
        parse_identity_policy(request.policy, IdentityKind.USER)


def prepare_session(context: Context, _request: object) -> None:
    """Makes the session's access key and wraps its secret."""
    context.prepared = new_access_key(context, "ASIA")


def assume_role(context: Context, request: shapes.AssumeRoleRequest) -> shapes.AssumeRoleResponse:
    """Gives the caller credentials of a new session of the role (AWS STS AssumeRole)."""
    session = AssumedSession(
        policy=request.policy,
        tags=tags_of(request.tags),
        source_identity=request.source_identity or context.caller.source_identity,
    )
    opened = open_session(context, request.role_arn, request.role_session_name, request.duration_seconds, session)
    return shapes.AssumeRoleResponse(
        credentials=opened.credentials,
        token=opened.token,
        assumed_role_arn=opened.arn,
        assumed_role_id=opened.user_id,
    )


def open_session(
    context: Context, role_arn: str, name: str, seconds: int | None, session: AssumedSession
) -> OpenedSession:
    """Opens a session for `seconds`, or an hour; `prepare_session` has made its access key, admission let it through.

    Raises LimitExceededException.
    """
    services, writer = context.services, context.writer
    made: NewAccessKey = context.prepared
    role = writer.get_principal(role_arn)
    if role is None:
        message = "the role was there when the call was admitted in the same transaction"
        raise RuntimeError(message)
    drop_expired(context, role.arn)
    if writer.count_sessions(role.arn) >= SESSIONS_MAX:
        raise LimitExceededException(f"The role has {SESSIONS_MAX} sessions, the most it may have.")
    expires = context.now + (seconds or SESSION_SECONDS)
    token, session_token = TOKEN_PREFIX + services.ids.secret(), _SESSION_TOKEN_PREFIX + services.ids.secret()
    record = TokenRecord(
        token_id=credential_id(context, "tok"),
        digest=hashlib.sha256(token.encode()).digest(),
        principal_arn=role.arn,
        account=role.account,
        session_name=name,
        description="",
        created=context.now,
        expires=expires,
        session=session,
    )
    writer.insert_token(record)
    writer.insert_access_key(_access_key(record, made, session_token))
    context.extra |= {"token_id": record.token_id, "access_key_id": made.access_key_id}
    return OpenedSession(
        credentials=shapes.SessionCredentials(
            access_key_id=made.access_key_id,
            secret_access_key=made.secret,
            session_token=session_token,
            expiration=expires,
        ),
        token=token,
        arn=f"arn:{services.partition}:sts::{role.account}:assumed-role/{role.name}/{name}",
        user_id=f"{role.principal_id}:{name}",
    )


def _access_key(token: TokenRecord, made: NewAccessKey, session_token: str) -> AccessKeyRecord:
    return AccessKeyRecord(
        access_key_id=made.access_key_id,
        entry_id=token.token_id,
        principal_arn=token.principal_arn,
        account=token.account,
        region=made.region,
        wrapped_secret=made.wrapped_secret,
        active=True,
        created=token.created,
        expires=token.expires,
        session_name=token.session_name,
        session_token_digest=hashlib.sha256(session_token.encode()).digest(),
        session=token.session,
    )


def check_duration(context: Context, role: PrincipalRecord, seconds: int | None) -> None:
    """Refuses longer sessions than the role may have. Raises ValidationException."""
    if seconds is None:
        return
    if seconds > role.max_session_seconds:
        raise ValidationException(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    # Without this a session could renew itself with ever longer ones (AWS IAM, role chaining).
    if _is_session(context.caller) and seconds > SESSION_SECONDS:
        raise ValidationException(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        )


def _is_session(caller: Caller) -> bool:
    """Whether a session of a role calls, rather than somebody with a token who has none yet."""
    return caller.kind is PrincipalKind.ROLE and caller.credential_kind is not CredentialKind.EXCHANGED_TOKEN


def _request_facts(
    request: shapes.AssumeRoleRequest, source_identity: str | None
) -> dict[str, str | tuple[str, ...]]:
    """The condition keys that the request brings, and the source identity that the session will have."""
    facts: dict[str, str | tuple[str, ...]] = {"sts:RoleSessionName": request.role_session_name}
    if source_identity is not None:
        facts["sts:SourceIdentity"] = source_identity
    if request.tags:
        facts["aws:TagKeys"] = tuple(tag.tag_key for tag in request.tags)
        facts |= {f"aws:RequestTag/{tag.tag_key}": tag.tag_value for tag in request.tags}
    return facts
