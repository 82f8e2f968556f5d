"""The rows of AdminService. What they have in common is in `admin_rows`."""

from __future__ import annotations

from kagitori_server.model.rates import RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.operations.admin_rows import (
    CERTIFICATE,
    KAGITORI,
    NEW_ROLE,
    NEW_USER,
    OF_GROUP,
    OF_PRINCIPAL,
    PRINCIPAL,
    ROLE,
    TOKEN,
    USER,
    permissions,
    reading,
    streaming,
    writing,
)
from kagitori_server.operations.administration import (
    accounts,
    credentials,
    decisions,
    entities,
    identity_policies,
    server,
    simulation,
    store_check,
    trail,
    trail_delivery,
    transparency,
    usage,
)
from kagitori_server.operations.administration.reach import check_home
from kagitori_server.operations.budget_table import BUDGETS
from kagitori_server.operations.identity_table import IDENTITIES
from kagitori_server.operations.oidc_table import OIDC_PROVIDERS
from kagitori_server.operations.row import Answer, AuditRule, Cost, Operation, Resource
from kagitori_server.operations.shapes import audit as audit_shapes
from kagitori_server.operations.shapes import credentials as credential_shapes
from kagitori_server.operations.shapes import decisions as decision_shapes
from kagitori_server.operations.shapes import identity_policies as policy_shapes
from kagitori_server.operations.shapes import principals as principal_shapes
from kagitori_server.operations.shapes import service as service_shapes
from kagitori_server.operations.shapes import simulation as simulation_shapes
from kagitori_server.operations.shapes import transparency as transparency_shapes
from kagitori_server.operations.shapes import usage as usage_shapes
from kagitori_server.operations.shapes.empty import Empty

ACCOUNTS: tuple[Operation, ...] = (
    writing(
        "CreateAccount", principal_shapes.CreateAccountRequest, principal_shapes.CreateAccountResponse,
        accounts.create_account,
        on=Resource.ACCOUNT, account_member=None, home_only=True,
        shown=("account_id", "name"), answer_shown=("account",),
    ),
    reading(
        "ListAccounts", principal_shapes.ListAccountsRequest, principal_shapes.ListAccountsResponse,
        accounts.list_accounts,
        on=Resource.ACCOUNT, account_member=None, home_only=False, shown=("limit", "marker"),
    ),
    writing(
        "DeleteAccount", principal_shapes.DeleteAccountRequest, Empty, accounts.delete_account,
        on=Resource.ACCOUNT, account_member=None, home_only=True, shown=("account_id",),
    ),
)

USERS: tuple[Operation, ...] = (
    writing(
        "CreateUser", principal_shapes.CreateUserRequest, principal_shapes.UserResponse, entities.create_user,
        on=NEW_USER, account_member="account_id", home_only=False,
        shown=("account_id", "user_name", "path", "tags"),
        answer_shown=("user",), check=entities.check_create_user,
    ),
    reading(
        "GetUser", principal_shapes.UserRequest, principal_shapes.UserResponse, entities.get_user,
        on=USER, account_member="account_id", home_only=False, shown=("account_id", "user_name"),
    ),
    reading(
        "ListUsers", principal_shapes.ListUsersRequest, principal_shapes.ListUsersResponse, entities.list_users,
        on=OF_GROUP, account_member="account_id", home_only=False,
        shown=("account_id", "path_prefix", "group_name", "limit", "marker"),
    ),
    writing(
        "DeleteUser", principal_shapes.UserRequest, Empty, entities.delete_user,
        on=USER, account_member="account_id", home_only=False, shown=("account_id", "user_name"),
    ),
)

ROLES: tuple[Operation, ...] = (
    writing(
        "CreateRole", principal_shapes.CreateRoleRequest, principal_shapes.RoleResponse, entities.create_role,
        on=NEW_ROLE, account_member="account_id", home_only=False,
        shown=(
            "account_id", "role_name", "path", "assume_role_policy_document", "description", "max_session_duration",
            "tags",
        ),
        answer_shown=("role",), check=entities.check_create_role,
    ),
    reading(
        "GetRole", principal_shapes.RoleRequest, principal_shapes.RoleResponse, entities.get_role,
        on=ROLE, account_member="account_id", home_only=False, shown=("account_id", "role_name"),
    ),
    reading(
        "ListRoles", principal_shapes.ListRolesRequest, principal_shapes.ListRolesResponse, entities.list_roles,
        on=Resource.ACCOUNT, account_member="account_id", home_only=False,
        shown=("account_id", "path_prefix", "limit", "marker"),
    ),
    writing(
        "DeleteRole", principal_shapes.RoleRequest, Empty, entities.delete_role,
        on=ROLE, account_member="account_id", home_only=False, shown=("account_id", "role_name"),
    ),
)

