"""Requests as they come from the wire, turned into calls of the desk: one row for each operation."""

from __future__ import annotations

from collections.abc import Callable

from kagitori_keystore.algorithms import (
    DATA_KEY_MAX_BYTES,
    RANDOM_MAX_BYTES,
    SPEC_BY_CODE,
    AsymmetricEncryptionAlgorithm,
    SigningAlgorithm,
)
from kagitori_keystore.base import RequestRefused
from kagitori_keystore.pkcs11.desk import Desk
from kagitori_keystore.pkcs11.references import OWNER_BYTES
from kagitori_keystore.pkcs11.session import Deadline
from kagitori_keystore.pkcs11.wire import Malformed, Op, join

LISTED_AT_ONCE = 500
Handler = Callable[[Desk, Deadline, list[bytes]], tuple[bytes, ...]]


def handle(desk: Desk, op: Op, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
    """Serves one request. Raises `KeyStoreError`, and `Malformed` for what no client of ours sends."""
    return HANDLERS[op](desk, deadline, fields)


def _health(desk: Desk, deadline: Deadline, _: list[bytes]) -> tuple[bytes, ...]:
    desk.health(deadline)
    return ()


def _generate(desk: Desk, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
    code, owner, name = fields
    if len(code) != 1 or code[0] not in SPEC_BY_CODE or len(owner) != OWNER_BYTES or not name.isascii():
        raise Malformed
    return (desk.generate(deadline, SPEC_BY_CODE[code[0]], owner, name.decode()),)


def _check(desk: Desk, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
    desk.check(deadline, *fields)
    return ()


def _destroy(desk: Desk, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
    desk.destroy(deadline, fields[0])
    return ()


def _data_key(desk: Desk, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
    reference, owner, aad, size, shown = fields
    plaintext, sealed = desk.data_key(deadline, reference, owner, aad, _size(size, DATA_KEY_MAX_BYTES))
    return (plaintext if shown == b"\x01" else b"", sealed)


def _random(desk: Desk, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
    return (desk.random(_size(fields[0], RANDOM_MAX_BYTES), deadline),)


def _sign(desk: Desk, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
    reference, owner, name, message = fields
    try:
        algorithm = SigningAlgorithm(name.decode("ascii", "replace"))
    except ValueError:
        raise Malformed from None
    if algorithm.digest is None:
        raise RequestRefused("the token does not sign with this algorithm")
    return (desk.sign(deadline, reference, owner, algorithm.scheme, algorithm.digest, message),)


def _oaep(desk: Desk, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
    reference, owner, name, ciphertext = fields
    try:
        algorithm = AsymmetricEncryptionAlgorithm(name.decode("ascii", "replace"))
    except ValueError:
        raise Malformed from None
    return (desk.decrypt_oaep(deadline, reference, owner, algorithm.digest, ciphertext),)


def _change_pin(desk: Desk, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
    desk.change_pin(deadline, fields[0])
    return ()


def _objects(desk: Desk, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
    listed = desk.listing(deadline, fields[0], LISTED_AT_ONCE)
    return (join(tuple(part for pair in listed for part in pair)),)


def _size(field: bytes, most: int) -> int:
    size = int.from_bytes(field)
    if len(field) != 4 or not 1 <= size <= most:
        raise Malformed
    return size


HANDLERS: dict[Op, Handler] = {
    Op.HEALTH: _health,
    Op.GENERATE: _generate,
    Op.CHECK: _check,
    Op.DESTROY: _destroy,
    Op.ENCRYPT: lambda desk, deadline, fields: (desk.encrypt(deadline, *fields),),
    Op.DECRYPT: lambda desk, deadline, fields: (desk.decrypt(deadline, *fields),),
    Op.DATA_KEY: _data_key,
    Op.RANDOM: _random,
    Op.SIGN: _sign,
    Op.OAEP: _oaep,
    Op.MAC: lambda desk, deadline, fields: (desk.mac(deadline, *fields),),
    Op.AGREE: lambda desk, deadline, fields: (desk.agree(deadline, *fields),),
    Op.CHANGE_PIN: _change_pin,
    Op.OBJECTS: _objects,
}
