"""What names a token, what it may refuse at the start, and the counter that a store of one asks for."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kagitori_keystore.algorithms import Digest, KeySpec
from kagitori_keystore.base import RequestRefused, StoreLost

USES_MAX = 1 << 32
"""NIST SP 800-38D section 8.3: the most encryptions with random IVs of 96 bits under one AES-GCM key."""


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Which token of which module is meant, and how it is reached. The PIN is no part of it.

    `module` is the path of the PKCS#11 library; `token_serial` or `token_label` (or both) name the token, which
    has to be the only one of that name. `deadline_seconds` bounds one use of a key, `runtime_dir` is a folder of
    this user alone where the processes of a machine meet. `softhsm_conf` is what SoftHSM reads as SOFTHSM2_CONF;
    `library_parameters` is handed to C_Initialize by modules that want such a string (NSS). `start_seconds` is how
    long module and login may take together: with 10,000 objects SoftHSM takes two seconds.

    Raises `RequestRefused` for settings that name nothing or leave no time.
    """

    module: str
    token_serial: str | None
    token_label: str | None
    deadline_seconds: float
    runtime_dir: Path
    softhsm_conf: str | None = None
    library_parameters: str | None = None
    start_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.module or not (self.token_serial or self.token_label):
            raise RequestRefused("a token is named by its module and by serial number or label")
        if not 0 < self.deadline_seconds <= 600:
            raise RequestRefused("the deadline of a token is more than 0 and at most 600 seconds")


@dataclass(frozen=True, slots=True)
class Found:
    """What a worker found out about a token by trial, for its successors not to try again."""

    specs: frozenset[KeySpec]
    oaep: frozenset[Digest]
    """The hashes with which it decrypts RSAES-OAEP."""


class ConnectFault(enum.Enum):
    """Why a token cannot be used."""

    TOKEN_NOT_FOUND = "token-not-found"  # noqa: S105 - a name of a fault
    TOKEN_AMBIGUOUS = "token-ambiguous"  # noqa: S105 - a name of a fault
    PIN_REFUSED = "pin-refused"
    PIN_LOCKED = "pin-locked"
    PIN_NOT_SET = "pin-not-set"
    MODULE_FAILED = "module-failed"
    """The module does not load, does not start, or lacks what every store needs."""
    WORKER_FAILED = "worker-failed"
    """The process that drives the module does not start, or ended at the start."""
    TOO_SLOW = "too-slow"

    @property
    def lasting(self) -> bool:
        """Whether trying again with the same PIN is of no use, and may lock the token."""
        return self in (ConnectFault.PIN_REFUSED, ConnectFault.PIN_LOCKED)


_WORDS: dict[ConnectFault, str] = {
    ConnectFault.TOKEN_NOT_FOUND: "there is no such token",
    ConnectFault.TOKEN_AMBIGUOUS: "several tokens have this name",
    ConnectFault.PIN_REFUSED: "the token refuses the PIN",
    ConnectFault.PIN_LOCKED: "the token's PIN is locked",
    ConnectFault.PIN_NOT_SET: "the token's user PIN is not set",
    ConnectFault.MODULE_FAILED: "the PKCS#11 module does not start or lacks what is needed",
    ConnectFault.WORKER_FAILED: "the token's worker process does not start",
    ConnectFault.TOO_SLOW: "the token did not answer in time",
}


class ConnectRefused(StoreLost):
    """The token cannot be used; `fault` says why."""

    def __init__(self, fault: ConnectFault) -> None:
        super().__init__(_WORDS[fault])
        self.fault = fault


class UseCounter(Protocol):
    """Counts the encryptions of a material durably, across processes and restarts. Thread-safe."""

    def reserve(self, material_id: str, count: int) -> int:
        """Reserves `count` uses; returns how many had been reserved before. On disk when it returns."""
        ...


@dataclass(frozen=True, slots=True)
class TokenObject:
    """A key that lies in the token: its CKA_ID in hexadecimal digits, its label, and its spec if it is one of ours."""

    id: str
    label: str
    spec: KeySpec | None
