"""What is told of the trail's delivery as log files and digests: `delivery` fits it, or nothing is delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DeliveredTrail:
    """A trail that is delivered, as CloudTrail names it."""

    name: str
    arn: str
    home_region: str
    bucket: str
    """The bucket's name, or what stands for it where files go to a directory."""
    prefix: str
    """What object names begin with; empty for nothing."""


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """How delivery goes. Times are seconds since the epoch, None for never; errors are None when the last attempt went
    well."""

    is_logging: bool
    latest_delivery_time: float | None = None
    latest_delivery_error: str | None = None
    latest_digest_delivery_time: float | None = None
    latest_digest_delivery_error: str | None = None
    start_logging_time: float | None = None
    stop_logging_time: float | None = None


@dataclass(frozen=True, slots=True)
class DigestKey:
    """The public half of a key that digests are signed with, and when it signs."""

    pkcs1_der: bytes
    """RSAPublicKey (RFC 8017), as CloudTrail gives it."""
    fingerprint: str
    """MD5 of that in lower-case hexadecimal digits: a name, nothing rests on it."""
    start: float
    end: float


class DeliveryPort(Protocol):
    """What is delivered where. Blocks."""

    def trails(self, account: str) -> Sequence[DeliveredTrail]:
        """The trails of an account."""
        ...

    def status(self, trail: DeliveredTrail) -> DeliveryStatus:
        """How far one of them has come."""
        ...

    def public_keys(self) -> Sequence[DigestKey]:
        """All keys that digests were ever signed with, oldest first."""
        ...


class NoDelivery:
    """No trail is configured."""

    def trails(self, _account: str, /) -> Sequence[DeliveredTrail]:
        """None."""
        return ()

    def status(self, _trail: DeliveredTrail, /) -> DeliveryStatus:
        """Nothing is delivered."""
        return DeliveryStatus(is_logging=False)

    def public_keys(self) -> Sequence[DigestKey]:
        """None."""
        return ()
