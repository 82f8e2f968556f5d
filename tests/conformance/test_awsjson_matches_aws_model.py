"""JSON members of all operations are those of the AWS KMS model: names, kinds, errors and their status."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any

import botocore.session
import pytest

from kagitori_server.model.errors import every_error
from kagitori_server.model.neighbour_errors import every_neighbour_error
from kagitori_server.operations.row import Operation
from kagitori_server.operations.table import TABLE
from kagitori_server.transports.awsjson.codec import MEDIA_TYPE
from kagitori_server.transports.awsjson.failures import NAMES, failure
from kagitori_server.transports.awsjson.members import aws_name
from kagitori_server.transports.awsjson.services import KMS, Routes

MODEL: Any = botocore.session.get_session().get_service_model("kms")
ROWS = {name: row for name, row in TABLE.items() if isinstance(row, Operation) and row.service == "kms"}
KINDS = {str: "string", int: "integer", bool: "boolean", bytes: "blob", float: "timestamp"}


def test_the_service_is_the_models() -> None:
    """Operations, target, signing name and media type."""
    assert KMS.operations.keys() == set(MODEL.operation_names) == ROWS.keys()
    assert KMS.target_prefixes == (MODEL.metadata["targetPrefix"],)
    assert KMS.signing_name == MODEL.signing_name
    assert f"application/x-amz-json-{MODEL.metadata['jsonVersion']}" == MEDIA_TYPE


@pytest.mark.parametrize("name", sorted(ROWS))
def test_members(name: str) -> None:
    """Every member of every input and output, however deep, has AWS's name and kind."""
    operation, row = MODEL.operation_model(name), ROWS[name]
    _check(name, row.request.cls, operation.input_shape, whole=True)
    if operation.output_shape is not None:
        _check(name, row.response, operation.output_shape, whole=False)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_answers_without_a_shape_are_empty(name: str) -> None:
    """And those with a shape are objects, if without members."""
    route = Routes((KMS,), TABLE).by_target(f"TrentService.{name}")
    assert route is not None
    shape = MODEL.operation_model(name).output_shape
    if shape is None or not shape.members:
        assert route.write(ROWS[name].response(), "id").body == (b"" if shape is None else b"{}")


def test_status_of_failures() -> None:
    """Modelled exceptions have the status of the model's fault."""
    modelled = {shape.name: shape for shape in MODEL.error_shapes}
    for kind in every_error():
        if kind.code() in modelled and kind.code() != "DryRunOperationException":
            fault = modelled[kind.code()]._shape_model.get("fault", False)
            assert failure(kind("why")).status == (500 if fault else 400), kind
    assert set(NAMES) == {*every_error(), *every_neighbour_error()}


def _check(where: str, cls: type[Any], shape: Any, *, whole: bool) -> None:
    hints = typing.get_type_hints(cls)
    ours = {aws_name(field.name, KMS.member_names): hints[field.name] for field in dataclasses.fields(cls)}
    assert ours.keys() <= shape.members.keys(), where
    if whole:
        assert ours.keys() == shape.members.keys(), where
    for name, hint in ours.items():
        _check_kind(f"{where}.{name}", hint, shape.members[name], whole=whole)


def _check_kind(where: str, hint: Any, shape: Any, *, whole: bool) -> None:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    if dataclasses.is_dataclass(hint):
        assert shape.type_name == "structure", where
        _check(where, typing.cast("type[Any]", hint), shape, whole=whole)
    elif typing.get_origin(hint) is tuple:
        assert shape.type_name == "list", where
        _check_kind(where, typing.get_args(hint)[0], shape.member, whole=whole)
    elif typing.get_origin(hint) is not None:
        assert issubclass(typing.get_origin(hint), Mapping), where
        assert shape.type_name == "map", where
        _check_kind(where, typing.get_args(hint)[1], shape.value, whole=whole)
    elif issubclass(hint, enum.StrEnum):
        assert shape.type_name == "string", where
        assert shape.enum, where
    else:
        assert shape.type_name == KINDS[hint], where
