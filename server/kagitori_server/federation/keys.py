"""The keys of an OpenID Connect issuer: a JSON Web Key Set (RFC 7517), read strictly.

Keys that can't have signed a token of ours are left out: other types (`oct` above all), other uses, other algorithms.
A set that holds a private key is refused as a whole: whoever published it has lost it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from kagitori_server.policy.strict_json import PolicyJsonError, read_json

DOCUMENT_MAX = 65_536
"""Bytes of a key set."""
KEYS_MAX = 100
RSA_BITS = range(2_048, 8_193)
"""RFC 7518, 3.3 for the shortest; the longest bounds what checking a signature costs."""
_EXPONENT_BITS_MAX = 33

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {
    ("EC", "P-256"): frozenset({"ES256"}), ("EC", "P-384"): frozenset({"ES384"}), ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}), ("OKP", "Ed448"): frozenset({"EdDSA"}),
}
ALGORITHMS = _RSA.union(*_CURVES.values())
"""The algorithms of signatures that are accepted (RFC 7518, RFC 8037); all of them are asymmetric."""

_PUBLIC_MEMBERS = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})


class KeySetRefused(ValueError):
    """The document is no usable key set; the message says why without quoting it."""


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One public key, and the algorithms that signatures by it may have."""

    key_id: str | None
    algorithms: frozenset[str]
    public: PublicKey = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """The keys of an issuer that can sign tokens. Compared by identity: the same object is the same set."""

    document: str = field(repr=False)
    keys: tuple[IssuerKey, ...]

    def find(self, key_id: str | None, algorithm: str) -> IssuerKey | None:
        """The one key that such a token can be signed by; None when there is none, or not one alone."""
        fitting = [
            key for key in self.keys
            if algorithm in key.algorithms and (key_id is None or key.key_id == key_id)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def knows(self, key_id: str | None) -> bool:
        """Whether there is a key of that id; of tokens without one, whether there is any key."""
        return bool(self.keys) if key_id is None else any(key.key_id == key_id for key in self.keys)


def read_key_set(document: str) -> KeySet:
    """Reads a key set. Raises KeySetRefused, also when no key of it can sign tokens."""
    if len(document.encode("utf-8", "surrogatepass")) > DOCUMENT_MAX:
        raise KeySetRefused(f"it is longer than {DOCUMENT_MAX} bytes")
    try:
        content = read_json(document)
    except PolicyJsonError as error:
        raise KeySetRefused(str(error)) from None
    members = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(members, list) or len(members) > KEYS_MAX:
        raise KeySetRefused(f"it must be an object with a list `keys` of at most {KEYS_MAX} keys")
    keys = tuple(key for member in members if (key := _read_key(member)) is not None)
    if not keys:
        raise KeySetRefused("it holds no key that can sign tokens")
    return KeySet(document, keys)


def _read_key(member: object) -> IssuerKey | None:
    if not isinstance(member, dict):
        raise KeySetRefused("a key is not an object")
    kind, key_id = member.get("kty"), member.get("kid")
    if not isinstance(kind, str) or not isinstance(key_id, str | None):
        raise KeySetRefused("a key has no type, or an id that isn't text")
    if kind in _PUBLIC_MEMBERS and not _PRIVATE_MEMBERS.isdisjoint(member):
        raise KeySetRefused("it holds a private key")
    algorithms = _algorithms(member, kind)
    if not algorithms:
        return None
    public = _public_key({name: _text(member.get(name)) for name in _PUBLIC_MEMBERS[kind]}, algorithms)
    if isinstance(public, RSAPublicKey) and (
        public.key_size not in RSA_BITS or public.public_numbers().e.bit_length() > _EXPONENT_BITS_MAX
    ):
        return None
    return IssuerKey(key_id, algorithms, public)


def _algorithms(member: Mapping[str, object], kind: str) -> frozenset[str]:
    """What the key may sign tokens with; nothing for keys that we have no use for (RFC 7517, 4.2 to 4.4 and 5)."""
    if member.get("use", "sig") != "sig":
        return frozenset()
    operations = member.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return frozenset()
    curve = member.get("crv")
    possible = _RSA if kind == "RSA" else _CURVES.get((kind, curve if isinstance(curve, str) else ""), frozenset())
    only = member.get("alg")
    return possible if only is None else possible.intersection([only] if isinstance(only, str) else ())


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isascii():
        raise KeySetRefused("a key lacks a part of it")
    return value


def _public_key(members: Mapping[str, str], algorithms: Iterable[str]) -> PublicKey:
    try:
        public = jwt.PyJWK(dict(members), algorithm=min(algorithms)).key
    except (jwt.PyJWTError, ValueError, TypeError):
        # Not chained: the library's messages quote the key.
        raise KeySetRefused("a key can't be read") from None
    if not isinstance(public, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey):
        raise KeySetRefused("a key can't be read")
    return public
