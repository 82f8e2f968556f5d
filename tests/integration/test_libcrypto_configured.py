"""Which library serves ML_KEM_512 in a service: the one that the configuration names, or one that is found."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tests.support.ml_kem_512 import carried, peer_of
from tests.support.whole_server import Caller, WholeServer

from kagitori.kms.v1 import resources_pb2
from kagitori_keystore.software.libcrypto import LibCrypto, LibCryptoUnusable
from kagitori_server.config import Config, ConfigurationError, load_config
from kagitori_server.configured import first_libcrypto, known_libcryptos, open_libcrypto

SETTINGS: dict[str, dict[str, Any]] = {"listen": {"grpc": "127.0.0.1:0"}, "log": {"level": "error"}}


def named(path: str) -> dict[str, dict[str, Any]]:
    return {**SETTINGS, "keystore": {"libcrypto": path}}


def test_a_service_with_a_library_that_is_named(tmp_path: Path) -> None:
    """From the making of a key to its use by a peer."""
    with WholeServer(tmp_path / "data", named(carried())) as server, server.tls() as channel:
        root = Caller(channel, server.root_token)
        key = root("CreateKey", key_spec="KEY_SPEC_ML_KEM_512", key_usage="KEY_USAGE_ENCAPSULATE_DECAPSULATE")
        terms = {
            "key_id": key.key_metadata.arn, "encapsulation_algorithm": resources_pb2.ENCAPSULATION_ALGORITHM_ML_KEM,
        }
        told = root("GetPublicKey", key_id=key.key_metadata.arn)
        assert list(told.encapsulation_algorithms) == [resources_pb2.ENCAPSULATION_ALGORITHM_ML_KEM]
        secret, ciphertext = peer_of(told.public_key).encapsulate()
        assert root("Decapsulate", **terms, shared_secret_ciphertext_blob=ciphertext).shared_secret == secret
        made = root("Encapsulate", **terms)
        opened = root("Decapsulate", **terms, shared_secret_ciphertext_blob=made.shared_secret_ciphertext_blob)
        assert opened.shared_secret == made.shared_secret


def test_a_named_library_that_is_none_keeps_the_server_from_starting(tmp_path: Path) -> None:
    """Before anything is made."""
    text = tmp_path / "text.so"
    text.write_text("no library")
    for path in (text, tmp_path / "nowhere.so"):
        data = tmp_path / f"data of {path.name}"
        with pytest.raises(ConfigurationError) as caught:
            WholeServer(data, named(str(path))).__enter__()
        assert str(caught.value) == f"keystore.libcrypto: {path} can't be loaded as a library"
        assert not (data / "kagitori.db").exists()


def test_a_system_that_is_too_old_keeps_the_server_from_starting(tmp_path: Path) -> None:
    """Debian 12 has OpenSSL 3.0."""
    try:
        LibCrypto("libcrypto.so.3")
        pytest.skip("the system's OpenSSL is of 3.5 or newer")
    except LibCryptoUnusable as refusal:
        if "is of version" not in str(refusal):
            pytest.skip("the system has no OpenSSL 3")
    loaded = Path("/proc/self/maps").read_text().splitlines()
    path = next(line.split()[-1] for line in loaded if line.endswith("/libcrypto.so.3"))
    with pytest.raises(ConfigurationError, match=r"is of version 3\.[0-4]\.\d+; ML-KEM-512 needs OpenSSL 3.5 or newer"):
        WholeServer(tmp_path / "data", named(path)).__enter__()


def test_without_a_setting_the_first_that_is_fit_serves(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The system's, then the one that psycopg-binary carries; one line of the log says which, or that there is none."""
    caplog.set_level(logging.INFO)
    assert list(known_libcryptos()) == ["libcrypto.so.3", carried()]
    found = open_libcrypto(Config())
    assert found is not None
    assert found.name in known_libcryptos()
    assert first_libcrypto([str(tmp_path / "nowhere.so"), "libm.so.6", carried()]) is not None
    assert first_libcrypto([str(tmp_path / "nowhere.so"), "libm.so.6"]) is None
    assert first_libcrypto([]) is None
    assert [record.getMessage() for record in caplog.records if record.name == "kagitori_server.configured"] == [
        f"ML_KEM_512 is served by OpenSSL {found.version}, {found.name}",
        f"ML_KEM_512 is served by OpenSSL {LibCrypto(carried()).version}, {carried()}",
        *["ML_KEM_512 is not served: no OpenSSL of 3.5 or newer was found"] * 2,
    ]


def test_the_setting_can_come_from_the_environment() -> None:
    config = load_config(None, {"KAGITORI_KEYSTORE__LIBCRYPTO": carried()}, {})
    found = open_libcrypto(config)
    assert found is not None
    assert found.name == carried()
