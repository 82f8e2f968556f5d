"""GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateRandom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inprocess import HOME, REGION, InProcess
from tests.support.kms_calls import identity_policy, last_record, new_key, refused

from kagitori_server.model.errors import (
    AccessDeniedException,
    CustomKeyStoreNotFoundException,
    InvalidCiphertextException,
    KmsError,
    SerializationException,
    ValidationException,
)
from kagitori_server.operations.shapes.keys import KeyMetadata

EITHER = "Please specify either number of bytes or key spec."
BOTH = ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that change nothing in it."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


@pytest.fixture(scope="module")
def key(service: InProcess) -> KeyMetadata:
    """A key that no test changes."""
    return new_key(service)


@pytest.mark.parametrize(
    ("size", "length"),
    [({"key_spec": "AES_256"}, 32), ({"key_spec": "AES_128"}, 16), ({"number_of_bytes": 1}, 1),
     ({"number_of_bytes": 64}, 64), ({"number_of_bytes": 1024}, 1024)],
)
def test_data_keys(service: InProcess, key: KeyMetadata, size: dict[str, Any], length: int) -> None:
    """As long as asked, random, and the ciphertext holds just the plaintext, bound to its context."""
    values = {"key_id": key.key_id, "encryption_context": {"file": "1"}, **size}
    first, second = (service.call("GenerateDataKey", values) for _ in range(2))
    assert (first.key_id, first.key_material_id) == (key.arn, key.current_key_material_id)
    assert len(first.plaintext) == len(second.plaintext) == length
    if length > 8:
        assert first.plaintext != second.plaintext
    record = last_record(service)
    expected = {"keySpec": size["key_spec"]} if "key_spec" in size else {"numberOfBytes": size["number_of_bytes"]}
    assert record["requestParameters"] == {"keyId": key.key_id, "encryptionContext": {"file": "1"}, **expected}
    assert record["responseElements"] is None
    opened = service.call("Decrypt", {"ciphertext_blob": first.ciphertext_blob, "encryption_context": {"file": "1"}})
    assert opened.plaintext == first.plaintext
    refused(service, InvalidCiphertextException, "Decrypt", {"ciphertext_blob": first.ciphertext_blob})
    sealed = service.call("GenerateDataKeyWithoutPlaintext", values)
    assert not hasattr(sealed, "plaintext")
    assert (sealed.key_id, sealed.key_material_id) == (key.arn, key.current_key_material_id)
    opened = service.call("Decrypt", {"ciphertext_blob": sealed.ciphertext_blob, "encryption_context": {"file": "1"}})
    assert len(opened.plaintext) == length


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({}, ValidationException, EITHER),
        ({"key_spec": "AES_256", "number_of_bytes": 32}, ValidationException, EITHER),
        ({"number_of_bytes": 0}, ValidationException, "'numberOfBytes'"),
        ({"number_of_bytes": 1025}, ValidationException, "'numberOfBytes'"),
        ({"number_of_bytes": -(2**31)}, ValidationException, "'numberOfBytes'"),
        ({"number_of_bytes": 1.0}, SerializationException, ""),
        ({"key_spec": "AES_192"}, ValidationException, "'keySpec'"),
        ({"number_of_bytes": 1, "encryption_context": {"": "x"}}, ValidationException, "must not be empty"),
        ({"number_of_bytes": 1, "encryption_context": {"k": "v" * 9000}}, ValidationException, "8192"),
        ({"number_of_bytes": 1, "grant_tokens": [""]}, ValidationException, "'grantTokens.1.member'"),
        ({"number_of_bytes": 1, "key_id": None}, ValidationException, "'keyId'"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("operation", BOTH)
def test_data_keys_that_are_refused(
    service: InProcess, key: KeyMetadata, operation: str, dry_run: bool, values: dict[str, Any],
    error: type[KmsError], text: str,
) -> None:
    """By both operations alike, and by a dry run as in earnest."""
    whole = {"key_id": key.key_id, "dry_run": dry_run} | values
    assert text in refused(service, error, operation, whole).message


def test_no_recipient_without_plaintext(service: InProcess, key: KeyMetadata) -> None:
    """Where nothing is answered in the clear there is nobody to encrypt it for."""
    values = {"key_id": key.key_id, "number_of_bytes": 32, "recipient": {}}
    refused(service, SerializationException, "GenerateDataKeyWithoutPlaintext", values)


def test_two_permissions(service: InProcess, key: KeyMetadata) -> None:
    """With and without plaintext are permissions of their own."""
    for action in BOTH:
        token = service.new_user(f"only-{action}", policies={"p": identity_policy(f"kms:{action}")})
        for operation in BOTH:
            values = {"key_id": key.key_id, "number_of_bytes": 1}
            if operation == action:
                service.call(operation, values, token=token)
            else:
                refused(service, AccessDeniedException, operation, values, token=token)


@pytest.mark.parametrize("size", [1, 32, 1024])
def test_random_bytes(service: InProcess, size: int) -> None:
    """As many as asked; nothing of them is recorded."""
    answer = service.call("GenerateRandom", {"number_of_bytes": size})
    assert len(answer.plaintext) == size
    assert repr(answer.plaintext) not in repr(answer)
    record = last_record(service)
    assert (record["requestParameters"], record["responseElements"]) == (None, None)
    assert "resources" not in record


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, ValidationException), ({"number_of_bytes": 0}, ValidationException),
        ({"number_of_bytes": 1025}, ValidationException), ({"number_of_bytes": "1"}, SerializationException),
        ({"number_of_bytes": 1, "custom_key_store_id": "cks-1"}, CustomKeyStoreNotFoundException),
        ({"number_of_bytes": 1, "custom_key_store_id": ""}, ValidationException),
        ({"number_of_bytes": 1, "dry_run": True}, SerializationException),
    ],
)
def test_random_bytes_that_are_refused(service: InProcess, values: dict[str, Any], error: type[KmsError]) -> None:
    """Sizes out of bounds, key stores that aren't there, members that aren't there."""
    refused(service, error, "GenerateRandom", values)


def test_random_bytes_need_a_permission(service: InProcess) -> None:
    """By identity policy, on no resource; a pattern of keys isn't enough."""
    for name, resource, allowed in (("any", "*", True), ("keys", f"arn:aws:kms:{REGION}:{HOME}:key/*", False),
                                    ("region", f"arn:aws:kms:{REGION}:{HOME}:*", True)):
        token = service.new_user(f"random-{name}",
                                 policies={"p": identity_policy("kms:GenerateRandom", resource=resource)})
        if allowed:
            service.call("GenerateRandom", {"number_of_bytes": 1}, token=token)
        else:
            refused(service, AccessDeniedException, "GenerateRandom", {"number_of_bytes": 1}, token=token)
