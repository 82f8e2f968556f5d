"""`kagitori policy …-managed`, `attach`, `detach`: policies with an ARN of their own, and boundaries."""

from __future__ import annotations

from typing import Annotated

import typer

from kagitori.kms.v1.identity_policies_pb2 import (
    AttachManagedPolicyRequest,
    CreateManagedPolicyRequest,
    DeleteManagedPolicyRequest,
    DeletePermissionsBoundaryRequest,
    DetachManagedPolicyRequest,
    GetManagedPolicyRequest,
    ListManagedPoliciesRequest,
    PutPermissionsBoundaryRequest,
)
from kagitori_client.cli.arguments import iam_arn, principal_arn
from kagitori_client.cli.files import read_document
from kagitori_client.cli.policies import Document, PolicyName, Principal, print_document
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

Policy = Annotated[
    str, typer.Argument(metavar="POLICY", help="ARN of a managed policy, or policy/NAME of your account.")
]

policy_app = typer.Typer()
"""Part of `kagitori policy`."""
boundary_app = typer.Typer()
"""Part of `kagitori principal`."""


@command(policy_app, "create-managed", epilog="Example: kagitori policy create-managed use-orders policy.json")
def create_managed(
    session: Session,
    name: PolicyName,
    document: Document,
    path: Annotated[str | None, typer.Option("--path", help="Path such as /engineering/.", metavar="PATH")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    account: Annotated[
        str | None, typer.Option("--account", help="Another account; managing account only.", metavar="ID")
    ] = None,
) -> None:
    """Make a policy that can be attached to many. Its document can't be changed afterwards."""
    request = CreateManagedPolicyRequest(
        policy_name=name, policy_document=read_document(document), path=path, description=description,
        account_id=account,
    )
    made = session.client.admin.CreateManagedPolicy(request).policy
    session.done(f"{made.arn} is made", arn=made.arn, policy_name=made.policy_name, policy_id=made.policy_id)


@command(policy_app, "get-managed")
def get_managed(session: Session, policy: Policy) -> None:
    """Print a managed policy, byte for byte as it was made."""
    request = GetManagedPolicyRequest(policy_arn=_policy_arn(session, policy))
    found = session.client.admin.GetManagedPolicy(request).policy
    print_document(session, found.policy_document, arn=found.arn, policy_name=found.policy_name)


@command(policy_app, "list-managed")
def list_managed(
    session: Session,
    principal: Annotated[str | None, typer.Option(help="Only those attached to this user, group or role.")] = None,
) -> None:
    """List managed policies."""
    request = ListManagedPoliciesRequest(principal_arn=principal_arn(session, principal) if principal else None)
    found = [each for page in pages(session.client.admin.ListManagedPolicies, request) for each in page.policies]
    session.records("policies", found, ["policy_name", "arn", "attachment_count", "description"])


@command(policy_app, "delete-managed")
def delete_managed(session: Session, policy: Policy) -> None:
    """Remove a managed policy that nobody has and that bounds nobody."""
    arn = _policy_arn(session, policy)
    session.client.admin.DeleteManagedPolicy(DeleteManagedPolicyRequest(policy_arn=arn))
    session.done(f"{policy} is removed", policy_arn=arn)


@command(policy_app, "attach", epilog="Example: kagitori policy attach group/admins policy/use-orders")
def attach(session: Session, principal: Principal, policy: Policy) -> None:
    """Give a user, group or role a managed policy."""
    arn, policy_arn = principal_arn(session, principal), _policy_arn(session, policy)
    request = AttachManagedPolicyRequest(principal_arn=arn, policy_arn=policy_arn)
    session.client.admin.AttachManagedPolicy(request)
    session.done(f"{principal} has {policy}", principal_arn=arn, policy_arn=policy_arn)


@command(policy_app, "detach")
def detach(session: Session, principal: Principal, policy: Policy) -> None:
    """Take a managed policy away from a user, group or role."""
    arn, policy_arn = principal_arn(session, principal), _policy_arn(session, policy)
    request = DetachManagedPolicyRequest(principal_arn=arn, policy_arn=policy_arn)
    session.client.admin.DetachManagedPolicy(request)
    session.done(f"{principal} is without {policy}", principal_arn=arn, policy_arn=policy_arn)


@command(boundary_app, "put-boundary")
def put_boundary(session: Session, principal: Principal, policy: Policy) -> None:
    """Bound a user or role: it may do no more than the managed policy allows."""
    arn, policy_arn = principal_arn(session, principal), _policy_arn(session, policy)
    request = PutPermissionsBoundaryRequest(principal_arn=arn, policy_arn=policy_arn)
    session.client.admin.PutPermissionsBoundary(request)
    session.done(f"{principal} is bounded by {policy}", principal_arn=arn, policy_arn=policy_arn)


@command(boundary_app, "delete-boundary")
def delete_boundary(session: Session, principal: Principal) -> None:
    """Let a user or role be bounded no more."""
    arn = principal_arn(session, principal)
    session.client.admin.DeletePermissionsBoundary(DeletePermissionsBoundaryRequest(principal_arn=arn))
    session.done(f"{principal} is not bounded any more", principal_arn=arn)


def _policy_arn(session: Session, name: str) -> str:
    return iam_arn(session, name, ("policy/",), "policy", "write an ARN or policy/NAME")
