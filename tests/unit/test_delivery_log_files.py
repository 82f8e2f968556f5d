"""Log files: every record in exactly one, under CloudTrail's names, whatever fails, ends or comes twice."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.delivering import DESCRIPTION, Deliverer, Faulty, delivered, objects
from tests.support.inprocess import HOME, REGION, START, InProcess
from tests.support.kms_calls import OTHER, encrypt, new_key

from kagitori_server.audit.addressed import addressed
from kagitori_server.delivery.destination import DestinationFailed
from kagitori_server.delivery.directory import METADATA_ENDING, DirectoryDestination
from kagitori_server.delivery.log_files import LEFT_SECONDS
from kagitori_server.delivery.naming import parse_key


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path / "service") as opened:
        yield opened


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "out").mkdir()


def ids(records: list[dict[str, Any]]) -> list[str]:
    return sorted(record["eventID"] for record in records)


def test_every_record_is_in_the_file_of_its_account_and_region(service: InProcess, tmp_path: Path) -> None:
    out = tmp_path / "out"
    deliverer = Deliverer(service, DirectoryDestination(out))
    tenant = service.new_account(OTHER)
    service.call("CreateKey", token=tenant)
    service.call("CreateKey", region="eu-west-1")
    encrypt(service, new_key(service).key_id, encryption_context={'"recipientAccountId":"': '","awsRegion":"x"'})
    assert deliverer.deliver() == 3
    found = objects(out)
    for key, content in found.items():
        named = parse_key(key)
        assert named is not None
        records = content["Records"]
        assert {(record["recipientAccountId"], record["awsRegion"]) for record in records} == {
            (named.account, named.region)
        }
        place = re.fullmatch(
            rf"audit/AWSLogs/({HOME}|{OTHER})/CloudTrail/([a-z0-9-]+)/2026/09/21/"
            r"\1_CloudTrail_\2_20260921T1413Z_[A-Za-z0-9]{16}\.json\.gz", key,
        )
        assert place, key
    assert ids(delivered(out)) == ids(service.records())
    assert deliverer.deliver() == 0


def test_a_file_is_one_gzip_member_of_the_records_as_they_were_written(service: InProcess, tmp_path: Path) -> None:
    Deliverer(service, DirectoryDestination(tmp_path / "out")).deliver()
    new_key(service)
    Deliverer(service, DirectoryDestination(tmp_path / "out")).deliver()
    written = {json.loads(line)["event"]["eventID"]: line for line in service.audit_text().splitlines()}
    for path in (tmp_path / "out").rglob("*.json.gz"):
        packer = zlib.decompressobj(16 + zlib.MAX_WBITS)
        text = packer.decompress(path.read_bytes())
        assert packer.eof
        assert packer.unused_data == b""
        assert text.startswith(b'{"Records":[{"eventVersion":"1.11"')
        for record in json.loads(text)["Records"]:
            assert json.dumps(record, separators=(",", ":")) in written[record["eventID"]]
        assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("when", ["fail_before", "fail_after"])
def test_what_failed_is_done_again_under_the_same_names(service: InProcess, tmp_path: Path, when: str) -> None:
    destination = Faulty(tmp_path / "out")
    deliverer = Deliverer(service, destination)
    service.call("CreateKey", region="eu-west-1")
    new_key(service)
    setattr(destination, when, "us-east-1")
    with pytest.raises(DestinationFailed):
        deliverer.deliver()
    tried = set(destination.puts)
    first = objects(tmp_path / "out")
    new_key(service)
    service.clock.advance(600)
    setattr(destination, when, None)
    another = Deliverer(service, destination, worker="another, after a restart")
    another.deliver()
    found = objects(tmp_path / "out")
    assert tried <= set(found)
    assert all(found[key] == content for key, content in first.items())
    assert ids(delivered(tmp_path / "out")) == ids(service.records())


def test_chains_of_processes_that_are_gone_are_delivered_too(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(3):
        with InProcess(tmp_path / "service") as service:
            new_key(service)
            records = service.records()
    with InProcess(tmp_path / "service") as service:
        Deliverer(service, DirectoryDestination(out)).deliver()
        assert ids(delivered(out)) == ids(records)


def test_the_chain_of_another_process_that_runs_is_left_to_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with InProcess(tmp_path / "service") as one, InProcess(tmp_path / "service") as two:
        mine, yours = Deliverer(one, DirectoryDestination(out)), Deliverer(two, DirectoryDestination(out), "two")
        new_key(one)
        new_key(two)
        mine.deliver()
        assert {record["eventName"] for record in delivered(out)} == {"CreateKey"}
        assert len(delivered(out)) == 1
        yours.deliver()
        assert ids(delivered(out)) == ids(one.records())


def test_of_two_that_find_a_chain_left_one_takes_it_on(tmp_path: Path) -> None:
    """And the other does when the first doesn't finish; what they bring is the same."""
    out = tmp_path / "out"
    with InProcess(tmp_path / "service") as gone:
        # Two chains, so that the later processes find one that neither of them holds.
        with InProcess(tmp_path / "service") as second:
            new_key(second)
            with InProcess(tmp_path / "service") as third:
                new_key(third)
        new_key(gone)
        left = Faulty(out)
        left.fail_after = "CloudTrail"
        with pytest.raises(DestinationFailed):
            Deliverer(gone, left, "one").deliver()
    with InProcess(tmp_path / "service") as one, InProcess(tmp_path / "service", one.clock) as two:
        destination = Faulty(out)
        Deliverer(one, destination, "one").deliver()
        two.clock.advance(LEFT_SECONDS)
        Deliverer(two, destination, "two").deliver()
        Deliverer(one, destination, "one").deliver()
        assert ids(delivered(out)) == ids(one.records())
        names = sorted({json.loads(line)["event"]["eventID"] for line in one.audit_text().splitlines()})
        assert ids(delivered(out)) == names


