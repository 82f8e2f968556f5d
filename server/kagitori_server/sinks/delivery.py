"""What a follower hands over, and how that can fail."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Batch(NamedTuple):
    """Records of one chain that follow each other, as JSON."""

    chain: str
    chain_id: str
    """Hash of the chain's first line, hexadecimal: names it whatever host it lies on."""
    first_seq: int
    records: list[bytes]

    @property
    def last_seq(self) -> int:
        """The number of the last record."""
        return self.first_seq + len(self.records) - 1


class DeliveryFailed(Exception):
    """A batch was not taken, or it isn't known whether it was; the message says why, without contents or secrets."""

    def __init__(self, reason: str, *, retry_after: float | None = None, too_large: bool = False) -> None:
        """`retry_after` is how many seconds the receiver asked for; `too_large` that it would take fewer records."""
        super().__init__(reason)
        self.retry_after = retry_after
        self.too_large = too_large


class Delivery(Protocol):
    """A way to a receiver. Used by one thread."""

    def deliver(self, batch: Batch) -> None:
        """Returns when the receiver has taken all of it. Raises DeliveryFailed."""

    def close(self) -> None:
        """Lets go of connections."""
