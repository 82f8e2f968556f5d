"""Digests: of CloudTrail's form, hourly whatever happens, linked over stops and crashes; what is tried again when."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.support.delivering import DESCRIPTION, HOUR, PERIOD, Deliverer, Faulty, objects
from tests.support.inprocess import HOME, REGION, START, InProcess
from tests.support.kms_calls import OTHER, new_key

from kagitori_server.delivery.checking import check_delivery, known_of
from kagitori_server.delivery.destination import DestinationFailed
from kagitori_server.delivery.directory import METADATA_ENDING
from kagitori_server.delivery.naming import parse_key
from kagitori_server.model.delivery_records import KeyPurpose
from kagitori_server.workers import DeletionWorker


class Setting:
    """A service, a folder and a deliverer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "out").mkdir()
        (folder / "service").mkdir()
        self.out = Faulty(folder / "out")
        self.service = InProcess(folder / "service")
        self.deliverer = Deliverer(self.service, self.out)

    def digests(self, region: str = REGION, account: str = HOME) -> list[dict[str, Any]]:
        found = objects(self.folder / "out", "CloudTrail-Digest")
        return [value for key, value in found.items() if f"/{account}/CloudTrail-Digest/{region}/" in key]

    def problems(self) -> list[Any]:
        return check_delivery(
            self.out, DESCRIPTION, lambda: known_of(self.service.catalog), self.service.audit_folder
        ).problems


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Setting]:
    setting = Setting(tmp_path)
    with setting.service:
        yield setting


def test_the_first_digest_member_by_member(here: Setting) -> None:
    here.deliverer.running.run_once()
    new_key(here.service)
    here.service.clock.advance(HOUR)
    here.deliverer.running.run_once()
    [found] = here.digests()
    key = DESCRIPTION.digest_key(HOME, REGION, START + HOUR)
    assert key == (
        f"audit/AWSLogs/{HOME}/CloudTrail-Digest/us-east-1/2026/09/21/"
        f"{HOME}_CloudTrail-Digest_us-east-1_kagitori_us-east-1_20260921T151320Z.json.gz"
    )
    [public_key] = known_of(here.service.catalog).keys
    logs = [name for name in here.out.puts if f"{HOME}/CloudTrail/us-east-1/" in name]
    assert len(logs) == 1
    text = gzip.decompress((here.folder / "out" / logs[0]).read_bytes())
    assert found == {
        "awsAccountId": HOME, "digestStartTime": "2026-09-21T14:13:20Z", "digestEndTime": "2026-09-21T15:13:20Z",
        "digestS3Bucket": DESCRIPTION.bucket, "digestS3Object": key,
        "digestPublicKeyFingerprint": hashlib.md5(public_key.value).hexdigest(),  # noqa: S324 - CloudTrail's name
        "digestSignatureAlgorithm": "SHA256withRSA",
        "newestEventTime": "2026-09-21T14:13:20Z", "oldestEventTime": "2026-09-21T14:13:20Z",
        "previousDigestS3Bucket": None, "previousDigestS3Object": None, "previousDigestHashValue": None,
        "previousDigestHashAlgorithm": None, "previousDigestSignature": None,
        "logFiles": [{
            "s3Bucket": DESCRIPTION.bucket, "s3Object": logs[0], "hashValue": hashlib.sha256(text).hexdigest(),
            "hashAlgorithm": "SHA-256", "newestEventTime": "2026-09-21T14:13:20Z",
            "oldestEventTime": "2026-09-21T14:13:20Z",
        }],
    }
    path = here.folder / "out" / key
    metadata = json.loads(path.with_name(path.name + METADATA_ENDING).read_text())
    assert metadata["signature-algorithm"] == "SHA256withRSA"
    signed = (
        f"2026-09-21T15:13:20Z\n{DESCRIPTION.bucket}/{key}\n"
        f"{hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()}\nnull"
    )
    verifier = load_der_public_key(public_key.value)
    assert isinstance(verifier, RSAPublicKey)
    verifier.verify(bytes.fromhex(metadata["signature"]), signed.encode(), PKCS1v15(), SHA256())


