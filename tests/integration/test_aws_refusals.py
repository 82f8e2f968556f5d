"""What the AWS endpoint refuses: signatures, bodies, targets and HTTP that isn't as it should be, by hand over TLS."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.aws_endpoint import JSON, AccessKey, Endpoint, Signed, presign, read_answer, running_endpoint, sign
from tests.support.inprocess import ALLOW_ALL, HOME
from tests.support.whole_server import Caller

MANY = 200
LIST = "ListKeys"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One server for all tests here; whatever they do to it, it ends well."""
    with running_endpoint(tmp_path_factory.mktemp("aws") / "data") as running:
        yield running
        assert running.client().list_keys()["Keys"] == []


@pytest.fixture(scope="module")
def session(endpoint: Endpoint) -> AccessKey:
    """The access key of a session of a role that may do everything."""
    assumer = endpoint.call("CreateUser", user_name="assumer").user.arn
    trust = {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": assumer}, "Action": "sts:AssumeRole",
        }],
    }
    role = endpoint.call("CreateRole", role_name="r", assume_role_policy_document=json.dumps(trust)).role.arn
    endpoint.call("PutIdentityPolicy", principal_arn=role, policy_name="all", policy_document=ALLOW_ALL)
    token = endpoint.call("CreateToken", principal_arn=assumer).token
    with endpoint.server.channel(token) as channel:
        call = Caller(channel)
        given = call("AssumeRole", role_arn=role, role_session_name="s1", duration_seconds=900).credentials
    return AccessKey(given.access_key_id, given.secret_access_key, given.session_token)


def test_altered_requests(endpoint: Endpoint) -> None:
    """AWS's errors, whatever of a signed request is altered, left out or added where it has to be signed."""
    good = sign(endpoint, LIST, b"{}")
    assert endpoint.send_signed(good).status == 200
    authorization = dict(good.headers)["Authorization"]
    digit = authorization[-1]
    scope = next(part for part in authorization.split() if part.startswith("Credential=")).split("/", 1)[1]
    day = scope[:8]
    for changed, expected in (
        (Signed(b'{"Limit":1}', good.headers), "InvalidSignature"),
        (good.changed(x_amz_target="TrentService.ListAliases"), "InvalidSignature"),
        (good.changed(host="kms.example"), "InvalidSignature"),
        (good.changed(content_type="application/x-amz-json-1.0"), "InvalidSignature"),
        (good.changed(x_amz_date=f"{day}T000001Z"), "InvalidSignature"),
        (good.changed(x_amz_date="20200101T000000Z"), "InvalidSignature"),
        (good.changed(x_amz_date="yesterday"), "IncompleteSignature"),
        (good.changed(x_amz_date=None), "IncompleteSignature"),
        (good.changed(x_amz_security_token="token"), "InvalidSignature"),
        (good.changed(x_amz_other="unsigned"), "InvalidSignature"),
        (good.changed(x_amz_content_sha256="UNSIGNED-PAYLOAD"), "InvalidSignature"),
        (good.changed(authorization=None), "MissingAuthenticationToken"),
        (good.changed(authorization=authorization[:-1] + ("0" if digit != "0" else "1")), "InvalidSignature"),
        (Signed(b"{}", good.headers, "/?a=b"), "InvalidSignature"),
        *(
            (good.changed(authorization=authorization.replace(old, new)), error)
            for old, new, error in (
                ("/us-east-1/", "/us-east-2/", "InvalidSignature"), ("/kms/", "/sts/", "InvalidSignature"),
                (day, "20200101", "InvalidSignature"), ("aws4_request", "aws5_request", "IncompleteSignature"),
                ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "IncompleteSignature"),
                ("content-type;", "", "InvalidSignature"), (";x-amz-target", "", "InvalidSignature"),
                ("host;", "", "InvalidSignature"), ("host;x-amz-date", "x-amz-date;host", "IncompleteSignature"),
                ("Signature=", "Signature=0", "IncompleteSignature"),
                ("Signature=", "Signatur=", "IncompleteSignature"),
                (", Signature", ", A=b, Signature", "IncompleteSignature"),
                ("SignedHeaders=", "SignedHeaders=a;", "InvalidSignature"),
                ("Credential=", "Credential=A", "UnrecognizedClient"),
                (endpoint.root.id, "test", "UnrecognizedClient"), (authorization, "Bearer x", "IncompleteSignature"),
                (authorization, "x" * 9_000, "IncompleteSignature"),
            )
        ),
    ):
        answer = endpoint.send_signed(changed)
        assert (answer.status, answer.error) == (400, f"{expected}Exception"), changed
        assert answer.headers["content-type"] == JSON
        assert answer.headers["x-amzn-requestid"]


