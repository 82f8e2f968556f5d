"""The life of a custom key store, over tokens that are software (`tests/support/token_double.py`)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.client_certificates import certificate
from tests.support.inprocess import InProcess
from tests.support.keystore_parts import Workshop
from tests.support.kms_calls import DAY, OTHER, deletion_worker, encrypt, last_record, new_key, refused
from tests.support.token_double import CLUSTER, COPY, PIN, SPARE, Found, TokenOpener

from kagitori_keystore.base import Domain, TooSlow
from kagitori_server.custom_stores import Timing
from kagitori_server.model.custom_key_stores import ConnectionErrorCode, ConnectionState, CustomKeyStoreType
from kagitori_server.model.errors import (
    CloudHsmClusterInUseException,
    CloudHsmClusterNotActiveException,
    CloudHsmClusterNotFoundException,
    CloudHsmClusterNotRelatedException,
    CustomKeyStoreHasCMKsException,
    CustomKeyStoreInvalidStateException,
    CustomKeyStoreNameInUseException,
    CustomKeyStoreNotFoundException,
    DependencyTimeoutException,
    IncorrectTrustAnchorException,
    InvalidMarkerException,
    KMSInvalidStateException,
    LimitExceededException,
    ThrottlingException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.keys import KeyState, Origin
from kagitori_server.model.limits import Quotas

ANCHOR = certificate(common_name="customer CA").decode()
FAST = Timing(look=0.05, retry=0.0, attempt=60.0, threads=2, waiting=2)


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


def made(service: InProcess, name: str = "hsm", cluster: str = CLUSTER, password: str = PIN) -> str:
    """A new custom key store's id."""
    values = {
        "custom_key_store_name": name, "cloud_hsm_cluster_id": cluster, "trust_anchor_certificate": ANCHOR,
        "key_store_password": password,
    }
    store_id: str = service.call("CreateCustomKeyStore", values).custom_key_store_id
    return store_id


def entry(service: InProcess, store_id: str) -> Any:
    """What DescribeCustomKeyStores tells of it."""
    (found,) = service.call("DescribeCustomKeyStores", {"custom_key_store_id": store_id}).custom_key_stores
    return found


def until(condition: Callable[[], bool]) -> None:
    """Waits for what happens in the background."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.01)


def settled(service: InProcess, store_id: str) -> ConnectionState:
    """Its state once it isn't on the way to one."""
    waiting = (ConnectionState.CONNECTING, ConnectionState.DISCONNECTING)
    until(lambda: entry(service, store_id).connection_state not in waiting)
    state: ConnectionState = entry(service, store_id).connection_state
    return state


def act(service: InProcess, operation: str, store_id: str) -> ConnectionState:
    """Connects or disconnects it; returns its state afterwards."""
    service.call(operation, {"custom_key_store_id": store_id})
    return settled(service, store_id)


def connected(service: InProcess, **how: Any) -> str:
    """A connected store's id."""
    store_id = made(service, **how)
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.CONNECTED
    return store_id


def in_store(store_id: str, **values: Any) -> dict[str, Any]:
    """Members of CreateKey."""
    return {"custom_key_store_id": store_id, "origin": "AWS_CLOUDHSM", **values}


def test_from_its_making_to_its_end(service: InProcess, tokens: TokenOpener) -> None:
    store_id = made(service)
    found = entry(service, store_id)
    assert store_id.startswith("cks-")
    assert len(store_id) == 21
    assert (found.connection_state, found.connection_error_code) == (ConnectionState.DISCONNECTED, None)
    assert (found.cloud_hsm_cluster_id, found.trust_anchor_certificate) == (CLUSTER, ANCHOR)
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.CONNECTED
    key = new_key(service, **in_store(store_id))
    assert (key.custom_key_store_id, key.cloud_hsm_cluster_id) == (store_id, CLUSTER)
    assert (key.origin, key.key_state) == (Origin.AWS_CLOUDHSM, KeyState.ENABLED)
    assert key.current_key_material_id is None
    blob = encrypt(service, key.key_id)
    assert service.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"attack at dawn"
    assert act(service, "DisconnectCustomKeyStore", store_id) is ConnectionState.DISCONNECTED
    refused(service, CustomKeyStoreHasCMKsException, "DeleteCustomKeyStore", {"custom_key_store_id": store_id})
    service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
    service.clock.advance(8 * DAY)
    assert deletion_worker(service).run_once() == 1
    assert tokens.tokens[CLUSTER].objects
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.CONNECTED
    until(lambda: not tokens.tokens[CLUSTER].objects)
    act(service, "DisconnectCustomKeyStore", store_id)
    service.call("DeleteCustomKeyStore", {"custom_key_store_id": store_id})
    refused(service, CustomKeyStoreNotFoundException, "DescribeCustomKeyStores", {"custom_key_store_id": store_id})


