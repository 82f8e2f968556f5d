"""Keys in custom key stores, and what goes wrong with them, over tokens that are software."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.custom_stores import ANCHOR, FAST, act, connected, entry, in_store, made, settled, until
from tests.support.inprocess import InProcess
from tests.support.keystore_parts import Workshop
from tests.support.kms_calls import encrypt, last_record, new_key, refused
from tests.support.token_double import CLUSTER, DAMAGED, PIN, SPARE, Found, TokenOpener

from kagitori_keystore.base import Domain, TooSlow
from kagitori_server.model.custom_key_stores import ConnectionState, CustomKeyStoreType, DoomedMaterial
from kagitori_server.model.errors import (
    CustomKeyStoreInvalidStateException,
    CustomKeyStoreNotFoundException,
    DependencyTimeoutException,
    LimitExceededException,
    ThrottlingException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.limits import Quotas


@pytest.fixture
def tokens(tmp_path: Path) -> TokenOpener:
    """The tokens that the configuration names."""
    place = tmp_path / "tokens"
    place.mkdir()
    return TokenOpener(Workshop(place).store)


@pytest.fixture
def service(tmp_path: Path, tokens: TokenOpener) -> Iterator[InProcess]:
    """A service with them."""
    with InProcess(tmp_path, openers={CustomKeyStoreType.AWS_CLOUDHSM: tokens}, timing=FAST) as opened:
        yield opened


def test_keys_that_a_store_is_refused(service: InProcess) -> None:
    store_id = connected(service)
    for error, values in (
        (CustomKeyStoreNotFoundException, in_store("cks-none")),
        (ValidationException, {"origin": "AWS_CLOUDHSM"}),
        (ValidationException, {"custom_key_store_id": store_id}),
        (ValidationException, in_store(store_id, origin="EXTERNAL_KEY_STORE", xks_key_id="x")),
        (ValidationException, in_store(store_id, xks_key_id="x")),
        (UnsupportedOperationException, in_store(store_id, multi_region=True)),
        (UnsupportedOperationException,
         in_store(store_id, key_spec="ML_KEM_768", key_usage="ENCAPSULATE_DECAPSULATE")),
    ):
        refused(service, error, "CreateKey", values)
    key = new_key(service, **in_store(store_id))
    for operation, values in (
        ("EnableKeyRotation", {}), ("GetKeyRotationStatus", {}), ("RotateKeyOnDemand", {}),
        ("ReplicateKey", {"replica_region": "eu-west-1"}),
    ):
        refused(service, UnsupportedOperationException, operation, {"key_id": key.key_id, **values})


@pytest.mark.parametrize(
    ("spec", "usage", "operation", "values"),
    [
        ("RSA_2048", "SIGN_VERIFY", "Sign", {"message": b"m", "signing_algorithm": "RSASSA_PSS_SHA_256"}),
        ("ECC_NIST_P256", "SIGN_VERIFY", "Sign", {"message": b"m", "signing_algorithm": "ECDSA_SHA_256"}),
        ("HMAC_256", "GENERATE_VERIFY_MAC", "GenerateMac", {"message": b"m", "mac_algorithm": "HMAC_SHA_256"}),
        ("ECC_NIST_P256", "SIGN_VERIFY", "GetPublicKey", {}),
    ],
)
def test_other_specs_than_awss(
    service: InProcess, spec: str, usage: str, operation: str, values: dict[str, Any]
) -> None:
    store_id = connected(service)
    key = new_key(service, **in_store(store_id, key_spec=spec, key_usage=usage))
    assert service.call(operation, {"key_id": key.key_id, **values}).key_id == key.arn


def test_random_bytes_and_data_keys_of_a_token(service: InProcess) -> None:
    store_id = connected(service)
    answer = service.call("GenerateRandom", {"number_of_bytes": 8, "custom_key_store_id": store_id})
    assert len(answer.plaintext) == 8
    key = new_key(service, **in_store(store_id))
    data = service.call("GenerateDataKey", {"key_id": key.key_id, "key_spec": "AES_256"})
    assert service.call("Decrypt", {"ciphertext_blob": data.ciphertext_blob}).plaintext == data.plaintext
    default = new_key(service)
    blob = encrypt(service, default.key_id)
    moved = service.call("ReEncrypt", {"ciphertext_blob": blob, "destination_key_id": key.key_id})
    assert service.call("Decrypt", {"ciphertext_blob": moved.ciphertext_blob}).plaintext == b"attack at dawn"
    items = [{"key_id": key.key_id, "plaintext": b"x"}, {"key_id": default.key_id, "plaintext": b"y"}]
    outcomes = service.call("BatchEncrypt", {"items": items}).outcomes
    assert [outcome.error for outcome in outcomes] == [None, None]


def test_material_of_a_key_that_did_not_come_to_be(
    service: InProcess, tokens: TokenOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes from the token, unless the transaction may have been committed."""
    store_id = connected(service)
    objects = tokens.tokens[CLUSTER].objects
    monkeypatch.setattr(Quotas, "check_keys", _refuse)
    refused(service, LimitExceededException, "CreateKey", in_store(store_id))
    until(lambda: not objects)


