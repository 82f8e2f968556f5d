"""More half-open connections than the AWS endpoint has places keep nobody out and take little memory."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.aws_endpoint import running_endpoint
from tests.support.half_open import half_open, memory, slowest_call

from kagitori_server.transports.http.host import CONNECTIONS_MAX, HEAD_SECONDS

MANY = CONNECTIONS_MAX + 200
MEGABYTE = 1_048_576


def test_half_open_connections(tmp_path: Path) -> None:
    """Others are answered meanwhile, who was there before goes on, and the server ends at once in the end."""
    log = tmp_path / "log"
    with running_endpoint(tmp_path / "data", (), log) as endpoint:
        pid = endpoint.server.process.pid
        friend = endpoint.client()
        assert friend.list_keys()["Keys"] == []
        usual, before = slowest_call(endpoint, 5), memory(pid)
        with half_open(endpoint, MANY) as held:
            assert len(held) == MANY
            assert slowest_call(endpoint, 10) < max(2.0, 10 * usual)
            assert friend.list_keys()["Keys"] == []
            assert memory(pid) - before < 150 * MEGABYTE
            time.sleep(HEAD_SECONDS)
            assert slowest_call(endpoint, 5) < max(2.0, 10 * usual)
        assert friend.list_keys()["Keys"] == []
        began = time.monotonic()
        assert endpoint.server.terminate() == 0
        assert time.monotonic() - began < 10, "idle connections of clients held it up"
    assert log.read_text() == ""