def test_what_else_may_be_signed(endpoint: Endpoint) -> None:
    """A Host header without the port, the hash of the body as a header, other headers, JSON 1.0, parameters."""
    for request in (
        sign(endpoint, LIST, b"{}", host="kms.us-east-1.amazonaws.com"),
        sign(endpoint, LIST, b"{}", host=endpoint.address[0]),
        sign(endpoint, LIST, b"{}", more={"X-Custom": "  a   b  "}),
        sign(endpoint, LIST, b"{}", more={"Content-Type": f"{JSON}; charset=utf-8"}),
        sign(endpoint, LIST, b"{}", more={"Content-Type": "application/x-amz-json-1.0"}),
        sign(endpoint, LIST, b"{}").changed(user_agent="x" * 2_000, accept_encoding="gzip", x_amzn_trace_id="t"),
        sign(endpoint, LIST, b"{}", age=250), sign(endpoint, LIST, b"{}", age=-250),
    ):
        assert endpoint.send_signed(request).status == 200, request


def test_clocks_that_differ(endpoint: Endpoint) -> None:
    """Five minutes, either way, and AWS's words."""
    for age, words in ((310, "Signature expired: "), (-310, "Signature not yet current: ")):
        answer = endpoint.send_signed(sign(endpoint, LIST, b"{}", age=age))
        assert (answer.status, answer.error) == (400, "InvalidSignatureException")
        assert answer.found["message"].startswith(words)
        assert "5 min.)" in answer.found["message"]


def test_access_keys_that_do_not_count(endpoint: Endpoint) -> None:
    """Wrong secrets, unknown ones, ones that were switched off, Regions that aren't served, users without policies."""
    root, user = endpoint.root, endpoint.new_user("nobody")
    for key, expected in (
        (AccessKey(root.id, "x" * 43), "InvalidSignatureException"),
        (AccessKey("AKIAIOSFODNN7EXAMPLE", root.secret), "UnrecognizedClientException"),
        (AccessKey(root.id, root.secret, "token"), "UnrecognizedClientException"),
        (user, "AccessDeniedException"),
    ):
        assert endpoint.send_signed(sign(endpoint, LIST, b"{}", key)).error == expected
    answer = endpoint.send_signed(sign(endpoint, LIST, b"{}", user))
    assert answer.found["Message"].startswith(f"User: arn:aws:iam::{HOME}:user/nobody is not authorized")
    assert "message" not in answer.found
    endpoint.call("UpdateAccessKey", access_key_id=user.id, status="ACCESS_KEY_STATUS_INACTIVE")
    assert endpoint.send_signed(sign(endpoint, LIST, b"{}", user)).error == "UnrecognizedClientException"
    for request in (sign(endpoint, LIST, b"{}", region="eu-west-9"), sign(endpoint, LIST, b"{}", service="sts")):
        assert endpoint.send_signed(request).error == "InvalidSignatureException"


