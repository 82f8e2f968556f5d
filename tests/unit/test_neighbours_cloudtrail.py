"""CloudTrail for AWS's clients: what is found in the trail, for whom, and what is refused with which error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from tests.support.identities import statement
from tests.support.inprocess import HOME, REGION, START, InProcess

from kagitori_server.delivery.naming import TrailDescription
from kagitori_server.model import neighbour_errors as errors
from kagitori_server.model.delivery_records import KeyPurpose, TrailState
from kagitori_server.model.errors import AccessDeniedException, KmsError, ValidationException
from kagitori_server.service_keys import ServiceKeys

OTHER = "222222222222"
LOOKUP = "cloudtrail LookupEvents"
DAY = 86_400
TRAIL_ARN = f"arn:aws:cloudtrail:{REGION}:{HOME}:trail/main.trail-1"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def lookup(service: InProcess, token: str | None = None, **members: Any) -> Any:
    return service.call(LOOKUP, members, token=token)


def attribute(key: str, value: str) -> dict[str, str]:
    return {"attribute_key": key, "attribute_value": value}


def by(key: str, value: str) -> dict[str, Any]:
    return {"lookup_attributes": [attribute(key, value)]}


def names(answer: Any) -> list[str]:
    return [event.event_name for event in answer.events]


def test_events(service: InProcess) -> None:
    """Newest first, in the form of CloudTrail; found by every attribute."""
    key = service.call("CreateKey", {}).key_metadata
    service.clock.advance(10)
    service.call("Encrypt", {"key_id": key.key_id, "plaintext": b"x"})
    answer = lookup(service)
    assert names(answer)[:2] == ["Encrypt", "CreateKey"]
    event = answer.events[0]
    assert (event.event_time, event.event_source, event.read_only) == (START + 10, "kms.amazonaws.com", "true")
    assert event.username == "root"
    assert [(each.resource_type, each.resource_name) for each in event.resources] == [("AWS::KMS::Key", key.arn)]
    assert json.loads(event.cloud_trail_event)["eventID"] == event.event_id
    for attribute, value in (
        ("EventId", event.event_id), ("EventName", "Encrypt"), ("ResourceName", key.arn), ("Username", "root"),
        ("ResourceType", "AWS::KMS::Key"), ("EventSource", "kms.amazonaws.com"), ("ReadOnly", "true"),
        ("AccessKeyId", str(event.access_key_id)),
    ):
        assert event.event_id in {each.event_id for each in lookup(service, **by(attribute, value)).events}
    assert names(lookup(service, **by("ReadOnly", "false"))) == ["CreateKey"]
    assert lookup(service, **by("EventName", "Decrypt")).events == ()
    record = service.records()[-1]
    assert (record["eventSource"], record["eventName"]) == ("cloudtrail.amazonaws.com", "LookupEvents")
    assert record["requestParameters"] == {
        "lookupAttributes": [{"attributeKey": "EventName", "attributeValue": "Decrypt"}]
    }
    assert record["responseElements"] is None


def test_pages(service: InProcess) -> None:
    """A token goes on where its page ended, and with no other parameters than its own."""
    for _ in range(5):
        service.clock.advance(1)
        service.call("ListKeys", {})
    wanted = by("EventName", "ListKeys")
    first = lookup(service, **wanted, max_results=2)
    second = lookup(service, **wanted, max_results=3, next_token=first.next_token)
    times = [event.event_time for event in (*first.events, *second.events)]
    assert times == [START + number for number in (5, 4, 3, 2, 1)]
    for changed in (
        {}, by("EventName", "ListAliases"), {**wanted, "start_time": START}, {**wanted, "end_time": START + 5},
    ):
        with pytest.raises(errors.InvalidNextTokenException):
            lookup(service, **changed, next_token=first.next_token)
    for made_up in ("x", "é", "AAAA"):
        with pytest.raises(errors.InvalidNextTokenException):
            lookup(service, **wanted, next_token=made_up)


def test_regions(service: InProcess) -> None:
    """Each has its own events, and pages go with the Region."""
    for region in (REGION, "eu-west-1", "eu-west-1"):
        service.call("ListKeys", {}, region=region)
    here, there = (service.call(LOOKUP, by("EventName", "ListKeys"), region=each) for each in (REGION, "eu-west-1"))
    assert (names(here), names(there)) == (["ListKeys"], ["ListKeys", "ListKeys"])
    assert {json.loads(event.cloud_trail_event)["awsRegion"] for event in there.events} == {"eu-west-1"}
    first = service.call(LOOKUP, {"max_results": 1}, region="eu-west-1")
    with pytest.raises(errors.InvalidNextTokenException):
        lookup(service, max_results=1, next_token=first.next_token)


def test_times(service: InProcess) -> None:
    """Both ends count; nothing older than 90 days is found."""
    service.call("ListKeys", {})
    service.clock.advance(60)
    service.call("ListAliases", {})
    assert names(lookup(service, start_time=START + 60, end_time=START + 60)) == ["ListAliases"]
    assert names(lookup(service, end_time=START + 59)) == ["ListKeys"]
    service.clock.advance(90 * DAY - 30)
    assert names(lookup(service))[-1] == "ListAliases"
    assert lookup(service, end_time=START + 1).events == ()


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"max_results": 0}, errors.InvalidMaxResultsException),
        ({"max_results": 51}, errors.InvalidMaxResultsException),
        ({"start_time": START, "end_time": START - 1}, errors.InvalidTimeRangeException),
        ({"event_category": "management"}, errors.InvalidEventCategoryException),
        (by("EventVersion", "1"), errors.InvalidLookupAttributesException),
        (by("ReadOnly", "yes"), errors.InvalidLookupAttributesException),
        (by("EventName", ""), ValidationException),
        ({"lookup_attributes": [attribute("EventName", "a"), attribute("EventId", "b")]},
         errors.InvalidLookupAttributesException),
    ],
)
def test_questions_that_are_refused(service: InProcess, members: dict[str, Any], error: type[KmsError]) -> None:
    with pytest.raises(error) as caught:
        lookup(service, **members)
    assert type(caught.value) is error


def test_insight_events(service: InProcess) -> None:
    """There are none."""
    assert lookup(service, event_category="insight").events == ()


def test_default_is_no(service: InProcess) -> None:
    """Each operation needs its action; the trail is that of the caller's account."""
    plain = service.new_user("plain")
    reader = service.new_user("reader", policies={"p": statement("cloudtrail:LookupEvents")})
    tenant = service.new_account(OTHER)
    service.call("ListAliases", {}, token=tenant)
    requests: dict[str, dict[str, object]] = {
        LOOKUP: {}, "cloudtrail DescribeTrails": {}, "cloudtrail GetTrailStatus": {"name": "main"},
        "cloudtrail ListPublicKeys": {},
    }
    for operation, values in requests.items():
        with pytest.raises(AccessDeniedException, match=f"not authorized to perform: {operation.replace(' ', ':')}"):
            service.call(operation, values, token=plain)
        record = service.records()[-1]
        assert (record["errorCode"], record["eventSource"]) == ("AccessDenied", "cloudtrail.amazonaws.com")
        if operation != LOOKUP:
            with pytest.raises(AccessDeniedException):
                service.call(operation, values, token=reader)
    assert set(names(lookup(service, tenant))) == {"ListAliases", "CreateToken"}
    assert "ListAliases" not in names(lookup(service, reader))
    assert {event.username for event in lookup(service, reader, **by("Username", "plain")).events} == {"plain"}


