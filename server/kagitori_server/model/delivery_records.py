"""What the catalog keeps of the service's own signing keys, and of how far the trail was delivered."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class KeyPurpose(StrEnum):
    """What a signing key of the service is for."""

    AUDIT_DIGEST = "audit-digest"
    """Digest files of the delivered trail: RSA, as AWS's validator wants it."""
    AUDIT_LOG = "audit-log"
    """Heads of the trail's trees: Ed25519."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A signing key of the service, in use or retired. It's listed for ever; its private half isn't kept so long."""

    purpose: KeyPurpose
    number: int
    """Counts the keys of a purpose from 1."""
    region: str
    key_id: str
    public_key_der: bytes
    """SubjectPublicKeyInfo (RFC 5280)."""
    valid_from: float
    valid_until: float
    """Seconds since the epoch: it signs from the one to before the other."""


class Place(NamedTuple):
    """A place between two lines of a chain: `seq` is the number of the line before it, 0 at the beginning."""

    segment: int
    offset: int
    seq: int


@dataclass(frozen=True, slots=True)
class Consignment:
    """The next part of a chain, on its way: from where the chain was delivered to up to `end`."""

    end: Place
    moment: float
    """When it was decided on, seconds since the epoch. Names of files are derived from it, so they're the same
    whoever delivers, and how often."""


@dataclass(frozen=True, slots=True)
class DeliveredChain:
    """A chain of the trail as far as its records were delivered."""

    chain_id: str
    """Hash of its first line, which no other chain of any audit folder has."""
    name: str
    began: float
    """Time of its first record, seconds since the epoch."""
    delivered: Place
    consignment: Consignment | None = None


@dataclass(frozen=True, slots=True)
class DeliveredFile:
    """A log file that was delivered and is in no digest yet."""

    bucket: str
    object_key: str
    account: str
    region: str
    hash_value: str
    """SHA-256 of the uncompressed content, in hexadecimal."""
    oldest: str
    newest: str
    """Times of its records, `YYYY-MM-DDTHH:MM:SSZ`."""
    records: int
    delivered: float
    """Seconds since the epoch."""
    digest: int | None = None
    """The number of the digest that lists it, once that is decided on."""


@dataclass(frozen=True, slots=True)
class DigestPlan:
    """The next digest of an account and Region, on its way."""

    ended: float
    """Its end, whole seconds since the epoch; part of its name."""
    key_id: str
    worker: str
    """The process that makes it."""
    claimed: float
    """When that process took it on, seconds since the epoch; another one may take over some time later."""


@dataclass(frozen=True, slots=True)
class DigestChain:
    """The digests of an account and Region as far as they were delivered."""

    account: str
    region: str
    number: int
    """How many there are."""
    ended: float
    """The end of the newest one; before there is any, the beginning of the first. Seconds since the epoch."""
    bucket: str = ""
    object_key: str = ""
    hash_value: str = ""
    signature: str = field(default="", repr=False)
    """Of the newest one; empty before there is any. Hexadecimal."""
    plan: DigestPlan | None = None


@dataclass(frozen=True, slots=True)
class TrailState:
    """When delivery began and how it went. Moments are seconds since the epoch, None for never."""

    started: float | None = None
    stopped: float | None = None
    log_attempted: float | None = None
    log_delivered: float | None = None
    log_error: str | None = None
    """What the latest attempt failed with; None if it didn't."""
    digest_attempted: float | None = None
    digest_delivered: float | None = None
    digest_error: str | None = None
