"""The query protocol: parameters to members, answers and failures to the XML that AWS's SDKs parse."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import botocore.session
import pytest
from botocore.parsers import QueryParser
from tests.support.inprocess import START

from kagitori_server.model import errors, neighbour_errors
from kagitori_server.model.errors import KmsError, SerializationException, every_error
from kagitori_server.model.neighbour_errors import every_neighbour_error
from kagitori_server.model.shape import Shape
from kagitori_server.operations.neighbour_table import STS
from kagitori_server.operations.shapes import sts as shapes
from kagitori_server.operations.shapes.access_keys import SessionCredentials
from kagitori_server.transports.awsjson.messages import Received, Written
from kagitori_server.transports.awsjson.neighbours import NEIGHBOUR_SERVICES
from kagitori_server.transports.awsjson.query_failures import told_as

SERVICE = next(service for service in NEIGHBOUR_SERVICES if service.signing_name == STS)
MODEL: Any = botocore.session.get_session().get_service_model("sts")
ROLE = ("RoleArn", "arn:aws:iam::000000000000:role/worker"), ("RoleSessionName", "s1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A shape within another."""

    text: str | None = None
    number: int | None = None
    truth: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """A shape of all types."""

    text: str | None = None
    number: int | None = None
    truth: bool | None = None
    time: float | None = None
    blob: bytes | None = None
    texts: tuple[str, ...] = ()
    inner: Inner | None = None


def read(shape: type[Any], *parameters: tuple[str, str]) -> Any:
    return SERVICE.codec.reader(SERVICE, "AssumeRole", shape)(Received(b"", parameters))


def parsed(written: Written, operation: str) -> Any:
    """What botocore reads."""
    response = {
        "headers": {name.decode(): value.decode() for name, value in written.headers},
        "status_code": written.status, "body": written.body,
    }
    return QueryParser().parse(response, MODEL.operation_model(operation).output_shape)


def test_members() -> None:
    """Structures, lists in the order of their numbers, empty ones; what the shape doesn't have is ignored."""
    found = read(
        shapes.AssumeRoleRequest, ("Action", "AssumeRole"), ("Version", "2011-06-15"), *ROLE,
        ("Tags.member.2.Key", "b"), ("Tags.member.2.Value", ""), ("Tags.member.1.Key", "a"),
        ("Tags.member.1.Value", "x.y"), ("Tags.member.10.Key", "c"), ("Tags.member.10.Value", "é"),
        ("DurationSeconds", "900"), ("TransitiveTagKeys", ""), ("Unknown.member.1", "x"), ("roleArn", "y"),
    )
    request = Shape(shapes.AssumeRoleRequest).build(found)
    assert (request.role_arn, request.duration_seconds, request.transitive_tag_keys) == (ROLE[0][1], 900, ())
    assert [(tag.key, tag.value) for tag in request.tags] == [("a", "x.y"), ("b", ""), ("c", "é")]


def test_types() -> None:
    assert read(
        Everything, ("Number", "-12"), ("Truth", "true"), ("Time", "2026-01-01T00:00:00.5Z"), ("Blob", "AAE="),
        ("Texts.member.1", "a"), ("Inner.Text", ""), ("Inner.Truth", "false"),
    ) == {
        "number": -12, "truth": True, "time": 1767225600.5, "blob": b"\x00\x01", "texts": ["a"],
        "inner": {"text": "", "truth": False},
    }


@pytest.mark.parametrize(
    "parameters",
    [
        [("Number", "1.0")], [("Number", "")], [("Number", "0x10")], [("Number", "9" * 19)], [("Truth", "True")],
        [("Time", "1767225600")], [("Time", "2026-13-01T00:00:00Z")], [("Blob", "*")], [("Text.Inner", "x")],
        [("Inner", "x")], [("Texts", "x")], [("Texts.member", "x")], [("Texts.1", "x")], [("Texts.member.0", "x")],
        [("Texts.member.x", "x")], [("Texts.member.10000", "x")], [("Texts.member.1.Key", "x")],
        [("Texts.member.1", "a"), ("Texts.other", "b")], [("Inner", "x"), ("Inner.Text", "y")],
        [("Inner.Text", "y"), ("Inner", "x")], [("Inner." * 9 + "Text", "x")], [("a" + "." * 500, "x")],
    ],
)
def test_parameters_that_cannot_be_read(parameters: Sequence[tuple[str, str]]) -> None:
    """Whatever is wrong, the values aren't quoted."""
    with pytest.raises(SerializationException) as caught:
        read(Everything, *parameters)
    assert caught.value.__cause__ is None


