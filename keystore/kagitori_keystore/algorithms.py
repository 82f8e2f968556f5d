"""The tables of key specs and algorithms, and the limits of what is done with them.

Data only: no code path branches on a spec's or an algorithm's name. A new spec is a new row with a code that
was never used before. Names and sizes are those of the AWS KMS model; SM2 is left out.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

PLAINTEXT_MAX_BYTES = 4096
"""AWS Encrypt, ReEncrypt: the most a symmetric key encrypts in one call; the least is one byte."""
PROXY_PLAINTEXT_MAX_BYTES = 4300
"""AWS external key store proxy API, Encrypt: what a proxy has to take; AWS's own layer of encryption is in it."""
PROXY_CONTEXT_MAX_BYTES = 8216
"""The same: 8,192 bytes of additional data, 20 of ciphertext metadata, and their lengths; rounded up to 8."""
CIPHERTEXT_BLOB_MAX_BYTES = 6144
"""AWS Decrypt, ReEncrypt: nothing longer is looked at. AWS Verify, VerifyMac: nor a longer signature or MAC."""
DATA_KEY_MAX_BYTES = 1024
"""AWS GenerateDataKey (NumberOfBytes); the least is one byte."""
RANDOM_MAX_BYTES = 1024
"""AWS GenerateRandom (NumberOfBytes); the least is one byte."""
MESSAGE_MAX_BYTES = 4096
"""AWS Sign, Verify, GenerateMac, VerifyMac: the longest message; the least is one byte."""
EXTERNAL_MU_BYTES = 64
"""FIPS 204 section 6.2: the message representative of ML-DSA."""
PUBLIC_KEY_MAX_BYTES = 8192
"""AWS DeriveSharedSecret: the longest public key that is looked at."""
MATERIAL_REFERENCE_MAX_BYTES = 3072
"""The longest reference any store may hand out; the software store's for RSA_4096 takes at most 2,419."""

HMAC_MATERIAL_MAX_BYTES = 128
"""AWS, "Requirements for imported key material": 1,024 bits, whatever the spec. Those made here are shorter."""


class KeyFamily(enum.Enum):
    """What kind of mathematics a key does; decides which capability Protocols serve it."""

    SYMMETRIC = "symmetric"
    RSA = "rsa"
    ECC_NIST = "ecc-nist"
    ECC_SECG = "ecc-secg"
    EDWARDS = "edwards"
    HMAC = "hmac"
    ML_DSA = "ml-dsa"
    ML_KEM = "ml-kem"


class MaterialForm(enum.Enum):
    """How a material's bytes are to be read."""

    RAW = "raw"
    """The key itself."""
    PKCS8 = "pkcs8"
    """DER of an unencrypted PKCS#8 PrivateKeyInfo (RFC 5208)."""
    SEED = "seed"
    """What the private key is expanded from: RFC 8032 (32 bytes), FIPS 204 (xi, 32), FIPS 203 (d || z, 64)."""


class Digest(enum.Enum):
    """Hash functions; the value is the digest's size in bytes and the name as `hashlib` knows it."""

    SHA_1 = (20, "sha1")
    SHA_224 = (28, "sha224")
    SHA_256 = (32, "sha256")
    SHA_384 = (48, "sha384")
    SHA_512 = (64, "sha512")

    @property
    def size(self) -> int:
        """Bytes of a digest."""
        return self.value[0]


@dataclass(frozen=True, slots=True)
class KeySpecRow:
    """One row of the table of key specs.

    `code` is the spec's byte in wrapped references and never changes. `material_bytes` is the size of the
    material: exactly, for raw keys and seeds; at most, for PKCS#8; at least, for HMAC, of which longer ones may be
    imported. `bits` is the size of an RSA modulus or of a curve's field. `digest` is the one hash that AWS pairs
    with the spec. `ciphertext_bytes` is the size of what the spec's public key encrypts or encapsulates.
    """

    code: int
    family: KeyFamily
    form: MaterialForm
    material_bytes: int
    bits: int = 0
    digest: Digest | None = None
    ciphertext_bytes: int = 0


