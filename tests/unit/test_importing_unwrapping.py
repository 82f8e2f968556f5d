"""Opening wrapped materials: published vectors, OpenSSL's commands from AWS's guide, and one answer to all else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.foreign_keys import key_of, pkcs8

from kagitori_keystore.algorithms import KeySpec, WrappingAlgorithm, WrappingSpec
from kagitori_keystore.base import ImportFault, ImportRefused
from kagitori_keystore.importing import unwrapping
from kagitori_keystore.importing.unwrapping import combines, make_wrapping_key, unwrap

VECTORS = Path(__file__).parents[1] / "vectors" / "kwp-ad-256.json"
MATERIAL = bytes(range(32))
HASHES: dict[WrappingAlgorithm, HashAlgorithm] = {
    algorithm: SHA1() if algorithm.name.endswith("_SHA_1") else SHA256()  # noqa: S303  (what AWS names)
    for algorithm in WrappingAlgorithm
}
DIRECT = [algorithm for algorithm in WrappingAlgorithm if not algorithm.wraps_aes_key]
TWO_STEP = [algorithm for algorithm in WrappingAlgorithm if algorithm.wraps_aes_key]


@cache
def wrapping_key(spec: WrappingSpec = WrappingSpec.RSA_2048) -> RSAPrivateKey:
    return make_wrapping_key(spec)


def oaep(plaintext: bytes, hash_algorithm: HashAlgorithm, mask: HashAlgorithm | None = None) -> bytes:
    padding = OAEP(MGF1(mask or hash_algorithm), hash_algorithm, None)
    return wrapping_key().public_key().encrypt(plaintext, padding)


def wrap(algorithm: WrappingAlgorithm, material: bytes, aes_key: bytes = bytes(range(1, 33))) -> bytes:
    if not algorithm.wraps_aes_key:
        return oaep(material, HASHES[algorithm])
    return oaep(aes_key, HASHES[algorithm]) + aes_key_wrap_with_padding(aes_key, material)


def opened(algorithm: WrappingAlgorithm, wrapped: bytes) -> bytes:
    return unwrap(wrapping_key(), algorithm, wrapped, os.urandom)


def refused(algorithm: WrappingAlgorithm, wrapped: bytes) -> None:
    """One class, one message, no cause: nothing tells which check failed."""
    with pytest.raises(ImportRefused) as caught:
        opened(algorithm, wrapped)
    assert caught.value.reason is ImportFault.UNDECRYPTABLE
    assert str(caught.value) == str(ImportRefused(ImportFault.UNDECRYPTABLE))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize("algorithm", WrappingAlgorithm)
def test_what_was_wrapped_comes_out(algorithm: WrappingAlgorithm) -> None:
    for size in (1, 15, 16, 17, 32, 128, 190):
        material = os.urandom(size)
        assert opened(algorithm, wrap(algorithm, material)) == material


@pytest.mark.parametrize("algorithm", TWO_STEP)
@pytest.mark.parametrize("spec", [KeySpec.RSA_2048, KeySpec.RSA_4096, KeySpec.ECC_NIST_P521])
def test_long_keys_come_out_of_the_two_step_form(algorithm: WrappingAlgorithm, spec: KeySpec) -> None:
    material = pkcs8(key_of(spec))
    assert opened(algorithm, wrap(algorithm, material)) == material


@pytest.mark.parametrize("spec", WrappingSpec)
def test_wrapping_keys_are_as_long_as_they_say(spec: WrappingSpec) -> None:
    assert wrapping_key(spec).key_size == int(spec.value.removeprefix("RSA_"))
    assert wrapping_key(spec).public_key().public_numbers().e == 65_537


def records() -> Iterator[dict[str, Any]]:
    yield from json.loads(VECTORS.read_text(encoding="utf-8"))["records"]


def test_nist_vectors_of_key_wrap_with_padding() -> None:
    seen = {True: 0, False: 0}
    for record in records():
        wrapped = oaep(bytes.fromhex(record["key"]), SHA256()) + bytes.fromhex(record["ciphertext"])
        if record["plaintext"] is None:
            refused(WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256, wrapped)
        else:
            assert opened(WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256, wrapped).hex() == record["plaintext"]
        seen[record["plaintext"] is not None] += 1
    assert seen == {True: 30, False: 20}


def test_the_examples_of_rfc_5649() -> None:
    """They are for AES-192, so they test the library below; through us such a key is refused."""
    kek = bytes.fromhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
    examples = {
        "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a": "c37b7e6492584340bed12207808941155068f738",
        "afbeb0f07dfbf5419200f2ccb50bb24f": "466f7250617369",
    }
    for wrapped, key in examples.items():
        assert aes_key_unwrap_with_padding(kek, bytes.fromhex(wrapped)).hex() == key
        refused(WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256, oaep(kek, SHA256()) + bytes.fromhex(wrapped))


def test_the_example_of_rfc_3394_is_of_another_kind() -> None:
    """Section 4.6: key wrap without padding has another initial value."""
    kek = bytes(range(32))
    data = bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
    wrapped = bytes.fromhex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21")
    assert aes_key_wrap(kek, data) == wrapped
    refused(WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256, oaep(kek, SHA256()) + wrapped)


@pytest.mark.parametrize("algorithm", WrappingAlgorithm)
def test_no_bit_can_be_changed(algorithm: WrappingAlgorithm) -> None:
    wrapped = wrap(algorithm, MATERIAL)
    for at in range(len(wrapped)):
        forged = bytearray(wrapped)
        forged[at] ^= 1 << (at % 8)
        refused(algorithm, bytes(forged))


@pytest.mark.parametrize("algorithm", WrappingAlgorithm)
def test_other_lengths_are_refused(algorithm: WrappingAlgorithm) -> None:
    wrapped = wrap(algorithm, MATERIAL)
    for forged in (
        b"",
        wrapped[:-1],
        wrapped[:-8],
        wrapped[1:],
        wrapped + b"\x00",
        wrapped + bytes(8),
        b"\x00" + wrapped,
    ):
        refused(algorithm, forged)
    refused(algorithm, bytes(6145))
    refused(algorithm, wrapped + bytes(6152 - len(wrapped)))
    refused(algorithm, wrapped[:256] + bytes(8) if algorithm.wraps_aes_key else wrapped[:128])
    refused(algorithm, b"\xff" * len(wrapped))  # not below the modulus


@pytest.mark.parametrize("algorithm", TWO_STEP)
def test_what_is_longer_than_aws_allows_is_not_opened(algorithm: WrappingAlgorithm) -> None:
    """6,144 bytes: the wrapped AES key, eight bytes of key wrap, and the material, padded to a multiple of eight."""
    assert opened(algorithm, wrap(algorithm, bytes(5880))) == bytes(5880)
    refused(algorithm, wrap(algorithm, bytes(5881)))


@pytest.mark.parametrize("algorithm", WrappingAlgorithm)
def test_one_algorithm_does_not_open_what_another_wrapped(algorithm: WrappingAlgorithm) -> None:
    for other in WrappingAlgorithm:
        if other is not algorithm:
            refused(algorithm, wrap(other, MATERIAL))


def test_other_paddings_are_refused() -> None:
    public = wrapping_key().public_key()
    refused(WrappingAlgorithm.RSAES_OAEP_SHA_256, public.encrypt(MATERIAL, PKCS1v15()))
    refused(WrappingAlgorithm.RSAES_OAEP_SHA_256, oaep(MATERIAL, SHA256(), SHA1()))  # noqa: S303  (wrong on purpose)
    refused(WrappingAlgorithm.RSAES_OAEP_SHA_256, public.encrypt(MATERIAL, OAEP(MGF1(SHA256()), SHA256(), b"label")))


@pytest.mark.parametrize("algorithm", TWO_STEP)
@pytest.mark.parametrize("size", [1, 16, 24, 31, 33, 64])
def test_aes_keys_have_32_bytes(algorithm: WrappingAlgorithm, size: int) -> None:
    aes_key = bytes(size)
    body = aes_key_wrap_with_padding(aes_key if size in (16, 24) else bytes(32), MATERIAL)
    refused(algorithm, oaep(aes_key, HASHES[algorithm]) + body)


@pytest.mark.parametrize("algorithm", TWO_STEP)
def test_the_second_step_is_done_whether_or_not_the_first_succeeds(
    algorithm: WrappingAlgorithm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under which key: the one that came out, or one drawn for the purpose, which is drawn in either case."""
    used: list[bytes] = []
    drawn: list[int] = []

    def recorded(key: bytes, wrapped: bytes) -> bytes:
        used.append(key)
        return aes_key_unwrap_with_padding(key, wrapped)

    def random(size: int) -> bytes:
        drawn.append(size)
        return b"\xab" * size

    monkeypatch.setattr(unwrapping, "aes_key_unwrap_with_padding", recorded)
    aes_key = bytes(range(1, 33))
    body = aes_key_wrap_with_padding(aes_key, MATERIAL)
    heads = [oaep(aes_key, HASHES[algorithm]), bytes(256), b"\xff" * 256, oaep(bytes(31), HASHES[algorithm])]
    for head in heads:
        try:
            unwrap(wrapping_key(), algorithm, head + body, random)
        except ImportRefused:
            continue
    assert used == [aes_key, *[b"\xab" * 32] * 3]
    assert drawn == [32] * 4


