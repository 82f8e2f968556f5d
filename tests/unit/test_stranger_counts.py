"""How failed proofs are counted by where they come from, and told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import FakeClock, InProcess, Silent

from kagitori_keystore.base import StoreLost
from kagitori_server.limiting.strangers import TOLD, Strangers, source_of
from kagitori_server.model.call import Call, Evidence
from kagitori_server.model.errors import (
    DependencyTimeoutException,
    KeyUnavailableException,
    KmsError,
    UnrecognizedClientException,
)
from kagitori_server.reception import Reception


def make(of_source: float = 1.0, together: float = 0.0, burst: float = 3.0) -> tuple[Strangers, FakeClock]:
    """Strangers, and the clock that they go by."""
    clock = FakeClock(1_000.0)
    return Strangers(
        of_source=of_source, together=together, burst_seconds=burst, monotonic=clock, clock=clock
    ), clock


@pytest.mark.parametrize(("address", "source"), [
    ("192.0.2.1", "192.0.2.1"),
    ("::ffff:192.0.2.1", "192.0.2.1"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("fe80::1%eth0", "fe80::/64"),
    ("", ""),
    ("nonsense", ""),
])
def test_sources(address: str, source: str) -> None:
    assert source_of(address) == source


def test_so_many_are_recorded_as_run_in() -> None:
    strangers, clock = make()
    for _ in range(3):
        assert not strangers.are_many("192.0.2.1")
        strangers.failed("192.0.2.1")
    assert strangers.are_many("192.0.2.1")
    assert not strangers.are_many("192.0.2.2")
    clock.advance(1.0)
    assert not strangers.are_many("192.0.2.1")


def test_a_network_of_ipv6_is_one_source() -> None:
    strangers, _ = make()
    for number in range(3):
        strangers.failed(f"2001:db8::{number:x}")
    assert strangers.are_many("2001:db8::ffff:1")
    assert not strangers.are_many("2001:db8:0:1::1")


def test_calls_that_were_under_way_are_owed_but_no_more_than_a_bucket_holds() -> None:
    strangers, clock = make()
    for _ in range(100):
        strangers.failed("192.0.2.1")
    clock.advance(3.9)
    assert strangers.are_many("192.0.2.1")
    clock.advance(0.1)
    assert not strangers.are_many("192.0.2.1")


def test_many_sources_share_what_is_recorded_together() -> None:
    strangers, _ = make(of_source=0.0, together=2.0)
    for number in range(6):
        assert not strangers.are_many("198.51.100.1")
        strangers.failed(f"192.0.2.{number}")
    assert strangers.are_many("198.51.100.1")


def test_without_rates_all_are_recorded() -> None:
    strangers, _ = make(of_source=0.0)
    for _ in range(1_000):
        strangers.failed("192.0.2.1")
    assert not strangers.are_many("192.0.2.1")


def test_what_is_told_names_so_many_sources_and_counts_all() -> None:
    strangers, clock = make()
    for number in range(TOLD + 5):
        strangers.leave_out(f"192.0.2.{number}")
    taken = strangers.take_untold()
    assert taken is not None
    assert (taken.calls, len(taken.of_source)) == (TOLD + 5, TOLD)
    clock.advance(1.0)
    strangers.leave_out("192.0.2.0")
    strangers.leave_out("203.0.113.1")
    strangers.give_back(taken)
    again = strangers.take_untold()
    assert again is not None
    assert (again.calls, again.of_source["192.0.2.0"], again.first, again.last) == (TOLD + 7, 2, 1_000.0, 1_001.0)
    assert strangers.take_untold() is None
    assert strangers.left_out == TOLD + 7


def test_a_report_that_the_trail_refuses_is_told_by_the_next(tmp_path: Path) -> None:
    strangers, _ = make(burst=1.0)
    with InProcess(tmp_path) as service:
        parts: dict[str, Any] = {
            "callers": service.pipeline._callers, "recording": service.recording, "observer": Silent(),
            "monotonic": service.clock,
        }
        reception = Reception(service.pipeline, strangers, trail=service.trail, **parts)
        for token in ("kgt_" + "A" * 43, "nonsense"):
            call = Call("ListKeys", service.ids.uuid(), Evidence(token=token, source_ip="192.0.2.1"), None, dict)
            with pytest.raises(UnrecognizedClientException):
                service._runner.run(reception.handle(call))
        assert reception.left_out == 1
        service.trail.close()
        with pytest.raises(KmsError):
            reception.report()
    with InProcess(tmp_path) as service:
        Reception(service.pipeline, strangers, trail=service.trail, **parts).report()
        told = service.records()[-1]
    assert told["eventName"] == "CallsLeftOut"
    assert told["serviceEventDetails"] == {
        "calls": 1, "first": told["serviceEventDetails"]["first"], "last": told["serviceEventDetails"]["last"],
        "sources": [{"source": "192.0.2.1", "calls": 1}],
    }


def test_failures_of_the_service_are_no_failed_proofs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog that doesn't answer tells nothing of the caller: such calls are all recorded, and count for nothing."""
    strangers, _ = make(burst=1.0)
    with InProcess(tmp_path) as service:
        reception = Reception(
            service.pipeline, strangers, callers=service.pipeline._callers, recording=service.recording,
            trail=service.trail, observer=Silent(), monotonic=service.clock,
        )

        async def prove() -> None:
            raise DependencyTimeoutException("The catalog did not answer in time.")

        monkeypatch.setattr(service.catalog.view, "prove_now", lambda: False)
        monkeypatch.setattr(service.catalog.view, "prove", prove)
        before = len(service.records())
        for _ in range(3):
            call = Call(
                "GenerateRandom", service.ids.uuid(),
                Evidence(token=service.root_token, source_ip="192.0.2.1"), None, dict,
            )
            with pytest.raises(DependencyTimeoutException):
                service._runner.run(reception.handle(call))
        assert not strangers.are_many("192.0.2.1")
        strangers.failed("192.0.2.1")
        with pytest.raises(DependencyTimeoutException):
            service._runner.run(reception.handle(call))
        assert len(service.records()) == before + 4
        assert reception.left_out == 0


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None]] = []

    def observed(self, operation: str, error_code: str | None, seconds: float) -> None:
        """Keeps it."""
        assert seconds >= 0
        self.calls.append((operation, error_code))


