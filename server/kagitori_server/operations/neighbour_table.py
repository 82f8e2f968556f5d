"""Rows of AWS services beside KMS that its users need: STS, CloudTrail and Resource Groups Tagging.

They are in a table of their own, under names that no caller of a service of ours can say: `sts AssumeRole`. Their
permissions are the actions of those services, asked of identity policies like any other; nobody needs one to hear who
it is. What the rows have in common with AdminService's is written there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kagitori_server.model.rates import RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.operations.administration.sessions import prepare_session
from kagitori_server.operations.identity_table import ASSUME_ROLE
from kagitori_server.operations.neighbours import cloudtrail, sts, tagging
from kagitori_server.operations.row import (
    Answer,
    AuditRule,
    Check,
    Cost,
    Handler,
    Operation,
    Permission,
    Resource,
    Table,
)
from kagitori_server.operations.shapes import cloudtrail as trail_shapes
from kagitori_server.operations.shapes import sts as sts_shapes
from kagitori_server.operations.shapes import tagging as tag_shapes

STS, CLOUDTRAIL, TAGGING = "sts", "cloudtrail", "tagging"
"""Services, as the event sources of their records name them."""

_SESSION_SHOWN = (
    "credentials.access_key_id", "credentials.expiration", "assumed_role_user", "packed_policy_size",
)


def neighbour_name(service: str, operation: str) -> str:
    """The name of a service's operation in `NEIGHBOURS`."""
    return f"{service} {operation}"


def _asking(
    service: str, name: str, request: type[Any], response: type[Any], handler: Handler, *,
    action: str, shown: tuple[str, ...], on: Resource = Resource.ACCOUNT, check: Check | None = None,
) -> Operation:
    """A row that changes nothing, whose permission identity policies alone give, and whose answer isn't recorded."""
    return Operation(
        name=name, service=service, request=Shape(request), response=response,
        keys=(), alias_member=None, account_member=None,
        permissions=(Permission(action=action, on=on, slot=None),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.ADMINISTRATION,
        audit=AuditRule(request_shown=shown, answer=Answer.NOTHING),
        cost=Cost.OFFLOAD, check=check, prepare=None, handler=handler,
    )


GET_CALLER_IDENTITY = Operation(
    name="GetCallerIdentity", service=STS,
    request=Shape(sts_shapes.GetCallerIdentityRequest), response=sts_shapes.GetCallerIdentityResponse,
    keys=(), alias_member=None, account_member=None,
    permissions=(),  # whoever has proven to be somebody may hear who, even if a policy denies it (AWS STS)
    grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.ADMINISTRATION,
    audit=AuditRule(request_shown=(), answer=Answer.NOTHING),
    cost=Cost.INLINE, check=None, prepare=None, handler=sts.get_caller_identity,
)

ASSUME = replace(
    ASSUME_ROLE, service=STS,
    request=Shape(sts_shapes.AssumeRoleRequest), response=sts_shapes.AssumeRoleResponse,
    read_only=True,  # as CloudTrail has it
    audit=AuditRule(
        request_shown=(
            "role_arn", "role_session_name", "policy", "duration_seconds", "tags", "external_id", "source_identity",
        ),
        answer=Answer.MEMBERS, response_shown=(*_SESSION_SHOWN, "source_identity"),
    ),
    check=sts.check_assume_role, handler=sts.assume_role,
)

EXCHANGE = replace(
    ASSUME_ROLE, name="AssumeRoleWithWebIdentity", service=STS,
    request=Shape(sts_shapes.AssumeRoleWithWebIdentityRequest), response=sts_shapes.AssumeRoleWithWebIdentityResponse,
    permissions=(),  # what proves the caller asks the role's trust policy, in every call (`callers`)
    cross_account=False, read_only=True,
    audit=AuditRule(
        request_shown=("role_arn", "role_session_name", "policy", "duration_seconds"),
        answer=Answer.MEMBERS,
        response_shown=(*_SESSION_SHOWN, "subject_from_web_identity_token", "provider", "audience"),
    ),
    check=sts.check_assume_role_with_web_identity, prepare=prepare_session,
    handler=sts.assume_role_with_web_identity,
)

_ROWS: tuple[Operation, ...] = (
    GET_CALLER_IDENTITY,
    ASSUME,
    EXCHANGE,
    _asking(
        CLOUDTRAIL, "LookupEvents", trail_shapes.LookupEventsRequest, trail_shapes.LookupEventsResponse,
        cloudtrail.lookup_events, action="cloudtrail:LookupEvents",
        shown=("lookup_attributes", "start_time", "end_time", "event_category", "max_results", "next_token"),
    ),
    _asking(
        CLOUDTRAIL, "DescribeTrails", trail_shapes.DescribeTrailsRequest, trail_shapes.DescribeTrailsResponse,
        cloudtrail.describe_trails, action="cloudtrail:DescribeTrails",
        shown=("trail_name_list", "include_shadow_trails"),
    ),
    _asking(
        CLOUDTRAIL, "GetTrailStatus", trail_shapes.GetTrailStatusRequest, trail_shapes.GetTrailStatusResponse,
        cloudtrail.get_trail_status, action="cloudtrail:GetTrailStatus", shown=("name",), on=Resource.TRAIL,
    ),
    _asking(
        CLOUDTRAIL, "ListPublicKeys", trail_shapes.ListPublicKeysRequest, trail_shapes.ListPublicKeysResponse,
        cloudtrail.list_public_keys, action="cloudtrail:ListPublicKeys",
        shown=("start_time", "end_time", "next_token"),
    ),
    _asking(
        TAGGING, "GetResources", tag_shapes.GetResourcesRequest, tag_shapes.GetResourcesResponse,
        tagging.get_resources, action="tag:GetResources",
        shown=(
            "pagination_token", "tag_filters", "resources_per_page", "tags_per_page", "resource_type_filters",
            "include_compliance_details", "exclude_compliant_resources", "resource_arn_list",
        ),
        check=tagging.check_get_resources,
    ),
    _asking(
        TAGGING, "GetTagKeys", tag_shapes.GetTagKeysRequest, tag_shapes.GetTagKeysResponse,
        tagging.get_tag_keys, action="tag:GetTagKeys", shown=("pagination_token",),
    ),
    _asking(
        TAGGING, "GetTagValues", tag_shapes.GetTagValuesRequest, tag_shapes.GetTagValuesResponse,
        tagging.get_tag_values, action="tag:GetTagValues", shown=("pagination_token", "key"),
    ),
)

NEIGHBOURS: Table = {neighbour_name(row.service, row.name): row for row in _ROWS}
"""What the pipeline serves to AWS's clients beside its table."""
