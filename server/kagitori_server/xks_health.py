"""Whether a call to the external key store proxy would be served now: its API's GetHealthStatus.

It is no operation on anything: who signs it is authenticated as for a call, nothing is authorised and nothing
recorded. Each key store that holds an offered key is tried from end to end, at most once in ten seconds while it is
well. Custom ones are told of like key managers behind the proxy: one that is gone doesn't make the others unwell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor

from kagitori_keystore.base import KeyStoreError
from kagitori_server.callers import Callers
from kagitori_server.model.arn import parse_key_reference
from kagitori_server.model.call import Call
from kagitori_server.model.custom_key_stores import DEFAULT_STORE
from kagitori_server.model.errors import InvalidArnException, KmsError, NotFoundException
from kagitori_server.operations.store_errors import as_kms_error
from kagitori_server.operations.stores import Stores
from kagitori_server.storage.view import View

GOOD_SECONDS = 10.0
"""How long a good result is told again; the specification allows a minute."""
TRIAL_SECONDS = 2.0
"""How long a custom key store may take to show that it works; clients wait for less."""
STORES_MAX = 10
"""The specification's most managers in an answer."""


class XksHealth:
    """`check` runs in the event loop."""

    def __init__(
        self, callers: Callers, view: View, stores: Stores, reads: Executor, monotonic: Callable[[], float], *,
        offered: Sequence[str], partition: str, region: str,
    ) -> None:
        """`callers`, `view` and `reads` are those of the pipeline; `offered` are the keys' ids, aliases and ARNs."""
        self._callers = callers
        self._view = view
        self._stores = stores
        self._reads = reads
        self._monotonic = monotonic
        self._offered = offered
        self._partition = partition
        self._region = region
        self._good_until: dict[str, float] = {}

    async def check(self, call: Call) -> Mapping[str, bool]:
        """The key stores that hold what is offered, and whether each works, if the call is authentic.

        Raises KmsError, also when the service's own store doesn't work: the secrets of access keys are in it.
        """
        loop = asyncio.get_running_loop()
        named = await loop.run_in_executor(self._reads, self._authenticate, call)
        if not self._is_good(DEFAULT_STORE):
            try:
                await loop.run_in_executor(self._reads, self._stores.default.health)
            except KeyStoreError as error:
                raise as_kms_error(error) from None
            self._note(DEFAULT_STORE)
        found = named[:STORES_MAX]
        return dict(zip(found, await asyncio.gather(*map(self._works, found)), strict=True))

    async def _works(self, store_id: str) -> bool:
        if self._is_good(store_id):
            return True
        loop = asyncio.get_running_loop()
        try:
            trial = loop.run_in_executor(self._stores.pool(store_id), self._try, store_id)
            await asyncio.wait_for(asyncio.shield(trial), TRIAL_SECONDS)
        except (KeyStoreError, KmsError, TimeoutError):
            return False
        return True

    def _try(self, store_id: str) -> None:
        self._stores.of(store_id).health()
        self._note(store_id)

    def _is_good(self, store_id: str) -> bool:
        return self._monotonic() < self._good_until.get(store_id, 0.0)

    def _note(self, store_id: str) -> None:
        self._good_until[store_id] = self._monotonic() + GOOD_SECONDS

    def _authenticate(self, call: Call) -> list[str]:
        """The stores of the keys that are offered to the caller, in order; the default one if there are none."""
        self._view.prove_blocking()
        try:
            account = self._callers.establish(call, self._view).account
        except KeyStoreError as error:
            raise as_kms_error(error) from None
        return sorted({self._store_of(name, account) for name in self._offered}) or [DEFAULT_STORE]

    def _store_of(self, name: str, account: str) -> str:
        """The store of a key; of one that isn't there, the default one, which would tell so."""
        try:
            reference = parse_key_reference(name, self._partition, alias_allowed=True)
        except (NotFoundException, InvalidArnException):
            return DEFAULT_STORE
        region = reference.region or self._region
        key_id: str | None = reference.name
        if reference.is_alias:
            key_id = self._view.alias(reference.account or account, region, reference.name)
        key = self._view.key(region, key_id) if key_id is not None else None
        return DEFAULT_STORE if key is None else key.store_id
