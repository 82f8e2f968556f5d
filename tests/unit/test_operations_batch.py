"""BatchEncrypt, BatchDecrypt, BatchGenerateDataKey: an outcome and a record for each item, in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess
from tests.support.kms_calls import (
    ABSENT_ID,
    OTHER,
    delegating,
    encrypt,
    identity_policy,
    new_key,
    refused,
    root,
    statement,
)

from kagitori_keystore.base import StoreLost
from kagitori_server.model.errors import (
    AccessDeniedException,
    DryRunOperationException,
    IncorrectKeyException,
    InvalidCiphertextException,
    KmsError,
    NotFoundException,
    SerializationException,
    UnrecognizedClientException,
    ValidationException,
)
from kagitori_server.operations.shapes.keys import KeyMetadata


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that only look at keys of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


@pytest.fixture(scope="module")
def key(service: InProcess) -> KeyMetadata:
    """A key that no test changes."""
    return new_key(service)


def _batch(service: InProcess, operation: str, items: list[dict[str, Any]], **how: Any) -> tuple[list[Any], list[Any]]:
    """(outcomes, new records)."""
    before = len(service.records())
    outcomes = service.call(operation, {"items": items}, **how).outcomes
    return list(outcomes), service.records()[before:]


def _code(outcome: Any) -> str | None:
    assert (outcome.response is None) is (outcome.error is not None)
    return None if outcome.error is None else outcome.error.code


def test_there_and_back(service: InProcess, key: KeyMetadata) -> None:
    """256 items, in order, each with a record of its own under one request id."""
    items = [{"key_id": key.key_id, "plaintext": f"item {n}".encode(), "encryption_context": {"n": str(n)}}
             for n in range(256)]
    sealed, records = _batch(service, "BatchEncrypt", items)
    assert len(sealed) == len(records) == 256
    assert {record["eventName"] for record in records} == {"Encrypt"}
    assert [record["requestParameters"]["encryptionContext"] for record in records] == [
        {"n": str(n)} for n in range(256)
    ]
    assert len({record["requestID"] for record in records}) == 1
    assert len({record["eventID"] for record in records}) == 256
    opened, _ = _batch(service, "BatchDecrypt", [
        {"ciphertext_blob": outcome.response.ciphertext_blob, "encryption_context": {"n": str(n)}}
        for n, outcome in enumerate(sealed)
    ])
    assert [outcome.response.plaintext for outcome in opened] == [f"item {n}".encode() for n in range(256)]


def test_a_bad_item_spoils_no_other(service: InProcess, key: KeyMetadata) -> None:
    """Each kind of failure between good items; the outcomes and records keep their places."""
    good = {"key_id": key.key_id, "plaintext": b"x"}
    items: list[tuple[dict[str, Any], type[KmsError] | None]] = [
        (good, None), ({}, ValidationException), ({"key_id": ABSENT_ID, "plaintext": b"x"}, NotFoundException),
        (good, None), (good | {"dry_run": True}, DryRunOperationException),
        (good | {"more": 1}, SerializationException),
        (good | {"plaintext": b"x" * 4097}, ValidationException), (good | {"plaintext": "x"}, SerializationException),
        (good | {"encryption_context": {"": ""}}, ValidationException), (good, None),
    ]
    outcomes, records = _batch(service, "BatchEncrypt", [item for item, _ in items])
    expected = [None if error is None else error.code() for _, error in items]
    assert [_code(outcome) for outcome in outcomes] == expected
    assert [record.get("errorCode") for record in records] == expected
    assert outcomes[2].error.message == f"Key '{key.arn.replace(key.key_id, ABSENT_ID)}' does not exist"
    assert all(record["requestParameters"] is None for record, code in zip(records, expected, strict=True)
               if code == "SerializationException")


def test_bad_ciphertexts(service: InProcess, key: KeyMetadata) -> None:
    """BatchDecrypt tells each item's own failure."""
    other = new_key(service)
    blob = encrypt(service, key.key_id)
    outcomes, _ = _batch(service, "BatchDecrypt", [
        {"ciphertext_blob": blob}, {"ciphertext_blob": blob[:-1]}, {"ciphertext_blob": blob, "key_id": other.key_id},
        {"ciphertext_blob": blob[:3] + bytes(16) + blob[19:]}, {}, {"ciphertext_blob": blob, "key_id": key.arn},
    ])
    assert [_code(outcome) for outcome in outcomes] == [
        None, InvalidCiphertextException.code(), IncorrectKeyException.code(), AccessDeniedException.code(),
        ValidationException.code(), None,
    ]


def test_each_key_is_authorised(service: InProcess, key: KeyMetadata) -> None:
    """One permitted key in a batch opens no other."""
    other = new_key(service)
    token = service.new_user("one-of-two", policies={"p": identity_policy("kms:GenerateDataKey", resource=key.arn)})
    items = [{"key_id": name, "number_of_bytes": 8} for name in (key.key_id, other.key_id, key.arn, other.arn)]
    outcomes, records = _batch(service, "BatchGenerateDataKey", items, token=token)
    assert [_code(outcome) for outcome in outcomes] == [None, "AccessDeniedException"] * 2
    assert [record.get("errorCode") for record in records] == [None, "AccessDenied"] * 2
    assert f"on resource: {other.arn} because no identity-based policy" in outcomes[1].error.message
    outcomes, _ = _batch(service, "BatchEncrypt", [{"key_id": key.key_id, "plaintext": b"x"}], token=token)
    assert [_code(outcome) for outcome in outcomes] == ["AccessDeniedException"]


