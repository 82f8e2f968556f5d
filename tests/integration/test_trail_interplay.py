"""All that follows the audit trail, together: nothing is removed before each has dealt with it, and afterwards
everything that is asked of the trail still works."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.cloudtrail_endpoint import validate_logs
from tests.support.delivering import delivered
from tests.support.inprocess import HOME, REGION, START, FakeClock
from tests.support.receivers import Authority, HttpReceiver
from tests.support.s3_server import ACCESS_KEY_ID, SECRET, S3Server
from tests.support.small_segments import HeldServer, held_server

from kagitori_client.receipts import TrustedKey, open_checkpoint, verify_receipt
from kagitori_server.audit.verify import verify
from kagitori_server.delivery import log_files
from kagitori_server.delivery_opener import check_delivered
from kagitori_server.model.errors import KMSInternalException
from kagitori_server.operations.streams import Stream
from kagitori_server.transparency.checking import check_trees

DAY = 86_400
CALLS = 400
"""More than a tile of the tree takes, in some twenty-five segments."""
TREES = "adding records to trees"
FOLLOWERS = (
    "counting usage", "indexing the audit trail", TREES, "delivering the audit trail", "sink hook",
)


class Scene:
    """A data directory with everything on, and how servers on it are configured."""

    def __init__(self, folder: Path, hook: HttpReceiver, authority: Authority) -> None:
        self.folder = folder
        self.clock = FakeClock(START)
        self.hook = hook
        self.out, self.archive = folder / "out", folder / "archive"
        self.out.mkdir()
        secret, ca = folder / "secret", folder / "ca.crt"
        secret.touch(mode=0o600)
        secret.write_text("the secret of the hook")
        ca.write_text(authority.pem)
        self.settings: dict[str, dict[str, Any]] = {
            "audit": {
                "retention_days": 1.0, "archive_directory": str(self.archive), "archive_days": 0.5,
                "sinks": [{
                    "name": "hook", "kind": "webhook", "url": hook.url, "secret_file": str(secret),
                    "ca_file": str(ca), "from_beginning": True,
                }],
            },
            "delivery": {"directory": str(self.out), "period_seconds": 1e-9},
        }

    def server(self) -> HeldServer:
        """One more process."""
        return held_server(self.folder / "data", self.settings, self.clock)

    def sent(self) -> list[str]:
        """The ids of records that the webhook was sent."""
        return [event["eventID"] for post in self.hook.posts for event in json.loads(post.body)["records"]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def scene(tmp_path: Path, authority: Authority) -> Iterator[Scene]:
    with HttpReceiver(authority) as hook:
        yield Scene(tmp_path, hook, authority)


def fill(server: HeldServer, clock: FakeClock) -> str:
    """Records that are old, and behind them some that are new. Returns the key they are about."""
    key: str = server.call("CreateKey").key_metadata.arn
    items = [{"key_id": key, "plaintext": b"x", "encryption_context": {"n": str(number)}} for number in range(CALLS)]
    for number in range(0, CALLS, 10):
        server.call("BatchEncrypt", items=items[number : number + 10])
    clock.advance(2 * DAY)
    renew(server)
    return key


def renew(server: HeldServer) -> None:
    """As many records as the segments take that nobody removes."""
    for _ in range(40):
        server.call("ListKeys")


@pytest.mark.parametrize("last", FOLLOWERS)
def test_nothing_is_removed_before_each_has_dealt_with_it(scene: Scene, last: str) -> None:
    """Whoever it is that hasn't. Compressing waits for nobody, as all read the archive."""
    with scene.server() as server:
        assert set(server.followers) == set(FOLLOWERS)
        fill(server, scene.clock)
        server.follow(last)
        server.keep()
        assert server.pruned() == 0
        assert len(list(scene.archive.rglob("*.gz"))) > 15
        server.follow()
        server.keep()
        assert server.pruned() > 10


def test_what_is_asked_of_a_trail_that_was_pruned(scene: Scene) -> None:
    """By the process that did it, by another one at its side, and by those after a restart."""
    heads: list[str] = []
    keys: list[TrustedKey] = []
    receipts: list[bytes] = []
    with scene.server() as first:
        key = fill(first, scene.clock)
        early = first.receipt("DescribeKey", key_id=key)
        assert early is not None
        receipts.append(early)
        head = first.call("GetTreeHead")
        heads.append(head.checkpoint)
        keys += [TrustedKey.parse(text) for text in head.verifier_keys]
        first.follow()
        first.keep()
        removed = first.pruned()
        assert removed > 10
        with scene.server() as second:
            assert second.trail.position().chain == "chain-01"
            renew(second)
            for server in (second, first):
                server.follow()
                ask(server, key, heads, keys, receipts)
            # The second one's own chain is another log.
            own = second.receipt("DescribeKey", key_id=key)
            assert own is not None
            mine = [TrustedKey.parse(text) for text in second.call("GetTreeHead").verifier_keys]
            shown = verify_receipt(own, mine)
            assert shown.record is not None
            assert shown.origin != open_checkpoint(heads[0], keys).origin
            second.keep()
    with scene.server() as again:
        assert again.trail.position().chain == "chain-00"
        ask(again, key, heads, keys, receipts)
        # What the second one left is dealt with by the first.
        again.follow()
        renew(again)
        renew(again)
        scene.clock.advance(3 * DAY)
        renew(again)
        again.follow()
        again.keep()
        assert again.pruned() > removed
        ask(again, key, heads, keys, receipts)
        # Counting goes on behind what was removed.
        before = keyless(again)
        renew(again)
        assert keyless(again) == before + 40
    assert verify(scene.folder / "data" / "audit").sound
    assert check_trees(scene.folder / "data" / "audit") == ()


