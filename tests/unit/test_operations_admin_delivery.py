"""DescribeTrail, GetTrailStatus and ListAuditPublicKeys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.delivering import DESCRIPTION, Deliverer, Faulty
from tests.support.inprocess import HOME, REGION, START, InProcess
from tests.support.kms_calls import DAY, new_key

from kagitori_server.model.errors import InvalidMarkerException, NoSuchEntityException, ValidationException
from kagitori_server.service_keys import KeyPurpose


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    (tmp_path / "service").mkdir()
    (tmp_path / "out").mkdir()
    with InProcess(tmp_path / "service", delivered=DESCRIPTION) as opened:
        yield opened


def test_where_it_is_delivered_to(service: InProcess) -> None:
    answer = service.call("DescribeTrail")
    assert answer.trail_arn == f"arn:aws:cloudtrail:{REGION}:{HOME}:trail/kagitori"
    assert (answer.name, answer.home_region, answer.s3_bucket_name) == ("kagitori", REGION, "trail-bucket")
    assert (answer.s3_key_prefix, answer.kms_key_id) == ("audit", None)


def test_where_nothing_is_delivered(tmp_path: Path) -> None:
    with InProcess(tmp_path) as service:
        for operation in ("DescribeTrail", "GetTrailStatus"):
            with pytest.raises(NoSuchEntityException, match="not delivered anywhere"):
                service.call(operation)


def test_how_it_goes(service: InProcess, tmp_path: Path) -> None:
    before = service.call("GetTrailStatus")
    assert (before.is_logging, before.start_logging_time, before.latest_delivery_time) == (False, None, None)
    destination = Faulty(tmp_path / "out")
    deliverer = Deliverer(service, destination)
    deliverer.running.run_once()
    destination.fail_before = "AWSLogs"
    new_key(service)
    service.clock.advance(3_600)
    deliverer.running.run_once()
    failing = service.call("GetTrailStatus")
    assert (failing.is_logging, failing.start_logging_time, failing.latest_delivery_time) == (True, START, START)
    assert (failing.latest_delivery_error, failing.latest_digest_delivery_error) == ("away", "away")
    assert failing.latest_delivery_attempt_time == START + 3_600
    destination.fail_before = None
    service.clock.advance(60)
    deliverer.running.finish(60)
    after = service.call("GetTrailStatus")
    assert (after.is_logging, after.stop_logging_time) == (False, START + 3_660)
    assert (after.latest_delivery_error, after.latest_digest_delivery_error) == (None, None)
    assert after.latest_digest_delivery_time == START + 3_660


def test_the_keys_that_sign_and_signed(service: InProcess, tmp_path: Path) -> None:
    keys = Deliverer(service, Faulty(tmp_path / "out")).keys
    made = []
    for purpose in (KeyPurpose.AUDIT_LOG, KeyPurpose.AUDIT_DIGEST):
        made.append(keys.current(purpose).key_id)
        service.clock.advance(10 * DAY)
        made.append(keys.rotate(purpose).key_id)
    found = service.call("ListAuditPublicKeys").public_keys
    assert [key.key_id for key in found] == made[2:] + made[:2]
    assert [key.purpose for key in found] == ["AUDIT_DIGEST"] * 2 + ["AUDIT_LOG"] * 2
    assert [key.fingerprint is None for key in found] == [False, False, True, True]
    assert service.call("ListAuditPublicKeys", {"purpose": "AUDIT_LOG"}).public_keys == found[2:]
    late = {"purpose": "AUDIT_LOG", "start_time": START + 11 * DAY, "end_time": START + 12 * DAY}
    assert service.call("ListAuditPublicKeys", late).public_keys == found[3:]
    one, pages, marker = [], 0, None
    while pages == 0 or marker is not None:
        page = service.call("ListAuditPublicKeys", {"limit": 1, **({"marker": marker} if marker else {})})
        one += page.public_keys
        marker, pages = page.next_marker, pages + 1
        assert page.truncated == (marker is not None)
    assert (tuple(one), pages) == (found, 4)
    with pytest.raises(InvalidMarkerException):
        service.call("ListAuditPublicKeys", {"marker": "x"})
    with pytest.raises(ValidationException):
        service.call("ListAuditPublicKeys", {"start_time": 2.0, "end_time": 1.0})
