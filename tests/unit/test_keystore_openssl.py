"""The software store against the command `openssl`: each takes what the other makes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.keystore_abilities import message_for
from tests.support.keystore_parts import HOME, KEY, Workshop
from tests.support.published_vectors import known

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    DataKeyPairSpec,
    KeyFamily,
    KeySpec,
    MessageForm,
    SigningAlgorithm,
    SigningScheme,
    signing_algorithms,
)
from kagitori_keystore.base import PublicKeyInvalid
from kagitori_keystore.ciphertext import parse

RAW, DIGEST = MessageForm.RAW, MessageForm.DIGEST
MESSAGE = b"a message for both"
CLASSICAL = (KeyFamily.RSA, KeyFamily.ECC_NIST, KeyFamily.ECC_SECG, KeyFamily.EDWARDS)  # what OpenSSL 3.0 knows
SPECS = [spec for spec in KeySpec if spec.family in CLASSICAL]
GENERATED_BY = {
    KeySpec.RSA_2048: ("RSA", "rsa_keygen_bits:2048"),
    KeySpec.RSA_3072: ("RSA", "rsa_keygen_bits:3072"),
    KeySpec.RSA_4096: ("RSA", "rsa_keygen_bits:4096"),
    KeySpec.ECC_NIST_P256: ("EC", "ec_paramgen_curve:P-256"),
    KeySpec.ECC_NIST_P384: ("EC", "ec_paramgen_curve:P-384"),
    KeySpec.ECC_NIST_P521: ("EC", "ec_paramgen_curve:P-521"),
    KeySpec.ECC_SECG_P256K1: ("EC", "ec_paramgen_curve:secp256k1"),
}


class OpenSsl:
    """The command, in a folder of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def file(self, name: str, content: bytes) -> str:
        self.place.joinpath(name).write_bytes(content)
        return name

    def run(self, *arguments: str) -> bytes:
        done = subprocess.run(["openssl", *arguments], cwd=self.place, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def refuses(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.place, capture_output=True, check=False)
        assert done.returncode != 0

    def private_key(self, spec: KeySpec) -> bytes:
        """DER PKCS#8 of a new key; its PEM is `private.pem`."""
        kind, option = GENERATED_BY.get(spec, ("ED25519", ""))
        options = ["-pkeyopt", option] if option else []
        self.run("genpkey", "-algorithm", kind, *options, "-out", "private.pem")
        return self.run("pkcs8", "-topk8", "-nocrypt", "-in", "private.pem", "-outform", "DER")


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    place = tmp_path / "openssl"
    place.mkdir()
    return OpenSsl(place)


def padding_options(algorithm: SigningAlgorithm) -> list[str]:
    if algorithm.scheme is SigningScheme.PSS:
        return ["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest"]
    return []


def schemes(spec: KeySpec) -> list[SigningAlgorithm]:
    return [algorithm for algorithm in signing_algorithms(spec) if RAW in algorithm.forms]


def input_options(openssl: OpenSsl, algorithm: SigningAlgorithm, message: bytes) -> list[str]:
    """The message as `openssl pkeyutl` 3.0 wants it: digests for all but Ed25519, since -rawin hashes by itself."""
    if algorithm.scheme is SigningScheme.ED25519:
        return ["-rawin", "-in", openssl.file("message", message)]
    assert algorithm.digest
    digest = openssl.file("digest", message_for(algorithm, DIGEST, message))
    return ["-in", digest, "-pkeyopt", f"digest:{algorithm.digest.value[1]}", *padding_options(algorithm)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_openssl_verifies_what_the_store_signs(shop: Workshop, openssl: OpenSsl, spec: KeySpec) -> None:
    ref = shop.store.generate(spec, HOME, KEY)
    public = openssl.file("public.der", shop.store.public_key(HOME, KEY, ref))
    verify = ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", public, "-sigfile", "signature"]
    for algorithm in schemes(spec):
        for form in algorithm.forms:
            signature = shop.store.sign(HOME, KEY, ref, algorithm, form, message_for(algorithm, form, MESSAGE))
            openssl.file("signature", signature)
            openssl.run(*verify, *input_options(openssl, algorithm, MESSAGE))
            openssl.refuses(*verify, *input_options(openssl, algorithm, b"another message"))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_store_verifies_what_openssl_signs(shop: Workshop, openssl: OpenSsl, spec: KeySpec) -> None:
    der = openssl.private_key(spec)
    ref = known(shop, spec, der[-32:] if spec.family is KeyFamily.EDWARDS else der)
    public = openssl.run("pkey", "-in", "private.pem", "-pubout", "-outform", "DER")
    assert shop.store.public_key(HOME, KEY, ref) == public
    for algorithm in schemes(spec):
        signature = openssl.run(
            "pkeyutl", "-sign", "-inkey", "private.pem", *input_options(openssl, algorithm, MESSAGE)
        )
        for form in algorithm.forms:
            message = message_for(algorithm, form, MESSAGE)
            assert shop.store.verify(HOME, KEY, ref, algorithm, form, message, signature)
            assert not shop.store.verify(HOME, KEY, ref, algorithm, form, message_for(algorithm, form), signature)


@pytest.mark.parametrize("salt", ["0", "20", "max"])
def test_pss_salts_of_other_lengths_do_not_verify(shop: Workshop, openssl: OpenSsl, salt: str) -> None:
    """AWS fixes the salt to the digest's length, so the store takes no other."""
    ref = known(shop, KeySpec.RSA_2048, openssl.private_key(KeySpec.RSA_2048))
    algorithm = SigningAlgorithm.RSASSA_PSS_SHA_256
    digest = message_for(algorithm, DIGEST, MESSAGE)
    signature = openssl.run(
        "pkeyutl", "-sign", "-inkey", "private.pem", "-in", openssl.file("digest", digest), "-pkeyopt", "digest:sha256",
        "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", f"rsa_pss_saltlen:{salt}",
    )  # fmt: skip
    assert not shop.store.verify(HOME, KEY, ref, algorithm, DIGEST, digest, signature)


@pytest.mark.parametrize("algorithm", AsymmetricEncryptionAlgorithm)
def test_oaep_goes_both_ways(shop: Workshop, openssl: OpenSsl, algorithm: AsymmetricEncryptionAlgorithm) -> None:
    ref = known(shop, KeySpec.RSA_2048, openssl.private_key(KeySpec.RSA_2048))
    options = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", f"rsa_oaep_md:{algorithm.digest.value[1]}"]
    ours = shop.store.encrypt_asymmetric(HOME, KEY, ref, algorithm, MESSAGE)
    opened = openssl.run(
        "pkeyutl", "-decrypt", "-inkey", "private.pem", "-in", openssl.file("ours", ours), *options
    )
    assert opened == MESSAGE
    theirs = openssl.run(
        "pkeyutl", "-encrypt", "-inkey", "private.pem", "-in", openssl.file("message", MESSAGE), *options
    )
    assert shop.store.decrypt_asymmetric(HOME, KEY, ref, algorithm, theirs) == MESSAGE


@pytest.mark.parametrize("spec", [KeySpec.ECC_NIST_P256, KeySpec.ECC_NIST_P384, KeySpec.ECC_NIST_P521])
def test_ecdh_agrees(shop: Workshop, openssl: OpenSsl, spec: KeySpec) -> None:
    """Also with a compressed point, but not with curve parameters spelt out."""
    ref = shop.store.generate(spec, HOME, KEY)
    openssl.private_key(spec)
    openssl.file("ours.der", shop.store.public_key(HOME, KEY, ref))
    openssl.run("pkey", "-pubin", "-inform", "DER", "-in", "ours.der", "-out", "ours.pem")
    secret = openssl.run("pkeyutl", "-derive", "-inkey", "private.pem", "-peerkey", "ours.pem")
    write = ["ec", "-in", "private.pem", "-pubout", "-outform", "DER"]
    for options in ([], ["-conv_form", "compressed"]):
        peer = openssl.run(*write, *options)
        assert shop.store.derive_shared_secret(HOME, KEY, ref, peer) == secret
    explicit = openssl.run(*write, "-param_enc", "explicit")
    with pytest.raises(PublicKeyInvalid):
        shop.store.derive_shared_secret(HOME, KEY, ref, explicit)


@pytest.mark.parametrize("spec", [KeySpec.HMAC_224, KeySpec.HMAC_256, KeySpec.HMAC_384, KeySpec.HMAC_512])
def test_macs_are_the_same(shop: Workshop, openssl: OpenSsl, spec: KeySpec) -> None:
    assert spec.digest
    key = shop.random(spec.material_bytes)
    message = openssl.file("message", MESSAGE)
    theirs = openssl.run(
        "dgst", f"-{spec.digest.value[1]}", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary", message
    )
    assert shop.store.generate_mac(HOME, KEY, known(shop, spec, key), MESSAGE) == theirs


@pytest.mark.parametrize("pair_spec", [pair for pair in DataKeyPairSpec if pair.key_spec in SPECS])
def test_data_key_pairs_parse(shop: Workshop, openssl: OpenSsl, pair_spec: DataKeyPairSpec) -> None:
    """The private half, as it comes from its blob, is sound and belongs to the public half."""
    ref = shop.store.generate(KeySpec.SYMMETRIC_DEFAULT, HOME, KEY)
    pair = shop.store.generate_data_key_pair(HOME, KEY, ref, pair_spec, b"")
    private = openssl.file("pair.der", shop.store.decrypt(HOME, KEY, ref, parse(pair.blob), b""))
    openssl.run("pkey", "-inform", "DER", "-in", private, "-check", "-noout")
    assert openssl.run("pkey", "-inform", "DER", "-in", private, "-pubout", "-outform", "DER") == pair.public_key
