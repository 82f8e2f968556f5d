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

from kagitori_keystore.algorithms import SPEC_BY_CODE, KeySpec
from kagitori_keystore.pkcs11.settings import ConnectFault, TokenSettings

MESSAGE_MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is told. `lock` is an inherited descriptor whose lock says that this worker serves, `known` the
    specs that a worker before it has found the token to have."""

    settings: TokenSettings
    address: str
    lock: int
    pin: bytes = field(repr=False)
    known: frozenset[KeySpec] | None


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
            "known": None if start.known is None else sorted(spec.code for spec in start.known),
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
    known = None if said["known"] is None else frozenset(SPEC_BY_CODE[code] for code in said["known"])
    return Start(settings, said["address"], said["lock"], bytes.fromhex(said["pin"]), known)


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
