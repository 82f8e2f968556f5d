"""Operations of STS, CloudTrail and Resource Groups Tagging have the members and limits of AWS's models."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

import botocore.session
import pytest

from kagitori_server.model.errors import every_error
from kagitori_server.model.neighbour_errors import every_neighbour_error
from kagitori_server.model.shape import Constraint
from kagitori_server.operations.neighbour_table import NEIGHBOURS
from kagitori_server.operations.row import Operation
from kagitori_server.transports.awsjson.members import aws_name
from kagitori_server.transports.awsjson.neighbours import NEIGHBOUR_SERVICES

_NAMES = {"sts": "sts", "cloudtrail": "cloudtrail", "tagging": "resourcegroupstaggingapi"}
_SESSION = botocore.session.get_session()
ROWS = [
    pytest.param(service, NEIGHBOURS[name], id=name)
    for service in NEIGHBOUR_SERVICES for name in service.operations.values()
]

LOOSER = {
    # Where the operation itself has AWS's own error for what breaks the limit.
    ("LookupEvents", "max_results"), ("LookupEvents.lookup_attributes", "attribute_key"),
}
STRICTER = {
    # Texts that AWS's model doesn't bound.
    ("LookupEvents", "next_token"), ("LookupEvents", "event_category"), ("DescribeTrails", "trail_name_list"),
    ("GetTrailStatus", "name"), ("ListPublicKeys", "next_token"),
}
LEFT_OUT = {
    # Members of answers that are deprecated, or about what isn't there.
    "Trail": {
        "SnsTopicName", "SnsTopicARN", "CloudWatchLogsLogGroupArn", "CloudWatchLogsRoleArn", "RecursiveLogging",
    },
    "ResourceTagMapping": {"ComplianceDetails"},
}


def _model(service: Any, row: Operation) -> Any:
    return _SESSION.get_service_model(_NAMES[service.signing_name]).operation_model(row.name)


def _unwrapped(hint: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def _element(hint: Any) -> Any:
    inner = _unwrapped(hint)
    return typing.get_args(inner)[0] if typing.get_origin(inner) is tuple else inner


def _fields(cls: Any, service: Any) -> dict[str, dataclasses.Field[Any]]:
    return {aws_name(field.name, service.member_names): field for field in dataclasses.fields(cls)}


@pytest.mark.parametrize(("service", "row"), ROWS)
def test_requests(service: Any, row: Operation) -> None:
    """All members of AWS's, with its limits, and no others."""
    _check_request(row.name, service, row.request.cls, _model(service, row).input_shape)


def _check_request(where: str, service: Any, cls: Any, shape: Any) -> None:
    fields, hints = _fields(cls, service), typing.get_type_hints(cls)
    # A managed policy is named in small letters alone; such members are refused whatever is in them.
    wanted = set(shape.members) if shape.name != "PolicyDescriptorType" else {"Arn"}
    assert fields.keys() == wanted
    for name, field in fields.items():
        member = shape.members.get(name) or shape.members[name.lower()]
        constraint = field.metadata["constraint"]
        assert isinstance(constraint, Constraint)
        assert constraint.required == (name in shape.required_members), name
        element = member
        if member.type_name == "list":
            # AWS bounds the list of attributes in its text alone: the operation does.
            assert (constraint.items_minimum or 0) == member.metadata.get("min", 0), name
            assert constraint.items_maximum == member.metadata.get("max"), name
            element = member.member
        hint = _element(hints[field.name])
        if dataclasses.is_dataclass(hint):
            _check_request(f"{where}.{field.name}", service, hint, element)
        elif element.type_name in ("string", "integer") and (where, field.name) not in LOOSER | STRICTER:
            assert (constraint.minimum or 0) == element.metadata.get("min", 0), name
            assert constraint.maximum == element.metadata.get("max"), name


@pytest.mark.parametrize(("service", "row"), ROWS)
def test_answers(service: Any, row: Operation) -> None:
    """Have AWS's members, but for those that are left out, and no others."""
    _check_answer(service, row.response, _model(service, row).output_shape)


def _check_answer(service: Any, cls: Any, shape: Any) -> None:
    fields, hints = _fields(cls, service), typing.get_type_hints(cls)
    assert fields.keys() <= set(shape.members)
    if shape.name in LEFT_OUT:
        assert set(shape.members) - fields.keys() == LEFT_OUT[shape.name]
    for name, field in fields.items():
        member = shape.members[name]
        hint = _element(hints[field.name])
        if dataclasses.is_dataclass(hint):
            _check_answer(service, hint, member.member if member.type_name == "list" else member)


@pytest.mark.parametrize(("service", "row"), ROWS)
def test_errors(service: Any, row: Operation) -> None:
    """Those of the model are in the vocabulary, but for what can't happen here."""
    known = {error.__name__ for error in (*every_error(), *every_neighbour_error())}
    never = {
        "RegionDisabledException", "OperationNotPermittedException", "NoManagementAccountSLRExistsException",
        "ThrottledException", "InternalServiceException", "PaginationTokenExpiredException",
        # Of ProvidedContexts, which is refused.
        "InvalidContextAssertionException",
    }
    assert {shape.name for shape in _model(service, row).error_shapes} <= known | never


@pytest.mark.parametrize("service", NEIGHBOUR_SERVICES, ids=lambda service: service.signing_name)
def test_services(service: Any) -> None:
    """Are named, targeted, signed and found by the environment as botocore does it."""
    model = _SESSION.get_service_model(_NAMES[service.signing_name])
    assert (model.metadata.get("signingName") or model.endpoint_prefix) == service.signing_name
    variable = model.service_id.replace(" ", "_").upper()
    assert service.endpoint_variable == f"AWS_ENDPOINT_URL_{variable}"
    if service.version:
        assert service.version == model.api_version
        assert model.metadata["protocol"] == "query"
    else:
        assert model.metadata["targetPrefix"] in service.target_prefixes
        assert "json" in model.metadata["protocols"]
        assert model.metadata["jsonVersion"] == "1.1"
    unsigned = {name for name in service.operations if model.operation_model(name).auth_type == "none"}
    assert service.unsigned.keys() == unsigned