def test_there_is_one_every_hour_although_nothing_happens(here: Setting) -> None:
    here.deliverer.hours(6)
    for region in (REGION, "eu-west-1"):
        found = here.digests(region)
        assert len(found) == 5
        assert all(digest["logFiles"] == [] and digest["newestEventTime"] is None for digest in found[2:])
        for before, after in pairwise(found):
            assert after["previousDigestS3Object"] == before["digestS3Object"]
            assert after["digestStartTime"] == before["digestEndTime"]
    assert here.problems() == []


def test_an_account_has_digests_from_its_first_record_on(here: Setting) -> None:
    here.deliverer.hours(2)
    here.service.call("CreateKey", token=here.service.new_account(OTHER))
    here.deliverer.hours(3)
    found = here.digests(account=OTHER)
    assert [len(digest["logFiles"]) for digest in found] == [1, 0]
    assert found[0]["previousDigestS3Object"] is None
    assert here.problems() == []


def test_a_stop_leaves_a_digest_and_the_next_start_goes_on_from_it(here: Setting) -> None:
    here.deliverer.running.run_once()
    here.service.clock.advance(100)
    new_key(here.service)
    here.deliverer.running.finish(60)
    assert len(here.digests()) == 1
    assert here.deliverer.running.state().stopped == START + 100
    here.service.clock.advance(10 * HOUR)
    again = Deliverer(here.service, here.out, worker="after a restart")
    again.running.run_once()
    assert again.running.state().stopped is None
    first, second = here.digests()
    assert second["previousDigestS3Object"] == first["digestS3Object"]
    assert second["digestStartTime"] == first["digestEndTime"] == "2026-09-21T14:15:00Z"
    again.running.finish(60)
    assert len(here.digests()) == 2, "no second has passed"
    assert here.problems() == []


@pytest.mark.parametrize("when", ["fail_before", "fail_after"])
def test_a_digest_that_did_not_arrive_is_made_once_more_just_as_it_was(here: Setting, when: str) -> None:
    """By the same process, or by another once the first had its time."""
    here.deliverer.running.run_once()
    new_key(here.service)
    here.deliverer.deliver()
    here.service.clock.advance(HOUR)
    setattr(here.out, when, "CloudTrail-Digest")
    with pytest.raises(DestinationFailed):
        here.deliverer.digests.make_due()
    tried = here.digests("eu-west-1")
    here.service.clock.advance(30)
    setattr(here.out, when, None)
    other = Deliverer(here.service, here.out, worker="two")
    made, _ = other.digests.make_due()
    assert made == 1, "the Region that nobody had begun with"
    here.service.clock.advance(31)
    assert other.digests.make_due()[0] == 1
    assert here.digests("eu-west-1")[: len(tried)] == tried
    assert [digest["digestEndTime"] for digest in here.digests("eu-west-1")] == ["2026-09-21T15:13:20Z"]
    assert here.problems() == []


