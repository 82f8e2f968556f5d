"""CreateUser, GetUser, ListUsers, DeleteUser and the same for roles."""

from __future__ import annotations

from kagitori_server.model.errors import (
    LimitExceededException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.principals import PrincipalKind, PrincipalRecord
from kagitori_server.operations.administration.credentials import drop_expired_tokens
from kagitori_server.operations.administration.pages import Page, read_page
from kagitori_server.operations.administration.reach import principal_named
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import principals as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.keys import TagShape

ENTITIES_MAX = {PrincipalKind.USER: 5_000, PrincipalKind.ROLE: 1_000}
"""Users and roles of an account (AWS IAM quotas)."""

SESSION_SECONDS = 3_600
"""The longest session of every role: what AWS IAM gives a role whose maker names nothing."""

_ID_PREFIXES = {PrincipalKind.USER: "AIDA", PrincipalKind.ROLE: "AROA"}
_RESERVED_PATHS = ("/aws-reserved/", "/aws-service-role/")
_RESERVED_ROLE_PREFIX = "awsservicerole"


def check_create_user(_context: Context, request: shapes.CreateUserRequest) -> None:
    """Refuses reserved names and paths, and tags that can't be."""
    if request.user_name.lower() == "root":
        raise ValidationException("The user name root is reserved.")
    _check_path(request.path)
    _tags(request.tags)


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
    """Lists an account's users in the order of names (AWS IAM ListUsers)."""
    if request.group_name is not None:
        raise UnsupportedOperationException("Groups are not served.")
    page = _list(context, PrincipalKind.USER, request)
    return shapes.ListUsersResponse(
        users=tuple(_user(user, listed=True) for user in page.items),
        next_marker=page.next_marker,
        truncated=page.truncated,
    )


def delete_user(context: Context, request: shapes.UserRequest) -> Empty:
    """Removes a user that has no policies and no credentials left (AWS IAM DeleteUser)."""
    _delete(context, PrincipalKind.USER, request.user_name)
    return EMPTY


def check_create_role(_context: Context, request: shapes.CreateRoleRequest) -> None:
    """Refuses reserved names and paths, tags that can't be, and what isn't kept of a role."""
    if request.role_name.lower().startswith(_RESERVED_ROLE_PREFIX):
        raise ValidationException("Role names that begin with AWSServiceRole are reserved.")
    _check_path(request.path)
    _tags(request.tags)
    if request.assume_role_policy_document is not None:
        raise UnsupportedOperationException(
            "Trust policies are not served: sessions of a role come from its tokens and certificates."
        )
    if request.max_session_duration not in (None, SESSION_SECONDS):
        raise UnsupportedOperationException(f"The longest session of a role is {SESSION_SECONDS} seconds.")


def create_role(context: Context, request: shapes.CreateRoleRequest) -> shapes.RoleResponse:
    """Makes a role without permissions (AWS IAM CreateRole)."""
    role = _create(
        context, PrincipalKind.ROLE, request.role_name, request.path, request.description or "", request.tags
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


def _create(
    context: Context,
    kind: PrincipalKind,
    name: str,
    path: str | None,
    description: str,
    tags: tuple[TagShape, ...],
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
        arn=f"arn:{services.partition}:iam::{context.account}:{kind}{whole_path}{name}",
        created=context.now,
        policies={},
        description=description,
        tags=_tags(tags),
    )
    writer.insert_principal(entity)
    return entity


def _list(
    context: Context, kind: PrincipalKind, request: shapes.ListUsersRequest | shapes.ListRolesRequest
) -> Page[PrincipalRecord]:
    prefix = request.path_prefix or "/"
    with context.services.catalog.read() as reader:
        return read_page(
            context.operation.name,
            request.marker,
            request.limit,
            lambda after, limit: reader.list_principals(context.account, kind, after, limit),
            lambda entity: entity.name,
            lambda entity: entity.path.startswith(prefix),
        )


def _delete(context: Context, kind: PrincipalKind, name: str) -> None:
    found = principal_named(context, context.writer, kind, name)
    drop_expired_tokens(context, context.account, found.arn)
    context.writer.delete_principal(found.arn)


def _check_path(path: str | None) -> None:
    if path is not None and path.lower().startswith(_RESERVED_PATHS):
        raise ValidationException(f"Paths that begin with {' or '.join(_RESERVED_PATHS)} are reserved.")


def _tags(tags: tuple[TagShape, ...]) -> dict[str, str]:
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
        permissions_boundary=None,
    )


def _role(role: PrincipalRecord, *, listed: bool = False) -> shapes.Role:
    return shapes.Role(
        path=role.path,
        role_name=role.name,
        role_id=role.principal_id,
        arn=role.arn,
        create_date=role.created,
        description=role.description or None,
        assume_role_policy_document=None,
        max_session_duration=SESSION_SECONDS,
        tags=() if listed else _shown_tags(role),
        permissions_boundary=None,
    )
