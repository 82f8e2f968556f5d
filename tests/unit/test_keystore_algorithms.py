"""The tables of specs and algorithms: what is written for ever, and what AWS documents as numbers."""

from __future__ import annotations

import pytest

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    DataKeyPairSpec,
    Digest,
    KeyFamily,
    KeySpec,
    MacAlgorithm,
    MaterialForm,
    MessageForm,
    SigningAlgorithm,
    WrappingAlgorithm,
    WrappingSpec,
    agrees_on_keys,
    encapsulates,
    encryption_algorithms,
    mac_algorithms,
    oaep_plaintext_max,
    signing_algorithms,
)

OAEP_1 = AsymmetricEncryptionAlgorithm.RSAES_OAEP_SHA_1
OAEP_256 = AsymmetricEncryptionAlgorithm.RSAES_OAEP_SHA_256


def test_codes_are_those_in_catalogs() -> None:
    """A code once written names its spec for ever; a new spec adds a line here."""
    assert {spec.name: spec.code for spec in KeySpec} == {
        "SYMMETRIC_DEFAULT": 1,
        "RSA_2048": 16, "RSA_3072": 17, "RSA_4096": 18,
        "ECC_NIST_P256": 32, "ECC_NIST_P384": 33, "ECC_NIST_P521": 34, "ECC_SECG_P256K1": 40,
        "ECC_NIST_EDWARDS25519": 48,
        "HMAC_224": 64, "HMAC_256": 65, "HMAC_384": 66, "HMAC_512": 67,
        "ML_DSA_44": 80, "ML_DSA_65": 81, "ML_DSA_87": 82,
        "ML_KEM_512": 96, "ML_KEM_768": 97, "ML_KEM_1024": 98,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [(KeySpec.RSA_2048, (214, 190)), (KeySpec.RSA_3072, (342, 318)), (KeySpec.RSA_4096, (470, 446))],
)
def test_oaep_sizes_are_those_aws_documents(spec: KeySpec, sizes: tuple[int, int]) -> None:
    assert (oaep_plaintext_max(spec, OAEP_1), oaep_plaintext_max(spec, OAEP_256)) == sizes


def test_hmac_keys_are_as_long_as_their_digests() -> None:
    for spec, size in zip(
        (KeySpec.HMAC_224, KeySpec.HMAC_256, KeySpec.HMAC_384, KeySpec.HMAC_512), (28, 32, 48, 64), strict=True
    ):
        assert (spec.material_bytes, spec.form) == (size, MaterialForm.RAW)
        assert mac_algorithms(spec) == (MacAlgorithm(f"HMAC_SHA_{8 * size}"),)


def test_algorithms_by_spec() -> None:
    """Each spec has the algorithms of its family, and of its hash where AWS fixes one."""
    rsa = tuple(algorithm for algorithm in SigningAlgorithm if algorithm.startswith("RSASSA"))
    assert len(rsa) == 6
    edwards = (SigningAlgorithm.ED25519_SHA_512, SigningAlgorithm.ED25519_PH_SHA_512)
    curves = {
        KeySpec.ECC_NIST_P256: (SigningAlgorithm.ECDSA_SHA_256,),
        KeySpec.ECC_NIST_P384: (SigningAlgorithm.ECDSA_SHA_384,),
        KeySpec.ECC_NIST_P521: (SigningAlgorithm.ECDSA_SHA_512,),
        KeySpec.ECC_SECG_P256K1: (SigningAlgorithm.ECDSA_SHA_256,),
        KeySpec.ECC_NIST_EDWARDS25519: edwards,
    }
    for spec in KeySpec:
        expected = {KeyFamily.RSA: rsa, KeyFamily.ML_DSA: (SigningAlgorithm.ML_DSA_SHAKE_256,)}.get(spec.family, ())
        assert signing_algorithms(spec) == curves.get(spec, expected)
        assert bool(encryption_algorithms(spec)) is (spec.family is KeyFamily.RSA)
        assert bool(mac_algorithms(spec)) is (spec.family is KeyFamily.HMAC)
        assert agrees_on_keys(spec) is spec.name.startswith("ECC_NIST_P")
        assert encapsulates(spec) is spec.name.startswith("ML_KEM")


def test_message_sizes() -> None:
    """RAW 1 to 4,096, DIGEST the digest's length, EXTERNAL_MU 64; Ed25519 takes one form in either variant."""
    forms = [(algorithm, form) for algorithm in SigningAlgorithm for form in algorithm.forms]
    sizes = {(algorithm, form): algorithm.message_bytes(form) for algorithm, form in forms}
    assert {size for (_, form), size in sizes.items() if form is MessageForm.RAW} == {(1, 4096)}
    assert sizes[SigningAlgorithm.ECDSA_SHA_384, MessageForm.DIGEST] == (48, 48)
    assert sizes[SigningAlgorithm.ED25519_PH_SHA_512, MessageForm.DIGEST] == (64, 64)
    assert sizes[SigningAlgorithm.ML_DSA_SHAKE_256, MessageForm.EXTERNAL_MU] == (64, 64)
    assert SigningAlgorithm.ED25519_SHA_512.forms == (MessageForm.RAW,)
    assert SigningAlgorithm.ED25519_PH_SHA_512.forms == (MessageForm.DIGEST,)
    with pytest.raises(KeyError):
        SigningAlgorithm.ED25519_SHA_512.message_bytes(MessageForm.DIGEST)


def test_names_lead_to_specs_and_digests() -> None:
    assert {pair.key_spec.name for pair in DataKeyPairSpec} == {pair.value for pair in DataKeyPairSpec}
    assert {wrapping.key_spec.family for wrapping in WrappingSpec} == {KeyFamily.RSA}
    assert {(algorithm.digest, algorithm.wraps_aes_key) for algorithm in WrappingAlgorithm} == {
        (digest, wraps) for digest in (Digest.SHA_1, Digest.SHA_256) for wraps in (False, True)
    }
