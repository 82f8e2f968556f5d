"""Two server processes on one data directory: what one was told, the other knows before its next call."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import grpc
import pytest
from tests.support.operated import OperatedServer, Stubs, command, refused

from kagitori.kms.v1 import audit_pb2, credentials_pb2, cryptography_pb2, identity_policies_pb2, keys_pb2
from kagitori_client.client import pages
from kagitori_server.audit.verify import verify
from kagitori_server.bootstrap.data_directory import open_data_directory
from kagitori_server.config import Config, ListenConfig
from kagitori_server.wiring import Clocks, Server
from kagitori_server.workers import DeletionWorker

WRITES = 40
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")


class Pair(NamedTuple):
    """Two servers, and the root user at each."""

    first: OperatedServer
    second: OperatedServer
    one: Stubs
    two: Stubs


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both on one data directory. The last test kills them."""
    data = tmp_path_factory.mktemp("two") / "data"
    with (
        OperatedServer(data, "--log-level", "warning") as first,
        OperatedServer(data, "--log-level", "warning") as second,
        first.stubs() as one,
        second.stubs() as two,
    ):
        yield Pair(first, second, one, two)


def _encrypt(stubs: Stubs, key: str) -> cryptography_pb2.EncryptResponse:
    answer = stubs.crypto.Encrypt(cryptography_pb2.EncryptRequest(key_id=key, plaintext=b"x"))
    assert isinstance(answer, cryptography_pb2.EncryptResponse)
    return answer


def _make_key(stubs: Stubs) -> str:
    return str(stubs.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.arn)


def test_each_sees_the_others_changes_at_once(pair: Pair) -> None:
    """Key states, aliases, policies and tokens, in both directions, with a warm view each time."""
    for here, there in ((pair.one, pair.two), (pair.two, pair.one)):
        _see_keys(here, there)
        _see_permissions(pair, here, there)
    assert pair.first.log + pair.second.log == ""
    # Both write on meanwhile, which must not look like damage.
    report = verify(pair.first.data / "audit")
    assert report.sound
    assert len(report.chains) == 2
    assert command("verify-audit", "--data-dir", pair.first.data, cwd=pair.first.data.parent).returncode == 0


def _see_keys(here: Stubs, there: Stubs) -> None:
    key, other = _make_key(here), _make_key(there)
    sealed = _encrypt(there, key)
    for _ in range(3):
        here.keys.DisableKey(keys_pb2.DisableKeyRequest(key_id=key))
        assert refused(lambda: _encrypt(there, key))[1] == "DISABLED"
        here.keys.EnableKey(keys_pb2.EnableKeyRequest(key_id=key))
        _encrypt(there, key)
    here.keys.CreateAlias(keys_pb2.CreateAliasRequest(alias_name="alias/moving", target_key_id=key))
    assert _encrypt(there, "alias/moving").key_id == key
    here.keys.UpdateAlias(keys_pb2.UpdateAliasRequest(alias_name="alias/moving", target_key_id=other))
    assert _encrypt(there, "alias/moving").key_id == other
    here.keys.DeleteAlias(keys_pb2.DeleteAliasRequest(alias_name="alias/moving"))
    assert refused(lambda: _encrypt(there, "alias/moving"))[1] == "NOT_FOUND"
    here.keys.ScheduleKeyDeletion(keys_pb2.ScheduleKeyDeletionRequest(key_id=key, pending_window_in_days=7))
    decrypt = cryptography_pb2.DecryptRequest(ciphertext_blob=sealed.ciphertext_blob)
    assert refused(lambda: there.crypto.Decrypt(decrypt))[1] == "KMS_INVALID_STATE"


def _see_permissions(pair: Pair, here: Stubs, there: Stubs) -> None:
    name = f"user-{'one' if here is pair.one else 'two'}"
    key = _make_key(here)
    arn = here.make_user(name)
    token = here.make_token(arn)
    server = pair.second if there is pair.two else pair.first
    with server.stubs(token.token) as user:
        _encrypt(user, key)
        here.admin.DeleteIdentityPolicy(
            identity_policies_pb2.DeleteIdentityPolicyRequest(principal_arn=arn, policy_name="all")
        )
        assert refused(lambda: _encrypt(user, key)) == DENIED
        here.admin.PutIdentityPolicy(
            identity_policies_pb2.PutIdentityPolicyRequest(
                principal_arn=arn, policy_name="again",
                policy_document='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Encrypt",'
                                f'"Resource":"{key}"}}]}}',
            )
        )
        _encrypt(user, key)
        here.admin.RevokeToken(credentials_pb2.RevokeTokenRequest(token_id=token.token_id))
        assert refused(lambda: _encrypt(user, key))[1] == "UNRECOGNIZED_CLIENT"


