"""What one process keeps of the catalog for its hot path, and the proof that it's current.

The way of a call on the event loop:

    if not view.prove_now():
        await view.prove()
    try:
        key = view.kept.key(region, key_id)        # a dict lookup, or NotLoaded
    except NotLoaded as missing:
        await to_thread(view.load, missing)        # SQL; then try again

In a thread, `view.prove_blocking()` and `view.key(region, key_id)` do the same and block. Every record handed
out was true at the moment the proof began, or later. Records are immutable: a change makes a new one, so what
a caller derived from a record (a compiled policy) may be kept as long as the record is the same object.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from kagitori_server.model.budgets import NO_BUDGETS, AccountBudgets, Freeze
from kagitori_server.model.custom_key_stores import CustomKeyStore
from kagitori_server.model.grant_set import NO_GRANTS, GrantSet
from kagitori_server.model.grants import GrantToken
from kagitori_server.model.keys import Key
from kagitori_server.model.principals import (
    AccessKeyRecord,
    CertificateRecord,
    OidcProviderRecord,
    PrincipalRecord,
    TokenRecord,
)
from kagitori_server.storage import schema
from kagitori_server.storage.changes import Change, ChangeKind, Progress
from kagitori_server.storage.column_types import storable
from kagitori_server.storage.custom_store_schema import STORE_ID_MAX
from kagitori_server.storage.generations import MISSING, Generations, Records
from kagitori_server.storage.reader import Reader

K = TypeVar("K")
V = TypeVar("V")

_LOAD_ATTEMPTS = 3
_LARGE_SET = 500
"""Grants of one principal on one key from which on it's worth it to read only what changed."""
_OUTDATED_SETS = 64
_GRANTS_ONE_BY_ONE = 200
"""Grants made since that are read one by one, rather than the whole set anew."""


class NotLoaded(Exception):
    """A lookup that only SQL can answer. Hand it to `View.load` in a thread and look up again.

    `writes` says that the answer takes a write transaction.
    """

    def __init__(self, load: Callable[[], object], *, writes: bool = False) -> None:
        super().__init__("the record isn't loaded")
        self.load = load
        self.writes = writes


class Prover(Protocol):
    """How a kind of database proves that a view is current."""

    def now(self) -> bool:
        """True when it could be proven without waiting. Raises DependencyTimeoutException."""

    async def soon(self) -> None:
        """Raises DependencyTimeoutException when it can't be proven in time."""

    def blocking(self) -> None:
        """The same for threads."""

    def close(self) -> None:
        """Lets go of the connection."""


