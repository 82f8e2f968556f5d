"""What botocore signs, in headers and query strings, is what is verified; and nothing else is."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from tests.support.aws_endpoint import PresignedPost

from kagitori_keystore import sigv4
from kagitori_server.authn.sigv4 import EXPIRES_MAX, is_signature_parameter, read_signed
from kagitori_server.model.call import SignedRequest
from kagitori_server.model.errors import (
    IncompleteSignatureException,
    InvalidSignatureException,
    KmsError,
    MissingAuthenticationTokenException,
)

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12)
VALUES = st.lists(TEXT, max_size=3).map("   ".join)
NAMES = st.text(max_size=6).filter(lambda name: not is_signature_parameter(name))
PARAMETERS = st.dictionaries(NAMES, st.text(max_size=8))


def signed(
    auth: type[Any], body: bytes, values: dict[str, str], parameters: dict[str, str], token: str | None = None,
    **options: Any,
) -> tuple[str, list[tuple[str, str]], list[tuple[str, str]]]:
    """(method, query, headers) of a request that botocore signed."""
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters.items())
    in_query = auth is PresignedPost
    request = AWSRequest("POST", f"https://kms.example:8443/?{query}", data=b"" if in_query else body, headers={
        "Host": "kms.example:8443", "X-Amz-Target": "TrentService.Encrypt", **values,
    })
    if in_query:
        options["body"] = body
    auth(Credentials("AKIAIOSFODNN7EXAMPLE", SECRET, token), "kms", "us-east-1", **options).add_auth(request)
    sent = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
    return "POST", sent, [(name.lower(), str(value)) for name, value in request.headers.items()]


def holds(read: SignedRequest) -> bool:
    """Whether the secret signed what was read."""
    key = sigv4.signing_key(SECRET.encode(), sigv4.Scope(read.date, read.region, read.service))
    return sigv4.signature(key, read.string_to_sign) == read.signature


@given(
    body=st.binary(max_size=40), value=VALUES, parameters=PARAMETERS,
    token=st.none() | st.text("abcXYZ019/+=", min_size=1, max_size=20),
)
def test_headers(body: bytes, value: str, parameters: dict[str, str], token: str | None) -> None:
    """With any body, header values and parameters, and a session token."""
    method, query, headers = signed(SigV4Auth, body, {"X-Custom": value}, parameters, token)
    read = read_signed(method, "/", query, headers, body, "kms")
    assert holds(read)
    assert (read.access_key_id, read.region, read.session_token) == ("AKIAIOSFODNN7EXAMPLE", "us-east-1", token)
    assert read.expires is None
    assert not holds(read_signed(method, "/", query, headers, body + b"x", "kms"))
    assert not holds(read_signed(method, "/", [*query, ("a", "")], headers, body, "kms"))


@given(
    body=st.binary(max_size=40), parameters=PARAMETERS, expires=st.integers(1, EXPIRES_MAX),
    token=st.none() | st.text("abcXYZ019/+=", min_size=1, max_size=20),
)
def test_query_strings(body: bytes, parameters: dict[str, str], expires: int, token: str | None) -> None:
    """The same, signed in the query string."""
    method, query, headers = signed(PresignedPost, body, {}, parameters, token, expires=expires)
    read = read_signed(method, "/", query, headers, body, "kms")
    assert holds(read)
    assert (read.expires, read.session_token) == (expires, token)
    assert not holds(read_signed(method, "/", query, headers, body + b"x", "kms"))
    longer = [(name, "604800" if name == "X-Amz-Expires" else value) for name, value in query]
    assert longer == query or not holds(read_signed(method, "/", longer, headers, body, "kms"))


def query_of(**changed: str | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(query, headers) of a presigned request with parameters replaced, or left out."""
    _, query, headers = signed(PresignedPost, b"{}", {}, {}, expires=60)
    named = {f"X-Amz-{name.replace('_', '-')}": value for name, value in changed.items()}
    kept = [(name, value) for name, value in query if name not in named]
    return [*kept, *((name, value) for name, value in named.items() if value is not None)], headers


@pytest.mark.parametrize("changed", [
    {"Credential": None}, {"Signature": None}, {"SignedHeaders": None}, {"Date": None}, {"Expires": None},
    {"Algorithm": "AWS4-HMAC-SHA1"}, {"Algorithm": ""}, {"Credential": "AKIA"}, {"Signature": "0" * 63},
    {"Signature": "G" * 64}, {"SignedHeaders": "x-amz-target;host"}, {"SignedHeaders": ""},
    {"SignedHeaders": "Host;x-amz-target"}, {"Date": "yesterday"}, {"Date": "20260231T000000Z"}, {"Expires": "0"},
    {"Expires": "604801"}, {"Expires": "-1"}, {"Expires": "+1"}, {"Expires": "1.5"}, {"Expires": "٣"}, {"Expires": ""},
    {"Expires": "9" * 5_000},
], ids=str)
def test_malformed_query_strings(changed: dict[str, str | None]) -> None:
    """Every part must be there, well formed and within bounds."""
    query, headers = query_of(**changed)
    with pytest.raises(IncompleteSignatureException):
        read_signed("POST", "/", query, headers, b"{}", "kms")


@pytest.mark.parametrize("changed", [
    {"SignedHeaders": "host"}, {"SignedHeaders": "x-amz-target"}, {"SignedHeaders": "host;x-amz-target;x-not-there"},
    {"Date": "20200101T000000Z"}, {"Security_Token": "x" * 5_000},
], ids=str)
def test_query_strings_that_cannot_hold(changed: dict[str, str | None]) -> None:
    """host and every x-amz- header must be covered; the scope's date is that of the request."""
    query, headers = query_of(**changed)
    with pytest.raises(InvalidSignatureException):
        read_signed("POST", "/", query, headers, b"{}", "kms")


def test_one_signature_a_request() -> None:
    """Not one in the headers and one in the query string, and no parameter of it twice."""
    query, headers = query_of()
    with pytest.raises(IncompleteSignatureException):
        read_signed("POST", "/", query, [*headers, ("authorization", "AWS4-HMAC-SHA256 x")], b"{}", "kms")
    for name, _ in query:
        with pytest.raises(IncompleteSignatureException):
            read_signed("POST", "/", [*query, (name, "x")], headers, b"{}", "kms")
    without = [(name, value) for name, value in query if name != "X-Amz-Algorithm"]
    with pytest.raises(MissingAuthenticationTokenException):
        read_signed("POST", "/", without, headers, b"{}", "kms")


@given(st.lists(st.tuples(
    st.sampled_from(["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature",
                     "X-Amz-SignedHeaders", "X-Amz-Security-Token", "other"]),
    st.text(max_size=30) | st.sampled_from([
        "AWS4-HMAC-SHA256", "A/20260101/us-east-1/kms/aws4_request", "20260101T000000Z", "60", "0" * 64, "host",
    ]),
), max_size=9))
def test_no_query_string_breaks_the_reader(query: list[tuple[str, str]]) -> None:
    """Whatever comes, it is read or refused in the vocabulary."""
    with contextlib.suppress(KmsError):
        assert read_signed("POST", "/", query, [("host", "h")], b"", "kms").service == "kms"
