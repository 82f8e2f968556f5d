"""A server process for tests, and what talks to it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from kagitori.kms.v1.credentials_pb2 import CreateAccessKeyRequest, CreateTokenRequest, GetCallerIdentityRequest
from kagitori.kms.v1.dev_pb2 import (
    AdvanceClockRequest,
    ClearFaultsRequest,
    FaultKind,
    GetClockRequest,
    InjectFaultRequest,
)
from kagitori.kms.v1.principals_pb2 import CreateAccountRequest
from kagitori_client.aws_endpoint import ENDPOINT_VARIABLES
from kagitori_client.calls import DEFAULT_TIMEOUT, Retries
from kagitori_client.client import AsyncKmsClient, Connection, KmsClient
from kagitori_client.errors import KagitoriError
from kagitori_client.settings import Settings, from_environment, write_private
from kagitori_client.testing.processes import Nursery, ServerProcess

READY_SECONDS = 60.0
"""How long a start may take on a machine that is busy."""
STOP_SECONDS = 30.0
ADVANCE_SECONDS = 120.0
"""How long it may take to do what falls due when the clock is moved."""
_SERVER_MODULE, _SERVER_PROGRAM = "kagitori_server", "kagitori-server"


class NotStarted(KagitoriError):
    """The server isn't installed, or ended before it was ready; the message has what it said."""