class Lookups:
    """Lookups of records by what a call brings. None means: doesn't exist."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables

    def key(self, region: str, key_id: str) -> Key | None:
        """The key with its materials, policy, tags and aliases."""
        place = (region, key_id)
        found = self._tables.keys.get(place)
        if found is not MISSING:
            return found
        if not (_fits(region, schema.REGION_MAX) and _fits(key_id, schema.KEY_ID_MAX)):
            return None
        return self._missed(self._tables.keys, place, lambda reader: reader.get_key(region, key_id))

    def alias(self, account: str, region: str, name: str) -> str | None:
        """The id of the key that an alias (with prefix) names."""
        place = (account, region, name)
        found = self._tables.aliases.get(place)
        if found is not MISSING:
            return found
        if not (_fits(account, 12) and _fits(region, schema.REGION_MAX) and _fits(name, schema.ALIAS_MAX)):
            return None
        return self._missed(self._tables.aliases, place, _alias_of(account, region, name))

    def principal(self, arn: str) -> PrincipalRecord | None:
        """The user, role or root user with its identity policies."""
        found = self._tables.principals.get(arn)
        if found is not MISSING:
            return found
        if not _fits(arn, schema.ARN_MAX):
            return None
        return self._missed(self._tables.principals, arn, lambda reader: reader.get_principal(arn))

    def token(self, digest: bytes) -> TokenRecord | None:
        """The token whose secret has this SHA-256. The caller looks at its expiry."""
        found = self._tables.tokens.get(digest)
        if found is not MISSING:
            return found
        if len(digest) != schema.DIGEST_BYTES:
            return None
        return self._missed(self._tables.tokens, digest, lambda reader: reader.find_token(digest))

    def access_key(self, access_key_id: str) -> AccessKeyRecord | None:
        """The access key of this id. The caller looks at its status and expiry."""
        found = self._tables.access_keys.get(access_key_id)
        if found is not MISSING:
            return found
        if not _fits(access_key_id, schema.ACCESS_KEY_ID_MAX):
            return None
        return self._missed(
            self._tables.access_keys, access_key_id, lambda reader: reader.get_access_key(access_key_id)
        )

    def certificate_by_uri(self, uri_san: str) -> CertificateRecord | None:
        """The mapping of a certificate's URI."""
        found = self._tables.uris.get(uri_san)
        if found is not MISSING:
            return found
        if not _fits(uri_san, schema.URI_MAX):
            return None
        return self._missed(
            self._tables.uris, uri_san, lambda reader: reader.find_certificate(uri_san=uri_san)
        )

    def certificate_by_subject(self, subject: str) -> CertificateRecord | None:
        """The mapping of a certificate's subject (RFC 4514)."""
        found = self._tables.subjects.get(subject)
        if found is not MISSING:
            return found
        if not _fits(subject, schema.SUBJECT_NAME_MAX):
            return None
        return self._missed(
            self._tables.subjects, subject, lambda reader: reader.find_certificate(subject=subject)
        )

    def spiffe_patterns(self, trust_domain: str) -> tuple[CertificateRecord, ...]:
        """The mappings of patterns of SPIFFE IDs in a trust domain."""
        found = self._tables.spiffe_patterns.get(trust_domain)
        if found is not MISSING:
            return found or ()
        if not _fits(trust_domain, schema.TRUST_DOMAIN_MAX):
            return ()
        # None, not an empty tuple, so that absence is noted apart from records.
        return self._missed(
            self._tables.spiffe_patterns, trust_domain, lambda reader: reader.spiffe_patterns(trust_domain) or None
        ) or ()

    def oidc_providers(self, issuer: str) -> tuple[OidcProviderRecord, ...]:
        """What the accounts say of an OpenID Connect issuer. The same object as long as nothing of it changes."""
        found = self._tables.issuers.get(issuer)
        if found is not MISSING:
            return found or ()
        if not _fits(issuer, schema.ISSUER_MAX):
            return ()
        return self._missed(
            self._tables.issuers, issuer, lambda reader: reader.oidc_providers_of(issuer) or None
        ) or ()

    def grants(self, region: str, key_id: str, grantee_id: str) -> GrantSet:
        """What this grantee is granted on the key. The same object as long as nothing of it changes."""
        place = (region, key_id, grantee_id)
        found = self._tables.grants.get(place)
        if found is not MISSING:
            return NO_GRANTS if found is None else found
        if not (
            _fits(region, schema.REGION_MAX)
            and _fits(key_id, schema.KEY_ID_MAX)
            and _fits(grantee_id, schema.UNIQUE_ID_MAX)
        ):
            return NO_GRANTS
        loaded = self._missed(self._tables.grants, place, self._tables.grants_of(*place))
        return NO_GRANTS if loaded is None else loaded

    def grant_token(self, digest: bytes) -> GrantToken | None:
        """What the grant token with this SHA-256 names."""
        found = self._tables.grant_tokens.get(digest)
        if found is not MISSING:
            return found
        if len(digest) != schema.DIGEST_BYTES:
            return None
        return self._missed(self._tables.grant_tokens, digest, lambda reader: reader.find_grant_token(digest))

    def budgets(self, account: str) -> AccountBudgets:
        """What limits the use of the account's keys."""
        found = self._tables.budgets.get(account)
        if found is MISSING:
            found = self._missed(self._tables.budgets, account, lambda reader: reader.account_budgets(account))
        return NO_BUDGETS if found is None else found

    def freeze(self, region: str, key_id: str, principal_arn: str) -> Freeze | None:
        """The freeze of that principal on that key."""
        place = (region, key_id, principal_arn)
        found = self._tables.freezes.get(place)
        if found is not MISSING:
            return found
        return self._missed(self._tables.freezes, place, lambda reader: reader.find_freeze(*place))

    def custom_key_store(self, store_id: str) -> CustomKeyStore | None:
        """The custom key store of this id."""
        found = self._tables.custom_stores.get(store_id)
        if found is not MISSING:
            return found
        if not _fits(store_id, STORE_ID_MAX):
            return None
        return self._missed(self._tables.custom_stores, store_id, lambda reader: reader.custom_key_store(store_id))

    def _missed(self, records: Records[K, V], key: K, fetch: Callable[[Reader], V | None]) -> V | None:
        raise NotLoaded(lambda: self._tables.load(records, key, fetch))


