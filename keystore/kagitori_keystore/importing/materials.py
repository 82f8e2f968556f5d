"""Judges unwrapped bytes: exactly one private key of the spec, or refused. Makes them canonical.

The forms are AWS's ("Requirements for imported key material"):

    SYMMETRIC_DEFAULT  32 bytes
    HMAC_*             as many bytes as the spec's digest has, up to 128
    RSA_*              DER of PKCS#8 (RFC 5208): two primes of equal size, public exponent 65,537
    ECC_*              DER of PKCS#8: a named curve; the public point may be missing, or be compressed
    ML_DSA_*, ML_KEM_* DER of PKCS#8 with the seed (RFC 9881, RFC 9935), a form that AWS does not take yet

A key whose parts contradict each other is refused, as is anything around or behind it: RSA parts that do not
belong together, a public point that is another key's, parameters that name another curve.

Canonical is what the key itself says, in `algorithms.MaterialForm`, whatever way of writing it came in, so that a
key imported again has the same material id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from kagitori_keystore.algorithms import KeyFamily, KeySpec
from kagitori_keystore.base import ImportFault, ImportRefused

_PKCS8_MAX_BYTES = 4096
_PUBLIC_EXPONENT = 65_537

_CURVES: dict[KeySpec, type[ec.EllipticCurve]] = {
    KeySpec.ECC_NIST_P256: ec.SECP256R1,
    KeySpec.ECC_NIST_P384: ec.SECP384R1,
    KeySpec.ECC_NIST_P521: ec.SECP521R1,
    KeySpec.ECC_SECG_P256K1: ec.SECP256K1,
}
_SEEDED = {
    KeySpec.ECC_NIST_EDWARDS25519: ed25519.Ed25519PrivateKey,
    KeySpec.ML_DSA_44: mldsa.MLDSA44PrivateKey,
    KeySpec.ML_DSA_65: mldsa.MLDSA65PrivateKey,
    KeySpec.ML_DSA_87: mldsa.MLDSA87PrivateKey,
    KeySpec.ML_KEM_768: mlkem.MLKEM768PrivateKey,
    KeySpec.ML_KEM_1024: mlkem.MLKEM1024PrivateKey,
}
_SEEDED_KEYS = (
    ed25519.Ed25519PrivateKey,
    mldsa.MLDSA44PrivateKey,
    mldsa.MLDSA65PrivateKey,
    mldsa.MLDSA87PrivateKey,
    mlkem.MLKEM768PrivateKey,
    mlkem.MLKEM1024PrivateKey,
)


# RFC 9935, which the library doesn't know for this parameter set: tag and content of an AlgorithmIdentifier with
# id-alg-ml-kem-512 (2.16.840.1.101.3.4.4.1) and no parameters, and what is before a seed, [0] of 64 bytes.
_ML_KEM_512_ALGORITHM = (b"\x30", bytes.fromhex("0609608648016503040401"))
_ML_KEM_512_SEED = bytes.fromhex("8040")


@asn1.sequence
class _PrivateKeyInfo:
    """RFC 5208 section 5; loading alone would take the older forms of RSA and EC keys as well."""

    version: int
    algorithm: asn1.TLV
    private_key: bytes
    attributes: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]


def canonical_material(spec: KeySpec, unwrapped: bytes) -> bytearray:
    """The material as stores keep it, in a new buffer that the caller overwrites.

    Raises `ImportRefused` (WRONG_SHAPE).
    """
    return _READERS[spec.family](spec, unwrapped)


def _raw(spec: KeySpec, unwrapped: bytes) -> bytearray:
    if not spec.material_may_have(len(unwrapped)):
        raise _wrong()
    return bytearray(unwrapped)


def _rsa(spec: KeySpec, unwrapped: bytes) -> bytearray:
    key = _load(unwrapped)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _wrong()
    numbers = key.private_numbers()
    public = numbers.public_numbers
    if public.n.bit_length() != spec.bits or public.e != _PUBLIC_EXPONENT:
        raise _wrong()
    p, q = max(numbers.p, numbers.q), min(numbers.p, numbers.q)
    if p.bit_length() != spec.bits // 2 or q.bit_length() != spec.bits // 2:
        raise _wrong()
    # The same key can be written with its primes exchanged, and with another private exponent (RFC 8017 section
    # 3.2 lets it be any inverse): what follows from the greater prime, and the least exponent, are written here.
    d = rsa.rsa_recover_private_exponent(public.e, p, q)
    parts = (p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    # Of the key just validated the numbers are computed, so they need no second, slow validation.
    return _pkcs8(rsa.RSAPrivateNumbers(*parts, public).private_key(unsafe_skip_rsa_key_validation=True))


def _elliptic(spec: KeySpec, unwrapped: bytes) -> bytearray:
    key = _load(unwrapped)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, _CURVES[spec]):
        raise _wrong()
    return _pkcs8(key)


def _seeded(spec: KeySpec, unwrapped: bytes) -> bytearray:
    if spec is KeySpec.ML_KEM_512:
        return _ml_kem_512(spec, unwrapped)
    key = _load(unwrapped)
    if not isinstance(key, _SEEDED_KEYS) or not isinstance(key, _SEEDED[spec]):
        raise _wrong()
    return bytearray(key.private_bytes_raw())


def _ml_kem_512(spec: KeySpec, unwrapped: bytes) -> bytearray:
    """Of RFC 9935's three forms the seed alone, as for the other parameter sets. Every seed of that size is a key."""
    info = _info(unwrapped)
    head, seed = info.private_key[: len(_ML_KEM_512_SEED)], bytearray(info.private_key[len(_ML_KEM_512_SEED) :])
    algorithm = (bytes(info.algorithm.tag_bytes), bytes(info.algorithm.data))
    if (algorithm, head, len(seed)) != (_ML_KEM_512_ALGORITHM, _ML_KEM_512_SEED, spec.material_bytes):
        raise _wrong()
    return seed


def _info(unwrapped: bytes) -> _PrivateKeyInfo:
    if len(unwrapped) > _PKCS8_MAX_BYTES:
        raise _wrong()
    try:
        info = asn1.decode_der(_PrivateKeyInfo, unwrapped)
    except ValueError:
        # As in `_load`.
        raise _wrong() from None
    if info.version != 0:
        raise _wrong()
    return info


def _load(unwrapped: bytes) -> PrivateKeyTypes:
    """The one private key that `unwrapped` is the PKCS#8 of, its parts checked against each other."""
    info = _info(unwrapped)
    try:
        key = load_der_private_key(unwrapped, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        # TypeError: it is encrypted. InternalError: an Edwards seed of another length. No cause: its frames hold
        # the key, and messages may quote from it.
        raise _wrong() from None
    # A key that says it is for one use alone, as RSA keys for PSS do (RFC 4055), would lose that here.
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    if asn1.decode_der(_PrivateKeyInfo, plain).algorithm.data != info.algorithm.data:
        raise _wrong()
    return key


def _pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytearray:
    return bytearray(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _wrong() -> ImportRefused:
    return ImportRefused(ImportFault.WRONG_SHAPE)


_READERS: dict[KeyFamily, Callable[[KeySpec, bytes], bytearray]] = {
    KeyFamily.SYMMETRIC: _raw,
    KeyFamily.HMAC: _raw,
    KeyFamily.RSA: _rsa,
    KeyFamily.ECC_NIST: _elliptic,
    KeyFamily.ECC_SECG: _elliptic,
    KeyFamily.EDWARDS: _seeded,
    KeyFamily.ML_DSA: _seeded,
    KeyFamily.ML_KEM: _seeded,
}
