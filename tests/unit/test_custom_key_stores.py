"""The life of a custom key store, over tokens that are software (`tests/support/token_double.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.custom_stores import ANCHOR, FAST, act, connected, entry, in_store, made, until
from tests.support.inprocess import InProcess
from tests.support.keystore_parts import Workshop
from tests.support.kms_calls import DAY, OTHER, deletion_worker, encrypt, new_key, refused
from tests.support.token_double import CLUSTER, COPY, PIN, SPARE, TokenOpener

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
    IncorrectTrustAnchorException,
    InvalidMarkerException,
    KMSInvalidStateException,
    LimitExceededException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.keys import KeyState, Origin
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
