"""Which module makes and opens the keys of which family: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kagitori_keystore.algorithms import KeyFamily, KeySpec
from kagitori_keystore.secret import RandomSource
from kagitori_keystore.software import ecc, edwards, macs, ml_dsa, rsa, symmetric
from kagitori_keystore.software.abilities import OpenedKey
from kagitori_keystore.software.libcrypto import LibCrypto
from kagitori_keystore.software.ml_kem import MlKem


@dataclass(frozen=True, slots=True)
class Family:
    """What there is to know of a family.

    `make` draws a material in the form of its spec, which the caller overwrites. `open` copies what it needs
    from a material that may be overwritten afterwards, and raises `MaterialCorrupt` if it is of another spec.
    `make_pair` makes (PKCS#8, SubjectPublicKeyInfo) for use outside of the store, None if there is no such use.
    """

    make: Callable[[KeySpec, RandomSource], bytearray]
    open: Callable[[KeySpec, bytearray], OpenedKey]
    make_pair: Callable[[KeySpec, RandomSource], tuple[bytes, bytes]] | None = None


def families(libcrypto: LibCrypto | None) -> Mapping[KeyFamily, Family]:
    """All families. Without a `libcrypto` keys of ML_KEM_512 are neither opened nor made in pairs."""
    ml_kem = MlKem(libcrypto)
    return {
        KeyFamily.SYMMETRIC: Family(symmetric.make, symmetric.open_key),
        KeyFamily.RSA: Family(rsa.make, rsa.open_key, rsa.make_pair),
        KeyFamily.ECC_NIST: Family(ecc.make, ecc.open_nist, ecc.make_pair),
        KeyFamily.ECC_SECG: Family(ecc.make, ecc.open_secg, ecc.make_pair),
        KeyFamily.EDWARDS: Family(edwards.make, edwards.open_key, edwards.make_pair),
        KeyFamily.HMAC: Family(macs.make, macs.open_key),
        KeyFamily.ML_DSA: Family(ml_dsa.make, ml_dsa.open_key),
        KeyFamily.ML_KEM: Family(ml_kem.make, ml_kem.open_key, ml_kem.make_pair),
    }


def specs_made(libcrypto: LibCrypto | None) -> frozenset[KeySpec]:
    """The specs whose keys a store with these families makes and opens."""
    return frozenset(spec for spec in KeySpec if libcrypto is not None or spec is not KeySpec.ML_KEM_512)
