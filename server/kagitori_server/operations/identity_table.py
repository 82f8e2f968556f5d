"""The rows of AdminService about groups, managed policies, trust and tags of principals, access keys and sessions."""

from __future__ import annotations

from kagitori_server.model.rates import RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.operations.admin_rows import (
    ACCESS_KEY,
    GROUP,
    KAGITORI,
    NEW_GROUP,
    NEW_POLICY,
    OF_PRINCIPAL,
    ROLE,
    USER,
    reading,
    writing,
)
from kagitori_server.operations.administration import access_keys, entities, groups, managed_policies, sessions
from kagitori_server.operations.row import Answer, AuditRule, Cost, Operation, Resource
from kagitori_server.operations.shapes import access_keys as key_shapes
from kagitori_server.operations.shapes import groups as group_shapes
from kagitori_server.operations.shapes import identity_policies as policy_shapes
from kagitori_server.operations.shapes import principals as principal_shapes
from kagitori_server.operations.shapes.empty import Empty

GROUPS: tuple[Operation, ...] = (
    writing(
        "CreateGroup", group_shapes.CreateGroupRequest, group_shapes.CreateGroupResponse, groups.create_group,
        on=NEW_GROUP, account_member="account_id", home_only=False,
        shown=("account_id", "group_name", "path"),
        answer_shown=("group",),
        check=groups.check_create_group,
    ),
    reading(
        "ListGroups", group_shapes.ListGroupsRequest, group_shapes.ListGroupsResponse, groups.list_groups,
        on=Resource.ACCOUNT, account_member="account_id", home_only=False,
        shown=("account_id", "path_prefix", "limit", "marker"),
    ),
    writing(
        "DeleteGroup", group_shapes.DeleteGroupRequest, Empty, groups.delete_group,
        on=GROUP, account_member="account_id", home_only=False,
        shown=("account_id", "group_name"),
    ),
    writing(
        "AddUserToGroup", group_shapes.MembershipRequest, Empty, groups.add_user_to_group,
        on=GROUP, account_member="account_id", home_only=False,
        shown=("account_id", "group_name", "user_name"),
    ),
    writing(
        "RemoveUserFromGroup", group_shapes.MembershipRequest, Empty, groups.remove_user_from_group,
        on=GROUP, account_member="account_id", home_only=False,
        shown=("account_id", "group_name", "user_name"),
    ),
    reading(
        "ListGroupsForUser", group_shapes.ListGroupsForUserRequest,
        group_shapes.ListGroupsResponse, groups.list_groups_for_user,
        on=USER, account_member="account_id", home_only=False,
        shown=("account_id", "user_name", "limit", "marker"),
    ),
)

PRINCIPALS: tuple[Operation, ...] = (
    writing(
        "UpdateAssumeRolePolicy", principal_shapes.UpdateAssumeRolePolicyRequest,
        Empty, entities.update_assume_role_policy,
        on=ROLE, account_member="account_id", home_only=False,
        shown=("account_id", "role_name", "policy_document"),
        check=entities.check_update_assume_role_policy,
    ),
    writing(
        "TagPrincipal", principal_shapes.TagPrincipalRequest, Empty, entities.tag_principal,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn", "tags"),
        check=entities.check_tag_principal,
    ),
    writing(
        "UntagPrincipal", principal_shapes.UntagPrincipalRequest, Empty, entities.untag_principal,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn", "tag_keys"),
    ),
)

