"""The client: one channel, and the generated stubs of the three services on it.

    with KmsClient.from_settings(load_settings()) as client:
        key = client.keys.CreateKey(CreateKeyRequest(description="orders")).key_metadata
        sealed = client.crypto.Encrypt(EncryptRequest(key_id=key.arn, plaintext=b"..."))

There is no method per operation here: `keys`, `crypto`, `admin` and `dev` are the stubs made from the contract, with
its messages and its documentation. What the client adds to each call is in `calls.py`; `pages` walks lists.
Failures are raised as the classes in `errors.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from kagitori.kms.v1.admin_service_pb2_grpc import AdminServiceStub
from kagitori.kms.v1.crypto_service_pb2_grpc import CryptoServiceStub
from kagitori.kms.v1.dev_service_pb2_grpc import DevServiceStub
from kagitori.kms.v1.key_service_pb2_grpc import KeyServiceStub
from kagitori_client.calls import (
    DEFAULT_TIMEOUT,
    LONGEST_TIMEOUT,
    AsyncCalls,
    AsyncStreams,
    CallPolicy,
    Retries,
    SyncCalls,
    SyncStreams,
    TakeReceipt,
)
from kagitori_client.credentials import BearerToken, TokenFile, read_certificates, read_private_key
from kagitori_client.endpoint import Endpoint, Security, parse_endpoint
from kagitori_client.errors import ConfigurationError
from kagitori_client.settings import Settings

if TYPE_CHECKING:
    # The asynchronous stubs differ from the others in their types only.
    from kagitori.kms.v1.admin_service_pb2_grpc import AdminServiceAsyncStub
    from kagitori.kms.v1.crypto_service_pb2_grpc import CryptoServiceAsyncStub
    from kagitori.kms.v1.dev_service_pb2_grpc import DevServiceAsyncStub
    from kagitori.kms.v1.key_service_pb2_grpc import KeyServiceAsyncStub

_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.primary_user_agent", "kagitori-client"),
    # The pauses between tries are the client's own (calls.py); gRPC's would outlast them. The minimum is left
    # alone: gRPC takes it for the time a handshake may last as well.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Connection:
    """How to reach the service and as whom. Its repr shows neither token nor private key."""

    __slots__ = ("_private_key", "certificate", "endpoint", "roots", "token")

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        token: BearerToken | TokenFile | None = None,
        roots: bytes | None = None,
        certificate: bytes | None = None,
        private_key: bytes | None = None,
    ) -> None:
        """`roots` (PEM) are the CAs trusted for https, gRPC's own set when absent.

        `certificate` and `private_key` (PEM) identify the caller by mutual TLS, a token by metadata: one of the
        two at most. Raises ConfigurationError for combinations that make no sense.
        """
        if (certificate is None) != (private_key is None):
            raise ConfigurationError("a client certificate and its private key come together")
        if certificate is not None and token is not None:
            raise ConfigurationError("a call carries one identity: give a token or a client certificate, not both")
        if endpoint.security is not Security.TLS and certificate is not None:
            raise ConfigurationError("a client certificate needs an https:// endpoint")
        self.endpoint = endpoint
        self.token = token
        self.roots = roots
        self.certificate = certificate
        self._private_key = private_key

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Reads the files that the settings name. Raises ConfigurationError."""
        if settings.endpoint is None:
            raise ConfigurationError(
                "no endpoint is known", hint="run kagitori init, set KAGITORI_ENDPOINT, or give --endpoint"
            )
        endpoint = parse_endpoint(settings.endpoint)
        tls = endpoint.security is Security.TLS
        return cls(
            endpoint,
            token=TokenFile(Path(settings.token_file)) if settings.token_file else None,
            roots=read_certificates(Path(settings.ca_file)) if settings.ca_file and tls else None,
            certificate=read_certificates(Path(settings.cert_file)) if settings.cert_file else None,
            private_key=read_private_key(Path(settings.key_file)) if settings.key_file else None,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """What gRPC needs for TLS."""
        return grpc.ssl_channel_credentials(self.roots, self._private_key, self.certificate)

    def options(self) -> list[tuple[str, str | int]]:
        """Channel options: proxies from the environment are for other machines only."""
        if self.endpoint.security is Security.TLS:
            return list(_OPTIONS)
        return [*_OPTIONS, ("grpc.enable_http_proxy", 0)]

    def __repr__(self) -> str:
        return f"Connection({self.endpoint.text!r})"


class KmsClient:
    """A synchronous client; safe to share between threads, not across a fork."""

    keys: KeyServiceStub
    crypto: CryptoServiceStub
    admin: AdminServiceStub
    dev: DevServiceStub
    """For instances started with `kagitori-server dev` alone."""

    def __init__(
        self,
        connection: Connection,
        *,
        region: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: Retries | None = None,
        receipts: TakeReceipt | None = None,
    ) -> None:
        """`region` is sent with every call that names none; `timeout` is seconds per call, retries included. `receipts`
        gets the receipt of each call (`kagitori_client.receipts` verifies them), but for streams and batches."""
        policy = _policy(connection, region, timeout, retries, receipts)
        target, options = connection.endpoint.target, connection.options()
        if connection.endpoint.security is Security.TLS:
            self._channel = grpc.secure_channel(target, connection.channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(target, options)
        calls = grpc.intercept_channel(self._channel, SyncCalls(policy), SyncStreams(policy))
        self._connection = connection
        self.keys = KeyServiceStub(calls)
        self.crypto = CryptoServiceStub(calls)
        self.admin = AdminServiceStub(calls)
        self.dev = DevServiceStub(calls)

    @classmethod
    def from_settings(
        cls, settings: Settings, *, timeout: float = DEFAULT_TIMEOUT, receipts: TakeReceipt | None = None
    ) -> Self:
        """A client as the settings (see `load_settings`) say. Raises ConfigurationError."""
        return cls(Connection.from_settings(settings), region=settings.region, timeout=timeout, receipts=receipts)

    def close(self) -> None:
        """Ends the connection; calls under way fail."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"KmsClient({self._connection.endpoint.text!r})"


class AsyncKmsClient:
    """The same for asyncio; made and used inside one event loop."""

    keys: KeyServiceAsyncStub
    crypto: CryptoServiceAsyncStub
    admin: AdminServiceAsyncStub
    dev: DevServiceAsyncStub
    """For instances started with `kagitori-server dev` alone."""

    def __init__(
        self,
        connection: Connection,
        *,
        region: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: Retries | None = None,
        receipts: TakeReceipt | None = None,
    ) -> None:
        """Arguments as those of KmsClient."""
        policy = _policy(connection, region, timeout, retries, receipts)
        target, options = connection.endpoint.target, connection.options()
        interceptors: Sequence[aio.ClientInterceptor] = [AsyncCalls(policy), AsyncStreams(policy)]
        if connection.endpoint.security is Security.TLS:
            credentials = connection.channel_credentials()
            self._channel = aio.secure_channel(target, credentials, options, interceptors=interceptors)
        else:
            self._channel = aio.insecure_channel(target, options, interceptors=interceptors)
        self._connection = connection
        self.keys = KeyServiceStub(self._channel)
        self.crypto = CryptoServiceStub(self._channel)
        self.admin = AdminServiceStub(self._channel)
        self.dev = DevServiceStub(self._channel)

    @classmethod
    def from_settings(
        cls, settings: Settings, *, timeout: float = DEFAULT_TIMEOUT, receipts: TakeReceipt | None = None
    ) -> Self:
        """A client as the settings (see `load_settings`) say. Raises ConfigurationError."""
        return cls(Connection.from_settings(settings), region=settings.region, timeout=timeout, receipts=receipts)

    async def close(self) -> None:
        """Ends the connection; calls under way fail."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncKmsClient({self._connection.endpoint.text!r})"


def _policy(
    connection: Connection, region: str | None, timeout: float, retries: Retries | None, receipts: TakeReceipt | None
) -> CallPolicy:
    if not 0 < timeout <= LONGEST_TIMEOUT:
        raise ConfigurationError(f"a timeout is more than 0 seconds, and at most {LONGEST_TIMEOUT:.0f}")
    return CallPolicy(
        endpoint=connection.endpoint.text,
        token=connection.token,
        region=region,
        timeout=timeout,
        retries=retries or Retries(),
        receipts=receipts,
    )


_Asked = TypeVar("_Asked", bound=Message)
_Answered = TypeVar("_Answered", bound=Message)


def pages(call: Callable[[_Asked], _Answered], request: _Asked) -> Iterator[_Answered]:
    """All pages of a list: `for page in pages(client.keys.ListKeys, ListKeysRequest()): ...`.

    For the calls with `marker` and `next_marker`, and LookupEvents with its `next_token`. The request is copied,
    not changed.
    """
    by_token = "next_token" in type(request).DESCRIPTOR.fields_by_name
    sent, answered = ("next_token", "next_token") if by_token else ("marker", "next_marker")
    asked = type(request)()
    asked.CopyFrom(request)
    while True:
        page = call(asked)
        yield page
        following = getattr(page, answered)
        if not following:
            return
        setattr(asked, sent, following)
