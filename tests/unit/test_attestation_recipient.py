"""CiphertextForRecipient: the bytes AWS KMS would answer, and what OpenSSL makes of them."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.support.attestations import NOW, enclave_key, hypervisor, spki

from kagitori_server.attestation import (
    AttestationFault,
    AttestationRefused,
    AttestationVerifier,
    ciphertext_for_recipient,
)

# What surrounds key identifier, encrypted key, vector and ciphertext in an answer of AWS KMS to a 2048-bit key
# and a ciphertext of 48 bytes; from the public examples of the Nitro Enclaves SDKs.
BEFORE_IDENTIFIER = "3080 06092a864886f70d010703 a080 3080 020102 3182016b 30820167 020102 8020"
BEFORE_KEY = (
    "303c 06092a864886f70d010107 302f a00f 300d 0609608648016503040201 0500"
    " a11c 301a 06092a864886f70d010108 300d 0609608648016503040201 0500 04820100"
)
BEFORE_VECTOR = "3080 06092a864886f70d010701 301d 060960864801650304012a 0410"
BEFORE_CIPHERTEXT = "a080 0430"
END = "0000 0000 0000 0000 0000"


def take(data: bytes, expected: str) -> bytes:
    """What follows the expected bytes (hexadecimal)."""
    prefix = bytes.fromhex(expected)
    assert data[: len(prefix)].hex() == prefix.hex()
    return data[len(prefix) :]


def test_the_answer_is_laid_out_as_aws_lays_it_out() -> None:
    key = spki(enclave_key())
    rest = take(ciphertext_for_recipient(key, bytes(40), os.urandom), BEFORE_IDENTIFIER)
    rest = take(rest, hashlib.sha256(key).hexdigest())
    rest = take(rest, BEFORE_KEY)[256:]
    rest = take(rest, BEFORE_VECTOR)[16:]
    rest = take(rest, BEFORE_CIPHERTEXT)[48:]
    assert take(rest, END) == b""


def test_every_answer_has_its_own_key_and_vector() -> None:
    drawn: list[int] = []

    def random(size: int) -> bytes:
        drawn.append(size)
        return os.urandom(size)

    answers = {ciphertext_for_recipient(spki(enclave_key()), b"plaintext", random) for _ in range(20)}
    assert len(answers) == 20
    assert drawn == [32, 16] * 20


@pytest.mark.parametrize("public_key", [b"", b"key", spki(ec.generate_private_key(ec.SECP384R1()))])
def test_only_rsa_keys_are_answered_to(public_key: bytes) -> None:
    with pytest.raises(AttestationRefused) as caught:
        ciphertext_for_recipient(public_key, b"plaintext", os.urandom)
    assert caught.value.fault is AttestationFault.PUBLIC_KEY


@pytest.fixture
def openssl() -> str:
    path = shutil.which("openssl")
    assert path is not None, "openssl is needed: tests/install-system-packages"
    return path


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
@pytest.mark.parametrize("size", [1, 15, 16, 32, 1024, 4096])
def test_openssl_opens_it_with_the_private_key(openssl: str, tmp_path: Path, bits: int, size: int) -> None:
    plaintext = os.urandom(size)
    key = enclave_key(bits)
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    envelope = ciphertext_for_recipient(spki(key), plaintext, os.urandom)
    opened = subprocess.run(
        [openssl, "cms", "-decrypt", "-binary", "-inform", "DER", "-inkey", tmp_path / "key.pem"],
        input=envelope,
        capture_output=True,
        check=True,
    )
    assert opened.stdout == plaintext


def test_openssl_finds_the_recipient_by_key_identifier(openssl: str, tmp_path: Path) -> None:
    key = enclave_key()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    envelope = ciphertext_for_recipient(spki(key), b"plaintext", os.urandom)
    for identifier, found in ((hashlib.sha256(spki(key)).digest(), True), (bytes(32), False)):
        (tmp_path / "recipient.pem").write_bytes(certificate(identifier))
        command = [openssl, "cms", "-decrypt", "-binary", "-inform", "DER"]
        command += ["-inkey", str(tmp_path / "key.pem"), "-recip", str(tmp_path / "recipient.pem")]
        opened = subprocess.run(command, input=envelope, capture_output=True, check=False)
        assert (opened.returncode == 0) is found
        assert (opened.stdout == b"plaintext") is found


def test_a_verified_document_can_be_answered(openssl: str, tmp_path: Path) -> None:
    attestation = AttestationVerifier(hypervisor().roots).verify(hypervisor().document(), NOW)
    envelope = ciphertext_for_recipient(attestation.public_key, b"for the enclave", os.urandom)
    private = enclave_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    command = [openssl, "cms", "-decrypt", "-binary", "-inform", "DER", "-inkey", str(tmp_path / "key.pem")]
    opened = subprocess.run(command, input=envelope, capture_output=True, check=True)
    assert opened.stdout == b"for the enclave"


def certificate(identifier: bytes) -> bytes:
    """A certificate (PEM) for the enclave's key that carries a subject key identifier."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "enclave")])
    start = dt.datetime.fromtimestamp(NOW, dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(enclave_key().public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier(identifier), critical=False)
    )
    return built.sign(enclave_key(), hashes.SHA256()).public_bytes(Encoding.PEM)
