"""JSON into members and answers into JSON, without a server."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagitori_server.model.errors import KmsError, SerializationException, ValidationException
from kagitori_server.model.keys import EncryptionAlgorithm
from kagitori_server.model.shape import Shape, member
from kagitori_server.operations.shapes.crypto import EncryptRequest, EncryptResponse, GenerateDataKeyResponse
from kagitori_server.operations.shapes.importing import ImportKeyMaterialRequest
from kagitori_server.operations.shapes.keys import CreateKeyRequest
from kagitori_server.transports.awsjson.codec import parse_object
from kagitori_server.transports.awsjson.members import object_reader, object_writer, text_writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A structure."""

    made: float
    blob: bytes
    none: str | None = None
    algorithms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """One with structures in it."""

    aws_account_id: str
    truncated: bool
    items: tuple[Inner, ...]
    names: dict[str, str]


def encrypt_members(body: bytes) -> dict[str, Any]:
    """The members of an Encrypt."""
    return object_reader(EncryptRequest, {})(parse_object(body))


def test_members_of_a_request() -> None:
    """Blobs are decoded; null is absent, and what isn't known is ignored."""
    body = json.dumps({
        "KeyId": "alias/x", "Plaintext": "aGk=", "EncryptionContext": {"KeyId": "鍵"}, "GrantTokens": None,
        "DryRun": False, "key_id": "other", "keyId": "other", "Unheard": {"of": [1, {}]},
    })
    assert encrypt_members(body.encode()) == {
        "key_id": "alias/x", "plaintext": b"hi", "encryption_context": {"KeyId": "鍵"}, "dry_run": False,
    }


@pytest.mark.parametrize("text", [
    "aGk", "aGk==", "aGk=\n", " aGk=", "aG=k", "aGk=aGk=", "aG-_", "=", "a", "aGk=é", "Ａ", "====", "aGk=\u0000",
])
def test_blobs_are_base64_by_the_letter(text: str) -> None:
    """Nothing is skipped, completed or guessed."""
    with pytest.raises(SerializationException):
        encrypt_members(json.dumps({"Plaintext": text}).encode())


@pytest.mark.parametrize("value", [1, True, ["aGk="], {"a": "b"}, 1.5])
def test_blobs_are_texts(value: Any) -> None:
    """Other kinds are no blobs."""
    with pytest.raises(SerializationException):
        encrypt_members(json.dumps({"Plaintext": value}).encode())


@pytest.mark.parametrize("body", [
    b"", b" ", b"null", b"[]", b'"x"', b"1", b"{", b"{}{}", b"{'a':1}", b'{"a":1,}', b'{"a" 1}', b"\xef\xbb\xbf{}",
    '{"a":1}'.encode("utf-16"), '{"a":1}'.encode("utf-32"), b'{"a":"\xff"}', b'{"a":"\x01"}', b'{"a":NaN}',
    b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b'{"KeyId":"a","KeyId":"a"}',
    b'{"EncryptionContext":{"a":"1","a":"2"}}', b'{"Other":[{"b":1,"b":2}]}', b"[" * 100_000, b'{"a":' * 100_000,
    b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}", b'{"a":' + b"9" * 10_000 + b"}", b"{}\x00", b"/**/{}",
])
def test_bodies_that_are_no_object(body: bytes) -> None:
    """Refused as such, and the message quotes nothing."""
    with pytest.raises(SerializationException) as refused:
        encrypt_members(body)
    assert refused.value.__cause__ is None
    assert len(refused.value.message) < 100


@pytest.mark.parametrize("body", [
    b'{"KeyId":1,"Plaintext":"aGk="}', b'{"KeyId":"a","Plaintext":"aGk=","DryRun":"true"}',
    b'{"KeyId":"a","Plaintext":"aGk=","DryRun":1}', b'{"KeyId":"a","Plaintext":"aGk=","GrantTokens":"a"}',
    b'{"KeyId":"a","Plaintext":"aGk=","GrantTokens":{"a":"b"}}', b'{"KeyId":"\\ud800","Plaintext":"aGk="}',
    b'{"KeyId":"a","Plaintext":"aGk=","EncryptionContext":[]}', b'{"KeyId":["a"],"Plaintext":"aGk="}',
    b'{"KeyId":"a","Plaintext":"aGk=","EncryptionContext":{"a":1}}',
    b'{"KeyId":"a","Plaintext":"aGk=","EncryptionContext":{"a":null}}',
    b'{"KeyId":"a","Plaintext":"aGk=","EncryptionContext":{"\\udfff":"a"}}',
    b'{"KeyId":"a","Plaintext":"aGk=","EncryptionAlgorithm":7}',
])
def test_wrong_types(body: bytes) -> None:
    """Are told by the shape, without a conversion between kinds."""
    with pytest.raises(SerializationException):
        Shape(EncryptRequest).build(encrypt_members(body))


