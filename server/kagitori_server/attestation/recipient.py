"""CiphertextForRecipient: a plaintext enveloped for the key of an attestation document.

It is a CMS EnvelopedData (RFC 5652 section 6) of version 2 with one recipient: RSAES-OAEP with SHA-256 and
MGF1-SHA-256 (RFC 3560), named by its subject key identifier, which AWS KMS computes as SHA-256 over the DER
SubjectPublicKeyInfo. The content is encrypted with AES-256-CBC and PKCS#7 padding; there is no authentication
in this format, so its reader has to trust the way it came (the TLS connection out of the enclave).

The outer levels have BER's indefinite length, as in what AWS KMS answers: the parser of
aws-nitro-enclaves-sdk-c takes no other. Everything inside is DER.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import ObjectIdentifier

from kagitori_server.attestation.errors import AttestationFault, AttestationRefused

RandomSource = Callable[[int], bytes]
"""Returns that many bytes fit for keys and initialisation vectors (`os.urandom` in production)."""

_MODULUS_BITS = range(2048, 4096 + 1)
_EXPONENTS = range(65_537, 1 << 256, 2)  # FIPS 186-5 section A.1.1: odd
_KEY_BYTES = 32
_BLOCK_BYTES = 16
_ENVELOPED_DATA = ObjectIdentifier("1.2.840.113549.1.7.3")
_DATA = ObjectIdentifier("1.2.840.113549.1.7.1")
_RSAES_OAEP = ObjectIdentifier("1.2.840.113549.1.1.7")
_MGF1 = ObjectIdentifier("1.2.840.113549.1.1.8")
_SHA256 = ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_AES256_CBC = ObjectIdentifier("2.16.840.1.101.3.4.1.42")
_VERSION = 2  # of both EnvelopedData and recipient, since the recipient is named by key identifier

_OPEN_SEQUENCE = b"\x30\x80"
_OPEN_CONTEXT_0 = b"\xa0\x80"
_END = b"\x00\x00"


@asn1.sequence
class _HashAlgorithm:
    algorithm: ObjectIdentifier
    parameters: asn1.Null


@asn1.sequence
class _MaskGeneration:
    algorithm: ObjectIdentifier
    parameters: _HashAlgorithm


@asn1.sequence
class _OaepParameters:
    hash_algorithm: Annotated[_HashAlgorithm, asn1.Explicit(0)]
    mask_generation: Annotated[_MaskGeneration, asn1.Explicit(1)]


@asn1.sequence
class _KeyEncryption:
    algorithm: ObjectIdentifier
    parameters: _OaepParameters


@asn1.sequence
class _KeyTransRecipient:
    version: int
    subject_key_identifier: Annotated[bytes, asn1.Implicit(0)]
    key_encryption: _KeyEncryption
    encrypted_key: bytes


@asn1.sequence
class _ContentEncryption:
    algorithm: ObjectIdentifier
    initialisation_vector: bytes


def recipient_key(public_key: bytes) -> rsa.RSAPublicKey:
    """The key of a DER SubjectPublicKeyInfo, of 2048 to 4096 bits. Raises `AttestationRefused` (PUBLIC_KEY)."""
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm, InternalError):
        key = None
    if not isinstance(key, rsa.RSAPublicKey):
        raise AttestationRefused(AttestationFault.PUBLIC_KEY, "the recipient's public key is not an RSA key")
    if key.key_size not in _MODULUS_BITS or key.public_numbers().e not in _EXPONENTS:
        raise AttestationRefused(AttestationFault.PUBLIC_KEY, "the recipient's RSA key is too small, or too large")
    # The library reads other forms as well, and the key identifier is a hash of this one.
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public_key:
        raise AttestationRefused(
            AttestationFault.PUBLIC_KEY, "the recipient's public key is in another form than X.509"
        )
    return key


def ciphertext_for_recipient(public_key: bytes, plaintext: bytes, random: RandomSource) -> bytes:
    """The envelope of `plaintext` for an RSA key (DER SubjectPublicKeyInfo, as in `Attestation.public_key`).

    Raises what `recipient_key` raises.
    """
    key = recipient_key(public_key)
    content_key, vector = random(_KEY_BYTES), random(_BLOCK_BYTES)
    recipient = _KeyTransRecipient(
        version=_VERSION,
        subject_key_identifier=hashlib.sha256(public_key).digest(),
        key_encryption=_rsaes_oaep_sha256(),
        encrypted_key=key.encrypt(content_key, OAEP(MGF1(hashes.SHA256()), hashes.SHA256(), None)),
    )
    padder = PKCS7(_BLOCK_BYTES * 8).padder()
    encryptor = Cipher(AES256(content_key), CBC(vector)).encryptor()
    ciphertext = encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()
    return b"".join(
        (
            _OPEN_SEQUENCE,  # ContentInfo
            asn1.encode_der(_ENVELOPED_DATA),
            _OPEN_CONTEXT_0,
            _OPEN_SEQUENCE,  # EnvelopedData
            asn1.encode_der(_VERSION),
            asn1.encode_der(asn1.SetOf([recipient])),
            _OPEN_SEQUENCE,  # EncryptedContentInfo
            asn1.encode_der(_DATA),
            asn1.encode_der(_ContentEncryption(algorithm=_AES256_CBC, initialisation_vector=vector)),
            _OPEN_CONTEXT_0,
            asn1.encode_der(ciphertext),
            _END * 5,
        )
    )


def _rsaes_oaep_sha256() -> _KeyEncryption:
    sha256 = _HashAlgorithm(algorithm=_SHA256, parameters=asn1.Null())
    return _KeyEncryption(
        algorithm=_RSAES_OAEP,
        parameters=_OaepParameters(
            hash_algorithm=sha256,
            mask_generation=_MaskGeneration(algorithm=_MGF1, parameters=sha256),
        ),
    )
