"""Shapes of the operations on accounts, users and roles, and the members that AdminService's requests share."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model import limits
from kagitori_server.model.arn import ACCOUNT_PATTERN, PARTITION_PATTERN
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import TagShape, marker

_NAME_CHARACTERS = "[A-Za-z0-9_+=,.@-]+"
_PATH = "/|/[!-~]{0,509}[!-.0-~]/"
_PATH_MAX = 512
_ACCOUNT_NAME = "[^\\x00-\\x1f\\x7f-\\x9f]+"
_ENTITY = "(?:user|role|group)/[!-~]{1,575}"
ARN_MAX = 2_048
POLICY_CHARACTERS = "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"
"""What the IAM API lets a policy document consist of."""
PAGE_MAX = 1_000


def account_id(*, required: bool = False) -> str | None:
    """The account that the call is about, 12 digits; the caller's own when absent."""
    digits: str | None = member(required=required, minimum=12, maximum=12, pattern=ACCOUNT_PATTERN)
    return digits


def name(*, required: bool = True, maximum: int = 64) -> str:
    """A user, role, session or policy name."""
    text: str = member(required=required, minimum=1, maximum=maximum, pattern=_NAME_CHARACTERS)
    return text


def path() -> str | None:
    """A path that begins and ends with a slash; `/` when absent."""
    text: str | None = member(minimum=1, maximum=_PATH_MAX, pattern=_PATH)
    return text


def path_prefix() -> str | None:
    """Only entities whose path starts so."""
    text: str | None = member(minimum=1, maximum=_PATH_MAX, pattern="/[!-~]*")
    return text


def entity_arn() -> str:
    """The ARN of a user, group or role."""
    arn: str = member(
        required=True, minimum=20, maximum=ARN_MAX,
        pattern=f"arn:{PARTITION_PATTERN}:iam::{ACCOUNT_PATTERN}:{_ENTITY}",
    )
    return arn


def credential_owner_arn(*, required: bool = True) -> str:
    """The ARN of a user, role or account root."""
    arn: str = member(
        required=required, minimum=20, maximum=ARN_MAX,
        pattern=f"arn:{PARTITION_PATTERN}:iam::{ACCOUNT_PATTERN}:(?:root|{_ENTITY})",
    )
    return arn


def principal_arn() -> str:
    """The ARN of a user or role."""
    arn: str = member(
        required=True, minimum=20, maximum=ARN_MAX,
        pattern=f"arn:{PARTITION_PATTERN}:iam::{ACCOUNT_PATTERN}:(?:user|role)/[!-~]{{1,575}}",
    )
    return arn


def policy_document() -> str:
    """A policy, JSON."""
    text: str = member(required=True, minimum=1, maximum=limits.POLICY_SHAPE_MAX, pattern=POLICY_CHARACTERS)
    return text


def page_limit() -> int | None:
    """Most entries wanted in one page; 100 when absent."""
    count: int | None = member(minimum=1, maximum=PAGE_MAX)
    return count


def tags() -> tuple[TagShape, ...]:
    """Tags, at most 50."""
    items: tuple[TagShape, ...] = member(items_maximum=limits.TAGS_PER_KEY, default=())
    return items


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A tenant. Times are seconds since the epoch, here as everywhere."""

    account_id: str
    name: str
    arn: str
    create_date: float


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """AWS IAM `User`. Lists leave the tags out."""

    path: str
    user_name: str
    user_id: str
    arn: str
    create_date: float
    tags: tuple[TagShape, ...]
    permissions_boundary: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """AWS IAM `Role`. Lists leave the tags out."""

    path: str
    role_name: str
    role_id: str
    arn: str
    create_date: float
    description: str | None
    assume_role_policy_document: str | None
    max_session_duration: int
    tags: tuple[TagShape, ...]
    permissions_boundary: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAccountRequest:
    """What CreateAccount takes."""

    account_id: str | None = account_id()
    name: str = member(required=True, minimum=1, maximum=50, pattern=_ACCOUNT_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAccountResponse:
    """What CreateAccount answers."""

    account: Account


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAccountsRequest:
    """What ListAccounts takes."""

    limit: int | None = page_limit()
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAccountsResponse:
    """What ListAccounts answers."""

    accounts: tuple[Account, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAccountRequest:
    """What DeleteAccount takes."""

    account_id: str = member(required=True, minimum=12, maximum=12, pattern=ACCOUNT_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUserRequest:
    """AWS IAM `CreateUser`."""

    account_id: str | None = account_id()
    user_name: str = name()
    path: str | None = path()
    tags: tuple[TagShape, ...] = tags()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserResponse:
    """What CreateUser and GetUser answer."""

    user: User


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRequest:
    """What GetUser and DeleteUser take."""

    account_id: str | None = account_id()
    user_name: str = name()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUsersRequest:
    """AWS IAM `ListUsers`."""

    account_id: str | None = account_id()
    path_prefix: str | None = path_prefix()
    group_name: str | None = name(required=False, maximum=128)
    limit: int | None = page_limit()
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUsersResponse:
    """AWS IAM `ListUsers`."""

    users: tuple[User, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRoleRequest:
    """AWS IAM `CreateRole`."""

    account_id: str | None = account_id()
    role_name: str = name()
    path: str | None = path()
    assume_role_policy_document: str | None = member(
        minimum=1, maximum=limits.POLICY_SHAPE_MAX, pattern=POLICY_CHARACTERS
    )
    description: str | None = member(minimum=0, maximum=1_000)
    max_session_duration: int | None = member(minimum=3_600, maximum=43_200)
    tags: tuple[TagShape, ...] = tags()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateAssumeRolePolicyRequest:
    """AWS IAM `UpdateAssumeRolePolicy`."""

    account_id: str | None = account_id()
    role_name: str = name()
    policy_document: str = policy_document()


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPrincipalRequest:
    """AWS IAM `TagUser`, `TagRole`."""

    principal_arn: str = principal_arn()
    tags: tuple[TagShape, ...] = member(required=True, items_minimum=1, items_maximum=limits.TAGS_PER_KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class UntagPrincipalRequest:
    """AWS IAM `UntagUser`, `UntagRole`."""

    principal_arn: str = principal_arn()
    tag_keys: tuple[str, ...] = member(
        required=True, minimum=1, maximum=limits.TAG_KEY_MAX, items_minimum=1, items_maximum=limits.TAGS_PER_KEY
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleResponse:
    """What CreateRole and GetRole answer."""

    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRequest:
    """What GetRole and DeleteRole take."""

    account_id: str | None = account_id()
    role_name: str = name()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRolesRequest:
    """AWS IAM `ListRoles`."""

    account_id: str | None = account_id()
    path_prefix: str | None = path_prefix()
    limit: int | None = page_limit()
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRolesResponse:
    """AWS IAM `ListRoles`."""

    roles: tuple[Role, ...]
    next_marker: str | None
    truncated: bool
