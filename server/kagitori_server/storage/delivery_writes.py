"""Writing down signing keys and how far the trail was delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from kagitori_server.model.delivery_records import (
    Consignment,
    DeliveredChain,
    DeliveredFile,
    DigestChain,
    DigestPlan,
    KeyPurpose,
    ListedKey,
    TrailState,
)
from kagitori_server.storage.delivery_schema import (
    delivered_chains,
    delivered_files,
    digest_chains,
    signing_keys,
    trail_state,
)
from kagitori_server.storage.recorder import Recorder


class DeliveryWrites(Recorder):
    """Steps of delivery are taken from what the catalog had when they were decided on, or not at all: a step's method
    returns False, and writes nothing, when another process was faster."""

    def insert_signing_key(self, key: ListedKey) -> None:
        """The next key of its purpose."""
        values = asdict(key)
        self._insert(signing_keys, {
            **{name: values[name] for name in ("number", "region", "key_id", "valid_from", "valid_until")},
            "purpose": key.purpose.value, "public_key": key.public_key_der,
        })

    def end_signing_key(self, purpose: KeyPurpose, number: int, moment: float) -> None:
        """The key signs no more from `moment` on."""
        keys = signing_keys.c
        self._update(signing_keys, {"valid_until": moment}, keys.purpose == purpose.value, keys.number == number)

    def consign(self, known: DeliveredChain, consignment: Consignment) -> bool:
        """The next part of a chain is on its way."""
        chains, end = delivered_chains.c, consignment.end
        values = {
            "next_segment": end.segment, "next_offset": end.offset, "next_seq": end.seq,
            "next_moment": consignment.moment,
        }
        if self._count(delivered_chains, chains.chain_id == known.chain_id) == 0:
            place = known.delivered
            self._insert(delivered_chains, {
                "chain_id": known.chain_id, "name": known.name, "began": known.began, "segment": place.segment,
                "offset": place.offset, "seq": place.seq, **values,
            })
            return True
        return self._update(
            delivered_chains, values, chains.chain_id == known.chain_id, chains.seq == known.delivered.seq,
            chains.next_seq.is_(None),
        ) == 1

    def arrived(self, known: DeliveredChain, files: Sequence[DeliveredFile]) -> bool:
        """The consignment of a chain has arrived as these files."""
        chains, consignment = delivered_chains.c, known.consignment
        if consignment is None:
            raise ValueError("nothing is on its way")
        end = consignment.end
        values = {
            "segment": end.segment, "offset": end.offset, "seq": end.seq,
            "next_segment": None, "next_offset": None, "next_seq": None, "next_moment": None,
        }
        changed = self._update(
            delivered_chains, values, chains.chain_id == known.chain_id, chains.seq == known.delivered.seq,
            chains.next_seq == end.seq, chains.next_moment == consignment.moment,
        )
        if changed:
            self._insert(delivered_files, *map(asdict, files))
        return changed == 1

    def begin_digests(self, account: str, region: str, moment: float) -> None:
        """Digests of an account and Region begin, unless they have."""
        if self.digest_chain(account, region) is None:
            self._insert(digest_chains, {
                "account": account, "region": region, "number": 0, "ended": moment, "bucket": "", "object_key": "",
                "hash_value": "", "signature": "",
            })

    def plan_digest(self, known: DigestChain, plan: DigestPlan, files: Sequence[DeliveredFile]) -> bool:
        """The next digest is on its way, made by the plan's process, and will list these files. When one is on its
        way already, `plan` is the same taken over by another process, and `files` are empty."""
        chains = digest_chains.c
        changed = self._update(
            digest_chains,
            {
                "next_ended": plan.ended, "next_key_id": plan.key_id, "next_worker": plan.worker,
                "next_claimed": plan.claimed,
            },
            chains.account == known.account, chains.region == known.region, chains.number == known.number,
            chains.next_claimed.is_(None) if known.plan is None else chains.next_claimed == known.plan.claimed,
        )
        for file in files if changed else ():
            listed = delivered_files.c
            self._update(
                delivered_files, {"digest": known.number + 1},
                listed.bucket == file.bucket, listed.object_key == file.object_key,
            )
        return changed == 1

    def digest_arrived(self, known: DigestChain, reached: DigestChain) -> bool:
        """The digest that was on its way has arrived; the files that it lists needn't be remembered."""
        chains, files = digest_chains.c, delivered_files.c
        changed = self._update(
            digest_chains,
            {
                "number": reached.number, "ended": reached.ended, "bucket": reached.bucket,
                "object_key": reached.object_key, "hash_value": reached.hash_value, "signature": reached.signature,
                "next_ended": None, "next_key_id": None, "next_worker": None, "next_claimed": None,
            },
            chains.account == known.account, chains.region == known.region, chains.number == known.number,
        )
        if changed:
            self._delete(
                delivered_files, files.account == known.account, files.region == known.region,
                files.digest == reached.number,
            )
        return changed == 1

    def set_trail_state(self, state: TrailState) -> None:
        """How delivery goes."""
        if self._update(trail_state, asdict(state)) == 0:
            self._insert(trail_state, {"id": 1, **asdict(state)})
