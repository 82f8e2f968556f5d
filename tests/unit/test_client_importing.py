"""Key files as users have them, and what becomes of them: wrapped here, opened by the service's own half."""

from __future__ import annotations

import base64
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.foreign_keys import CURVES, DER_SPECS, RSA_SPECS, ec_key, key_of, pkcs8, rsa_key, traditional

from kagitori_client.errors import KeyMaterialError
from kagitori_client.importing import (
    KeyFileForm,
    KeyMaterial,
    WrappingAlgorithm,
    read_key_material,
    wrap_key_material,
)
from kagitori_keystore import algorithms
from kagitori_keystore.algorithms import KeyFamily, KeySpec, WrappingSpec
from kagitori_keystore.importing.materials import canonical_material
from kagitori_keystore.importing.unwrapping import combines, make_wrapping_key, unwrap

PASSPHRASE = b"correct horse"
RAW_SPECS = tuple(spec for spec in KeySpec if spec.family in (KeyFamily.SYMMETRIC, KeyFamily.HMAC))


@cache
def wrapping_key() -> rsa.RSAPrivateKey:
    return make_wrapping_key(WrappingSpec.RSA_2048)


def public_der(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def message(content: bytes, *, form: KeyFileForm | None = None, passphrase: bytes | None = None) -> str:
    """The message with which a file is refused; neither it nor the hint quotes from the file."""
    with pytest.raises(KeyMaterialError) as caught:
        read_key_material(content, form=form, passphrase=passphrase)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    told = f"{caught.value.message} {caught.value.hint or ''}"
    for start in range(0, len(content) - 16, 16):
        piece = content[start : start + 16]
        assert piece.hex() not in told
        assert repr(piece)[2:-1] not in told
    return caught.value.message


def test_the_algorithms_are_those_of_the_service() -> None:
    assert [algorithm.value for algorithm in WrappingAlgorithm] == [
        algorithm.value for algorithm in algorithms.WrappingAlgorithm
    ]


@pytest.mark.parametrize("algorithm", WrappingAlgorithm)
@pytest.mark.parametrize("spec", [*RAW_SPECS, *DER_SPECS])
def test_the_service_opens_what_is_wrapped_here(spec: KeySpec, algorithm: WrappingAlgorithm) -> None:
    theirs = algorithms.WrappingAlgorithm(algorithm.value)
    content = os.urandom(spec.material_bytes) if spec in RAW_SPECS else pkcs8(key_of(spec))
    material = read_key_material(content)
    assert spec.name in material.key_specs
    if not combines(spec, WrappingSpec.RSA_2048, theirs):
        with pytest.raises(KeyMaterialError, match="takes at most") as caught:
            wrap_key_material(material, public_der(wrapping_key()), algorithm)
        assert "RSA_AES_KEY_WRAP_SHA_256" in (caught.value.hint or "")
        return
    wrapped = wrap_key_material(material, public_der(wrapping_key()), algorithm)
    assert canonical_material(spec, unwrap(wrapping_key(), theirs, wrapped, os.urandom))


@pytest.mark.parametrize("spec", DER_SPECS)
def test_a_private_key_is_read_however_it_is_written(spec: KeySpec) -> None:
    key = key_of(spec)
    expected = KeyMaterial(pkcs8(key), (spec.name,))
    assert read_key_material(pkcs8(key)) == expected
    assert read_key_material(pkcs8(key), form=KeyFileForm.DER) == expected
    for pem in (pkcs8(key, encoding=Encoding.PEM), b"a word before\n" + pkcs8(key, encoding=Encoding.PEM) + b"\n"):
        assert read_key_material(pem) == expected
        assert read_key_material(pem, form=KeyFileForm.PEM) == expected
    for encoding in (Encoding.DER, Encoding.PEM):
        encrypted = pkcs8(key, password=PASSPHRASE, encoding=encoding)
        assert read_key_material(encrypted, passphrase=PASSPHRASE) == expected


@pytest.mark.parametrize("spec", [*RSA_SPECS, *CURVES])
def test_the_older_forms_are_converted(spec: KeySpec) -> None:
    key = key_of(spec)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    for encoding in (Encoding.DER, Encoding.PEM):
        assert read_key_material(traditional(key, encoding)).content == pkcs8(key)


def test_what_openssl_writes_beside_a_curve_key_is_no_trouble(tmp_path: Path) -> None:
    made = subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey"], check=True, capture_output=True
    ).stdout
    assert made.count(b"-----BEGIN") == 2
    assert read_key_material(made).key_specs == ("ECC_NIST_P256",)


@pytest.mark.parametrize(
    ("size", "specs"),
    [
        (28, ("HMAC_224",)),
        (32, ("SYMMETRIC_DEFAULT", "HMAC_224", "HMAC_256")),
        (48, ("HMAC_224", "HMAC_256", "HMAC_384")),
        (64, ("HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512")),
        (128, ("HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512")),
    ],
)
def test_raw_keys_say_where_they_fit(size: int, specs: tuple[str, ...]) -> None:
    content = b"\x00" + os.urandom(size - 1)
    assert read_key_material(content) == KeyMaterial(content, specs)
    assert read_key_material(content, form=KeyFileForm.RAW) == KeyMaterial(content, specs)


def test_a_material_does_not_show_itself() -> None:
    content = bytes(range(32))
    shown = repr(read_key_material(content))
    assert content.hex() not in shown
    assert "\\x01" not in shown


