"""A service that has no library for ML_KEM_512: no such keys are made, and those that are there wait for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.imports import external_key, material_of, parameters, wrapped
from tests.support.inprocess import InProcess
from tests.support.keystore_parts import HOME, KEY, OTHER_REGION, Workshop
from tests.support.kms_calls import new_key, refused

from kagitori_keystore.algorithms import DataKeyPairSpec, KeySpec
from kagitori_keystore.base import ErrorKind, LibraryLacking, RequestRefused
from kagitori_keystore.software import SoftwareKeyStore
from kagitori_server.model.errors import (
    DryRunOperationException,
    KeyUnavailableException,
    UnsupportedOperationException,
)

MAKE = {"key_spec": "ML_KEM_512", "key_usage": "ENCAPSULATE_DECAPSULATE"}
THERE = "eu-west-1"
FOREVER = {"expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE"}


def test_the_store_makes_none_and_uses_none(tmp_path: Path) -> None:
    """The catalog may hold keys that another process made: they are kept, and copied, unopened."""
    shop = Workshop(tmp_path)
    ref = shop.store.generate(KeySpec.ML_KEM_512, HOME, KEY)
    secret, ciphertext = shop.store.encapsulate(HOME, KEY, ref)
    bare = SoftwareKeyStore(shop.root, shop.shelf, shop.random)
    assert bare.describe().key_specs == frozenset(KeySpec) - {KeySpec.ML_KEM_512}
    with pytest.raises(RequestRefused):
        bare.generate(KeySpec.ML_KEM_512, HOME, KEY)
    wrapping = bare.generate(KeySpec.SYMMETRIC_DEFAULT, HOME, KEY)
    with pytest.raises(RequestRefused):
        bare.generate_data_key_pair(HOME, KEY, wrapping, DataKeyPairSpec.ML_KEM_512, b"")
    for use in (
        lambda: bare.public_key(HOME, KEY, ref), lambda: bare.encapsulate(HOME, KEY, ref),
        lambda: bare.decapsulate(HOME, KEY, ref, ciphertext), lambda: bare.decapsulate(HOME, KEY, ref, b"short"),
    ):
        with pytest.raises(LibraryLacking) as caught:
            use()
        assert caught.value.kind is ErrorKind.STORE_LOST
    replica = bare.replicate(HOME, KEY, ref, OTHER_REGION)
    assert shop.store.decapsulate(OTHER_REGION, KEY, replica, ciphertext) == secret
    bare.health()
    bare.close()


def test_no_keys_and_no_pairs_are_made(tmp_path: Path) -> None:
    """What is lacking is said."""
    with InProcess(tmp_path, with_libcrypto=False) as service:
        for more in ({}, {"origin": "EXTERNAL"}, {"multi_region": True}):
            error = refused(service, UnsupportedOperationException, "CreateKey", {**MAKE, **more})
            assert "OpenSSL of 3.5 or newer" in error.message
        symmetric = new_key(service).key_id
        for operation in ("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"):
            values = {"key_id": symmetric, "key_pair_spec": "ML_KEM_512"}
            error = refused(service, UnsupportedOperationException, operation, values)
            assert "OpenSSL of 3.5 or newer" in error.message
        new_key(service, key_spec="ML_KEM_768", key_usage="ENCAPSULATE_DECAPSULATE")


def test_keys_that_are_there_wait_for_a_library(tmp_path: Path) -> None:
    """Nothing happens to them: all but their use goes on, and with a library they work again."""
    with InProcess(tmp_path) as service:
        key_id = new_key(service, **MAKE, multi_region=True).key_id
        waiting = external_key(service, "ML_KEM_512")
        named: dict[str, Any] = {"key_id": key_id, "encapsulation_algorithm": "ML_KEM"}
        made = service.call("Encapsulate", named)
        public = service.call("GetPublicKey", {"key_id": key_id}).public_key
    blob = {"shared_secret_ciphertext_blob": made.shared_secret_ciphertext_blob}
    with InProcess(tmp_path, with_libcrypto=False) as service:
        calls: tuple[tuple[str, dict[str, Any]], ...] = (
            ("Encapsulate", named), ("Decapsulate", {**named, **blob}), ("GetPublicKey", {"key_id": key_id}),
            ("ImportKeyMaterial", {
                "key_id": waiting, **wrapped(material_of("ML_KEM_512"), parameters(service, waiting)), **FOREVER,
            }),
        )
        for operation, values in calls:
            error = refused(service, KeyUnavailableException, operation, values)
            assert "OpenSSL of 3.5 or newer" in error.message
        refused(service, DryRunOperationException, "Encapsulate", {**named, "dry_run": True})
        described = service.call("DescribeKey", {"key_id": key_id}).key_metadata
        assert (described.key_spec, described.key_state, described.enabled) == ("ML_KEM_512", "Enabled", True)
        service.call("DisableKey", {"key_id": key_id})
        service.call("EnableKey", {"key_id": key_id})
        service.call("ReplicateKey", {"key_id": key_id, "replica_region": THERE})
        assert [key.key_id for key in service.call("ListKeys", {}).keys] == sorted((key_id, waiting))
    with InProcess(tmp_path) as service:
        for region in (None, THERE):
            opened = service.call("Decapsulate", {**named, **blob}, region=region)
            assert opened.shared_secret == made.shared_secret
            assert service.call("GetPublicKey", {"key_id": key_id}, region=region).public_key == public
