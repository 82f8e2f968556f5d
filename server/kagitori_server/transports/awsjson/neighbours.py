"""The services beside KMS: STS, CloudTrail and Resource Groups Tagging, as far as `neighbour_table` has rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kagitori_server.model.call import ExchangedToken
from kagitori_server.operations.neighbour_table import CLOUDTRAIL, NEIGHBOURS, STS, TAGGING
from kagitori_server.operations.row import Operation
from kagitori_server.transports.awsjson.codec import JsonCodec
from kagitori_server.transports.awsjson.query import QueryCodec
from kagitori_server.transports.awsjson.services import AwsService


def _operations(service: str) -> Mapping[str, str]:
    return {
        row.name: name for name, row in NEIGHBOURS.items() if isinstance(row, Operation) and row.service == service
    }


def _exchanged(request: Any) -> ExchangedToken:
    return ExchangedToken(request.web_identity_token, request.role_arn, request.role_session_name)


NEIGHBOUR_SERVICES: tuple[AwsService, ...] = (
    AwsService(
        signing_name="sts",
        endpoint_variable="AWS_ENDPOINT_URL_STS",
        codec=QueryCodec("https://sts.amazonaws.com/doc/2011-06-15/"),
        operations=_operations(STS),
        version="2011-06-15",
        unsigned={"AssumeRoleWithWebIdentity": _exchanged},
    ),
    AwsService(
        signing_name="cloudtrail",
        endpoint_variable="AWS_ENDPOINT_URL_CLOUDTRAIL",
        codec=JsonCodec(),
        operations=_operations(CLOUDTRAIL),
        target_prefixes=(
            "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101", "CloudTrail_20131101",
        ),
        member_names={
            "trail_name_list": "trailNameList", "include_shadow_trails": "includeShadowTrails",
            "trail_list": "trailList", "trail_arn": "TrailARN",
        },
    ),
    AwsService(
        signing_name="tagging",
        endpoint_variable="AWS_ENDPOINT_URL_RESOURCE_GROUPS_TAGGING_API",
        codec=JsonCodec(),
        operations=_operations(TAGGING),
        target_prefixes=("ResourceGroupsTaggingAPI_20170126",),
        member_names={"resource_arn": "ResourceARN", "resource_arn_list": "ResourceARNList"},
    ),
)
"""AWS STS (2011-06-15), CloudTrail (2013-11-01), Resource Groups Tagging API (2017-01-26)."""
