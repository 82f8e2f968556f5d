"""Private keys as users bring them: every part can be another than it should be.

The structures are written down once more from their RFCs, so that what the code under test takes apart was not put
together by it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509 import ObjectIdentifier

from kagitori_keystore.algorithms import KeySpec

Key = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
    | mlkem.MLKEM768PrivateKey
    | mlkem.MLKEM1024PrivateKey
)

CURVES: dict[KeySpec, tuple[ec.EllipticCurve, str]] = {
    KeySpec.ECC_NIST_P256: (ec.SECP256R1(), "1.2.840.10045.3.1.7"),
    KeySpec.ECC_NIST_P384: (ec.SECP384R1(), "1.3.132.0.34"),
    KeySpec.ECC_NIST_P521: (ec.SECP521R1(), "1.3.132.0.35"),
    KeySpec.ECC_SECG_P256K1: (ec.SECP256K1(), "1.3.132.0.10"),
}
RSA_SPECS = (KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096)
DER_SPECS = (
    *RSA_SPECS,
    *CURVES,
    KeySpec.ECC_NIST_EDWARDS25519,
    KeySpec.ML_DSA_44,
    KeySpec.ML_DSA_65,
    KeySpec.ML_DSA_87,
    KeySpec.ML_KEM_768,
    KeySpec.ML_KEM_1024,
)


@cache
def key_of(spec: KeySpec, number: int = 0) -> Key:
    """A key of a spec; the same for the same number, since some take long to make."""
    if spec in RSA_SPECS:
        return rsa.generate_private_key(65_537, spec.bits)
    if spec in CURVES:
        return ec.generate_private_key(CURVES[spec][0])
    others: dict[KeySpec, Callable[[], Key]] = {
        KeySpec.ECC_NIST_EDWARDS25519: ed25519.Ed25519PrivateKey.generate,
        KeySpec.ML_DSA_44: mldsa.MLDSA44PrivateKey.generate,
        KeySpec.ML_DSA_65: mldsa.MLDSA65PrivateKey.generate,
        KeySpec.ML_DSA_87: mldsa.MLDSA87PrivateKey.generate,
        KeySpec.ML_KEM_768: mlkem.MLKEM768PrivateKey.generate,
        KeySpec.ML_KEM_1024: mlkem.MLKEM1024PrivateKey.generate,
    }
    return others[spec]()


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    key = key_of(KeySpec[f"RSA_{bits}"])
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def ec_key(spec: KeySpec, number: int = 0) -> ec.EllipticCurvePrivateKey:
    key = key_of(spec, number)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def pkcs8(key: Key, *, password: bytes | None = None, encoding: Encoding = Encoding.DER) -> bytes:
    """PKCS#8, as the library writes it."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(encoding, PrivateFormat.PKCS8, encryption)


def traditional(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, encoding: Encoding = Encoding.DER) -> bytes:
    """The forms before PKCS#8: RFC 8017 appendix A.1.2, RFC 5915."""
    return key.private_bytes(encoding, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def point(key: ec.EllipticCurvePrivateKey, form: PublicFormat = PublicFormat.UncompressedPoint) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, form)


@asn1.sequence
class RsaAlgorithm:
    """AlgorithmIdentifier of RFC 8017."""

    algorithm: ObjectIdentifier
    parameters: asn1.Null


@asn1.sequence
class CurveAlgorithm:
    """AlgorithmIdentifier of RFC 5480, with a named curve."""

    algorithm: ObjectIdentifier
    parameters: ObjectIdentifier


@asn1.sequence
class PlainAlgorithm:
    """AlgorithmIdentifier without parameters, as of RFC 8410."""

    algorithm: ObjectIdentifier


Algorithm = RsaAlgorithm | CurveAlgorithm | PlainAlgorithm


@asn1.sequence
class RsaPrivateKeyStructure:
    """RSAPrivateKey of RFC 8017 appendix A.1.2, two primes."""

    version: int
    n: int
    e: int
    d: int
    p: int
    q: int
    dp: int
    dq: int
    qi: int


@asn1.sequence
class EcPrivateKeyStructure:
    """ECPrivateKey of RFC 5915."""

    version: int
    private_key: bytes
    parameters: Annotated[ObjectIdentifier | None, asn1.Explicit(0)]
    public_key: Annotated[asn1.BitString | None, asn1.Explicit(1)]


@asn1.sequence
class PrivateKeyInfo:
    """PrivateKeyInfo of RFC 5208; with `public_key`, OneAsymmetricKey of RFC 5958."""

    version: int
    algorithm: RsaAlgorithm | CurveAlgorithm | PlainAlgorithm
    private_key: bytes
    attributes: Annotated[asn1.SetOf[int] | None, asn1.Implicit(0)]
    public_key: Annotated[asn1.BitString | None, asn1.Implicit(1)]


def wrapped_info(
    algorithm: Algorithm, inner: bytes, *, version: int = 0, attributes: bool = False, public_key: bytes | None = None
) -> bytes:
    """DER of a PrivateKeyInfo around any inner key."""
    info = PrivateKeyInfo(
        version=version,
        algorithm=algorithm,
        private_key=inner,
        attributes=asn1.SetOf([]) if attributes else None,
        public_key=None if public_key is None else asn1.BitString(public_key, 0),
    )
    return asn1.encode_der(info)


def rsa_structure(key: rsa.RSAPrivateKey, **changes: int) -> bytes:
    """PKCS#8 of an RSA key some of whose numbers are others."""
    numbers = key.private_numbers()
    parts = {
        "version": 0,
        "n": numbers.public_numbers.n,
        "e": numbers.public_numbers.e,
        "d": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
        "dp": numbers.dmp1,
        "dq": numbers.dmq1,
        "qi": numbers.iqmp,
    }
    structure = RsaPrivateKeyStructure(**{**parts, **changes})
    algorithm = RsaAlgorithm(algorithm=ObjectIdentifier("1.2.840.113549.1.1.1"), parameters=asn1.Null())
    return wrapped_info(algorithm, asn1.encode_der(structure))


def ec_structure(
    spec: KeySpec,
    secret: int,
    *,
    public: bytes | None = None,
    inner_curve: str | None = None,
    outer_curve: str | None = None,
    version: int = 1,
) -> bytes:
    """PKCS#8 of an elliptic key some of whose parts are others."""
    curve, oid = CURVES[spec]
    structure = EcPrivateKeyStructure(
        version=version,
        private_key=secret.to_bytes((curve.key_size + 7) // 8),
        parameters=None if inner_curve is None else ObjectIdentifier(inner_curve),
        public_key=None if public is None else asn1.BitString(public, 0),
    )
    algorithm = CurveAlgorithm(
        algorithm=ObjectIdentifier("1.2.840.10045.2.1"), parameters=ObjectIdentifier(outer_curve or oid)
    )
    return wrapped_info(algorithm, asn1.encode_der(structure))
