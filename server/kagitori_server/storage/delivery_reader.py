"""Reading what is known of signing keys and of the delivery of the trail."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, select

from kagitori_server.model.delivery_records import (
    Consignment,
    DeliveredChain,
    DeliveredFile,
    DigestChain,
    DigestPlan,
    KeyPurpose,
    ListedKey,
    Place,
    TrailState,
)
from kagitori_server.storage.delivery_schema import (
    delivered_chains,
    delivered_files,
    digest_chains,
    signing_keys,
    trail_state,
)
from kagitori_server.storage.snapshot import Snapshot


class DeliveryReader(Snapshot):
    """What a snapshot says of them."""

    def signing_keys(self, purpose: KeyPurpose) -> tuple[ListedKey, ...]:
        """All keys of a purpose that there ever were, oldest first."""
        keys = signing_keys.c
        statement = select(signing_keys).where(keys.purpose == purpose.value).order_by(keys.number)
        return tuple(map(_signing_key, self._connection.execute(statement)))

    def signing_key(self, purpose: KeyPurpose) -> ListedKey | None:
        """The newest key of a purpose; None before there is any."""
        keys = signing_keys.c
        newest = select(func.max(keys.number)).where(keys.purpose == purpose.value).scalar_subquery()
        row = self._one(signing_keys, keys.purpose == purpose.value, keys.number == newest)
        return None if row is None else _signing_key(row)

    def delivered_chain(self, chain_id: str) -> DeliveredChain | None:
        """How far the chain was delivered; None for one that wasn't begun."""
        row = self._one(delivered_chains, delivered_chains.c.chain_id == chain_id)
        return None if row is None else _delivered_chain(row)

    def delivered_chains(self) -> tuple[DeliveredChain, ...]:
        """How far every chain was delivered."""
        statement = select(delivered_chains).order_by(delivered_chains.c.name, delivered_chains.c.chain_id)
        return tuple(map(_delivered_chain, self._connection.execute(statement)))

    def undigested_files(self) -> tuple[DeliveredFile, ...]:
        """All files that no digest lists which arrived."""
        statement = select(delivered_files).order_by(delivered_files.c.object_key)
        return tuple(map(_file, self._connection.execute(statement)))

    def delivered_files(
        self, account: str, region: str, digest: int | None, limit: int
    ) -> tuple[DeliveredFile, ...]:
        """Files of an account and Region that a digest is to list (None: that no digest is to list yet), in the order
        of their delivery."""
        files = delivered_files.c
        which = files.digest.is_(None) if digest is None else files.digest == digest
        statement = (
            select(delivered_files)
            .where(files.account == account, files.region == region, which)
            .order_by(files.delivered, files.object_key)
            .limit(limit)
        )
        return tuple(_file(row) for row in self._connection.execute(statement))

    def digest_chain(self, account: str, region: str) -> DigestChain | None:
        """The digests of an account and Region; None before the first one's beginning."""
        chains = digest_chains.c
        row = self._one(digest_chains, chains.account == account, chains.region == region)
        return None if row is None else _digest_chain(row)

    def digest_chains(self) -> tuple[DigestChain, ...]:
        """Those of all accounts and Regions, in order."""
        statement = select(digest_chains).order_by(digest_chains.c.account, digest_chains.c.region)
        return tuple(map(_digest_chain, self._connection.execute(statement)))

    def trail_state(self) -> TrailState:
        """How delivery goes."""
        row = self._one(trail_state)
        if row is None:
            return TrailState()
        return TrailState(
            row.started, row.stopped, row.log_attempted, row.log_delivered, row.log_error,
            row.digest_attempted, row.digest_delivered, row.digest_error,
        )


def _delivered_chain(row: Row[Any]) -> DeliveredChain:
    consignment = None
    if row.next_seq is not None:
        consignment = Consignment(Place(row.next_segment, row.next_offset, row.next_seq), row.next_moment)
    return DeliveredChain(row.chain_id, row.name, row.began, Place(row.segment, row.offset, row.seq), consignment)


def _signing_key(row: Row[Any]) -> ListedKey:
    return ListedKey(
        KeyPurpose(row.purpose), row.number, row.region, row.key_id, bytes(row.public_key), row.valid_from,
        row.valid_until,
    )


def _file(row: Row[Any]) -> DeliveredFile:
    return DeliveredFile(
        row.bucket, row.object_key, row.account, row.region, row.hash_value, row.oldest, row.newest, row.records,
        row.delivered, row.digest,
    )


def _digest_chain(row: Row[Any]) -> DigestChain:
    plan = None
    if row.next_ended is not None:
        plan = DigestPlan(row.next_ended, row.next_key_id, row.next_worker, row.next_claimed)
    return DigestChain(
        row.account, row.region, row.number, row.ended, row.bucket, row.object_key, row.hash_value, row.signature, plan
    )
