"""Custom key stores on real tokens (SoftHSM2) through a whole server: their life, restarts, and what goes wrong."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.client_certificates import certificate
from tests.support.tokens import PIN, SO_PIN, Token, fresh_token, plant_keys
from tests.support.whole_server import Caller, WholeServer

from kagitori.kms.v1 import resources_pb2

CLUSTERS = ("cluster-aaaaaaaaaaa", "cluster-bbbbbbbbbbb")
ANCHOR = certificate(common_name="customer CA").decode()
CONNECTED = resources_pb2.CONNECTION_STATE_CONNECTED
DISCONNECTED = resources_pb2.CONNECTION_STATE_DISCONNECTED
FAILED = resources_pb2.CONNECTION_STATE_FAILED


class Place:
    """A data directory and two tokens, and servers on them one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens = [fresh_token(), fresh_token()]

    def settings(self) -> dict[str, dict[str, Any]]:
        """The configuration."""
        return {
            "listen": {"grpc": "127.0.0.1:0"},
            "limits": {"deletion_check_seconds": 0.2},
            "hsm": {cluster: section(token) for cluster, token in zip(CLUSTERS, self.tokens, strict=True)},
        }

    @contextmanager
    def serving(self) -> Iterator[Caller]:
        """Calls by root to a server."""
        with WholeServer(self.folder / "data", self.settings()) as server, server.tls() as channel:
            yield Caller(channel, server.root_token)


def section(token: Token) -> dict[str, Any]:
    """What the configuration says of a token."""
    found = token.settings
    return {
        "module": found.module, "token_label": found.token_label or "", "softhsm_conf": found.softhsm_conf,
        "deadline_seconds": 20.0,
    }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Fresh tokens, nothing served yet."""
    return Place(tmp_path)


_INIT_PIN = """
import os, pkcs11
token = pkcs11.lib(os.environ["MODULE"]).get_token(token_label=os.environ["LABEL"])
with token.open(rw=True, so_pin=os.environ["SO_PIN"]) as session:
    session.init_pin(os.environ["NEW_PIN"])
"""


def set_pin(token: Token, pin: str) -> None:
    """What a token's security officer does, in a process of its own."""
    settings = token.settings
    environment = {
        **os.environ, "SOFTHSM2_CONF": str(settings.softhsm_conf), "MODULE": settings.module,
        "LABEL": str(settings.token_label), "SO_PIN": SO_PIN, "NEW_PIN": pin,
    }
    subprocess.run([sys.executable, "-c", _INIT_PIN], check=True, env=environment)


def made(root: Caller, name: str = "hsm", cluster: str = CLUSTERS[0], pin: str = PIN.decode()) -> str:
    """A new custom key store's id."""
    store_id: str = root(
        "CreateCustomKeyStore", custom_key_store_name=name, cloud_hsm_cluster_id=cluster,
        trust_anchor_certificate=ANCHOR, key_store_password=pin,
    ).custom_key_store_id
    return store_id


def entry(root: Caller, store_id: str) -> Any:
    """What DescribeCustomKeyStores tells of it."""
    return root("DescribeCustomKeyStores", custom_key_store_id=store_id).custom_key_stores[0]


def act(root: Caller, operation: str, store_id: str) -> int:
    """Connects or disconnects it; returns its state afterwards."""
    root(operation, custom_key_store_id=store_id)
    end = time.monotonic() + 60
    while True:
        state: int = entry(root, store_id).connection_state
        if state in (CONNECTED, DISCONNECTED, FAILED):
            return state
        assert time.monotonic() < end
        time.sleep(0.05)


def new_key(root: Caller, store_id: str, **values: Any) -> str:
    """A new key's id."""
    made = root(
        "CreateKey", custom_key_store_id=store_id, origin=resources_pb2.ORIGIN_AWS_CLOUDHSM, **values
    ).key_metadata
    assert made.custom_key_store_id == store_id
    key_id: str = made.key_id
    return key_id