@pytest.mark.parametrize("disabled", [False, True])
def test_keys_of_a_disconnected_store(service: InProcess, disabled: bool) -> None:
    """They are Unavailable, can be managed all the same, and are what they were once it's connected again."""
    store_id = connected(service)
    key = new_key(service, **in_store(store_id))
    blob = encrypt(service, key.key_id)
    act(service, "DisconnectCustomKeyStore", store_id)
    shown = service.call("DescribeKey", {"key_id": key.key_id}).key_metadata
    assert (shown.key_state, shown.enabled) == (KeyState.UNAVAILABLE, False)
    caught = refused(service, KMSInvalidStateException, "Encrypt", {"key_id": key.key_id, "plaintext": b"x"})
    assert caught.message == f"{key.arn} is unavailable."
    refused(service, KMSInvalidStateException, "Decrypt", {"ciphertext_blob": blob})
    refused(service, CustomKeyStoreInvalidStateException, "CreateKey", in_store(store_id))
    random = {"number_of_bytes": 8, "custom_key_store_id": store_id}
    refused(service, CustomKeyStoreInvalidStateException, "GenerateRandom", random)
    service.call("UpdateKeyDescription", {"key_id": key.key_id, "description": "d"})
    if disabled:
        service.call("DisableKey", {"key_id": key.key_id})
        assert service.call("DescribeKey", {"key_id": key.key_id}).key_metadata.key_state is KeyState.UNAVAILABLE
    act(service, "ConnectCustomKeyStore", store_id)
    state = service.call("DescribeKey", {"key_id": key.key_id}).key_metadata.key_state
    assert state is (KeyState.DISABLED if disabled else KeyState.ENABLED)
    if not disabled:
        assert service.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"attack at dawn"


def test_the_pin_becomes_one_that_the_service_alone_knows(
    service: InProcess, tokens: TokenOpener, tmp_path: Path
) -> None:
    """Another one at each connection; neither is anywhere in the clear."""
    store_id = connected(service)
    token = tokens.tokens[CLUSTER]
    first = token.pin
    assert first != PIN.encode()
    assert len(first) == 32
    act(service, "DisconnectCustomKeyStore", store_id)
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.CONNECTED
    assert token.pin not in (first, PIN.encode())
    assert token.refused == 0
    kept = service.audit_text().encode() + b"".join(path.read_bytes() for path in tmp_path.glob("kagitori.db*"))
    for secret in (PIN.encode(), first, token.pin):
        assert secret not in kept


def test_the_way_back_to_a_pin_of_ones_own(service: InProcess, tokens: TokenOpener) -> None:
    """Disconnect, set the PIN at the token, tell the service, connect."""
    store_id = connected(service)
    act(service, "DisconnectCustomKeyStore", store_id)
    tokens.tokens[CLUSTER].pin = b"set-by-officer"
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.FAILED
    assert entry(service, store_id).connection_error_code is ConnectionErrorCode.INVALID_CREDENTIALS
    update = {"custom_key_store_id": store_id, "key_store_password": "set-by-officer"}
    refused(service, CustomKeyStoreInvalidStateException, "UpdateCustomKeyStore", update)
    refused(service, CustomKeyStoreInvalidStateException, "ConnectCustomKeyStore", {"custom_key_store_id": store_id})
    refused(service, CustomKeyStoreInvalidStateException, "DeleteCustomKeyStore", {"custom_key_store_id": store_id})
    assert act(service, "DisconnectCustomKeyStore", store_id) is ConnectionState.DISCONNECTED
    service.call("UpdateCustomKeyStore", update)
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.CONNECTED
    assert tokens.tokens[CLUSTER].pin != b"set-by-officer"


