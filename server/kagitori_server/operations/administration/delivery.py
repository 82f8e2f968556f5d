"""What is told of the trail's delivery as log files and digests. Wiring fits the part that delivers, if one is
configured; results are described by the attributes that are read of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class DeliveredTrail(Protocol):
    """A trail that is delivered, as CloudTrail names it."""

    @property
    def name(self) -> str: ...
    @property
    def account(self) -> str:
        """Whose it is."""
        ...

    @property
    def home_region(self) -> str: ...
    @property
    def arn(self) -> str: ...
    @property
    def bucket(self) -> str:
        """Where files go to, or are meant for."""
        ...

    @property
    def prefix(self) -> str:
        """What object keys begin with; may be empty."""
        ...

    @property
    def kms_key(self) -> str:
        """ARN of the key that log files are encrypted under; empty for none."""
        ...


class DeliveryState(Protocol):
    """How delivery goes. Moments are seconds since the epoch, None for never; errors are of the latest attempts."""

    @property
    def started(self) -> float | None: ...
    @property
    def stopped(self) -> float | None: ...
    @property
    def log_attempted(self) -> float | None: ...
    @property
    def log_delivered(self) -> float | None: ...
    @property
    def log_error(self) -> str | None: ...
    @property
    def digest_delivered(self) -> float | None: ...
    @property
    def digest_error(self) -> str | None: ...


class DigestKey(Protocol):
    """The public half of a key that digests are signed with."""

    @property
    def value(self) -> bytes:
        """DER of an RSAPublicKey (RFC 8017), as CloudTrail gives it."""
        ...

    @property
    def fingerprint(self) -> str:
        """CloudTrail's name of it."""
        ...

    @property
    def validity_start(self) -> float: ...
    @property
    def validity_end(self) -> float: ...


class DeliveryPort(Protocol):
    """What is delivered. There is one trail in a deployment. Blocks."""

    @property
    def description(self) -> DeliveredTrail: ...
    def state(self) -> DeliveryState:
        """How far it has come."""
        ...

    def public_keys(self, start: float | None, end: float | None) -> Sequence[DigestKey]:
        """Keys that signed digests at some time of the period, oldest first."""
        ...


def not_delivered() -> DeliveryPort | None:
    """No trail is configured."""
    return None