def test_session_tokens(endpoint: Endpoint, session: AccessKey) -> None:
    """Needed, and the right one; not for the session's long-lived friend."""
    assert endpoint.client(session).list_keys()["Keys"] == []
    assert endpoint.send_signed(presign(endpoint, LIST, b"{}", session)).status == 200
    token = str(session.token)
    for bad in (None, token[:-1] + ("A" if token[-1] != "A" else "B"), token + "x", "x" * 5_000):
        answer = endpoint.send_signed(sign(endpoint, LIST, b"{}", AccessKey(session.id, session.secret, bad)))
        expected = "InvalidSignatureException" if bad == "x" * 5_000 else "UnrecognizedClientException"
        assert answer.error == expected, bad
    unsigned = sign(endpoint, LIST, b"{}", AccessKey(session.id, session.secret)).changed(x_amz_security_token=token)
    assert endpoint.send_signed(unsigned).error == "InvalidSignatureException"
    last = endpoint.records()[-5:]
    assert {record["errorCode"] for record in last} == {"UnrecognizedClientException", "InvalidSignatureException"}
    assert token not in json.dumps(endpoint.records())


def test_signatures_in_the_query_string(endpoint: Endpoint) -> None:
    """Good for as long as they say; one signature a request."""
    good = presign(endpoint, LIST, b"{}")
    assert endpoint.send_signed(good).status == 200
    signature = good.target.rpartition("X-Amz-Signature=")[2]
    for target, expected in (
        (good.target.replace("X-Amz-Expires=60", "X-Amz-Expires=61"), "InvalidSignature"),
        (good.target.replace("X-Amz-Expires=60", "X-Amz-Expires=604801"), "IncompleteSignature"),
        (good.target.replace(signature, "0" * 64), "InvalidSignature"),
        (good.target + "&a=b", "InvalidSignature"),
        (good.target + "&X-Amz-Expires=60", "IncompleteSignature"),
        (good.target.replace("X-Amz-Algorithm", "X-Amz-Algo"), "MissingAuthenticationToken"),
    ):
        answer = endpoint.send_signed(Signed(b"{}", good.headers, target))
        assert (answer.status, answer.error) == (400, f"{expected}Exception"), target
    assert endpoint.send_signed(Signed(b'{"Limit":1}', good.headers, good.target)).error == "InvalidSignatureException"
    both = Signed(b"{}", [*good.headers, ("Authorization", "AWS4-HMAC-SHA256 x")], good.target)
    assert endpoint.send_signed(both).error == "IncompleteSignatureException"
    short = presign(endpoint, LIST, b"{}", expires=1)
    time.sleep(2.1)
    answer = endpoint.send_signed(short)
    assert answer.error == "InvalidSignatureException"
    assert answer.found["message"].startswith("Signature expired: ")


@pytest.mark.parametrize(("body", "expected"), [
    (b"", "Serialization"), (b"{", "Serialization"), (b"[]", "Serialization"), (b"null", "Serialization"),
    (b'{"KeyId":"a","KeyId":"b"}', "Serialization"), (b'{"KeyId":7}', "Serialization"), (b"{}", "Validation"),
    (b'{"KeyId":"a","Plaintext":"a"}', "Serialization"), (b'{"KeyId":"a","Plaintext":""}', "Validation"),
    (b'{"KeyId":null,"Plaintext":"aGk="}', "Validation"), (b'{"KeyId":"' + b"a" * 3_000 + b'"}', "Validation"),
    (b"[" * 50_000, "Serialization"), (b'{"KeyId":"\xff"}', "Serialization"), (b"<a/>", "Serialization"),
    (b'{"KeyId":"alias/none","Plaintext":"aGk=","Other":{"a":[1]}}', "NotFound"),
])
def test_bodies(endpoint: Endpoint, body: bytes, expected: str) -> None:
    """Refused after the caller is known, and recorded."""
    answer = endpoint.send_signed(sign(endpoint, "Encrypt", body))
    assert (answer.status, answer.error) == (400, f"{expected}Exception")
    stranger = sign(endpoint, "Encrypt", body, AccessKey("AKIAIOSFODNN7EXAMPLE", "x"))
    assert endpoint.send_signed(stranger).error == "UnrecognizedClientException"


