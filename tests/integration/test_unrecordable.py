"""When the audit trail can't be written, a real server answers nothing, says why, and goes on when it can.

Each way is the kernel's own: a file system that is full, that hangs or that turned read-only, a file that may not grow
or be written to.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.operated import PROGRAM, OperatedServer, Stubs, environment, refused

from kagitori.kms.v1 import cryptography_pb2, keys_pb2
from kagitori_server.audit.verify import verify

_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS, _FS_IMMUTABLE_FL = 0x80086601, 0x40086602, 0x10
_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878
REQUEST_ID = "kagitori-request-id"

_QUIET = ("--set", "limits.audit_index_seconds=86400", "--set", "transparency.update_seconds=0")
"""What follows the trail writes beside it, and gives room back now and then."""


class Scene:
    """A server whose audit trail lies on a file system of its own, where one may be mounted, and a key."""

    def __init__(self, server: OperatedServer, audit: Path, *, mounted: bool) -> None:
        self.server = server
        self.audit = audit
        self.mounted = mounted
        self.root: Stubs = server.stubs()
        self.key = self.root.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.key_id
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()

    @property
    def segment(self) -> Path:
        """Where records go now."""
        return max(self.audit.glob("chain-00/*.jsonl"))

    def encrypt(self) -> bool:
        """One call; whether it was answered."""
        return self.ended(self.begin())

    def begin(self) -> Any:
        """One call, under way."""
        request = cryptography_pb2.EncryptRequest(key_id=self.key, plaintext=b"x" * 4_000)
        return self.root.crypto.Encrypt.future(request, timeout=30)

    def ended(self, call: Any) -> bool:
        """Whether it was answered; else it was refused for want of a record."""
        error = call.exception()
        request_id = str(dict(call.trailing_metadata())[REQUEST_ID])
        if error is None:
            self.acknowledged.add(request_id)
            return True
        assert call.code() is grpc.StatusCode.INTERNAL
        assert "audit" in call.details()
        self.refused.add(request_id)
        return False

    def fails_closed(self) -> None:
        """No call is answered once a record can't be written, whether it reads, writes or is refused."""
        outcomes = [self.encrypt() for _ in range(20)]
        # What fitted still is recorded.
        assert outcomes == sorted(outcomes, reverse=True)
        assert outcomes.count(False) >= 10
        code, _ = refused(lambda: self.root.keys.CreateKey(keys_pb2.CreateKeyRequest(description="unseen")))
        assert code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
        call: Any = self.root.keys.DescribeKey.future(keys_pb2.DescribeKeyRequest(key_id="alias/none"), timeout=30)
        if call.exception() is not None and call.code() is grpc.StatusCode.NOT_FOUND:
            # So short a record may fit where those before didn't. Then it has to be there.
            self.acknowledged.add(str(dict(call.trailing_metadata())[REQUEST_ID]))
        else:
            assert self.ended(call) is False

    def fails_closed_and_resumes(self, begin: Callable[[], object], end: Callable[[], object]) -> None:
        """The first call after it is over is answered."""
        assert self.encrypt()
        begin()
        try:
            self.fails_closed()
        finally:
            end()
        assert all(self.encrypt() for _ in range(5))


@contextmanager
def _own_file_system(place: Path, image: Path) -> Iterator[bool]:
    """An ext4 of four MiB at `place`, where that is permitted: in an image and without a journal."""
    place.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(4 * 1024 * 1024)
    commands = (
        ["mkfs.ext4", "-q", "-O", "^has_journal", str(image)],
        ["mount", "-o", "loop,errors=remount-ro", str(image), str(place)],
    )
    try:
        mounted = all(subprocess.run(each, capture_output=True, check=False).returncode == 0 for each in commands)
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    data = tmp_path_factory.mktemp("unrecordable") / "data"
    data.mkdir(mode=0o700)
    with _own_file_system(data / "audit", data.parent / "image") as mounted:
        opened = Scene(OperatedServer(data, *_QUIET), data / "audit", mounted=mounted)
        try:
            yield opened
        finally:
            with opened.server:
                opened.root.channel.close()


def _need_file_system(scene: Scene) -> None:
    if not scene.mounted:
        pytest.skip("mounting an image of ext4 is not permitted")


def test_a_full_file_system(scene: Scene) -> None:
    """ENOSPC; it goes on when something was removed."""
    _need_file_system(scene)
    ballast = scene.audit / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 4_096)
                except OSError:
                    return

    scene.fails_closed_and_resumes(fill, ballast.unlink)