MANAGED_POLICIES: tuple[Operation, ...] = (
    writing(
        "CreateManagedPolicy", policy_shapes.CreateManagedPolicyRequest,
        policy_shapes.ManagedPolicyResponse, managed_policies.create_managed_policy,
        on=NEW_POLICY, account_member="account_id", home_only=False,
        shown=("account_id", "policy_name", "path", "description", "policy_document"),
        answer_shown=("policy",),
        check=managed_policies.check_create_managed_policy,
    ),
    reading(
        "GetManagedPolicy", policy_shapes.ManagedPolicyRequest,
        policy_shapes.ManagedPolicyResponse, managed_policies.get_managed_policy,
        on=Resource.POLICY, account_member="policy_arn", home_only=False,
        shown=("policy_arn",),
    ),
    reading(
        "ListManagedPolicies", policy_shapes.ListManagedPoliciesRequest,
        policy_shapes.ListManagedPoliciesResponse, managed_policies.list_managed_policies,
        on=OF_PRINCIPAL, account_member="account_named", home_only=False,
        shown=("account_id", "principal_arn", "path_prefix", "limit", "marker"),
    ),
    writing(
        "DeleteManagedPolicy", policy_shapes.ManagedPolicyRequest, Empty, managed_policies.delete_managed_policy,
        on=Resource.POLICY, account_member="policy_arn", home_only=False,
        shown=("policy_arn",),
    ),
    writing(
        "AttachManagedPolicy", policy_shapes.AttachmentRequest, Empty, managed_policies.attach_managed_policy,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn", "policy_arn"),
    ),
    writing(
        "DetachManagedPolicy", policy_shapes.AttachmentRequest, Empty, managed_policies.detach_managed_policy,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn", "policy_arn"),
    ),
    writing(
        "PutPermissionsBoundary", policy_shapes.PutPermissionsBoundaryRequest,
        Empty, managed_policies.put_permissions_boundary,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn", "policy_arn"),
    ),
    writing(
        "DeletePermissionsBoundary", policy_shapes.DeletePermissionsBoundaryRequest,
        Empty, managed_policies.delete_permissions_boundary,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn",),
    ),
)

ACCESS_KEYS: tuple[Operation, ...] = (
    writing(
        "CreateAccessKey", key_shapes.CreateAccessKeyRequest,
        key_shapes.CreateAccessKeyResponse, access_keys.create_access_key,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn",),
        answer_shown=("access_key",),
        check=access_keys.check_create_access_key, prepare=access_keys.prepare_create_access_key,
    ),
    reading(
        "ListAccessKeys", key_shapes.ListAccessKeysRequest,
        key_shapes.ListAccessKeysResponse, access_keys.list_access_keys,
        on=OF_PRINCIPAL, account_member="account_named", home_only=False,
        shown=("account_id", "principal_arn", "limit", "marker"),
    ),
    writing(
        "UpdateAccessKey", key_shapes.UpdateAccessKeyRequest, Empty, access_keys.update_access_key,
        on=ACCESS_KEY, account_member="account_id", home_only=False,
        shown=("account_id", "access_key_id", "status"),
    ),
    writing(
        "DeleteAccessKey", key_shapes.DeleteAccessKeyRequest, Empty, access_keys.delete_access_key,
        on=ACCESS_KEY, account_member="account_id", home_only=False,
        shown=("account_id", "access_key_id"),
    ),
)

ASSUME_ROLE = Operation(
    name="AssumeRole", service=KAGITORI,
    request=Shape(key_shapes.AssumeRoleRequest), response=key_shapes.AssumeRoleResponse,
    keys=(), alias_member=None, account_member=None,
    permissions=(),  # `check` asks for sts:AssumeRole: the role's trust policy has a say in it
    grantable=False, cross_account=True, read_only=False, writes=True, rate=RateGroup.ADMINISTRATION,
    audit=AuditRule(
        request_shown=(
            "role_arn", "role_session_name", "policy", "duration_seconds", "tags", "source_identity",
        ),
        answer=Answer.MEMBERS, response_shown=("assumed_role_arn", "assumed_role_id"),
    ),
    cost=Cost.OFFLOAD, check=sessions.check_assume_role, prepare=sessions.prepare_session,
    handler=sessions.assume_role,
)

IDENTITIES: tuple[Operation, ...] = (*GROUPS, *PRINCIPALS, *MANAGED_POLICIES, *ACCESS_KEYS, ASSUME_ROLE)
"""Every operation of this kind that is served."""
