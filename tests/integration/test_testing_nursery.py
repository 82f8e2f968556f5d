"""Servers for tests that are forked from one process: fresh each, and no less theirs who started them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kagitori.kms.v1.keys_pb2 import CreateKeyRequest, ListKeysRequest
from kagitori_client.testing import NotStarted, nursery, running
from kagitori_client.testing.processes import Forked, Nursery


@pytest.fixture(scope="module")
def found() -> Iterator[Nursery]:
    """One for all tests here."""
    with nursery() as made:
        assert made is not None
        yield made


def test_each_is_fresh(found: Nursery) -> None:
    """Two at once have processes, addresses, authorities, tokens and keys of their own; a third has none of theirs."""
    with running(nursery=found) as one, running(nursery=found) as two:
        assert isinstance(one.process, Forked)
        made = one.client.keys.CreateKey(CreateKeyRequest()).key_metadata.key_id
        for service, keys in ((one, [made]), (two, [])):
            assert [each.key_id for each in service.client.keys.ListKeys(ListKeysRequest()).keys] == keys
        for differing in ("endpoint", "token"):
            assert getattr(one, differing) != getattr(two, differing)
        assert one.ca_file.read_bytes() != two.ca_file.read_bytes()
        assert one.process.pid != two.process.pid
        folder = one.ca_file.parent.parent
    assert not folder.exists()
    assert (one.process.poll(), two.process.poll()) == (0, 0)
    with running(nursery=found) as three:
        assert three.client.keys.ListKeys(ListKeysRequest()).keys == []


def test_environment_folder_and_arguments_are_the_starters(
    found: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are when a server is started, not as they were when the nursery was; variables for clients are not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARKED", "yes")
    monkeypatch.setenv("KAGITORI_ENDPOINT", "https://elsewhere")
    (tmp_path / "seed.toml").write_text('[[keys]]\nid = "0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a10"\n')
    with running(seed=Path("seed.toml"), arguments=["--region", "eu-west-1"], nursery=found) as service:
        assert len(service.client.keys.ListKeys(ListKeysRequest()).keys) == 1
        assert service.environment["KAGITORI_REGION"] == "eu-west-1"
        process = Path(f"/proc/{service.process.pid}")
        assert process.joinpath("cwd").readlink() == tmp_path


def test_folder_and_file_mode_mask_can_be_others(found: Nursery, tmp_path: Path) -> None:
    """Whoever asks the nursery itself may name them; this process keeps its own."""
    (tmp_path / "said").touch()
    with (tmp_path / "said").open("r+b") as said:
        forked = found.fork(["dev", "--while-stdin-is-open"], said, os.environ, folder=tmp_path, umask=0o037)
        assert forked.stdin is not None
        assert forked.stdout is not None
        with forked.stdin, forked.stdout:
            assert json.loads(forked.stdout.readline())["env"]
            process = Path(f"/proc/{forked.pid}")
            assert process.joinpath("cwd").readlink() == tmp_path
            assert "Umask:\t0037\n" in process.joinpath("status").read_text()
    assert forked.wait(60) == 0
    assert Path.cwd() != tmp_path


def test_a_server_that_does_not_start_tells_why(found: Nursery) -> None:
    """Exit status and words are its own."""
    refused = pytest.raises(NotStarted, match=r"ended with status 1: kagitori-server: service\.region must be")
    with refused, running(arguments=["--region", "?"], nursery=found):
        pass


def test_a_server_that_is_killed_is_told_of(found: Nursery) -> None:
    """By its number, which nobody else has until then."""
    with running(nursery=found) as service:
        os.kill(service.process.pid, signal.SIGKILL)
        assert service.process.wait(30) == -signal.SIGKILL
        service.process.kill()


def test_a_nursery_that_is_gone_is_done_without() -> None:
    """Servers that it has forked go on and end as ever, others are started alone."""
    with nursery() as made, ExitStack() as stack:
        assert made is not None
        before = stack.enter_context(running(nursery=made))
        made._process.kill()
        made._process.wait()
        with running(nursery=made) as alone:
            assert not isinstance(alone.process, Forked)
            alone.client.keys.CreateKey(CreateKeyRequest())
        before.client.keys.CreateKey(CreateKeyRequest())
        stack.close()
        end = time.monotonic() + 30
        while Path(f"/proc/{before.process.pid}").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