def test_only_so_much_is_consigned_at_once(
    service: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kagitori_server.delivery.log_files.CONSIGNMENT_BYTES", 1)
    for _ in range(100):
        new_key(service)
    files = Deliverer(service, DirectoryDestination(tmp_path / "out")).deliver()
    assert files >= 2
    assert ids(delivered(tmp_path / "out")) == ids(service.records())


def test_the_catalog_remembers_files_until_a_digest_lists_them(service: InProcess, tmp_path: Path) -> None:
    new_key(service)
    Deliverer(service, DirectoryDestination(tmp_path / "out")).deliver()
    with service.catalog.read() as reader:
        [file] = reader.delivered_files(HOME, REGION, None, 10)
    content = gzip.decompress((tmp_path / "out" / file.object_key).read_bytes())
    assert file.hash_value == hashlib.sha256(content).hexdigest()
    assert (file.records, file.delivered, file.bucket) == (len(service.records()), START, DESCRIPTION.bucket)
    assert file.oldest == file.newest == "2026-09-21T14:13:20Z"


def test_damaged_lines_are_told_of_and_the_rest_is_delivered(
    service: InProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        new_key(service)
    [segment] = service.audit_folder.rglob("*.jsonl")
    lines = segment.read_bytes().split(b"\n")
    lines[1] = b"#" * len(lines[1])
    segment.write_bytes(b"\n".join(lines))
    Deliverer(service, DirectoryDestination(tmp_path / "out")).deliver()
    assert len(delivered(tmp_path / "out")) == 2
    assert "1 lines of audit chain chain-00" in caplog.text


@pytest.mark.parametrize("line", [
    b"", b"{}", b'{"seq":1,"prev":"%b","event":{}}' % (b"0" * 64),
    b'{"seq":1,"prev":"%b","event":{"a":"","eventTime":"2026-01-01T00:00:00Z","awsRegion":"r","sourceIPAddress":"x",'
    b'"readOnly":true,"recipientAccountId":"12345678901x"}}' % (b"0" * 64),
])
def test_lines_without_an_address(line: bytes) -> None:
    assert addressed(line) is None


@pytest.mark.parametrize("key", ["../x", "a/../b", "a//b", "/a", "a/", "a/.b", "", "a/\x00", "a b"])
def test_a_directory_takes_no_other_names(tmp_path: Path, key: str) -> None:
    with pytest.raises(DestinationFailed):
        DirectoryDestination(tmp_path).put(key, b"", {})


def test_a_directory_keeps_metadata_beside(tmp_path: Path) -> None:
    here = DirectoryDestination(tmp_path)
    here.put("a/b.gz", b"1", {"signature": "00"})
    here.put("a/b.gz", b"2", {"signature": "01"})
    (tmp_path / "a" / ".unfinished-1").write_bytes(b"")
    found = here.get("a/b.gz")
    assert found is not None
    assert (found.content, found.metadata) == (b"2", {"signature": "01"})
    assert list(here.keys("a/")) == list(here.keys("")) == ["a/b.gz"]
    assert list(here.keys("b/")) == []
    assert here.get("a/c") is None
    (tmp_path / "a" / ("b.gz" + METADATA_ENDING)).write_text("[]")
    with pytest.raises(DestinationFailed):
        here.get("a/b.gz")


def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DestinationFailed, match="file"):
        DirectoryDestination(tmp_path / "file").put("a/b", b"", {})