@pytest.mark.parametrize("changed", [
    {"x_amz_target": "TrentService.Nothing"}, {"x_amz_target": "TrentService"}, {"x_amz_target": ""},
    {"x_amz_target": "Other.ListKeys"}, {"x_amz_target": "TrentService.ListKeys.x"}, {"x_amz_target": None},
    {"x_amz_target": "trentservice.listkeys"}, {"x_amz_target": "TrentService.CreateUser"},
    {"x_amz_target": "TrentService.BatchEncrypt"}, {"x_amz_target": "TrentService.proxied Encrypt"},
    {"content_type": "application/json"}, {"content_type": None}, {"content_type": "text/plain"},
])
def test_requests_for_nothing(endpoint: Endpoint, changed: dict[str, str | None]) -> None:
    """Operations of AWS KMS alone are served here, as AWS JSON."""
    answer = endpoint.send_signed(sign(endpoint, LIST, b"{}").changed(**changed))
    assert (answer.status, answer.error) == (400, "UnknownOperationException")


@pytest.mark.parametrize("body", [b"{}", b" " * 100_000], ids=["small", "large"])
def test_who_asks_for_nothing_is_recorded_if_signed(endpoint: Endpoint, body: bytes) -> None:
    """By anybody's access key, rightly or wrongly; a stranger who tries names leaves nothing."""
    before = len(endpoint.records())
    good = sign(endpoint, "Peek", body)
    wrong = sign(endpoint, "Peek", body, AccessKey(endpoint.root.id, "wrong"))
    for signed in (good.changed(authorization=None), good, wrong):
        answer = endpoint.send_signed(signed)
        assert (answer.status, answer.error) == (400, "UnknownOperationException")
    by_root, by_nobody = endpoint.records()[before:]
    for record, identity in ((by_root, "Root"), (by_nobody, "Unknown")):
        assert record["eventName"] == "/TrentService.Peek"
        assert record["errorCode"] == "UnknownOperationException"
        assert record["userIdentity"]["type"] == identity


@pytest.mark.parametrize(("method", "target"), [
    ("GET", "/"), ("PUT", "/"), ("DELETE", "/"), ("OPTIONS", "/"), ("POST", "/x"), ("POST", "//"), ("POST", "/%2e"),
    ("POST", "/."), ("POST", "http://kms.example/"), ("CONNECT", "kms.example:443"), ("GET", "/?Action=ListKeys"),
    ("POST", "/?X=%ff"),
])
def test_other_methods_and_paths(endpoint: Endpoint, method: str, target: str) -> None:
    """Nothing is found elsewhere."""
    answer = endpoint.send_signed(Signed(b"", sign(endpoint, LIST, b"").headers, target, method))
    assert answer.status == 400
    assert answer.error in ("UnknownOperationException", "SerializationException")


def test_load_balancers(endpoint: Endpoint) -> None:
    """GET /ping needs no signature, as at AWS's endpoints."""
    answer = endpoint.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (answer.status, answer.body) == (200, b"healthy")


def test_lengths(endpoint: Endpoint) -> None:
    """A body of 1 MiB is read, one of a byte more isn't, however it is told; nor are long heads and queries."""
    most = 1_048_576
    body = b'{"Other":"' + b"x" * (most - 12) + b'"}'
    assert len(body) == most
    assert endpoint.send_signed(sign(endpoint, LIST, body)).status == 200
    longer = sign(endpoint, LIST, body + b" ")
    chunked = longer.changed(transfer_encoding="chunked").raw(framed=False)
    head = chunked[: -len(longer.body)]
    for data in (longer.raw(), head + _chunks(longer.body), longer.raw().replace(b": 1048577", b": 99999999999")):
        answer = endpoint.send(data)
        assert (answer.status, answer.error) == (413, "RequestEntityTooLargeException")
        assert answer.headers["connection"] == "close"
    assert endpoint.send_signed(Signed(b"{}", longer.headers, "/?" + "a" * 9_000)).status == 413
    with endpoint.connect() as connection:
        connection.sendall(sign(endpoint, LIST, b"{}").changed(x_long="x" * 20_000).raw())
        assert read_answer(connection).status in (400, 431)
        assert connection.recv(1) == b""
    many = sign(endpoint, LIST, b"{}")
    many.headers += [(f"a{number}", "") for number in range(3_000)]
    assert endpoint.send_signed(many).status in (400, 431)