@pytest.mark.parametrize(
    "operation", ["ListKeys", "BatchEncrypt", "sts GetCallerIdentity", "sts AssumeRoleWithWebIdentity", "/x.Y/Nothing"]
)
def test_what_is_left_out_is_refused_and_observed_like_what_is_recorded(tmp_path: Path, operation: str) -> None:
    strangers, _ = make(burst=1.0)
    told = Told()
    with InProcess(tmp_path, observer=told) as service:
        reception = Reception(
            service.pipeline, strangers, callers=service.pipeline._callers, recording=service.recording,
            trail=service.trail, observer=told, monotonic=service.clock,
        )
        before, refusals = len(service.records()), []
        for _ in range(2):
            call = Call(
                operation, service.ids.uuid(), Evidence(token="kgt_" + "A" * 43, source_ip="192.0.2.1"), None, dict
            )
            with pytest.raises(KmsError) as caught:
                service._runner.run(reception.handle(call))
            refusals.append((type(caught.value), caught.value.message))
        assert reception.left_out == 1
        assert len(service.records()) == before + 1
    assert refusals[0] == refusals[1]
    assert told.calls[0] == told.calls[1]


def test_proofs_that_a_lost_key_store_keeps_from_being_verified_have_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secrets of access keys are in the key store."""
    strangers, _ = make(burst=1.0)
    with InProcess(tmp_path) as service:
        reception = Reception(
            service.pipeline, strangers, callers=service.pipeline._callers, recording=service.recording,
            trail=service.trail, observer=Silent(), monotonic=service.clock,
        )

        def lost(*_arguments: object) -> None:
            raise StoreLost("the token is gone")

        monkeypatch.setattr(service.authenticator, "authenticate", lost)
        for _ in range(3):
            call = Call("ListKeys", service.ids.uuid(), Evidence(source_ip="192.0.2.1"), None, dict)
            with pytest.raises(KeyUnavailableException):
                service._runner.run(reception.handle(call))
        assert not strangers.are_many("192.0.2.1")


def test_who_gives_up_while_its_call_is_recorded_has_failed_too(tmp_path: Path) -> None:
    """Else strangers who wait for no answer could have all of their calls recorded."""
    strangers, _ = make(burst=1.0)
    with InProcess(tmp_path) as service:
        reception = Reception(
            service.pipeline, strangers, callers=service.pipeline._callers, recording=service.recording,
            trail=service.trail, observer=Silent(), monotonic=service.clock,
        )

        async def give_up() -> None:
            call = Call(
                "GenerateRandom", service.ids.uuid(), Evidence(token="nonsense", source_ip="192.0.2.1"), None, dict
            )
            waiting = asyncio.create_task(reception.handle(call))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        service.call("ListKeys")
        service._runner.run(give_up())
        assert strangers.are_many("192.0.2.1")
        service.call("ListKeys")
        assert [record.get("errorCode") for record in service.records()[-3:]] == [
            None, "UnrecognizedClientException", None,
        ]