def test_a_trail_is_a_resource(service: InProcess) -> None:
    """Policies may name the trail whose status may be asked for, by whichever form it is named."""
    token = service.new_user("alice", policies={"p": statement("cloudtrail:GetTrailStatus", Resource=TRAIL_ARN)})
    for name in ("main.trail-1", TRAIL_ARN):
        with pytest.raises(errors.TrailNotFoundException):
            service.call("cloudtrail GetTrailStatus", {"name": name}, token=token)
    with pytest.raises(AccessDeniedException):
        service.call("cloudtrail GetTrailStatus", {"name": "other"}, token=token)


def test_nothing_is_delivered(service: InProcess) -> None:
    """Without a trail there is none to tell of."""
    assert service.call("cloudtrail DescribeTrails", {}).trail_list == ()
    assert service.call("cloudtrail ListPublicKeys", {}).public_key_list == ()
    for name, error in (
        ("main", errors.TrailNotFoundException), (TRAIL_ARN, errors.TrailNotFoundException),
        ("ab", errors.InvalidTrailNameException), ("a..b", errors.InvalidTrailNameException),
        ("", errors.InvalidTrailNameException), ("a" * 129, errors.InvalidTrailNameException),
        (f"arn:aws:s3:::{HOME}", errors.CloudTrailARNInvalidException),
        (TRAIL_ARN + "/", errors.CloudTrailARNInvalidException),
    ):
        with pytest.raises(error):
            service.call("cloudtrail GetTrailStatus", {"name": name})


