"""The ASGI interface (3.0), as far as it is used, and reading a body within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from kagitori_server.model.call import Evidence, TlsFacts

HEAD_BYTES_MAX = 16_384
USER_AGENT_MAX = 256
"""Characters of the user agent that are recorded."""
BODY_SECONDS = 10.0
"""Time to send a request's body."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def problem_of_head(scope: Scope) -> str | None:
    """What is wrong with a request's head that h11 lets pass; None for nothing.

    The end of the body must be told in one way, so that nobody on its way can have found another (RFC 9112,
    section 6.3); and h11 bounds heads only while it waits for more of them.
    """
    ends, size = 0, len(scope["raw_path"]) + len(scope["query_string"])
    for name, value in scope["headers"]:
        size += len(name) + len(value) + 4
        if name in (b"content-length", b"transfer-encoding"):
            ends += 1
    if ends > 1:
        return "The end of the body is told in several ways."
    if size > HEAD_BYTES_MAX:
        return "The head of the request is too long."
    return None if scope["http_version"] in ("1.1", "1.0") else "HTTP/1.1 is spoken here."


def headers_of(scope: Scope) -> list[tuple[str, str]]:
    """The headers in their order, names in lower case."""
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]


def where_from(scope: Scope, headers: Sequence[tuple[str, str]]) -> Evidence:
    """Where a request came from, for its record. Of what proves its caller nothing yet."""
    client = scope.get("client")
    tls: TlsFacts | None = scope.get("state", {}).get("tls")
    said = dict(headers)
    return Evidence(
        source_ip=client[0] if client else "",
        user_agent=said.get("user-agent", "")[:USER_AGENT_MAX],
        tls=None if tls is None else tls._replace(host=said.get("host")),
    )


async def respond(
    send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, close: bool = False
) -> None:
    """Sends an answer whole; with `close`, the connection ends with it."""
    # Named in AWS's letter case: libmongocrypt's reader of answers knows no other.
    framed = [*headers, (b"Content-Length", str(len(body)).encode())]
    if close:
        framed.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": framed})
    await send({"type": "http.response.body", "body": body})


class BodyRefused(Exception):
    """A body that isn't read to its end: too long, too slow or given up, or `busy`, when others take the room."""

    def __init__(self, *, busy: bool = False) -> None:
        super().__init__()
        self.busy = busy


class Bodies:
    """Reads the bodies of a listener's requests: each of at most `most` bytes, and of all that are on their way
    together at most `together`, so that nobody needs a name to fill the memory."""

    def __init__(self, most: int, together: int = 64 * 1_048_576) -> None:
        self._most = most
        self._together = together
        self._held = 0

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The body. Raises BodyRefused."""
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if lengths and (not lengths[0].isdigit() or len(lengths[0]) > 9 or int(lengths[0]) > self._most):
            raise BodyRefused
        body, held = bytearray(), 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise BodyRefused
                    part = message.get("body", b"")
                    body += part
                    if len(body) > self._most:
                        raise BodyRefused
                    if not message.get("more_body", False):
                        return bytes(body)
                    held += len(part)
                    self._held += len(part)
                    if self._held > self._together:
                        raise BodyRefused(busy=True)
        except TimeoutError:
            raise BodyRefused from None
        finally:
            self._held -= held