def test_material_that_cannot_be_destroyed_keeps_no_other(service: InProcess, tokens: TokenOpener) -> None:
    """In the token when its key is gone. What is left is tried again, and told once."""
    store_id = connected(service)
    objects = tokens.tokens[CLUSTER].objects
    key = new_key(service, **in_store(store_id))
    assert objects
    damaged = DoomedMaterial(store_id, "00" * 32, DAMAGED)
    with service.catalog.write() as writer:
        writer.doom_material(damaged)
        made_key = writer.get_key("us-east-1", key.key_id)
        assert made_key is not None
        used = made_key.current_material
        writer.doom_material(DoomedMaterial(store_id, used.material_id, used.reference))
    until(lambda: not objects)
    with service.catalog.read() as reader:
        until(lambda: reader.doomed_materials(store_id) == [damaged])


def _refuse(_quotas: Quotas, _present: int) -> None:
    raise LimitExceededException("none")


def test_a_store_that_hangs_holds_up_nobody_else(service: InProcess, tokens: TokenOpener) -> None:
    """Calls to other stores go on; beyond a bound, those to it are refused at once."""
    slow, quick = connected(service), connected(service, name="quick", cluster=SPARE)
    stuck, other, default = (new_key(service, **values) for values in (in_store(slow), in_store(quick), {}))
    hold = tokens.tokens[CLUSTER].hold = threading.Event()
    waiting = [service.stores.pool(slow).submit(hold.wait) for _ in range(FAST.threads + FAST.waiting)]
    try:
        refused(service, ThrottlingException, "Encrypt", {"key_id": stuck.key_id, "plaintext": b"x"})
        for key in (other, default):
            encrypt(service, key.key_id)
        new_key(service, **in_store(quick))
    finally:
        hold.set()
    for future in waiting:
        future.result(10)
    until(lambda: service.stores.pool(slow)._taken == 0)
    encrypt(service, stuck.key_id)


def test_failures_of_a_token(service: InProcess, tokens: TokenOpener) -> None:
    store_id = connected(service)
    key = new_key(service, **in_store(store_id))
    tokens.tokens[CLUSTER].failure = TooSlow("no answer")
    refused(service, DependencyTimeoutException, "Encrypt", {"key_id": key.key_id, "plaintext": b"x"})
    refused(service, DependencyTimeoutException, "CreateKey", in_store(store_id))
    healths = {health.key_store_id: health for health in service.call("ListKeyStoreHealth").key_stores}
    assert (healths[store_id].healthy, healths[store_id].detail) == (False, "no answer")
    assert healths["software"].healthy


def test_another_process_opens_what_is_connected(service: InProcess, tokens: TokenOpener, tmp_path: Path) -> None:
    """With the PIN that the first one made, and closes it when it's disconnected."""
    store_id = connected(service)
    key = new_key(service, **in_store(store_id))
    blob = encrypt(service, key.key_id)
    service.stores.close()
    other = InProcess(tmp_path, openers={CustomKeyStoreType.AWS_CLOUDHSM: tokens}, timing=FAST)
    with other:
        assert other.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"attack at dawn"
        assert tokens.tokens[CLUSTER].refused == 0
        assert act(other, "DisconnectCustomKeyStore", store_id) is ConnectionState.DISCONNECTED


def test_records_tell_of_the_store_and_hold_no_secret(service: InProcess) -> None:
    store_id = made(service)
    record = last_record(service)
    assert record["responseElements"] == {"customKeyStoreId": store_id}
    assert record["additionalEventData"] == {"customKeyStoreName": "hsm", "clusterId": CLUSTER}
    assert "keyStorePassword" not in record["requestParameters"]
    assert record["requestParameters"]["trustAnchorCertificate"] == ANCHOR
    act(service, "ConnectCustomKeyStore", store_id)
    assert PIN not in service.audit_text()


