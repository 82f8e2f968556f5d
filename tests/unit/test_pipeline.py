"""The way of a call: the order of its steps, what is recorded, what is never recorded, several processes."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess
from tests.support.kms_calls import (
    ABSENT_ID,
    delegating,
    encrypt,
    identity_policy,
    key_arn,
    last_record,
    new_key,
    refused,
    root,
    statement,
    user_arn,
)

from kagitori_keystore.base import ErrorKind, KeyStoreError
from kagitori_keystore.software import SoftwareKeyStore
from kagitori_server.model.call import Call, Evidence
from kagitori_server.model.errors import (
    AccessDeniedException,
    DependencyTimeoutException,
    DisabledException,
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
    SerializationException,
    UnknownOperationException,
    UnrecognizedClientException,
    ValidationException,
)
from kagitori_server.operations.row import Operation
from kagitori_server.operations.table import TABLE
from kagitori_server.storage.writer import Writer

UNKNOWN_TOKEN = "kgt_" + "x" * 43


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that only look at keys of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


def _send(service: InProcess, operation: str, decode: Any, token: str | None = None) -> Any:
    evidence = Evidence(token=token or service.root_token)
    return service._runner.run(service.pipeline.handle(Call(operation, service.ids.uuid(), evidence, None, decode)))


# --- order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", sorted(TABLE))
def test_the_body_is_not_read_for_nobody(service: InProcess, operation: str) -> None:
    """Authentication comes before the first look at the body, for every row."""
    def decode() -> Mapping[str, Any]:
        raise AssertionError("the body of an unauthenticated call was read")

    with pytest.raises(UnrecognizedClientException):
        _send(service, operation, decode, UNKNOWN_TOKEN)
    assert last_record(service)["errorCode"] == "UnrecognizedClientException"


@pytest.mark.parametrize("operation", sorted(TABLE))
def test_a_body_that_can_not_be_read(service: InProcess, operation: str) -> None:
    """Known callers hear so; the record has no parameters."""
    def decode() -> Mapping[str, Any]:
        raise SerializationException("The body of the request is not what it should be.")

    with pytest.raises(SerializationException):
        _send(service, operation, decode)
    record = last_record(service)
    assert (record["errorCode"], record["requestParameters"]) == ("SerializationException", None)


def test_operations_that_are_not_served(service: InProcess) -> None:
    """Unknown names are refused and recorded, whoever calls."""
    for operation in ("CreateSpaceship", "encrypt", "", "CreateKey\n", "__class__"):
        with pytest.raises(UnknownOperationException):
            service.call(operation, {})
        record = last_record(service)
        assert record["errorCode"] == "UnknownOperationException"
        assert record["userIdentity"]["type"] == "Root"
        with pytest.raises(UnknownOperationException):
            service.call(operation, {}, token="kgt_" + "x" * 43)
        assert last_record(service)["userIdentity"] == {"type": "Unknown"}


def test_permission_before_state_usage_and_parameters(service: InProcess) -> None:
    """Whoever may not hears nothing else, whatever else is wrong."""
    token = service.new_user("nobody")
    key = new_key(service)
    blob = encrypt(service, key.key_id)
    service.call("DisableKey", {"key_id": key.key_id})
    for operation, values in (
        ("Encrypt", {"plaintext": b"x", "encryption_algorithm": "SM2PKE"}),
        ("Encrypt", {"plaintext": b"x", "encryption_context": {"": "x"}}),
        ("Encrypt", {"plaintext": b"x", "dry_run": True}),
        ("GenerateDataKey", {}),
        ("Decrypt", {"ciphertext_blob": b"junk"}), ("Decrypt", {"ciphertext_blob": blob[:-1] + b"\x00"}),
        ("Decrypt", {"dry_run_modifiers": ["IGNORE_CIPHERTEXT"]}),
        ("ScheduleKeyDeletion", {"pending_window_in_days": 1}),
        ("TagResource", {"tags": [{"tag_key": "aws:x", "tag_value": ""}]}),
        ("PutKeyPolicy", {"policy": "junk"}), ("ListResourceTags", {"marker": "junk"}),
    ):
        error = refused(service, AccessDeniedException, operation, {"key_id": key.key_id, **values}, token=token)
        assert error.message.startswith(f"User: {user_arn('nobody')} is not authorized to perform: kms:{operation} on")


def test_state_before_parameters(service: InProcess) -> None:
    """Who may use the key hears of its state first."""
    key = new_key(service)
    service.call("DisableKey", {"key_id": key.key_id})
    for values in ({}, {"number_of_bytes": 1}, {"number_of_bytes": 1, "dry_run": True}):
        refused(service, DisabledException, "GenerateDataKey", {"key_id": key.key_id, **values})


def test_all_violations_are_told_at_once(service: InProcess) -> None:
    """With the members' names; values of secrets aren't repeated."""
    error = refused(service, ValidationException, "Encrypt", {"plaintext": b"", "encryption_algorithm": "X"})
    assert error.message.startswith("3 validation errors detected: ")
    assert [violation.field for violation in error.violations] == ["key_id", "plaintext", "encryption_algorithm"]


class Failing:
    """A key store that can do everything but encrypt and generate."""

    def __init__(self, store: SoftwareKeyStore, failure: Exception) -> None:
        self._store = store
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def encrypt(self, *_: Any) -> bytes:
        """Fails."""
        raise self._failure

    generate = encrypt


# --- failures of parts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error"),
    [(ErrorKind.TOO_SLOW, DependencyTimeoutException), (ErrorKind.STORE_LOST, KeyUnavailableException),
     (ErrorKind.SESSION_LOST, KeyUnavailableException)],
)
def test_a_key_store_that_fails(
    service: InProcess, monkeypatch: pytest.MonkeyPatch, kind: ErrorKind, error: type[KmsError]
) -> None:
    """Its failure is the call's, with a time to retry; nothing of its text gets out."""
    class Lost(KeyStoreError):
        pass

    Lost.kind = kind
    key = new_key(service)
    monkeypatch.setattr(service.stores, "default", Failing(service.store, Lost("secret detail")))
    caught = refused(service, error, "Encrypt", {"key_id": key.key_id, "plaintext": b"x"})
    assert "secret" not in caught.message
    assert caught.retry_after == 1.0
    assert "secret detail" not in service.audit_text()


