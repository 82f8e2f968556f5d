"""The default host of the dispatcher: grpcio's asyncio server with generic handlers of raw bytes.

Each listener has a server object of its own, so that what a call came by is known from where it was accepted and
never guessed from what the peer looks like. Runs in the event loop that it is started in (uvloop's, by wiring).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from pathlib import Path

import grpc
from grpc import aio

from kagitori_server.model.call import TlsFacts
from kagitori_server.transports.grpc.bystanders import Bystanders
from kagitori_server.transports.grpc.dispatcher import Dispatcher
from kagitori_server.transports.grpc.listeners import (
    Listener,
    ListenerKind,
    ListenerRefused,
    bound_address,
    clear_stale_socket,
)
from kagitori_server.transports.grpc.peer import Peer, source_ip

REQUEST_BYTES_MAX = 4 * 1024 * 1024
METADATA_BYTES_MAX = 16 * 1024
STREAMS_PER_CONNECTION = 1_024
WAITING_FACTOR = 4
"""Calls that grpcio may hold, as a multiple of those that are worked on: bounds what half-sent requests occupy."""

_SOCKET_UMASK = 0o177
_UNKNOWN = "-"
_log = logging.getLogger(__name__)

_Context = aio.ServicerContext[bytes, bytes]
_PeerOf = Callable[[_Context], Peer]


class GrpcHost:
    """Serves a dispatcher on a number of listeners, with health and reflection beside it."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        listeners: Sequence[Listener],
        *,
        reuse_port: bool = False,
    ) -> None:
        """`reuse_port` lets several processes share the ports (SO_REUSEPORT). Raises ListenerRefused."""
        for listener in listeners:
            listener.check()
        self._dispatcher = dispatcher
        self._listeners = tuple(listeners)
        self._options = (
            ("grpc.so_reuseport", int(reuse_port)),
            ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
            ("grpc.max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
        )
        self._held = dispatcher.most_in_flight * WAITING_FACTOR
        self._bystanders = Bystanders(dispatcher.services)
        self._servers: list[aio.Server] = []
        self._addresses: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, in the order of the listeners, with the ports it got. Empty before `start`."""
        return self._addresses

    async def start(self) -> None:
        """Bind and accept calls; health says NOT_SERVING still.

        Raises ListenerRefused when one place can't be had; the host is of no use then, and grpcio keeps the
        others bound until it is collected.
        """
        addresses = []
        try:
            for listener in self._listeners:
                server = aio.server(options=self._options, maximum_concurrent_rpcs=self._held)
                self._servers.append(server)
                handlers = (*self._bystanders.handlers(), _Everything(self._dispatcher, _PEERS[listener.kind]))
                server.add_generic_rpc_handlers(handlers)
                addresses.append(bound_address(listener, _bind(server, listener)))
            for server in self._servers:
                await server.start()
        except BaseException:
            await self.stop(0)
            raise
        self._addresses = tuple(addresses)

    @property
    def streams(self) -> int:
        """How many streams of health and reflection are open."""
        return self._bystanders.streams

    def set_serving(self, serving: bool) -> None:
        """What health says from now on. Calls are taken in any case."""
        self._bystanders.set_serving(serving)

    async def stop(self, grace_seconds: float) -> None:
        """Accept nothing more, let calls in flight end for up to `grace_seconds`, break off the rest.

        What the pipeline has begun is waited for, once more as long, even if its caller was cut off.
        """
        self._bystanders.set_serving(False)
        self._bystanders.end_streams()
        await asyncio.gather(*(server.stop(grace_seconds) for server in self._servers))
        self._servers.clear()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._dispatcher.drained()
        except TimeoutError:
            _log.warning("%d calls were still worked on when the server stopped", self._dispatcher.in_flight)


class _Everything(grpc.GenericRpcHandler):
    """Hands every path that no other handler took to the dispatcher, which knows what it doesn't serve."""

    def __init__(self, dispatcher: Dispatcher, peer_of: _PeerOf) -> None:
        self._dispatcher = dispatcher
        self._peer_of = peer_of

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        # Both are at hand here; the context would make the metadata once more.
        path, metadata = handler_call_details.method, handler_call_details.invocation_metadata
        dispatch, peer_of = self._dispatcher.dispatch, self._peer_of

        async def handle(body: bytes, context: _Context) -> bytes:
            answer = await dispatch(path, metadata, peer_of(context), body)
            if answer.code is not grpc.StatusCode.OK:
                # Setting the code and returning would send an empty message before the status.
                await context.abort(answer.code, answer.message, answer.trailers)
            context.set_trailing_metadata(answer.trailers)
            return answer.body

        async def handle_stream(body: bytes, context: _Context) -> None:
            # Closed when the caller goes away, which grpcio tells by cancelling this.
            async with aclosing(self._dispatcher.stream(path, metadata, peer_of(context), body)) as messages:
                async for message in messages:
                    if isinstance(message, bytes):
                        await context.write(message)
                    elif message.code is not grpc.StatusCode.OK:
                        await context.abort(message.code, message.message, message.trailers)
                    else:
                        context.set_trailing_metadata(message.trailers)

        if path in self._dispatcher.streaming:
            return grpc.unary_stream_rpc_method_handler(handle_stream)
        return grpc.unary_unary_rpc_method_handler(handle)


def _plaintext_peer(context: _Context) -> Peer:
    return _peer_at(context.peer(), None)


def _tls_peer(context: _Context) -> Peer:
    return _peer_at(context.peer(), _first(context.auth_context(), "ssl_tls_version"))


def _mutual_tls_peer(context: _Context) -> Peer:
    # Made anew for each call: an address may belong to another caller the next moment, with another certificate.
    facts = context.auth_context()
    known = _peer_at(context.peer(), _first(facts, "ssl_tls_version"))
    return Peer(known.source_ip, certificate=_first(facts, "x509_pem_cert"), tls=known.tls)


def _first(facts: Mapping[str, Iterable[bytes]], key: str) -> bytes | None:
    return next(iter(facts.get(key, ())), None)


@lru_cache(maxsize=1024)
def _peer_at(address: str, tls_version: bytes | None) -> Peer:
    """A peer as far as it is known without a certificate. grpcio tells neither cipher suite nor host name."""
    tls = None if tls_version is None else TlsFacts(tls_version.decode("ascii", "replace"), _UNKNOWN)
    return Peer(source_ip(address), tls=tls)


_SOCKET_PEER = Peer(local_socket=True)


def _socket_peer(_: _Context) -> Peer:
    return _SOCKET_PEER


_PEERS: dict[ListenerKind, _PeerOf] = {
    ListenerKind.TLS: _tls_peer,
    ListenerKind.MTLS: _mutual_tls_peer,
    ListenerKind.PLAINTEXT: _plaintext_peer,
    ListenerKind.UNIX: _socket_peer,
}


def _bind(server: aio.Server, listener: Listener) -> int:
    try:
        if listener.kind is ListenerKind.UNIX:
            clear_stale_socket(Path(listener.address))
            # The file must never be there with wider permissions, so the mask and not a chmod afterwards.
            before = os.umask(_SOCKET_UMASK)
            try:
                return server.add_insecure_port(f"unix:{listener.address}")
            finally:
                os.umask(before)
        if listener.kind is ListenerKind.PLAINTEXT:
            return server.add_insecure_port(listener.address)
        return server.add_secure_port(listener.address, _credentials(listener))
    except RuntimeError as problem:
        raise ListenerRefused(f"Can't listen on {listener.address}: {problem}") from problem


def _credentials(listener: Listener) -> grpc.ServerCredentials:
    tls = listener.tls
    if tls is None:
        raise ListenerRefused(f"The listener {listener.address} has no certificate.")
    if listener.kind is ListenerKind.MTLS:
        return grpc.ssl_server_credentials(
            [(tls.key, tls.certificate)], root_certificates=tls.client_authority, require_client_auth=True
        )
    return grpc.ssl_server_credentials([(tls.key, tls.certificate)])
