"""Whatever bytes arrive, a decoder gives members or says that it can't read them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from kagitori_server.model.errors import KmsError, SerializationException
from kagitori_server.operations.row import Operation
from kagitori_server.operations.table import TABLE
from kagitori_server.transports.grpc.contract import SERVICES, methods, path
from kagitori_server.transports.grpc.peer import Peer, read_metadata, source_ip

RPCS = {rpc.name: rpc for service in SERVICES for rpc in service.methods}
SERVED = methods(TABLE)
NAMES = sorted(TABLE)


def varint(number: int) -> bytes:
    """The number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


@st.composite
def bodies(draw: st.DrawFn, descriptor: Descriptor) -> bytes:
    """Fields of the message with values of its own or any other wire type, and now and then one that it lacks."""
    numbers = [field.number for field in descriptor.fields] or [1]
    body = bytearray()
    for _ in range(draw(st.integers(0, 6))):
        number = draw(st.sampled_from(numbers) | st.integers(1, 2**29 - 1))
        wire = draw(st.sampled_from([0, 2, 2, 2, 1, 5]))
        body += varint(number << 3 | wire)
        if wire == 0:
            body += varint(draw(st.integers(0, 2**64 - 1)))
        elif wire == 2:
            content = draw(st.binary(max_size=40) | st.text(max_size=10).map(str.encode))
            body += varint(len(content)) + content
        else:
            body += draw(st.binary(min_size=8 if wire == 1 else 4, max_size=8 if wire == 1 else 4))
    return bytes(body)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_decoders_give_members_or_refuse(name: str, data: Any) -> None:
    """And what they give, the shape takes or refuses, in the vocabulary's words."""
    rpc = RPCS[name]
    method = SERVED[path(rpc)]
    body = data.draw(st.binary(max_size=60) | bodies(rpc.input_type))
    try:
        members = method.decode(body)
    except SerializationException:
        return
    row = TABLE[name]
    if isinstance(row, Operation):
        with contextlib.suppress(KmsError):
            row.request.build(members)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["authorization", "kagitori-region", "user-agent", "x"]),
            st.text(max_size=50) | st.binary(max_size=20),
        ),
        max_size=6,
    )
)
def test_metadata_never_fails(metadata: list[tuple[str, str | bytes]]) -> None:
    """It makes evidence, and a Region or a problem but never both."""
    sent = read_metadata(metadata, Peer())
    assert sent.region is None or sent.region_problem is None
    assert sent.evidence.token is None or isinstance(sent.evidence.token, str)


@given(st.text(max_size=60) | st.text(max_size=30).map(lambda text: "ipv6:" + text))
def test_addresses_never_fail(address: str) -> None:
    """What isn't an address is none."""
    assert isinstance(source_ip(address), str)
