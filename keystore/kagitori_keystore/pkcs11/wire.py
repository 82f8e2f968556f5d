"""The protocol between the processes of a server and the worker of a token: what travels, and how it is read.

Everything is a frame: its length (4 bytes, big-endian, at most `FRAME_MAX_BYTES`), then

    request   operation (1) || deadline in milliseconds (4) || fields
    answer    status (1) || fields
    field     length (4) || bytes

An operation has a fixed number of fields, and an answer with status OK too; any other answer has one field, text
without secrets. Whatever is out of shape ends the connection. Nothing is ever unpickled or evaluated.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import socket
import struct

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

FRAME_MAX_BYTES = 1 << 17
"""More than the longest request: a context and a plaintext at their bounds, with room for what names the key."""
_READ_BYTES = 1 << 16
CHALLENGE_BYTES = 32
HELLO_SECONDS = 5.0
"""How long either end waits for the other's words when a connection begins."""
HELLO_FIELDS = 4
"""What a worker says to a client it lets in: serial number, what was tried (`settings.Found`), capabilities, signing
schemes."""

_HELLO = b"kagitori pkcs11 hello v1\x00"
_CREDENTIALS = struct.Struct("3i")
_TIMEVAL = struct.Struct("@ll")

_LENGTH = struct.Struct(">I")
_REQUEST = struct.Struct(">BI")


class Malformed(Exception):
    """A frame is out of shape: who sent it is not to be talked to."""


class Disconnected(Exception):
    """The other end is gone."""


class Op(enum.IntEnum):
    """Operations of the worker; the value is the byte that travels."""

    HEALTH = 1
    GENERATE = 2
    CHECK = 3
    DESTROY = 4
    ENCRYPT = 5
    DECRYPT = 6
    DATA_KEY = 7
    RANDOM = 8
    SIGN = 9
    OAEP = 10
    MAC = 11
    AGREE = 12
    CHANGE_PIN = 13
    OBJECTS = 14


FIELDS: dict[Op, tuple[int, int]] = {
    Op.HEALTH: (0, 0),
    Op.GENERATE: (3, 1),
    Op.CHECK: (2, 0),
    Op.DESTROY: (1, 0),
    Op.ENCRYPT: (4, 1),
    Op.DECRYPT: (5, 1),
    Op.DATA_KEY: (5, 2),
    Op.RANDOM: (1, 1),
    Op.SIGN: (4, 1),
    Op.OAEP: (4, 1),
    Op.MAC: (3, 1),
    Op.AGREE: (3, 1),
    Op.CHANGE_PIN: (1, 0),
    Op.OBJECTS: (1, 1),
}
"""How many fields are asked and answered."""


class Status(enum.IntEnum):
    """How an operation ended."""

    OK = 0
    REFUSED = 1
    CIPHERTEXT_INVALID = 2
    PUBLIC_KEY_INVALID = 3
    MATERIAL_UNKNOWN = 4
    MATERIAL_CORRUPT = 5
    SESSION_LOST = 6
    STORE_LOST = 7
    TOO_SLOW = 8


_STATUS_OF: dict[type[KeyStoreError], Status] = {
    RequestRefused: Status.REFUSED,
    CiphertextInvalid: Status.CIPHERTEXT_INVALID,
    PublicKeyInvalid: Status.PUBLIC_KEY_INVALID,
    MaterialUnknown: Status.MATERIAL_UNKNOWN,
    MaterialCorrupt: Status.MATERIAL_CORRUPT,
    SessionLost: Status.SESSION_LOST,
    StoreLost: Status.STORE_LOST,
    TooSlow: Status.TOO_SLOW,
}
_ERROR_OF = {status: error for error, status in _STATUS_OF.items()}


def status_of(error: KeyStoreError) -> Status:
    """The status under which an error travels: that of its class, or of the nearest one above."""
    return next((_STATUS_OF[kind] for kind in type(error).__mro__ if kind in _STATUS_OF), Status.STORE_LOST)


def error_of(status: Status, text: str) -> KeyStoreError:
    """The error that a status stands for."""
    kind = _ERROR_OF[status]
    return kind() if kind in (CiphertextInvalid, PublicKeyInvalid) else kind(text)


