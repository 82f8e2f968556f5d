"""The protocol between server and worker: what is read, and everything that is not."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from tests.support.keystore_contract import flips

from kagitori_keystore.base import (
    CiphertextInvalid,
    KeyStoreError,
    MaterialCorrupt,
    MaterialUnknown,
    PublicKeyInvalid,
    RequestRefused,
    SessionLost,
    StoreLost,
    TooSlow,
)
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused
from kagitori_keystore.pkcs11.wire import (
    FIELDS,
    FRAME_MAX_BYTES,
    Disconnected,
    Malformed,
    Op,
    Status,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
    error_of,
    join,
    proof_of,
    receive,
    send,
    split,
    split_all,
    status_of,
)

ERRORS = (
    RequestRefused("r"), CiphertextInvalid(), PublicKeyInvalid(), MaterialUnknown("u"), MaterialCorrupt("c"),
    SessionLost("s"), StoreLost("l"), TooSlow("t"),
)  # fmt: skip


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    for end in ends:
        end.settimeout(5)
    yield ends
    for end in ends:
        end.close()


def test_requests_come_back() -> None:
    """Every operation with as many fields as it has, of any length."""
    assert set(FIELDS) == set(Op)
    for op in Op:
        fields = tuple(bytes([at]) * (at * 300) for at in range(FIELDS[op][0]))
        assert decode_request(encode_request(op, 1500, fields)) == (op, 1.5, list(fields))


def test_requests_out_of_shape_are_refused() -> None:
    """Another number of fields, unknown operations, every truncation, one byte more."""
    body = encode_request(Op.MAC, 1, (b"reference", b"owner", b"message"))
    wrong = [body[:size] for size in range(len(body))] + [body + b"\x00", body + join((b"",)), b"\x00" + body[1:]]
    wrong += [bytes((code,)) + body[1:] for code in range(len(Op) + 1, 256)]
    wrong += [encode_request(Op.MAC, 1, (b"",) * 2), encode_request(Op.MAC, 1, (b"",) * 4)]
    for each in wrong:
        with pytest.raises(Malformed):
            decode_request(each)


def test_no_flipped_bit_reads_beyond_its_field() -> None:
    """A length that was tampered with is malformed, or gives the same bytes cut elsewhere: never more."""
    body = join((b"one", b"", b"three"))
    for forged in flips(body):
        for read in (lambda data: split(data, 3), split_all):
            try:
                fields = read(forged)
            except Malformed:
                continue
            assert join(tuple(fields)) == forged


def test_answers_come_back() -> None:
    """Those of success with their fields, those of failure as the error they stand for."""
    assert decode_answer(encode_answer(Status.OK, (b"a", b"")), 2) == [b"a", b""]
    for error in ERRORS:
        with pytest.raises(KeyStoreError) as caught:
            decode_answer(encode_answer(status_of(error), (str(error).encode(),)), 1)
        assert type(caught.value) is type(error)
        assert str(caught.value) == str(error)


def test_every_status_has_an_error_and_every_subclass_a_status() -> None:
    """None is answered as success, none as another one's fault."""
    assert {type(error_of(status, "x")) for status in Status if status is not Status.OK} == {type(e) for e in ERRORS}
    assert status_of(ConnectRefused(ConnectFault.PIN_REFUSED)) is Status.STORE_LOST


def test_answers_out_of_shape_are_refused() -> None:
    """Unknown status, wrong number of fields, nothing at all."""
    for wrong in (b"", b"\x09", b"\xff" + join((b"x",)), b"\x00" + join((b"x", b"y")), b"\x01", b"\x01" + join(())):
        with pytest.raises(Malformed):
            decode_answer(wrong, 1)


def test_frames_arrive_whole(pair: tuple[socket.socket, socket.socket]) -> None:
    """Empty, short, and in pieces."""
    here, there = pair
    for body in (b"", b"x", bytes(60_000)):
        send(here, body)
        assert receive(there) == body
    for part in (b"\x00", b"\x00\x00", b"\x03a", b"b", b"c"):
        here.sendall(part)
    assert receive(there) == b"abc"


def test_frames_out_of_shape_are_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    """Too long, too much, cut short, silent."""
    here, there = pair
    with pytest.raises(RequestRefused):
        send(here, bytes(FRAME_MAX_BYTES + 1))
    here.sendall((FRAME_MAX_BYTES + 1).to_bytes(4))
    with pytest.raises(Malformed):
        receive(there)
    here.sendall(b"\x00\x00\x00\x01ab")
    with pytest.raises(Malformed):
        receive(there)
    there.settimeout(0.05)
    here.sendall(b"\x00\x00\x00\x05ab")
    with pytest.raises(TimeoutError):
        receive(there)
    here.close()
    with pytest.raises(Disconnected):
        receive(there)


def test_a_proof_is_of_one_pin_and_one_challenge() -> None:
    """And shows neither."""
    proofs = {proof_of(pin, challenge) for pin in (b"1", b"2") for challenge in (bytes(32), b"\x01" * 32)}
    assert len(proofs) == 4
    assert all(len(proof) == 32 for proof in proofs)
