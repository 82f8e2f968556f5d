"""Which key specs and abilities a token has: by its own list of mechanisms, and by trial where the list is silent.

The list names mechanisms and bounds of key sizes. It does not name curves: whether a token knows one is seen by
making a key pair on it that lives in the session alone, and AES-GCM, of which modules have their own opinions, by
using it. Names of products are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, PKCS11Error
from pkcs11.types import MechanismInfo

from kagitori_keystore.algorithms import Digest, KeyFamily, KeySpec, SigningScheme
from kagitori_keystore.base import Capability

MAC_MECHANISMS: dict[Digest | None, Mechanism] = {
    Digest.SHA_224: Mechanism.SHA224_HMAC,
    Digest.SHA_256: Mechanism.SHA256_HMAC,
    Digest.SHA_384: Mechanism.SHA384_HMAC,
    Digest.SHA_512: Mechanism.SHA512_HMAC,
}
SIGNING_MECHANISMS: dict[SigningScheme, Mechanism] = {
    SigningScheme.PKCS1: Mechanism.RSA_PKCS,
    SigningScheme.PSS: Mechanism.RSA_PKCS_PSS,
    SigningScheme.ECDSA: Mechanism.ECDSA,
    SigningScheme.ED25519: Mechanism.EDDSA,
}
"""A scheme without a row is one that no token has: Ed25519ph, which SoftHSM takes for Ed25519, and ML-DSA."""

CURVE_OIDS: dict[KeySpec, bytes] = {
    KeySpec.ECC_NIST_P256: bytes.fromhex("06082a8648ce3d030107"),
    KeySpec.ECC_NIST_P384: bytes.fromhex("06052b81040022"),
    KeySpec.ECC_NIST_P521: bytes.fromhex("06052b81040023"),
    KeySpec.ECC_SECG_P256K1: bytes.fromhex("06052b8104000a"),
    KeySpec.ECC_NIST_EDWARDS25519: bytes.fromhex("06032b6570"),
}
"""DER of the object identifiers that CKA_EC_PARAMS holds (RFC 5480, SEC 2, RFC 8410)."""

_NEEDED: dict[KeyFamily, tuple[Mechanism, ...]] = {
    KeyFamily.SYMMETRIC: (Mechanism.AES_KEY_GEN, Mechanism.AES_GCM),
    KeyFamily.HMAC: (Mechanism.GENERIC_SECRET_KEY_GEN,),
    KeyFamily.RSA: (Mechanism.RSA_PKCS_KEY_PAIR_GEN, Mechanism.RSA_PKCS),
    KeyFamily.ECC_NIST: (Mechanism.EC_KEY_PAIR_GEN, Mechanism.ECDSA),
    KeyFamily.ECC_SECG: (Mechanism.EC_KEY_PAIR_GEN, Mechanism.ECDSA),
    KeyFamily.EDWARDS: (Mechanism.EC_EDWARDS_KEY_PAIR_GEN, Mechanism.EDDSA),
}
"""What a family needs; RSA keys have to sign with RSA_PKCS, or nothing would tell a damaged one."""

BINDING = (Mechanism.GENERIC_SECRET_KEY_GEN, Mechanism.SHA256_HMAC)
"""What a token has to have for a store to use it at all."""


@dataclass(frozen=True, slots=True)
class TokenAbilities:
    """What a token does."""

    specs: frozenset[KeySpec]
    capabilities: frozenset[Capability]
    schemes: frozenset[SigningScheme]
    can_bind: bool


def abilities_of(
    mechanisms: Mapping[int, MechanismInfo], session: pkcs11.Session, known: frozenset[KeySpec] | None
) -> TokenAbilities:
    """Reads the list, and tries what it is silent on, unless a worker before this one has: those are `known`. What it
    tried may be what ended it."""
    specs = frozenset(
        spec for spec in KeySpec
        if _listed(spec, mechanisms) and (spec in known if known is not None else _tried(spec, session))
    )
    families = {spec.family for spec in specs}
    capabilities = {Capability.RANDOM_GENERATION}
    if KeyFamily.SYMMETRIC in families:
        capabilities |= {
            Capability.SYMMETRIC_ENCRYPTION, Capability.DATA_KEY_PAIRS, Capability.PROXY_ENCRYPTION,
        }
    if KeyFamily.HMAC in families:
        capabilities.add(Capability.MACS)
    if families - {KeyFamily.SYMMETRIC, KeyFamily.HMAC}:
        capabilities |= {Capability.PUBLIC_KEYS, Capability.SIGNING}
    if KeyFamily.RSA in families and Mechanism.RSA_PKCS_OAEP in mechanisms:
        capabilities.add(Capability.ASYMMETRIC_ENCRYPTION)
    if KeyFamily.ECC_NIST in families and Mechanism.ECDH1_DERIVE in mechanisms:
        capabilities.add(Capability.KEY_AGREEMENT)
    schemes = frozenset(scheme for scheme, mechanism in SIGNING_MECHANISMS.items() if mechanism in mechanisms)
    can_bind = all(mechanism in mechanisms for mechanism in BINDING)
    return TokenAbilities(specs, frozenset(capabilities), schemes, can_bind)


def _listed(spec: KeySpec, mechanisms: Mapping[int, MechanismInfo]) -> bool:
    needed = _NEEDED.get(spec.family)
    if needed is None or any(mechanism not in mechanisms for mechanism in needed):
        return False
    made = mechanisms[needed[0]]
    match spec.family:
        case KeyFamily.HMAC:
            return MAC_MECHANISMS[spec.digest] in mechanisms
        case KeyFamily.SYMMETRIC:
            return (made.max_key_length or 0) >= spec.bits // 8
        case KeyFamily.RSA | KeyFamily.ECC_NIST | KeyFamily.ECC_SECG:
            return (made.min_key_length or 0) <= spec.bits <= (made.max_key_length or 0)
        case _:
            return True


def _tried(spec: KeySpec, session: pkcs11.Session) -> bool:
    if spec is KeySpec.SYMMETRIC_DEFAULT:
        return _encrypts(session)
    if spec not in CURVE_OIDS:
        return True
    try:
        for key in generate_on_curve(session, spec, {Attribute.TOKEN: False}):
            key.destroy()
    except PKCS11Error:
        return False
    return True


def _encrypts(session: pkcs11.Session) -> bool:
    """Some modules list AES-GCM and want the IV, the tag or the answer's size in a way that is not ours (NSS)."""
    parameters = GCMParams(session.generate_random(96), b"trial", 128)
    uses = {"mechanism": Mechanism.AES_GCM, "mechanism_param": parameters}
    try:
        key: Any = session.generate_key(  # its methods are made at run time
            KeyType.AES, 256, capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
            template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
        )  # fmt: skip
        works = bool(key.decrypt(key.encrypt(b"trial", **uses), **uses) == b"trial")
        key.destroy()
    except PKCS11Error:
        return False
    return works


def generate_on_curve(
    session: pkcs11.Session,
    spec: KeySpec,
    private: dict[Attribute, object],
    object_id: bytes = b"",
    label: str = "",
) -> tuple[pkcs11.PublicKey, pkcs11.PrivateKey]:
    """A key pair on a curve, its public half in the session alone."""
    edwards = spec.family is KeyFamily.EDWARDS
    agrees = spec.family is KeyFamily.ECC_NIST
    parameters = session.create_domain_parameters(
        KeyType.EC_EDWARDS if edwards else KeyType.EC, {Attribute.EC_PARAMS: CURVE_OIDS[spec]}, local=True
    )
    uses = MechanismFlag.SIGN | MechanismFlag.VERIFY
    return parameters.generate_keypair(
        id=object_id,
        label=label,
        store=True,
        capabilities=uses | MechanismFlag.DERIVE if agrees else uses,
        mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN if edwards else Mechanism.EC_KEY_PAIR_GEN,
        public_template={Attribute.TOKEN: False},
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True, **private},
    )
