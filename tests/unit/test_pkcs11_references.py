"""References to keys in tokens: every byte has its place."""

from __future__ import annotations

import pytest
from tests.support.keystore_parts import HOME, KEY, MULTI_REGION_KEY, OTHER_ACCOUNT, OTHER_KEY, OTHER_REGION

from kagitori_keystore.algorithms import MATERIAL_REFERENCE_MAX_BYTES, KeySpec
from kagitori_keystore.base import MaterialCorrupt, RequestRefused
from kagitori_keystore.pkcs11.references import Reference, decode, material_id_of, owner_of

REFERENCE = Reference(KeySpec.RSA_4096, b"o" * 16, b"b" * 16, b"w" * 32, b"check", b"t" * 32)


def test_references_come_back() -> None:
    """Laid out as the module says."""
    encoded = REFERENCE.encode()
    assert encoded == b"\x01\x12" + b"o" * 16 + b"b" * 16 + b"w" * 32 + b"check" + b"t" * 32
    assert decode(encoded) == REFERENCE
    assert encoded[:-32] == REFERENCE.body()
    assert REFERENCE.authenticated().endswith(REFERENCE.body())


def test_references_out_of_shape_are_corrupt() -> None:
    """Every truncation up to the check value, too long, another version, an unknown spec."""
    encoded = REFERENCE.encode()
    wrong = [encoded[:size] for size in range(66 + 32 + 1)]
    wrong += [bytes(1) + encoded[1:], b"\x02" + encoded[1:], encoded[:1] + b"\x00" + encoded[2:]]
    wrong += [encoded + bytes(MATERIAL_REFERENCE_MAX_BYTES)]
    for each in wrong:
        with pytest.raises(MaterialCorrupt):
            decode(each)


def test_owners_differ() -> None:
    """By account, Region and key id."""
    owners = {owner_of(domain, key) for domain in (HOME, OTHER_ACCOUNT, OTHER_REGION) for key in (KEY, OTHER_KEY)}
    assert len(owners) == 6
    assert owner_of(HOME, MULTI_REGION_KEY) != owner_of(HOME, MULTI_REGION_KEY[4:12] + KEY[8:])
    with pytest.raises(RequestRefused):
        owner_of(HOME, "alias/a")


def test_material_ids_name_token_key_and_check() -> None:
    """And nothing else of the reference: the owner may be told apart by the key id."""
    first = material_id_of(b"serial", REFERENCE)
    other = Reference(KeySpec.RSA_4096, b"p" * 16, b"b" * 16, b"w" * 32, b"check")
    checked = Reference(KeySpec.RSA_4096, b"o" * 16, b"b" * 16, b"w" * 32, b"chec2")
    assert len(first) == 64
    assert (
        len({first, material_id_of(b"seria", REFERENCE), *(material_id_of(b"serial", r) for r in (other, checked))})
        == 4
    )
