"""Requests nobody would send: Hypothesis strategies for any protobuf message, and for bytes that almost are one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

_INT32 = (0, 1, -1, 2, 7, 30, 365, 900, 2**31 - 1, -(2**31))
_INT64 = (*_INT32, 2**63 - 1, -(2**63), 253_402_300_800)
_UNSIGNED = (0, 1, 256, 2**32 - 1)
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_UINT32: _UNSIGNED,
    FieldDescriptor.CPPTYPE_UINT64: (*_UNSIGNED, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 2, 3, 99, -1, 2**31 - 1),
}
_ODD_TEXTS = (
    "", " ", "\x00", "\u202e\u0000", "\ufeff", "\ufffe", "\U0010ffff", "e\u0301", "\u0661" * 12, "a" * 300,
    "\n", "%s%n{0}${x}", "' OR 1=1 --", "../../etc/passwd", "*", "alias/", "alias/aws/x", "arn:aws:kms:::key/",
    "arn:aws:iam::000000000000:root", "1e999", "null", "default", "kgt_" + "x" * 43, "a" * 70_000,
)
ODD_POLICIES = (
    "{}", "[]", "[" * 20_000, '{"Statement":' * 3_000, '{"a":1,"a":2}', '{"Version":"2012-10-17","Statement":[]}',
    '{"Statement":[{"Effect":"Allow","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}]}',
    '{"Statement":{"Effect":"Allow","Principal":{"AWS":["*",{}]},"Action":[[]],"Resource":null}}',
    '{"Statement":{"Effect":"Allow","Action":"kms:' + "*?" * 500 + '","Resource":"arn:*:*:*:*:*"}}',
    '{"Version":1e400,"Statement":"\\ud800"}',
    '{"Statement":{"Effect":"Deny","NotPrincipal":"*","NotAction":"\\u0000"}}',
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}]}', "9" * 5000,
    json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"Service": "x" * 9000},
                                                       "Action": "kms:*", "Resource": "*", "Condition": {}}}),
)


@dataclass(frozen=True)
class Pool:
    """What exists, so that requests get past the first checks."""

    texts: Sequence[str]
    blobs: Sequence[bytes]
    sensible: Mapping[str, Sequence[Any]]
    """Member name -> values that make sense for it."""


def messages(descriptor: Descriptor, pool: Pool) -> st.SearchStrategy[Message]:
    """Messages that any client could have serialized, members set or not, sensible or not."""
    return _messages(descriptor, pool, depth=0)


def plausible(descriptor: Descriptor, pool: Pool) -> st.SearchStrategy[Message]:
    """Messages most members of which make sense, so that the odd one gets far."""
    members = {}
    for field in descriptor.fields:
        odd = _values(field, pool, depth=0)
        sensible: st.SearchStrategy[Any] = st.sampled_from(list(pool.sensible.get(field.name, (None,))))
        if field.name == "items" and field.message_type is not None:
            sensible = st.lists(plausible(field.message_type, pool), min_size=1, max_size=6)
        members[field.name] = st.one_of(*[sensible] * 9, odd)
    make = GetMessageClass(descriptor)
    return st.fixed_dictionaries(members).map(lambda values: make(**values))


def almost(descriptor: Descriptor, pool: Pool) -> st.SearchStrategy[bytes]:
    """Bytes of such a message with some of them changed, and bytes of no message at all."""
    return st.one_of(st.binary(max_size=64), st.builds(_mutated, messages(descriptor, pool), _changes()))


def _changes() -> st.SearchStrategy[list[tuple[float, bytes, int]]]:
    change = st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 4))
    return st.lists(change, min_size=1, max_size=4)


def _mutated(message: Message, changes: list[tuple[float, bytes, int]]) -> bytes:
    body = message.SerializeToString()
    for place, inserted, dropped in changes:
        at = int(place * len(body))
        body = body[:at] + inserted + body[at + dropped:]
    return body


def _messages(descriptor: Descriptor, pool: Pool, depth: int) -> st.SearchStrategy[Message]:
    make = GetMessageClass(descriptor)
    if depth > 3:
        return st.builds(make)
    members = {
        field.name: _values(field, pool, depth) for field in descriptor.fields
    }
    return st.fixed_dictionaries({}, optional=members).map(lambda values: make(**values))


def _values(field: FieldDescriptor, pool: Pool, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        texts = _texts(pool)
        value = field.message_type.fields_by_name["value"]
        if value.message_type is not None:
            return st.dictionaries(texts, _messages(value.message_type, pool, depth + 1), max_size=3)
        huge = st.sampled_from((300, 5_000)).map(lambda size: {str(number): "v" for number in range(size)})
        return st.one_of(st.dictionaries(texts, texts, max_size=3), huge)
    one = _single(field, pool, depth)
    if not field.is_repeated:
        return one
    many = one.flatmap(lambda value: st.sampled_from((11, 60, 260)).map(lambda times: [value] * times))
    return st.one_of(st.lists(one, max_size=3), many)


def _single(field: FieldDescriptor, pool: Pool, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return _messages(field.message_type, pool, depth + 1)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.one_of(st.sampled_from([*pool.blobs, b"", b"\x00" * 7_000]), st.binary(max_size=80))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        policy = "policy" in field.name and "name" not in field.name
        return st.sampled_from((*ODD_POLICIES, *pool.texts)) if policy else _texts(pool)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in _INTEGERS:
        return st.sampled_from(_INTEGERS[field.cpp_type])
    raise TypeError(f"{field.full_name} has a type that no request should have")


def _texts(pool: Pool) -> st.SearchStrategy[str]:
    known = st.sampled_from(list(pool.texts))
    anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    return st.one_of(known, known, st.sampled_from(_ODD_TEXTS), anything)
