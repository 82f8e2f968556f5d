"""The decoder's grammar: cbor2 and the examples of RFC 8949 on one side, what it refuses on the other."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kagitori_server.attestation.cbor import Value, decode
from kagitori_server.attestation.errors import AttestationFault, AttestationRefused

NUMBERS = st.integers(-(1 << 64), (1 << 64) - 1)
KEYS = st.integers(-(1 << 64), (1 << 64) - 1) | st.text(max_size=30)
LEAVES = st.none() | NUMBERS | st.binary(max_size=300) | st.text(max_size=100)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)


def refused(data: bytes) -> None:
    with pytest.raises(AttestationRefused) as caught:
        decode(data)
    assert caught.value.fault is AttestationFault.MALFORMED


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((depth(inner) for inner in value.values()), default=0)
    return 1 + max((depth(inner) for inner in value), default=0) if isinstance(value, list) else 0


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_cbor2_writes_is_read_or_too_deep(value: Value) -> None:
    data = cbor2.dumps(value)
    if depth(value) > 4:
        refused(data)
    else:
        assert decode(data) == value


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60))
def test_what_is_read_is_what_cbor2_reads(data: bytes) -> None:
    try:
        value = decode(data)
    except AttestationRefused:
        return
    assert cbor2.loads(data) == value


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1a000f4240", 1_000_000),
        ("1bffffffffffffffff", 18_446_744_073_709_551_615),
        ("20", -1),
        ("3bffffffffffffffff", -18_446_744_073_709_551_616),
        ("3903e7", -1000),
        ("f6", None),
        ("40", b""),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("60", ""),
        ("62c3bc", "\u00fc"),
        ("64f0908591", "\U00010151"),
        ("80", []),
        ("8301820203820405", [1, [2, 3], [4, 5]]),
        ("a0", {}),
        ("a201020304", {1: 2, 3: 4}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ],
)
def test_examples_of_rfc_8949_are_read(data: str, value: Value) -> None:
    assert decode(bytes.fromhex(data)) == value


@pytest.mark.parametrize(
    "data",
    [
        # Appendix A: big numbers, floats, booleans, simple values, tags, indefinite lengths.
        "c249010000000000000000", "f90000", "fa47c35000", "fb3ff199999999999a", "f97c00", "f4", "f5",
        "f7", "f0", "f8ff",
        "c074323031332d30332d32315432303a30343a30305a", "c11a514b67b0", "d74401020304", "d818456449455446",
        "5f42010243030405ff",
        "7f657374726561646d696e67ff", "9fff", "9f018202039f0405ffff", "bf61610161629f0203ffff",
        # Appendix F: cut short, reserved, break where none may be.
        "", "18", "19", "1a", "1b", "1901", "1a0102", "38", "58", "78", "98", "9a01ff00", "b8", "d8", "f8", "41", "61",
        "5affffffff00", "5bffffffffffffffff010203", "7affffffff00", "81", "818181818181818181", "8200", "a1", "a20102",
        "a100", "a2000000", "1c", "1d", "1e", "3c", "5c", "7c", "9c", "bc", "dc", "fc", "ff", "81ff", "a1ff", "1f",
        "3f",
        # Section 3 and 4.2.1: long forms, repeated keys, keys of other kinds, bytes behind the item.
        "1817", "1900ff", "1a0000ffff", "1b00000000ffffffff", "580101", "7800", "990001f6", "b800",
        "a201020103", "a2616101616102", "a1f600", "a14000", "a18000", "a1a000", "0000", "f6f6",
        "1cffffffffffffffffffffffffffffffff", "61ff", "62c328",
    ],
)  # fmt: skip
def test_all_else_is_refused(data: str) -> None:
    refused(bytes.fromhex(data))


def test_depth_and_items_are_bounded() -> None:
    assert decode(b"\x81" * 4 + b"\x00") == [[[[0]]]]
    refused(b"\x81" * 5 + b"\x00")
    assert decode(b"\x98\xff" + b"\x00" * 255) == [0] * 255
    refused(b"\x99\x01\x00" + b"\x00" * 256)
    refused(b"\x9b" + b"\xff" * 8)
    refused(b"\xbb" + b"\xff" * 8)


def test_open_maps_and_tags_are_taken_where_they_are_expected_only() -> None:
    opened = bytes.fromhex("bf616101616202ff")
    assert decode(opened, outer_map_may_be_open=True) == {"a": 1, "b": 2}
    assert decode(b"\xd2\x80", tag=18) == []
    assert decode(b"\x80", tag=18) == []
    for data in (opened, b"\xd2\x80", b"\xd2\xd2\x80"):
        refused(data)
    for data in (b"\xbf", b"\xbf\x61a", b"\xbf\x61a\xff", opened + b"\x00", opened + b"\xff", b"\xbf\xff\xff"):
        with pytest.raises(AttestationRefused):
            decode(data, outer_map_may_be_open=True)
    for text in ("bf616101616102ff", "bf6161bfffff", "a16161bf616101ff", "bf61619fffff"):
        with pytest.raises(AttestationRefused):
            decode(bytes.fromhex(text), outer_map_may_be_open=True)
    with pytest.raises(AttestationRefused):
        decode(b"\xbf" + b"".join(b"\x18" + bytes((number,)) + b"\x00" for number in range(24, 200)) + b"\xff",
               outer_map_may_be_open=True)  # fmt: skip
