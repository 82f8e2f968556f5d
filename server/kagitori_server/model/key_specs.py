"""What each key spec can do (AWS KMS "Key spec reference"): usages, algorithms, rotation and import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kagitori_server.model.keys import (
    EncapsulationAlgorithm,
    EncryptionAlgorithm,
    KeyAgreementAlgorithm,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    SigningAlgorithm,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecRow:
    """One key spec. An algorithm works for keys whose usage is the algorithm's."""

    usages: tuple[KeyUsage, ...]
    encryption: tuple[EncryptionAlgorithm, ...] = ()
    signing: tuple[SigningAlgorithm, ...] = ()
    mac: tuple[MacAlgorithm, ...] = ()
    agreement: tuple[KeyAgreementAlgorithm, ...] = ()
    encapsulation: tuple[EncapsulationAlgorithm, ...] = ()
    asymmetric: bool = True
    """Whether there is a public key."""
    old_name: bool = True
    """Whether AWS's deprecated `CustomerMasterKeySpec` has a word for it."""
    quick: bool = False
    """Whether what its keys compute takes less time than to hand it to another thread (some 50 µs)."""
    quick_public: bool = False
    """The same of what needs no more than the public key. Holds for all specs that are `quick`."""
    served: bool = True

    def __post_init__(self) -> None:
        if self.served and not self.usages:
            raise ValueError("a spec that is served is good for something")


def _rsa() -> SpecRow:
    return SpecRow(
        usages=(KeyUsage.ENCRYPT_DECRYPT, KeyUsage.SIGN_VERIFY),
        encryption=(EncryptionAlgorithm.RSAES_OAEP_SHA_1, EncryptionAlgorithm.RSAES_OAEP_SHA_256),
        signing=(
            SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_256,
            SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_384,
            SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_512,
            SigningAlgorithm.RSASSA_PSS_SHA_256,
            SigningAlgorithm.RSASSA_PSS_SHA_384,
            SigningAlgorithm.RSASSA_PSS_SHA_512,
        ),
        quick_public=True,
    )


def _curve(signing: SigningAlgorithm, *, quick: bool = False) -> SpecRow:
    return SpecRow(
        usages=(KeyUsage.SIGN_VERIFY, KeyUsage.KEY_AGREEMENT),
        signing=(signing,), agreement=(KeyAgreementAlgorithm.ECDH,), quick=quick,
    )


def _hmac(algorithm: MacAlgorithm) -> SpecRow:
    return SpecRow(usages=(KeyUsage.GENERATE_VERIFY_MAC,), mac=(algorithm,), asymmetric=False, quick=True)


def _ml_dsa() -> SpecRow:
    return SpecRow(
        usages=(KeyUsage.SIGN_VERIFY,), signing=(SigningAlgorithm.ML_DSA_SHAKE_256,), old_name=False
    )


def _ml_kem() -> SpecRow:
    return SpecRow(
        usages=(KeyUsage.ENCAPSULATE_DECAPSULATE,), encapsulation=(EncapsulationAlgorithm.ML_KEM,), old_name=False,
        quick=True,
    )


KEY_SPECS: Mapping[KeySpec, SpecRow] = {
    KeySpec.SYMMETRIC_DEFAULT: SpecRow(
        usages=(KeyUsage.ENCRYPT_DECRYPT,), encryption=(EncryptionAlgorithm.SYMMETRIC_DEFAULT,), asymmetric=False,
        quick=True,
    ),
    KeySpec.RSA_2048: _rsa(),
    KeySpec.RSA_3072: _rsa(),
    KeySpec.RSA_4096: _rsa(),
    KeySpec.ECC_NIST_P256: _curve(SigningAlgorithm.ECDSA_SHA_256, quick=True),
    KeySpec.ECC_NIST_P384: _curve(SigningAlgorithm.ECDSA_SHA_384),
    KeySpec.ECC_NIST_P521: _curve(SigningAlgorithm.ECDSA_SHA_512),
    KeySpec.ECC_SECG_P256K1: SpecRow(usages=(KeyUsage.SIGN_VERIFY,), signing=(SigningAlgorithm.ECDSA_SHA_256,)),
    KeySpec.ECC_NIST_EDWARDS25519: SpecRow(
        usages=(KeyUsage.SIGN_VERIFY,),
        signing=(SigningAlgorithm.ED25519_SHA_512, SigningAlgorithm.ED25519_PH_SHA_512), old_name=False, quick=True,
    ),
    KeySpec.HMAC_224: _hmac(MacAlgorithm.HMAC_SHA_224),
    KeySpec.HMAC_256: _hmac(MacAlgorithm.HMAC_SHA_256),
    KeySpec.HMAC_384: _hmac(MacAlgorithm.HMAC_SHA_384),
    KeySpec.HMAC_512: _hmac(MacAlgorithm.HMAC_SHA_512),
    KeySpec.ML_DSA_44: _ml_dsa(),
    KeySpec.ML_DSA_65: _ml_dsa(),
    KeySpec.ML_DSA_87: _ml_dsa(),
    KeySpec.ML_KEM_512: _ml_kem(),
    KeySpec.ML_KEM_768: _ml_kem(),
    KeySpec.ML_KEM_1024: _ml_kem(),
    # Of the China Regions of AWS; no well-kept library has its encryption scheme.
    KeySpec.SM2: SpecRow(usages=(), served=False),
}


def encryption_algorithms(spec: KeySpec, usage: KeyUsage) -> tuple[EncryptionAlgorithm, ...]:
    """What a key of this spec and usage encrypts with; empty unless it is for encryption."""
    return KEY_SPECS[spec].encryption if usage is KeyUsage.ENCRYPT_DECRYPT else ()


def signing_algorithms(spec: KeySpec, usage: KeyUsage) -> tuple[SigningAlgorithm, ...]:
    """What a key of this spec and usage signs with; empty unless it is for signing."""
    return KEY_SPECS[spec].signing if usage is KeyUsage.SIGN_VERIFY else ()


def agreement_algorithms(spec: KeySpec, usage: KeyUsage) -> tuple[KeyAgreementAlgorithm, ...]:
    """What a key of this spec and usage agrees on secrets with; empty unless it is for that."""
    return KEY_SPECS[spec].agreement if usage is KeyUsage.KEY_AGREEMENT else ()


def encapsulation_algorithms(spec: KeySpec, usage: KeyUsage) -> tuple[EncapsulationAlgorithm, ...]:
    """What a key of this spec and usage encapsulates with; empty unless it is for that."""
    return KEY_SPECS[spec].encapsulation if usage is KeyUsage.ENCAPSULATE_DECAPSULATE else ()


def mac_algorithms(spec: KeySpec, usage: KeyUsage) -> tuple[MacAlgorithm, ...]:
    """What a key of this spec and usage makes MACs with; empty unless it is for that."""
    return KEY_SPECS[spec].mac if usage is KeyUsage.GENERATE_VERIFY_MAC else ()
