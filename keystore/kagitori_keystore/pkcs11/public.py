"""Public operations of keys whose private half lies in a token: done here, by the key's SubjectPublicKeyInfo.

That key is part of the reference, which the token's binding key authenticates: no secret is used, the token is spared,
and tokens differ in none of it.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from kagitori_keystore.algorithms import PUBLIC_KEY_MAX_BYTES, AsymmetricEncryptionAlgorithm
from kagitori_keystore.base import MaterialCorrupt, PublicKeyInvalid, RequestRefused
from kagitori_keystore.software.abilities import Signable
from kagitori_keystore.software.ecc import ECDSA_HASHES
from kagitori_keystore.software.encodings import MESSAGE_HASHES
from kagitori_keystore.software.rsa import OAEP_PADDINGS, SIGNATURE_PADDINGS

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


def load(spki: bytes) -> PublicKey:
    """The public key of a reference that verified. Raises `MaterialCorrupt`."""
    try:
        key = load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MaterialCorrupt("a reference to a token's key holds no public key") from None
    if not isinstance(key, PublicKey):
        raise MaterialCorrupt("a reference to a token's key holds no public key")
    return key


def verify(key: PublicKey, what: Signable, signature: bytes) -> bool:
    """Whether the signature is right; False, too, if it is malformed."""
    algorithm, form = what.algorithm, what.form
    try:
        if isinstance(key, RSAPublicKey):
            if len(signature) != key.key_size // 8:  # RFC 8017 section 8.1.2, step 1: OpenSSL leaves it out for PSS
                return False
            key.verify(signature, what.message, SIGNATURE_PADDINGS[algorithm], MESSAGE_HASHES[algorithm, form])
        elif isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, what.message, ECDSA_HASHES[algorithm, form])
        else:
            key.verify(signature, what.message)
    except InvalidSignature:
        return False
    return True


def encrypt(key: PublicKey, algorithm: AsymmetricEncryptionAlgorithm, plaintext: bytes) -> bytes:
    """RSAES-OAEP."""
    if not isinstance(key, RSAPublicKey):
        raise RequestRefused("the key does not encrypt")
    return key.encrypt(plaintext, OAEP_PADDINGS[algorithm])


def peer_point(key: PublicKey, peer: bytes) -> bytes:
    """The uncompressed point of a peer's public key on the curve of `key` (SP 800-56A section 5.6.2.3.3).

    Raises `PublicKeyInvalid`; the library refuses points off their curve and infinity, and these curves have
    cofactor 1.
    """
    if len(peer) > PUBLIC_KEY_MAX_BYTES or not isinstance(key, EllipticCurvePublicKey):
        raise PublicKeyInvalid
    try:
        found = load_der_public_key(peer)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PublicKeyInvalid from None
    if not isinstance(found, EllipticCurvePublicKey) or found.curve.name != key.curve.name:
        raise PublicKeyInvalid
    # The same curve spelt out as explicit parameters is longer; RFC 5480 forbids it.
    if len(peer) > len(found.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)):
        raise PublicKeyInvalid
    return found.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
