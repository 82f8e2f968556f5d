"""What could take long isn't decided, compiled or read in the event loop, and the answers are the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from benchmarks.hostile import SHAPES
from tests.support.inprocess import HOME, InProcess

from kagitori_server.model.call import LARGE_BYTES, Unread
from kagitori_server.model.errors import AccessDeniedException, ValidationException

ROOT = f"arn:aws:iam::{HOME}:root"
OWNER = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}
LONG = {"a": "a" * 6_000, "b": "a" * 1_000}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def _key(service: InProcess, *statements: Mapping[str, object]) -> str:
    policy = json.dumps({"Version": "2012-10-17", "Statement": [OWNER, *statements]}, separators=(",", ":"))
    key_id: str = service.call("CreateKey", {"policy": policy}, token=service.root_token).key_metadata.key_id
    return key_id


def _statements(shape: str, size: int) -> list[Mapping[str, object]]:
    document = SHAPES[shape](size).replace("arn:aws:iam::111122223333:user/P", ROOT)
    statements: list[Mapping[str, object]] = json.loads(document)["Statement"]
    return statements


def _threads(service: InProcess, pool: str) -> int:
    """How many threads the pool has begun."""
    return len(getattr(service._pools, pool)._threads)


def test_costly_patterns_are_tried_in_a_pool(service: InProcess) -> None:
    """With the encryption context that makes them costly, and not with a small one."""
    key_id = _key(service, *_statements("statements with costly patterns", 12_000))
    values = {"key_id": key_id, "plaintext": b"x"}
    service.call("Encrypt", values | {"encryption_context": {"b": "b"}}, token=service.root_token)
    assert _threads(service, "deciding") == 0
    service.call("Encrypt", values | {"encryption_context": LONG}, token=service.root_token)
    assert _threads(service, "deciding") == 1


@pytest.mark.parametrize("effect", ["Deny", "Allow"])
def test_the_pool_decides_as_the_loop(service: InProcess, effect: str) -> None:
    """A pattern that matches at the end of the long text alone, behind many that don't."""
    patterns = [f"*{'?a' * 40}{n}*" for n in range(200)]
    about = {"Principal": {"AWS": ROOT}, "Action": "kms:Encrypt", "Resource": "*", "Condition": {
        "StringLike": {"kms:EncryptionContext:a": [*patterns, "*a?a?x"]},
    }}
    others = {"Effect": "Deny", "Principal": {"AWS": ROOT}, "Action": "kms:Encrypt", "Resource": "*", "Condition": {
        "StringNotLike": {"kms:EncryptionContext:a": [*patterns, "*a?a?x"]},
    }}
    key_id = _key(service, {"Effect": "Deny", **about} if effect == "Deny" else others)
    for text, matches in (("a" * 6_000 + "x", True), ("a" * 6_000, False), ("aaaax", True), ("aaxax", False)):
        values = {"key_id": key_id, "plaintext": b"x", "encryption_context": {"a": text}}
        if matches is (effect == "Deny"):
            with pytest.raises(AccessDeniedException):
                service.call("Encrypt", values, token=service.root_token)
        else:
            service.call("Encrypt", values, token=service.root_token)
    assert _threads(service, "deciding") == 1


def test_large_bodies_are_read_in_a_pool(service: InProcess) -> None:
    """Of a call, and of an item of a batch; small ones where the call is."""
    key_id = _key(service)
    read: set[tuple[int, bool]] = set()
    here = threading.current_thread()

    def reader(body: bytes) -> Mapping[str, object]:
        read.add((len(body), threading.current_thread() is here))
        return {"key_id": key_id, "plaintext": b"x"}

    items = Unread([b"x", b"x" * LARGE_BYTES, b"x" * (LARGE_BYTES + 1)], reader)
    answer = service.call("BatchEncrypt", {"items": items}, token=service.root_token)
    assert all(outcome.error is None for outcome in answer.outcomes)
    assert read == {(1, True), (LARGE_BYTES, True), (LARGE_BYTES + 1, False)}


def test_an_encryption_context_is_bounded_before_it_is_asked_about(service: InProcess) -> None:
    """Also where the caller would be denied: nothing is decided about what is too long."""
    key_id = _key(service)
    for context in ({"a": "a" * 8_192}, {"a" * 8_192: "a"}, {str(n): "a" * 8 for n in range(1_000)}):
        with pytest.raises(ValidationException, match="less than or equal to 8192"):
            service.call("Encrypt", {
                "key_id": key_id, "plaintext": b"x", "encryption_context": context,
            }, token=service.root_token)


def test_an_explanation_tells_of_few_grants_and_of_one_that_permits(service: InProcess) -> None:
    """However many there are, wherever that one stands among them; and none beside them if none permits."""
    service.new_user("grantee")
    arn = f"arn:aws:iam::{HOME}:user/grantee"
    key_id = _key(service)
    for number in range(103):
        service.call("CreateGrant", {
            "key_id": key_id, "grantee_principal": arn, "operations": ["Encrypt"],
            "constraints": {"encryption_context_equals": {"n": str(number)}},
        }, token=service.root_token)
    asked = {
        "principal_arn": arn, "action": "kms:Encrypt", "resource_arn": f"arn:aws:kms:us-east-1:{HOME}:key/{key_id}",
    }
    permitted: set[int] = set()
    for number in range(104):
        answer = service.call("ExplainAccess", asked | {"encryption_context": {"n": str(number)}},
                              token=service.root_token)
        grants = [each for each in answer.evaluations if each.statement.source == "GRANT"]
        assert (str(answer.decision) == "ALLOWED") is (number < 103)
        permitted.add(len(grants))
    assert permitted == {100, 101}