def code(failed: pytest.ExceptionInfo[grpc.RpcError]) -> grpc.StatusCode:
    """The status of a refusal."""
    error: Any = failed.value
    found: grpc.StatusCode = error.code()
    return found


def test_a_store_and_its_keys_over_a_restart(place: Place) -> None:
    """Keys of every kind that the token makes, used before and after; destroyed in the token in the end."""
    with place.serving() as root:
        store_id = made(root)
        assert act(root, "ConnectCustomKeyStore", store_id) == CONNECTED
        key = new_key(root, store_id)
        blob = root("Encrypt", key_id=key, plaintext=b"attack at dawn").ciphertext_blob
        signing = new_key(root, store_id, key_spec="KEY_SPEC_ECC_NIST_P256", key_usage="KEY_USAGE_SIGN_VERIFY")
        said = {
            "key_id": signing, "message": b"m", "signing_algorithm": "SIGNING_ALGORITHM_ECDSA_SHA_256",
        }
        signature = root("Sign", **said).signature
        assert len(root("GenerateRandom", number_of_bytes=16, custom_key_store_id=store_id).plaintext) == 16
        assert place.tokens[0].key_files()
        pin_files = (place.folder / "data" / "kagitori.db").read_bytes()
        assert PIN not in pin_files
    with place.serving() as root:
        assert entry(root, store_id).connection_state == CONNECTED
        assert root("Decrypt", ciphertext_blob=blob).plaintext == b"attack at dawn"
        assert root("Verify", **said, signature=signature).signature_valid
        assert act(root, "DisconnectCustomKeyStore", store_id) == DISCONNECTED
        with pytest.raises(grpc.RpcError) as failed:
            root("Decrypt", ciphertext_blob=blob)
        assert code(failed) is grpc.StatusCode.FAILED_PRECONDITION
        assert root("DescribeKey", key_id=key).key_metadata.key_state == resources_pb2.KEY_STATE_UNAVAILABLE
        assert act(root, "ConnectCustomKeyStore", store_id) == CONNECTED
        assert root("Decrypt", ciphertext_blob=blob).plaintext == b"attack at dawn"
        healths = {each.key_store_id: each for each in root("ListKeyStoreHealth").key_stores}
        assert (healths[store_id].healthy, healths[store_id].kind) == (True, "pkcs11")


@pytest.mark.parametrize(
    ("spec", "usage", "operation", "values"),
    [
        ("RSA_2048", "SIGN_VERIFY", "Sign", {"signing_algorithm": "SIGNING_ALGORITHM_RSASSA_PSS_SHA_256"}),
        ("ECC_NIST_P384", "SIGN_VERIFY", "Sign", {"signing_algorithm": "SIGNING_ALGORITHM_ECDSA_SHA_384"}),
        ("HMAC_256", "GENERATE_VERIFY_MAC", "GenerateMac", {"mac_algorithm": "MAC_ALGORITHM_HMAC_SHA_256"}),
    ],
)
def test_specs(place: Place, spec: str, usage: str, operation: str, values: dict[str, Any]) -> None:
    with place.serving() as root:
        store_id = made(root)
        assert act(root, "ConnectCustomKeyStore", store_id) == CONNECTED
        key = new_key(root, store_id, key_spec=f"KEY_SPEC_{spec}", key_usage=f"KEY_USAGE_{usage}")
        answer = root(operation, key_id=key, message=b"m", **values)
        assert answer.key_id.endswith(key)


