"""What keys of the token do, one mechanism each, and how a key is recognised. Everything raises `PKCS11Error`."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import pkcs11
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import KDF, MGF, Attribute, GCMParams, KeyType, Mechanism, MechanismFlag
from pkcs11.types import MechanismInfo

from kagitori_keystore.algorithms import Digest, KeyFamily, KeySpec, SigningScheme
from kagitori_keystore.base import RequestRefused, StoreLost
from kagitori_keystore.ciphertext import TAG_BYTES
from kagitori_keystore.pkcs11.mechanisms import MAC_MECHANISMS, SIGNING_MECHANISMS
from kagitori_keystore.pkcs11.objects import Handle, handle_of, spki_of
from kagitori_keystore.pkcs11.references import IV_BYTES

_HASHES: dict[Digest, tuple[Mechanism, MGF]] = {
    Digest.SHA_1: (Mechanism.SHA_1, MGF.SHA1),
    Digest.SHA_256: (Mechanism.SHA256, MGF.SHA256),
    Digest.SHA_384: (Mechanism.SHA384, MGF.SHA384),
    Digest.SHA_512: (Mechanism.SHA512, MGF.SHA512),
}
_DIGEST_INFOS: dict[Digest, bytes] = {
    Digest.SHA_256: bytes.fromhex("3031300d060960864801650304020105000420"),
    Digest.SHA_384: bytes.fromhex("3041300d060960864801650304020205000430"),
    Digest.SHA_512: bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""RFC 8017 section 9.2, note 1: DER of DigestInfo up to the digest."""
OAEP_HASHES: dict[Digest, HashAlgorithm] = {
    Digest.SHA_1: SHA1(),  # noqa: S303  (OAEP needs no collision resistance, and AWS offers it)
    Digest.SHA_256: SHA256(),
}
"""The hashes of RSAES-OAEP that are looked for in a token."""
_TRIAL_BITS = (1024, 2048)
_CHECK = b"kagitori pkcs11 check v1\x00"
_CHECK_BLOCK = bytes(16)


def random_bytes(session: pkcs11.Session, size: int) -> bytes:
    """From the token's own generator."""
    return session.generate_random(size * 8)


def encrypt(session: pkcs11.Session, handle: Handle, aad: bytes, plaintext: bytes) -> bytes:
    """AES-GCM under a fresh random IV of the token: IV, ciphertext, tag."""
    iv = random_bytes(session, IV_BYTES)
    sealed: bytes = handle.on(session).encrypt(plaintext, **_gcm(iv, aad))
    if len(sealed) != len(plaintext) + TAG_BYTES:
        raise StoreLost("the token's AES-GCM gives another size")
    return iv + sealed


def decrypt(session: pkcs11.Session, handle: Handle, aad: bytes, iv: bytes, sealed: bytes) -> bytes:
    """The plaintext. A wrong tag is whatever error the module has for it."""
    if len(iv) != IV_BYTES or len(sealed) < TAG_BYTES:
        raise RequestRefused("an IV has 12 bytes and a tag 16")  # modules take an empty IV without a word
    plaintext: bytes = handle.on(session).decrypt(sealed, **_gcm(iv, aad))
    return plaintext


def _gcm(iv: bytes, aad: bytes) -> dict[str, Any]:
    return {"mechanism": Mechanism.AES_GCM, "mechanism_param": GCMParams(iv, aad, TAG_BYTES * 8)}


def mac(session: pkcs11.Session, handle: Handle, digest: Digest | None, message: bytes) -> bytes:
    """HMAC of a message."""
    made: bytes = handle.on(session).sign(message, mechanism=MAC_MECHANISMS[digest])
    return made


def sign(session: pkcs11.Session, handle: Handle, scheme: SigningScheme, digest: Digest, message: bytes) -> bytes:
    """A signature of a digest (for Ed25519 of a message), as AWS has it: DER for ECDSA."""
    parameters: Any = None
    if scheme is SigningScheme.PKCS1:
        message = _DIGEST_INFOS[digest] + message
    elif scheme is SigningScheme.PSS:
        parameters = (*_HASHES[digest], digest.size)
    signature: bytes = handle.on(session).sign(
        message, mechanism=SIGNING_MECHANISMS[scheme], mechanism_param=parameters
    )
    if scheme is SigningScheme.ECDSA:
        half = len(signature) // 2
        return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
    return signature


