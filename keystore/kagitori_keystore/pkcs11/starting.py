"""What a worker is told when it starts, and what it says once it serves: one message each way, over pipes.

The first goes to its standard input, so that the PIN is in no argument, no environment and no file; the second
comes from its standard output.
"""

from __future__ import annotations

import json
import os
import select
from dataclasses import dataclass, field
from pathlib import Path

from kagitori_keystore.algorithms import SPEC_BY_CODE, Digest
from kagitori_keystore.pkcs11.settings import ConnectFault, Found, TokenSettings

MESSAGE_MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is told. `lock` is an inherited descriptor whose lock says that this worker serves, `known` what
    a worker before it has found out about the token."""

    settings: TokenSettings
    address: str
    lock: int
    pin: bytes = field(repr=False)
    known: Found | None


def encode_start(start: Start) -> bytes:
    """The first message."""
    settings = start.settings
    return json.dumps(
        {
            "module": settings.module,
            "token_serial": settings.token_serial,
            "token_label": settings.token_label,
            "deadline_seconds": settings.deadline_seconds,
            "runtime_dir": str(settings.runtime_dir),
            "softhsm_conf": settings.softhsm_conf,
            "library_parameters": settings.library_parameters,
            "address": start.address,
            "lock": start.lock,
            "pin": start.pin.hex(),
            "known": None if start.known is None else encode_found(start.known).hex(),
        }
    ).encode()


def decode_start(message: bytes) -> Start:
    """The first message, from the process that spawned this one. Raises `ValueError`."""
    said = json.loads(message)
    settings = TokenSettings(
        said["module"],
        said["token_serial"],
        said["token_label"],
        said["deadline_seconds"],
        Path(said["runtime_dir"]),
        said["softhsm_conf"],
        said["library_parameters"],
    )
    known = None if said["known"] is None else decode_found(bytes.fromhex(said["known"]))
    return Start(settings, said["address"], said["lock"], bytes.fromhex(said["pin"]), known)


def encode_found(found: Found) -> bytes:
    """Codes of specs, a zero, and sizes of the digests for OAEP."""
    return bytes((*sorted(spec.code for spec in found.specs), 0, *sorted(digest.size for digest in found.oaep)))


def decode_found(data: bytes) -> Found:
    """Raises `ValueError` for what `encode_found` doesn't write."""
    specs, zero, sizes = data.partition(b"\x00")
    if not zero or any(code not in SPEC_BY_CODE for code in specs):
        raise ValueError("what is known of a token is malformed")
    return Found(
        frozenset(SPEC_BY_CODE[code] for code in specs), frozenset(digest for digest in Digest if digest.size in sizes)
    )


def encode_outcome(fault: ConnectFault | None) -> bytes:
    """The second message."""
    return (fault.value if fault else "ready").encode()


def decode_outcome(message: bytes) -> ConnectFault | None:
    """None if the worker serves; a worker that says nothing has failed."""
    if message == b"ready":
        return None
    try:
        return ConnectFault(message.decode("ascii", "replace"))
    except ValueError:
        return ConnectFault.WORKER_FAILED


def readable_within(descriptor: int, seconds: float) -> bool:
    """Whether something can be read, or the other end has closed; unlike `select`, for descriptors of any number."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def read_all(descriptor: int) -> bytes:
    """What comes until the other end closes, at most `MESSAGE_MAX_BYTES`."""
    data = b""
    while len(data) < MESSAGE_MAX_BYTES:
        more = os.read(descriptor, MESSAGE_MAX_BYTES - len(data))
        if not more:
            break
        data += more
    return data