IDENTITY_POLICIES: tuple[Operation, ...] = (
    writing(
        "PutIdentityPolicy", policy_shapes.PutIdentityPolicyRequest, Empty, identity_policies.put_identity_policy,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn", "policy_name", "policy_document"),
        check=identity_policies.check_put_identity_policy,
    ),
    reading(
        "GetIdentityPolicy", policy_shapes.IdentityPolicyRequest, policy_shapes.GetIdentityPolicyResponse,
        identity_policies.get_identity_policy,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False, shown=("principal_arn", "policy_name"),
    ),
    reading(
        "ListIdentityPolicies", policy_shapes.ListIdentityPoliciesRequest,
        policy_shapes.ListIdentityPoliciesResponse, identity_policies.list_identity_policies,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn", "limit", "marker"),
    ),
    writing(
        "DeleteIdentityPolicy", policy_shapes.IdentityPolicyRequest, Empty,
        identity_policies.delete_identity_policy,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False, shown=("principal_arn", "policy_name"),
    ),
)

CREDENTIALS: tuple[Operation, ...] = (
    writing(
        "CreateToken", credential_shapes.CreateTokenRequest, credential_shapes.CreateTokenResponse,
        credentials.create_token,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn", "description", "duration_seconds", "session_name"),
        answer_shown=("token_id", "expiration"), check=credentials.check_session_name,
    ),
    reading(
        "ListTokens", credential_shapes.ListCredentialsRequest, credential_shapes.ListTokensResponse,
        credentials.list_tokens,
        on=OF_PRINCIPAL, account_member="account_named", home_only=False,
        shown=("account_id", "principal_arn", "limit", "marker"),
    ),
    writing(
        "RevokeToken", credential_shapes.RevokeTokenRequest, Empty, credentials.revoke_token,
        on=TOKEN, account_member="account_id", home_only=False, shown=("account_id", "token_id"),
    ),
    writing(
        "RegisterCertificate", credential_shapes.RegisterCertificateRequest,
        credential_shapes.RegisterCertificateResponse, credentials.register_certificate,
        on=Resource.PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn", "uri_san", "subject", "description", "session_name"),
        answer_shown=("certificate_id",), check=credentials.check_register_certificate,
    ),
    reading(
        "ListCertificates", credential_shapes.ListCredentialsRequest, credential_shapes.ListCertificatesResponse,
        credentials.list_certificates,
        on=OF_PRINCIPAL, account_member="account_named", home_only=False,
        shown=("account_id", "principal_arn", "limit", "marker"),
    ),
    writing(
        "DeregisterCertificate", credential_shapes.DeregisterCertificateRequest, Empty,
        credentials.deregister_certificate,
        on=CERTIFICATE, account_member="account_id", home_only=False, shown=("account_id", "certificate_id"),
    ),
    Operation(
        name="GetCallerIdentity", service=KAGITORI,
        request=Shape(service_shapes.NoMembers), response=credential_shapes.GetCallerIdentityResponse,
        keys=(), alias_member=None, account_member=None,
        permissions=(),  # whoever has proven to be somebody may hear who
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.ADMINISTRATION,
        audit=AuditRule(request_shown=(), answer=Answer.NOTHING),
        cost=Cost.INLINE, check=None, prepare=None, handler=credentials.get_caller_identity,
    ),
)

DECISIONS: tuple[Operation, ...] = (
    reading(
        "ExplainAccess", decision_shapes.ExplainAccessRequest, decision_shapes.ExplainAccessResponse,
        decisions.explain_access,
        on=PRINCIPAL, account_member="principal_arn", home_only=False,
        shown=("principal_arn", "action", "resource_arn", "encryption_context", "condition_values"),
    ),
    reading(
        "LintPolicy", decision_shapes.LintPolicyRequest, decision_shapes.LintPolicyResponse, decisions.lint_policy,
        on=Resource.ACCOUNT, account_member=None, home_only=False, shown=("policy_kind", "policy_document"),
    ),
    streaming(
        "SimulatePolicy", simulation_shapes.SimulatePolicyRequest, simulation_shapes.SimulatePolicyResponse,
        simulation.simulate_policy,
        on=Resource.CHANGED, account_member="account_id", home_only=False,
        shown=(
            "account_id", "key_policy", "identity_policy", "grant_revocation", "key_disabling", "start_time",
            "end_time",
        ),
    ),
)