class View(Lookups):
    """Lookups that load what is missing (they block), and the proof of currency."""

    def __init__(
        self, entries: int, version: int, read: Callable[[], AbstractContextManager[Reader]]
    ) -> None:
        """Begins empty, as of `version`."""
        super().__init__(_Tables(entries, read))
        self.kept = Lookups(self._tables)
        """The same lookups without SQL: what isn't kept raises NotLoaded. For the event loop."""
        self._version = version
        self._guard = threading.Lock()
        self._listeners: tuple[Callable[[Sequence[Change] | None], None], ...] = ()
        self._prover: Prover | None = None

    @property
    def version(self) -> int:
        """The write transaction up to which this view has dropped what changed."""
        return self._version

    def prove_now(self) -> bool:
        """True: the view was current after this call began. False: `await prove()` has to tell.

        Takes microseconds. Raises DependencyTimeoutException when the database fails.
        """
        return self._proof.now()

    async def prove(self) -> None:
        """Returns when the view was current after this call began; else DependencyTimeoutException."""
        await self._proof.soon()

    def prove_blocking(self) -> None:
        """`prove` for threads."""
        self._proof.blocking()

    def load(self, missing: NotLoaded) -> None:
        """Reads what a lookup missed. Blocks."""
        missing.load()

    def listen(self, listener: Callable[[Sequence[Change] | None], None]) -> None:
        """Tells `listener` what changed (None: anything may have) before the view counts as current.

        It is called in any thread and must be quick, must not raise and must not look into the view.
        """
        self._listeners = (*self._listeners, listener)

    def advance(self, progress: Progress) -> None:
        """Drops what changed. For catalog and prover: `progress` begins where the view stands or before."""
        for change in progress.changes or ():
            self._tables.drop(change)
        if progress.changes is None:
            self._tables.clear()
        if progress.changes is None or progress.changes:
            for listener in self._listeners:
                listener(progress.changes)
        with self._guard:
            # A lower version comes from an older copy of the database put in place of the newer one.
            if progress.changes is None or progress.version > self._version:
                self._version = progress.version

    def rely_on(self, prover: Prover) -> None:
        """Names the prover, once, when the catalog is opened."""
        self._prover = prover

    @property
    def _proof(self) -> Prover:
        if self._prover is None:
            raise RuntimeError("the view has no prover yet")
        return self._prover

    def _missed(self, records: Records[K, V], key: K, fetch: Callable[[Reader], V | None]) -> V | None:
        return self._tables.load(records, key, fetch)


