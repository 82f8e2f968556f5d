"""The trees of a trail: followed, signed, proven, rebuilt, and refused when the chain isn't what was signed of it."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.logs import TestKey, TestSigner

from kagitori_client.receipts import TrustedKey, check_growth, open_checkpoint, verify_receipt
from kagitori_server.audit.trail import Trail, TrailLimits, open_trail
from kagitori_server.audit.verify import verify
from kagitori_server.model.errors import (
    DependencyTimeoutException,
    KMSInternalException,
    NoSuchEntityException,
    ValidationException,
)
from kagitori_server.transparency import finding
from kagitori_server.transparency.checking import check_trees
from kagitori_server.transparency.finding import find_records
from kagitori_server.transparency.following import read_leaf
from kagitori_server.transparency.log import MAX_RECEIPT_BYTES, SignedHead, TransparencyLog, Wanted
from kagitori_server.transparency.notes import Head, read_head

ACCOUNT = "000000000000"
LIMITS = TrailLimits(segment_bytes=64 * 1024)


def event(number: int, **more: object) -> bytes:
    return json.dumps({
        "eventVersion": "1.11", "requestID": f"r{number // 2}", "eventID": f"e{number}", "recipientAccountId": ACCOUNT,
        **more,
    }, separators=(",", ":")).encode()


class Running:
    """A trail with its log, as a process has them."""

    def __init__(self, root: Path, signer: TestSigner) -> None:
        self.root = root
        self.trail: Trail = open_trail(root, limits=LIMITS)
        self.log = TransparencyLog(root, self.trail, signer, "test.example/audit", time.monotonic, lambda: None)

    def add(self, count: int) -> None:
        first = self.trail.position().seq
        for number in range(first, first + count):
            self.trail.append_blocking(event(number))


@pytest.fixture
def signer() -> TestSigner:
    return TestSigner()


@pytest.fixture
def start(tmp_path: Path, signer: TestSigner) -> Callable[[], Running]:
    return lambda: Running(tmp_path / "audit", signer)


def keys_of(head: SignedHead) -> list[TrustedKey]:
    return [TrustedKey.parse(key) for key in head.verifier_keys]


def test_a_log_without_records(start: Callable[[], Running]) -> None:
    """Has no origin yet, and nothing to prove."""
    running = start()
    with pytest.raises(NoSuchEntityException):
        running.log.head(None)
    running.log.run_once()
    assert check_trees(running.root) == ()


def test_heads_and_proofs(start: Callable[[], Running]) -> None:
    """Of a trail of several segments and tiles, verified by the client's code."""
    running = start()
    running.add(600)
    assert len(list((running.root / "chain-00").glob("*.jsonl"))) > 1
    head = running.log.head(None)
    keys = keys_of(head)
    assert head.size == 600
    assert head.origin.startswith("test.example/audit/chain-00/")
    assert open_checkpoint(head.checkpoint, keys, head.origin).root == head.root
    for number in (0, 255, 256, 599):
        _, (inclusion,) = running.log.inclusion_of(None, ACCOUNT, "eventID", f"e{number}")
        receipt = verify_receipt(inclusion.proof.encode(), keys)
        assert (receipt.index, receipt.record) == (number, json.loads(event(number)))
        _, hashed = running.log.inclusion_of_index(None, number)
        assert verify_receipt(hashed.proof.encode(), keys, record=event(number)).leaf == inclusion.leaf
    _, found = running.log.inclusion_of(head.origin, ACCOUNT, "requestID", "r7")
    assert [each.index for each in found] == [14, 15]
    running.trail.close()


def test_what_cannot_be_found(start: Callable[[], Running]) -> None:
    """Records of others, numbers beyond the tree, origins of other logs."""
    running = start()
    running.add(3)
    for account, value in (("111111111111", "e1"), (ACCOUNT, "e9"), (ACCOUNT, "e")):
        with pytest.raises(NoSuchEntityException):
            running.log.inclusion_of(None, account, "eventID", value)
    with pytest.raises(NoSuchEntityException):
        running.log.inclusion_of_index(None, 3)
    with pytest.raises(NoSuchEntityException):
        running.log.consistency(None, 1, 4)
    with pytest.raises(ValidationException):
        running.log.consistency(None, 3, 2)
    for origin in ("", "test.example/audit/chain-00/" + "0" * 32):
        with pytest.raises(NoSuchEntityException):
            running.log.head(origin)
    running.trail.close()


