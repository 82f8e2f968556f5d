"""GetHealthStatus of the external key store proxy: authenticated, deep, and not at every call."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.inprocess import FakeClock, InProcess

from kagitori_server.model.call import Call, Evidence
from kagitori_server.model.errors import KeyUnavailableException, MissingAuthenticationTokenException
from kagitori_server.xks_health import GOOD_SECONDS, XksHealth


def test_a_store_that_is_lost_is_told_of(tmp_path: Path) -> None:
    """At the latest when the last good result is too old, and to who is authenticated alone."""
    clock = FakeClock(0.0)
    with InProcess(tmp_path) as service, ThreadPoolExecutor(1) as reads:
        health = XksHealth(
            service._make_callers(), service.catalog.view, service.stores, reads, clock,
            offered=["alias/none", "arn:aws:kms"], partition="aws", region="us-east-1",
        )

        def check(evidence: Evidence) -> None:
            found = asyncio.run(health.check(Call("GetHealthStatus", "id", evidence, None, dict)))
            assert found == {"default": True}

        good = Evidence(token=service.root_token)
        check(good)
        service.store.close()
        check(good)
        clock.advance(GOOD_SECONDS + 1)
        for _ in range(2):
            with pytest.raises(KeyUnavailableException):
                check(good)
        with pytest.raises(MissingAuthenticationTokenException):
            check(Evidence())
