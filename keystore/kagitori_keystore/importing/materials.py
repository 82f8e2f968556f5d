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
    key = _load(unwrapped)
    # A spec without a row is one that this library does not know.
    if not isinstance(key, _SEEDED_KEYS) or not isinstance(key, _SEEDED.get(spec, ())):
        raise _wrong()
    return bytearray(key.private_bytes_raw())


def _load(unwrapped: bytes) -> PrivateKeyTypes:
    """The one private key that `unwrapped` is the PKCS#8 of, its parts checked against each other."""
    if len(unwrapped) > _PKCS8_MAX_BYTES:
        raise _wrong()
    try:
        info = asn1.decode_der(_PrivateKeyInfo, unwrapped)
        key = load_der_private_key(unwrapped, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        # TypeError: it is encrypted. InternalError: an Edwards seed of another length. No cause: its frames hold
        # the key, and messages may quote from it.
        raise _wrong() from None
    if info.version != 0:
        raise _wrong()
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
