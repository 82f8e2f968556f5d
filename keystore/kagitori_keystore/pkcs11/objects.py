"""Objects of the token: how keys are made, found, recognised and destroyed.

A key is made inside the token, sensitive and not extractable, and found by its random CKA_ID. What is kept of one
that was found is its handle and class, which any session of this process may use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256K1,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass

from kagitori_keystore.algorithms import KeyFamily, KeySpec
from kagitori_keystore.base import MaterialCorrupt, MaterialUnknown, StoreLost
from kagitori_keystore.pkcs11.mechanisms import generate_on_curve

LABEL_PREFIX = "kagitori "
HARD: dict[Attribute, Any] = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
_SECRET = (KeyFamily.SYMMETRIC, KeyFamily.HMAC)
_USES: dict[KeyFamily, tuple[str, ...]] = {
    KeyFamily.SYMMETRIC: ("encrypt", "decrypt"),
    KeyFamily.HMAC: ("sign",),
    KeyFamily.RSA: ("sign", "decrypt"),
    KeyFamily.ECC_NIST: ("sign", "derive_key"),
    KeyFamily.ECC_SECG: ("sign",),
    KeyFamily.EDWARDS: ("sign",),
}
"""The methods that `python-pkcs11` gives to a key whose attributes allow what its family does."""
_CURVES: dict[KeySpec, EllipticCurve] = {
    KeySpec.ECC_NIST_P256: SECP256R1(),
    KeySpec.ECC_NIST_P384: SECP384R1(),
    KeySpec.ECC_NIST_P521: SECP521R1(),
    KeySpec.ECC_SECG_P256K1: SECP256K1(),
}
_OCTET_STRING = 4
RSA_EXPONENT = 65_537


class _Borrowed:
    """Comes before the class of a key that was found: session and handle are its own."""

    session: Any = None
    handle: Any = None
    key_type: Any = None


@dataclass(frozen=True, slots=True)
class Handle:
    """A key of the token, ready for any session of this process."""

    key_class: type[Any]
    handle: int
    key_type: KeyType

    def on(self, session: pkcs11.Session) -> Any:
        """The key for use in one session: an object with the methods that `python-pkcs11` gives to its kind."""
        key: Any = object.__new__(self.key_class)
        key.session, key.handle, key.key_type = session, self.handle, self.key_type
        return key


def handle_of(key: Any) -> Handle:
    """What to keep of a key."""
    found = type(key)
    return Handle(type(found.__name__, (_Borrowed, found), {}), key.handle, key.key_type)


def class_of(spec: KeySpec) -> ObjectClass:
    """In which class of objects a key of the spec lies."""
    return ObjectClass.SECRET_KEY if spec.family in _SECRET else ObjectClass.PRIVATE_KEY


def find(session: pkcs11.Session, spec: KeySpec, object_id: bytes) -> Handle:
    """The key with this id.

    Raises `MaterialUnknown` if there is none, `StoreLost` if there are two, `MaterialCorrupt` if it is damaged.
    """
    # A list: an unfinished search would keep the session locked. And always a class: damaged objects have none.
    found = list(session.get_objects(_ours(spec, object_id)))
    if not found:
        raise MaterialUnknown("the token holds no such key")
    if len(found) > 1:
        raise StoreLost("the token holds two keys of one id")
    if not all(hasattr(found[0], use) for use in _USES[spec.family]):
        raise MaterialCorrupt("the key in the token has lost a use")
    return handle_of(found[0])


def _ours(spec: KeySpec, object_id: bytes) -> dict[Attribute, Any]:
    """Finds private objects alone: public ones can be made by who reaches the token and knows no PIN (PKCS#11 2.40,
    section 4.4: the public session), and would be taken for a second key of the id."""
    return {Attribute.CLASS: class_of(spec), Attribute.ID: object_id, Attribute.PRIVATE: True}


def is_hard(key: Any) -> bool:
    """Whether a key is what was asked for with `HARD`: some tokens overlook what they can't do."""
    return key[Attribute.SENSITIVE] is True and key[Attribute.EXTRACTABLE] is False and key[Attribute.PRIVATE] is True


def check_hard(key: Any) -> None:
    """Raises `StoreLost` for a key that was made otherwise."""
    if not is_hard(key):
        raise StoreLost("the token made a key that could leave it")


def make(session: pkcs11.Session, spec: KeySpec, object_id: bytes, label: str) -> tuple[Handle, bytes]:
    """A new key of the token, and its SubjectPublicKeyInfo (empty for a secret key).

    Raises `StoreLost` if the token makes another key than asked; it is destroyed again then.
    """
    if spec.family in _SECRET:
        symmetric = spec.family is KeyFamily.SYMMETRIC
        uses = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT if symmetric else MechanismFlag.SIGN | MechanismFlag.VERIFY
        key = session.generate_key(
            KeyType.AES if symmetric else KeyType.GENERIC_SECRET, spec.bits,
            id=object_id, label=label, store=True, capabilities=uses, template=HARD,
        )  # fmt: skip
        return _kept(key, lambda: b"")
    if spec.family is KeyFamily.RSA:
        public, private = session.generate_keypair(
            KeyType.RSA, spec.bits, id=object_id, label=label, store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY | MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
            public_template={Attribute.TOKEN: False}, private_template=HARD,
        )  # fmt: skip
    else:
        public, private = generate_on_curve(session, spec, {}, object_id, label)

    def told() -> bytes:
        found = spki_of(spec, public)
        if spec.family is KeyFamily.RSA and not _is_rsa_as_asked(spec, public):
            raise StoreLost("the token made another RSA key than asked")
        public.destroy()
        return found

    return _kept(private, told)


def _kept(key: Any, told: Callable[[], bytes]) -> tuple[Handle, bytes]:
    """A key that was just made, and what `told` says of it. If that fails, it is destroyed."""
    try:
        check_hard(key)
        return handle_of(key), told()
    except BaseException as error:
        key.destroy()
        if isinstance(error, ValueError):
            # No cause: it may quote what the token gave.
            raise StoreLost("the token made a public key that is none") from None
        raise


def _is_rsa_as_asked(spec: KeySpec, public: Any) -> bool:
    modulus, exponent = public[Attribute.MODULUS], public[Attribute.PUBLIC_EXPONENT]
    return int.from_bytes(modulus).bit_length() == spec.bits and int.from_bytes(exponent) == RSA_EXPONENT


def destroy(session: pkcs11.Session, spec: KeySpec, object_id: bytes) -> None:
    """Destroys every object of the key; none is no error. Raises `StoreLost` if one is there afterwards."""
    template = _ours(spec, object_id)
    for key in list(session.get_objects(template)):
        key.destroy()
    if list(session.get_objects(template)):
        raise StoreLost("the token did not destroy the key")


def spki_of(spec: KeySpec, public: Any) -> bytes:
    """DER SubjectPublicKeyInfo of a public key that the token has just made. RSA keys may be of any size."""
    if spec.family is KeyFamily.RSA:
        exponent, modulus = public[Attribute.PUBLIC_EXPONENT], public[Attribute.MODULUS]
        numbers = RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))
        return numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    point: bytes = public[Attribute.EC_POINT]
    edwards = spec.family is KeyFamily.EDWARDS
    size = 32 if edwards else 1 + 2 * ((spec.bits + 7) // 8)
    if len(point) > size and point[0] == _OCTET_STRING:  # PKCS#11 2.40 says DER, some modules give the bare point
        point = point[-size:]
    key = Ed25519PublicKey.from_public_bytes(point) if edwards else EllipticCurvePublicKey.from_encoded_point(
        _CURVES[spec], point
    )  # fmt: skip
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
