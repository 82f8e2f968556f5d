"""What is measured: a fresh server over mutual TLS with a key, and the echo beside it with the same certificates."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.governed import GOVERNED_CONTEXT, IDENTITY_POLICY, KEY_POLICIES, make_grants
from kagitori.kms.v1 import (
    admin_service_pb2_grpc,
    batch_pb2,
    credentials_pb2,
    cryptography_pb2,
    identity_policies_pb2,
    key_service_pb2_grpc,
    keys_pb2,
    principals_pb2,
)

SERVICE = "/kagitori.kms.v1.CryptoService/"
CALLERS = ("client", "governed")
"""Users who call by certificate: one with the plainest policy, and one whom `benchmarks.governed` gives many."""
CONTEXT = {"tenant": "t1", "application": "benchmark"}
BATCH = 256
USER_POLICY = json.dumps({
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}],
})


@dataclass(frozen=True)
class Target:
    """A server under load."""

    name: str
    address: str
    pid: int

    def cpu_seconds(self) -> float:
        """What the process has used so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Deployment:
    """Both servers, and the requests that they are sent."""

    kms: Target
    echo: Target
    kms_tls: Target
    echo_tls: Target
    folder: Path
    token: str

    @property
    def data(self) -> Path:
        """The service's data directory."""
        return self.folder / "data"

    def request(self, name: str) -> Path:
        """The file with the bytes of that request: an operation, `OPERATION.WHICH` or `OPERATION:WHICH`."""
        return self.folder / f"{name}.bin"

    def certificate(self, request: str) -> str:
        """The files of the caller of a request, without their suffixes: each `OPERATION.WHICH` is the governed
        user's."""
        return str(self.folder / CALLERS["." in request])


@contextmanager
def deployed(folder: Path, *settings: str, program: str = "kagitori_server") -> Iterator[Deployment]:
    """Starts everything in `folder`, with settings (`SECTION.NAME=VALUE`), and ends it afterwards. `program` is the
    module that serves."""
    data = folder / "data"
    server = _start(
        "-m", program, "--data-dir", str(data), "--grpc-listen", "127.0.0.1:0",
        "--grpc-mtls-listen", "127.0.0.1:0", "--log-level", "warning",
        *(word for setting in settings for word in ("--set", setting)),
    )
    echoes: list[subprocess.Popen[str]] = []
    try:
        addresses: dict[str, str] = {}
        while len(addresses) < 2:
            line = _line(server)
            if line.startswith("Listening: "):
                kind, _, address = line.removeprefix("Listening: ").partition(" on ")
                addresses[kind] = address
        for caller in CALLERS:
            _run("client-certificate", "--data-dir", str(data), "--uri", _uri(caller), "--out", str(folder / caller))
        token = (data / "credentials" / "root.token").read_text().strip()
        _prepare(addresses["grpc"], data, token, folder)
        tls = data / "tls"
        pair = (str(tls / "server.crt"), str(tls / "server.key"))
        echoes.append(_start("-m", "benchmarks.echo_server", *pair, str(tls / "ca.crt")))
        echoes.append(_start("-m", "benchmarks.echo_server", *pair))
        ports = [_line(echo) for echo in echoes]
        yield Deployment(
            kms=Target("kms", addresses["grpc_mtls"], server.pid),
            echo=Target("echo", f"127.0.0.1:{ports[0]}", echoes[0].pid),
            kms_tls=Target("kms", addresses["grpc"], server.pid),
            echo_tls=Target("echo", f"127.0.0.1:{ports[1]}", echoes[1].pid),
            folder=folder,
            token=token,
        )
    finally:
        for process in (server, *echoes):
            process.terminate()
            process.wait(30)


def _prepare(address: str, data: Path, token: str, folder: Path) -> None:
    """Makes the users who call by certificate, a key with its default policy, and the requests."""
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials((data / "tls" / "ca.crt").read_bytes()),
        grpc.access_token_call_credentials(token),
    )
    with grpc.secure_channel(address, credentials) as channel:
        admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        for caller, policy in zip(CALLERS, (USER_POLICY, IDENTITY_POLICY), strict=True):
            user = admin.CreateUser(principals_pb2.CreateUserRequest(user_name=caller)).user
            admin.PutIdentityPolicy(identity_policies_pb2.PutIdentityPolicyRequest(
                principal_arn=user.arn, policy_name="use", policy_document=policy,
            ))
            admin.RegisterCertificate(credentials_pb2.RegisterCertificateRequest(
                principal_arn=user.arn, uri_san=_uri(caller)
            ))
        keys = key_service_pb2_grpc.KeyServiceStub(channel)
        governed = {
            name: keys.CreateKey(keys_pb2.CreateKeyRequest(description=name, policy=policy)).key_metadata.key_id
            for name, policy in KEY_POLICIES.items()
        }
        key_id = keys.CreateKey(keys_pb2.CreateKeyRequest(description="benchmark")).key_metadata.key_id
    encrypt = cryptography_pb2.EncryptRequest(key_id=key_id, plaintext=b"x" * 1024, encryption_context=CONTEXT)
    requests = {
        "Encrypt": encrypt,
        "GenerateDataKey": cryptography_pb2.GenerateDataKeyRequest(
            key_id=key_id, number_of_bytes=32, encryption_context=CONTEXT
        ),
        "BatchEncrypt": batch_pb2.BatchEncryptRequest(items=[encrypt] * BATCH),
    }
    make_grants(data / "kagitori.db", governed)
    for name, key in governed.items():
        requests[f"Encrypt.{name}"] = cryptography_pb2.EncryptRequest(
            key_id=key, plaintext=b"x" * 1024, encryption_context=GOVERNED_CONTEXT
        )
    for name, request in requests.items():
        (folder / f"{name}.bin").write_bytes(request.SerializeToString())


def operation_of(request: str) -> str:
    """The operation that a request is of."""
    return re.split("[.:]", request)[0]


def _uri(caller: str) -> str:
    return f"spiffe://benchmark/{caller}"


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "kagitori_server", *arguments], check=True, stdout=subprocess.DEVNULL)


def _line(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise SystemExit("a server of the benchmark ended before it was ready")
    return line.strip()