@pytest.mark.parametrize("count", [0, 257, 10_000])
@pytest.mark.parametrize("operation", ["BatchEncrypt", "BatchDecrypt", "BatchGenerateDataKey"])
def test_sizes_that_are_refused(service: InProcess, operation: str, count: int) -> None:
    """1 to 256 items; nothing is done for a single one beyond, and the refusal is recorded once."""
    error = refused(service, ValidationException, operation, {"items": [{}] * count})
    assert "'items'" in error.message
    refused(service, ValidationException, operation, {})


def test_whole_refusals_count_as_reading(service: InProcess) -> None:
    """As the items would have."""
    refused(service, ValidationException, "BatchEncrypt", {"items": []})
    assert service.records()[-1]["readOnly"] is True


def test_nobody_s_batch(service: InProcess, key: KeyMetadata) -> None:
    """Who calls is established before the items are looked at; one record for the whole."""
    batches: list[list[dict[str, Any]]] = [[], [{"key_id": key.key_id, "plaintext": b"x"}] * 3, [{}] * 300]
    for items in batches:
        refused(service, UnrecognizedClientException, "BatchEncrypt", {"items": items}, token="kgt_" + "x" * 43)


def test_a_region_that_is_not_served(service: InProcess, key: KeyMetadata) -> None:
    """Every item fails for itself."""
    outcomes, records = _batch(service, "BatchEncrypt", [{"key_id": key.key_id, "plaintext": b"x"}] * 2, region="mars")
    assert [_code(outcome) for outcome in outcomes] == ["ValidationException"] * 2
    assert len(records) == 2


def test_other_accounts_have_their_copies(service: InProcess) -> None:
    """Two records for each item that used a foreign key, one for each that failed."""
    service.new_account(OTHER)
    guest = service.new_user("guest", account=OTHER, policies={"p": ALLOW_ALL})
    shared = new_key(service, policy=delegating(statement(root(OTHER), "kms:Encrypt")))
    items = [{"key_id": shared.arn, "plaintext": b"x"}, {"key_id": shared.arn, "plaintext": b""},
             {"key_id": shared.arn, "plaintext": b"y"}]
    outcomes, records = _batch(service, "BatchEncrypt", items, token=guest)
    assert [_code(outcome) for outcome in outcomes] == [None, "ValidationException", None]
    assert [record["recipientAccountId"] for record in records] == [OTHER, HOME, OTHER, OTHER, HOME]


def test_the_largest_batch_can_be_recorded(service: InProcess, key: KeyMetadata) -> None:
    """256 contexts of the greatest size fit into the trail."""
    context = {"k": "\u9375" * 2700}
    items = [{"key_id": key.key_id, "number_of_bytes": 1024, "encryption_context": context}] * 256
    outcomes, records = _batch(service, "BatchGenerateDataKey", items)
    assert [_code(outcome) for outcome in outcomes] == [None] * 256
    assert records[-1]["requestParameters"]["encryptionContext"] == context


def test_contexts_that_are_far_too_large(service: InProcess, key: KeyMetadata) -> None:
    """256 refused items with contexts as large as a message may bring are an answer too."""
    items = [{"key_id": key.key_id, "plaintext": b"x", "encryption_context": {"k": "v" * 60_000}}] * 256
    outcomes, records = _batch(service, "BatchEncrypt", items)
    assert {_code(outcome) for outcome in outcomes} == {"ValidationException"}
    assert len(records) == 256


class _Hasty:
    """A clock that stands still at first, then goes on so fast that each item of a batch has a turn of its own."""

    def __init__(self) -> None:
        self._readings = itertools.count()
        self._happen: Callable[[], None] | None = None

    def hurry(self, happen: Callable[[], None]) -> None:
        """From now on it is fast; `happen` is called in the midst of the items."""
        self._happen = happen

    def __call__(self) -> float:
        if self._happen is None:
            return 0.0
        if (reading := next(self._readings)) == 60:
            self._happen()
        return reading * 0.03


@pytest.mark.parametrize(("change", "wanted"), [
    ("key disabled", "DisabledException"), ("credential revoked", "UnrecognizedClientException"),
    ("key store lost", "KeyUnavailableException"),
])
def test_what_another_process_changed_is_noticed_by_a_batch_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, wanted: str
) -> None:
    """Items that come later than the twentieth of a second in which a decision holds."""
    monotonic = _Hasty()
    with InProcess(tmp_path, monotonic=monotonic) as service, InProcess(tmp_path, service.clock) as other:
        key_id = new_key(service).key_id
        user = other.call("CreateUser", {"user_name": "user"}).user.arn
        made = other.call("CreateToken", {"principal_arn": user})
        other.call("PutIdentityPolicy", {
            "principal_arn": user, "policy_name": "all", "policy_document": identity_policy("kms:*"),
        })

        def lost(*_arguments: object) -> None:
            raise StoreLost("the secret of an access key can't be opened")

        def happen() -> None:
            with ThreadPoolExecutor(1) as thread:
                if change == "key store lost":
                    thread.submit(other.call, "TagResource", {
                        "key_id": key_id, "tags": [{"tag_key": "a", "tag_value": "b"}],
                    }).result()
                    monkeypatch.setattr(service.authenticator, "authenticate", lost)
                elif change == "key disabled":
                    thread.submit(other.call, "DisableKey", {"key_id": key_id}).result()
                else:
                    thread.submit(other.call, "RevokeToken", {"token_id": made.token_id}).result()

        monotonic.hurry(happen)
        items = [{"key_id": key_id, "plaintext": b"x"}] * 50
        outcomes = service.call("BatchEncrypt", {"items": items}, token=made.token).outcomes
        codes = [_code(outcome) for outcome in outcomes]
        assert set(codes) == {None, wanted}
        assert codes == sorted(codes, key=bool), "nothing succeeds after the change was noticed"
        recorded = [record.get("errorCode") for record in service.records() if record["eventName"] == "Encrypt"]
        assert recorded == codes
