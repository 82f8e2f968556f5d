"""Items of a batch that say the same but for their payload share an admission and the form of their records: nothing
else may come of that than of calls one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inprocess import InProcess
from tests.support.kms_calls import identity_policy, new_key

from kagitori_server.authz.condition_keys import _ENTRIES, _FAMILIES, Asked, RequestContext
from kagitori_server.batches import Portions
from kagitori_server.model.call import Evidence
from kagitori_server.operations.row import Answer, BatchOperation
from kagitori_server.operations.shapes.keys import KeyMetadata
from kagitori_server.operations.table import TABLE

BATCHES = [row for row in TABLE.values() if isinstance(row, BatchOperation)]
_PLAIN = {"plaintext": b"x"}
_ALGORITHM = "RSASSA_PSS_SHA_256"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that only look at keys of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


class _WithoutPayload:
    """A request of a row, whose payload can't be looked at. Members that shapes don't have are absent."""

    def __init__(self, batch: BatchOperation) -> None:
        self._payload = batch.payload

    def __getattr__(self, name: str) -> Any:
        assert name not in self._payload, f"a condition key reads {name}"
        raise AttributeError(name)


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: batch.name)
def test_payload_decides_nothing(service: InProcess, batch: BatchOperation) -> None:
    """No key slot, permission, condition key or record reads it, so that items that share the rest share these."""
    row = batch.item
    read = {slot.member for slot in row.keys} | set(row.audit.request_shown)
    read |= {permission.context_member for permission in row.permissions if permission.context_member}
    read |= {"grant_tokens", "recipient", "dry_run"}
    assert not read & set(batch.payload)
    assert row.audit.answer is Answer.NOTHING
    assert all(permission.when is None and permission.proposes is None for permission in row.permissions)
    service.call("ListKeys", {}, token=service.root_token)
    caller = next(iter(service.recording._identities))
    asked = Asked(
        action=row.permissions[0].action, caller=caller, request=_WithoutPayload(batch), evidence=Evidence(),
        region="us-east-1", resource_account=caller.account, now=0.0, key=None, named=None, pairs={}, attested={},
        same_key=lambda: None,
    )
    asking = RequestContext(asked)
    for name in (*_ENTRIES, *(f"{prefix}x" for prefix in _FAMILIES)):
        asking.get(name)


def test_items_found_by_their_payload_have_no_terms(service: InProcess) -> None:
    """A ciphertext without a key's name says by itself which key it wants."""
    batch = next(row for row in BATCHES if row.name == "BatchDecrypt")
    named = batch.item.request.build({"key_id": "k", "ciphertext_blob": b"c"})
    assert batch.terms(named) == batch.terms(batch.item.request.build({"key_id": "k", "ciphertext_blob": b"d"}))
    assert batch.terms(batch.item.request.build({"ciphertext_blob": b"c"})) is None
    attested = {"key_encryption_algorithm": "RSAES_OAEP_SHA_256", "attestation_document": b"d"}
    asked = batch.item.request.build({"key_id": "k", "ciphertext_blob": b"c", "recipient": attested})
    assert batch.terms(asked) is None


def _comparable(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what differs between any two calls."""
    return {name: value for name, value in record.items() if name not in ("eventID", "requestID", "eventTime")}


def _by_both_ways(service: InProcess, operation: str, items: list[dict[str, Any]], token: str) -> list[dict[str, Any]]:
    """Checks that a batch's outcomes and records are those of its items one by one; returns the records."""
    start = len(service.records())
    codes: list[str | None] = []
    for item in items:
        try:
            service.call(operation, item, token=token)
            codes.append(None)
        except Exception as refusal:  # noqa: BLE001 - compared below
            codes.append(type(refusal).__name__)
    alone = service.records()[start:]
    outcomes = service.call(f"Batch{operation}", {"items": items}, token=token).outcomes
    together = service.records()[start + len(alone):]
    assert [None if outcome.error is None else outcome.error.code for outcome in outcomes] == codes
    assert [_comparable(record) for record in together] == [_comparable(record) for record in alone]
    assert len({record["eventID"] for record in together}) == len(together)
    return together


def test_outcomes_and_records_as_one_by_one(service: InProcess) -> None:
    """Whatever the order of keys, names of keys, contexts and refusals."""
    one, two = new_key(service), new_key(service)
    token = service.new_user("both", policies={
        "p": identity_policy("kms:Encrypt", resource=[one.arn, two.arn]),
        "no": '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":'
              '{"StringEquals":{"kms:EncryptionContext:secret":"yes"}}}}',
    })
    items: list[dict[str, Any]] = [
        {"key_id": one.arn, **_PLAIN},
        {"key_id": one.arn, **_PLAIN},
        {"key_id": one.arn, **_PLAIN, "encryption_context": {"secret": "yes"}},
        {"key_id": one.arn, **_PLAIN, "encryption_context": {"secret": "no"}},
        {"key_id": two.arn, **_PLAIN, "encryption_context": {"secret": "no"}},
        {"key_id": one.key_id, **_PLAIN, "encryption_context": {"secret": "no"}},
        {"key_id": one.key_id, "plaintext": b"", "encryption_context": {"secret": "no"}},
        {"key_id": one.key_id, **_PLAIN, "encryption_context": {"secret": "no"}},
        {"key_id": one.key_id, **_PLAIN, "encryption_context": {"secret": "no"}, "dry_run": True},
        {"key_id": one.key_id, **_PLAIN, "encryption_context": {"secret": "no"}},
        {"key_id": one.key_id, **_PLAIN, "encryption_algorithm": "RSAES_OAEP_SHA_1"},
    ]
    records = _by_both_ways(service, "Encrypt", items * 3, token)
    assert sum("errorCode" in record for record in records) == 12


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384"])
def test_what_is_wrong_with_a_payload(service: InProcess, spec: str) -> None:
    """Is told of that item alone, in the event loop and in threads."""
    key: KeyMetadata = new_key(service, key_spec=spec, key_usage="SIGN_VERIFY")
    digests = {"RSA_2048": 32, "ECC_NIST_P256": 32, "ECC_NIST_P384": 48}
    algorithm = {"RSA_2048": _ALGORITHM, "ECC_NIST_P256": "ECDSA_SHA_256", "ECC_NIST_P384": "ECDSA_SHA_384"}[spec]
    digest = b"d" * digests[spec]
    terms = {"key_id": key.arn, "signing_algorithm": algorithm, "message_type": "DIGEST"}
    signature = service.call("Sign", {**terms, "message": digest}).signature
    good = {**terms, "message": digest, "signature": signature}
    items = [good, {**good, "message": digest[:-1] + b"e"}, {**good, "message": digest[:-1]}, good, good]
    records = _by_both_ways(service, "Verify", items, service.root_token)
    assert [record.get("errorCode") for record in records] == [
        None, "KMSInvalidSignatureException", "ValidationException", None, None
    ]
    items = [{**terms, "message": message} for message in (digest, digest[:-1], digest, digest)]
    _by_both_ways(service, "Sign", items, service.root_token)


def test_portions() -> None:
    """Follow how long items took: short ones are handed over by many, long ones one by one."""
    now = 0.0

    def thread_time() -> float:
        return now

    portions = Portions(thread_time)
    assert portions.size == 8
    now = 8 * 0.0003
    portions.measured(8, 0.0)
    assert portions.size == 26
    portions.measured(8, now)
    assert portions.size == 32
    now += 0.1
    portions.measured(2, now - 0.1)
    assert portions.size == 1
