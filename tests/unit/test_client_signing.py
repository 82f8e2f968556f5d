"""What is sent of a message to be signed, and the text form of keys."""

from __future__ import annotations

import hashlib
import io
import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kagitori.kms.v1.resources_pb2 import MessageType, SigningAlgorithm
from kagitori_client.cli.pem import PRIVATE, PUBLIC, KeyForm, public_key, written
from kagitori_client.errors import InvalidPublicKey, MessageLength
from kagitori_client.signing import digest_name, hashed_form, signable

ML_DSA = SigningAlgorithm.SIGNING_ALGORITHM_ML_DSA_SHAKE_256
ED25519 = SigningAlgorithm.SIGNING_ALGORITHM_ED25519_SHA_512
SPKI = Encoding.DER, PublicFormat.SubjectPublicKeyInfo


class Trickle:
    """A stream that gives a few bytes at a time, as pipes do."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    def read(self, size: int) -> bytes:
        given, self._left = self._left[: min(size, 700)], self._left[min(size, 700) :]
        return given


def never() -> bytes:
    pytest.fail("the public key is not needed")


HASHED = {
    "RSASSA_PSS_SHA_256": "sha256", "RSASSA_PSS_SHA_384": "sha384", "RSASSA_PSS_SHA_512": "sha512",
    "RSASSA_PKCS1_V1_5_SHA_256": "sha256", "RSASSA_PKCS1_V1_5_SHA_384": "sha384",
    "RSASSA_PKCS1_V1_5_SHA_512": "sha512", "ECDSA_SHA_256": "sha256", "ECDSA_SHA_384": "sha384",
    "ECDSA_SHA_512": "sha512", "ED25519_PH_SHA_512": "sha512",
}


def test_the_hash_of_every_algorithm() -> None:
    """Those that sign hashes, and those that don't: nothing of the contract is left out."""
    for name, number in SigningAlgorithm.items():
        assert digest_name(number) == HASHED.get(name.removeprefix("SIGNING_ALGORITHM_")), name


@pytest.mark.parametrize("name", HASHED)
@pytest.mark.parametrize("size", [0, 1, 4096, 5000, (1 << 20) + 1])
def test_messages_are_hashed(name: str, size: int) -> None:
    """However long, and also if they come in pieces."""
    content = os.urandom(size)
    algorithm = SigningAlgorithm.Value(f"SIGNING_ALGORITHM_{name}")
    digest = hashlib.new(HASHED[name], content).digest()
    for reader in (io.BytesIO(content), Trickle(content)):
        prepared = signable(reader, algorithm, never)
        assert (prepared.message, prepared.message_type) == (digest, MessageType.MESSAGE_TYPE_DIGEST)
    assert hashed_form(algorithm) == (MessageType.MESSAGE_TYPE_DIGEST, len(digest))
    assert digest.hex() not in repr(prepared)


@pytest.mark.parametrize(
    "make", [mldsa.MLDSA44PrivateKey, mldsa.MLDSA65PrivateKey, mldsa.MLDSA87PrivateKey], ids=lambda kind: kind.__name__
)
def test_representatives_of_ml_dsa(make: type[mldsa.MLDSA44PrivateKey]) -> None:
    """A signature over mu is one over the message, by the library's own verification."""
    key = make.generate()
    public = key.public_key()
    for size in (0, 4097, 10_000):
        content = os.urandom(size)
        for reader in (io.BytesIO(content), Trickle(content)):
            prepared = signable(reader, ML_DSA, lambda: public.public_bytes(*SPKI))
            assert prepared.message_type == MessageType.MESSAGE_TYPE_EXTERNAL_MU
            public.verify(key.sign_mu(prepared.message), content)
    for size in (1, 4096):
        content = os.urandom(size)
        prepared = signable(Trickle(content), ML_DSA, never)
        assert (prepared.message, prepared.message_type) == (content, MessageType.MESSAGE_TYPE_RAW)


def test_public_keys_of_other_kinds_make_no_representative() -> None:
    """Nor do truncated, longer or altered ones."""
    good = mldsa.MLDSA65PrivateKey.generate().public_key().public_bytes(*SPKI)
    smaller = mldsa.MLDSA44PrivateKey.generate().public_key().public_bytes(*SPKI)
    others = [
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(*SPKI),
        ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*SPKI),
        b"", good[:20], good[:-1], good + b"\x00", good[:22] + smaller[22:], smaller[:22] + good[22:],
    ]
    others += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(22)]
    for other in others:
        with pytest.raises(InvalidPublicKey):
            signable(io.BytesIO(), ML_DSA, lambda other=other: other)  # type: ignore[misc]  # a bound default


@pytest.mark.parametrize("size", [0, 4097])
def test_plain_ed25519_takes_short_messages_alone(size: int) -> None:
    with pytest.raises(MessageLength) as caught:
        signable(io.BytesIO(b"x" * size), ED25519, never)
    assert caught.value.hint
    assert "ED25519_PH_SHA_512" in caught.value.hint
    assert hashed_form(ED25519) is None


def test_text_of_keys() -> None:
    """What is written is read again, and what isn't one public key is refused."""
    der = ec.generate_private_key(ec.SECP521R1()).public_key().public_bytes(*SPKI)
    pem = written(der, PUBLIC, KeyForm.PEM)
    assert pem.startswith(b"-----BEGIN PUBLIC KEY-----\n")
    for form in (pem, pem.replace(b"\n", b"\r\n"), b"\n" + pem, der, written(der, PUBLIC, KeyForm.DER)):
        assert public_key(form) == der
    for wrong in (
        b"", b"x", pem + pem, b"junk\n" + pem, pem[:-9], written(der, PRIVATE, KeyForm.PEM),
        pem.replace(b"MI", b"M=I", 1), b"-----BEGIN PUBLIC KEY-----\nAAA\n-----END PUBLIC KEY-----\n",
    ):
        with pytest.raises(InvalidPublicKey):
            public_key(wrong)
