"""A baseline of the AWS endpoint: its HTTP host with an application that verifies a signature, and does nothing else.

    python -m benchmarks.signed_echo SECRET

Prints its port.
"""

from __future__ import annotations

import asyncio
import hmac
import sys

import uvloop

from kagitori_keystore import sigv4
from kagitori_server.authn.sigv4 import read_signed
from kagitori_server.transports.http.host import HttpHost
from kagitori_server.transports.http.messages import Bodies, Receive, Scope, Send

_BODY_MAX = 1 << 20


class Application:
    """Answers a signed request with its own body, any other with 403."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._bodies = Bodies(_BODY_MAX)
        self._keys: dict[sigv4.Scope, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI 3.0)."""
        body = await self._bodies.read(scope, receive)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        signed = read_signed("POST", scope["raw_path"].decode("latin-1"), (), headers, body, "kms")
        day = sigv4.Scope(signed.date, signed.region, signed.service)
        key = self._keys.get(day)
        if key is None:
            key = self._keys[day] = sigv4.signing_key(self._secret, day)
        held = hmac.compare_digest(sigv4.signature(key, signed.string_to_sign), signed.signature)
        length = (b"Content-Length", str(len(body) if held else 0).encode())
        await send({"type": "http.response.start", "status": 200 if held else 403, "headers": [length]})
        await send({"type": "http.response.body", "body": body if held else b""})


async def _serve(secret: bytes) -> None:
    host = HttpHost("127.0.0.1:0", None, Application(secret))
    await host.start()
    print(host.address.rpartition(":")[2], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1].encode()))