def test_a_pin_may_be_left_alone(service: InProcess, tokens: TokenOpener) -> None:
    tokens.rotates = False
    connected(service)
    assert tokens.tokens[CLUSTER].pin == PIN.encode()


def test_a_token_that_takes_no_such_pin(service: InProcess, tokens: TokenOpener) -> None:
    """Nothing is used under a PIN that others know."""
    tokens.tokens[CLUSTER].takes_pins = False
    store_id = made(service)
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.FAILED
    assert entry(service, store_id).connection_error_code is ConnectionErrorCode.INTERNAL_ERROR


def test_a_crash_right_after_the_pin_was_changed(service: InProcess, tokens: TokenOpener, tmp_path: Path) -> None:
    """The catalog has had the new PIN before the token; whoever connects next finds which one is right."""
    token = tokens.tokens[CLUSTER]

    def crash() -> None:
        raise ZeroDivisionError

    token.on_change = crash
    store_id = made(service)
    for _ in range(2):
        # Twice, as the second crash must not cost the PIN of the first one.
        assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.FAILED
        act(service, "DisconnectCustomKeyStore", store_id)
    token.on_change = lambda: None
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.CONNECTED
    assert token.refused == 2


@pytest.mark.parametrize("code", list(ConnectionErrorCode)[:8])
def test_why_connecting_failed(service: InProcess, tokens: TokenOpener, code: ConnectionErrorCode) -> None:
    tokens.tokens[CLUSTER].down = code
    store_id = made(service)
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.FAILED
    assert entry(service, store_id).connection_error_code is code
    (_, health) = sorted(service.call("ListKeyStoreHealth").key_stores, key=lambda found: found.healthy, reverse=True)
    assert (health.key_store_id, health.healthy) == (store_id, False)
    assert code in health.detail
    act(service, "DisconnectCustomKeyStore", store_id)
    assert entry(service, store_id).connection_error_code is None


def test_states_that_need_no_change(service: InProcess) -> None:
    store_id = connected(service)
    service.call("ConnectCustomKeyStore", {"custom_key_store_id": store_id})
    assert entry(service, store_id).connection_state is ConnectionState.CONNECTED
    act(service, "DisconnectCustomKeyStore", store_id)
    refused(service, CustomKeyStoreInvalidStateException, "DisconnectCustomKeyStore", {"custom_key_store_id": store_id})


def test_what_a_new_one_is_refused_for(service: InProcess, tokens: TokenOpener) -> None:
    made(service)
    whole: dict[str, Any] = {
        "custom_key_store_name": "x", "cloud_hsm_cluster_id": SPARE, "trust_anchor_certificate": ANCHOR,
        "key_store_password": PIN,
    }
    for name in whole:
        left = {key: value for key, value in whole.items() if key != name}
        refused(service, ValidationException, "CreateCustomKeyStore", left)
    for error, changed in (
        (CustomKeyStoreNameInUseException, {"custom_key_store_name": "hsm"}),
        (CloudHsmClusterInUseException, {"cloud_hsm_cluster_id": CLUSTER}),
        (CloudHsmClusterInUseException, {"cloud_hsm_cluster_id": COPY}),
        (CloudHsmClusterNotFoundException, {"cloud_hsm_cluster_id": "cluster-zzzzzzzzzzz"}),
        (IncorrectTrustAnchorException, {"trust_anchor_certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n"}),
        (ValidationException, {"key_store_password": "short"}),
        (ValidationException, {"cloud_hsm_cluster_id": "cluster-1"}),
        (ValidationException, {"xks_proxy_uri_path": "/kms/xks/v1"}),
        (UnsupportedOperationException, {
            "custom_key_store_type": "EXTERNAL_KEY_STORE", "cloud_hsm_cluster_id": None, "key_store_password": None,
            "trust_anchor_certificate": None, "xks_proxy_connectivity": "PUBLIC_ENDPOINT",
            "xks_proxy_uri_endpoint": "https://xks.example", "xks_proxy_uri_path": "/kms/xks/v1",
            "xks_proxy_authentication_credential": {
                "access_key_id": "A" * 20, "raw_secret_access_key": "a" * 43,
            },
        }),
    ):
        refused(service, error, "CreateCustomKeyStore", {**whole, **changed})
    tokens.refusal = CloudHsmClusterNotActiveException("it is not there")
    refused(service, CloudHsmClusterNotActiveException, "CreateCustomKeyStore", whole)