def test_what_the_token_lacks_is_not_listed(place: Place) -> None:
    """RSAES_OAEP_SHA_256 and Ed25519ph of SoftHSM: by CreateKey, DescribeKey and GetPublicKey alike, and refused."""
    with place.serving() as root:
        store_id = made(root)
        assert act(root, "ConnectCustomKeyStore", store_id) == CONNECTED
        rows: list[tuple[str, str, str, str, dict[str, Any]]] = [
            (
                "RSA_2048", "ENCRYPT_DECRYPT", "ENCRYPTION_ALGORITHM_RSAES_OAEP_SHA_1", "Encrypt",
                {"plaintext": b"x", "encryption_algorithm": "ENCRYPTION_ALGORITHM_RSAES_OAEP_SHA_256"},
            ),
            (
                "ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "SIGNING_ALGORITHM_ED25519_SHA_512", "Sign",
                {
                    "message": bytes(64), "message_type": "MESSAGE_TYPE_DIGEST",
                    "signing_algorithm": "SIGNING_ALGORITHM_ED25519_PH_SHA_512",
                },
            ),
        ]
        for spec, usage, listed, operation, values in rows:
            key = new_key(root, store_id, key_spec=f"KEY_SPEC_{spec}", key_usage=f"KEY_USAGE_{usage}")
            for told in (root("DescribeKey", key_id=key).key_metadata, root("GetPublicKey", key_id=key)):
                names = [resources_pb2.EncryptionAlgorithm.Name(each) for each in told.encryption_algorithms]
                names += [resources_pb2.SigningAlgorithm.Name(each) for each in told.signing_algorithms]
                assert names == [listed]
            with pytest.raises(grpc.RpcError):
                root(operation, key_id=key, **values)


def test_a_wrong_pin_and_the_way_back(place: Place) -> None:
    """The officer sets a PIN, the service is told, and makes another one of it."""
    with place.serving() as root:
        store_id = made(root, pin="wrong-pin")
        assert act(root, "ConnectCustomKeyStore", store_id) == FAILED
        wrong = resources_pb2.CONNECTION_ERROR_CODE_INVALID_CREDENTIALS
        assert entry(root, store_id).connection_error_code == wrong
        act(root, "DisconnectCustomKeyStore", store_id)
        root("UpdateCustomKeyStore", custom_key_store_id=store_id, key_store_password=PIN.decode())
        assert act(root, "ConnectCustomKeyStore", store_id) == CONNECTED
        key = new_key(root, store_id)
        blob = root("Encrypt", key_id=key, plaintext=b"x").ciphertext_blob
        act(root, "DisconnectCustomKeyStore", store_id)
        set_pin(place.tokens[0], "from-the-officer")
        root("UpdateCustomKeyStore", custom_key_store_id=store_id, key_store_password="from-the-officer")
        assert act(root, "ConnectCustomKeyStore", store_id) == CONNECTED
        assert root("Decrypt", ciphertext_blob=blob).plaintext == b"x"


def test_a_token_that_is_gone(place: Place) -> None:
    """Nothing else is held up by it, and it can be connected when it's there again."""
    with place.serving() as root:
        gone, stays = made(root), made(root, "other", CLUSTERS[1])
        shutil.move(place.tokens[0].place / "tokens", place.folder / "away")
        (place.tokens[0].place / "tokens").mkdir()
        assert act(root, "ConnectCustomKeyStore", gone) == FAILED
        none = resources_pb2.CONNECTION_ERROR_CODE_INSUFFICIENT_CLOUDHSM_HSMS
        assert entry(root, gone).connection_error_code == none
        assert act(root, "ConnectCustomKeyStore", stays) == CONNECTED
        key = new_key(root, stays)
        assert root("Encrypt", key_id=key, plaintext=b"x").ciphertext_blob
        (place.tokens[0].place / "tokens").rmdir()
        shutil.move(place.folder / "away", place.tokens[0].place / "tokens")
        act(root, "DisconnectCustomKeyStore", gone)
        assert act(root, "ConnectCustomKeyStore", gone) == CONNECTED


