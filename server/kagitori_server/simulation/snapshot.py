"""The catalog as a simulation sees it: what was read once stays so, and one key may be another than it is."""

from __future__ import annotations

from typing import Any, TypeVar

from kagitori_server.model.budgets import AccountBudgets, Freeze
from kagitori_server.model.custom_key_stores import CustomKeyStore
from kagitori_server.model.grant_set import GrantSet
from kagitori_server.model.grants import Grant, GrantToken
from kagitori_server.model.keys import Key
from kagitori_server.model.lookup import Lookup
from kagitori_server.model.principals import (
    AccessKeyRecord,
    CertificateRecord,
    OidcProviderRecord,
    PrincipalRecord,
    TokenRecord,
)
from kagitori_server.simulation.recorded import Reason, Undecidable, Watch
from kagitori_server.storage.catalog import Catalog

_ENTRIES = 10_000
_Kept = TypeVar("_Kept")


class Snapshot:
    """A Lookup that blocks. Records come from `lookup`, each kept from when it was first wanted: at most `_ENTRIES`
    of a kind, beyond which they are read anew. For one thread."""

    def __init__(
        self, catalog: Catalog, lookup: Lookup, watch: Watch, *, key: Key | None = None, without: Grant | None = None
    ) -> None:
        """`watch` is told when grants are looked up that an encryption context has to fit."""
        self._catalog = catalog
        self._lookup = lookup
        self._watch = watch
        self._key = key
        self._without = without
        self._keys: dict[Any, Key | None] = {}
        self._principals: dict[Any, PrincipalRecord | None] = {}
        self._grants: dict[Any, GrantSet] = {}

    def of(self, key: Key, without: Grant | None = None) -> Snapshot:
        """The same with `key` for the key of its id, and without that grant."""
        return Snapshot(self._catalog, self, self._watch, key=key, without=without)

    def key_at(self, arn: str) -> Key:
        """The key of that ARN. Raises Undecidable."""
        parts = arn.split(":", 5)
        key = self.key(parts[3], parts[5].removeprefix("key/"))
        if key is None or key.arn != arn:
            raise Undecidable(Reason.KEY_GONE)
        return key

    def grant(self, key: Key, grant_id: str) -> Grant | None:
        """The grant of that id on `key`."""
        with self._catalog.read() as reader:
            return reader.get_grant(key.region, key.key_id, grant_id)

    def key(self, region: str, key_id: str) -> Key | None:
        """See Lookup."""
        if self._key is not None and (region, key_id) == (self._key.region, self._key.key_id):
            return self._key
        place = (region, key_id)
        if place not in self._keys:
            _keep(self._keys, place, self._lookup.key(region, key_id))
        return self._keys[place]

    def principal(self, arn: str) -> PrincipalRecord | None:
        """See Lookup."""
        if arn not in self._principals:
            _keep(self._principals, arn, self._lookup.principal(arn))
        return self._principals[arn]

    def grants(self, region: str, key_id: str, grantee_id: str) -> GrantSet:
        """See Lookup."""
        place = (region, key_id, grantee_id)
        if place not in self._grants:
            _keep(self._grants, place, self._remaining(self._lookup.grants(region, key_id, grantee_id)))
        found = self._grants[place]
        if any(grant.constraint is not None for grant in found.records):
            self._watch.paired = True
        return found

    def _remaining(self, found: GrantSet) -> GrantSet:
        without = self._without
        if without is None or all(grant.grant_id != without.grant_id for grant in found.records):
            return found
        return GrantSet(tuple(grant for grant in found.records if grant.grant_id != without.grant_id))

    def alias(self, account: str, region: str, name: str) -> str | None:
        """See Lookup."""
        return self._lookup.alias(account, region, name)

    def token(self, digest: bytes) -> TokenRecord | None:
        """See Lookup."""
        return self._lookup.token(digest)

    def access_key(self, access_key_id: str) -> AccessKeyRecord | None:
        """See Lookup."""
        return self._lookup.access_key(access_key_id)

    def certificate_by_uri(self, uri: str) -> CertificateRecord | None:
        """See Lookup."""
        return self._lookup.certificate_by_uri(uri)

    def certificate_by_subject(self, subject: str) -> CertificateRecord | None:
        """See Lookup."""
        return self._lookup.certificate_by_subject(subject)

    def grant_token(self, digest: bytes) -> GrantToken | None:
        """See Lookup."""
        return self._lookup.grant_token(digest)

    def spiffe_patterns(self, trust_domain: str) -> tuple[CertificateRecord, ...]:
        """See Lookup."""
        return self._lookup.spiffe_patterns(trust_domain)

    def oidc_providers(self, issuer: str) -> tuple[OidcProviderRecord, ...]:
        """See Lookup."""
        return self._lookup.oidc_providers(issuer)

    def budgets(self, account: str) -> AccountBudgets:
        """See Lookup."""
        return self._lookup.budgets(account)

    def freeze(self, region: str, key_id: str, principal_arn: str) -> Freeze | None:
        """See Lookup."""
        return self._lookup.freeze(region, key_id, principal_arn)

    def custom_key_store(self, store_id: str) -> CustomKeyStore | None:
        """See Lookup."""
        return self._lookup.custom_key_store(store_id)


def _keep(kept: dict[Any, _Kept], place: Any, found: _Kept) -> None:
    if len(kept) >= _ENTRIES:
        kept.clear()
    kept[place] = found
