"""Archive and retention: what was moved reads as before, what was removed is told apart from what was cut off."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from kagitori_server.audit.archived import ArchiveDamagedError, ArchivedSegment
from kagitori_server.audit.chain import PRUNED_NAME, segment_name
from kagitori_server.audit.following import beginning
from kagitori_server.audit.identity import IdentityType, render_identity
from kagitori_server.audit.indexing import Indexer, Indexes
from kagitori_server.audit.keeping import Keeper, Keeping
from kagitori_server.audit.lookup import LookupQuery, lookup_events
from kagitori_server.audit.matching import LookupKey
from kagitori_server.audit.opening import ChainDamagedError, find_tail
from kagitori_server.audit.portions import Follower, Following
from kagitori_server.audit.pruned import PRUNING_EVENT, StatementsDamagedError, chain_beginning, read_statements
from kagitori_server.audit.record import CallFacts, EventType, render_record
from kagitori_server.audit.trail import TrailLimits, open_trail
from kagitori_server.audit.verify import ExpectedHead, Progress, look_again, verify

ACCOUNT = "111122223333"
START = 1_700_000_000
DAY = 86_400
RECORDS = 120
IDENTITY = render_identity(
    IdentityType.ROOT, principal_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root", account_id=ACCOUNT
)
INTERNAL = render_identity(IdentityType.INTERNAL, account_id=ACCOUNT, invoked_by="AWS Internal")


def record(number: int, moment: float) -> bytes:
    return render_record(CallFacts(
        event_id=str(UUID(int=number)), request_id=f"r-{number}", event_time=moment, event_name="Encrypt",
        region="us-east-1", user_identity=IDENTITY, source_ip="192.0.2.7", user_agent="test", read_only=True,
        recipient_account=ACCOUNT, request_parameters={"encryption_context": {"pad": "x" * 300}},
    ))


class Kept:
    """A trail of two chains with a record a day, looked after by one process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trails = [open_trail(root, limits=TrailLimits(segment_bytes=6_000)) for _ in range(2)]
        self.now = float(START)
        self.indexes = Indexes(root)
        self.reached: dict[str, int] = {}
        for number in range(RECORDS):
            self.now = START + number * DAY
            self.trails[number % 2].append_blocking(record(number, self.now))

    def keep(self, keeping: Keeping) -> None:
        """A round of the keeper."""
        self.keeper(keeping).run_once()

    def keeper(self, keeping: Keeping) -> Keeper:
        followers = {"index": lambda _: 10**9, "other": lambda chain: self.reached.get(chain, 10**9)}
        return Keeper(self.root, self.trails[0], keeping, followers, self.event, lambda: self.now)

    def event(self, name: str, details: object) -> bytes:
        assert isinstance(details, dict)
        return render_record(CallFacts(
            event_id=str(UUID(int=10**6)), request_id=None, event_time=self.now, event_name=name,
            event_type=EventType.SERVICE_EVENT, event_source="kagitori.amazonaws.com", region="us-east-1",
            user_identity=INTERNAL, source_ip="AWS Internal", user_agent="AWS Internal", read_only=False,
            recipient_account=ACCOUNT, service_event_details=details,
        ))

    def index(self) -> None:
        for trail in self.trails:
            Indexer(self.root, trail, self.indexes, lambda: None, sealed_lines=20).run_once()

    def found(self, indexes: Indexes | None = None) -> list[int]:
        """What a look-up of all calls finds."""
        query = LookupQuery(ACCOUNT, filters=((LookupKey.EVENT_NAME, "Encrypt"),))
        numbers: list[int] = []
        while True:
            page = lookup_events(self.root, query, indexes=indexes)
            numbers += [UUID(event.event_id).int for event in page.events]
            if page.next_token is None:
                return numbers
            query = LookupQuery(ACCOUNT, filters=query.filters, next_token=page.next_token)

    def chain(self, number: int) -> Path:
        return self.root / f"chain-0{number}"

    def segments(self, number: int) -> list[str]:
        return sorted(path.name for path in self.chain(number).glob("*.jsonl*") if path.name != PRUNED_NAME)

    def close(self) -> None:
        for trail in self.trails:
            trail.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    opened = Kept(tmp_path / "audit")
    yield opened
    opened.close()


def read_all(path: Path) -> bytes:
    with closing(ArchivedSegment(path)) as segment:
        return segment.pread(10**6, 0)


EVERYTHING = list(range(RECORDS - 1, -1, -1))


