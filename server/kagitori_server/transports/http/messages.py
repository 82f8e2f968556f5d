"""The ASGI interface (3.0), as far as it is used, and reading a body within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

BODY_SECONDS = 10.0
"""Time to send a request's body."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_ambiguous(scope: Scope) -> bool:
    """Whether somebody on its way could have found another end of the request than we (RFC 9112, section 6.3)."""
    names = [name for name, _ in scope["headers"] if name in (b"content-length", b"transfer-encoding")]
    return len(names) > 1


async def read_body(scope: Scope, receive: Receive, most: int) -> bytes | None:
    """The body; None for one of more than `most` bytes, too slow or given up."""
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    if lengths and (not lengths[0].isdigit() or len(lengths[0]) > 9 or int(lengths[0]) > most):
        return None
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                body += message.get("body", b"")
                if len(body) > most:
                    return None
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return None
