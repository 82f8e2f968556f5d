"""The blob format: known bytes of version 1, exact bounds, nothing but `CiphertextInvalid` for the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st
from tests.support.keystore_parts import KEY, MULTI_REGION_KEY

from kagitori_keystore.base import CiphertextInvalid, RequestRefused, StoreKind
from kagitori_keystore.ciphertext import (
    HEADER_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    aad_prefix,
    encode_header,
    encode_key_id,
    parse,
    with_context,
)
from kagitori_keystore.xaes import XaesKey

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "ciphertext-v1.json").read_text(encoding="ascii")
)
MATERIAL_ID = "ab" * 32


def blob_of(kind: StoreKind, plaintext_size: int, key_id: str = KEY) -> bytes:
    return encode_header(kind, key_id, MATERIAL_ID) + bytes(NONCE_BYTES[kind] + plaintext_size + TAG_BYTES)


def cmac_block(key: bytes, block: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(block)
    return mac.finalize()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["comment"])
def test_version_1_is_read_for_ever(vector: dict[str, Any]) -> None:
    """Blobs on file parse into their fields and open."""
    blob, material, context = (bytes.fromhex(vector[name]) for name in ("blob", "material", "context"))
    parsed = parse(blob)
    assert parsed.kind is StoreKind[vector["kind"]]
    assert parsed.key_id == vector["key_id"]
    assert parsed.material_id == vector["material_id"]
    assert parsed.nonce.hex() == vector["nonce"]
    aad = with_context(aad_prefix(parsed.header), context)
    plaintext = bytes.fromhex(vector["plaintext"])
    if parsed.kind is StoreKind.SOFTWARE:
        assert XaesKey(material).decrypt(parsed.nonce, parsed.sealed, aad) == plaintext
    else:
        assert AESGCM(material).decrypt(parsed.nonce, parsed.sealed, aad) == plaintext


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["comment"])
def test_version_1_is_what_the_docstring_draws(vector: dict[str, Any]) -> None:
    """The blob on file is composed again from the documented bytes, with CMAC and AES-GCM alone."""
    material, context, nonce, plaintext = (
        bytes.fromhex(vector[name]) for name in ("material", "context", "nonce", "plaintext")
    )
    key_id: str = vector["key_id"]
    header = (
        b"\x01"
        + (b"\x01" if vector["kind"] == "SOFTWARE" else b"\x02")
        + (b"\x02" if key_id.startswith("mrk-") else b"\x01")
        + bytes.fromhex(key_id.removeprefix("mrk-").replace("-", ""))
        + bytes.fromhex(vector["material_id"])
    )
    aad = b"kagitori ciphertext v1\x00" + header + len(context).to_bytes(4, "big") + context
    if vector["kind"] == "SOFTWARE":
        material = b"".join(
            cmac_block(material, bytes((0, counter)) + b"X\x00" + nonce[:12]) for counter in (1, 2)
        )
    sealed = AESGCM(material).encrypt(nonce[-12:], plaintext, aad)
    assert (header + nonce + sealed).hex() == vector["blob"]


@pytest.mark.parametrize("kind", NONCE_BYTES)
@pytest.mark.parametrize("key_id", [KEY, MULTI_REGION_KEY])
@pytest.mark.parametrize("size", [1, 4096])
def test_bounds_are_inclusive(kind: StoreKind, key_id: str, size: int) -> None:
    """The smallest and the largest blob of each kind and form come apart as they were put together."""
    blob = blob_of(kind, size, key_id)
    parsed = parse(blob)
    assert (parsed.kind, parsed.key_id, parsed.material_id) == (kind, key_id, MATERIAL_ID)
    assert (len(parsed.header), len(parsed.nonce)) == (HEADER_BYTES, NONCE_BYTES[kind])
    assert len(parsed.sealed) == size + TAG_BYTES
    assert parsed.header + parsed.nonce + parsed.sealed == blob


@pytest.mark.parametrize("kind", NONCE_BYTES)
def test_other_lengths_are_refused(kind: StoreKind) -> None:
    """No plaintext, too much of it, or any length below: refused. So is all beyond 6,144 bytes."""
    whole = blob_of(kind, 1)
    sizes = [0, 4097, 6144 - HEADER_BYTES - NONCE_BYTES[kind] - TAG_BYTES, 6145, 1 << 20]
    for blob in [whole[:size] for size in range(len(whole))] + [blob_of(kind, size) for size in sizes]:
        with pytest.raises(CiphertextInvalid):
            parse(blob)


@pytest.mark.parametrize("at", [0, 1, 2], ids=["version", "kind", "form"])
def test_unknown_codes_are_refused(at: int) -> None:
    """Each of the three code bytes has two or fewer known values; all others are refused."""
    known = {0: {1}, 1: {1, 2}, 2: {1, 2}}[at]
    blob = blob_of(StoreKind.SOFTWARE, 100)
    for value in set(range(256)) - known:
        with pytest.raises(CiphertextInvalid):
            parse(blob[:at] + bytes((value,)) + blob[at + 1 :])


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_reads_back(blob: bytes) -> None:
    """Whatever comes in, the parser raises its one error or gives back every byte."""
    for candidate in (blob, b"\x01\x01\x01" + blob, b"\x01\x02\x02" + blob):
        try:
            parsed = parse(candidate)
        except CiphertextInvalid:
            continue
        assert parsed.header + parsed.nonce + parsed.sealed == candidate
        assert encode_header(parsed.kind, parsed.key_id, parsed.material_id) == parsed.header


@pytest.mark.parametrize(
    "key_id",
    [
        "",
        "mrk-",
        KEY.upper(),
        KEY + "\n",
        " " + KEY,
        KEY.replace("-", ""),
        MULTI_REGION_KEY + "0",
        MULTI_REGION_KEY.upper(),
        "mrk-" + KEY,
        "１" + KEY[1:],
    ],
)
def test_other_key_ids_are_refused(key_id: str) -> None:
    """One spelling per key id, so that two strings never name one key."""
    with pytest.raises(RequestRefused):
        encode_key_id(key_id)


def test_forms_do_not_collide() -> None:
    """A UUID and a multi-Region id with the same digits are different keys."""
    assert encode_key_id(KEY) != encode_key_id("mrk-" + KEY.replace("-", ""))
    assert encode_key_id(KEY)[1:] == encode_key_id("mrk-" + KEY.replace("-", ""))[1:]


@pytest.mark.parametrize("material_id", ["", "ab" * 31, "ab" * 33])
def test_material_id_size_is_checked(material_id: str) -> None:
    """A header is never written with fields out of place."""
    with pytest.raises(RequestRefused):
        encode_header(StoreKind.SOFTWARE, KEY, material_id)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_additional_data_is_injective(one: bytes, other: bytes) -> None:
    """Different contexts give different additional data, and none is a prefix game with the header."""
    prefix = aad_prefix(encode_header(StoreKind.SOFTWARE, KEY, MATERIAL_ID))
    assert (with_context(prefix, one) == with_context(prefix, other)) == (one == other)