def test_which_materials_are_wrapped_how() -> None:
    impossible = {
        (spec, wrapping, algorithm)
        for spec in KeySpec
        for wrapping in WrappingSpec
        for algorithm in WrappingAlgorithm
        if not combines(spec, wrapping, algorithm)
    }
    rsa = (KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096)
    assert impossible == {
        (spec, wrapping, algorithm) for spec in rsa for wrapping in WrappingSpec for algorithm in DIRECT
    } | {(KeySpec.ECC_NIST_P521, WrappingSpec.RSA_2048, algorithm) for algorithm in DIRECT}


# As AWS's guide ("Step 3: Encrypt the key material") tells users.


@pytest.fixture
def openssl() -> str:
    path = shutil.which("openssl")
    assert path is not None, "openssl is needed: tests/install-system-packages"
    return path


@pytest.fixture
def wrapping_public_key(tmp_path: Path) -> Path:
    der = wrapping_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "WrappingPublicKey.bin").write_bytes(der)
    return tmp_path / "WrappingPublicKey.bin"


def pkeyutl(openssl: str, public_key: Path, algorithm: WrappingAlgorithm, source: Path, target: Path) -> None:
    digest = HASHES[algorithm].name
    command = [openssl, "pkeyutl", "-encrypt", "-in", str(source), "-out", str(target)]
    command += ["-inkey", str(public_key), "-keyform", "DER", "-pubin", "-pkeyopt", "rsa_padding_mode:oaep"]
    command += ["-pkeyopt", f"rsa_oaep_md:{digest}"]
    if algorithm is not WrappingAlgorithm.RSAES_OAEP_SHA_1:  # whose example leaves the mask's hash to its default
        command += ["-pkeyopt", f"rsa_mgf1_md:{digest}"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("algorithm", DIRECT)
def test_openssl_wraps_directly(
    openssl: str, tmp_path: Path, wrapping_public_key: Path, algorithm: WrappingAlgorithm
) -> None:
    source, target = tmp_path / "PlaintextKeyMaterial.bin", tmp_path / "EncryptedKeyMaterial.bin"
    for material in (MATERIAL, pkcs8(key_of(KeySpec.ECC_NIST_P256))):
        source.write_bytes(material)
        pkeyutl(openssl, wrapping_public_key, algorithm, source, target)
        assert opened(algorithm, target.read_bytes()) == material


@pytest.mark.parametrize("algorithm", TWO_STEP)
@pytest.mark.parametrize("spec", [KeySpec.RSA_2048, KeySpec.RSA_4096, KeySpec.ECC_NIST_P521, KeySpec.HMAC_384])
def test_openssl_wraps_in_two_steps(
    openssl: str, tmp_path: Path, wrapping_public_key: Path, algorithm: WrappingAlgorithm, spec: KeySpec
) -> None:
    source, aes_key = tmp_path / "PlaintextKeyMaterial.bin", tmp_path / "aes-key.bin"
    material_wrapped, aes_key_wrapped = tmp_path / "key-material-wrapped.bin", tmp_path / "aes-key-wrapped.bin"
    material = os.urandom(48) if spec is KeySpec.HMAC_384 else pkcs8(key_of(spec))
    source.write_bytes(material)
    aes_key.write_bytes(os.urandom(32))
    command = [openssl, "enc", "-id-aes256-wrap-pad", "-K", aes_key.read_bytes().hex(), "-iv", "A65959A6"]
    command += ["-in", str(source), "-out", str(material_wrapped)]
    subprocess.run(command, check=True, capture_output=True)
    pkeyutl(openssl, wrapping_public_key, algorithm, aes_key, aes_key_wrapped)
    wrapped = aes_key_wrapped.read_bytes() + material_wrapped.read_bytes()
    assert opened(algorithm, wrapped) == material
