"""Requests of the external key store proxy API made by hand from the specification: signed by botocore, sent by
`http.client`, nothing of the project in them."""

from __future__ import annotations

import base64
import datetime as dt
import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any, NamedTuple

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

METADATA = {
    "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
    "kmsKeyArn": "arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "kmsOperation": "Encrypt",
    "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
    "kmsViaService": "ebs",
}
"""The example of the specification, malformed ARN and all: a proxy checks nothing of it."""


def b64(data: bytes) -> str:
    """Standard Base64."""
    return base64.b64encode(data).decode()


def encrypt_body(data: bytes = b"Hello World!", aad: bytes | None = b"project=nile", **changed: Any) -> bytes:
    """A request of Encrypt; members that are changed to None are left out."""
    members: dict[str, Any] = {
        "requestMetadata": METADATA,
        "plaintext": b64(data),
        "encryptionAlgorithm": "AES_GCM",
        "additionalAuthenticatedData": None if aad is None else b64(aad),
        "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
    }
    return json.dumps({name: value for name, value in (members | changed).items() if value is not None}).encode()


def decrypt_body(sealed: dict[str, str], aad: bytes | None = b"project=nile", **changed: Any) -> bytes:
    """A request of Decrypt for an answer of Encrypt."""
    members: dict[str, Any] = {
        name: sealed[name]
        for name in ("ciphertext", "ciphertextMetadata", "initializationVector", "authenticationTag")
    }
    members |= {
        "requestMetadata": METADATA,
        "encryptionAlgorithm": "AES_GCM",
        "additionalAuthenticatedData": None if aad is None else b64(aad),
    }
    return json.dumps({name: value for name, value in (members | changed).items() if value is not None}).encode()


class Answered(NamedTuple):
    """What came back."""

    status: int
    found: dict[str, Any]
    headers: dict[str, str]

    @property
    def error(self) -> str | None:
        """The API's name of the error."""
        return self.found.get("errorName")


class ByHand:
    """Sends requests to one proxy, over one connection."""

    def __init__(self, endpoint: str, ca_file: Path, access_key_id: str, secret: str) -> None:
        self.host = endpoint.removeprefix("https://")
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._credentials = Credentials(access_key_id, secret)
        self._connection: http.client.HTTPSConnection | None = None

    def signed(
        self, path: str, body: bytes, *, method: str = "POST", service: str = "kms-xks-proxy", age: float = 0.0,
        region: str = "us-east-2",
    ) -> dict[str, str]:
        """The headers of a request signed with the access key."""
        moment = dt.datetime.fromtimestamp(time.time() - age, dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        request = AWSRequest(method, f"https://{self.host}{path}", data=body)
        request.context["timestamp"] = moment
        request.headers["X-Amz-Date"] = moment
        auth = SigV4Auth(self._credentials, service, region)
        signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        auth._inject_signature_to_request(request, signature)
        return {"Host": self.host, "Content-Type": "application/json", **dict(request.headers.items())}

    def send(
        self, path: str, body: bytes, headers: dict[str, str] | None = None, *, method: str = "POST"
    ) -> Answered:
        """The answer to a request, signed unless it comes with headers."""
        if self._connection is None:
            host, _, port = self.host.partition(":")
            self._connection = http.client.HTTPSConnection(host, int(port), timeout=20, context=self._context)
        sent = self.signed(path, body, method=method) if headers is None else headers
        self._connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            self._connection.putheader(name, value)
        self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body)
        response = self._connection.getresponse()
        content = response.read()
        if response.will_close:
            self.close()
        is_json = response.headers.get_content_type() == "application/json" and method != "HEAD"
        found = json.loads(content) if is_json else {}
        return Answered(response.status, found, {name.lower(): value for name, value in response.headers.items()})

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