class KeySpec(enum.Enum):
    """AWS key specs by AWS's names; the value is the row."""

    SYMMETRIC_DEFAULT = KeySpecRow(1, KeyFamily.SYMMETRIC, MaterialForm.RAW, 32, 256)
    RSA_2048 = KeySpecRow(16, KeyFamily.RSA, MaterialForm.PKCS8, 1220, 2048, None, 256)
    RSA_3072 = KeySpecRow(17, KeyFamily.RSA, MaterialForm.PKCS8, 1796, 3072, None, 384)
    RSA_4096 = KeySpecRow(18, KeyFamily.RSA, MaterialForm.PKCS8, 2377, 4096, None, 512)
    ECC_NIST_P256 = KeySpecRow(32, KeyFamily.ECC_NIST, MaterialForm.PKCS8, 138, 256, Digest.SHA_256)
    ECC_NIST_P384 = KeySpecRow(33, KeyFamily.ECC_NIST, MaterialForm.PKCS8, 185, 384, Digest.SHA_384)
    ECC_NIST_P521 = KeySpecRow(34, KeyFamily.ECC_NIST, MaterialForm.PKCS8, 241, 521, Digest.SHA_512)
    ECC_SECG_P256K1 = KeySpecRow(40, KeyFamily.ECC_SECG, MaterialForm.PKCS8, 135, 256, Digest.SHA_256)
    ECC_NIST_EDWARDS25519 = KeySpecRow(48, KeyFamily.EDWARDS, MaterialForm.SEED, 32, 255, Digest.SHA_512)
    HMAC_224 = KeySpecRow(64, KeyFamily.HMAC, MaterialForm.RAW, 28, 224, Digest.SHA_224)
    HMAC_256 = KeySpecRow(65, KeyFamily.HMAC, MaterialForm.RAW, 32, 256, Digest.SHA_256)
    HMAC_384 = KeySpecRow(66, KeyFamily.HMAC, MaterialForm.RAW, 48, 384, Digest.SHA_384)
    HMAC_512 = KeySpecRow(67, KeyFamily.HMAC, MaterialForm.RAW, 64, 512, Digest.SHA_512)
    ML_DSA_44 = KeySpecRow(80, KeyFamily.ML_DSA, MaterialForm.SEED, 32)
    ML_DSA_65 = KeySpecRow(81, KeyFamily.ML_DSA, MaterialForm.SEED, 32)
    ML_DSA_87 = KeySpecRow(82, KeyFamily.ML_DSA, MaterialForm.SEED, 32)
    ML_KEM_512 = KeySpecRow(96, KeyFamily.ML_KEM, MaterialForm.SEED, 64, 0, None, 768)
    ML_KEM_768 = KeySpecRow(97, KeyFamily.ML_KEM, MaterialForm.SEED, 64, 0, None, 1088)
    ML_KEM_1024 = KeySpecRow(98, KeyFamily.ML_KEM, MaterialForm.SEED, 64, 0, None, 1568)

    @property
    def code(self) -> int:
        """One byte, 1..255."""
        return self.value.code

    @property
    def family(self) -> KeyFamily:
        """The kind of key."""
        return self.value.family

    @property
    def form(self) -> MaterialForm:
        """How the material's bytes are to be read."""
        return self.value.form

    @property
    def material_bytes(self) -> int:
        """Size of the material: exact, for PKCS#8 the most, for HMAC the least."""
        return self.value.material_bytes

    def material_may_have(self, size: int) -> bool:
        """Whether a material of the spec can be that many bytes long."""
        if self.form is MaterialForm.PKCS8:
            return 0 < size <= self.material_bytes
        if self.family is KeyFamily.HMAC:
            return self.material_bytes <= size <= HMAC_MATERIAL_MAX_BYTES
        return size == self.material_bytes

    @property
    def bits(self) -> int:
        """Size of the key, modulus or field; 0 where AWS's name says no such thing (ML-DSA, ML-KEM)."""
        return self.value.bits

    @property
    def digest(self) -> Digest | None:
        """The hash that goes with every use of the spec, None if there is no such one."""
        return self.value.digest

    @property
    def ciphertext_bytes(self) -> int:
        """Size of what an RSA or ML-KEM public key makes; 0 for other families."""
        return self.value.ciphertext_bytes


