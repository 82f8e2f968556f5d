"""Shapes of the operations on groups (AWS IAM)."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.operations.shapes.keys import marker
from kagitori_server.operations.shapes.principals import account_id, name, page_limit, path, path_prefix

_NAME_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """AWS IAM `Group`."""

    path: str
    group_name: str
    group_id: str
    arn: str
    create_date: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGroupRequest:
    """AWS IAM `CreateGroup`."""

    account_id: str | None = account_id()
    group_name: str = name(maximum=_NAME_MAX)
    path: str | None = path()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGroupResponse:
    """AWS IAM `CreateGroup`."""

    group: Group


@dataclass(frozen=True, slots=True, kw_only=True)
class ListGroupsRequest:
    """AWS IAM `ListGroups`."""

    account_id: str | None = account_id()
    path_prefix: str | None = path_prefix()
    limit: int | None = page_limit()
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListGroupsResponse:
    """What ListGroups and ListGroupsForUser answer."""

    groups: tuple[Group, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteGroupRequest:
    """AWS IAM `DeleteGroup`."""

    account_id: str | None = account_id()
    group_name: str = name(maximum=_NAME_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipRequest:
    """What AddUserToGroup and RemoveUserFromGroup take."""

    account_id: str | None = account_id()
    group_name: str = name(maximum=_NAME_MAX)
    user_name: str = name()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListGroupsForUserRequest:
    """AWS IAM `ListGroupsForUser`."""

    account_id: str | None = account_id()
    user_name: str = name()
    limit: int | None = page_limit()
    marker: str | None = marker()
