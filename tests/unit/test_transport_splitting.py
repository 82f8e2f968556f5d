"""Items of a batch are taken out of its body as the message's own parser would find them."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from kagitori.kms.v1.batch_pb2 import BatchEncryptRequest
from kagitori.kms.v1.cryptography_pb2 import EncryptRequest
from kagitori_server.transports.grpc.splitting import NoMessage, split

ITEMS = BatchEncryptRequest.DESCRIPTOR.fields_by_name["items"].number
BODIES = st.lists(
    st.builds(EncryptRequest, key_id=st.text(max_size=4), plaintext=st.binary(max_size=200)), max_size=6
).map(lambda items: BatchEncryptRequest(items=items).SerializeToString())


@given(BODIES)
def test_items_are_those_of_the_message(body: bytes) -> None:
    """All of them, in their order."""
    found = [EncryptRequest.FromString(each) for each in split(body, ITEMS, 1_024)]
    assert found == list(BatchEncryptRequest.FromString(body).items)


@given(BODIES, st.binary(max_size=12), st.integers(0, 40))
def test_what_the_parser_takes_is_taken(body: bytes, more: bytes, cut: int) -> None:
    """With bytes of any kind appended, or cut off: what the parser refuses for its outermost fields is refused."""
    broken = body[: len(body) - cut] + more
    try:
        message = BatchEncryptRequest.FromString(broken)
    except DecodeError:
        return
    try:
        found = split(broken, ITEMS, 1_024)
    except NoMessage:
        # Groups are fields that the contract doesn't have; the parser skips them.
        assert any(octet & 7 in (3, 4) for octet in more)
        return
    assert [EncryptRequest.FromString(each) for each in found] == list(message.items)


@pytest.mark.parametrize("body", [
    b"\x0a", b"\x0a\x05abc", b"\xff" * 11, b"\x08", b"\x09\x00", b"\x0d\x00", b"\x0b", b"\x02\x00", b"\x80" * 20,
], ids=lambda body: body.hex())
def test_what_is_no_message_is_refused(body: bytes) -> None:
    """Cut short, endless, or with a field that has no number."""
    with pytest.raises(NoMessage):
        split(body, ITEMS, 1_024)


def test_no_more_fields_are_looked_at() -> None:
    """However many there are."""
    assert len(split(b"\x0a\x00" * 1_000_000, ITEMS, 1_024)) == 1_024