def join(fields: tuple[bytes, ...]) -> bytes:
    """Fields in a row."""
    return b"".join(part for each in fields for part in (_LENGTH.pack(len(each)), each))


def split(data: bytes, count: int) -> list[bytes]:
    """Exactly `count` fields. Raises `Malformed`."""
    fields, at, end = [], 0, len(data)
    for _ in range(count):
        if end - at < _LENGTH.size:
            raise Malformed
        size = _LENGTH.unpack_from(data, at)[0]
        at += _LENGTH.size
        if size > end - at:
            raise Malformed
        fields.append(data[at : at + size])
        at += size
    if at != end:
        raise Malformed
    return fields


def split_all(data: bytes) -> list[bytes]:
    """However many fields there are. Raises `Malformed`."""
    count, at = 0, 0
    while at < len(data):
        if len(data) - at < _LENGTH.size:
            raise Malformed
        at += _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
        count += 1
    return split(data, count)


def encode_request(op: Op, milliseconds: int, fields: tuple[bytes, ...]) -> bytes:
    """The body of a request."""
    return _REQUEST.pack(op, milliseconds) + join(fields)


def decode_request(body: bytes) -> tuple[Op, float, list[bytes]]:
    """(operation, seconds left, fields). Raises `Malformed`."""
    if len(body) < _REQUEST.size:
        raise Malformed
    code, milliseconds = _REQUEST.unpack_from(body)
    try:
        op = Op(code)
    except ValueError:
        raise Malformed from None
    return op, milliseconds / 1000, split(body[_REQUEST.size :], FIELDS[op][0])


def encode_answer(status: Status, fields: tuple[bytes, ...]) -> bytes:
    """The body of an answer."""
    return bytes((status,)) + join(fields)


def decode_answer(body: bytes, count: int) -> list[bytes]:
    """The fields of an answer; raises the `KeyStoreError` it stands for, or `Malformed`."""
    if not body:
        raise Malformed
    try:
        status = Status(body[0])
    except ValueError:
        raise Malformed from None
    if status is Status.OK:
        return split(body[1:], count)
    raise error_of(status, split(body[1:], 1)[0].decode("ascii", "replace"))


def send(connection: socket.socket, body: bytes) -> None:
    """Sends one frame. Raises `Disconnected`, and `TimeoutError` after the socket's own timeout or patience."""
    if len(body) > FRAME_MAX_BYTES:
        raise RequestRefused("a request is too long for the token")
    try:
        connection.sendall(_LENGTH.pack(len(body)) + body)
    except TimeoutError:
        raise
    except BlockingIOError:  # what a socket says that the kernel keeps the time of
        raise TimeoutError from None
    except OSError:
        raise Disconnected from None


def receive(connection: socket.socket) -> bytes:
    """One frame. Raises `Disconnected`, `Malformed`, and `TimeoutError` after the socket's own timeout or patience.

    Both ends speak in turns, so whatever is there belongs to this frame: mostly one system call reads it whole.
    """
    data = _some(connection)
    while len(data) < _LENGTH.size:
        data += _some(connection)
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    if end > _LENGTH.size + FRAME_MAX_BYTES:
        raise Malformed
    while len(data) < end:
        data += _some(connection)
    if len(data) > end:
        raise Malformed
    return data[_LENGTH.size :]


def _some(connection: socket.socket) -> bytes:
    try:
        data = connection.recv(_READ_BYTES)
    except TimeoutError:
        raise
    except BlockingIOError:
        raise TimeoutError from None
    except OSError:
        raise Disconnected from None
    if not data:
        raise Disconnected
    return data


def be_patient(connection: socket.socket, seconds: float) -> None:
    """Lets each step of a socket that blocks take so long at most: then `send` and `receive` raise `TimeoutError`.

    The same as the socket's own timeout, without a system call of its own before every step.
    """
    whole, part = divmod(round(seconds * 1_000_000), 1_000_000)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(whole, part))


def proof_of(pin: bytes, challenge: bytes) -> bytes:
    """Shows that a client knows the PIN, without sending it."""
    return hmac.digest(hashlib.sha256(_HELLO + pin).digest(), _HELLO + challenge, "sha256")


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """(process id, user id) of the other end of a Unix socket; for a client, of who listens."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(data)
    return process, user