class _Tables:
    """The records of a view by kind."""

    def __init__(self, entries: int, read: Callable[[], AbstractContextManager[Reader]]) -> None:
        self._read = read
        self.keys: Records[tuple[str, str], Key] = Records(entries)
        self.aliases: Records[tuple[str, str, str], str] = Records(entries)
        self.principals: Records[str, PrincipalRecord] = Records(entries)
        self.tokens: Records[bytes, TokenRecord] = Records(entries)
        self.access_keys: Records[str, AccessKeyRecord] = Records(entries)
        self.uris: Records[str, CertificateRecord] = Records(entries)
        self.subjects: Records[str, CertificateRecord] = Records(entries)
        self.spiffe_patterns: Records[str, tuple[CertificateRecord, ...]] = Records(entries)
        self.issuers: Records[str, tuple[OidcProviderRecord, ...]] = Records(entries)
        self.grants: Records[tuple[str, str, str], GrantSet] = Records(entries)
        self.grant_tokens: Records[bytes, GrantToken] = Records(entries)
        self.budgets: Records[str, AccountBudgets] = Records(entries)
        self.freezes: Records[tuple[str, str, str], Freeze] = Records(entries)
        self.custom_stores: Records[str, CustomKeyStore] = Records(entries)
        self._by_subject: Mapping[ChangeKind, Records[str, Any]] = {
            ChangeKind.PRINCIPAL: self.principals,
            ChangeKind.ACCESS_KEY: self.access_keys,
            ChangeKind.CERTIFICATE_URI: self.uris,
            ChangeKind.CERTIFICATE_SUBJECT: self.subjects,
            ChangeKind.BUDGETS: self.budgets,
            ChangeKind.SPIFFE_PATTERNS: self.spiffe_patterns,
            ChangeKind.OIDC_ISSUER: self.issuers,
        }
        self._outdated_grants: Generations[tuple[str, str, str], GrantSet] = Generations(_OUTDATED_SETS)
        """Large sets as they were before something of them changed: most of it is still true."""

    def grants_of(self, region: str, key_id: str, grantee_id: str) -> Callable[[Reader], GrantSet | None]:
        """How to read what a grantee is granted on a key. A large set that was known is brought up to date."""
        place = (region, key_id, grantee_id)

        def fetch(reader: Reader) -> GrantSet | None:
            before = self._outdated_grants.get(place)
            if before is not MISSING:
                # A grant never changes under its id, so the ids tell all. Both are read in one snapshot.
                ids = reader.grant_ids_to(*place)
                if len(ids - before.ids) <= _GRANTS_ONE_BY_ONE:
                    made = [reader.get_grant(region, key_id, grant_id) for grant_id in ids - before.ids]
                    return before.changed(before.ids - ids, filter(None, made)) if ids else None
            found = reader.grants_to(*place)
            # None, not an empty set, so that absence is noted apart from records.
            return GrantSet(found) if found else None

        return fetch

    def load(self, records: Records[K, V], key: K, fetch: Callable[[Reader], V | None]) -> V | None:
        """Reads a record and keeps it, unless it changes all the while: then it's current, but not kept."""
        value: V | None = None
        for _ in range(_LOAD_ATTEMPTS):
            flight = records.begin(key)
            try:
                with self._read() as reader:
                    value = fetch(reader)
            except BaseException:
                records.abandon(key, flight)
                raise
            if records.finish(key, flight, value):
                break
        return value

    def drop(self, change: Change) -> None:
        """Forgets one record."""
        by_subject = self._by_subject.get(change.kind)
        if by_subject is not None:
            by_subject.drop(change.subject)
            return
        match change.kind:
            case ChangeKind.KEY:
                region, key_id = change.parts()
                self.keys.drop((region, key_id))
            case ChangeKind.ALIAS:
                account, region, name = change.parts()
                self.aliases.drop((account, region, name))
            case ChangeKind.TOKEN:
                self.tokens.drop(bytes.fromhex(change.subject))
            case ChangeKind.GRANTS:
                region, key_id, grantee_id = change.parts()
                place = (region, key_id, grantee_id)
                before = self.grants.get(place)
                if isinstance(before, GrantSet) and len(before.records) >= _LARGE_SET:
                    self._outdated_grants.put(place, before)
                self.grants.drop(place)
            case ChangeKind.GRANTS_OF_KEY:
                # A key with grants is gone for good, which is rare: records aren't found by their key alone.
                self.grants.clear()
                self._outdated_grants.clear()
                self.grant_tokens.clear()
            case ChangeKind.GRANT_TOKEN:
                self.grant_tokens.drop(bytes.fromhex(change.subject))
            case ChangeKind.FREEZE:
                region, key_id, principal_arn = change.parts()
                self.freezes.drop((region, key_id, principal_arn))
            case ChangeKind.CUSTOM_KEY_STORE:
                # Its keys show its state. That changes rarely, and keys aren't found by their store.
                self.custom_stores.drop(change.subject)
                self.keys.clear()
            case kind:
                self._by_subject[kind].drop(change.subject)

    def clear(self) -> None:
        """Forgets everything."""
        self.keys.clear()
        self.aliases.clear()
        self.principals.clear()
        self.tokens.clear()
        self.access_keys.clear()
        self.uris.clear()
        self.subjects.clear()
        self.spiffe_patterns.clear()
        self.issuers.clear()
        self.grants.clear()
        self._outdated_grants.clear()
        self.grant_tokens.clear()
        self.budgets.clear()
        self.freezes.clear()
        self.custom_stores.clear()


def _alias_of(account: str, region: str, name: str) -> Callable[[Reader], str | None]:
    def fetch(reader: Reader) -> str | None:
        alias = reader.get_alias(account, region, name)
        return None if alias is None else alias.key_id

    return fetch


def _fits(text: str, length: int) -> bool:
    """False for what its column couldn't hold: such lookups cost neither SQL nor memory."""
    return len(text) <= length and storable(text)
