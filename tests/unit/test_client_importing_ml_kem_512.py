"""Key files of ML-KEM-512, which the client reads by itself."""

from __future__ import annotations

import os

import pytest
from tests.support.foreign_keys import pkcs8, rsa_key
from tests.support.ml_kem_512 import ALGORITHM, EXPANDED_BYTES, both_form, encrypted, expanded_form, pem, seed_form

from kagitori_client.errors import KeyMaterialError
from kagitori_client.importing import KeyFileForm, read_key_material
from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.importing.materials import canonical_material

SEED, EXPANDED = os.urandom(64), os.urandom(EXPANDED_BYTES)


def refused(content: bytes, passphrase: bytes | None = None) -> KeyMaterialError:
    with pytest.raises(KeyMaterialError) as caught:
        read_key_material(content, passphrase=passphrase)
    assert caught.value.__cause__ is None
    assert SEED[:8].hex() not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


def test_seeds_are_read_from_der_and_pem() -> None:
    """The service takes what was read."""
    der = seed_form(SEED)
    for content, form in ((der, None), (der, KeyFileForm.DER), (pem(der), None), (b"a comment\n" + pem(der), None)):
        material = read_key_material(content, form=form)
        assert (material.content, material.key_specs) == (der, ("ML_KEM_512",))
        assert canonical_material(KeySpec.ML_KEM_512, material.content) == SEED


def test_other_forms_are_refused_with_what_to_do() -> None:
    """As openssl writes such keys unless it is told otherwise, and what can't be a key."""
    for der in (
        both_form(SEED, EXPANDED), expanded_form(EXPANDED), seed_form(SEED[:32]), seed_form(SEED + b"\x00"),
        seed_form(SEED, attributes=True),
    ):
        for content in (der, pem(der)):
            assert "seed-only" in str(refused(content).hint)


def test_encrypted_keys_are_refused_and_told_apart_from_wrong_passphrases() -> None:
    der = encrypted(seed_form(SEED), b"correct horse")
    for content in (der, pem(der, "ENCRYPTED PRIVATE KEY")):
        assert "ML-KEM-512" in str(refused(content, b"correct horse").hint)
        assert "passphrase is wrong" in refused(content, b"another").message
        assert "is encrypted" in refused(content).message


def test_a_passphrase_for_an_unencrypted_key_is_refused() -> None:
    assert "not encrypted" in refused(seed_form(SEED), b"correct horse").message
    assert "not encrypted" in refused(pem(seed_form(SEED)), b"correct horse").message


def test_other_keys_and_damaged_ones_take_their_own_way() -> None:
    assert read_key_material(pem(pkcs8(rsa_key()))).key_specs == ("RSA_2048",)
    whole = seed_form(SEED)
    for damaged in (whole[:-1], whole + b"\x00", seed_form(SEED, version=1), seed_form(SEED)[2:]):
        refused(pem(damaged))
    assert len(whole) == 86
    assert ALGORITHM.algorithm.dotted_string == "2.16.840.1.101.3.4.4.1"
