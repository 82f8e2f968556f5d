"""What authentication and resolution look things up in: the records of one moment of the catalog."""

from __future__ import annotations

from typing import Protocol

from kagitori_server.model.budgets import AccountBudgets, Freeze
from kagitori_server.model.custom_key_stores import CustomKeyStore
from kagitori_server.model.grant_set import GrantSet
from kagitori_server.model.grants import GrantToken
from kagitori_server.model.keys import Key
from kagitori_server.model.principals import (
    AccessKeyRecord,
    CertificateRecord,
    OidcProviderRecord,
    PrincipalRecord,
    TokenRecord,
)


class Lookup(Protocol):
    """Records by name, None for what isn't there.

    There are two of them over the same records: one for threads, which fetches what it doesn't hold, and one for
    the event loop, which raises `NotLoaded` instead of blocking.
    """

    def key(self, region: str, key_id: str) -> Key | None:
        """The key of that id in that Region, whichever account owns it."""
        ...

    def alias(self, account: str, region: str, name: str) -> str | None:
        """The id of the key that the alias (with its `alias/` prefix) points to."""
        ...

    def principal(self, arn: str) -> PrincipalRecord | None:
        """The user, role or root user of that ARN."""
        ...

    def token(self, digest: bytes) -> TokenRecord | None:
        """The API token whose SHA-256 is `digest`."""
        ...

    def access_key(self, access_key_id: str) -> AccessKeyRecord | None:
        """The access key of that id, active or not, expired or not."""
        ...

    def certificate_by_uri(self, uri: str) -> CertificateRecord | None:
        """The mapping of certificates with that URI among their subject alternative names."""
        ...

    def certificate_by_subject(self, subject: str) -> CertificateRecord | None:
        """The mapping of certificates with that subject (RFC 4514)."""
        ...

    def spiffe_patterns(self, trust_domain: str) -> tuple[CertificateRecord, ...]:
        """The mappings of patterns of SPIFFE IDs in that trust domain, no two of which fit one ID."""
        ...

    def oidc_providers(self, issuer: str) -> tuple[OidcProviderRecord, ...]:
        """What the accounts say of that OpenID Connect issuer; the same object as long as nothing of it changes."""
        ...

    def grants(self, region: str, key_id: str, grantee_id: str) -> GrantSet:
        """What the principal of that unique id, itself and by no other name, is granted on the key."""
        ...

    def grant_token(self, digest: bytes) -> GrantToken | None:
        """The grant that the grant token whose SHA-256 is `digest` names."""
        ...

    def budgets(self, account: str) -> AccountBudgets:
        """What limits the use of the keys of that account."""
        ...

    def freeze(self, region: str, key_id: str, principal_arn: str) -> Freeze | None:
        """The freeze of that principal on that key."""
        ...

    def custom_key_store(self, store_id: str) -> CustomKeyStore | None:
        """The custom key store of that id, whichever account owns it."""
        ...
