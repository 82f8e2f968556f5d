"""The keys of all trusted issuers, as this process has them: given with the provider, or fetched and kept for a while.

Nobody waits for a fetch but who has no keys yet, or a token by a key that isn't known. While an issuer can't be
reached, the keys fetched last serve until they are too old; then its tokens are refused.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from kagitori_server.federation.fetching import FetchFailed
from kagitori_server.federation.keys import KeySet, KeySetRefused, read_key_set
from kagitori_server.model.principals import OidcProviderRecord

_log = logging.getLogger(__name__)

_ISSUERS_MAX = 10_000
"""Issuers whose keys a process keeps."""
_FETCHES_PER_ACCOUNT = 2
"""At once, so that one account's issuers that don't answer don't hold up the others'."""


@dataclass(frozen=True, slots=True)
class KeyAges:
    """Seconds."""

    refresh: float = 300.0
    """Keys older than this are fetched anew when they are used; calls go on with them meanwhile."""
    maximum: float = 86_400.0
    """Keys older than this aren't used."""
    between_fetches: float = 60.0
    """Between two fetches from one issuer, whatever kinds of tokens come."""
    between_failures: float = 5.0
    """The same while there are no keys at all."""
    wait: float = 6.0
    """How long a call waits for a fetch."""


@dataclass(slots=True, eq=False)
class _Fetched:
    """What is known of one issuer. `kept` is replaced as a whole, by whichever thread has fetched."""

    kept: tuple[KeySet, float] | None = None
    """Keys, and when they were fetched."""
    tried: float | None = None
    under_way: Future[None] | None = None


@dataclass(slots=True, eq=False)
class _Given:
    provider: OidcProviderRecord
    keys: KeySet | None = field(default=None)


class IssuerKeys:
    """Keys by provider. `held` may be called in any thread, `ready` in the event loop."""

    def __init__(
        self, fetch: Callable[[str], str], monotonic: Callable[[], float], ages: KeyAges | None = None,
        threads: int = 8,
    ) -> None:
        """`fetch` gives the key set of an issuer; it blocks and raises FetchFailed."""
        self._fetch = fetch
        self._monotonic = monotonic
        self._ages = ages or KeyAges()
        self._pool = ThreadPoolExecutor(threads, "issuer-keys")
        self._fetched: dict[str, _Fetched] = {}
        self._given: dict[str, _Given] = {}
        self._busy: Counter[str] = Counter()
        self._lock = threading.Lock()
        """Guards `_busy`, which fetches lower in their own threads."""

    def held(self, provider: OidcProviderRecord) -> KeySet | None:
        """The provider's keys if they are at hand and not too old. The same object as long as they are the same."""
        if provider.jwks is not None:
            return self._given_by(provider, provider.jwks)
        fetched = self._fetched.get(provider.issuer)
        if fetched is None or fetched.kept is None:
            return None
        keys, when = fetched.kept
        return keys if self._monotonic() - when <= self._ages.maximum else None

    def wants_fetch(self, provider: OidcProviderRecord) -> bool:
        """Whether `ready` has something to do for keys that are in use."""
        if provider.jwks is not None:
            return False
        fetched = self._fetched.get(provider.issuer)
        if fetched is None or fetched.kept is None or fetched.tried is None:
            return True
        now = self._monotonic()
        return (
            now - fetched.kept[1] > min(self._ages.refresh, self._ages.maximum)
            and now - fetched.tried >= self._ages.between_fetches
        )

    async def ready(self, provider: OidcProviderRecord, key_id: str | None) -> None:
        """Returns when the keys are at hand as well as can be: after a fetch, if that is what it takes and it is
        time for one."""
        if provider.jwks is not None:
            return
        fetched = self._fetched.get(provider.issuer)
        if fetched is None:
            if len(self._fetched) >= _ISSUERS_MAX:
                self._fetched.clear()
            fetched = self._fetched[provider.issuer] = _Fetched()
        keys = self.held(provider)
        if keys is None or not keys.knows(key_id):
            flight = self._flight(provider, fetched, keys)
            if flight is not None:
                await asyncio.wait({asyncio.wrap_future(flight)}, timeout=self._ages.wait)
        elif fetched.kept is not None and self._monotonic() - fetched.kept[1] > self._ages.refresh:
            self._flight(provider, fetched, keys)

    def close(self) -> None:
        """Ends fetches that haven't begun, and waits for the others."""
        self._pool.shutdown(cancel_futures=True)

    def _flight(self, provider: OidcProviderRecord, fetched: _Fetched, keys: KeySet | None) -> Future[None] | None:
        """The fetch that is under way, or one that begins now; None when it's too early for another."""
        if fetched.under_way is not None and not fetched.under_way.done():
            return fetched.under_way
        pause = self._ages.between_failures if keys is None else self._ages.between_fetches
        if fetched.tried is not None and self._monotonic() - fetched.tried < pause:
            return None
        with self._lock:
            if self._busy[provider.account] >= _FETCHES_PER_ACCOUNT:
                return None
            self._busy[provider.account] += 1
        fetched.tried = self._monotonic()
        fetched.under_way = self._pool.submit(self._refresh, provider.issuer, provider.account, fetched)
        return fetched.under_way

    def _refresh(self, issuer: str, account: str, fetched: _Fetched) -> None:
        try:
            document = self._fetch(issuer)
            if fetched.kept is not None and fetched.kept[0].document == document:
                keys = fetched.kept[0]
            else:
                keys = read_key_set(document)
            fetched.kept = (keys, self._monotonic())
        except FetchFailed as error:
            _log.warning("the keys of an OpenID Connect issuer can't be fetched: %s", error)
        except KeySetRefused as error:
            _log.warning("the key set of %s can't be used: %s", issuer, error)
        finally:
            with self._lock:
                self._busy[account] -= 1

    def _given_by(self, provider: OidcProviderRecord, document: str) -> KeySet | None:
        given = self._given.get(provider.arn)
        if given is None or given.provider is not provider:
            given = _Given(provider)
            try:
                given.keys = read_key_set(document)
            except KeySetRefused as error:
                # It was usable when the provider was made.
                _log.error("the key set of %s can't be used: %s", provider.arn, error)
            if len(self._given) >= _ISSUERS_MAX:
                self._given.clear()
            self._given[provider.arn] = given
        return given.keys
