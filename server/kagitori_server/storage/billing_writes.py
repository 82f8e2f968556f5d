"""When keys are charged: written in the transactions that change the keys, so the two can't differ."""

from __future__ import annotations

from sqlalchemy import func, select, update

from kagitori_server.model.keys import Key, KeyManager
from kagitori_server.storage.recorder import Recorder
from kagitori_server.storage.usage_schema import billing_spans


class BillingWrites(Recorder):
    """Begins and ends of billing spans. A key is charged from its creation until it is pending deletion."""

    def stop_billing(self, region: str, key_id: str, now: float) -> None:
        """The key, and all that came by its rotations, is free from `now` (seconds since the epoch) on. What is free
        already stays so since when it was."""
        spans = billing_spans.c
        self._update(
            billing_spans, {"ended": now},
            spans.region == region, spans.key_id == key_id, spans.destroyed.is_(False), spans.ended.is_(None),
        )

    def resume_billing(self, region: str, key_id: str) -> None:
        """The key's deletion was cancelled: it is charged as if it had never been pending."""
        spans = billing_spans.c
        self._update(
            billing_spans, {"ended": None},
            spans.region == region, spans.key_id == key_id, spans.destroyed.is_(False),
        )

    def _begin_billing(self, key: Key) -> None:
        """A new key, unless it is the service's own. Rotated versions that it has from the beginning, as replicas may,
        count from then on."""
        if key.manager is KeyManager.AWS:
            return
        rotations = sum(1 for version in key.materials if version.rotated is not None)
        spans = billing_spans.c
        earlier = select(func.max(spans.life)).where(spans.region == key.region, spans.key_id == key.key_id)
        last = self._connection.scalar(earlier)
        life = 0 if last is None else last + 1
        self._insert(
            billing_spans,
            *(
                {
                    "region": key.region, "key_id": key.key_id, "life": life, "number": number,
                    "account": key.account, "arn": key.arn, "spec": key.spec.value,
                    "began": key.created, "ended": None, "destroyed": False,
                }
                for number in range(rotations + 1)
            ),
        )

    def _bill_rotation(self, region: str, key_id: str, rotated: float) -> None:
        """One more version of the key's material, current since `rotated` (seconds since the epoch). That of a replica
        which is pending deletion is free like the key."""
        spans = billing_spans.c
        alive = (spans.region == region, spans.key_id == key_id, spans.destroyed.is_(False))
        last = self._connection.scalar(select(func.max(spans.number)).where(*alive)) or 0
        found = self._connection.execute(select(billing_spans).where(*alive, spans.number == 0))
        key = found.mappings().one_or_none()
        if key is not None:
            self._insert(billing_spans, {**key, "number": last + 1, "began": rotated})

    def _close_billing(self, key: Key) -> None:
        """The key is destroyed; what was still charged ends with the day that this was due."""
        spans = billing_spans.c
        ended = func.coalesce(spans.ended, key.deletion_date, key.created)
        self._connection.execute(
            update(billing_spans)
            .where(spans.region == key.region, spans.key_id == key.key_id, spans.destroyed.is_(False))
            .values(ended=ended, destroyed=True)
        )
