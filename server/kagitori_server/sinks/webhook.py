"""Batches of records as signed JSON to a URL."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable

from kagitori_server.sinks.delivery import Batch
from kagitori_server.sinks.https import Poster

SIGNATURE = "Kagitori-Signature"
DELIVERY = "Kagitori-Delivery"


class Webhook:
    """`Delivery` by POST. The body is `{"version":1,"sink":…,"chain":…,"chain_id":…,"first_seq":…,"last_seq":…,
    "records":[…]}` with records as CloudTrail has them.

    `Kagitori-Signature: t=SECONDS,v1=HEX` holds HMAC-SHA256 of `SECONDS.BODY` under the secret; `Kagitori-Delivery` is
    the same for a batch each time it is tried.
    """

    def __init__(self, name: str, poster: Poster, secret: bytes, clock: Callable[[], float]) -> None:
        self._name = name
        self._poster = poster
        self._secret = secret
        self._clock = clock

    def deliver(self, batch: Batch) -> None:
        """Raises DeliveryFailed."""
        body = self.body(batch)
        seconds = int(self._clock())
        self._poster.post(body, {
            "Content-Type": "application/json",
            DELIVERY: f"{batch.chain_id[:32]}-{batch.first_seq}-{batch.last_seq}",
            SIGNATURE: f"t={seconds},v1={signature(self._secret, seconds, body)}",
        })

    def body(self, batch: Batch) -> bytes:
        """What is posted."""
        head = {
            "version": 1, "sink": self._name, "chain": batch.chain, "chain_id": batch.chain_id,
            "first_seq": batch.first_seq, "last_seq": batch.last_seq,
        }
        opening = json.dumps(head, separators=(",", ":")).encode().removesuffix(b"}")
        return opening + b',"records":[' + b",".join(batch.records) + b"]}"

    def close(self) -> None:
        """Closes the connection."""
        self._poster.close()


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    """The hexadecimal digits of `v1`."""
    return hmac.new(secret, b"%d." % seconds + body, hashlib.sha256).hexdigest()
