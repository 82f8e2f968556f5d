"""CreateUser, GetUser, ListUsers, DeleteUser and the same for roles; UpdateAssumeRolePolicy, TagPrincipal and
UntagPrincipal."""

from __future__ import annotations

from functools import partial

from kagitori_server.model.arn import entity_arn
from kagitori_server.model.errors import (
    LimitExceededException,
    ValidationException,
)
from kagitori_server.model.limits import TAGS_PER_KEY
from kagitori_server.model.principals import SESSION_SECONDS, PrincipalKind, PrincipalRecord, TrustPolicy
from kagitori_server.operations.administration.credentials import drop_expired
from kagitori_server.operations.administration.pages import Page, read_page
from kagitori_server.operations.administration.reach import group_named, principal_at, principal_named
from kagitori_server.operations.context import Context
from kagitori_server.operations.principal_names import resolver
from kagitori_server.operations.shapes import principals as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.keys import TagShape
from kagitori_server.policy.document import parse_trust_policy
from kagitori_server.storage.reader import Reader

ENTITIES_MAX = {PrincipalKind.USER: 5_000, PrincipalKind.ROLE: 1_000}
"""Users and roles of an account (AWS IAM quotas)."""

_ID_PREFIXES = {PrincipalKind.USER: "AIDA", PrincipalKind.ROLE: "AROA"}
_RESERVED_PATHS = ("/aws-reserved/", "/aws-service-role/")
_RESERVED_ROLE_PREFIX = "awsservicerole"


def check_create_user(_context: Context, request: shapes.CreateUserRequest) -> None:
    """Refuses reserved names and paths, and tags that can't be."""
    if request.user_name.lower() == "root":
        raise ValidationException("The user name root is reserved.")
    check_path(request.path)
    tags_of(request.tags)


def create_user(context: Context, request: shapes.CreateUserRequest) -> shapes.UserResponse:
    """Makes a user without permissions or credentials (AWS IAM CreateUser)."""
    user = _create(context, PrincipalKind.USER, request.user_name, request.path, "", request.tags)
    return shapes.UserResponse(user=_user(user))


def get_user(context: Context, request: shapes.UserRequest) -> shapes.UserResponse:
    """Describes a user (AWS IAM GetUser)."""
    with context.services.catalog.read() as reader:
        user = principal_named(context, reader, PrincipalKind.USER, request.user_name)
    return shapes.UserResponse(user=_user(user))


def list_users(context: Context, request: shapes.ListUsersRequest) -> shapes.ListUsersResponse:
    """Lists an account's users, or a group's, in the order of names (AWS IAM ListUsers, GetGroup)."""
    page = _list(context, PrincipalKind.USER, request, request.group_name)
    return shapes.ListUsersResponse(
        users=tuple(_user(user, listed=True) for user in page.items),
        next_marker=page.next_marker,
        truncated=page.truncated,
    )


def delete_user(context: Context, request: shapes.UserRequest) -> Empty:
    """Removes a user that has no policies and no credentials left (AWS IAM DeleteUser)."""
    _delete(context, PrincipalKind.USER, request.user_name)
    return EMPTY


def check_create_role(context: Context, request: shapes.CreateRoleRequest) -> None:
    """Refuses reserved names and paths, tags that can't be, and trust policies that wouldn't be enforced
    to the letter."""
    if request.role_name.lower().startswith(_RESERVED_ROLE_PREFIX):
        raise ValidationException("Role names that begin with AWSServiceRole are reserved.")
    check_path(request.path)
    tags_of(request.tags)
    if request.assume_role_policy_document is not None:
        with context.services.catalog.read() as reader:
            _trust(context, reader, request.assume_role_policy_document)


def create_role(context: Context, request: shapes.CreateRoleRequest) -> shapes.RoleResponse:
    """Makes a role without permissions (AWS IAM CreateRole)."""
    document = request.assume_role_policy_document
    role = _create(
        context, PrincipalKind.ROLE, request.role_name, request.path, request.description or "", request.tags,
        trust=None if document is None else _trust(context, context.writer, document),
        max_session_seconds=request.max_session_duration or SESSION_SECONDS,
    )
    return shapes.RoleResponse(role=_role(role))


def get_role(context: Context, request: shapes.RoleRequest) -> shapes.RoleResponse:
    """Describes a role (AWS IAM GetRole)."""
    with context.services.catalog.read() as reader:
        role = principal_named(context, reader, PrincipalKind.ROLE, request.role_name)
    return shapes.RoleResponse(role=_role(role))


def list_roles(context: Context, request: shapes.ListRolesRequest) -> shapes.ListRolesResponse:
    """Lists an account's roles in the order of names (AWS IAM ListRoles)."""
    page = _list(context, PrincipalKind.ROLE, request)
    return shapes.ListRolesResponse(
        roles=tuple(_role(role, listed=True) for role in page.items),
        next_marker=page.next_marker,
        truncated=page.truncated,
    )


def delete_role(context: Context, request: shapes.RoleRequest) -> Empty:
    """Removes a role that has no policies and no credentials left; its sessions end (AWS IAM DeleteRole)."""
    _delete(context, PrincipalKind.ROLE, request.role_name)
    return EMPTY


def check_update_assume_role_policy(context: Context, request: shapes.UpdateAssumeRolePolicyRequest) -> None:
    """Refuses trust policies that wouldn't be enforced to the letter, before the transaction begins."""
    with context.services.catalog.read() as reader:
        _trust(context, reader, request.policy_document)