def decrypt_oaep(session: pkcs11.Session, handle: Handle, digest: Digest, ciphertext: bytes) -> bytes:
    """RSAES-OAEP without a label."""
    plaintext: bytes = handle.on(session).decrypt(
        ciphertext, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=(*_HASHES[digest], None)
    )
    return plaintext


def agree(session: pkcs11.Session, handle: Handle, spec: KeySpec, point: bytes) -> bytes:
    """The x coordinate of a Diffie-Hellman secret. Makes and destroys an object: needs the catalogue's lock."""
    size = (spec.bits + 7) // 8
    secret = handle.on(session).derive_key(
        KeyType.GENERIC_SECRET, size * 8,
        mechanism=Mechanism.ECDH1_DERIVE, mechanism_param=(KDF.NULL, None, point),
        template={Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )  # fmt: skip
    try:
        value: bytes = secret[Attribute.VALUE]
    finally:
        secret.destroy()
    if len(value) != size:
        raise StoreLost("the token's Diffie-Hellman gives another size")
    return value


# How a key is recognised


def check_value(session: pkcs11.Session, handle: Handle, spec: KeySpec, object_id: bytes, spki: bytes) -> bytes:
    """What to keep of a new key, so that it is known again."""
    if spec.family is KeyFamily.SYMMETRIC:
        return encrypt(session, handle, _CHECK + object_id, _CHECK_BLOCK)
    if spec.family is KeyFamily.HMAC:
        return mac(session, handle, spec.digest, _CHECK + object_id)
    return spki


def is_the_key(session: pkcs11.Session, handle: Handle, spec: KeySpec, object_id: bytes, check: bytes) -> bool:
    """Whether the key behind a handle is the one of which `check` was kept."""
    if spec.family is KeyFamily.SYMMETRIC:
        iv, sealed = check[:IV_BYTES], check[IV_BYTES:]
        return decrypt(session, handle, _CHECK + object_id, iv, sealed) == _CHECK_BLOCK
    if spec.family is KeyFamily.HMAC:
        return hmac.compare_digest(mac(session, handle, spec.digest, _CHECK + object_id), check)
    return _signs_for(session, handle, check)


def _signs_for(session: pkcs11.Session, handle: Handle, spki: bytes) -> bool:
    challenge = random_bytes(session, Digest.SHA_256.size)
    prehashed = Prehashed(SHA256())
    try:
        public = load_der_public_key(spki)
        if isinstance(public, RSAPublicKey):
            signature = sign(session, handle, SigningScheme.PKCS1, Digest.SHA_256, challenge)
            public.verify(signature, challenge, PKCS1v15(), prehashed)
        elif isinstance(public, EllipticCurvePublicKey):
            signature = sign(session, handle, SigningScheme.ECDSA, Digest.SHA_256, challenge)
            public.verify(signature, challenge, ECDSA(prehashed))
        elif isinstance(public, Ed25519PublicKey):
            public.verify(sign(session, handle, SigningScheme.ED25519, Digest.SHA_512, challenge), challenge)
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def oaep_of(mechanisms: Mapping[int, MechanismInfo], session: pkcs11.Session) -> frozenset[Digest]:
    """The hashes with which a token decrypts RSAES-OAEP, tried with a small key pair that lives for a moment: lists of
    mechanisms don't name them."""
    if Mechanism.RSA_PKCS_OAEP not in mechanisms or Mechanism.RSA_PKCS_KEY_PAIR_GEN not in mechanisms:
        return frozenset()
    for bits in _TRIAL_BITS:
        try:
            public, private = session.generate_keypair(
                KeyType.RSA, bits, store=False, capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )
            spki, handle = spki_of(KeySpec.RSA_2048, public), handle_of(private)
            found = frozenset(digest for digest in OAEP_HASHES if opens_oaep(session, handle, digest, spki))
            public.destroy()
            private.destroy()
        except pkcs11.PKCS11Error:
            continue  # keys of this size are not made there
        return found
    return frozenset()


def opens_oaep(session: pkcs11.Session, handle: Handle, digest: Digest, spki: bytes) -> bool:
    """Whether the token decrypts RSAES-OAEP with this hash, which no list of mechanisms says."""
    public = load_der_public_key(spki)
    if not isinstance(public, RSAPublicKey):
        return False
    hashing = OAEP_HASHES[digest]
    ciphertext = public.encrypt(_CHECK_BLOCK, OAEP(MGF1(hashing), hashing, None))
    try:
        return decrypt_oaep(session, handle, digest, ciphertext) == _CHECK_BLOCK
    except pkcs11.PKCS11Error:
        return False
