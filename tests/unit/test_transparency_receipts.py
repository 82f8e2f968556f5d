"""Receipts for calls that come at the same time, and what becomes of them when they can't be made."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.logs import TestSigner

from kagitori_client.receipts import TrustedKey, verify_receipt
from kagitori_server.audit.trail import Trail, open_trail
from kagitori_server.model.errors import KMSInternalException
from kagitori_server.transparency.log import TransparencyLog, Wanted
from kagitori_server.transparency.notes import verifier_key
from kagitori_server.transparency.receipts import Receipts


class CountingSigner(TestSigner):
    """Counts its signatures, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.signed = 0
        self.failing = False
        key = self.keys[0]
        signing = key.sign

        def sign(message: bytes) -> bytes:
            self.signed += 1
            if self.failing:
                raise KMSInternalException("The key is lost.")
            return signing(message)

        key.sign = sign  # type: ignore[method-assign]  # what is counted are the signatures of the real key


class CountingLog(TransparencyLog):
    """Counts the receipts that it's asked for."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: list[int] = []

    def receipts(self, wanted: Sequence[Wanted]) -> list[bytes]:
        self.asked.append(len(wanted))
        return super().receipts(wanted)


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    opened = open_trail(tmp_path / "audit")
    yield opened
    opened.close()


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def _receipt(trail: Trail, receipts: Receipts, number: int) -> bytes | None:
    event = b'{"number":%d}' % number
    return await receipts.receipt(await trail.append(event), event, shown=True)


async def _crowd(trail: Trail, receipts: Receipts, count: int) -> list[bytes | None]:
    return await asyncio.gather(*(_receipt(trail, receipts, number) for number in range(count)))


def test_a_crowd_shares_signatures(tmp_path: Path, trail: Trail, thread: ThreadPoolExecutor) -> None:
    """Each caller gets the receipt of its own record."""
    signer = CountingSigner()
    log = TransparencyLog(tmp_path / "audit", trail, signer, "test", time.monotonic, lambda: None)
    made = asyncio.run(_crowd(trail, Receipts(log, thread), 600))
    keys = [TrustedKey.parse(verifier_key(log.head(None).origin, signer.keys[0].public_key))]
    for number, receipt in enumerate(made):
        assert receipt is not None
        assert verify_receipt(receipt, keys).record == {"number": number}
    assert 1 <= signer.signed <= 12


def test_a_failure_is_nobodys_end(
    tmp_path: Path, trail: Trail, thread: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """Those who wait have none; those who come later do."""
    signer = CountingSigner()
    log = TransparencyLog(tmp_path / "audit", trail, signer, "test", time.monotonic, lambda: None)
    receipts = Receipts(log, thread)

    async def run() -> None:
        signer.failing = True
        assert set(await _crowd(trail, receipts, 300)) == {None}
        signer.failing = False
        assert None not in await _crowd(trail, receipts, 10)
        thread.shutdown()
        assert await _crowd(trail, receipts, 3) == [None] * 3

    asyncio.run(run())
    assert "receipts could not be made: KMSInternalException" in caplog.text
    assert "receipts could not be made: RuntimeError" in caplog.text


def test_a_caller_that_goes_away(tmp_path: Path, trail: Trail, thread: ThreadPoolExecutor) -> None:
    """Takes nothing from the others."""
    log = TransparencyLog(tmp_path / "audit", trail, TestSigner(), "test", time.monotonic, lambda: None)
    receipts = Receipts(log, thread)

    async def run() -> None:
        gone = asyncio.create_task(_receipt(trail, receipts, 1))
        stays = asyncio.create_task(_receipt(trail, receipts, 2))
        await asyncio.sleep(0.001)
        gone.cancel()
        assert await stays is not None
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(run())


def test_an_answer_waits_only_so_long(tmp_path: Path, trail: Trail, thread: ThreadPoolExecutor) -> None:
    """A tree that takes longer costs a receipt, and the next callers nothing."""
    log = TransparencyLog(tmp_path / "audit", trail, TestSigner(), "test", time.monotonic, lambda: None)
    receipts, free = Receipts(log, thread, patience=0.05), threading.Event()

    async def run() -> None:
        thread.submit(free.wait)
        assert await _receipt(trail, receipts, 1) is None
        free.set()

    asyncio.run(run())
    patient = Receipts(log, thread)
    assert asyncio.run(_receipt(trail, patient, 2)) is not None


def test_nothing_is_made_for_who_does_not_wait_any_more(
    tmp_path: Path, trail: Trail, thread: ThreadPoolExecutor
) -> None:
    """While a tree is far behind, those who gave up leave nothing that gathers."""
    log = CountingLog(tmp_path / "audit", trail, TestSigner(), "test", time.monotonic, lambda: None)
    receipts, free = Receipts(log, thread, patience=0.5), threading.Event()

    async def run() -> None:
        thread.submit(free.wait)
        try:
            assert await _crowd(trail, receipts, 600) == [None] * 600
        finally:
            free.set()
        assert await asyncio.wait_for(_receipt(trail, Receipts(log, thread), 1), 30) is not None
        await _receipt(trail, receipts, 2)

    asyncio.run(run())
    assert sum(log.asked) <= 256 + 2


def test_the_number_of_a_record(trail: Trail) -> None:
    """Appending tells the first of the numbers that records got, also when several share a write."""

    async def run() -> None:
        numbers = await asyncio.gather(
            trail.append(b'{"a":1}'), trail.append_all([b'{"b":1}', b'{"b":2}']), trail.append(b'{"c":1}')
        )
        assert list(numbers) == [1, 2, 4]

    asyncio.run(run())
