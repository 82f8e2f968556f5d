"""CreateManagedPolicy, GetManagedPolicy, ListManagedPolicies, DeleteManagedPolicy, AttachManagedPolicy,
DetachManagedPolicy, PutPermissionsBoundary and DeletePermissionsBoundary."""

from __future__ import annotations

from functools import partial

from kagitori_server.model.arn import entity_arn
from kagitori_server.model.errors import LimitExceededException
from kagitori_server.model.principals import ManagedPolicyRecord
from kagitori_server.operations.administration.entities import check_path
from kagitori_server.operations.administration.pages import read_page
from kagitori_server.operations.administration.reach import holder_at, managed_policy_at, principal_at
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import identity_policies as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.policy.document import IdentityKind, parse_identity_policy

MANAGED_POLICIES_MAX = 1_500
"""Managed policies of an account (AWS IAM quotas)."""
ATTACHED_MAX = 10
"""Managed policies attached to a user, role or group (AWS IAM quotas)."""


def check_create_managed_policy(_context: Context, request: shapes.CreateManagedPolicyRequest) -> None:
    """Refuses reserved paths, and documents that wouldn't be enforced to the letter."""
    check_path(request.path)
    parse_identity_policy(request.policy_document, IdentityKind.MANAGED)


def create_managed_policy(
    context: Context, request: shapes.CreateManagedPolicyRequest
) -> shapes.ManagedPolicyResponse:
    """Makes a policy that nobody has yet; its document stays as it is (AWS IAM CreatePolicy)."""
    if context.writer.count_managed_policies(context.account) >= MANAGED_POLICIES_MAX:
        raise LimitExceededException(f"The account has {MANAGED_POLICIES_MAX} policies, the most it may have.")
    path = request.path or "/"
    policy = ManagedPolicyRecord(
        account=context.account,
        name=request.policy_name,
        path=path,
        policy_id=context.services.ids.unique_id("ANPA"),
        arn=entity_arn(context.services.partition, context.account, "policy", path, request.policy_name),
        created=context.now,
        description=request.description or "",
        document=request.policy_document,
    )
    context.writer.insert_managed_policy(policy)
    return shapes.ManagedPolicyResponse(policy=_policy(policy))


def get_managed_policy(context: Context, request: shapes.ManagedPolicyRequest) -> shapes.ManagedPolicyResponse:
    """Describes a policy, with its document byte for byte (AWS IAM GetPolicy, GetPolicyVersion)."""
    with context.services.catalog.read() as reader:
        return shapes.ManagedPolicyResponse(policy=_policy(managed_policy_at(context, reader, request.policy_arn)))


def list_managed_policies(
    context: Context, request: shapes.ListManagedPoliciesRequest
) -> shapes.ListManagedPoliciesResponse:
    """Lists policies in the order of names (AWS IAM ListPolicies, ListAttachedUserPolicies and its kin)."""
    prefix = request.path_prefix or "/"
    with context.services.catalog.read() as reader:
        holder = request.principal_arn
        if holder is not None:
            holder = holder_at(context, reader, holder).arn
        page = read_page(
            context.operation.name,
            request.marker,
            request.limit,
            partial(reader.list_managed_policies, context.account, holder),
            lambda policy: policy.name,
            lambda policy: policy.path.startswith(prefix),
        )
    return shapes.ListManagedPoliciesResponse(
        policies=tuple(_policy(policy, listed=True) for policy in page.items),
        next_marker=page.next_marker,
        truncated=page.truncated,
    )


def delete_managed_policy(context: Context, request: shapes.ManagedPolicyRequest) -> Empty:
    """Removes a policy that nobody has and that bounds nobody (AWS IAM DeletePolicy)."""
    context.writer.delete_managed_policy(managed_policy_at(context, context.writer, request.policy_arn).arn)
    return EMPTY


def attach_managed_policy(context: Context, request: shapes.AttachmentRequest) -> Empty:
    """Gives a user, role or group a policy; having it is no error (AWS IAM AttachUserPolicy and its kin)."""
    writer = context.writer
    holder = holder_at(context, writer, request.principal_arn)
    policy = managed_policy_at(context, writer, request.policy_arn)
    attached = writer.list_managed_policies(context.account, holder.arn, "", ATTACHED_MAX)
    if len([other for other in attached if other.arn != policy.arn]) >= ATTACHED_MAX:
        raise LimitExceededException(f"{holder.name} has {ATTACHED_MAX} policies attached, the most it may have.")
    writer.attach_policy(holder.arn, policy.arn)
    return EMPTY


def detach_managed_policy(context: Context, request: shapes.AttachmentRequest) -> Empty:
    """Takes a policy away (AWS IAM DetachUserPolicy and its kin)."""
    holder = holder_at(context, context.writer, request.principal_arn)
    policy = managed_policy_at(context, context.writer, request.policy_arn)
    context.writer.detach_policy(holder.arn, policy.arn)
    return EMPTY


def put_permissions_boundary(context: Context, request: shapes.PutPermissionsBoundaryRequest) -> Empty:
    """Bounds a user or role, in place of the boundary before (AWS IAM PutUserPermissionsBoundary)."""
    principal = principal_at(context, context.writer, request.principal_arn)
    policy = managed_policy_at(context, context.writer, request.policy_arn)
    context.writer.put_boundary(principal.arn, policy.arn)
    return EMPTY


def delete_permissions_boundary(context: Context, request: shapes.DeletePermissionsBoundaryRequest) -> Empty:
    """Lets a user or role be bounded no more (AWS IAM DeleteUserPermissionsBoundary)."""
    context.writer.delete_boundary(principal_at(context, context.writer, request.principal_arn).arn)
    return EMPTY


def _policy(policy: ManagedPolicyRecord, *, listed: bool = False) -> shapes.ManagedPolicy:
    return shapes.ManagedPolicy(
        policy_name=policy.name,
        policy_id=policy.policy_id,
        arn=policy.arn,
        path=policy.path,
        description=policy.description or None,
        policy_document=None if listed else policy.document,
        attachment_count=policy.attachments,
        create_date=policy.created,
    )
