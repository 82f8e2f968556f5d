"""The items of a batch, taken out of its body unread: reading them all at once could take long, and each has its turn.

Only the outermost fields are looked at (Protocol Buffers' encoding of messages), and no more than `most` of them: the
library can't be told to stop, and two million empty items in four MiB would hold the event loop for 46 ms.
"""

from __future__ import annotations

_VARINT_BYTES = 10
_FIXED = {1: 8, 5: 4}
"""Wire type -> bytes."""


class NoMessage(ValueError):
    """The bytes are no message."""


def split(body: bytes, number: int, most: int) -> list[bytes]:
    """The bodies of the field of that number, of the first `most` fields of a message. Raises NoMessage."""
    found: list[bytes] = []
    place = 0
    for _ in range(most):
        if place == len(body):
            break
        tag, place = _varint(body, place)
        kind = tag & 7
        if kind == 0:
            _, place = _varint(body, place)
        elif kind in _FIXED:
            place += _FIXED[kind]
        elif kind == 2:
            size, place = _varint(body, place)
            if tag >> 3 == number:
                found.append(body[place : place + size])
            place += size
        else:
            # Groups, which the contract doesn't have.
            raise NoMessage
        if place > len(body) or not tag >> 3:
            raise NoMessage
    return found


def _varint(body: bytes, place: int) -> tuple[int, int]:
    """A number, and where it ends."""
    number = 0
    for index, octet in enumerate(body[place : place + _VARINT_BYTES]):
        number |= (octet & 0x7F) << (7 * index)
        if octet < 0x80:
            return number, place + index + 1
    raise NoMessage