def test_nothing_is_touched_unless_asked(kept: Kept) -> None:
    before = (kept.segments(0), kept.segments(1), kept.trails[0].position())
    kept.keep(Keeping())
    assert (kept.segments(0), kept.segments(1), kept.trails[0].position()) == before


def test_an_archive_is_read_as_if_nothing_had_been_moved(kept: Kept, tmp_path: Path) -> None:
    """By look-ups with and without index, by exports, by the verifier, and by gzip."""
    kept.index()
    contents = {path: path.read_bytes() for path in kept.chain(0).glob("*.jsonl")}
    kept.keep(Keeping(archive_directory=tmp_path / "archive", archive_days=30))
    archived = sorted((tmp_path / "archive" / "chain-00").iterdir())
    assert len(archived) > 3
    assert len(kept.segments(0)) + len(archived) == len(contents)
    for path in archived:
        plain = kept.chain(0) / path.name.removesuffix(".gz")
        assert not plain.exists()
        assert gzip.decompress(path.read_bytes()) == contents[plain]
        assert path.stat().st_size < len(contents[plain]) / 2
    assert kept.found() == EVERYTHING
    assert kept.found(kept.indexes) == EVERYTHING
    fresh = kept.indexes = Indexes(kept.root)
    shutil.rmtree(kept.root / "index")
    kept.index()
    assert kept.found(fresh) == EVERYTHING
    follower = Follower(kept.root, kept.trails[0].position, fresh, lambda: None)
    portions = follower.portions(Following(LookupQuery(ACCOUNT)), lambda: False)
    assert [UUID(event.event_id).int for portion in portions for event in portion.events] == EVERYTHING[::-1]
    report = verify(kept.root)
    assert report.sound
    assert [chain.records for chain in report.chains] == [RECORDS // 2, RECORDS // 2]
    kept.trails[0].close()
    kept.trails[0] = open_trail(kept.root)
    assert kept.trails[0].position().seq == RECORDS // 2


def test_a_move_that_was_broken_off_is_ended(kept: Kept, tmp_path: Path) -> None:
    archive = Keeping(archive_directory=tmp_path / "archive", archive_days=30)
    copy = tmp_path / "copy"
    shutil.copy(kept.chain(0) / segment_name(1), copy)
    kept.keep(archive)
    shutil.copy(copy, kept.chain(0) / segment_name(1))
    assert kept.found() == EVERYTHING
    kept.keep(archive)
    assert not (kept.chain(0) / segment_name(1)).exists()
    # Something else of that name is not taken for it.
    (kept.chain(0) / segment_name(1)).write_bytes(copy.read_bytes().replace(b"Encrypt", b"Decrypt", 1))
    with pytest.raises(OSError, match="is not what"):
        kept.keep(archive)


def test_a_damaged_archive_is_noticed(kept: Kept, tmp_path: Path) -> None:
    kept.keep(Keeping(archive_directory=tmp_path / "archive", archive_days=30))
    path = tmp_path / "archive" / "chain-00" / (segment_name(1) + ".gz")
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:100] + b"\0" + whole[101:], b"", whole[:-28], b"x" + whole[1:]):
        path.write_bytes(damaged)
        # Without the mark at the end, everything is there all the same.
        assert verify(kept.root).sound == (damaged == whole[:-28])
        with pytest.raises(ArchiveDamagedError):
            read_all(path)


def test_old_segments_are_removed_and_said_to_be(kept: Kept) -> None:
    """The records of the trail and the statements agree; what is left verifies, is looked up and is continued."""
    kept.index()
    head = kept.trails[0].position()
    first = chain_beginning(kept.chain(0))
    kept.keep(Keeping(retention_days=60))
    found = kept.found(kept.indexes)
    assert found == kept.found() == EVERYTHING[: len(found)]
    assert 60 < len(found) < 75
    kept.index()
    assert kept.found(kept.indexes) == found
    assert chain_beginning(kept.chain(0)) == first
    statements = read_statements(kept.chain(0))
    assert kept.segments(0)[0] == segment_name(statements.segments + 1)
    report = verify(kept.root, expected_heads={"chain-00": ExpectedHead(head.seq, head.head)})
    assert report.sound, report
    assert report.chains[0].pruned_seq == statements.stated[-1].last_seq == report.chains[0].first_seq - 1
    [event] = lookup_events(kept.root, LookupQuery(ACCOUNT, filters=((LookupKey.EVENT_NAME, PRUNING_EVENT),))).events
    told = json.loads(event.cloud_trail_event)["serviceEventDetails"]
    assert [chain["statementHash"] for chain in told["chains"]] == [
        read_statements(kept.chain(number)).hashes[-1] for number in range(2)
    ]
    position = kept.trails[0].position()
    kept.keep(Keeping(retention_days=60))
    assert kept.trails[0].position() == position, "nothing more to be said"
    for number in range(2):
        kept.trails[number].close()
    kept.trails = [open_trail(kept.root, limits=TrailLimits(segment_bytes=6_000)) for _ in range(2)]
    assert kept.trails[0].position() == position
    for number in range(RECORDS, 2 * RECORDS):
        kept.now += DAY
        kept.trails[number % 2].append_blocking(record(number, kept.now))
    kept.keep(Keeping(retention_days=30))
    assert verify(kept.root).sound
    assert max(kept.found()) == 2 * RECORDS - 1