def test_what_a_token_holds_is_checked(service: InProcess, tokens: TokenOpener) -> None:
    """Objects that belong to no key, and keys without their object; nothing is deleted."""
    store_id = connected(service)
    key, lost = (new_key(service, **in_store(store_id)) for _ in range(2))
    objects = tokens.tokens[CLUSTER].objects
    assert service.call("CheckCustomKeyStore", {"custom_key_store_id": store_id}).orphaned_count == 0
    with service.catalog.read() as reader:
        gone = reader.get_key("us-east-1", lost.key_id)
    assert gone is not None
    material_id = gone.current_material.material_id
    assert objects.pop(hashlib.sha256(gone.current_material.reference).hexdigest()[:32])
    objects["f" * 32] = Found("f" * 32, "left over", "SYMMETRIC_DEFAULT")
    found = service.call("CheckCustomKeyStore", {"custom_key_store_id": store_id})
    assert (found.object_count, found.orphaned_count, found.missing_count) == (2, 1, 1)
    assert [(each.object_id, each.label) for each in found.orphaned] == [("f" * 32, "left over")]
    assert [(each.key_arn, each.key_material_id) for each in found.missing] == [(lost.arn, material_id)]
    assert len(objects) == 2
    encrypt(service, key.key_id)
    act(service, "DisconnectCustomKeyStore", store_id)
    for error, named in ((CustomKeyStoreInvalidStateException, store_id), (CustomKeyStoreNotFoundException, "cks-x")):
        refused(service, error, "CheckCustomKeyStore", {"custom_key_store_id": named})


def test_a_store_has_a_rate_of_its_own(tmp_path: Path, tokens: TokenOpener) -> None:
    """Whoever uses its keys, besides the other rates; other stores and keys have theirs."""
    openers = {CustomKeyStoreType.AWS_CLOUDHSM: tokens}
    with InProcess(tmp_path, openers=openers, timing=FAST, account_rates=["custom_key_store=2"]) as service:
        store_id = connected(service)
        key, default = new_key(service, **in_store(store_id)), new_key(service)
        blob = encrypt(service, key.key_id)
        service.call("Decrypt", {"ciphertext_blob": blob})
        refused(service, ThrottlingException, "Decrypt", {"ciphertext_blob": blob})
        random = {"number_of_bytes": 1, "custom_key_store_id": store_id}
        refused(service, ThrottlingException, "GenerateRandom", random)
        for _ in range(3):
            encrypt(service, default.key_id)
        service.call("DescribeKey", {"key_id": key.key_id})
        service.clock.advance(1.0)
        service.call("GenerateRandom", random)


def test_a_process_that_died_while_it_connected(service: InProcess) -> None:
    """After a while others say that it failed; it can be connected anew."""
    store_id = made(service)
    for state, expected in (
        (ConnectionState.CONNECTING, ConnectionState.FAILED),
        (ConnectionState.DISCONNECTING, ConnectionState.DISCONNECTED),
    ):
        with service.catalog.write() as writer:
            record = writer.custom_key_store(store_id)
            assert record is not None
            writer.put_custom_key_store(
                replace(record, state=state, error=None, worker="another", changed=service.clock())
            )
        time.sleep(0.3)
        assert entry(service, store_id).connection_state is state
        service.clock.advance(FAST.attempt + 1)
        assert settled(service, store_id) is expected
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.CONNECTED


def test_a_process_that_finds_another_pin_opens_the_store_again(service: InProcess, tokens: TokenOpener) -> None:
    """Two processes, one of which disconnects and connects: the other one follows."""
    store_id = connected(service)
    key = new_key(service, **in_store(store_id))
    with service.catalog.read() as reader:
        record = reader.custom_key_store(store_id)
    assert record is not None
    blob = encrypt(service, key.key_id)
    before = service.stores.custom(store_id)
    secret = tokens.tokens[CLUSTER].pin = b"of the other process"
    domain = Domain(record.account, record.region)
    wrapped = service.store.wrap_secret(domain, f"custom-key-store/{store_id}", secret)
    with service.catalog.write() as writer:
        writer.put_custom_key_store(replace(record, wrapped_secret=wrapped))
    until(lambda: service.stores.custom(store_id) is not before)
    assert service.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"attack at dawn"
    assert tokens.tokens[CLUSTER].refused == 0