def test_the_quota(tmp_path: Path, tokens: TokenOpener) -> None:
    quotas = Quotas(custom_key_stores_per_account_region=1)
    assert Quotas().custom_key_stores_per_account_region == 10
    with InProcess(tmp_path, openers={CustomKeyStoreType.AWS_CLOUDHSM: tokens}, quotas=quotas) as service:
        made(service)
        values = {
            "custom_key_store_name": "x", "cloud_hsm_cluster_id": SPARE, "trust_anchor_certificate": ANCHOR,
            "key_store_password": PIN,
        }
        refused(service, LimitExceededException, "CreateCustomKeyStore", values)


def test_updates(service: InProcess, tokens: TokenOpener) -> None:
    store_id = connected(service)
    made(service, "other", SPARE)
    named = {"custom_key_store_id": store_id}
    service.call("UpdateCustomKeyStore", {**named, "new_custom_key_store_name": "renamed"})
    assert entry(service, store_id).custom_key_store_name == "renamed"
    for error, changed in (
        (ValidationException, {}),
        (ValidationException, {"xks_proxy_uri_path": "/kms/xks/v1"}),
        (CustomKeyStoreNameInUseException, {"new_custom_key_store_name": "other"}),
        (CustomKeyStoreInvalidStateException, {"key_store_password": "another-pin"}),
        (CustomKeyStoreInvalidStateException, {"cloud_hsm_cluster_id": COPY}),
    ):
        refused(service, error, "UpdateCustomKeyStore", {**named, **changed})
    act(service, "DisconnectCustomKeyStore", store_id)
    refused(
        service, CloudHsmClusterNotRelatedException, "UpdateCustomKeyStore", {**named, "cloud_hsm_cluster_id": SPARE}
    )
    service.call("UpdateCustomKeyStore", {**named, "cloud_hsm_cluster_id": COPY})
    assert entry(service, store_id).cloud_hsm_cluster_id == COPY
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.CONNECTED
    missing = {"custom_key_store_id": "cks-none", "new_custom_key_store_name": "x"}
    refused(service, CustomKeyStoreNotFoundException, "UpdateCustomKeyStore", missing)


def test_descriptions(service: InProcess) -> None:
    """By id, by name, in pages; of the account and Region alone."""
    first, second = made(service, "a" * 256), made(service, "b", SPARE)
    page = service.call("DescribeCustomKeyStores", {"limit": 1})
    assert [found.custom_key_store_id for found in page.custom_key_stores] == [first]
    rest = service.call("DescribeCustomKeyStores", {"marker": page.next_marker})
    assert [found.custom_key_store_id for found in rest.custom_key_stores] == [second]
    assert not rest.truncated
    (named,) = service.call("DescribeCustomKeyStores", {"custom_key_store_name": "b"}).custom_key_stores
    assert named.custom_key_store_id == second
    for error, values in (
        (ValidationException, {"custom_key_store_name": "b", "custom_key_store_id": second}),
        (CustomKeyStoreNotFoundException, {"custom_key_store_name": "c"}),
        (CustomKeyStoreNotFoundException, {"custom_key_store_id": "cks-none"}),
        (InvalidMarkerException, {"marker": "junk"}),
    ):
        refused(service, error, "DescribeCustomKeyStores", values)
    token = service.new_account(OTHER)
    assert service.call("DescribeCustomKeyStores", token=token).custom_key_stores == ()
    for operation in ("ConnectCustomKeyStore", "DeleteCustomKeyStore", "DescribeCustomKeyStores"):
        refused(service, CustomKeyStoreNotFoundException, operation, {"custom_key_store_id": first}, token=token)
    assert service.call("DescribeCustomKeyStores", region="eu-west-1").custom_key_stores == ()


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
