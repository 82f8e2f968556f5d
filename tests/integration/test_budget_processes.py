"""Budgets over two server processes on one data directory, and refusals with RetryInfo over the wire."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from tests.support.operated import OperatedServer, Stubs, refused

from kagitori.kms.v1 import budgets_pb2, cryptography_pb2, keys_pb2
from kagitori_server.audit.verify import verify

MONTH, SECOND = budgets_pb2.BUDGET_WINDOW_MONTH, budgets_pb2.BUDGET_WINDOW_SECOND
THROTTLED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "THROTTLING")
FROZEN = (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")


class Two(NamedTuple):
    """Two servers, and the same user's connections to them."""

    first: OperatedServer
    second: OperatedServer
    root: Stubs
    one: Stubs
    two: Stubs


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    data = tmp_path / "data"
    with (
        OperatedServer(data, "--log-level", "warning") as first,
        OperatedServer(data, "--log-level", "warning") as second,
        first.stubs() as root,
    ):
        token = root.make_token(root.make_user("spender")).token
        with first.stubs(token) as one, second.stubs(token) as other:
            yield Two(first, second, root, one, other)


def _key(root: Stubs) -> str:
    return str(root.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.arn)


def _budget(root: Stubs, key: str, count: int, on_exceed: Any, window: Any = MONTH) -> None:
    root.admin.PutBudget(budgets_pb2.PutBudgetRequest(
        budget_name="b", key_arn=key, principal_arn="*", on_exceed=on_exceed,
        limits=[budgets_pb2.BudgetLimit(window=window, count=count)],
    ))


def _encrypt(stubs: Stubs, key: str) -> None:
    stubs.crypto.Encrypt(cryptography_pb2.EncryptRequest(key_id=key, plaintext=b"x"))


def _until_refused(stubs: Stubs, key: str, passed: list[int]) -> None:
    """Notes how many calls passed before one was refused, or the server ended."""
    count = 0
    while True:
        try:
            _encrypt(stubs, key)
        except grpc.RpcError:
            passed.append(count)
            return
        count += 1


def _at_once(pairs: list[tuple[Stubs, str]]) -> int:
    passed: list[int] = []
    threads = [threading.Thread(target=_until_refused, args=(stubs, key, passed)) for stubs, key in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(passed) == len(pairs)
    return sum(passed)


def _retry_seconds(error: Any) -> float:
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info, retry = ErrorInfo(), RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert info.metadata["awsErrorType"] == "ThrottlingException"
    return float(retry.retry_delay.ToTimedelta().total_seconds())


def test_two_processes_allow_the_limit_and_no_more(two: Two) -> None:
    """Three callers at each, all at once; what is refused says when the month ends."""
    key = _key(two.root)
    _budget(two.root, key, 150, budgets_pb2.ON_EXCEED_REFUSE)
    assert _at_once([(stubs, key) for stubs in (two.one, two.two) for _ in range(3)]) == 150
    for stubs in (two.one, two.two):
        with pytest.raises(grpc.RpcError) as caught:
            _encrypt(stubs, key)
        assert 0 < _retry_seconds(caught.value) <= 31 * 86_400
    assert two.first.log + two.second.log == ""


def test_a_process_that_is_killed_gives_nothing_back(two: Two) -> None:
    """SIGKILL amid the calls: what it had leased counts as used, so the rest allows at most the limit altogether."""
    key = _key(two.root)
    _budget(two.root, key, 400, budgets_pb2.ON_EXCEED_REFUSE)
    passed: list[int] = []
    threads = [threading.Thread(target=_until_refused, args=(two.two, key, passed)) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    two.second.kill()
    for thread in threads:
        thread.join(60)
    total = sum(passed) + _at_once([(two.one, key)])
    assert 300 <= total <= 400


def test_who_is_frozen_by_one_is_frozen_at_the_other(two: Two) -> None:
    """At once, and after a restart; the trail says so, and an administrator ends it."""
    key = _key(two.root)
    _budget(two.root, key, 40, budgets_pb2.ON_EXCEED_FREEZE)
    _encrypt(two.two, key)
    passed: list[int] = []
    _until_refused(two.one, key, passed)
    assert passed[0] <= 39
    for stubs in (two.one, two.two):
        assert refused(lambda: _encrypt(stubs, key)) == FROZEN  # noqa: B023 - called at once
    (freeze,) = two.root.admin.ListFreezes(budgets_pb2.ListFreezesRequest()).freezes
    assert freeze.key_arn == key
    assert two.second.terminate() == 0
    trail = b"".join(path.read_bytes() for path in (two.first.data / "audit").rglob("*.jsonl"))
    assert trail.count(b'"FreezePrincipal"') == 1
    two.root.admin.LiftFreeze(budgets_pb2.LiftFreezeRequest(budget_name="b", freeze_id=freeze.freeze_id))
    _encrypt(two.one, key)
    assert verify(two.first.data / "audit").sound


def test_request_rates_over_the_wire(tmp_path: Path) -> None:
    """Set by flags; the refusal says what AWS says, and when to come again."""
    rates = ("--set", "throttling.account_rates=symmetric=0.5", "--set", "throttling.burst_seconds=4")
    with OperatedServer(tmp_path / "data", *rates) as server, server.stubs() as root:
        key = _key(root)
        for _ in range(2):
            _encrypt(root, key)
        with pytest.raises(grpc.RpcError) as caught:
            _encrypt(root, key)
        assert 0 < _retry_seconds(caught.value) <= 2
        error: Any = caught.value
        assert error.details().startswith("You have exceeded the rate at which you may call KMS.")
        assert refused(lambda: _encrypt(root, key)) == THROTTLED


def test_a_budget_of_seconds_over_the_wire(two: Two) -> None:
    """Leased like any other: two processes together allow so many a second."""
    key = _key(two.root)
    _budget(two.root, key, 5, budgets_pb2.ON_EXCEED_REFUSE, SECOND)
    begun = time.time()
    passed = 0
    waits: list[float] = []
    while time.time() - begun < 2.5:
        for stubs in (two.one, two.two):
            try:
                _encrypt(stubs, key)
                passed += 1
            except grpc.RpcError as error:
                waits.append(_retry_seconds(error))
    assert all(0 <= wait <= 1 for wait in waits)
    assert 5 <= passed <= 5 * (int(time.time()) - int(begun) + 1)