def keyless(server: HeldServer) -> int:
    """How many calls about no key were counted."""
    items = server.call(
        "GetUsage", start_time=START - DAY, end_time=START + 30 * DAY, group_by=("USAGE_TYPE", "KEY")
    ).items
    return sum(item.quantity for item in items if item.key_arn is None and str(item.usage_type).startswith("Requests"))


def ask(server: HeldServer, key: str, heads: list[str], keys: list[TrustedKey], receipts: list[bytes]) -> None:
    """Everything: usage, look-ups, exports, proofs, receipts, delivery and the verifiers."""
    (usage,) = [
        item for item in server.call(
            "GetUsage", start_time=START - DAY, end_time=START + DAY, group_by=("USAGE_TYPE", "KEY")
        ).items if item.key_arn == key and str(item.usage_type).startswith("Requests")
    ]
    assert usage.quantity == CALLS + 1, "each Encrypt and the CreateKey, once"
    assert server.call("GetKeyLastUsage", key_id=key).key_last_usage.operation == "Encrypt"
    lists = [("EventName", "ListKeys"), ("Region", REGION)]
    filters = tuple({"attribute_key": name, "attribute_value": value} for name, value in lists)
    found = [event.event_id for event in pages(server, filters)]
    assert len(found) == len(set(found)) >= 40
    assert not pages(server, ({"attribute_key": "Region", "attribute_value": "eu-west-1"},))
    exported = [
        event.event_id for part in pulled(server.call("ExportEvents", filters=filters)) for event in part.events
    ]
    assert sorted(exported) == sorted(found)
    report = server.call("VerifyAuditTrail", delivered=True)
    assert sound(report), report
    size = int(heads[0].split("\n")[1])
    # Of a record that is gone the tiles still have the hash; of one that is there, the record is given.
    origin = open_checkpoint(heads[0], keys).origin
    assert server.call("GetInclusionProof", origin=origin, leaf_index=0).proofs[0].leaf_index == 0
    kept = server.call("GetInclusionProof", origin=origin, leaf_index=size - 1).proofs[0]
    assert verify_receipt(kept.proof.encode(), keys).index == size - 1
    newest = server.call("GetInclusionProof", event_id=found[0])
    assert newest.proofs
    grown = server.call("GetConsistencyProof", origin=origin, first_size=size)
    assert grown.second_size >= size
    for receipt in receipts:
        assert verify_receipt(receipt, keys).record is not None
    late = server.receipt("DescribeKey", key_id=key)
    assert late is not None


def pulled(stream: Stream[Any]) -> Iterator[Any]:
    """All messages of a stream."""
    while (part := stream.pull()) is not None:
        yield part


def sound(report: Any) -> bool:
    """Whether nothing is wrong with chains, trees and what was delivered."""
    return not report.delivery.problem_count and not any(chain.problems for chain in report.chains)


def pages(server: HeldServer, filters: tuple[dict[str, str], ...]) -> list[Any]:
    """All pages of a look-up."""
    found: list[Any] = []
    token = None
    while True:
        page = server.call("LookupEvents", filters=filters, start_time=START - DAY, next_token=token)
        found += page.events
        token = page.next_token
        if token is None:
            return found