def test_growth_is_proven_over_restarts(start: Callable[[], Running], signer: TestSigner) -> None:
    """A restart continues the tree; earlier checkpoints stay true. So does a rotation of the key."""
    checkpoints = []
    for count in (10, 300, 700):
        running = start()
        running.add(count)
        running.log.run_once()
        head = running.log.head(None)
        checkpoints.append(open_checkpoint(head.checkpoint, keys_of(head)))
        for older in checkpoints:
            proof = running.log.consistency(None, older.size, head.size) if older.size < head.size else None
            check_growth(older, checkpoints[-1], () if proof is None else proof.hashes)
        running.trail.close()
        signer.rotate()
    assert [each.size for each in checkpoints] == [10, 310, 1010]
    running = start()
    head = running.log.head(None)
    assert len(head.verifier_keys) == 4
    assert open_checkpoint(head.checkpoint, keys_of(head)[:1]).root == checkpoints[-1].root
    assert check_trees(running.root, [read(each.note) for each in checkpoints]) == ()
    assert verify(running.root).sound
    running.trail.close()


def read(note: str) -> Head:
    head = read_head(note)
    assert head is not None
    return head


def test_the_tree_is_built_anew_when_it_is_lost_or_damaged(start: Callable[[], Running]) -> None:
    """Tiles, cursor or checkpoint: the chain is the truth."""
    running = start()
    running.add(700)
    running.log.run_once()
    root = running.log.head(None).root
    trees = running.root / "trees" / "chain-00"
    tile = trees / "tile/0/000"

    def nothing() -> None:
        shutil.rmtree(trees)

    def zeros() -> None:
        tile.write_bytes(bytes(8192))

    def short() -> None:
        tile.write_bytes(b"")

    def cursor() -> None:
        (trees / "cursor").write_text('{"first":"x"}')

    def garbage() -> None:
        (trees / "cursor").write_text("[" * 4000)

    def checkpoint() -> None:
        (trees / "checkpoint").write_text("nonsense")

    for damage in (nothing, zeros, short, cursor, garbage, checkpoint):
        running.trail.close()
        damage()
        running = start()
        running.log.run_once()
        head, proof = running.log.inclusion_of_index(None, 100)
        assert (head.size, head.root) == (700, root), damage
        assert proof.index == 100
        assert check_trees(running.root) == ()
    running.trail.close()


def test_a_tile_that_is_damaged_while_it_is_served(start: Callable[[], Running]) -> None:
    """No wrong proof leaves; the tree is built anew from the chain."""
    running = start()
    running.add(300)
    running.log.run_once()
    tile = running.root / "trees/chain-00/tile/0/000"
    tile.write_bytes(bytes(8192))
    assert [problem.description for problem in check_trees(running.root)] == [
        "the tree isn't that of the chain: tile 0 of level 0"
    ]
    head, proof = running.log.inclusion_of_index(None, 100)
    assert verify_receipt(proof.proof.encode(), keys_of(running.log.head(None)), record=event(100)).index == 100
    assert head.size == 300
    assert check_trees(running.root) == ()
    running.trail.close()


