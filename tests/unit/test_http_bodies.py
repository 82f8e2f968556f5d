"""Reading bodies within bounds of size, time and memory, and what of heads h11 lets pass."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from kagitori_server.transports.http import messages
from kagitori_server.transports.http.messages import Bodies, BodyRefused, Message, Receive, problem_of_head

pytestmark = pytest.mark.asyncio


def scope(*headers: tuple[bytes, bytes], **changed: Any) -> dict[str, Any]:
    """Of a request with these headers."""
    return {"headers": list(headers), "raw_path": b"/", "query_string": b"", "http_version": "1.1", **changed}


def parts(sent: Sequence[bytes], *, whole: bool = True) -> Receive:
    """Gives a body in parts; then, unless it is `whole`, nothing for ever."""
    left = list(sent)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left) or not whole}

    return receive


async def test_bodies_in_parts() -> None:
    """Up to the bound, counted and not only told."""
    bodies = Bodies(10)
    assert await bodies.read(scope(), parts([b""])) == b""
    assert await bodies.read(scope((b"content-length", b"10")), parts([b"12345", b"67890"])) == b"1234567890"
    for length in (b"11", b"9" * 30, b"-1", b"+5", b""):
        with pytest.raises(BodyRefused):
            await bodies.read(scope((b"content-length", length)), parts([b"x"]))
    with pytest.raises(BodyRefused) as refused:
        await bodies.read(scope(), parts([b"12345", b"67890", b"1"]))
    assert not refused.value.busy


async def test_clients_that_go_or_dawdle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Are waited for no longer than they may take."""
    monkeypatch.setattr(messages, "BODY_SECONDS", 0.05)

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    for receive in (gone, parts([b"123"], whole=False)):
        with pytest.raises(BodyRefused):
            await Bodies(10).read(scope(), receive)


async def test_bodies_on_their_way_share_the_room() -> None:
    """Those that would take more than there is are refused; when others have come, there is room again."""
    bodies = Bodies(10, together=12)
    waiting = asyncio.create_task(bodies.read(scope(), parts([b"x" * 9], whole=False)))
    await asyncio.sleep(0)
    assert await bodies.read(scope(), parts([b"x" * 10])) == b"x" * 10, "what comes at once needs no room"
    with pytest.raises(BodyRefused) as refused:
        await bodies.read(scope(), parts([b"x" * 9, b""]))
    assert refused.value.busy
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await bodies.read(scope(), parts([b"x" * 9, b""])) == b"x" * 9


async def test_heads() -> None:
    """One end of the body, a bounded size, a version that is spoken."""
    assert problem_of_head(scope((b"host", b"h"), (b"content-length", b"1"))) is None
    assert problem_of_head(scope(http_version="1.0")) is None
    length, chunked = (b"content-length", b"1"), (b"transfer-encoding", b"chunked")
    for bad in (
        scope(length, length), scope(length, chunked), scope(chunked, chunked), scope(http_version="3.0"),
        scope((b"a", b"x" * 17_000)), scope(*[(b"a", b"")] * 4_000), scope(query_string=b"x" * 17_000),
        scope(raw_path=b"x" * 17_000),
    ):
        assert problem_of_head(bad) is not None
