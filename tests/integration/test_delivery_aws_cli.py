"""What AWS's own validator says of what lies in a bucket of an S3 server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cloudtrail_endpoint import validate_logs
from tests.support.delivering import DESCRIPTION, Deliverer
from tests.support.inprocess import HOME, REGION, START, FakeClock, InProcess
from tests.support.kms_calls import DAY, OTHER, new_key
from tests.support.s3_server import ACCESS_KEY_ID, SECRET, S3Server

from kagitori_server.delivery.checking import known_of
from kagitori_server.delivery.destination import DestinationFailed
from kagitori_server.delivery.naming import TrailDescription
from kagitori_server.delivery.s3 import Bucket, S3Destination

HOUR = 3_600
BEFORE = START - HOUR


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def description(s3: S3Server, request: pytest.FixtureRequest) -> TrailDescription:
    bucket = s3.new_bucket(re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:60].strip("-"))
    return TrailDescription("kagitori", "aws", HOME, REGION, bucket, "audit")


def destination(s3: S3Server, description: TrailDescription) -> S3Destination:
    return S3Destination(Bucket(description.bucket, REGION, s3.endpoint, "", ACCESS_KEY_ID, SECRET))


def counts(report: str) -> dict[str, str]:
    """`3/3` by `digest` and `log`, as the summary has them."""
    found = re.findall(r"^(\d+/\d+) (digest|log) files valid", report, re.MULTILINE)
    return {kind: ratio for ratio, kind in found}


def test_everything_is_valid_over_restarts_and_keys(
    s3: S3Server, description: TrailDescription, tmp_path: Path
) -> None:
    """Two days with three starts, a stop of half a day, and keys that are good for one."""
    clock = FakeClock(START)
    for _ in range(3):
        with InProcess(tmp_path, clock) as service:
            deliverer = Deliverer(service, destination(s3, description), description=description, key_days=1)
            for _ in range(4):
                new_key(service)
                service.call("CreateKey", region="eu-west-1")
                deliverer.hours(1)
            clock.advance(90)
            new_key(service)
            deliverer.running.finish(60)
            clock.advance(DAY / 2)
    with InProcess(tmp_path, clock) as service:
        assert len(known_of(service.catalog).keys) == 2
        here = validate_logs(s3, description, service.catalog, BEFORE, clock())
        there = validate_logs(s3, description, service.catalog, BEFORE, clock(), region="eu-west-1")
    for report in (here, there):
        assert "INVALID" not in report, report
        assert "invalid" not in report, report
        assert "No " not in report, report
        assert "gap" not in report.lower(), report
    for region, report in ((REGION, here), ("eu-west-1", there)):
        keys = [key for key in s3.objects(description.bucket) if f"/{region}/" in key]
        digests = sum("CloudTrail-Digest" in key for key in keys)
        logs = len(keys) - digests
        assert digests >= 14
        assert logs >= 12
        assert counts(report) == {"digest": f"{digests}/{digests}", "log": f"{logs}/{logs}"}


def test_other_accounts_have_chains_of_their_own(
    s3: S3Server, description: TrailDescription, tmp_path: Path
) -> None:
    with InProcess(tmp_path) as service:
        tenant = service.new_account(OTHER)
        deliverer = Deliverer(service, destination(s3, description), description=description)
        service.call("CreateKey", token=tenant)
        deliverer.hours(3)
        report = validate_logs(s3, description, service.catalog, BEFORE, service.clock(), account=OTHER)
    assert counts(report) == {"digest": "2/2", "log": "1/1"}
    assert "INVALID" not in report


def test_it_finds_what_it_looks_for(s3: S3Server, description: TrailDescription, tmp_path: Path) -> None:
    """So the silence above means something."""
    with InProcess(tmp_path) as service:
        deliverer = Deliverer(service, destination(s3, description), description=description)
        for _ in range(3):
            new_key(service)
            deliverer.hours(1)
        keys = s3.objects(description.bucket)
        log = next(key for key in keys if "/CloudTrail/us-east-1/" in key)
        digests = [key for key in keys if "/CloudTrail-Digest/us-east-1/" in key]
        other = s3.client.get_object(Bucket=description.bucket, Key=digests[0])
        s3.client.delete_object(Bucket=description.bucket, Key=log)
        s3.client.put_object(
            Bucket=description.bucket, Key=digests[1], Body=other["Body"].read(), Metadata=other["Metadata"]
        )
        report = validate_logs(s3, description, service.catalog, BEFORE, service.clock())
    assert "INVALID: not found" in report
    assert "has been moved from its original location" in report


def test_a_bucket_that_is_not_there(s3: S3Server, tmp_path: Path) -> None:
    bucket = Bucket("absent", REGION, s3.endpoint, "", ACCESS_KEY_ID, SECRET)
    assert SECRET not in repr(bucket)
    absent = S3Destination(bucket)
    with pytest.raises(DestinationFailed, match="bucket absent: NoSuchBucket"):
        absent.put("a", b"", {})
    with pytest.raises(DestinationFailed, match="NoSuchBucket"):
        list(absent.keys(""))
    with pytest.raises(DestinationFailed, match="NoSuchBucket"):
        absent.get("a")
    nowhere = S3Destination(Bucket("absent", REGION, "http://127.0.0.1:9", "", ACCESS_KEY_ID, SECRET))
    with pytest.raises(DestinationFailed, match="EndpointConnectionError"):
        nowhere.put("a", b"", {})
    assert DESCRIPTION.bucket


def test_objects_with_metadata(s3: S3Server, description: TrailDescription) -> None:
    here = destination(s3, description)
    here.put("a/b", b"content", {"signature": "00"})
    found = here.get("a/b")
    assert found is not None
    assert (found.content, dict(found.metadata)) == (b"content", {"signature": "00"})
    assert here.get("a/c") is None
    assert list(here.keys("a/")) == ["a/b"]


def test_a_bucket_that_encrypts_is_told_which_key(s3: S3Server, description: TrailDescription) -> None:
    key = f"arn:aws:kms:{REGION}:{HOME}:key/12345678-0000-4000-8000-000000000000"
    bucket = Bucket(description.bucket, REGION, s3.endpoint, "", ACCESS_KEY_ID, SECRET)
    encrypting = S3Destination(bucket, key, description.arn)
    encrypting.put("log", b"content", {})
    encrypting.put("digest", b"content", {"signature": "00"})
    log, digest = (s3.client.head_object(Bucket=description.bucket, Key=name) for name in ("log", "digest"))
    assert (log["ServerSideEncryption"], log["SSEKMSKeyId"]) == ("aws:kms", key)
    assert "SSEKMSKeyId" not in digest
