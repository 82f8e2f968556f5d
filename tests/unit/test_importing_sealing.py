"""Sealed wrapping keys open for their own key, domain and binding only, and fit into an import token."""

from __future__ import annotations

from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tests.support.keystore_parts import HOME, KEY, MULTI_REGION_KEY, OTHER_ACCOUNT, OTHER_KEY, OTHER_REGION

from kagitori_keystore.algorithms import WrappingSpec
from kagitori_keystore.base import Domain, MaterialCorrupt, RequestRefused
from kagitori_keystore.importing.sealing import seal, unseal
from kagitori_keystore.importing.unwrapping import make_wrapping_key
from kagitori_keystore.xaes import XaesKey

KEK = XaesKey(bytes(32))
BINDING = b"expires at noon; RSAES_OAEP_SHA_256"
NONCE = bytes(range(24))


@cache
def wrapping_key(spec: WrappingSpec = WrappingSpec.RSA_2048) -> RSAPrivateKey:
    return make_wrapping_key(spec)


def sealed(spec: WrappingSpec = WrappingSpec.RSA_2048, key_id: str = KEY, domain: Domain = HOME) -> bytes:
    return seal(KEK, NONCE, spec, domain, key_id, BINDING, wrapping_key(spec))


@pytest.mark.parametrize("spec", WrappingSpec)
@pytest.mark.parametrize("key_id", [KEY, MULTI_REGION_KEY])
def test_a_sealed_key_opens_and_is_short(spec: WrappingSpec, key_id: str) -> None:
    token = sealed(spec, key_id)
    assert len(token) <= 2_419  # with 3,725 left for what else an import token carries
    assert unseal(KEK, HOME, key_id, BINDING, token).public_key() == wrapping_key(spec).public_key()


def test_it_opens_for_its_own_key_domain_and_binding_only() -> None:
    token = sealed()
    wrong = [
        (KEK, OTHER_ACCOUNT, KEY, BINDING),
        (KEK, OTHER_REGION, KEY, BINDING),
        (KEK, HOME, OTHER_KEY, BINDING),
        (KEK, HOME, MULTI_REGION_KEY, BINDING),
        (KEK, HOME, KEY, b""),
        (KEK, HOME, KEY, BINDING + b"\x00"),
        (KEK, HOME, KEY, BINDING[:-1]),
        (XaesKey(bytes(31) + b"\x01"), HOME, KEY, BINDING),
    ]
    for kek, domain, key_id, binding in wrong:
        with pytest.raises(MaterialCorrupt):
            unseal(kek, domain, key_id, binding, token)


def test_a_region_and_a_binding_do_not_run_into_each_other() -> None:
    near, far = Domain("000000000000", "eu-west-1"), Domain("000000000000", "eu-west-12")
    token = seal(KEK, NONCE, WrappingSpec.RSA_2048, near, KEY, b"2 and more", wrapping_key())
    with pytest.raises(MaterialCorrupt):
        unseal(KEK, far, KEY, b" and more", token)


def test_no_byte_can_be_changed_and_no_end_cut() -> None:
    token = sealed()
    forgeries = [token[:size] for size in range(len(token))] + [token + b"\x00", bytes(4096)]
    for at in range(len(token)):
        changed = bytearray(token)
        changed[at] ^= 1 << (at % 8)
        forgeries.append(bytes(changed))
    for forged in forgeries:
        with pytest.raises(MaterialCorrupt) as caught:
            unseal(KEK, HOME, KEY, BINDING, forged)
        assert caught.value.__cause__ is None


def test_arguments_are_bounded() -> None:
    for key_id, binding in (("alias/a", BINDING), (KEY.upper(), BINDING), (KEY, bytes(1025))):
        with pytest.raises(RequestRefused):
            seal(KEK, NONCE, WrappingSpec.RSA_2048, HOME, key_id, binding, wrapping_key())
        with pytest.raises(RequestRefused):
            unseal(KEK, HOME, key_id, binding, sealed())


def test_the_private_key_is_not_readable_in_it() -> None:
    numbers = wrapping_key().private_numbers()
    for number in (numbers.p, numbers.q, numbers.d):
        assert number.to_bytes((number.bit_length() + 7) // 8) not in sealed()
