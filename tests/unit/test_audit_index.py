"""The index of the trail: the same answers with and without it, whatever records and filters, and however damaged."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from kagitori_server.audit.backwards import event_time
from kagitori_server.audit.chain import chain_name
from kagitori_server.audit.identity import IdentityType, SessionFacts, render_identity
from kagitori_server.audit.index_file import Words, account_word, file_hash, word
from kagitori_server.audit.indexing import Indexer, Indexes
from kagitori_server.audit.lookup import LookupQuery, lookup_events
from kagitori_server.audit.matching import Filter, LookupKey, attributes, context_pair, needle, parse_record
from kagitori_server.audit.record import ADMIN_SOURCE, KMS_SOURCE, CallFacts, Resource, render_record
from kagitori_server.audit.trail import Trail, TrailLimits, open_trail
from kagitori_server.model.errors import ValidationException

ACCOUNTS = ("111122223333", "444455556666")
START = 1_700_000_000
NAMES = ("alice", "bob", "root", "zoë", 'q"u\\o')
CONTEXTS: tuple[dict[str, str], ...] = (
    {}, {"tenant": "t1"}, {"tenant": "t2", "a": "b=c"}, {"a=b": "c"}, {"a": "b=c", "ключ": "значение"},
)


def _identity(chance: random.Random, account: str) -> bytes:
    name = chance.choice(NAMES)
    if chance.random() < 0.3:
        role = f"arn:aws:iam::{account}:role/app"
        return render_identity(
            IdentityType.ASSUMED_ROLE, principal_id=f"AROAEXAMPLE:{name}", account_id=account,
            arn=f"arn:aws:sts::{account}:assumed-role/app/{name}", access_key_id="ASIA1",
            session=SessionFacts("Role", "AROAEXAMPLE", role, account, "app", START),
        )
    if chance.random() < 0.2:
        return render_identity(
            IdentityType.ROOT, principal_id=account, arn=f"arn:aws:iam::{account}:root", account_id=account
        )
    return render_identity(
        IdentityType.IAM_USER, principal_id="AIDA" + name, arn=f"arn:aws:iam::{account}:user/{name}",
        account_id=account, access_key_id=f"AKIA{len(name)}", user_name=name,
    )


def random_record(chance: random.Random, number: int, moment: int) -> bytes:
    """A call of somebody, about some keys, that ended somehow."""
    account = chance.choice(ACCOUNTS)
    keys = [
        Resource(account, f"arn:aws:kms:us-east-1:{account}:key/k{chance.randrange(4)}")
        for _ in range(chance.randrange(3))
    ]
    if chance.random() < 0.2:
        keys.append(Resource(account, f"arn:aws:kms:us-east-1:{account}:alias/app"))
    error = chance.choice((None, None, None, "AccessDenied", "DisabledException"))
    parameters: dict[str, object] = {
        "key_id": chance.choice(("alias/app", "k1", f"arn:aws:kms:us-east-1:{account}:key/k2", None)),
        "encryption_context": chance.choice(CONTEXTS),
    }
    return render_record(CallFacts(
        event_id=str(UUID(int=number)), request_id=None if chance.random() < 0.1 else str(UUID(int=number // 2)),
        event_time=moment, event_name=chance.choice(("Encrypt", "Decrypt", "CreateUser")),
        region=chance.choice(("us-east-1", "eu-west-1")),
        user_identity=_identity(chance, account), source_ip=chance.choice(("192.0.2.7", "2001:db8::1")),
        user_agent="test", read_only=chance.random() < 0.5, recipient_account=account,
        event_source=chance.choice((KMS_SOURCE, ADMIN_SOURCE)), resources=tuple(keys),
        request_parameters=None if chance.random() < 0.1 else parameters, error_code=error,
        error_message=None if error is None else "no",
    ))


FACTS = CallFacts(
    event_id="", request_id="r", event_time=START, event_name="Encrypt", region="us-east-1",
    user_identity=_identity(random.Random(1), ACCOUNTS[0]), source_ip="192.0.2.7", user_agent="test", read_only=True,
    recipient_account=ACCOUNTS[0],
)


class Log:
    """A trail of several chains that is written to, and its index."""

    def __init__(self, root: Path, chains: int, seed: int, sealed_lines: int) -> None:
        self.root = root
        self.chance = random.Random(seed)
        self.trails = [open_trail(root, limits=TrailLimits(segment_bytes=20_000)) for _ in range(chains)]
        self.sealed_lines = sealed_lines
        self.indexes = Indexes(root)
        self.records: list[bytes] = []
        self.times: list[int] = []
        self.moment = START

    def write(self, records: int) -> None:
        """Records whose clock mostly goes on, and is at times set back or forth by hours."""
        for _ in range(records):
            self.moment += self.chance.choice((0, 0, 1, 5, 60))
            if self.chance.random() < 0.01:
                self.moment += self.chance.choice((-20_000, -4_000, 4_000))
            record = random_record(self.chance, len(self.records), self.moment)
            self.records.append(record)
            self.times.append(self.moment)
            self.chance.choice(self.trails).append_blocking(record)

    def indexer(self, trail: Trail) -> Indexer:
        """The follower of the process that a trail is of."""
        return Indexer(self.root, trail, self.indexes, lambda: None, self.sealed_lines)

    def index(self) -> None:
        """Every process follows."""
        for trail in self.trails:
            self.indexer(trail).run_once()

    def restart(self) -> None:
        """What a process knows is forgotten, not what is on disk."""
        self.indexes = Indexes(self.root)

    def files(self) -> list[Path]:
        """Of the index."""
        return sorted((self.root / "index").rglob("*.sqlite"))

    def check(self, times: int) -> None:
        """Random queries have the same answers with the index, page for page in any size, as without; and these are
        what the records say."""
        for _ in range(times):
            query = self.query()
            plain = self.all_pages(query, None, 10**9)
            budget, size = self.chance.choice(((10**9, 3), (40_000, 50), (2_000, 50), (10**9, 50), (20_000, 20)))
            sized = replace(query, max_results=size)
            assert self.all_pages(sized, self.indexes, budget) == plain
            assert sorted(plain) == sorted(self.expected(query))

    def query(self) -> LookupQuery:
        """Filters that some record fits, or others."""
        account = self.chance.choice(ACCOUNTS)
        record = parse_record(b'{"seq":1,"prev":"%b","event":%b}' % (b"0" * 64, self.chance.choice(self.records)))
        assert record is not None
        known = sorted(attributes(record))
        filters = tuple(self.chance.sample(known, self.chance.choice((0, 1, 1, 2, 3, 5))))
        if self.chance.random() < 0.1:
            filters = (*filters, (LookupKey.EVENT_NAME, "Nothing"))
        start = end = None
        if self.chance.random() < 0.5:
            start, end = sorted(self.chance.choice(self.times) + self.chance.randrange(-50, 50) for _ in range(2))
        return LookupQuery(account, start_time=start, end_time=end, filters=filters)

    def expected(self, query: LookupQuery) -> list[str]:
        """The ids of the records that fit, by reading all of them."""
        found = []
        for number, text in enumerate(self.records):
            record = parse_record(b'{"seq":1,"prev":"%b","event":%b}' % (b"0" * 64, text))
            assert record is not None
            second = self.times[number]
            if (
                record["recipientAccountId"] == query.account_id
                and (query.start_time is None or second >= query.start_time)
                and (query.end_time is None or second <= query.end_time)
                and set(query.filters) <= attributes(record)
            ):
                found.append(str(record["eventID"]))
        return found

    def all_pages(self, query: LookupQuery, indexes: Indexes | None, budget: int) -> list[str]:
        """The ids of all pages of a look-up."""
        found: list[str] = []
        while True:
            page = lookup_events(self.root, query, budget, indexes)
            found += [event.event_id for event in page.events]
            if page.next_token is None:
                return found
            query = replace(query, next_token=page.next_token)

    def close(self) -> None:
        for trail in self.trails:
            trail.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """One that is closed, to be copied."""
    made = Log(tmp_path_factory.mktemp("template"), chains=2, seed=5, sealed_lines=60)
    made.write(300)
    made.index()
    made.close()
    return made


@pytest.fixture
def log(tmp_path: Path, template: Log) -> Iterator[Log]:
    root = tmp_path / "audit"
    shutil.copytree(template.root, root)
    opened = Log(root, chains=2, seed=6, sealed_lines=60)
    opened.records, opened.times = list(template.records), list(template.times)
    opened.index()
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", range(4))
def test_random_look_ups_find_what_a_scan_finds(tmp_path: Path, seed: int) -> None:
    """While records come, and the index is behind by any number of them."""
    log = Log(tmp_path, chains=1 + seed % 3, seed=seed, sealed_lines=(30, 100, 10**6)[seed % 3])
    for _ in range(3):
        log.write(80)
        if log.chance.random() < 0.8:
            log.index()
        log.write(log.chance.choice((0, 1, 20)))
        log.check(8)
        if log.chance.random() < 0.5:
            log.restart()
    log.close()


def test_words_of_known_calls_are_those_of_any(tmp_path: Path) -> None:
    """Remembering a call changes nothing, whatever callers chose."""
    chance = random.Random(9)
    words = Words(known=50)
    sneaky = {"eventID": "x", "requestID": "y", "encryptionContext": "{", 'a"},"encryptionContext":{"b': '\\"}'}
    for number in range(3_000):
        record = random_record(chance, number, START)
        if chance.random() < 0.2:
            record = render_record(replace(
                FACTS, event_id=str(UUID(int=number)), request_id=chance.choice((None, "r", 'q"', "é")),
                request_parameters={
                    "nested": {"encryption_context": chance.choice(CONTEXTS)},
                    "encryption_context": chance.choice((sneaky, *CONTEXTS)),
                    "source_encryption_context": chance.choice((sneaky, *CONTEXTS)),
                },
            ))
        line = b'{"seq":%d,"prev":"%b","event":%b}' % (number + 1, b"0" * 64, record)
        parsed = parse_record(line)
        assert parsed is not None
        account = str(parsed["recipientAccountId"])
        wanted = {account_word(account), *(word(account, found) for found in attributes(parsed))}
        assert wanted <= set(words.of(line, event_time(line)).split())
        assert len(set(words.of(line, event_time(line)).split())) <= len(wanted) + 4, "more only of nested contexts"
    for garbage in (b"", b"x", line[:-1], line[1:], line.replace(b'"eventTime":"2', b'"eventTime":"\\'), b'{"seq":1}'):
        assert parse_record(garbage) is not None or words.of(garbage, event_time(garbage)) == ""


def test_an_index_is_used_and_stays_behind_by_nothing(log: Log) -> None:
    """A rare record is found within a budget that reading wouldn't get far with."""
    assert len(log.files()) > 3
    wanted = (LookupKey.EVENT_ID, str(UUID(int=0)))
    account = next(account for account in ACCOUNTS if account.encode() in log.records[0].rpartition(b"recipient")[2])
    page = lookup_events(log.root, LookupQuery(account, filters=(wanted,)), 8_000, log.indexes)
    assert [event.event_id for event in page.events] == [wanted[1]]
    assert lookup_events(log.root, LookupQuery(account, filters=(wanted,)), 8_000).events == ()
    for trail in log.trails:
        position = trail.position()
        assert log.indexer(trail).indexed(position.chain) == position.seq


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _overwrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data), 4096):
        data[place : place + 64] = b"\xa5" * 64
    path.write_bytes(data)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE about (x)")
    database.close()


