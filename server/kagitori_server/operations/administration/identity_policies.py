"""PutIdentityPolicy, GetIdentityPolicy, ListIdentityPolicies and DeleteIdentityPolicy, of users, roles and groups."""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_server.model.errors import LimitExceededException, NoSuchEntityException
from kagitori_server.model.principals import GroupRecord, PrincipalRecord
from kagitori_server.operations.administration.pages import read_page
from kagitori_server.operations.administration.reach import holder_at
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import identity_policies as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.policy.document import IdentityKind, parse_identity_policy, policy_size

POLICIES_MAX = 50
"""Inline policies of a user, role or group. AWS IAM bounds only their size; this bounds the work of a decision."""

_KINDS = {"user": IdentityKind.USER, "role": IdentityKind.ROLE, "group": IdentityKind.GROUP}


def check_put_identity_policy(_context: Context, request: shapes.PutIdentityPolicyRequest) -> None:
    """Refuses documents that wouldn't be enforced to the letter, before the transaction begins."""
    check_document(request.principal_arn, request.policy_document)


def check_document(holder_arn: str, document: str) -> None:
    """Raises MalformedPolicyDocumentException or LimitExceededException for what can't be a policy of that holder."""
    # The ARN itself says what it names.
    parse_identity_policy(document, _KINDS[holder_arn.split(":", 5)[5].split("/", 1)[0]])


def policies_with(entity: PrincipalRecord | GroupRecord, name: str, document: str) -> Mapping[str, str]:
    """The inline policies of `entity` once it has that one. Raises LimitExceededException."""
    policies = {**entity.policies, name: document}
    if len(policies) > POLICIES_MAX:
        raise LimitExceededException(f"{entity.name} has {POLICIES_MAX} inline policies, the most it may have.")
    kind = "group" if isinstance(entity, GroupRecord) else entity.kind.value
    most = _KINDS[kind].value
    if sum(map(policy_size, policies.values())) > most:
        raise LimitExceededException(
            f"Maximum policy size of {most} bytes exceeded for {kind} {entity.name}."
        )
    return policies


def policies_without(entity: PrincipalRecord | GroupRecord, name: str) -> Mapping[str, str]:
    """The inline policies of `entity` once it has that one no more. Raises NoSuchEntityException."""
    if name not in entity.policies:
        raise _unknown(name)
    return {each: document for each, document in entity.policies.items() if each != name}


def put_identity_policy(context: Context, request: shapes.PutIdentityPolicyRequest) -> Empty:
    """Writes an inline policy, replacing one of the same name (AWS IAM PutUserPolicy and its kin)."""
    entity = holder_at(context, context.writer, request.principal_arn)
    policies_with(entity, request.policy_name, request.policy_document)
    if isinstance(entity, GroupRecord):
        context.writer.put_group_policy(entity.arn, request.policy_name, request.policy_document)
    else:
        context.writer.put_principal_policy(entity.arn, request.policy_name, request.policy_document)
    return EMPTY


def get_identity_policy(
    context: Context, request: shapes.IdentityPolicyRequest
) -> shapes.GetIdentityPolicyResponse:
    """Answers an inline policy byte for byte as it was put (AWS IAM GetUserPolicy, GetRolePolicy)."""
    with context.services.catalog.read() as reader:
        entity = holder_at(context, reader, request.principal_arn)
    document = entity.policies.get(request.policy_name)
    if document is None:
        raise _unknown(request.policy_name)
    return shapes.GetIdentityPolicyResponse(
        principal_arn=entity.arn, policy_name=request.policy_name, policy_document=document
    )


def list_identity_policies(
    context: Context, request: shapes.ListIdentityPoliciesRequest
) -> shapes.ListIdentityPoliciesResponse:
    """Lists the names of inline policies in order (AWS IAM ListUserPolicies, ListRolePolicies)."""
    with context.services.catalog.read() as reader:
        names = sorted(holder_at(context, reader, request.principal_arn).policies)
    page = read_page(
        context.operation.name,
        request.marker,
        request.limit,
        lambda after, limit: [name for name in names if name > after][:limit],
        lambda name: name,
    )
    return shapes.ListIdentityPoliciesResponse(
        policy_names=page.items, next_marker=page.next_marker, truncated=page.truncated
    )


def delete_identity_policy(context: Context, request: shapes.IdentityPolicyRequest) -> Empty:
    """Removes an inline policy (AWS IAM DeleteUserPolicy, DeleteRolePolicy)."""
    entity = holder_at(context, context.writer, request.principal_arn)
    policies_without(entity, request.policy_name)
    if isinstance(entity, GroupRecord):
        context.writer.delete_group_policy(entity.arn, request.policy_name)
    else:
        context.writer.delete_principal_policy(entity.arn, request.policy_name)
    return EMPTY


def _unknown(name: str) -> NoSuchEntityException:
    return NoSuchEntityException(f"The policy with name {name} cannot be found.")