@pytest.mark.parametrize("when", ["fail_before", "fail_after"])
def test_a_digest_that_waited_for_longer_than_its_key_lived(here: Setting, when: str) -> None:
    """Counts if it was put, and else is made anew under the key that there is then: nothing is in the way of what
    follows, and all of it is sound."""
    here.deliverer.running.run_once()
    new_key(here.service)
    here.deliverer.deliver()
    here.service.clock.advance(89 * 24 * HOUR)
    setattr(here.out, when, "CloudTrail-Digest")
    with pytest.raises(DestinationFailed):
        here.deliverer.digests.make_due()
    setattr(here.out, when, None)
    [planned] = [chain for chain in known_of(here.service.catalog).digests if chain.plan is not None]
    assert planned.plan is not None
    here.service.clock.advance(100 * 24 * HOUR)
    here.deliverer.keys.current(KeyPurpose.AUDIT_DIGEST)
    here.service.clock.advance(8 * 24 * HOUR)
    DeletionWorker(here.service.services, here.service.events).run_once()
    assert here.deliverer.keys.named(KeyPurpose.AUDIT_DIGEST, planned.plan.key_id) is None
    for worker in ("two", "three"):
        other = Deliverer(here.service, here.out, worker=worker)
        here.service.clock.advance(61)
        while other.digests.make_due()[1] <= 0:
            pass
    assert here.problems() == []
    for region in (REGION, "eu-west-1"):
        first, *later = here.digests(region)
        counted = when == "fail_after" and region == planned.region
        assert first["digestEndTime"].startswith("2026-12-19T" if counted else "2027-04-06T")
        assert len(later) == counted
        assert sum(len(digest["logFiles"]) for digest in (first, *later)) == (region == REGION)


def test_what_a_crash_left_is_removed(here: Setting) -> None:
    """Once, at the start, if nobody can be writing it any more."""
    folder = here.folder / "out" / "audit" / "AWSLogs"
    folder.mkdir(parents=True)
    files = {name: folder / name for name in (".unfinished-old", ".unfinished-new", "other-old")}
    for name, path in files.items():
        path.touch()
        age = 3_700 if name.endswith("old") else 3_500
        os.utime(path, (START - age, START - age))
    here.deliverer.running.run_once()
    assert [name for name, path in files.items() if path.exists()] == [".unfinished-new", "other-old"]
    here.deliverer.hours(1)
    assert files[".unfinished-new"].exists()


def test_two_processes_make_each_digest_once(tmp_path: Path) -> None:
    here = Setting(tmp_path)
    with here.service, InProcess(tmp_path / "service", here.service.clock) as second:
        other = Deliverer(second, here.out, worker="two")
        for _ in range(4):
            new_key(here.service)
            new_key(second)
            here.service.clock.advance(HOUR)
            here.deliverer.running.run_once()
            other.running.run_once()
        digests = [key for key in here.out.puts if "CloudTrail-Digest" in key]
        assert len(digests) == len(set(digests))
        assert here.problems() == []


def test_failures_are_shown_and_tried_again_later_and_later(here: Setting) -> None:
    running, clock = here.deliverer.running, here.service.clock
    here.out.fail_before = "AWSLogs"
    new_key(here.service)
    attempts: list[float] = []
    for _ in range(700):
        running.run_once()
        state = running.state()
        assert state.log_attempted is not None
        if state.log_attempted not in attempts:
            attempts.append(state.log_attempted)
        clock.advance(1)
    waits = [int(after - before) for before, after in pairwise(attempts)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert state.log_error == "away"
    assert state.log_delivered is None
    here.out.fail_before = None
    clock.advance(PERIOD)
    running.run_once()
    state = running.state()
    assert (state.log_error, state.log_delivered) == (None, clock())
    assert here.problems() == []


def test_a_destination_that_is_away_at_the_end_is_not_waited_for(
    here: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    here.deliverer.running.run_once()
    new_key(here.service)
    here.out.fail_before = "AWSLogs"
    here.deliverer.running.finish(60)
    assert "log files could not be delivered: away" in caplog.text
    here.out.fail_before = None
    here.service.clock.advance(100)
    Deliverer(here.service, here.out, worker="after a restart").running.finish(60)
    assert here.problems() == []


@pytest.mark.parametrize("key", [
    "AWSLogs/1/CloudTrail/r/2026/09/21/x.json.gz", f"AWSLogs/{OTHER}/Other/r/2026/09/21/x.json.gz",
    f"AWSLogs/{OTHER}/CloudTrail/r/2026/09/x.json.gz", f"AWSLogs/{OTHER}/CloudTrail/r/2026/09/21/x.json",
])
def test_keys_that_no_file_of_a_trail_has(key: str) -> None:
    assert parse_key(key) is None