def test_a_file_that_may_not_grow(scene: Scene) -> None:
    """EFBIG, by a limit of the process, which a new segment would exceed as well."""
    process = scene.server.process.pid
    _, most = resource.prlimit(process, resource.RLIMIT_FSIZE)

    def limit() -> None:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (100, most))

    scene.fails_closed_and_resumes(limit, lambda: resource.prlimit(process, resource.RLIMIT_FSIZE, (most, most)))


def test_a_file_that_may_not_be_written(scene: Scene) -> None:
    """EPERM, though it is open for that."""
    _need_file_system(scene)
    locked: list[Path] = []

    def lock() -> None:
        locked.append(scene.segment)
        try:
            _set_immutable(scene.segment, immutable=True)
        except OSError as error:
            locked.clear()
            pytest.skip(f"files can't be made immutable here: {error.strerror}")

    def unlock() -> None:
        for path in locked:
            _set_immutable(path, immutable=False)

    scene.fails_closed_and_resumes(lock, unlock)


def _set_immutable(path: Path, *, immutable: bool) -> None:
    """As chattr does it (ioctl_iflags(2))."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flags = struct.unpack("l", fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, bytes(8)))[0]
        flags = flags | _FS_IMMUTABLE_FL if immutable else flags & ~_FS_IMMUTABLE_FL
        fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, struct.pack("l", flags))
    finally:
        os.close(descriptor)


def test_a_file_system_that_hangs(scene: Scene) -> None:
    """Calls wait, answered by nothing, and are answered when it goes on (FIFREEZE, as fsfreeze(8))."""
    _need_file_system(scene)
    descriptor = os.open(scene.audit, os.O_RDONLY)
    fcntl.ioctl(descriptor, _FIFREEZE, 0)
    try:
        calls = [scene.begin() for _ in range(20)]
        time.sleep(1)
        assert not any(call.done() for call in calls)
    finally:
        fcntl.ioctl(descriptor, _FITHAW, 0)
        os.close(descriptor)
    assert all(map(scene.ended, calls))


def test_a_file_system_that_turned_read_only(scene: Scene) -> None:
    """EROFS, as after an error of the device: mounting it again is a matter of the operator. What was committed then is
    recorded when the server starts again."""
    _need_file_system(scene)
    device = os.path.realpath(_source_of(scene.audit))
    Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("test")
    scene.fails_closed()
    scene.root.channel.close()
    assert scene.server.terminate() == 0
    subprocess.run(["umount", str(scene.audit)], check=True)
    subprocess.run(["mount", "-o", "loop", str(scene.audit.parent.parent / "image"), str(scene.audit)], check=True)
    scene.server = OperatedServer(scene.audit.parent, *_QUIET)
    scene.root = scene.server.stubs()
    assert scene.encrypt()


def _source_of(place: Path) -> str:
    """The device that is mounted there."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return next(fields[0] for fields in mounts if fields[1] == str(place))


def test_what_was_acknowledged_is_recorded_and_nothing_else(scene: Scene) -> None:
    """Each once; of what was refused, nothing, nor what it wanted to make."""
    found = scene.root.keys.ListKeys(keys_pb2.ListKeysRequest()).keys
    described = [scene.root.keys.DescribeKey(keys_pb2.DescribeKeyRequest(key_id=key.key_id)) for key in found]
    logs = [path.read_text() for path in scene.server.data.parent.glob("*.stderr")]
    assert scene.server.terminate() == 0
    assert verify(scene.audit).sound
    recorded: Counter[str] = Counter()
    made = 0
    for segment in scene.audit.glob("chain-00/*.jsonl"):
        for line in segment.read_bytes().splitlines():
            event = json.loads(line)["event"]
            recorded[event.get("requestID")] += 1
            made += event["eventName"] == "CreateKey"
    assert {each for each in scene.acknowledged if recorded[each] != 1} == set()
    assert {each for each in scene.refused if recorded[each] != 0} == set()
    # A change that was committed before its record was refused is recorded as soon as that is possible.
    assert made == len(described)
    assert any("could not be made durable" in log for log in logs)
    assert not any("Traceback" in log for log in logs if "could not be made durable" not in log)


def test_a_server_does_not_start_where_it_can_not_record(tmp_path: Path) -> None:
    """It says so, and exits with 1."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "audit").write_text("not a folder")
    started = subprocess.run(
        [*PROGRAM, "--data-dir", str(data), "--grpc-listen", "127.0.0.1:0"], capture_output=True, text=True,
        env=environment(), timeout=60, check=False,
    )
    assert started.returncode == 1
    assert "audit" in started.stderr
    assert "Traceback" not in started.stderr