def test_a_chain_is_known_by_its_statements_as_they_are_now(kept: Kept) -> None:
    """The first record's hash is kept in mind, and damage of any statement is noticed all the same."""
    before = chain_beginning(kept.chain(0))
    kept.keep(Keeping(retention_days=30))
    assert not (kept.chain(0) / segment_name(1)).exists()
    for _ in range(2):
        assert chain_beginning(kept.chain(0)) == before
    path = kept.chain(0) / PRUNED_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + b"0" + whole[-2:])
    with pytest.raises(StatementsDamagedError):
        chain_beginning(kept.chain(0))
    assert beginning(kept.chain(0)) is None
    path.write_bytes(whole)
    assert chain_beginning(kept.chain(0)) == before


@pytest.mark.parametrize("segment", [1, 2, 4])
@pytest.mark.parametrize("chain", ["chain-00", "chain-01"])
def test_a_trail_is_sound_while_it_is_pruned(kept: Kept, tmp_path: Path, chain: str, segment: int) -> None:
    """Segments go while the verifier reads others, and the record that tells of it may stand in a chain that it has
    read already. What is wrong besides is still found."""
    days = iter((90, 60, 30))

    def prune(progress: Progress) -> None:
        if (progress.chain, progress.segment) == (chain, segment_name(segment)):
            kept.keep(Keeping(next(days, 30), tmp_path / "archive", archive_days=5))

    found = verify(kept.root, prune)
    assert found.sound, found
    assert not (kept.chain(0) / segment_name(2)).exists()
    kept.now += 100 * DAY
    # The newest but one: nothing of it is to be moved.
    path = kept.chain(1) / kept.segments(1)[-2]
    path.write_bytes(path.read_bytes().replace(b"Encrypt", b"Decrypt", 1))
    days = iter((20, 10, 5, 4, 3))
    assert not verify(kept.root, prune).sound


def test_what_was_altered_is_reported_though_it_is_pruned_meanwhile(kept: Kept) -> None:
    """Another look would find nothing of it."""
    path = kept.chain(0) / segment_name(2)
    path.write_bytes(path.read_bytes().replace(b"Encrypt", b"Decrypt", 1))

    def prune(progress: Progress) -> None:
        if progress.segment == segment_name(4):
            kept.keep(Keeping(retention_days=30))

    found = verify(kept.root, prune)
    assert not path.exists()
    assert not found.sound
    assert "was altered" in found.chains[0].problems[0].description
    assert verify(kept.root).sound


def test_only_what_is_wrong_is_looked_at_again(kept: Kept) -> None:
    """And just if segments went meanwhile."""
    looks = []

    def look(days: int, *, sound: bool) -> bool:
        looks.append(days)
        if days:
            kept.keep(Keeping(days))
        return sound

    assert not look_again(kept.root, lambda: look(0, sound=False), bool)
    assert look_again(kept.root, lambda: look(90, sound=True), bool)
    assert look_again(kept.root, lambda: look(60, sound=len(looks) > 2), bool)
    assert looks == [0, 90, 60, 60]


def test_a_trail_that_is_always_being_pruned_is_reported_as_it_was_read(kept: Kept) -> None:
    """After a few looks."""
    looks: list[str] = []

    def disturb(progress: Progress) -> None:
        if progress.segment == segment_name(1):
            looks.append(progress.chain)
            with (kept.chain(0) / PRUNED_NAME).open("ab") as file:
                file.write(b"x")

    (kept.chain(0) / segment_name(2)).unlink()
    assert not verify(kept.root, disturb).sound
    assert looks == ["chain-00", "chain-01"] * 3