def test_wrong_numbers() -> None:
    """Numbers of any size are read; a fraction is no whole number."""
    read = object_reader(CreateKeyRequest, {})
    assert read(parse_object(b'{"MultiRegion":true,"Tags":[{"TagKey":"a","TagValue":"b"}]}')) == {
        "multi_region": True, "tags": [{"tag_key": "a", "tag_value": "b"}],
    }

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Sized:
        """Has a number."""

        number_of_bytes: int | None = member(minimum=1, maximum=1024)

    shape = Shape(Sized)
    for body, refusal in (
        (b'{"NumberOfBytes":1.0}', SerializationException), (b'{"NumberOfBytes":1e3}', SerializationException),
        (b'{"NumberOfBytes":1e999}', SerializationException), (b'{"NumberOfBytes":"1"}', SerializationException),
        (b'{"NumberOfBytes":true}', SerializationException), (b'{"NumberOfBytes":-1}', ValidationException),
        (b'{"NumberOfBytes":' + b"9" * 4_000 + b"}", ValidationException),
    ):
        with pytest.raises(refusal):
            shape.build(object_reader(Sized, {})(parse_object(body)))


@pytest.mark.parametrize(("text", "expected"), [
    ("1700000000", 1_700_000_000.0), ("1700000000.123", 1_700_000_000.123), ("1.7E9", 1_700_000_000.0),
    ('"2023-11-14T22:13:20Z"', 1_700_000_000.0), ('"2023-11-14T22:13:20.5Z"', 1_700_000_000.5),
])
def test_times(text: str, expected: float) -> None:
    """Seconds since the epoch, or ISO 8601."""
    body = f'{{"ValidTo":{text}}}'.encode()
    assert object_reader(ImportKeyMaterialRequest, {})(parse_object(body)) == {"valid_to": expected}


@pytest.mark.parametrize("text", [
    '"2023-11-14"', '"2023-11-14T22:13:20"', '"2023-11-14T22:13:20+09:00"', '"2023-13-14T22:13:20Z"', '"now"', '""',
    '"1700000000"', "true", "[1]", "1e400",
])
def test_no_times(text: str) -> None:
    """Anything else isn't one; what JSON can say and no clock show is out of bounds."""
    with pytest.raises((SerializationException, ValidationException)):
        Shape(ImportKeyMaterialRequest).build({
            "key_id": "a", "import_token": b"t", "encrypted_key_material": b"m",
            **object_reader(ImportKeyMaterialRequest, {})(parse_object(f'{{"ValidTo":{text}}}'.encode())),
        })


def test_answers() -> None:
    """None is left out; blobs are base64, times have milliseconds, lists may be left out when empty."""
    write = object_writer(Outer, {"aws_account_id": "AWSAccountId"}, frozenset({"algorithms"}))
    inner = Inner(made=1_700_000_000.123_456, blob=b"\xff\xfe")
    assert write(Outer(aws_account_id="1", truncated=False, items=(inner,), names={})) == {
        "AWSAccountId": "1", "Truncated": False, "Items": [{"Made": 1_700_000_000.123, "Blob": "//4="}], "Names": {},
    }


@given(st.binary(max_size=80), st.text(max_size=80), st.booleans())
def test_texts_and_blobs_are_written_alike(blob: bytes, text: str, part: bool) -> None:
    """Shapes with nothing else are written without a JSON object in between, and come out the same."""
    full = EncryptResponse(ciphertext_blob=blob, key_id=text, encryption_algorithm=EncryptionAlgorithm.RSAES_OAEP_SHA_1)
    key = GenerateDataKeyResponse(
        ciphertext_blob=blob, plaintext=None if part else blob, key_id=text,
        ciphertext_for_recipient=blob if part else None, key_material_id=None if part else text,
    )
    for answer in (full, key):
        quick = text_writer(type(answer), {})
        assert quick is not None
        plain = object_writer(type(answer), {})(answer)
        assert quick(answer) == json.dumps(plain, separators=(",", ":"))
    assert text_writer(Outer, {}) is None


def test_shapes_that_json_cannot_hold() -> None:
    """Are found at the start, not in a call."""

    @dataclass(frozen=True)
    class Odd:
        """Has a set."""

        values: set[str]

    for compile_it in (object_reader, object_writer):
        with pytest.raises(TypeError):
            compile_it(Odd, {})


@given(st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["KeyId", "Plaintext", "EncryptionContext", "GrantTokens", "DryRun", "x"]), inner
        ), max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
))
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    """In the vocabulary."""
    with contextlib.suppress(KmsError):
        Shape(EncryptRequest).build(encrypt_members(body))
