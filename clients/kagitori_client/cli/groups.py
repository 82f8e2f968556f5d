"""`kagitori principal …-group`: groups of users that share policies."""

from __future__ import annotations

from typing import Annotated

import typer

from kagitori.kms.v1.principals_pb2 import (
    AddUserToGroupRequest,
    CreateGroupRequest,
    DeleteGroupRequest,
    ListGroupsForUserRequest,
    ListGroupsRequest,
    RemoveUserFromGroupRequest,
)
from kagitori_client.cli.principals import Account, Name, Path
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

User = Annotated[str, typer.Argument(metavar="USER")]
_COLUMNS = ["group_name", "arn", "create_date"]

app = typer.Typer()
"""Part of `kagitori principal`."""


@command(app, "create-group")
def create_group(session: Session, name: Name, path: Path = None, account: Account = None) -> None:
    """Make a group, without users and policies."""
    request = CreateGroupRequest(group_name=name, path=path, account_id=account)
    session.record(session.client.admin.CreateGroup(request).group)


@command(app, "list-groups")
def list_groups(
    session: Session,
    user: Annotated[str | None, typer.Option("--user", help="Only those that this user is in.", metavar="USER")] = None,
    account: Account = None,
) -> None:
    """List groups."""
    admin = session.client.admin
    if user is None:
        every = pages(admin.ListGroups, ListGroupsRequest(account_id=account))
        found = [group for page in every for group in page.groups]
    else:
        of_user = pages(admin.ListGroupsForUser, ListGroupsForUserRequest(user_name=user, account_id=account))
        found = [group for page in of_user for group in page.groups]
    session.records("groups", found, _COLUMNS)


@command(app, "delete-group")
def delete_group(session: Session, name: Name, account: Account = None) -> None:
    """Remove a group that has no users and no policies any more."""
    session.client.admin.DeleteGroup(DeleteGroupRequest(group_name=name, account_id=account))
    session.done(f"group {name} is removed", group_name=name)


@command(app, "add-to-group", epilog="Example: kagitori principal add-to-group admins alice")
def add_to_group(session: Session, name: Name, user: User, account: Account = None) -> None:
    """Put a user into a group: it may do what the group may."""
    request = AddUserToGroupRequest(group_name=name, user_name=user, account_id=account)
    session.client.admin.AddUserToGroup(request)
    session.done(f"user {user} is in group {name}", group_name=name, user_name=user)


@command(app, "remove-from-group")
def remove_from_group(session: Session, name: Name, user: User, account: Account = None) -> None:
    """Take a user out of a group."""
    request = RemoveUserFromGroupRequest(group_name=name, user_name=user, account_id=account)
    session.client.admin.RemoveUserFromGroup(request)
    session.done(f"user {user} is not in group {name} any more", group_name=name, user_name=user)