def test_objects_go_when_their_key_has_gone(place: Place) -> None:
    """After the waiting period, in the token itself; what the token holds is checked before and after."""
    with place.serving() as root:
        store_id = made(root)
        assert act(root, "ConnectCustomKeyStore", store_id) == CONNECTED
        key, stays = new_key(root, store_id), new_key(root, store_id)
        checked = root("CheckCustomKeyStore", custom_key_store_id=store_id)
        assert (checked.object_count, checked.orphaned_count, checked.missing_count) == (2, 0, 0)
        root("ScheduleKeyDeletion", key_id=key, pending_window_in_days=7)
        with sqlite3.connect(place.folder / "data" / "kagitori.db", timeout=30) as database:
            database.execute("UPDATE keys SET deletion_date = 1.0 WHERE key_id = ?", (key,))
        database.close()
        end = time.monotonic() + 30
        while root("CheckCustomKeyStore", custom_key_store_id=store_id).object_count == 2:
            assert time.monotonic() < end
            time.sleep(0.1)
        checked = root("CheckCustomKeyStore", custom_key_store_id=store_id)
        assert (checked.object_count, checked.orphaned_count, checked.missing_count) == (1, 0, 0)
        assert root("Encrypt", key_id=stays, plaintext=b"x").ciphertext_blob
        with pytest.raises(grpc.RpcError) as failed:
            root("DeleteCustomKeyStore", custom_key_store_id=store_id)
        assert code(failed) is grpc.StatusCode.FAILED_PRECONDITION


def test_what_keys_can_t_do_is_known_while_the_token_is_away(place: Place) -> None:
    """DescribeKey tells the same whether its process has the token open or not; what an older catalog doesn't know of a
    connected store, it learns when a process opens that."""
    missing = resources_pb2.ENCRYPTION_ALGORITHM_RSAES_OAEP_SHA_256  # SoftHSM's, whose OAEP is of SHA-1 alone

    def algorithms(root: Caller, key: str) -> list[int]:
        return list(root("DescribeKey", key_id=key).key_metadata.encryption_algorithms)

    with place.serving() as root:
        store_id = made(root)
        assert act(root, "ConnectCustomKeyStore", store_id) == CONNECTED
        key = new_key(
            root, store_id, key_spec=resources_pb2.KEY_SPEC_RSA_2048, key_usage=resources_pb2.KEY_USAGE_ENCRYPT_DECRYPT
        )
        told = algorithms(root, key)
        assert told
        assert missing not in told
    away = place.folder / "away"
    shutil.move(place.tokens[0].place / "tokens", away)
    (place.tokens[0].place / "tokens").mkdir()
    with place.serving() as root:
        assert algorithms(root, key) == told
    with sqlite3.connect(place.folder / "data" / "kagitori.db", timeout=30) as database:
        database.execute("UPDATE custom_key_stores SET lacking = NULL")
    database.close()
    (place.tokens[0].place / "tokens").rmdir()
    shutil.move(away, place.tokens[0].place / "tokens")
    with place.serving() as root:
        end = time.monotonic() + 30
        while algorithms(root, key) != told:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_a_check_of_ten_thousand_objects(place: Place) -> None:
    """All are told, once, in bounded time, and keys of the same token are used meanwhile. A search goes through all
    objects of a token; it is made once for a check, not for each page of its list."""
    plant_keys(place.tokens[0], 10_000)
    with place.serving() as root:
        store_id = made(root)
        assert act(root, "ConnectCustomKeyStore", store_id) == CONNECTED
        key = new_key(root, store_id)
        assert root("Encrypt", key_id=key, plaintext=b"x").ciphertext_blob
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            checking = pool.submit(root, "CheckCustomKeyStore", custom_key_store_id=store_id)
            used = 0
            while not checking.done():
                assert root("Encrypt", key_id=key, plaintext=b"x").ciphertext_blob
                used += 1
            checked = checking.result()
        assert time.monotonic() - started < 60
        assert used > 1
        assert (checked.object_count, checked.orphaned_count, checked.missing_count) == (10_001, 10_000, 0)
        assert len({found.object_id for found in checked.orphaned}) == len(checked.orphaned) == 1_000