def test_an_answer() -> None:
    """Escaped; characters that XML can't hold are replaced; what is None isn't there."""
    strange = "<a href=\"x\">&amp;]]></a>\u00e9\U0001f511"
    answer = shapes.AssumeRoleResponse(
        credentials=SessionCredentials(
            access_key_id="ASIA", secret_access_key="s<&>", session_token="t\x00\x0b\ud800", expiration=START,
        ),
        assumed_role_user=shapes.AssumedRoleUser(assumed_role_id=strange, arn="arn"),
        packed_policy_size=0, source_identity=None, session_token_utilization=2, session_token_size=47,
    )
    written = SERVICE.codec.writer(SERVICE, "AssumeRole", shapes.AssumeRoleResponse)(answer, "request<1>")
    assert (written.status, dict(written.headers)) == (200, {b"content-type": b"text/xml"})
    assert b"s<&>" not in repr(written).encode()
    found = parsed(written, "AssumeRole")
    assert found["AssumedRoleUser"] == {"AssumedRoleId": strange, "Arn": "arn"}
    assert found["Credentials"]["SecretAccessKey"] == "s<&>"
    assert found["Credentials"]["SessionToken"] == "t\ufffd\ufffd\ufffd"
    assert found["Credentials"]["Expiration"] == dt.datetime.fromtimestamp(START, dt.UTC)
    assert (found["PackedPolicySize"], found["SessionTokenSize"]) == (0, 47)
    assert "SourceIdentity" not in found
    assert found["ResponseMetadata"]["RequestId"] == "request<1>"
    assert b'<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>' in written.body


def test_lists_in_answers() -> None:
    """In elements called member, as the protocol has them."""
    written = SERVICE.codec.writer(SERVICE, "X", Everything)(
        Everything(texts=("a", "<"), truth=True, blob=b"\x00", inner=Inner(number=1)), "r"
    )
    body = written.body.decode()
    assert "<Texts><member>a</member><member>&lt;</member></Texts>" in body
    assert "<Truth>true</Truth>" in body
    assert "<Blob>AA==</Blob>" in body
    assert "<Inner><Number>1</Number>" in body
    with pytest.raises(TypeError):
        SERVICE.codec.writer(SERVICE, "X", Everything)("something else", "r")


@pytest.mark.parametrize("kind", [*every_error(), *every_neighbour_error()], ids=lambda kind: kind.__name__)
def test_every_failure(kind: type[KmsError]) -> None:
    """botocore reads code, message, whose fault it is and the request id."""
    error = kind() if kind is errors.DryRunOperationException else kind("<why> & \x00", retry_after=1.2)
    written = SERVICE.codec.failure(error, "request-1")
    found = parsed(written, "AssumeRole")
    code, status = told_as(error)
    assert found["Error"]["Code"] == code
    assert found["Error"]["Type"] == ("Receiver" if written.status >= 500 else "Sender")
    assert written.status == status
    assert not code.endswith("Exception") or kind is neighbour_errors.ExpiredIdentityTokenException
    assert kind is errors.DryRunOperationException or found["Error"]["Message"] == "<why> & \ufffd"
    assert found["ResponseMetadata"]["RequestId"] == "request-1"
    assert (status >= 500) == (b"Receiver" in written.body)


def test_failures_of_the_model() -> None:
    """Have the codes and statuses that AWS's model of STS says."""
    theirs = {
        shape.name: (shape.metadata["error"]["code"], shape.metadata["error"]["httpStatusCode"])
        for name in ("AssumeRole", "AssumeRoleWithWebIdentity")
        for shape in MODEL.operation_model(name).error_shapes
    }
    for name, wanted in theirs.items():
        if name in ("RegionDisabledException", "InvalidContextAssertionException"):
            continue  # the Regions that are served are served, and contexts that others assert are refused
        kind = getattr(neighbour_errors, name, None) or getattr(errors, name)
        if name == "ExpiredTokenException":
            kind = neighbour_errors.ExpiredIdentityTokenException
        assert told_as(kind("")) == wanted