@dataclass(frozen=True)
class Aws:
    """What AWS SDKs and the AWS CLI need to call a server as somebody: `boto3.client("kms", **aws.for_boto3)`."""

    endpoint_url: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)

    @property
    def for_boto3(self) -> dict[str, str]:
        """Arguments of a client or resource of boto3."""
        return {
            "endpoint_url": self.endpoint_url, "region_name": self.region, "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Variables for processes and for other SDKs."""
        return {
            **dict.fromkeys(ENDPOINT_VARIABLES, self.endpoint_url),
            "AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }


@dataclass(frozen=True)
class Account:
    """Somebody who calls a server: its administrator, or the root user of an account that is one's own."""

    endpoint: str
    environment: Mapping[str, str]
    """The variables that clients and the command line read."""
    folder: Path = field(repr=False)
    """For files that go away with the server."""
    clients: ExitStack = field(repr=False)

    @cached_property
    def client(self) -> KmsClient:
        """The client, made when it is first asked for and closed in the end."""
        return self.clients.enter_context(self.new_client())

    def new_client(self, *, timeout: float = DEFAULT_TIMEOUT, retries: Retries | None = None) -> KmsClient:
        """Another client. Whoever asks for it closes it. `Retries(attempts=1)` shows each failure."""
        connection = Connection.from_settings(self._settings)
        return KmsClient(connection, region=self._settings.region, timeout=timeout, retries=retries)

    def new_async_client(self, *, timeout: float = DEFAULT_TIMEOUT, retries: Retries | None = None) -> AsyncKmsClient:
        """The same for asyncio, made within the event loop that uses it."""
        connection = Connection.from_settings(self._settings)
        return AsyncKmsClient(connection, region=self._settings.region, timeout=timeout, retries=retries)

    @cached_property
    def arn(self) -> str:
        """Who this is."""
        return self.client.admin.GetCallerIdentity(GetCallerIdentityRequest()).arn

    @property
    def account_id(self) -> str:
        """The account, 12 digits."""
        return self.arn.split(":")[4]

    @cached_property
    def aws(self) -> Aws:
        """The same caller by AWS's protocol, with an access key that is made when this is first asked for.

        Raises ServiceError where this caller may make none, and for sessions of roles.
        """
        made = self.client.admin.CreateAccessKey(CreateAccessKeyRequest(principal_arn=self.arn))
        return self._aws(made.access_key.access_key_id, made.secret_access_key)

    def _aws(self, access_key_id: str, secret: str) -> Aws:
        return Aws(
            self.environment["KAGITORI_AWS_ENDPOINT"], self.environment["KAGITORI_REGION"], access_key_id, secret
        )

    @property
    def token(self) -> str:
        """The token that this caller shows."""
        return self.token_file.read_text("ascii").strip()

    @property
    def token_file(self) -> Path:
        """The file that holds it."""
        return Path(self.environment["KAGITORI_TOKEN_FILE"])

    @property
    def ca_file(self) -> Path:
        """The authority that the server's certificate is from."""
        return Path(self.environment["KAGITORI_CA_FILE"])

    @cached_property
    def _settings(self) -> Settings:
        return from_environment(self.environment)


@dataclass(frozen=True)
class Service(Account):
    """A running server, as its administrator."""

    process: ServerProcess = field(repr=False, kw_only=True)
    access_key: tuple[str, str] = field(repr=False, kw_only=True)
    """Its id and secret."""

    @cached_property
    def aws(self) -> Aws:
        """The administrator by AWS's protocol: access key `test`, secret `test`, unless the arguments say otherwise."""
        return self._aws(*self.access_key)

    def new_account(self, account_id: str | None = None, name: str = "test") -> Account:
        """An account of one's own, as its root user; nobody else's keys are in it. A free id when none is given."""
        made = self.client.admin.CreateAccount(CreateAccountRequest(account_id=account_id, name=name)).account
        return self.as_principal(f"arn:{self.arn.split(':')[1]}:iam::{made.account_id}:root")

    def as_principal(self, arn: str, session_name: str | None = None) -> Account:
        """Somebody who is there already. Roles need a name for their session."""
        request = CreateTokenRequest(principal_arn=arn, session_name=session_name)
        return self.with_token(self.client.admin.CreateToken(request).token)

    def with_token(self, token: str) -> Account:
        """Whoever shows a token, such as one that the seed fixed."""
        file = self.folder / f"{len(list(self.folder.iterdir()))}-{threading.get_ident()}.token"
        write_private(file, f"{token}\n".encode("ascii"))
        return Account(
            self.endpoint, {**self.environment, "KAGITORI_TOKEN_FILE": str(file)}, self.folder, self.clients
        )

    def now(self) -> datetime:
        """What the server's clock shows."""
        return self.client.dev.GetClock(GetClockRequest()).now.ToDatetime(UTC)

    def advance(self, duration: timedelta | None = None, **parts: float) -> datetime:
        """Moves the server's clock, `advance(days=7)` for example; what is due has happened when this returns.

        Answers what the clock shows then. Every test that uses this server sees it: take one of your own.
        """
        distance = timedelta(**parts) if duration is None else duration
        request = AdvanceClockRequest(seconds=round(distance.total_seconds()))
        return self.client.dev.AdvanceClock(request, timeout=ADVANCE_SECONDS).now.ToDatetime(UTC)

    @contextmanager
    def fault(
        self, kind: str, *, operation: str | None = None, account_id: str | None = None, region: str | None = None,
        key_id: str | None = None, calls: int | None = None, delay: float | None = None,
    ) -> Iterator[str]:
        """Lets calls go wrong while the block runs: `throttling`, `latency`, `key_store_loss`, `region_loss`.

        Of those that fit all that is given, `calls` many or all; `delay` in seconds is how late answers are, or what
        callers are told to wait. Gives the fault's id.
        """
        request = InjectFaultRequest(
            kind=FaultKind.Value(f"FAULT_KIND_{kind.upper()}"), operation=operation, account_id=account_id,
            region=region, key_id=key_id, calls=calls,
            delay_milliseconds=None if delay is None else round(delay * 1_000),
        )
        fault_id = self.client.dev.InjectFault(request).fault.fault_id
        try:
            yield fault_id
        finally:
            self.clear_faults(fault_id)

    def clear_faults(self, fault_id: str | None = None) -> None:
        """Ends a fault, whether or not it has ended by itself, or all."""
        try:
            self.client.dev.ClearFaults(ClearFaultsRequest(fault_id=fault_id))
        except KagitoriError as error:
            if getattr(error, "code", None) != "NotFoundException":
                raise


class Start:
    """A server on its way, which runs until `close`."""

    def __init__(
        self, seed: Path | None = None, data_dir: Path | None = None, arguments: Sequence[str] = (),
        nursery: Nursery | None = None,
    ) -> None:
        """Doesn't wait, but for the nursery. Raises NotStarted when there is no program to start."""
        command = ["dev", "--while-stdin-is-open"]
        if not any(argument.partition("=")[0] == "--aws-listen" for argument in arguments):
            command += ["--aws-listen", "127.0.0.1:0"]
        if seed is not None:
            command += ["--seed", str(seed)]
        if data_dir is not None:
            command += ["--data-dir", str(data_dir)]
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(TemporaryDirectory(prefix="kagitori-test-")))
            self._said = stack.enter_context((self._folder / "server.log").open("w+b"))
            self._process = stack.enter_context(_process([*command, *arguments], self._said, nursery))
            self._stack = stack.pop_all()

    def ready(self) -> Service:
        """The server, once it is. Raises NotStarted."""
        told = _ready(self._process, self._said)
        environment = {name: value for name, value in told.items() if name.startswith("KAGITORI_")}
        access_key = (told["AWS_ACCESS_KEY_ID"], told["AWS_SECRET_ACCESS_KEY"])
        tokens = self._folder / "tokens"
        tokens.mkdir(mode=0o700)
        clients = self._stack.enter_context(ExitStack())
        return Service(
            environment["KAGITORI_ENDPOINT"], environment, tokens, clients, process=self._process,
            access_key=access_key,
        )

    def close(self) -> None:
        """Ends clients and server, and removes what they had."""
        self._stack.close()


@contextmanager
def running(
    *, seed: Path | None = None, data_dir: Path | None = None, arguments: Sequence[str] = (),
    nursery: Nursery | None = None,
) -> Iterator[Service]:
    """A server of one's own, ready, which ends with the block or with this process, however that comes about.

    It listens on a free port of the loopback interface. Its data are in a temporary folder, or in `data_dir`, where
    they stay. `arguments` are more of those of `kagitori-server dev`. Whoever starts many has them forked from a
    `nursery` (see the function of this name), which saves most of the time. Raises NotStarted.
    """
    with closing(Start(seed, data_dir, arguments, nursery)) as start:
        yield start.ready()


@contextmanager
def nursery() -> Iterator[Nursery | None]:
    """A process to start servers from while the block runs. None where the server belongs to another Python."""
    if importlib.util.find_spec(_SERVER_MODULE) is None:
        yield None
        return
    with closing(Nursery(_environment())) as found:
        yield found


class Spare:
    """Servers for those who each want a fresh one: the next starts while one is in use."""

    def __init__(self, wanted: int, nursery: Nursery | None = None) -> None:
        """`wanted` is how many will be asked for, so that none is started in vain."""
        self._wanted = wanted
        self._nursery = nursery
        self._next: Start | None = None
        self._what: tuple[Path | None, tuple[str, ...]] = (None, ())

    @contextmanager
    def running(self, seed: Path | None, arguments: Sequence[str]) -> Iterator[Service]:
        """As the function of this name."""
        what = (seed, tuple(arguments))
        if self._next is not None and self._what != what:
            self.close()
        start, self._next = self._next or Start(seed, arguments=arguments, nursery=self._nursery), None
        with closing(start):
            service = start.ready()
            self._wanted -= 1
            if self._wanted > 0:
                self._next, self._what = Start(seed, arguments=arguments, nursery=self._nursery), what
            yield service

    def close(self) -> None:
        """Ends what nobody asked for."""
        if self._next is not None:
            self._next.close()
            self._next = None


def _program() -> list[str]:
    """This environment's server, or else the one on the PATH. Raises NotStarted."""
    if importlib.util.find_spec(_SERVER_MODULE) is not None:
        return [sys.executable, "-P", "-m", _SERVER_MODULE]
    found = shutil.which(_SERVER_PROGRAM)
    if found is None:
        raise NotStarted("the server is not installed", hint="pip install 'kagitori-kms[testing]'")
    return [found]


@contextmanager
def _process(arguments: Sequence[str], said: IO[bytes], nursery: Nursery | None) -> Iterator[ServerProcess]:
    process = _started(arguments, said, nursery)
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _started(arguments: Sequence[str], said: IO[bytes], nursery: Nursery | None) -> ServerProcess:
    if nursery is not None:
        try:
            return nursery.fork(arguments, said, _environment())
        except OSError:
            said.flush()  # it is gone, and does without
    # The command is this module's own, with arguments of whoever writes the tests, and no shell sees it.
    return subprocess.Popen(  # noqa: S603
        [*_program(), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=_environment()
    )


def _environment() -> dict[str, str]:
    """What the tests' own environment says of a service is for clients, not for servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KAGITORI_")}


def _ready(process: ServerProcess, said: IO[bytes]) -> dict[str, str]:
    """The variables for clients, once the server has told them. Raises NotStarted."""
    timer = threading.Timer(READY_SECONDS, process.kill)
    timer.start()
    try:
        line = b"" if process.stdout is None else process.stdout.readline()
    finally:
        timer.cancel()
    try:
        environment = json.loads(line)["env"]
    except (ValueError, KeyError):
        process.kill()
        status = process.wait()
        said.seek(0)
        words = said.read(8_192).decode(errors="replace").strip()
        raise NotStarted(f"kagitori-server ended with status {status}: {words or 'it said nothing'}") from None
    return {name: str(value) for name, value in environment.items()}