def test_every_record_is_delivered_and_sent_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over pruning, restarts, and a process that left a chain behind most of which is in the archive by then."""
    # As of chains that are longer than tests have the time to make.
    monkeypatch.setattr(log_files, "CONSIGNMENT_BYTES", 50_000)
    with scene.server() as first, scene.server() as second:
        fill(first, scene.clock)
        fill(second, scene.clock)
        # Archives the other one's chain, which nobody has delivered.
        first.keep()
        assert len(list((scene.archive / "chain-01").iterdir())) > 10
        second.die()
    for _ in range(2):
        with scene.server() as again:
            again.follow()
            again.keep()
            renew(again)
    with scene.server() as again:
        again.follow()
        for chain in ("chain-00", "chain-01"):
            folder = again.root / chain
            assert (folder / "pruned.jsonl").exists()
        records = [record["eventID"] for record in delivered(scene.out)]
        assert len(records) == len(set(records)) > 2 * CALLS
        assert len(scene.sent()) == len(set(scene.sent()))
        assert set(scene.sent()) <= set(records)
        assert sound(again.call("VerifyAuditTrail", delivered=True))


def test_the_aws_cli_finds_everything_valid(scene: Scene, tmp_path: Path) -> None:
    """What was delivered to a bucket, after the records were removed here, by a process that was started since."""
    credentials = tmp_path / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(f"[default]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {SECRET}\n")
    with S3Server() as s3:
        s3.new_bucket("trail")
        scene.settings["delivery"] = {
            "s3_bucket": "trail", "s3_endpoint": s3.endpoint, "s3_credentials_file": str(credentials),
            "period_seconds": 1e-9, "digest_seconds": 86_400,
        }
        with scene.server() as server:
            fill(server, scene.clock)
            server.follow()
            server.keep()
            assert server.pruned() > 10
        scene.clock.advance(DAY)
        with scene.server() as server:
            server.follow()
            assert server.delivery is not None
            report = validate_logs(s3, server.delivery.description, server.catalog, START - 3_600, scene.clock())
        objects = s3.objects("trail")
    counts = dict(reversed(pair) for pair in re.findall(r"^(\d+/\d+) (digest|log) files valid", report, re.MULTILINE))
    for kind, folder in (("digest", "/CloudTrail-Digest/"), ("log", "/CloudTrail/")):
        stored = sum(folder in key for key in objects)
        assert counts[kind] == f"{stored}/{stored}" != "0/0", report
    assert "INVALID" not in report


def test_trees_that_are_lost(scene: Scene) -> None:
    """Are made anew from the chain; where that has been pruned, nothing is signed any more, calls go on without
    receipts, nothing more is removed, and the verifier says why."""
    with scene.server() as server:
        key = fill(server, scene.clock)
        head = server.call("GetTreeHead")
        server.follow()
    trees = scene.folder / "data" / "audit" / "trees"
    shutil.rmtree(trees)
    with scene.server() as server:
        grown = server.call("GetConsistencyProof", origin=head.origin, first_size=head.tree_size)
        assert grown.first_root_hash == head.root_hash
        server.follow()
        server.keep()
        removed = server.pruned()
        assert removed > 10
    shutil.rmtree(trees)
    with scene.server() as server:
        with pytest.raises(KMSInternalException):
            server.call("GetTreeHead")
        assert server.receipt("DescribeKey", key_id=key) is None
        assert server.call("DescribeKey", key_id=key).key_metadata.arn == key
        scene.clock.advance(3 * DAY)
        renew(server)
        server.follow()
        server.keep()
        assert server.pruned() == removed
        assert [event.event_name for event in pages(server, ())]
    (problem,) = check_trees(scene.folder / "data" / "audit")
    assert "nothing proves the records before" in problem.description
    assert verify(scene.folder / "data" / "audit").sound


def test_another_processes_tree_goes_on_without_who_looked_at_it(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """What one process knew of the other's tree is no hindrance when that has grown and its chain was pruned."""
    with scene.server() as first, scene.server() as second:
        first.call("ListKeys")
        head = first.call("GetTreeHead")
        first.follow()
        second.follow()
        assert second.call("GetTreeHead", origin=head.origin).tree_size >= head.tree_size
        for _ in range(2):
            fill(first, scene.clock)
            first.follow()
        cursor = second.root / "trees" / "chain-00" / "cursor"
        before = cursor.read_bytes()
        first.keep()
        assert first.pruned() > 20
        second.follow()
        assert cursor.read_bytes() == before
        grown = second.call("GetConsistencyProof", origin=head.origin, first_size=head.tree_size)
        assert grown.second_size > 2 * CALLS
        assert grown.first_root_hash == head.root_hash
    with scene.server() as again:
        assert again.call("GetTreeHead", origin=head.origin).tree_size > grown.second_size
        again.follow()
    assert "isn't carried on" not in caplog.text


def test_trees_that_are_kept_when_asked_only(scene: Scene) -> None:
    """Are kept up with what is to be removed."""
    scene.settings["transparency"] = {"update_seconds": 0}
    with scene.server() as server:
        assert TREES in server.followers
    scene.settings["audit"]["retention_days"] = 0
    with scene.server() as server:
        assert TREES not in server.followers


def test_delivery_as_a_whole(scene: Scene) -> None:
    with scene.server() as server:
        fill(server, scene.clock)
        server.follow()
        report = check_delivered(server.settings, server.catalog, server.root)
        assert report is not None
        assert report.sound
        assert {record["recipientAccountId"] for record in delivered(scene.out)} == {HOME}
