"""The baseline: an empty echo on the same gRPC library, event loop, TLS and port options as the service.

    python -m benchmarks.echo_server CERTIFICATE KEY [CLIENT-CA]

Prints its port. With a client CA it asks for client certificates.
"""

from __future__ import annotations

import sys
from pathlib import Path

import grpc
import uvloop
from grpc import aio


class Echo(grpc.GenericRpcHandler):
    """Answers every call with its own bytes."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler, whatever the path."""

        async def handle(body: bytes, _context: aio.ServicerContext[bytes, bytes]) -> bytes:
            return body

        return grpc.unary_unary_rpc_method_handler(handle)


async def serve(certificate: bytes, key: bytes, client_ca: bytes | None) -> None:
    """Serves until killed."""
    server = aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((Echo(),))
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=client_ca, require_client_auth=client_ca is not None
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    paths = [Path(argument).read_bytes() for argument in sys.argv[1:]]
    uvloop.run(serve(paths[0], paths[1], paths[2] if len(paths) > 2 else None))
