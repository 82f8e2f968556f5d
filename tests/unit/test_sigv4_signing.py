"""Signature Version 4 against AWS's published test suite, and against botocore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from kagitori_keystore import sigv4

SUITE = json.loads((Path(__file__).parents[1] / "vectors" / "aws-sigv4-suite.json").read_text())
SCOPE = sigv4.Scope(SUITE["time"][:8], SUITE["region"], SUITE["service"])
SECRET = SUITE["secret"].encode()


def signed(request: dict[str, Any]) -> str:
    """The signature of a request of the suite, every header of it signed."""
    headers = [(name, value) for name, value in request["headers"]]
    canonical = sigv4.canonical_request(
        request["method"], request["path"], request["query"], headers, sorted({name for name, _ in headers}),
        sigv4.payload_hash(request["body"].encode()),
    )
    return sigv4.signature(
        sigv4.signing_key(SECRET, SCOPE), sigv4.string_to_sign(SUITE["time"], SCOPE, canonical)
    )


@pytest.mark.parametrize("request_", SUITE["requests"], ids=lambda request: str(request["name"]))
def test_signs_as_the_published_suite(request_: dict[str, Any]) -> None:
    """Each request of AWS's suite gets the signature that AWS published."""
    assert signed(request_) == request_["signature"]


@pytest.mark.parametrize(
    ("wire", "canonical"),
    [
        ("/", "/"), ("", "/"), ("/example/..", "/"), ("/example1/example2/../..", "/"), ("/./", "/"),
        ("/./example", "/example"), ("//", "/"), ("//example//", "/example/"), ("/example space/", "/example%20space/"),
        ("/a%2Fb", "/a%252Fb"),
    ],
)
def test_normalises_paths(wire: str, canonical: str) -> None:
    """The paths of the suite's folder normalize-path, and one that is encoded on the wire."""
    assert sigv4.canonical_path(wire) == canonical


def test_joins_headers_that_repeat() -> None:
    """Values keep the order of the wire, as in the suite's get-header-key-duplicate."""
    headers = [("host", "h"), ("my-header1", " value2 "), ("my-header1", "value2"), ("my-header1", "value1")]
    canonical = sigv4.canonical_request("GET", "/", (), headers, ["host", "my-header1"], sigv4.payload_hash(b""))
    assert "\nmy-header1:value2,value2,value1\n" in canonical


@given(
    path=st.text("abcXYZ019-_./", min_size=1, max_size=40),
    body=st.binary(max_size=80),
    secret=st.text("abcXYZ019+/=", min_size=43, max_size=64),
)
def test_signs_as_botocore(path: str, body: bytes, secret: str) -> None:
    """Whatever the path, body and secret, botocore signs the same."""
    request = AWSRequest("POST", f"https://proxy.example:8443/{path}", data=body)
    request.context["timestamp"] = SUITE["time"]
    request.headers["X-Amz-Date"] = SUITE["time"]
    auth = SigV4Auth(Credentials("AKIDEXAMPLE", secret), "kms-xks-proxy", "eu-west-1")
    theirs = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)

    scope = sigv4.Scope(SUITE["time"][:8], "eu-west-1", "kms-xks-proxy")
    headers = [("host", "proxy.example:8443"), ("x-amz-date", SUITE["time"])]
    canonical = sigv4.canonical_request(
        "POST", f"/{path}", (), headers, ["host", "x-amz-date"], sigv4.payload_hash(body)
    )
    key, text = sigv4.signing_key(secret.encode(), scope), sigv4.string_to_sign(SUITE["time"], scope, canonical)
    assert sigv4.signature(key, text) == theirs
    ready = sigv4.prepared(key)
    assert [sigv4.prepared_signature(ready, text) for _ in range(2)] == [theirs, theirs]
