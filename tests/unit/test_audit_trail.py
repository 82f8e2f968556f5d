"""The trail: order, batching, rotation, torn ends, owners, and what happens when the disk refuses."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kagitori_server.audit.chain import MAX_EVENT_BYTES, genesis, line_hash, parse_line, read_lines
from kagitori_server.audit.disk import Disk
from kagitori_server.audit.trail import AuditUnavailable, Trail, TrailLimits, open_trail
from kagitori_server.audit.verify import ExpectedHead, verify
from kagitori_server.model.errors import KMSInternalException


class SlowDisk(Disk):
    """A disk whose writes wait for a gate, so that tests can look at what is under way."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.writes = 0

    def write_durably(self, descriptor: int, data: bytes, offset: int) -> None:
        self.entered.release()
        self.gate.wait(10)
        self.writes += 1
        super().write_durably(descriptor, data, offset)


class FailingDisk(Disk):
    """A disk that fails in a named step as often as it is told to, with part of the data written."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}

    def _fails(self, step: str) -> bool:
        self.failures[step] = self.failures.get(step, 0) - 1
        return self.failures[step] >= 0

    def write_durably(self, descriptor: int, data: bytes, offset: int) -> None:
        if self._fails("write"):
            os.pwrite(descriptor, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, "no space")
        super().write_durably(descriptor, data, offset)
        if self._fails("flush"):
            raise OSError(errno.EIO, "flush failed")

    def cut(self, descriptor: int, length: int) -> None:
        if self._fails("cut"):
            raise OSError(errno.EIO, "cut failed")
        super().cut(descriptor, length)

    def sync_directory(self, path: Path) -> None:
        if self._fails("directory"):
            raise OSError(errno.EIO, "directory not durable")
        super().sync_directory(path)


def event(number: int, size: int = 40) -> bytes:
    return json.dumps({"n": number, "pad": "x" * size}, separators=(",", ":")).encode()


def numbers(root: Path, chain: str = "chain-00") -> list[int]:
    """The events of a chain in order, with every link checked."""
    found: list[int] = []
    previous = genesis(chain)
    for path in sorted((root / chain).glob("*.jsonl")):
        for raw in read_lines(path):
            line = parse_line(raw.data)
            assert line is not None
            assert line.prev == previous
            assert line.seq == len(found) + 1
            previous = line_hash(raw.data)
            found.append(json.loads(line.event)["n"])
    return found


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    trail = open_trail(tmp_path)
    yield trail
    trail.close()


def test_blocking_appends_without_an_event_loop(tmp_path: Path, trail: Trail) -> None:
    """Tools have no loop; position tells the durable head."""
    assert trail.position() == ("chain-00", 0, genesis("chain-00"), "00000001.jsonl")
    for number in range(5):
        trail.append_blocking(event(number))
    assert numbers(tmp_path) == list(range(5))
    position = trail.position()
    assert position.seq == 5
    assert verify(tmp_path, expected_heads={"chain-00": ExpectedHead(5, position.head)}).sound


def test_writes_are_synchronous(tmp_path: Path) -> None:
    """The kernel itself says that a write returns when the data is on stable storage."""
    disk = Disk()
    for descriptor in (disk.create(tmp_path / "file"), disk.reopen(tmp_path / "file")):
        assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DSYNC
        disk.close(descriptor)


def test_files_are_private(tmp_path: Path, trail: Trail) -> None:
    assert (tmp_path / "chain-00").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "chain-00").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.asyncio
async def test_nothing_is_acknowledged_before_it_is_durable(tmp_path: Path) -> None:
    """While the flush is under way the future is pending, and later appends share the next flush."""
    disk = SlowDisk()
    trail = open_trail(tmp_path, disk=disk)
    disk.gate.clear()
    first = trail.append(event(0))
    await asyncio.to_thread(disk.entered.acquire)
    others = [trail.append(event(number)) for number in range(1, 30)]
    await asyncio.sleep(0.05)
    assert not first.done()
    assert not any(future.done() for future in others)
    assert trail.position().seq == 0
    disk.gate.set()
    await asyncio.gather(first, *others)
    assert disk.writes == 2
    assert trail.position().seq == 30
    await asyncio.to_thread(trail.close)
    assert numbers(tmp_path) == list(range(30))


@pytest.mark.asyncio
async def test_loop_and_threads_append_together(tmp_path: Path, trail: Trail) -> None:
    """Every record once, each caller's in the order of its calls."""

    def work(base: int) -> None:
        for number in range(100):
            trail.append_blocking(event(base + number))

    async def calls(base: int) -> None:
        for number in range(50):
            await trail.append(event(base + number))

    await asyncio.gather(
        *(asyncio.to_thread(work, base * 1000) for base in range(4)),
        *(calls(base * 1000) for base in range(4, 24)),
    )
    found = numbers(tmp_path)
    assert len(found) == len(set(found)) == 4 * 100 + 20 * 50
    for base in range(24):
        own = [number for number in found if number // 1000 == base]
        assert own == sorted(own)


@pytest.mark.asyncio
async def test_several_records_share_one_future(tmp_path: Path, trail: Trail) -> None:
    """A batch call's records stand next to each other."""
    await asyncio.gather(trail.append_all([event(0), event(1), event(2)]), trail.append(event(3)))
    assert numbers(tmp_path) == [0, 1, 2, 3]


@pytest.mark.asyncio
async def test_a_cancelled_caller_leaves_its_record_and_the_others(tmp_path: Path, trail: Trail) -> None:
    futures = [trail.append(event(number)) for number in range(3)]
    futures[1].cancel()
    await asyncio.gather(futures[0], futures[2])
    assert numbers(tmp_path) == [0, 1, 2]


def test_a_closed_loop_does_not_stop_the_writer(tmp_path: Path) -> None:
    """The answer to a loop that is gone is dropped, the record is not."""
    disk = SlowDisk()
    trail = open_trail(tmp_path, disk=disk)
    disk.gate.clear()

    async def abandon() -> None:
        trail.append(event(0))

    asyncio.run(abandon())
    disk.gate.set()
    trail.append_blocking(event(1))
    trail.close()
    assert numbers(tmp_path) == [0, 1]


def test_segments_are_rotated_and_the_chain_carries_on(tmp_path: Path) -> None:
    trail = open_trail(tmp_path, limits=TrailLimits(segment_bytes=2000))
    for number in range(60):
        trail.append_blocking(event(number))
    trail.append_blocking(event(60, size=5000))
    trail.append_blocking(event(61))
    assert trail.position().segment == max(path.name for path in (tmp_path / "chain-00").glob("*.jsonl"))
    trail.close()
    sizes = [path.stat().st_size for path in sorted((tmp_path / "chain-00").glob("*.jsonl"))]
    assert len(sizes) > 5
    assert [size for size in sizes if size > 2000] == [size for size in sizes if size > 5000]
    assert numbers(tmp_path) == list(range(62))
    reopened = open_trail(tmp_path, limits=TrailLimits(segment_bytes=2000))
    reopened.append_blocking(event(62))
    reopened.close()
    assert numbers(tmp_path) == list(range(63))
    assert verify(tmp_path).sound


def test_close_flushes_refuses_and_frees_the_chain(tmp_path: Path) -> None:
    disk = SlowDisk()
    trail = open_trail(tmp_path, disk=disk)
    disk.gate.clear()
    threads = [threading.Thread(target=trail.append_blocking, args=(event(number),)) for number in range(3)]
    for thread in threads:
        thread.start()
    disk.entered.acquire()
    closer = threading.Thread(target=trail.close)
    closer.start()
    disk.gate.set()
    for thread in (*threads, closer):
        thread.join(10)
    trail.close()
    with pytest.raises(AuditUnavailable):
        trail.append_blocking(event(9))
    again = open_trail(tmp_path)
    assert again.position().chain == "chain-00"
    again.close()


@pytest.mark.parametrize(
    "bad", [b"", b"{", b"[]", b'{"a":1}\n', b'{"a":\n1}', b"{" + b"x" * MAX_EVENT_BYTES + b"}"]
)
def test_what_is_not_one_line_of_json_is_refused(trail: Trail, bad: bytes) -> None:
    with pytest.raises(ValueError, match="JSON object"):
        trail.append_blocking(bad)


@pytest.mark.asyncio
async def test_a_full_buffer_refuses_at_once(tmp_path: Path) -> None:
    """The refusal is a KMSInternalException to callers, and what was accepted before is written."""
    disk = SlowDisk()
    trail = open_trail(tmp_path, disk=disk, limits=TrailLimits(buffered_records=3, buffered_bytes=1000))
    disk.gate.clear()
    accepted = [trail.append(event(0))]
    await asyncio.to_thread(disk.entered.acquire)
    accepted += [trail.append(event(number)) for number in (1, 2, 3)]
    with pytest.raises(KMSInternalException) as refusal:
        trail.append(event(4))
    assert refusal.value.code() == "KMSInternalException"
    assert refusal.value.server_fault
    disk.gate.set()
    await asyncio.gather(*accepted)
    with pytest.raises(AuditUnavailable):
        trail.append(event(5, size=2000))
    await asyncio.to_thread(trail.close)
    assert numbers(tmp_path) == [0, 1, 2, 3]


def test_chains_are_taken_by_one_process_each(tmp_path: Path) -> None:
    """A second owner, in this process or another, gets the next chain; a freed one is taken again."""
    first = open_trail(tmp_path)
    script = textwrap.dedent("""
        import sys, pathlib
        from kagitori_server.audit.trail import open_trail
        trail = open_trail(pathlib.Path(sys.argv[1]))
        trail.append_blocking(b'{"n":0}')
        print(trail.position().chain, flush=True)
        sys.stdin.read()
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"chain-01\n"
        third = open_trail(tmp_path)
        assert third.position().chain == "chain-02"
        assert third.opening.created
        child.kill()
    again = open_trail(tmp_path)
    assert (again.position().chain, again.position().seq) == ("chain-01", 1)
    assert not again.opening.created
    for trail in (first, third, again):
        trail.close()
    assert verify(tmp_path).sound


@pytest.mark.parametrize("torn", [b"\0" * 700_000, b'{"seq":4,"prev":"', b"{", b"\xff"])
def test_a_torn_last_line_is_cut_and_told(tmp_path: Path, torn: bytes) -> None:
    trail = open_trail(tmp_path)
    for number in range(3):
        trail.append_blocking(event(number))
    trail.close()
    with (tmp_path / "chain-00" / "00000001.jsonl").open("ab") as file:
        file.write(torn)
    assert verify(tmp_path).chains[0].torn_bytes == len(torn)
    again = open_trail(tmp_path)
    assert again.opening.torn_bytes == len(torn)
    again.append_blocking(event(3))
    again.close()
    assert numbers(tmp_path) == [0, 1, 2, 3]
    assert verify(tmp_path).sound


def test_a_segment_that_was_made_but_never_written_is_continued(tmp_path: Path) -> None:
    """A crash right after rotation leaves an empty or torn new segment."""
    trail = open_trail(tmp_path)
    trail.append_blocking(event(0))
    trail.close()
    (tmp_path / "chain-00" / "00000002.jsonl").write_bytes(b'{"seq"')
    again = open_trail(tmp_path)
    again.append_blocking(event(1))
    assert again.position().segment == "00000002.jsonl"
    again.close()
    assert numbers(tmp_path) == [0, 1]


def damage_middle(chain: Path) -> None:
    path = chain / "00000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":7'))


def damage_format(chain: Path) -> None:
    with (chain / "00000001.jsonl").open("ab") as file:
        file.write(b"garbage\n")


def damage_long_tail(chain: Path) -> None:
    with (chain / "00000001.jsonl").open("ab") as file:
        file.write(b"g" * 700_000)


def damage_missing(chain: Path) -> None:
    (chain / "00000001.jsonl").rename(chain / "00000003.jsonl")


@pytest.mark.parametrize("damage", [damage_middle, damage_format, damage_long_tail, damage_missing])
def test_a_damaged_chain_is_left_untouched_and_passed_over(tmp_path: Path, damage: object) -> None:
    """What no crash can leave is evidence: it is neither continued nor cut, and the next chain is taken."""
    trail = open_trail(tmp_path)
    for number in range(3):
        trail.append_blocking(event(number))
    trail.close()
    assert callable(damage)
    damage(tmp_path / "chain-00")
    before = {path.name: path.read_bytes() for path in (tmp_path / "chain-00").iterdir()}
    again = open_trail(tmp_path)
    again.append_blocking(event(0))
    again.close()
    assert again.position().chain == "chain-01"
    assert [chain for chain, _ in again.opening.damaged] == ["chain-00"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "chain-00").iterdir()} == before


@pytest.mark.parametrize(
    "failures",
    [
        {"write": 1},
        {"flush": 1},
        {"write": 3},
        {"flush": 2, "cut": 2},
        {"write": 1, "directory": 2},
        {"flush": 1, "cut": 1},
    ],
)
@pytest.mark.parametrize("records_before", [0, 3])
def test_a_failed_batch_is_refused_and_the_chain_goes_on_from_what_is_durable(
    tmp_path: Path, failures: dict[str, int], records_before: int
) -> None:
    """Refused until repaired: nothing acknowledged is lost, nothing refused is kept, and all verifies."""
    disk = FailingDisk()
    trail = open_trail(tmp_path, disk=disk)
    acknowledged = list(range(records_before))
    for number in acknowledged:
        trail.append_blocking(event(number))
    disk.failures = dict(failures)
    refused = 0
    for number in range(100, 120):
        try:
            trail.append_blocking(event(number))
        except AuditUnavailable:
            refused += 1
            assert trail.failing()
        else:
            acknowledged.append(number)
            assert not trail.failing()
        assert trail.position().seq == len(acknowledged)
    assert 1 <= refused <= sum(failures.values())
    assert len(acknowledged) == records_before + 20 - refused
    position = trail.position()
    trail.close()
    assert numbers(tmp_path) == acknowledged
    assert verify(tmp_path, expected_heads={"chain-00": ExpectedHead(position.seq, position.head)}).sound
    assert len(list((tmp_path / "chain-00").glob("*.jsonl"))) <= 1 + refused


@pytest.mark.asyncio
async def test_every_caller_of_a_failed_batch_is_told(tmp_path: Path) -> None:
    disk = FailingDisk()
    trail = open_trail(tmp_path, disk=disk)
    disk.failures = {"flush": 1}
    futures = [trail.append(event(number)) for number in range(20)]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, AuditUnavailable)]
    assert refused
    assert len({id(outcome) for outcome in refused}) == len(refused)
    await trail.append(event(99))
    await asyncio.to_thread(trail.close)
    assert numbers(tmp_path) == [number for number, told in enumerate(outcomes) if told is None] + [99]


def test_a_rotation_that_fails_is_repaired(tmp_path: Path) -> None:
    disk = FailingDisk()
    trail = open_trail(tmp_path, disk=disk, limits=TrailLimits(segment_bytes=300))
    trail.append_blocking(event(0))
    disk.failures = {"directory": 1}
    acknowledged = [0]
    for number in range(1, 12):
        try:
            trail.append_blocking(event(number))
        except AuditUnavailable:
            continue
        acknowledged.append(number)
    trail.close()
    assert len(acknowledged) == 11
    assert numbers(tmp_path) == acknowledged
    assert verify(tmp_path).sound