AUDIT: tuple[Operation, ...] = (
    reading(
        "LookupEvents", audit_shapes.LookupEventsRequest, audit_shapes.LookupEventsResponse, trail.lookup_events,
        on=Resource.ACCOUNT, account_member="account_id", home_only=False,
        shown=("account_id", "start_time", "end_time", "lookup_attribute", "max_results", "next_token", "filters"),
    ),
    streaming(
        "TailEvents", audit_shapes.TailEventsRequest, audit_shapes.TailEventsResponse, trail.tail_events,
        on=Resource.ACCOUNT, account_member="account_id", home_only=False,
        shown=("account_id", "filters", "resume_token", "backlog"),
    ),
    streaming(
        "ExportEvents", audit_shapes.ExportEventsRequest, audit_shapes.ExportEventsResponse, trail.export_events,
        on=Resource.ACCOUNT, account_member="account_id", home_only=False,
        shown=("account_id", "start_time", "end_time", "filters", "resume_token"),
    ),
    reading(
        "VerifyAuditTrail", audit_shapes.VerifyAuditTrailRequest, audit_shapes.VerifyAuditTrailResponse,
        trail.verify_audit_trail,
        on=Resource.ACCOUNT, account_member=None, home_only=True, shown=("chain_name", "delivered"),
    ),
    reading(
        "DescribeTrail", service_shapes.NoMembers, audit_shapes.DescribeTrailResponse, trail_delivery.describe_trail,
        on=Resource.ACCOUNT, account_member=None, home_only=True, shown=(),
    ),
    reading(
        "GetTrailStatus", service_shapes.NoMembers, audit_shapes.GetTrailStatusResponse,
        trail_delivery.get_trail_status,
        on=Resource.ACCOUNT, account_member=None, home_only=True, shown=(),
    ),
    reading(
        "ListAuditPublicKeys", audit_shapes.ListAuditPublicKeysRequest, audit_shapes.ListAuditPublicKeysResponse,
        trail_delivery.list_audit_public_keys,
        on=Resource.ACCOUNT, account_member=None, home_only=False,
        shown=("purpose", "start_time", "end_time", "limit", "marker"),
    ),
    reading(
        "GetTreeHead", transparency_shapes.GetTreeHeadRequest, transparency_shapes.GetTreeHeadResponse,
        transparency.get_tree_head,
        on=Resource.ACCOUNT, account_member=None, home_only=False, shown=("origin",),
    ),
    reading(
        "GetInclusionProof", transparency_shapes.GetInclusionProofRequest,
        transparency_shapes.GetInclusionProofResponse, transparency.get_inclusion_proof,
        on=Resource.ACCOUNT, account_member="account_id", home_only=False,
        shown=("account_id", "origin", "event_id", "request_id", "leaf_index"),
    ),
    reading(
        "GetConsistencyProof", transparency_shapes.GetConsistencyProofRequest,
        transparency_shapes.GetConsistencyProofResponse, transparency.get_consistency_proof,
        on=Resource.ACCOUNT, account_member=None, home_only=False, shown=("origin", "first_size", "second_size"),
    ),
    reading(
        "GetUsage", usage_shapes.GetUsageRequest, usage_shapes.GetUsageResponse, usage.get_usage,
        on=Resource.ACCOUNT, account_member="account_id", home_only=False,
        shown=("account_id", "start_time", "end_time", "group_by", "limit", "marker"),
    ),
)

SERVER: tuple[Operation, ...] = (
    reading(
        "GetServerStatus", service_shapes.NoMembers, service_shapes.GetServerStatusResponse,
        server.get_server_status,
        on=Resource.ACCOUNT, account_member=None, home_only=True, shown=(),
    ),
    reading(
        "ListKeyStoreHealth", service_shapes.NoMembers, service_shapes.ListKeyStoreHealthResponse,
        server.list_key_store_health,
        on=Resource.ACCOUNT, account_member=None, home_only=True, shown=(),
    ),
    Operation(
        name="CheckCustomKeyStore", service=KAGITORI,
        request=Shape(service_shapes.CheckCustomKeyStoreRequest), response=service_shapes.CheckCustomKeyStoreResponse,
        keys=(), alias_member=None, account_member=None,
        permissions=permissions("CheckCustomKeyStore", Resource.ACCOUNT),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.ADMINISTRATION,
        audit=AuditRule(request_shown=("custom_key_store_id",), answer=Answer.NOTHING),
        cost=Cost.BY_KEY,  # in the threads of the store that it asks
        check=store_check.check_custom_key_store_admission, prepare=None,
        handler=store_check.check_custom_key_store,
    ),
    Operation(
        name="RotateRootKey", service=KAGITORI,
        request=Shape(service_shapes.NoMembers), response=service_shapes.RotateRootKeyResponse,
        keys=(), alias_member=None, account_member=None, permissions=permissions("RotateRootKey", Resource.ACCOUNT),
        grantable=False, cross_account=False, read_only=False, rate=RateGroup.ADMINISTRATION,
        writes=False,  # it needs several transactions, with the root key's file written in between
        audit=AuditRule(
            request_shown=(), answer=Answer.MEMBERS,
            response_shown=("previous_root_key_id", "root_key_id", "rewrapped_count"),
        ),
        cost=Cost.OFFLOAD, check=check_home, prepare=None, handler=server.rotate_root_key,
    ),
)

ADMIN: tuple[Operation, ...] = (
    *ACCOUNTS, *USERS, *ROLES, *IDENTITY_POLICIES, *IDENTITIES, *CREDENTIALS, *OIDC_PROVIDERS, *DECISIONS, *BUDGETS,
    *AUDIT, *SERVER,
)
"""Every operation of AdminService that is served."""