def _of_an_older_release(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE about SET version = version - 1")
        # Its words are of another form.
        database.execute("INSERT INTO terms (terms) VALUES ('delete-all')")
    database.close()
    seal = path.with_suffix(".sha256")
    if seal.exists():
        seal.write_text(file_hash(path))


def _remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(("which", "damage"), [
    ("all", _cut), ("all", _overwrite), ("all", _empty), ("all", _foreign), ("all", _remove),
    ("all", _of_an_older_release), ("sealed", _of_an_older_release),
    ("sealed", _flip), ("sealed", _overwrite), ("sealed", _remove), ("open", _cut), ("open", _flip),
])
def test_a_damaged_index_is_made_anew(log: Log, damage: Callable[[Path], None], which: str) -> None:
    """At the next start look-ups are right before, while and after that happens."""
    sealed = [path for path in log.files() if path.with_suffix(".sha256").exists()]
    hit = {"sealed": sealed[1:2], "open": log.files()[-1:], "all": log.files()}[which]
    for path in hit:
        for name in (path.name + "-wal", path.name + "-shm"):
            (path.parent / name).unlink(missing_ok=True)
        damage(path)
    log.restart()
    log.check(2)
    log.index()
    log.check(4)
    if damage is not _flip or which == "sealed":
        # One bit of a file that isn't sealed may be where it means nothing.
        log.restart()
        log.index()
    log.check(4)
    assert all(log.indexes.trusts(path) for path in log.files())


@pytest.mark.parametrize("damage", [_cut, _overwrite, _empty, _remove])
def test_an_index_damaged_while_it_is_used_is_noticed(log: Log, damage: Callable[[Path], None]) -> None:
    """Then the chain is read instead, and the file is made anew. Of a file that isn't sealed, SQLite has to notice."""
    for path in log.files():
        if damage is not _overwrite or path.with_suffix(".sha256").exists():
            damage(path)
    log.check(3)
    log.index()
    log.check(4)


def test_an_index_of_another_trail_is_thrown_away(log: Log, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As after an audit folder was put back from an older copy."""
    other = Log(tmp_path_factory.mktemp("other"), chains=2, seed=77, sealed_lines=60)
    other.write(250)
    shutil.copytree(log.root / "index", other.root / "index")
    other.restart()
    other.index()
    other.check(8)
    other.close()


def test_the_chain_of_a_process_that_runs_is_left_to_it(tmp_path: Path) -> None:
    """Its last lines may not be durable. When it is gone, another process sees to its index."""
    log = Log(tmp_path, chains=2, seed=1, sealed_lines=10**6)
    log.write(40)
    log.indexer(log.trails[0]).run_once()
    assert [path.parent.name for path in log.files()] == [chain_name(0)]
    log.trails.pop().close()
    log.indexer(log.trails[0]).run_once()
    assert [path.parent.name for path in log.files()] == [chain_name(0), chain_name(1)]
    log.check(10)
    log.close()


@pytest.mark.parametrize(
    "wrong",
    [
        (LookupKey.OUTCOME, "maybe"),
        (LookupKey.READ_ONLY, "1"),
        (LookupKey.SOURCE_IP_ADDRESS, ""),
        (LookupKey.KEY, "x" * 2001),
        (LookupKey.ENCRYPTION_CONTEXT, context_pair("\U0001f511" * 2001, "\U0001f511" * 2000)),
    ],
)
def test_bad_values_are_refused(log: Log, wrong: Filter) -> None:
    with pytest.raises(ValidationException):
        lookup_events(log.root, LookupQuery(ACCOUNTS[0], filters=(wrong,)))
    needle(LookupKey.ENCRYPTION_CONTEXT, context_pair("\U0001f511" * 2000, "\U0001f511" * 2000))


def test_a_token_goes_with_its_filters_only(log: Log) -> None:
    filters = ((LookupKey.OUTCOME, "success"), (LookupKey.EVENT_NAME, "Encrypt"))
    query = LookupQuery(ACCOUNTS[0], filters=filters, max_results=2)
    token = lookup_events(log.root, query, indexes=log.indexes).next_token
    assert token is not None
    reordered = replace(query, filters=filters[::-1], next_token=token)
    assert lookup_events(log.root, reordered, indexes=log.indexes).events
    for changed in ((), filters[:1], (*filters, (LookupKey.READ_ONLY, "true"))):
        with pytest.raises(ValidationException):
            lookup_events(log.root, replace(query, filters=changed, next_token=token))