SPEC_BY_CODE: dict[int, KeySpec] = {spec.code: spec for spec in KeySpec}
"""Inverse of `KeySpec.code`; the length equals that of `KeySpec`, so no code is used twice."""


class SigningScheme(enum.Enum):
    """The mathematics of a signature."""

    PSS = "pss"
    """RFC 8017 section 8.1, MGF1 with the same hash, salt as long as the digest."""
    PKCS1 = "pkcs1"
    """RFC 8017 section 8.2."""
    ECDSA = "ecdsa"
    """FIPS 186-5 section 6; signatures are DER (ANSI X9.62)."""
    ED25519 = "ed25519"
    """RFC 8032 section 5.1, pure."""
    ED25519_PH = "ed25519ph"
    """RFC 8032 section 5.1, with prehash, empty context."""
    ML_DSA = "ml-dsa"
    """FIPS 204, pure, empty context."""


class MessageForm(enum.StrEnum):
    """What is given as the message of a signature (AWS `MessageType`)."""

    RAW = "RAW"
    DIGEST = "DIGEST"
    EXTERNAL_MU = "EXTERNAL_MU"


class SigningAlgorithm(enum.StrEnum):
    """AWS `SigningAlgorithmSpec`."""

    RSASSA_PSS_SHA_256 = "RSASSA_PSS_SHA_256"
    RSASSA_PSS_SHA_384 = "RSASSA_PSS_SHA_384"
    RSASSA_PSS_SHA_512 = "RSASSA_PSS_SHA_512"
    RSASSA_PKCS1_V1_5_SHA_256 = "RSASSA_PKCS1_V1_5_SHA_256"
    RSASSA_PKCS1_V1_5_SHA_384 = "RSASSA_PKCS1_V1_5_SHA_384"
    RSASSA_PKCS1_V1_5_SHA_512 = "RSASSA_PKCS1_V1_5_SHA_512"
    ECDSA_SHA_256 = "ECDSA_SHA_256"
    ECDSA_SHA_384 = "ECDSA_SHA_384"
    ECDSA_SHA_512 = "ECDSA_SHA_512"
    ED25519_SHA_512 = "ED25519_SHA_512"
    ED25519_PH_SHA_512 = "ED25519_PH_SHA_512"
    ML_DSA_SHAKE_256 = "ML_DSA_SHAKE_256"

    @property
    def scheme(self) -> SigningScheme:
        """The mathematics."""
        return _SIGNING[self].scheme

    @property
    def digest(self) -> Digest | None:
        """The hash of the message, None for ML-DSA."""
        return _SIGNING[self].digest

    @property
    def forms(self) -> tuple[MessageForm, ...]:
        """The forms of message it takes."""
        return _SIGNING[self].forms

    def message_bytes(self, form: MessageForm) -> tuple[int, int]:
        """The least and the most bytes of a message of that form. `KeyError` if it is not among `forms`."""
        return _SIGNING[self].sizes[form]


@dataclass(frozen=True, slots=True)
class _SigningRow:
    scheme: SigningScheme
    digest: Digest | None
    forms: tuple[MessageForm, ...]
    sizes: dict[MessageForm, tuple[int, int]]