@pytest.mark.parametrize("harm", ["truncated", "altered", "reordered", "forked"])
def test_a_chain_that_was_tampered_with_is_not_signed_again(
    start: Callable[[], Running], harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Even with all its links made anew: the checkpoint that was published says otherwise, and so does one that was
    kept elsewhere, when the folder of trees is thrown away."""
    running = start()
    running.add(40)
    running.log.run_once()
    running.log.head(None)
    running.log.run_once()
    kept = running.log.head(None)
    running.trail.close()
    events = [event(number) for number in range(40)]
    match harm:
        case "truncated":
            events = events[:30]
        case "altered":
            events[20] = event(20, altered=True)
        case "reordered":
            events[20], events[21] = events[21], events[20]
        case "forked":
            events[30:] = [event(number, other=True) for number in range(30, 60)]
    shutil.rmtree(running.root / "chain-00")
    other = open_trail(running.root, limits=LIMITS)
    for each in events:
        other.append_blocking(each)
    other.close()
    assert verify(running.root).sound  # the links alone don't show it
    [problem] = check_trees(running.root)
    assert ("there are 30" if harm == "truncated" else "aren't those that were signed") in problem.description
    running = start()
    running.add(5)
    with pytest.raises(KMSInternalException):
        running.log.head(None)
    with pytest.raises(KMSInternalException):
        running.log.inclusion_of_index(None, 3)
    caplog.clear()
    for _ in range(2):
        running.log.run_once()
    assert caplog.text.count("isn't carried on") == 1
    assert (running.root / "trees/chain-00/checkpoint").read_text() == kept.checkpoint
    shutil.rmtree(running.root / "trees")
    assert check_trees(running.root) == ()
    assert len(check_trees(running.root, [read(kept.checkpoint)])) == 1
    running.trail.close()


def test_a_damaged_chain_holds_up_no_other(start: Callable[[], Running]) -> None:
    """One that was left as evidence, say."""
    first = start()
    first.add(10)
    first.trail.close()
    segment = first.root / "chain-00" / "00000001.jsonl"
    segment.write_bytes(b"nonsense\n" + segment.read_bytes())
    second = start()
    assert second.trail.position().chain == "chain-01"
    second.add(3)
    second.log.head(None)
    second.log.run_once()
    assert (second.root / "trees/chain-01/checkpoint").exists()
    second.trail.close()


def test_another_chain_in_its_place(start: Callable[[], Running]) -> None:
    """A chain that begins with another record is another log: what was kept of the one that was there names none."""
    running = start()
    running.add(5)
    running.log.head(None)
    running.log.run_once()
    kept = running.log.head(None)
    running.trail.close()
    shutil.rmtree(running.root / "chain-00")
    other = open_trail(running.root)
    other.append_blocking(b'{"other":1}')
    other.close()
    told = [problem.description for problem in check_trees(running.root, [read(kept.checkpoint)])]
    assert told == [
        "no chain is the one of this checkpoint: it is gone, or another",
        "the checkpoint beside its tree is of another chain",
    ]


def test_checkpoints_are_published_once_somebody_asked(start: Callable[[], Running], signer: TestSigner) -> None:
    """A key of its own is made for whoever first wants one; until then nothing is signed."""
    running = start()
    running.add(300)
    keys, signer.keys = signer.keys, []
    running.log.run_once()
    folder = running.root / "trees/chain-00"
    assert not (folder / "checkpoint").exists()
    assert (folder / "tile/0/000").exists()
    signer.keys = keys
    running.log.run_once()
    published = read_head((folder / "checkpoint").read_text())
    assert published == Head(running.log.head(None).origin, 300, running.log.head(None).root)
    assert {str(path.relative_to(folder)) for path in (folder / "tile").rglob("*") if path.is_file()} == {
        "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"
    }
    running.trail.close()


def test_chains_of_other_processes(start: Callable[[], Running]) -> None:
    """Of one that runs its own publications are known; when it has gone, all of it."""
    first = start()
    first.add(10)
    origin = first.log.head(None).origin
    first.log.run_once()
    first.add(5)
    second = start()
    second.add(2)
    assert second.log.head(None).size == 2
    assert second.log.head(origin).size == 10
    assert second.log.inclusion_of_index(origin, 9)[0].size == 10
    with pytest.raises(NoSuchEntityException):
        second.log.inclusion_of(None, ACCOUNT, "eventID", "e12")
    first.trail.close()
    assert second.log.head(origin).size == 15
    second.log.run_once()
    assert second.log.inclusion_of(None, ACCOUNT, "eventID", "e12")[0].origin == origin
    assert check_trees(second.root) == ()
    second.trail.close()


def test_receipts_share_a_signature(start: Callable[[], Running]) -> None:
    """Those that are shown hold the record, as far as it fits; others its hash."""
    running = start()
    running.add(20)
    long = event(20, parameters="x" * 4000)
    running.trail.append_blocking(long)
    keys = keys_of(running.log.head(None))
    made = running.log.receipts([
        Wanted(3, event(2), shown=True), Wanted(4, event(3), shown=False), Wanted(21, long, shown=True),
    ])
    shown, hidden, bounded = (verify_receipt(each, keys) for each in made)
    assert shown.record == json.loads(event(2))
    assert (hidden.record, hidden.index) == (None, 3)
    assert (bounded.record, bounded.index) == (None, 20)
    assert verify_receipt(made[2], keys, record=long).record is not None
    assert len({each.checkpoint.note for each in (shown, hidden, bounded)}) == 1
    assert all(len(b64encode(each)) < 7 * 1024 and len(each) <= MAX_RECEIPT_BYTES for each in made)
    running.trail.close()


def test_receipts_stay_bounded(start: Callable[[], Running]) -> None:
    """Whatever the length of the record, around the limit."""
    running = start()
    for length in range(2_900, 3_600, 50):
        running.trail.append_blocking(event(running.trail.position().seq, parameters="x" * length))
    lines = [line for path in sorted((running.root / "chain-00").glob("*.jsonl")) for line in path.read_bytes().split()]
    leaves = [leaf for line in lines if (leaf := read_leaf(line)) is not None]
    made = running.log.receipts([Wanted(leaf.seq, leaf.event, shown=True) for leaf in leaves])
    held = [b"extra bGVhZi1oYXNo" not in each for each in made]
    assert held == sorted(held, reverse=True)
    assert set(held) == {True, False}
    assert max(map(len, made)) <= MAX_RECEIPT_BYTES
    running.trail.close()


def test_lines_that_are_no_records() -> None:
    """None has a leaf, whatever they look like."""
    good = b'{"seq":7,"prev":"%s","event":{"a":1}}' % (b"0" * 64)
    leaf = read_leaf(good)
    assert leaf is not None
    assert (leaf.seq, leaf.event) == (7, b'{"a":1}')
    for bad in (b"", b"{}", good[:-1], good + b"x", good.replace(b"seq", b"sec"), good.replace(b"7", b"x"),
                good.replace(b"prev", b"perv"), good.replace(b'"event":{', b'"event":['), good.replace(b"000", b"00")):
        assert read_leaf(bad) is None


def test_records_are_found_across_blocks(tmp_path: Path) -> None:
    """Wherever a block begins, and past records in which a caller chose names and values that look like an id."""
    trail = open_trail(tmp_path, limits=TrailLimits(segment_bytes=1_500_000))
    decoy = {"requestParameters": {"encryptionContext": {"eventID": "e7", "requestID": "r3"}}}
    for number in range(1_500):
        trail.append_blocking(event(number, padding="x" * (number * 7 % 2_000), **(decoy if number > 10 else {})))
    for number in (0, 7, 500, 1_499):
        [found] = find_records(tmp_path, None, finding.Wanted(ACCOUNT, "eventID", f"e{number}"), lambda: None)
        assert found.seq == number + 1
    both = find_records(tmp_path, None, finding.Wanted(ACCOUNT, "requestID", "r3"), lambda: None)
    assert [found.seq for found in both] == [7, 8]
    assert find_records(tmp_path, None, finding.Wanted("111111111111", "eventID", "e7"), lambda: None) == []
    assert find_records(tmp_path, ["chain-00"], finding.Wanted(ACCOUNT, "eventID", "e"), lambda: None) == []
    assert find_records(tmp_path, [], finding.Wanted(ACCOUNT, "eventID", "e7"), lambda: None) == []
    trail.close()


def test_a_search_ends_in_time(tmp_path: Path) -> None:
    """However long the trail is."""
    trail = open_trail(tmp_path)
    trail.append_blocking(event(0))
    ticks = itertools.count(0.0, 10.0)
    log = TransparencyLog(tmp_path, trail, TestSigner(), "test", lambda: next(ticks), lambda: None)
    with pytest.raises(DependencyTimeoutException):
        log.inclusion_of(None, ACCOUNT, "eventID", "none")
    trail.close()


def test_callers_do_not_wait_for_a_tree_for_ever(tmp_path: Path) -> None:
    """They are told to come again while it is built, and each time it is further; so it is after tiles were lost, when
    the follower takes turns with them. Who holds the tree for too long keeps them no longer either."""
    trail = open_trail(tmp_path / "audit")
    for number in range(400):
        trail.append_blocking(event(number, padding="x" * 10_000))
    seconds = itertools.count(0.0, 1.0)
    log = TransparencyLog(tmp_path / "audit", trail, TestSigner(), "test", lambda: next(seconds), lambda: None)

    for _ in range(4):
        with pytest.raises(DependencyTimeoutException, match="still being built"):
            log.head(None)
    for _ in range(30):
        with suppress(DependencyTimeoutException):
            head = log.head(None)
    assert head.size == 400
    log.run_once()
    (tmp_path / "audit/trees/chain-00/tile/0/000").write_bytes(b"")
    fresh = TransparencyLog(tmp_path / "audit", trail, TestSigner(), "test", lambda: next(seconds), lambda: None)
    with pytest.raises(DependencyTimeoutException):
        fresh.inclusion_of_index(None, 3)
    fresh.run_once()
    assert fresh.inclusion_of_index(None, 3)[0].root == head.root
    trail.close()


class _Lingering(TestSigner):
    """Takes its time to say which key is the current one, once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.lingers = False
        self.asked, self.let = threading.Event(), threading.Event()

    def current(self) -> TestKey:
        if self.lingers:
            self.asked.set()
            self.let.wait(30)
        return super().current()


def test_callers_do_not_wait_for_each_other_for_ever(tmp_path: Path) -> None:
    """Whatever the one is waiting for who has the tree."""
    trail = open_trail(tmp_path / "audit")
    for number in range(3):
        trail.append_blocking(event(number))
    signer = _Lingering()
    moments: list[Iterator[float]] = [itertools.repeat(0.0)]
    log = TransparencyLog(tmp_path / "audit", trail, signer, "test", lambda: next(moments[0]), lambda: None)
    log.head(None)
    signer.lingers = True
    slow = threading.Thread(target=log.inclusion_of_index, args=(None, 1))
    slow.start()
    assert signer.asked.wait(10)
    moments[0] = iter((0.0, 9.0))
    with pytest.raises(DependencyTimeoutException):
        log.consistency(None, 1, 3)
    signer.let.set()
    slow.join(10)
    moments[0] = itertools.repeat(0.0)
    assert log.consistency(None, 1, 3).second_size == 3
    trail.close()


def test_records_that_are_not_kept_any_more(start: Callable[[], Running]) -> None:
    """Segments that go when their time is over leave their hashes in the tiles: what was signed of them stays provable,
    and what was proven stays true. Without tiles nothing is."""
    running = start()
    running.add(1_000)
    old = running.log.inclusion_of(None, ACCOUNT, "eventID", "e5")[1][0]
    running.log.run_once()
    running.log.head(None)
    running.log.run_once()
    head = running.log.head(None)
    assert running.log.kept("chain-00") == 768
    segments = sorted((running.root / "chain-00").glob("*.jsonl"))
    assert 6 < segments[0].read_bytes().count(b"\n") < 768
    segments[0].unlink()
    found = running.log.inclusion_of_index(None, 5)[1]
    assert verify_receipt(found.proof.encode(), keys_of(head), record=event(5)).leaf == old.leaf
    with pytest.raises(NoSuchEntityException):
        running.log.inclusion_of(None, ACCOUNT, "eventID", "e5")
    # The line is gone that says whose chain it is; otherwise all is as its tree says.
    told = [problem.description for problem in check_trees(running.root, [read(head.checkpoint)])]
    assert len(told) == 2
    assert all("checkpoint" in description for description in told)
    tile = running.root / "trees/chain-00/tile/0/000"
    tile.write_bytes(bytes(100))
    assert "nothing proves the records before" in check_trees(running.root)[-1].description
    running.trail.close()