def test_what_is_delivered(tmp_path: Path) -> None:
    """By name and ARN, for the service's own account; keys by the times at which they signed."""
    trail = TrailDescription("main.trail-1", "aws", HOME, REGION, "bucket", "logs")
    with InProcess(tmp_path, delivered=trail) as service:
        _check_trail(service)
        _check_keys(service)


def _check_trail(service: InProcess) -> None:
    (trail,) = service.call("cloudtrail DescribeTrails", {}).trail_list
    assert (trail.name, trail.trail_arn, trail.s3_bucket_name) == ("main.trail-1", TRAIL_ARN, "bucket")
    for wanted, found in (([TRAIL_ARN], 1), (["main.trail-1"], 1), (["other"], 0)):
        answer = service.call("cloudtrail DescribeTrails", {"trail_name_list": wanted})
        assert len(answer.trail_list) == found
    away = {"include_shadow_trails": False}
    assert len(service.call("cloudtrail DescribeTrails", away).trail_list) == 1
    assert service.call("cloudtrail DescribeTrails", away, region="eu-west-1").trail_list == ()
    with pytest.raises(errors.InvalidTrailNameException):
        service.call("cloudtrail DescribeTrails", {"trail_name_list": ["-"]})
    assert not service.call("cloudtrail GetTrailStatus", {"name": TRAIL_ARN}).is_logging
    with service.catalog.write() as writer:
        writer.set_trail_state(TrailState(started=START - 5, log_attempted=START, log_delivered=START))
    status = service.call("cloudtrail GetTrailStatus", {"name": TRAIL_ARN})
    assert (status.is_logging, status.latest_delivery_time) == (True, START)
    assert (status.latest_delivery_attempt_time, status.time_logging_stopped) == ("2026-09-21T14:13:20Z", "")
    tenant = service.new_account(OTHER)
    assert service.call("cloudtrail DescribeTrails", {}, token=tenant).trail_list == ()
    with pytest.raises(errors.TrailNotFoundException):
        service.call("cloudtrail GetTrailStatus", {"name": TRAIL_ARN}, token=tenant)


def _check_keys(service: InProcess) -> None:
    keys = ServiceKeys(service.services, REGION, service.events, 1)
    keys.current(KeyPurpose.AUDIT_DIGEST)
    keys.current(KeyPurpose.AUDIT_LOG)
    service.clock.advance(DAY)
    keys.current(KeyPurpose.AUDIT_DIGEST)
    later = {"start_time": START + DAY + 1, "end_time": START + DAY + 1}
    for times, found in (
        (later, 1), ({"start_time": START}, 2), ({"start_time": START, "end_time": START + 1}, 1),
        ({"start_time": START - 9, "end_time": START - 1}, 0),
    ):
        listed = service.call("cloudtrail ListPublicKeys", times).public_key_list
        assert len(listed) == found
        assert all(key.fingerprint == md5(key.value, usedforsecurity=False).hexdigest() for key in listed)
    with pytest.raises(errors.InvalidTimeRangeException):
        service.call("cloudtrail ListPublicKeys", {"start_time": START + 2 * DAY})
    with pytest.raises(errors.InvalidTokenException):
        service.call("cloudtrail ListPublicKeys", {"next_token": "x"})
