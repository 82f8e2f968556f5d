"""A running server's AWS endpoint: clients for it by boto3, requests signed by botocore, and bytes over its socket."""

from __future__ import annotations

import configparser
import datetime as dt
import hashlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from tests.support.server_process import ServerProcess
from tests.support.whole_server import Caller

REGION = "us-east-1"
JSON = "application/x-amz-json-1.1"
PATIENCE = 20
"""Seconds that an answer may take on a busy machine."""


class Answered(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def found(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Its `__type`."""
        return str(self.found["__type"])


@dataclass(frozen=True)
class AccessKey:
    """What signs."""

    id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def credentials(self) -> Credentials:
        """As botocore has it."""
        return Credentials(self.id, self.secret, self.token)


@dataclass
class Endpoint:
    """A running server, and the root user's access key from its first start."""

    server: ServerProcess
    root: AccessKey
    call: Caller
    """The root user over gRPC."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, _, port = self.server.addresses["aws"].rpartition(":")
        return host, int(port)

    @property
    def url(self) -> str:
        """For SDKs."""
        return f"https://{self.server.addresses['aws']}"

    @property
    def authority(self) -> Path:
        """The authority of its certificate."""
        return self.server.data / "tls" / "ca.crt"

    def client(self, key: AccessKey | None = None, region: str = REGION, **options: Any) -> Any:
        """A boto3 client of KMS that tries once."""
        chosen = key or self.root
        return boto3.client(
            "kms", region_name=region, endpoint_url=self.url, verify=str(self.authority),
            aws_access_key_id=chosen.id, aws_secret_access_key=chosen.secret, aws_session_token=chosen.token,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE, **options),
        )

    def new_user(self, name: str, policy: str | None = None) -> AccessKey:
        """A user's access key."""
        arn = self.call("CreateUser", user_name=name).user.arn
        if policy is not None:
            self.call("PutIdentityPolicy", principal_arn=arn, policy_name="p", policy_document=policy)
        made = self.call("CreateAccessKey", principal_arn=arn)
        return AccessKey(made.access_key.access_key_id, made.secret_access_key)

    def records(self) -> list[dict[str, Any]]:
        """The audit records, oldest first."""
        paths = sorted((self.server.data / "audit").rglob("*.jsonl"))
        return [json.loads(line)["event"] for path in paths for line in path.read_text().splitlines() if line]

    def connect(self) -> ssl.SSLSocket:
        """A connection of TLS."""
        context = ssl.create_default_context(cafile=str(self.authority))
        plain = socket.create_connection(self.address, PATIENCE)
        return context.wrap_socket(plain, server_hostname=self.address[0])

    def send(self, data: bytes) -> Answered:
        """The answer to bytes as they are, on a connection of their own."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_answer(connection)

    def send_signed(self, signed: Signed) -> Answered:
        """The answer to a request."""
        return self.send(signed.raw())


@dataclass
class Signed:
    """A request that may still be changed, which its signature then doesn't cover."""

    body: bytes
    headers: list[tuple[str, str]]
    target: str = "/"
    method: str = "POST"

    def raw(self, *, framed: bool = True) -> bytes:
        """As it goes over the wire; `framed` adds the length of the body."""
        length = [("Content-Length", str(len(self.body)))] if framed else []
        lines = "".join(f"{name}: {value}\r\n" for name, value in [*self.headers, *length])
        return f"{self.method} {self.target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + self.body

    def changed(self, **headers: str | None) -> Signed:
        """With headers of these names (`_` for `-`) replaced, added, or without them."""
        names = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        kept = [(name, value) for name, value in self.headers if name.lower() not in names]
        new = [(name, value) for name, value in names.items() if value is not None]
        return Signed(self.body, [*kept, *new], self.target, self.method)


def sign(
    endpoint: Endpoint, operation: str, body: bytes, key: AccessKey | None = None, *, age: float = 0.0,
    region: str = REGION, service: str = "kms", host: str | None = None, prefix: str = "TrentService",
    more: Mapping[str, str] | None = None,
) -> Signed:
    """A request of KMS signed by botocore, `age` seconds ago."""
    named = host or endpoint.server.addresses["aws"]
    request = AWSRequest("POST", f"https://{named}/", data=body, headers={
        "Content-Type": JSON, "X-Amz-Target": f"{prefix}.{operation}", "Host": named, **(more or {}),
    })
    auth = SigV4Auth((key or endpoint.root).credentials, service, region)
    moment = stamp(time.time() - age)
    request.context["timestamp"] = moment
    request.headers["X-Amz-Date"] = moment
    if auth.credentials.token:
        request.headers["X-Amz-Security-Token"] = auth.credentials.token
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    auth._inject_signature_to_request(request, signature)
    return Signed(body, [(name, str(value)) for name, value in request.headers.items()])


class PresignedPost(SigV4QueryAuth):  # type: ignore[misc]  # botocore has no types
    """Signs in the query string; botocore's own would move a body's members there, too."""

    def __init__(self, credentials: Credentials, service: str, region: str, *, body: bytes, expires: int) -> None:
        super().__init__(credentials, service, region, expires=expires)
        self._body = body

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002 - as in botocore
        """The hash of the body that goes along."""
        return hashlib.sha256(self._body).hexdigest()


def presign(
    endpoint: Endpoint, operation: str, body: bytes, key: AccessKey | None = None, *, expires: int = 60
) -> Signed:
    """The same, with the signature in the query string."""
    named = endpoint.server.addresses["aws"]
    headers = {"Content-Type": JSON, "X-Amz-Target": f"TrentService.{operation}", "Host": named}
    request = AWSRequest("POST", f"https://{named}/", headers=headers)
    credentials = (key or endpoint.root).credentials
    PresignedPost(credentials, "kms", REGION, body=body, expires=expires).add_auth(request)
    return Signed(body, [*headers.items()], "/?" + request.url.partition("?")[2])


def stamp(moment: float) -> str:
    """As in X-Amz-Date."""
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y%m%dT%H%M%SZ")


def read_answer(connection: socket.socket) -> Answered:
    """One answer; raises OSError or http.client.HTTPException for none."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answered(response.status, headers, response.read())


@contextmanager
def running_endpoint(
    folder: Path, arguments: Sequence[str] = (), log: Path | None = None
) -> Iterator[Endpoint]:
    """Starts a server that listens for gRPC and AWS over TLS."""
    with ServerProcess(folder, "--aws-listen", "127.0.0.1:0", *arguments, listeners=2, log=log) as server:
        file = configparser.ConfigParser()
        file.read(folder / "credentials" / "aws")
        (profile,) = file.sections()
        root = AccessKey(file[profile]["aws_access_key_id"], file[profile]["aws_secret_access_key"])
        with server.channel() as channel:
            # The channel sends the token itself.
            yield Endpoint(server, root, Caller(channel))
        assert server.terminate() == 0