# Refused


@pytest.mark.parametrize("size", [1, 16, 27, 129, 256])
def test_raw_keys_of_other_sizes_are_refused(size: int) -> None:
    content = b"\x00" * size
    assert "no private key in PEM or DER" in message(content)
    assert "no private key in PEM or DER" in message(content, form=KeyFileForm.RAW)


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_text_is_not_taken_for_a_key(size: int, end: bytes) -> None:
    key = os.urandom(size - 1) + b"\xff"
    assert message(key.hex().encode() + end) == f"the key file looks like {size} bytes in hexadecimal"
    assert message(key.hex().upper().encode() + end) == f"the key file looks like {size} bytes in hexadecimal"
    assert message(base64.b64encode(key) + end) == f"the key file looks like {size} bytes in base64"


def test_text_is_taken_when_it_is_said_to_be_raw() -> None:
    assert read_key_material(b"0" * 32, form=KeyFileForm.RAW).content == b"0" * 32


def test_what_is_no_key_file_is_refused() -> None:
    assert message(b"") == "the key file is empty"
    assert "longer than 65,536 bytes" in message(bytes(65_537))
    pem = pkcs8(rsa_key(), encoding=Encoding.PEM)
    assert message(pem[:-20]) == "the key file has no complete PEM block"
    assert message(pem[30:], form=KeyFileForm.PEM) == "the key file has no complete PEM block"
    assert message(pem + pkcs8(ec_key(KeySpec.ECC_NIST_P256), encoding=Encoding.PEM)) == (
        "the key file has several PEM blocks"
    )
    assert "it is no private key" in message(b"\x30\x03\x02\x01\x00")
    assert "it is no private key" in message(b"rubbish", form=KeyFileForm.DER)
    assert "it is no private key" in message(pkcs8(rsa_key()) + b"\x00", form=KeyFileForm.DER)
    damaged = pem.replace(pem[200:210], b"AAAAAAAAAA")
    assert "cannot be read" in message(damaged)


def test_public_keys_and_certificates_are_told_apart() -> None:
    key = rsa_key()
    public = key.public_key()
    assert message(public_der(key)) == "the key file holds a public key, not a private key"
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert message(pem) == "the key file holds a public key, not a private key"
    block = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    assert message(block) == "the key file holds a certificate, not a private key"


def test_openssh_keys_are_told_how_to_become_others() -> None:
    pem = ec_key(KeySpec.ECC_NIST_P256).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    assert message(pem) == "the key file is one of OpenSSH"


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_passphrases_are_asked_for_and_checked(encoding: Encoding) -> None:
    key = ec_key(KeySpec.ECC_NIST_P256)
    encrypted = pkcs8(key, password=PASSPHRASE, encoding=encoding)
    assert message(encrypted) == "the private key is encrypted"
    assert "the passphrase is wrong" in message(encrypted, passphrase=b"wrong")
    plain = pkcs8(key, encoding=encoding)
    assert message(plain, passphrase=PASSPHRASE) == "there is a passphrase, and the private key is not encrypted"
    older = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(PASSPHRASE))
    assert message(older) == "the private key is encrypted"
    assert read_key_material(older, passphrase=PASSPHRASE).content == pkcs8(key)


def test_keys_without_a_spec_are_refused() -> None:
    strangers: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey] = {
        "an RSA key of 2056 bits": rsa.generate_private_key(65_537, 2056),
        "a key on the curve brainpoolP256r1": ec.generate_private_key(ec.BrainpoolP256R1()),
        "a key of a kind": ed448.Ed448PrivateKey.generate(),
    }
    for kind, key in strangers.items():
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        assert message(der) == f"the key file holds {kind} for which there is no key spec"
    for other in (x25519.X25519PrivateKey.generate(), dsa.generate_private_key(2048)):
        assert "there is no key spec" in message(other.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.parametrize("algorithm", WrappingAlgorithm)
def test_the_wrapping_key_is_checked(algorithm: WrappingAlgorithm) -> None:
    material = KeyMaterial(bytes(32), ("SYMMETRIC_DEFAULT",))
    small = rsa.RSAPublicNumbers(65_537, (1 << 1023) + 1).public_key()
    unfit = [
        b"",
        b"key",
        public_der(wrapping_key()) + b"\x00",
        public_der(ec_key(KeySpec.ECC_NIST_P256)),
        small.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ]
    for public_key in unfit:
        with pytest.raises(KeyMaterialError, match="not an RSA key of 2048, 3072 or 4096 bits"):
            wrap_key_material(material, public_key, algorithm)


def test_every_wrapping_has_its_own_aes_key() -> None:
    material = KeyMaterial(bytes(32), ("SYMMETRIC_DEFAULT",))
    drawn: list[int] = []

    def random(size: int) -> bytes:
        drawn.append(size)
        return os.urandom(size)

    algorithm = WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256
    public = public_der(wrapping_key())
    wrapped = {wrap_key_material(material, public, algorithm, random=random)[256:] for _ in range(5)}
    assert len(wrapped) == 5
    assert drawn == [32] * 5


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([None, *KeyFileForm]), st.sampled_from([None, PASSPHRASE]))
def test_any_file_is_read_or_refused(content: bytes, form: KeyFileForm | None, passphrase: bytes | None) -> None:
    try:
        material = read_key_material(content, form=form, passphrase=passphrase)
    except KeyMaterialError:
        return
    assert material.content == content
    assert material.key_specs