def test_pruning_reaches_into_the_archive(kept: Kept, tmp_path: Path) -> None:
    both = Keeping(retention_days=60, archive_directory=tmp_path / "archive", archive_days=10)
    kept.keep(Keeping(archive_directory=tmp_path / "archive", archive_days=10))
    kept.keep(both)
    names = {path.name for path in (tmp_path / "archive" / "chain-00").iterdir()}
    assert segment_name(1) + ".gz" not in names
    assert names
    assert verify(kept.root).sound


def test_nothing_is_removed_before_every_follower_has_dealt_with_it(kept: Kept) -> None:
    kept.reached = {"chain-00": 0, "chain-01": 20}
    kept.keep(Keeping(retention_days=60))
    assert read_statements(kept.chain(0)).segments == 0
    stated = read_statements(kept.chain(1)).stated
    assert stated
    assert stated[-1].last_seq <= 20


def test_a_clock_that_was_ahead_keeps_what_it_wrote(kept: Kept) -> None:
    """The newest record of a segment counts, wherever it stands."""
    trail = kept.trails[1]
    for number in range(200, 260):
        trail.append_blocking(record(number, START + (5_000 if number == 210 else 0) * DAY))
    kept.now = START + 4_000 * DAY
    kept.keep(Keeping(retention_days=60))
    assert 210 in kept.found()
    assert verify(kept.root).sound


@pytest.mark.parametrize("lost", ["record", "removal"])
def test_pruning_that_was_broken_off_is_ended(kept: Kept, tmp_path: Path, lost: str) -> None:
    """Statements alone, or statements and record, were written: the segments are still there."""
    copy = tmp_path / "copy"
    shutil.copytree(kept.root, copy)
    kept.keep(Keeping(retention_days=60))
    for number in range(2):
        for path in (copy / f"chain-0{number}").glob("0*.jsonl"):
            if not (kept.chain(number) / path.name).exists():
                shutil.copy(path, kept.chain(number) / path.name)
    if lost == "record":
        kept.close()
        for number in range(2):
            shutil.copy(kept.chain(number) / PRUNED_NAME, copy / f"chain-0{number}" / PRUNED_NAME)
        shutil.rmtree(kept.root)
        copy.rename(kept.root)
        kept.trails = [open_trail(kept.root, limits=TrailLimits(segment_bytes=6_000)) for _ in range(2)]
    assert verify(kept.root).sound
    assert kept.found() == EVERYTHING
    kept.keep(Keeping(retention_days=60))
    assert verify(kept.root).sound
    assert len(kept.found()) < RECORDS


def test_truncation_is_not_taken_for_pruning(kept: Kept, tmp_path: Path) -> None:
    """Whatever of statements, record and segments is missing or altered, the verifier tells."""
    pristine = tmp_path / "pristine"
    shutil.copytree(kept.root, pristine)
    kept.keep(Keeping(retention_days=60))
    kept.close()
    chain = kept.chain(1)
    pruned = (chain / PRUNED_NAME).read_bytes()
    lines = pruned.splitlines(keepends=True)

    def problems() -> list[str]:
        return [problem.description for report in verify(kept.root).chains for problem in report.problems]

    assert problems() == []
    oldest = chain / kept.segments(1)[0]
    content = oldest.read_bytes()
    oldest.unlink()
    assert any("missing" in text for text in problems())
    with pytest.raises(ChainDamagedError):
        find_tail(chain)
    oldest.write_bytes(content)
    for forged in (
        b"", b"".join(lines[:-1]), b"".join(lines[1:]), pruned.replace(b'"lastSeq":', b'"lastSeq":1', 1),
        pruned.replace(lines[-1], lines[-1].replace(b'"lastTime":"2', b'"lastTime":"1')), b"[]\n" + pruned,
        pruned.replace(b"2023-", b"2022-"),
    ):
        (chain / PRUNED_NAME).write_bytes(forged)
        assert problems(), forged[:200]
    (chain / PRUNED_NAME).write_bytes(pruned)
    assert problems() == []
    # Statements were forged along with the removal, but the trail has no record of it.
    shutil.rmtree(kept.chain(0))
    shutil.copytree(pristine / "chain-00", kept.chain(0))
    assert problems() == ["no record in the trail says that segments were pruned"]
    kept.trails = []