def update_assume_role_policy(context: Context, request: shapes.UpdateAssumeRolePolicyRequest) -> Empty:
    """Says anew who may assume a role; sessions that exist go on (AWS IAM UpdateAssumeRolePolicy)."""
    role = principal_named(context, context.writer, PrincipalKind.ROLE, request.role_name)
    context.writer.set_trust_policy(role.arn, _trust(context, context.writer, request.policy_document))
    return EMPTY


def check_tag_principal(_context: Context, request: shapes.TagPrincipalRequest) -> None:
    """Refuses reserved and repeated names."""
    tags_of(request.tags)


def tag_principal(context: Context, request: shapes.TagPrincipalRequest) -> Empty:
    """Adds tags or changes their values (AWS IAM TagUser, TagRole)."""
    entity = principal_at(context, context.writer, request.principal_arn)
    tags = {**entity.tags, **tags_of(request.tags)}
    if len(tags) > TAGS_PER_KEY:
        raise LimitExceededException(f"{entity.name} can have at most {TAGS_PER_KEY} tags.")
    context.writer.set_principal_tags(entity.arn, tags)
    return EMPTY


def untag_principal(context: Context, request: shapes.UntagPrincipalRequest) -> Empty:
    """Takes tags away; names that aren't there are no error (AWS IAM UntagUser, UntagRole)."""
    entity = principal_at(context, context.writer, request.principal_arn)
    gone = set(request.tag_keys)
    left = {name: value for name, value in entity.tags.items() if name not in gone}
    context.writer.set_principal_tags(entity.arn, left)
    return EMPTY


def _trust(context: Context, reader: Reader, document: str) -> TrustPolicy:
    """The policy with the unique ids that its principals stand for now. Raises what parsing raises."""
    compiled = parse_trust_policy(document, resolver(reader, context.services.partition))
    return TrustPolicy(document, compiled.bindings)


def _create(
    context: Context,
    kind: PrincipalKind,
    name: str,
    path: str | None,
    description: str,
    tags: tuple[TagShape, ...],
    *,
    trust: TrustPolicy | None = None,
    max_session_seconds: int = SESSION_SECONDS,
) -> PrincipalRecord:
    services, writer = context.services, context.writer
    most = ENTITIES_MAX[kind]
    if writer.count_principals(context.account, kind) >= most:
        raise LimitExceededException(f"The account has {most} {kind}s, the most it may have.")
    whole_path = path or "/"
    entity = PrincipalRecord(
        kind=kind,
        account=context.account,
        name=name,
        path=whole_path,
        principal_id=services.ids.unique_id(_ID_PREFIXES[kind]),
        arn=entity_arn(services.partition, context.account, kind, whole_path, name),
        created=context.now,
        policies={},
        description=description,
        tags=tags_of(tags),
        trust=trust,
        max_session_seconds=max_session_seconds,
    )
    writer.insert_principal(entity)
    return entity


def _list(
    context: Context,
    kind: PrincipalKind,
    request: shapes.ListUsersRequest | shapes.ListRolesRequest,
    group_name: str | None = None,
) -> Page[PrincipalRecord]:
    prefix = request.path_prefix or "/"
    with context.services.catalog.read() as reader:
        if group_name is None:
            fetch = partial(reader.list_principals, context.account, kind)
        else:
            fetch = partial(reader.users_in, group_named(context, reader, group_name).arn)
        return read_page(
            context.operation.name,
            request.marker,
            request.limit,
            fetch,
            lambda entity: entity.name,
            lambda entity: entity.path.startswith(prefix),
        )


def _delete(context: Context, kind: PrincipalKind, name: str) -> None:
    found = principal_named(context, context.writer, kind, name)
    drop_expired(context, found.arn)
    if kind is PrincipalKind.ROLE:
        context.writer.end_sessions(found.arn)
    context.writer.delete_principal(found.arn)


def check_path(path: str | None) -> None:
    """Refuses paths that AWS keeps for itself. Raises ValidationException."""
    if path is not None and path.lower().startswith(_RESERVED_PATHS):
        raise ValidationException(f"Paths that begin with {' or '.join(_RESERVED_PATHS)} are reserved.")


def tags_of(tags: tuple[TagShape, ...]) -> dict[str, str]:
    """Tags as pairs. Raises ValidationException for reserved and repeated names."""
    pairs = {tag.tag_key: tag.tag_value for tag in tags}
    if len(pairs) != len(tags):
        raise ValidationException("A tag is given twice.")
    if any(key.lower().startswith("aws:") for key in pairs):
        raise ValidationException("Tags that begin with aws: are reserved.")
    return pairs


def _shown_tags(entity: PrincipalRecord) -> tuple[TagShape, ...]:
    return tuple(TagShape(tag_key=key, tag_value=value) for key, value in sorted(entity.tags.items()))


def _user(user: PrincipalRecord, *, listed: bool = False) -> shapes.User:
    return shapes.User(
        path=user.path,
        user_name=user.name,
        user_id=user.principal_id,
        arn=user.arn,
        create_date=user.created,
        tags=() if listed else _shown_tags(user),
        permissions_boundary=None if user.boundary is None else user.boundary.name,
    )


def _role(role: PrincipalRecord, *, listed: bool = False) -> shapes.Role:
    return shapes.Role(
        path=role.path,
        role_name=role.name,
        role_id=role.principal_id,
        arn=role.arn,
        create_date=role.created,
        description=role.description or None,
        assume_role_policy_document=None if role.trust is None else role.trust.document,
        max_session_duration=role.max_session_seconds,
        tags=() if listed else _shown_tags(role),
        permissions_boundary=None if role.boundary is None else role.boundary.name,
    )
