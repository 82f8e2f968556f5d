"""Signs for what was delivered: for each account and Region a chain of digests, one an hour whatever happened.

A digest is planned first: the catalog is told its end, its key and the files that it lists, from which all of it
follows, signature included. Then it's put, then the catalog is told that it arrived. A plan has a process; another
one takes over when that doesn't finish. Chains go on over restarts: a digest that follows a stop covers its time, too.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from kagitori_server.delivery.destination import Destination
from kagitori_server.delivery.digest_checks import FoundDigest, faults, read_digest
from kagitori_server.delivery.digest_form import make_digest
from kagitori_server.delivery.naming import TrailDescription
from kagitori_server.delivery.reading import Unreadable
from kagitori_server.model.delivery_records import DigestChain, DigestPlan, KeyPurpose
from kagitori_server.operations.digest_keys import public_key
from kagitori_server.service_keys import ServiceKeys
from kagitori_server.storage.catalog import Catalog

_log = logging.getLogger(__name__)

FILES_MAX = 10_000
"""Log files of one digest; what is more is left for the next."""


class Digests:
    """The maker of a process. For one thread at a time. `worker` is the process's name among all, `period` in seconds.
    """

    def __init__(
        self, catalog: Catalog, keys: ServiceKeys, description: TrailDescription, destination: Destination,
        clock: Callable[[], float], worker: str, period: float,
    ) -> None:
        self._catalog = catalog
        self._keys = keys
        self._description = description
        self._destination = destination
        self._clock = clock
        self._worker = worker
        self._period = period
        self._left = min(60.0, period)
        """How old another process's plan has to be to be taken over."""

    def begin(self, accounts: Sequence[tuple[str, str]]) -> None:
        """Digests of these accounts and Regions begin, unless they have: now."""
        with self._catalog.read() as reader:
            begun = {(chain.account, chain.region) for chain in reader.digest_chains()}
        if begun.issuperset(accounts):
            return
        with self._catalog.write() as writer:
            for account, region in accounts:
                writer.begin_digests(account, region, float(int(self._clock())))

    def make_due(self) -> tuple[int, float]:
        """Makes what is due. Returns how many digests that were, and in how many seconds the next is due.

        Raises DestinationFailed, KmsError. What failed is done another time.
        """
        made = sum(self._make(chain) for chain in self._chains() if self._due(chain))
        return made, min((chain.ended + self._period - self._clock() for chain in self._chains()), default=self._period)

    def make_final(self, until: Callable[[], bool]) -> int:
        """Makes a digest of all that no digest covers yet, as long as `until` is false. Returns how many. Raises as
        before."""
        made = 0
        for chain in self._chains():
            if until():
                break
            made += self._make(chain)
        return made

    def _chains(self) -> Sequence[DigestChain]:
        with self._catalog.read() as reader:
            return reader.digest_chains()

    def _due(self, chain: DigestChain) -> bool:
        return chain.plan is not None or self._clock() >= chain.ended + self._period

    def _make(self, chain: DigestChain) -> bool:
        """Makes the next digest of a chain. False when it isn't this process's turn, or no second has passed."""
        planned = self._plan(chain) if chain.plan is None else self._take_over(chain, chain.plan)
        if planned is None or planned.plan is None:
            return False
        key = self._keys.named(KeyPurpose.AUDIT_DIGEST, planned.plan.key_id)
        if key is None:
            return self._settle(planned, planned.plan)
        with self._catalog.read() as reader:
            files = reader.delivered_files(chain.account, chain.region, chain.number + 1, FILES_MAX)
        digest = make_digest(self._description, planned, planned.plan.ended, files, key)
        self._destination.put(digest.key, digest.content, digest.metadata)
        return self._arrived(planned, planned.plan, digest.key, digest.text, digest.signature)

    def _settle(self, planned: DigestChain, plan: DigestPlan) -> bool:
        """What becomes of a digest that waited for so long that the key it was to be signed with is gone: if it was
        put, it counts; else it's planned anew, with the key that there is now. Returns as `_make`."""
        found = self._put_before(planned, plan)
        if found is not None:
            return self._arrived(planned, plan, found.key, found.text, found.signature)
        fresh = self._new_plan(planned)
        if fresh is not None:
            _log.warning("the digest of %s %s that was to be signed with a key that is gone is planned anew",
                         planned.account, planned.region)
            with self._catalog.write() as writer:
                writer.plan_digest(planned, fresh, ())
        return False

    def _put_before(self, planned: DigestChain, plan: DigestPlan) -> FoundDigest | None:
        """The planned digest as it lies there, if it does and is what was signed."""
        key = self._description.digest_key(planned.account, planned.region, plan.ended)
        stored = self._destination.get(key)
        keys = [public_key(each) for each in self._keys.listed(KeyPurpose.AUDIT_DIGEST) if each.key_id == plan.key_id]
        try:
            found = None if stored is None else read_digest(key, stored)
        except Unreadable:
            return None
        known = {each.fingerprint: each for each in keys}
        wrong = found is None or any(faults(found, self._description.bucket, planned.account, known))
        return None if wrong else found

    def _arrived(self, planned: DigestChain, plan: DigestPlan, key: str, text: bytes, signature: str) -> bool:
        reached = replace(
            planned, number=planned.number + 1, ended=plan.ended, bucket=self._description.bucket, object_key=key,
            hash_value=hashlib.sha256(text).hexdigest(), signature=signature, plan=None,
        )
        with self._catalog.write() as writer:
            return writer.digest_arrived(planned, reached)

    def _new_plan(self, chain: DigestChain) -> DigestPlan | None:
        # The key first, which may just be made: it has to be valid at the digest's end.
        key = self._keys.current(KeyPurpose.AUDIT_DIGEST)
        now = self._clock()
        return None if int(now) <= chain.ended else DigestPlan(float(int(now)), key.key_id, self._worker, now)

    def _plan(self, chain: DigestChain) -> DigestChain | None:
        plan = self._new_plan(chain)
        if plan is None:
            return None
        with self._catalog.write() as writer:
            files = writer.delivered_files(chain.account, chain.region, None, FILES_MAX)
            return replace(chain, plan=plan) if writer.plan_digest(chain, plan, files) else None

    def _take_over(self, chain: DigestChain, plan: DigestPlan) -> DigestChain | None:
        now = self._clock()
        if plan.worker == self._worker:
            return chain
        if now < plan.claimed + self._left:
            return None
        mine = replace(plan, worker=self._worker, claimed=now)
        with self._catalog.write() as writer:
            return replace(chain, plan=mine) if writer.plan_digest(chain, mine, ()) else None
