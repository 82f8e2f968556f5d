"""A whole server as `kagitori-server` runs it, in a thread of the test's process, and calls over its sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from kagitori_server.bootstrap.data_directory import open_data_directory
from kagitori_server.config import load_config
from kagitori_server.transports.grpc.contract import SERVICES, path
from kagitori_server.wiring import Addresses, Server

RPCS = {method.name: method for service in SERVICES for method in service.methods}


class WholeServer:
    """Serves from `folder` until the block ends. Raises what `Server.open` and `Server.start` raise."""

    def __init__(self, folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self.data = open_data_directory(folder)
        self._config = load_config(None, {}, settings)
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._addresses: Addresses | None = None
        self._thread = threading.Thread(target=self._run)

    @property
    def addresses(self) -> Addresses:
        """Where it listens."""
        assert self._addresses is not None
        return self._addresses

    @property
    def root_token(self) -> str:
        """The root user's token from the first start."""
        return self.data.root_token.read_text().strip()

    @property
    def authority(self) -> bytes:
        """PEM of the local CA."""
        return (self.data.tls / "ca.crt").read_bytes()

    def tls(self) -> grpc.Channel:
        """A channel to the listener for tokens."""
        return grpc.secure_channel(str(self.addresses.grpc), grpc.ssl_channel_credentials(self.authority))

    def __enter__(self) -> WholeServer:
        self._thread.start()
        self._ready.wait(30)
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # noqa: BLE001 - handed to the test, which raises it
            self._failure = failure
            self._ready.set()

    async def _serve(self) -> None:
        server = Server(self._config, self.data)
        await asyncio.to_thread(server.open)
        self._addresses = await server.start()
        self._ready.set()
        await asyncio.to_thread(self._stop.wait)
        await server.stop()


class Caller:
    """Calls by operation name over one channel, as whom the metadata says."""

    def __init__(self, channel: grpc.Channel, token: str | None = None, region: str | None = None) -> None:
        self._channel = channel
        self.called: set[str] = set()
        metadata = {"authorization": f"Bearer {token}" if token else None, "kagitori-region": region}
        self._metadata = tuple((key, value) for key, value in metadata.items() if value is not None)

    def __call__(self, operation: str, **members: Any) -> Any:
        """The answer message, all of a stream as a list. Raises grpc.RpcError."""
        answer = self.start(operation, **members)
        return list(answer) if RPCS[operation].server_streaming else answer

    def start(self, operation: str, **members: Any) -> Any:
        """The same, of a stream the iterator over its messages, which can be cancelled."""
        rpc = RPCS[operation]
        make = self._channel.unary_stream if rpc.server_streaming else self._channel.unary_unary
        invoke: Any = make(
            path(rpc),
            request_serializer=GetMessageClass(rpc.input_type).SerializeToString,
            response_deserializer=GetMessageClass(rpc.output_type).FromString,
        )
        answer = invoke(GetMessageClass(rpc.input_type)(**members), metadata=self._metadata, timeout=20)
        self.called.add(operation)
        return answer
