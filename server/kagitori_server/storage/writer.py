"""One write transaction."""

from __future__ import annotations

from collections.abc import Sequence

from kagitori_server.model.errors import AlreadyExistsException, NotFoundException
from kagitori_server.storage import schema
from kagitori_server.storage.budget_writes import BudgetWrites
from kagitori_server.storage.custom_store_writes import CustomStoreWrites
from kagitori_server.storage.delivery_writes import DeliveryWrites
from kagitori_server.storage.grant_writes import GrantWrites
from kagitori_server.storage.key_writes import KeyWrites
from kagitori_server.storage.material_writes import MaterialWrites
from kagitori_server.storage.principal_writes import PrincipalWrites
from kagitori_server.storage.usage_writes import UsageWrites


class Writer(
    KeyWrites, MaterialWrites, GrantWrites, PrincipalWrites, BudgetWrites, CustomStoreWrites, UsageWrites,
    DeliveryWrites,
):
    """Everything that can be written, in one transaction that nobody else's runs beside."""

    _intents_added = 0

    def add_intent(self, event_id: str, chain: str, record: bytes) -> None:
        """The audit record of what this transaction does, durable together with it.

        Raises AlreadyExistsException when the event id was used.
        """
        if self._count(schema.intents, schema.intents.c.event_id == event_id):
            raise AlreadyExistsException("The event id was used already.")
        values = {
            "event_id": event_id,
            "version": self.version,
            "ordinal": self._intents_added,
            "chain": chain,
            "record": record,
        }
        self._insert(schema.intents, values)
        self._intents_added += 1

    def clear_intents(self, event_ids: Sequence[str]) -> int:
        """Forgets intents whose outcome is in the trail; unknown ids don't matter. Returns how many went."""
        if not event_ids:
            return 0
        return self._delete(schema.intents, schema.intents.c.event_id.in_(list(event_ids)))

    def put_key_encryption_key(self, account: str, region: str, wrapped: bytes) -> bytes:
        """Keeps `wrapped` unless there is one already. Returns the one that is kept."""
        kept = self.key_encryption_key(account, region)
        if kept is not None:
            return kept
        values = {"account": account, "region": region, "wrapped": wrapped}
        self._insert(schema.key_encryption_keys, values)
        return wrapped

    def replace_key_encryption_key(self, account: str, region: str, old: bytes, new: bytes) -> None:
        """Puts `new` in the place of `old`, of which no trace stays in the database's files.

        Raises NotFoundException when `old` isn't what is kept.
        """
        table = schema.key_encryption_keys
        place = (table.c.account == account, table.c.region == region, table.c.wrapped == old)
        if self._update(table, {"wrapped": new}, *place) == 0:
            raise NotFoundException("The key-encryption key has been replaced by someone else.")
        self._scrub = True
