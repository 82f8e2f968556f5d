"""Requests have the members, limits and values of the newest AWS KMS model, and answers no others than its."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from kagitori_server.model.shape import Constraint
from kagitori_server.operations.row import Operation
from kagitori_server.operations.table import TABLE

MODEL: Any = botocore.session.get_session().get_service_model("kms")
OPERATIONS = [row for row in TABLE.values() if isinstance(row, Operation) and row.service == "kms"]

STRICTER = {
    # (operation, member): why our limit differs from the model's shape.
    ("ListAliases", "limit"): "the operation's page: 1 to 100",
    ("ListGrants", "limit"): "the operation's page: 1 to 100",
    ("ListRetirableGrants", "limit"): "the operation's page: 1 to 100",
    ("ListResourceTags", "limit"): "the operation's page: 1 to 50",
}


def _unwrapped(hint: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def _constraint(field: dataclasses.Field[Any]) -> Constraint:
    found = field.metadata["constraint"]
    assert isinstance(found, Constraint)
    return found


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_requests_have_the_members_of_the_model(row: Operation) -> None:
    """No member of AWS's request is missing and none is made up."""
    wanted = {xform_name(name) for name in MODEL.operation_model(row.name).input_shape.members}
    assert {field.name for field in dataclasses.fields(row.request.cls)} == wanted


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_answers_have_only_members_of_the_model(row: Operation) -> None:
    """An answer may lack what this release can't give (such as enclave ciphertexts), and has nothing else."""
    output = MODEL.operation_model(row.name).output_shape
    wanted = {xform_name(name) for name in output.members} if output else set()
    assert {field.name for field in dataclasses.fields(row.response)} <= wanted


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_members_have_the_limits_of_the_model(row: Operation) -> None:
    """Required, lengths, patterns, values of enumerations, counts of lists: as the model says."""
    _check(row.name, row.request.cls, MODEL.operation_model(row.name).input_shape)


def _check(operation: str, cls: type[Any], shape: Any) -> None:
    hints = typing.get_type_hints(cls)
    for name, member in shape.members.items():
        field = next(item for item in dataclasses.fields(cls) if item.name == xform_name(name))
        constraint, where = _constraint(field), f"{operation}.{field.name}"
        assert constraint.required == (name in shape.required_members), where
        hint, element = _unwrapped(hints[field.name]), member
        if member.type_name == "list":
            assert constraint.items_minimum in (member.metadata.get("min"), None), where
            assert (constraint.items_minimum or 0) == member.metadata.get("min", 0), where
            assert constraint.items_maximum == member.metadata.get("max"), where
            hint, element = typing.get_args(hint)[0], member.member
        if dataclasses.is_dataclass(hint):
            _check(where, typing.cast("type[Any]", hint), element)
        elif isinstance(hint, type) and issubclass(hint, enum.StrEnum):
            ours, theirs = {item.value for item in hint}, set(element.enum)
            # The deprecated member shares the type of its successor, which has specs that came later.
            assert ours == theirs or (field.name == "customer_master_key_spec" and ours > theirs), where
        elif (operation, field.name) not in STRICTER:
            _check_limits(where, constraint, element.metadata)


def _check_limits(where: str, constraint: Constraint, metadata: dict[str, Any]) -> None:
    assert (constraint.minimum or 0) == metadata.get("min", 0), where
    assert constraint.maximum == metadata.get("max"), where
    wanted = metadata.get("pattern")
    if wanted is None:
        assert constraint.pattern is None, where
    else:
        assert constraint.pattern is not None, where
        assert _plain(constraint.pattern.pattern) == _plain(wanted), where


def _plain(pattern: str) -> str:
    """A pattern without anchors (ours are always matched in full), with its escapes resolved."""
    resolved = pattern.removeprefix("^").removesuffix("$").replace("[\\w]", "\\w")
    for escape in ("0009", "000A", "000D", "0020", "00FF"):
        resolved = resolved.replace(f"\\u{escape}", chr(int(escape, 16)))
    return resolved
