"""Real crashes and real full disks: the acknowledged records of a killed or starved process are all there."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from kagitori_server.audit.chain import parse_line, read_lines
from kagitori_server.audit.trail import AuditUnavailable, open_trail
from kagitori_server.audit.verify import verify

WRITER = textwrap.dedent("""
    import asyncio, os, pathlib, sys
    from kagitori_server.audit.trail import TrailLimits, open_trail

    async def main(root, tag):
        trail = open_trail(root, limits=TrailLimits(segment_bytes=100_000))
        count = 0

        async def call():
            nonlocal count
            while True:
                count += 1
                name = f"{tag}-{count}"
                await trail.append(b'{"id":"%b","pad":"%b"}' % (name.encode(), b"x" * 600))
                os.write(1, name.encode() + b"\\n")

        await asyncio.gather(*(call() for _ in range(20)))

    asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
""")


def recorded(root: Path) -> list[str]:
    """The ids of all records, of all chains."""
    found: list[str] = []
    for path in sorted(root.glob("chain-*/*.jsonl")):
        for raw in read_lines(path):
            line = parse_line(raw.data) if raw.complete else None
            if line is not None:
                found.append(json.loads(line.event)["id"])
    return found


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Killed under load again and again, always continuing the same chain."""
    acknowledged: set[str] = set()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for round_number in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(round_number)],
            stdout=subprocess.PIPE,
            env=environment,
        ) as child:
            assert child.stdout is not None
            # The first acknowledgement, then a moment that differs from round to round.
            acknowledged.add(child.stdout.readline().decode().strip())
            time.sleep(0.013 * (round_number % 5))
            child.send_signal(signal.SIGKILL)
            # A last line without its end was not written whole by the child before it died.
            whole = child.stdout.read().rpartition(b"\n")[0]
            acknowledged.update(whole.decode().split())
        found = recorded(tmp_path)
        assert acknowledged <= set(found)
        assert len(found) == len(set(found))
        report = verify(tmp_path)
        assert report.sound
        assert [chain.chain for chain in report.chains] == ["chain-00"]
    assert len(acknowledged) > 200


def test_no_space_left_is_refused_and_overcome(tmp_path: Path) -> None:
    """The kernel refuses to lengthen the file (a size limit): calls fail, then go on when there is room."""
    trail = open_trail(tmp_path)
    acknowledged = []
    refused = 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        for number in range(300):
            try:
                trail.append_blocking(json.dumps({"id": str(number), "pad": "x" * 500}).encode())
                acknowledged.append(str(number))
            except AuditUnavailable:
                refused += 1
        # A single record above the limit fails however often the trail repairs itself.
        for _ in range(5):
            with pytest.raises(AuditUnavailable):
                trail.append_blocking(json.dumps({"id": "big", "pad": "x" * 30_000}).encode())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    trail.append_blocking(b'{"id":"after"}')
    trail.close()
    assert refused > 3
    assert recorded(tmp_path) == [*acknowledged, "after"]
    assert verify(tmp_path).sound


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 256 KiB, where the test may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs is not permitted")
    return place


def test_a_full_file_system_is_refused_and_overcome(small_disk: Path) -> None:
    """ENOSPC from the kernel for many calls; no empty segments pile up, and space freed is used again."""
    try:
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 100_000)
        trail = open_trail(small_disk / "audit")
        acknowledged = []
        for number in range(600):
            if number == 500:
                ballast.unlink()
            try:
                trail.append_blocking(json.dumps({"id": str(number), "pad": "x" * 500}).encode())
                acknowledged.append(str(number))
            except AuditUnavailable:
                assert 100 < number < 500
        trail.close()
        assert "599" in acknowledged
        assert recorded(small_disk / "audit") == acknowledged
        assert verify(small_disk / "audit").sound
        assert len(list(small_disk.glob("audit/chain-00/*.jsonl"))) < 10
    finally:
        subprocess.run(["umount", "--lazy", str(small_disk)], check=True)
