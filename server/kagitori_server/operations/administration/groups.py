"""CreateGroup, ListGroups, DeleteGroup, AddUserToGroup, RemoveUserFromGroup and ListGroupsForUser."""

from __future__ import annotations

from functools import partial

from kagitori_server.model.arn import entity_arn
from kagitori_server.model.errors import LimitExceededException
from kagitori_server.model.principals import GroupRecord, PrincipalKind
from kagitori_server.operations.administration.entities import check_path
from kagitori_server.operations.administration.pages import Page, read_page
from kagitori_server.operations.administration.reach import group_named, principal_named
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import groups as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty

GROUPS_MAX = 300
"""Groups of an account (AWS IAM quotas)."""
GROUPS_PER_USER = 10
"""Groups that a user is in (AWS IAM quotas)."""


def check_create_group(_context: Context, request: shapes.CreateGroupRequest) -> None:
    """Refuses reserved paths."""
    check_path(request.path)


def create_group(context: Context, request: shapes.CreateGroupRequest) -> shapes.CreateGroupResponse:
    """Makes a group without users and policies (AWS IAM CreateGroup)."""
    if context.writer.count_groups(context.account) >= GROUPS_MAX:
        raise LimitExceededException(f"The account has {GROUPS_MAX} groups, the most it may have.")
    path = request.path or "/"
    group = GroupRecord(
        account=context.account,
        name=request.group_name,
        path=path,
        group_id=context.services.ids.unique_id("AGPA"),
        arn=entity_arn(context.services.partition, context.account, "group", path, request.group_name),
        created=context.now,
    )
    context.writer.insert_group(group)
    return shapes.CreateGroupResponse(group=_group(group))


def list_groups(context: Context, request: shapes.ListGroupsRequest) -> shapes.ListGroupsResponse:
    """Lists an account's groups in the order of names (AWS IAM ListGroups)."""
    prefix = request.path_prefix or "/"
    with context.services.catalog.read() as reader:
        page = read_page(
            context.operation.name,
            request.marker,
            request.limit,
            partial(reader.list_groups, context.account),
            lambda group: group.name,
            lambda group: group.path.startswith(prefix),
        )
    return _listed(page)


def delete_group(context: Context, request: shapes.DeleteGroupRequest) -> Empty:
    """Removes a group that has no users and no policies left (AWS IAM DeleteGroup)."""
    context.writer.delete_group(group_named(context, context.writer, request.group_name).arn)
    return EMPTY


def add_user_to_group(context: Context, request: shapes.MembershipRequest) -> Empty:
    """Gives a user what the group may do; being in it already is no error (AWS IAM AddUserToGroup)."""
    writer = context.writer
    group = group_named(context, writer, request.group_name)
    user = principal_named(context, writer, PrincipalKind.USER, request.user_name)
    others = [other for other in writer.groups_of(user.arn, "", GROUPS_PER_USER) if other.arn != group.arn]
    if len(others) >= GROUPS_PER_USER:
        raise LimitExceededException(f"{user.name} is in {GROUPS_PER_USER} groups, the most a user may be in.")
    writer.add_member(group.arn, user.arn)
    return EMPTY


def remove_user_from_group(context: Context, request: shapes.MembershipRequest) -> Empty:
    """Takes a user out of a group (AWS IAM RemoveUserFromGroup)."""
    group = group_named(context, context.writer, request.group_name)
    user = principal_named(context, context.writer, PrincipalKind.USER, request.user_name)
    context.writer.remove_member(group.arn, user.arn)
    return EMPTY


def list_groups_for_user(
    context: Context, request: shapes.ListGroupsForUserRequest
) -> shapes.ListGroupsResponse:
    """Lists the groups that a user is in, in the order of names (AWS IAM ListGroupsForUser)."""
    with context.services.catalog.read() as reader:
        user = principal_named(context, reader, PrincipalKind.USER, request.user_name)
        page = read_page(
            context.operation.name,
            request.marker,
            request.limit,
            partial(reader.groups_of, user.arn),
            lambda group: group.name,
        )
    return _listed(page)


def _listed(page: Page[GroupRecord]) -> shapes.ListGroupsResponse:
    return shapes.ListGroupsResponse(
        groups=tuple(map(_group, page.items)), next_marker=page.next_marker, truncated=page.truncated
    )


def _group(group: GroupRecord) -> shapes.Group:
    return shapes.Group(
        path=group.path,
        group_name=group.name,
        group_id=group.group_id,
        arn=group.arn,
        create_date=group.created,
    )
