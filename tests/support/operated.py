"""A real server process as an operator runs it: any listeners, its log kept, its exit status looked at."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from tests.support.forked import IMPORT_ROOTS, Done, ForkedServer, run_forked

from kagitori.kms.v1 import (
    admin_service_pb2_grpc,
    credentials_pb2,
    crypto_service_pb2_grpc,
    identity_policies_pb2,
    key_service_pb2_grpc,
    principals_pb2,
)

PATIENCE = 60
PROGRAM = (sys.executable, "-m", "kagitori_server")
ALLOW_ALL = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}'
_FLAGS = {
    "--grpc-mtls-listen": "grpc_mtls",
    "--grpc-plaintext-listen": "grpc_plaintext",
    "--grpc-socket": "socket",
    "--metrics-listen": "metrics",
    "--aws-listen": "aws",
}
_numbers = itertools.count(1)


def environment(**more: str) -> dict[str, str]:
    """What a server process is given, with nothing of the outside that could configure it.

    gRPC's core is kept quiet, since it writes lines of its own to standard error beside the server's log.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KAGITORI_")}
    return {**kept, "PYTHONPATH": IMPORT_ROOTS, "GRPC_VERBOSITY": "NONE", **more}


def command(*arguments: object, cwd: Path, **variables: str) -> Done:
    """Runs `kagitori-server` to its end, in a process forked from one that has loaded it."""
    return run_forked([str(argument) for argument in arguments], cwd, environment(**variables))


def process(*arguments: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The same as a process from the start."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env=environment(**variables), timeout=PATIENCE, check=False,
    )


class Stubs:
    """The three services over one connection."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.keys: Any = key_service_pb2_grpc.KeyServiceStub(channel)
        self.crypto: Any = crypto_service_pb2_grpc.CryptoServiceStub(channel)
        self.admin: Any = admin_service_pb2_grpc.AdminServiceStub(channel)

    def whoami(self, **options: Any) -> str:
        """The ARN that calls are made as."""
        return str(self.admin.GetCallerIdentity(credentials_pb2.GetCallerIdentityRequest(), **options).arn)

    def make_user(self, name: str, policy: str = ALLOW_ALL) -> str:
        """A user that may do what `policy` says. Returns its ARN."""
        arn = str(self.admin.CreateUser(principals_pb2.CreateUserRequest(user_name=name)).user.arn)
        self.admin.PutIdentityPolicy(
            identity_policies_pb2.PutIdentityPolicyRequest(
                principal_arn=arn, policy_name="all", policy_document=policy
            )
        )
        return arn

    def make_token(self, arn: str) -> credentials_pb2.CreateTokenResponse:
        """A token of that principal."""
        made = self.admin.CreateToken(credentials_pb2.CreateTokenRequest(principal_arn=arn))
        assert isinstance(made, credentials_pb2.CreateTokenResponse)
        return made

    def __enter__(self) -> Stubs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()


class OperatedServer:
    """Starts a server and waits until it listens everywhere. A context manager that ends it.

    `anew` is for what a program inherits or does before it has loaded anything: not forked, but from the start; so is
    another `program`.
    """

    process: subprocess.Popen[str] | ForkedServer

    def __init__(
        self, data: Path, *arguments: str, listen: str = "127.0.0.1:0", anew: bool = False,
        program: Sequence[str] = PROGRAM, **variables: str,
    ) -> None:
        self.data = data
        self.stderr = data.parent / f"{data.name}-{next(_numbers)}.stderr"
        words = ["--data-dir", str(data), "--grpc-listen", listen, *arguments]
        given = environment(**variables)
        # The widest mask: modes of files have to be the server's own doing.
        with self.stderr.open("wb") as log:
            if anew or program is not PROGRAM:
                self.process = subprocess.Popen(
                    [*program, *words], stdout=subprocess.PIPE, stderr=log, text=True, env=given, umask=0
                )
            else:
                self.process = ForkedServer(words, given, stderr=log, umask=0)
        wanted = {kind for flag, kind in _FLAGS.items() if flag in arguments} | ({"grpc"} if listen else set())
        self.said: list[str] = []
        self.addresses: dict[str, str] = {}
        assert self.process.stdout is not None
        while wanted - self.addresses.keys():
            line = self.process.stdout.readline()
            if not line:
                pytest.fail(f"the server ended with {self.process.wait(PATIENCE)}: {self.log}")
            self.said.append(line.rstrip("\n"))
            if line.startswith("Listening: "):
                kind, _, address = line.removeprefix("Listening: ").strip().partition(" on ")
                self.addresses[kind] = address

    @property
    def log(self) -> str:
        """All that it wrote to standard error so far."""
        return self.stderr.read_text()

    @property
    def root_token(self) -> str:
        """The root user's token as the file has it."""
        return (self.data / "credentials" / "root.token").read_text().strip()

    def stubs(self, token: str | None = None) -> Stubs:
        """A connection over TLS with a token, the root user's unless told."""
        authority = (self.data / "tls" / "ca.crt").read_bytes()
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(authority),
            grpc.access_token_call_credentials(token or self.root_token),
        )
        return Stubs(grpc.secure_channel(self.addresses["grpc"], credentials))

    def mutual(self, prefix: Path) -> Stubs:
        """A connection with the client certificate in PREFIX.crt and PREFIX.key."""
        credentials = grpc.ssl_channel_credentials(
            (self.data / "tls" / "ca.crt").read_bytes(),
            Path(f"{prefix}.key").read_bytes(),
            Path(f"{prefix}.crt").read_bytes(),
        )
        return Stubs(grpc.secure_channel(self.addresses["grpc_mtls"], credentials))

    def plain(self, kind: str) -> Stubs:
        """A connection without TLS, by `grpc_plaintext` or `socket`; calls carry nothing."""
        address = self.addresses[kind]
        return Stubs(grpc.insecure_channel(f"unix:{address}" if kind == "socket" else address))

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.ended()

    def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.terminate()
        return self.ended()

    def ended(self) -> int:
        """Waits for its end. Returns the exit status."""
        status = self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def __enter__(self) -> OperatedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()


def bearer(token: str) -> Mapping[str, Any]:
    """Options of a call that carries a token by itself."""
    return {"metadata": (("authorization", f"Bearer {token}"),)}


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """How a call was refused: status and the reason in its ErrorInfo ("" if it never reached the service)."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    assert isinstance(error, grpc.Call)
    info = ErrorInfo()
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if details is not None:
        assert Status.FromString(bytes(details)).details[0].Unpack(info)
    return error.code(), info.reason
