"""Whether a call to the external key store proxy would be served now: its API's GetHealthStatus.

It is no operation on anything: who signs it is authenticated as for a call, nothing is authorised and nothing
recorded. The key store is tried from end to end, at most once in ten seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from kagitori_keystore.base import KeyStore, KeyStoreError
from kagitori_server.callers import Callers
from kagitori_server.model.call import Call
from kagitori_server.operations.store_errors import as_kms_error
from kagitori_server.storage.view import View

GOOD_SECONDS = 10.0
"""How long a good result is told again; the specification allows a minute."""


class XksHealth:
    """`check` runs in the event loop."""

    def __init__(
        self, callers: Callers, view: View, store: KeyStore, reads: Executor, monotonic: Callable[[], float]
    ) -> None:
        """`callers`, `view` and `reads` are those of the pipeline."""
        self._callers = callers
        self._view = view
        self._store = store
        self._reads = reads
        self._monotonic = monotonic
        self._good_until = 0.0

    async def check(self, call: Call) -> None:
        """Returns if the call is authentic and the key store works. Raises KmsError."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reads, self._authenticate, call)
        now = self._monotonic()
        if now < self._good_until:
            return
        try:
            await loop.run_in_executor(self._reads, self._store.health)
        except KeyStoreError as error:
            raise as_kms_error(error) from None
        self._good_until = now + GOOD_SECONDS

    def _authenticate(self, call: Call) -> None:
        self._view.prove_blocking()
        try:
            self._callers.establish(call, self._view)
        except KeyStoreError as error:
            raise as_kms_error(error) from None