def _row(scheme: SigningScheme, digest: Digest | None, *forms: MessageForm) -> _SigningRow:
    sizes = {
        MessageForm.RAW: (1, MESSAGE_MAX_BYTES),
        MessageForm.DIGEST: (digest.size, digest.size) if digest else (0, 0),
        MessageForm.EXTERNAL_MU: (EXTERNAL_MU_BYTES, EXTERNAL_MU_BYTES),
    }
    return _SigningRow(scheme, digest, forms, {form: sizes[form] for form in forms})


_RAW, _DIGEST = MessageForm.RAW, MessageForm.DIGEST
_SIGNING: dict[SigningAlgorithm, _SigningRow] = {
    SigningAlgorithm.RSASSA_PSS_SHA_256: _row(SigningScheme.PSS, Digest.SHA_256, _RAW, _DIGEST),
    SigningAlgorithm.RSASSA_PSS_SHA_384: _row(SigningScheme.PSS, Digest.SHA_384, _RAW, _DIGEST),
    SigningAlgorithm.RSASSA_PSS_SHA_512: _row(SigningScheme.PSS, Digest.SHA_512, _RAW, _DIGEST),
    SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_256: _row(SigningScheme.PKCS1, Digest.SHA_256, _RAW, _DIGEST),
    SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_384: _row(SigningScheme.PKCS1, Digest.SHA_384, _RAW, _DIGEST),
    SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_512: _row(SigningScheme.PKCS1, Digest.SHA_512, _RAW, _DIGEST),
    SigningAlgorithm.ECDSA_SHA_256: _row(SigningScheme.ECDSA, Digest.SHA_256, _RAW, _DIGEST),
    SigningAlgorithm.ECDSA_SHA_384: _row(SigningScheme.ECDSA, Digest.SHA_384, _RAW, _DIGEST),
    SigningAlgorithm.ECDSA_SHA_512: _row(SigningScheme.ECDSA, Digest.SHA_512, _RAW, _DIGEST),
    SigningAlgorithm.ED25519_SHA_512: _row(SigningScheme.ED25519, Digest.SHA_512, _RAW),
    # AWS Sign: the 64 bytes given as digest are the message M of Ed25519ph, so PH(M) hashes them once more.
    SigningAlgorithm.ED25519_PH_SHA_512: _row(SigningScheme.ED25519_PH, Digest.SHA_512, _DIGEST),
    SigningAlgorithm.ML_DSA_SHAKE_256: _row(SigningScheme.ML_DSA, None, _RAW, MessageForm.EXTERNAL_MU),
}

_RSA_SCHEMES = (SigningScheme.PSS, SigningScheme.PKCS1)
_SCHEMES: dict[KeyFamily, tuple[SigningScheme, ...]] = {
    KeyFamily.RSA: _RSA_SCHEMES,
    KeyFamily.ECC_NIST: (SigningScheme.ECDSA,),
    KeyFamily.ECC_SECG: (SigningScheme.ECDSA,),
    KeyFamily.EDWARDS: (SigningScheme.ED25519, SigningScheme.ED25519_PH),
    KeyFamily.ML_DSA: (SigningScheme.ML_DSA,),
}
_SIGNING_BY_SPEC: dict[KeySpec, tuple[SigningAlgorithm, ...]] = {
    spec: tuple(
        algorithm
        for algorithm in SigningAlgorithm
        if algorithm.scheme in _SCHEMES.get(spec.family, ()) and spec.digest in (None, algorithm.digest)
    )
    for spec in KeySpec
}


def signing_algorithms(spec: KeySpec) -> tuple[SigningAlgorithm, ...]:
    """What a key of this spec signs with, in AWS's order; empty for one that does not sign."""
    return _SIGNING_BY_SPEC[spec]


class MacAlgorithm(enum.StrEnum):
    """AWS `MacAlgorithmSpec`."""

    HMAC_SHA_224 = "HMAC_SHA_224"
    HMAC_SHA_256 = "HMAC_SHA_256"
    HMAC_SHA_384 = "HMAC_SHA_384"
    HMAC_SHA_512 = "HMAC_SHA_512"