def test_key_that_one_destroys_is_gone_for_the_other(pair: Pair) -> None:
    """After its waiting period, by the clock of a third process; the trail tells of it."""
    key = _make_key(pair.one)
    blob = _encrypt(pair.two, key).ciphertext_blob
    pair.one.keys.ScheduleKeyDeletion(keys_pb2.ScheduleKeyDeletionRequest(key_id=key, pending_window_in_days=7))
    clocks = Clocks(wall=lambda: time.time() + 8 * 86_400)
    later = Server(Config(listen=ListenConfig(grpc="127.0.0.1:0")), open_data_directory(pair.first.data), clocks)
    later.open()
    try:
        worker = DeletionWorker(later._services, later._events)
        assert worker.run_once() >= 1
        assert worker.run_once() == 0
        chain = pair.first.data / "audit" / later._trail.position().chain
    finally:
        later._close()
    describe = keys_pb2.DescribeKeyRequest(key_id=key)
    decrypt = cryptography_pb2.DecryptRequest(ciphertext_blob=blob)
    for stubs in (pair.one, pair.two):
        assert refused(lambda: stubs.keys.DescribeKey(describe))[1] == "NOT_FOUND"  # noqa: B023 - called at once
        assert refused(lambda: stubs.crypto.Decrypt(decrypt))[1] != ""  # noqa: B023 - called at once
    recorded = b"".join(path.read_bytes() for path in chain.glob("*.jsonl"))
    assert recorded.count(b'"DeleteKey"') >= 1
    assert key.encode() in recorded


def test_the_trail_of_both_is_one(pair: Pair) -> None:
    """Look-ups at either show what both recorded, by time; a tail that changes servers misses and doubles nothing."""
    key = _make_key(pair.one)
    about = [audit_pb2.LookupAttribute(
        attribute_key=audit_pb2.LOOKUP_ATTRIBUTE_KEY_KEY, attribute_value=key
    ), audit_pb2.LookupAttribute(
        attribute_key=audit_pb2.LOOKUP_ATTRIBUTE_KEY_EVENT_NAME, attribute_value="Encrypt"
    )]
    [begun] = pair.one.admin.TailEvents(audit_pb2.TailEventsRequest(filters=about))
    token, tailed = begun.resume_token, []
    for turn in range(6):
        here, there = (pair.one, pair.two) if turn % 2 else (pair.two, pair.one)
        for stubs in (here, there, here):
            _encrypt(stubs, key)
        for message in there.admin.TailEvents(audit_pb2.TailEventsRequest(filters=about, resume_token=token)):
            tailed += [event.event_id for event in message.events]
            token = message.resume_token
    assert len(set(tailed)) == len(tailed) == 18
    for stubs in (pair.one, pair.two):
        request = audit_pb2.LookupEventsRequest(filters=about, max_results=5)
        events = [event for page in pages(stubs.admin.LookupEvents, request) for event in page.events]
        assert sorted(event.event_id for event in events) == sorted(tailed)
        times = [event.event_time.seconds for event in events]
        assert times == sorted(times, reverse=True)
        exported = stubs.admin.ExportEvents(audit_pb2.ExportEventsRequest(filters=about))
        assert sorted(event.event_id for message in exported for event in message.events) == sorted(tailed)
    index, end = pair.first.data / "audit" / "index", time.monotonic() + 30
    while len(list(index.rglob("*.sqlite"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)


class Writer(threading.Thread):
    """Makes changes one after the other and notes how long each took."""

    def __init__(self, stubs: Stubs, key: str) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self._stubs = stubs
        self._key = key

    def run(self) -> None:
        for number in range(WRITES):
            began = time.monotonic()
            self._stubs.keys.UpdateKeyDescription(
                keys_pb2.UpdateKeyDescriptionRequest(key_id=self._key, description=str(number))
            )
            self.seconds.append(time.monotonic() - began)


def test_writers_of_both_get_their_turns(pair: Pair) -> None:
    """Three callers at each process: all are served, none waits for long, nothing is refused."""
    key = _make_key(pair.one)
    writers = [Writer(stubs, key) for stubs in (pair.one, pair.two) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [len(writer.seconds) for writer in writers] == [WRITES] * len(writers)
    assert max(max(writer.seconds) for writer in writers) < 5.0


def test_both_killed_and_started_again(pair: Pair) -> None:
    """SIGKILL to both in the midst of writes: restarted, all answered changes are there and the trail is sound."""
    key = _make_key(pair.one)
    sealed = _encrypt(pair.two, key).ciphertext_blob
    stop = threading.Event()
    made: list[str] = []

    def work(stubs: Stubs) -> None:
        while not stop.is_set():
            try:
                made.append(_make_key(stubs))
            except grpc.RpcError:
                return

    threads = [threading.Thread(target=work, args=(stubs,), daemon=True) for stubs in (pair.one, pair.two)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 30
    while len(made) < 20 and time.monotonic() < end:
        time.sleep(0.01)
    pair.first.process.kill()
    pair.second.process.kill()
    stop.set()
    for thread in threads:
        thread.join(30)
    pair.first.ended()
    pair.second.ended()
    data = pair.first.data
    with (
        OperatedServer(data, "--log-level", "warning") as third,
        OperatedServer(data, "--log-level", "warning") as fourth,
        third.stubs() as three,
        fourth.stubs() as four,
    ):
        for stubs in (three, four):
            opened = stubs.crypto.Decrypt(cryptography_pb2.DecryptRequest(ciphertext_blob=sealed))
            assert opened.plaintext == b"x"
            for arn in made:
                stubs.keys.DescribeKey(keys_pb2.DescribeKeyRequest(key_id=arn))
        assert third.terminate() == 0
        assert fourth.terminate() == 0
    assert verify(data / "audit").sound