def test_an_unforeseen_failure(
    service: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An internal error without detail, in single calls, writes and batch items alike; recorded as such."""
    key = new_key(service)
    monkeypatch.setattr(service.stores, "default", Failing(service.store, ZeroDivisionError("secret detail")))
    for operation, values in (("Encrypt", {"key_id": key.key_id, "plaintext": b"x"}), ("CreateKey", {})):
        caught = refused(service, KMSInternalException, operation, values)
        assert "secret" not in caught.message
        assert caught.__cause__ is None
    (outcome,) = service.call("BatchEncrypt", {"items": [{"key_id": key.key_id, "plaintext": b"x"}]}).outcomes
    assert outcome.error.code == "KMSInternalException"
    assert "secret" not in outcome.error.message + service.audit_text()
    assert caplog.text.count("unforeseen") == 3


def test_a_write_that_fails_leaves_nothing(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change and intent go together: neither is there when the handler fails half way."""
    key = new_key(service)
    before = service.call("DescribeKey", {"key_id": key.key_id}).key_metadata

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    service.pipeline.settle()
    monkeypatch.setattr(Writer, "add_intent", fail)
    refused(service, KMSInternalException, "DisableKey", {"key_id": key.key_id})
    monkeypatch.undo()
    assert service.call("DescribeKey", {"key_id": key.key_id}).key_metadata == before
    with service.catalog.read() as reader:
        assert reader.pending_intents(service.trail.position().chain) == []


# --- what is never recorded ---------------------------------------------------------------------------------


def test_no_secret_reaches_the_trail(tmp_path: Path) -> None:
    """Plaintexts, ciphertexts, data keys, random bytes, tokens, wrapped material: in no form, in no file."""
    with InProcess(tmp_path) as service:
        key = new_key(service)
        grant = {"key_id": key.key_id, "grantee_principal": root(HOME), "operations": ["Encrypt"]}
        grant_token = service.call("CreateGrant", grant).grant_token
        secrets: list[bytes] = [service.root_token.encode(), grant_token.encode(), b"PLAINTEXT-SECRET-0123456789"]
        token = service.new_user("alice", policies={"p": ALLOW_ALL})
        secrets.append(token.encode())
        tokens = {"grant_tokens": [grant_token]}
        blob = encrypt(service, key.key_id, b"PLAINTEXT-SECRET-0123456789", **tokens)
        data = service.call("GenerateDataKey", {"key_id": key.key_id, "number_of_bytes": 32, **tokens})
        sealed = service.call("GenerateDataKeyWithoutPlaintext", {"key_id": key.key_id, "key_spec": "AES_128"})
        moved = service.call("ReEncrypt", {"ciphertext_blob": blob, "destination_key_id": key.key_id})
        random = service.call("GenerateRandom", {"number_of_bytes": 32}).plaintext
        for ciphertext in (blob, data.ciphertext_blob, sealed.ciphertext_blob, moved.ciphertext_blob):
            service.call("Decrypt", {"ciphertext_blob": ciphertext})
            with pytest.raises(KmsError):
                service.call("Decrypt", {"ciphertext_blob": ciphertext, "encryption_context": {"a": "b"}})
        items = [{"key_id": key.key_id, "plaintext": b"PLAINTEXT-SECRET-0123456789", "more": "x"},
                 {"key_id": "x", "plaintext": b"PLAINTEXT-SECRET-0123456789", "dry_run": True}]
        service.call("BatchEncrypt", {"items": items})
        for values in ({"key_id": ABSENT_ID}, {"key_id": key.key_id, "plaintext": b"PLAINTEXT-SECRET-0123456789" * 200},
                       {"key_id": key.key_id, "plaintext": "PLAINTEXT-SECRET-0123456789"}):
            with pytest.raises(KmsError):
                service.call("Encrypt", {"plaintext": b"PLAINTEXT-SECRET-0123456789", **values})
        with pytest.raises(UnrecognizedClientException):
            service.call("ListKeys", token=token[:-1])
        with service.catalog.read() as reader:
            stored = reader.get_key("us-east-1", key.key_id)
        assert stored is not None
        opened = service.call("Decrypt", {"ciphertext_blob": sealed.ciphertext_blob}).plaintext
        secrets += [token[:-1].encode(), stored.materials[0].reference, opened, data.plaintext, random, blob,
                    data.ciphertext_blob, sealed.ciphertext_blob, moved.ciphertext_blob]
        service.call("ListTokens", {"principal_arn": user_arn("alice")})
    trail = b"".join(path.read_bytes() for path in (tmp_path / "audit").rglob("*") if path.is_file())
    assert trail.count(b"\n") > 20
    for number, secret in enumerate(secrets):
        for form in (secret, secret[:16], base64.b64encode(secret)[:20], base64.urlsafe_b64encode(secret)[:20],
                     secret.hex().encode()[:24], repr(secret)[2:-1].encode()[:24]):
            assert form not in trail, f"secret {number}"


def test_reprs_tell_no_secrets(service: InProcess) -> None:
    """Of calls, requests and answers."""
    key = new_key(service)
    data = service.call("GenerateDataKey", {"key_id": key.key_id, "number_of_bytes": 32})
    assert repr(data.plaintext) not in repr(data)
    encrypt_row = TABLE["Encrypt"]
    assert isinstance(encrypt_row, Operation)
    request = encrypt_row.request.build({"key_id": "k", "plaintext": b"HIDDEN", "grant_tokens": ["HIDDEN"]})
    assert "HIDDEN" not in repr(request)
    call = Call("Encrypt", "r", Evidence(token="HIDDEN", certificate=b"HIDDEN"), None, lambda: {"p": "HIDDEN"})
    assert "HIDDEN" not in repr(call)


# --- several processes on one catalog ------------------------------------------------------------------------


def test_changes_of_one_process_bind_the_other_at_once(tmp_path: Path) -> None:
    """Disabled keys, revoked tokens, withdrawn policies, moved aliases, new members: the very next call knows."""
    with InProcess(tmp_path) as one, InProcess(tmp_path, one.clock) as two:
        root = one.root_token
        first, second = new_key(one), new_key(one)
        one.call("CreateAlias", {"alias_name": "alias/app", "target_key_id": first.key_id})
        alice = one.new_user("alice", policies={"p": identity_policy("kms:Encrypt")})
        values = {"key_id": "alias/app", "plaintext": b"x"}
        for _ in range(2):
            assert two.call("Encrypt", values, token=alice).key_id == first.arn
            one.call("DisableKey", {"key_id": first.key_id})
            refused(two, DisabledException, "Encrypt", values, token=alice)
            one.call("EnableKey", {"key_id": first.key_id})
            two.call("Encrypt", values, token=alice)
            one.call("UpdateAlias", {"alias_name": "alias/app", "target_key_id": second.key_id})
            assert two.call("Encrypt", values, token=alice).key_id == second.arn
            two.call("UpdateAlias", {"alias_name": "alias/app", "target_key_id": first.key_id}, token=root)
            assert one.call("Encrypt", values, token=alice).key_id == first.arn
            one.call("DeleteIdentityPolicy", {"principal_arn": user_arn("alice"), "policy_name": "p"})
            refused(two, AccessDeniedException, "Encrypt", values, token=alice)
            one.call("PutKeyPolicy", {
                "key_id": first.key_id, "policy": delegating(statement(user_arn("alice"), "kms:Encrypt"))
            })
            two.call("Encrypt", values, token=alice)
            one.call("PutKeyPolicy", {"key_id": first.key_id, "policy": delegating()})
            refused(two, AccessDeniedException, "Encrypt", values, token=alice)
            one.call("PutIdentityPolicy", {
                "principal_arn": user_arn("alice"), "policy_name": "p",
                "policy_document": identity_policy("kms:Encrypt"),
            })
        (listed,) = one.call("ListTokens", {"principal_arn": user_arn("alice")}).tokens
        two.call("Encrypt", values, token=alice)
        one.call("RevokeToken", {"account_id": HOME, "token_id": listed.token_id})
        refused(two, UnrecognizedClientException, "Encrypt", values, token=alice)
        one.call("DeleteAlias", {"alias_name": "alias/app"})
        with pytest.raises(KmsError, match="is not found"):
            two.call("Encrypt", values, token=root)


def test_a_key_unknown_before_is_found_after(tmp_path: Path) -> None:
    """That something isn't there is forgotten as soon as it is."""
    with InProcess(tmp_path) as one, InProcess(tmp_path, one.clock) as two:
        values = {"key_id": "alias/later", "plaintext": b"x"}
        with pytest.raises(KmsError, match="is not found"):
            two.call("Encrypt", values, token=one.root_token)
        key = new_key(one)
        one.call("CreateAlias", {"alias_name": "alias/later", "target_key_id": key.key_id})
        assert two.call("Encrypt", values, token=one.root_token).key_id == key.arn


# --- many at once -------------------------------------------------------------------------------------------


def test_many_calls_at_once(tmp_path: Path) -> None:
    """Cold and warm, reads and writes, side by side: each has its own answer and its own record."""
    with InProcess(tmp_path) as service:
        keys = [new_key(service) for _ in range(12)]
        evidence = Evidence(token=service.root_token)
        before = len(service.records())

        def call(operation: str, values: dict[str, Any]) -> Any:
            return service.pipeline.handle(Call(operation, service.ids.uuid(), evidence, None, lambda: values))

        async def storm() -> list[Any]:
            calls = []
            for number, key in enumerate(keys * 4):
                calls.append(call("Encrypt", {"key_id": key.key_id, "plaintext": str(number).encode()}))
                calls.append(call("UpdateKeyDescription", {"key_id": key.key_id, "description": str(number)}))
                calls.append(call("ListKeys", {}))
            return await asyncio.gather(*calls)

        answers = service._runner.run(storm())
        for number, key in enumerate(keys * 4):
            assert answers[3 * number].key_id == key.arn
            opened = service.call("Decrypt", {"ciphertext_blob": answers[3 * number].ciphertext_blob})
            assert opened.plaintext == str(number).encode()
        names = [record["eventName"] for record in service.records()[before:]]
        assert (names.count("Encrypt"), names.count("UpdateKeyDescription"), names.count("ListKeys")) == (48, 48, 48)


def test_a_cold_batch_of_many_keys(tmp_path: Path) -> None:
    """More records to fetch than a call may fetch one by one."""
    with InProcess(tmp_path) as service:
        keys = [new_key(service) for _ in range(20)]
        for number, key in enumerate(keys):
            service.call("CreateAlias", {"alias_name": f"alias/{number}", "target_key_id": key.key_id})
    with InProcess(tmp_path) as service:
        items = [{"key_id": f"alias/{number}", "plaintext": b"x"} for number in range(20)]
        outcomes = service.call("BatchEncrypt", {"items": items}).outcomes
        assert [outcome.response.key_id for outcome in outcomes] == [key.arn for key in keys]


def test_a_write_is_admitted_again_within_its_transaction(tmp_path: Path) -> None:
    """What was allowed when it was asked and isn't when its turn comes is refused."""
    with InProcess(tmp_path) as one, InProcess(tmp_path, one.clock) as two:
        key = new_key(one)
        alice = one.new_user("alice", policies={"p": identity_policy("kms:*")})
        entered, go_on = threading.Event(), threading.Event()
        outcome: list[object] = []

        def slow_transaction() -> None:
            with one.catalog.write() as writer:
                entered.set()
                go_on.wait(5)
                writer.delete_principal_policy(user_arn("alice"), "p")

        def call() -> None:
            try:
                outcome.append(two.call("DisableKey", {"key_id": key.key_id}, token=alice))
            except KmsError as error:
                outcome.append(error)

        holder = threading.Thread(target=slow_transaction)
        holder.start()
        assert entered.wait(5)
        caller = threading.Thread(target=call)
        caller.start()
        caller.join(0.3)
        assert caller.is_alive(), "the call waits for its turn to write"
        go_on.set()
        holder.join()
        caller.join()
        assert isinstance(outcome[0], AccessDeniedException)
        assert one.call("DescribeKey", {"key_id": key.key_id}).key_metadata.enabled
        assert key_arn(key.key_id) in last_record(two)["errorMessage"]