def _chunks(body: bytes, size: int = 60_000) -> bytes:
    parts = [body[start:start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_chunked_and_compressed_bodies(endpoint: Endpoint) -> None:
    """Chunked ones are read, as AWS does; compressed ones aren't."""
    request = sign(endpoint, LIST, b'{"Limit": 5}')
    head = request.changed(transfer_encoding="chunked").raw(framed=False)[: -len(request.body)]
    assert endpoint.send(head + _chunks(request.body, 5)).status == 200
    assert endpoint.send(head + _chunks(request.body, 1)).status == 200
    assert endpoint.send(head + b"5;ext=1\r\n{\"Lim\r\n7\r\nit\": 5}\r\n0\r\nTrailer: x\r\n\r\n").status == 200
    for encoding in ("gzip", "deflate", "br", "identity, gzip", "aws-chunked"):
        answer = endpoint.send_signed(request.changed(content_encoding=encoding))
        assert (answer.status, answer.error) == (400, "SerializationException"), encoding
    assert endpoint.send_signed(request.changed(content_encoding="identity")).status == 200


def test_heads_that_can_be_read_in_two_ways(endpoint: Endpoint) -> None:
    """Repeated, conflicting or malformed headers are refused, so nobody on the way can see another request."""
    request = sign(endpoint, LIST, b"{}")
    whole = request.raw()
    length = b"Content-Length: 2\r\n"
    assert length in whole
    date, authorization = (dict(request.headers)[name].encode() for name in ("X-Amz-Date", "Authorization"))
    for old, new in (
        (length, b"Content-Length: 2\r\nContent-Length: 3\r\n"), (length, b"Content-Length: 2, 3\r\n"),
        (length, b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"), (length, b"Content-Length: +2\r\n"),
        (length, b"Transfer-Encoding: gzip, chunked\r\n"), (length, b"Transfer-Encoding: xchunked\r\n"),
        (length, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), (length, b"Content-Length: 0x2\r\n"),
        (length, b"Content-Length : 2\r\n"), (length, b"Content-Length: -1\r\n"), (length, b"Content Length: 2\r\n"),
        (length, length + b"Host: other.example\r\n"), (length, length + b"X-Amz-Date: " + date + b"\r\n"),
        (length, length + b"X-Amz-Target: TrentService.ListAliases\r\n"), (length, length + b"X-A\x00: b\r\n"),
        (length, length + b"Content-Type: text/plain\r\n"), (length, length + b": b\r\n"),
        (length, length + b"Authorization: " + authorization + b"\r\n"), (b"Host: ", b"Hostess: "),
        (length, length + b"X-A: b\x00c\r\n"), (b" HTTP/1.1\r\n", b" HTTP/3.0\r\n"), (b" HTTP/1.1\r\n", b"\r\n"),
        (b"POST / ", b"POST /\x00 "), (b"POST / ", b"POST  / "), (b"POST / ", b"PO ST / "),
    ):
        assert old in whole
        answer = endpoint.send(whole.replace(old, new, 1))
        assert answer.status in (400, 501), new
        assert answer.headers["connection"] == "close", new
    # A line that is folded is one line, as RFC 9112 section 5.2 has it, for the signature too.
    assert endpoint.send(whole.replace(b"X-Amz-Target: ", b"X-Amz-Target:\r\n ", 1)).status == 200
    # A body that is another request is none.
    with endpoint.connect() as connection:
        connection.sendall(whole.replace(length, b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n") + whole)
        assert read_answer(connection).status == 400
        assert connection.recv(1) == b""


def test_requests_one_after_the_other(endpoint: Endpoint) -> None:
    """On one connection, also when they are sent before the answers are read; refusals don't end it."""
    good, bad = sign(endpoint, LIST, b"{}").raw(), sign(endpoint, "Nothing", b"{}").raw()
    with endpoint.connect() as connection:
        for data, status in ((good, 200), (bad, 400), (good, 200)):
            connection.sendall(data)
            assert read_answer(connection).status == status
        connection.sendall(good + bad + good)
        received = b""
        while received.count(b"HTTP/1.1 ") < 3 or received.count(b"}") < 3:
            received += connection.recv(65_536)
        assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400", b"200"]
        connection.sendall(good.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"))
        assert read_answer(connection).headers["connection"] == "close"


def test_expectations(endpoint: Endpoint) -> None:
    """Who waits to be asked for the body is asked."""
    request = sign(endpoint, LIST, b"{}")
    head = request.changed(expect="100-continue").raw()[: -len(request.body)]
    with endpoint.connect() as connection:
        connection.sendall(head)
        assert connection.recv(64).startswith(b"HTTP/1.1 100 ")
        connection.sendall(request.body)
        assert read_answer(connection).status == 200


def test_clients_that_dawdle(endpoint: Endpoint) -> None:
    """Hundreds that don't end TLS, their head or their body hold up nobody, and are let go of after some seconds."""
    half = sign(endpoint, LIST, b"{}").raw()
    silent = [socket.create_connection(endpoint.address, 20) for _ in range(MANY)]
    slow = [endpoint.connect() for _ in range(10)]
    for number, connection in enumerate(slow):
        connection.sendall(half[:40] if number % 2 else half[:-1])
    began = time.monotonic()
    for _ in range(5):
        assert endpoint.client().list_keys()["Keys"] == []
    for waiting in (*silent, *slow):
        waiting.settimeout(30)
        assert _ended(waiting)
    assert time.monotonic() - began < 25
    assert endpoint.client().list_keys()["Keys"] == []


def _ended(connection: socket.socket) -> bool:
    """Whether the other side ends the connection, with an answer or without."""
    try:
        while connection.recv(4_096):
            pass
    except (ConnectionResetError, ssl.SSLError):
        pass
    finally:
        connection.close()
    return True


def test_bytes_that_are_not_http(endpoint: Endpoint) -> None:
    """Over TLS or without, the connection ends."""
    for data in (b"\x00" * 100, b"GET\r\n\r\n", b"\x16\x03\x01" * 50, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        try:
            assert endpoint.send(data).status == 400
        except (http.client.HTTPException, OSError):
            continue
    with socket.create_connection(endpoint.address, 20) as plain:
        plain.sendall(sign(endpoint, LIST, b"{}").raw())
        assert _ended(plain)


def test_older_tls_is_refused(endpoint: Endpoint) -> None:
    """TLS 1.2 at least."""
    context = ssl.create_default_context(cafile=str(endpoint.authority))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(endpoint.address, 20) as plain, pytest.raises((ssl.SSLError, ConnectionResetError)):
        context.wrap_socket(plain, server_hostname=endpoint.address[0])


def test_refusals_are_recorded(endpoint: Endpoint) -> None:
    """With the operation, the error and what is known of the caller."""
    kms: Any = endpoint.client(AccessKey(endpoint.root.id, "x" * 43))
    with pytest.raises(ClientError):
        kms.encrypt(KeyId="alias/secret", Plaintext=b"confidential")
    record = endpoint.records()[-1]
    assert (record["eventName"], record["errorCode"]) == ("Encrypt", "InvalidSignatureException")
    assert record["userAgent"].startswith("Boto3/")
    assert record["requestParameters"] is None
