"""What tests of KMS operations say again and again: keys, policies, refusals and what they leave behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import HOME, REGION, InProcess

from kagitori_server.model.errors import AccessDeniedException, KmsError
from kagitori_server.operations.shapes.keys import KeyMetadata
from kagitori_server.workers import DeletionWorker

OTHER = "111122223333"
THIRD = "444455556666"
ABSENT_ID = "00000000-0000-4000-8000-00000000dead"
DAY = 86_400


def user_arn(name: str, account: str = HOME) -> str:
    """The ARN of a user without a path."""
    return f"arn:aws:iam::{account}:user/{name}"


def root(account: str) -> str:
    """The ARN of an account's root user, which also means the account."""
    return f"arn:aws:iam::{account}:root"


def key_arn(key_id: str, account: str = HOME, region: str = REGION) -> str:
    """The ARN of a key."""
    return f"arn:aws:kms:{region}:{account}:key/{key_id}"


def alias_arn(name: str, account: str = HOME, region: str = REGION) -> str:
    """The ARN of an alias whose name has its prefix."""
    return f"arn:aws:kms:{region}:{account}:{name}"


def identity_policy(*actions: str, resource: str | list[str] = "*", effect: str = "Allow") -> str:
    """An identity policy of one statement."""
    statement = {"Effect": effect, "Action": list(actions), "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def statement(principal: str | list[str], *actions: str, effect: str = "Allow") -> dict[str, Any]:
    """A statement of a key policy."""
    return {"Effect": effect, "Principal": {"AWS": principal}, "Action": list(actions), "Resource": "*"}


def key_policy(*statements: Mapping[str, Any]) -> str:
    """A key policy of these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def delegating(*more: Mapping[str, Any], account: str = HOME) -> str:
    """A key policy that leaves everything to its account, and says `more`."""
    return key_policy(statement(root(account), "kms:*"), *more)


def new_key(service: InProcess, *, token: str | None = None, region: str | None = None, **values: Any) -> KeyMetadata:
    """Makes a key. Returns what CreateKey tells of it."""
    made = service.call("CreateKey", values, token=token, region=region).key_metadata
    assert isinstance(made, KeyMetadata)
    return made


def encrypt(service: InProcess, key_id: str, plaintext: bytes = b"attack at dawn", **values: Any) -> bytes:
    """A ciphertext made by the home account's root user."""
    answer = service.call("Encrypt", {"key_id": key_id, "plaintext": plaintext, **values})
    assert isinstance(answer.ciphertext_blob, bytes)
    return answer.ciphertext_blob


def refused(
    service: InProcess, error: type[KmsError], operation: str, values: Mapping[str, Any] | None = None, **how: Any
) -> KmsError:
    """The exception of exactly this class that a call is refused with.

    The refusal must have left exactly one record that tells of it, and no trace in the catalog.
    """
    records, version = service.audit_text().count("\n"), catalog_version(service)
    with pytest.raises(error) as caught:
        service.call(operation, values, **how)
    assert type(caught.value) is error
    assert catalog_version(service) == version
    new = service.records()[records:]
    assert [record["eventName"] for record in new] == [operation]
    code = "AccessDenied" if error is AccessDeniedException else error.code()
    assert new[0]["errorCode"] == code
    assert new[0]["responseElements"] is None
    assert new[0].get("errorMessage", "")[:1000] == caught.value.message[:1000]
    return caught.value


def catalog_version(service: InProcess) -> int:
    """How many transactions the catalog has seen."""
    with service.catalog.read() as reader:
        return reader.version


def last_record(service: InProcess) -> dict[str, Any]:
    """The newest audit record."""
    return service.records()[-1]


def deletion_worker(service: InProcess) -> DeletionWorker:
    """A worker that ends keys whose time has come by the service's clock."""
    return DeletionWorker(service.services, service.events)


def database_bytes(folder: Path) -> bytes:
    """Everything that lies in the files of the catalog: database, log and shared memory."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("kagitori.db*")))