def mac_algorithms(spec: KeySpec) -> tuple[MacAlgorithm, ...]:
    """The one algorithm of an HMAC spec; empty for all others."""
    if spec.family is not KeyFamily.HMAC:
        return ()
    return (MacAlgorithm(spec.name.replace("HMAC_", "HMAC_SHA_")),)


class AsymmetricEncryptionAlgorithm(enum.StrEnum):
    """AWS `EncryptionAlgorithmSpec`, as far as it is RSA: RFC 8017 section 7.1, MGF1 with the same hash, no label."""

    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"

    @property
    def digest(self) -> Digest:
        """The hash of OAEP and of its mask."""
        return Digest.SHA_1 if self is AsymmetricEncryptionAlgorithm.RSAES_OAEP_SHA_1 else Digest.SHA_256


def encryption_algorithms(spec: KeySpec) -> tuple[AsymmetricEncryptionAlgorithm, ...]:
    """What the public key of this spec encrypts with; empty for one that does not encrypt (or is symmetric)."""
    return tuple(AsymmetricEncryptionAlgorithm) if spec.family is KeyFamily.RSA else ()


def oaep_plaintext_max(spec: KeySpec, algorithm: AsymmetricEncryptionAlgorithm) -> int:
    """The most bytes an RSA key of this spec encrypts: 214, 190, 342, 318, 470 or 446; the least is one byte."""
    return spec.ciphertext_bytes - 2 * algorithm.digest.size - 2


def agrees_on_keys(spec: KeySpec) -> bool:
    """Whether keys of this spec derive shared secrets (AWS `KeyAgreementAlgorithmSpec` ECDH)."""
    return spec.family is KeyFamily.ECC_NIST


def encapsulates(spec: KeySpec) -> bool:
    """Whether keys of this spec encapsulate shared secrets (AWS `EncapsulationAlgorithmSpec` ML_KEM)."""
    return spec.family is KeyFamily.ML_KEM


class DataKeyPairSpec(enum.StrEnum):
    """AWS `DataKeyPairSpec`."""

    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    ECC_NIST_P256 = "ECC_NIST_P256"
    ECC_NIST_P384 = "ECC_NIST_P384"
    ECC_NIST_P521 = "ECC_NIST_P521"
    ECC_SECG_P256K1 = "ECC_SECG_P256K1"
    ECC_NIST_EDWARDS25519 = "ECC_NIST_EDWARDS25519"
    ML_KEM_512 = "ML_KEM_512"
    ML_KEM_768 = "ML_KEM_768"
    ML_KEM_1024 = "ML_KEM_1024"

    @property
    def key_spec(self) -> KeySpec:
        """The key spec of the same name: a store that makes keys of it makes pairs of it."""
        return KeySpec[self.name]


class WrappingSpec(enum.StrEnum):
    """AWS `WrappingKeySpec`: the RSA pair under which a material is imported."""

    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"

    @property
    def key_spec(self) -> KeySpec:
        """The key spec of the same name."""
        return KeySpec[self.name]


class WrappingAlgorithm(enum.StrEnum):
    """AWS `AlgorithmSpec`: how a material is wrapped for import. RSAES_PKCS1_V1_5, which AWS retired, is left out."""

    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    RSA_AES_KEY_WRAP_SHA_1 = "RSA_AES_KEY_WRAP_SHA_1"
    RSA_AES_KEY_WRAP_SHA_256 = "RSA_AES_KEY_WRAP_SHA_256"

    @property
    def digest(self) -> Digest:
        """The hash of OAEP and of its mask."""
        return Digest.SHA_1 if self.name.endswith("_SHA_1") else Digest.SHA_256

    @property
    def wraps_aes_key(self) -> bool:
        """Whether OAEP holds an AES key of 32 bytes under which RFC 5649 wraps the material."""
        return self.name.startswith("RSA_AES_KEY_WRAP")
