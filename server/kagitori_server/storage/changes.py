"""What a write transaction touched, in the words that views of other processes are told it.

`subject` is one text: `REGION/KEY-ID` for keys, `ACCOUNT/REGION/NAME` for aliases, the ARN for principals,
the digest in hexadecimal for tokens, the id for access keys, the name itself for certificates, the trust domain for
patterns of SPIFFE IDs, the issuer for OpenID Connect providers, `REGION/KEY-ID/GRANTEE-ID` for the grants of one
grantee on a key, the account for budgets, the id for custom key stores, `REGION/KEY-ID/PRINCIPAL-ARN` for freezes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

SUBJECT_MAX = 2_200
"""Characters of a subject: the longest is a certificate's URI (2,048)."""


class ChangeKind(StrEnum):
    """The kinds of record a view keeps."""

    KEY = "key"
    ALIAS = "alias"
    PRINCIPAL = "principal"
    TOKEN = "token"  # noqa: S105 - the name of the kind, not a secret
    ACCESS_KEY = "access-key"
    CERTIFICATE_URI = "certificate-uri"
    CERTIFICATE_SUBJECT = "certificate-subject"
    SPIFFE_PATTERNS = "spiffe-patterns"
    OIDC_ISSUER = "oidc-issuer"
    GRANTS = "grants"
    GRANTS_OF_KEY = "grants-of-key"
    BUDGETS = "budgets"
    FREEZE = "freeze"
    CUSTOM_KEY_STORE = "custom-key-store"
    GRANT_TOKEN = "grant-token"  # noqa: S105 - the name of the kind, not a secret


@dataclass(frozen=True, slots=True)
class Change:
    """One record that was made, changed or removed."""

    kind: ChangeKind
    subject: str

    @classmethod
    def of_key(cls, region: str, key_id: str) -> Change:
        """The key, its materials, tags and list of aliases."""
        return cls(ChangeKind.KEY, f"{region}/{key_id}")

    @classmethod
    def of_alias(cls, account: str, region: str, name: str) -> Change:
        """Where an alias points."""
        return cls(ChangeKind.ALIAS, f"{account}/{region}/{name}")

    @classmethod
    def of_grants(cls, region: str, key_id: str, grantee_id: str) -> Change:
        """The grants that one grantee has on a key."""
        return cls(ChangeKind.GRANTS, f"{region}/{key_id}/{grantee_id}")

    @classmethod
    def of_all_grants(cls, region: str, key_id: str) -> Change:
        """All grants on a key, whoever has them, and their tokens."""
        return cls(ChangeKind.GRANTS_OF_KEY, f"{region}/{key_id}")

    @classmethod
    def of_grant_token(cls, digest: bytes) -> Change:
        """What the grant token with this SHA-256 names."""
        return cls(ChangeKind.GRANT_TOKEN, digest.hex())

    @classmethod
    def of_budgets(cls, account: str) -> Change:
        """The budgets of an account, and whether anybody is frozen on its keys."""
        return cls(ChangeKind.BUDGETS, account)

    @classmethod
    def of_freeze(cls, region: str, key_id: str, principal_arn: str) -> Change:
        """Whether a principal is frozen on a key."""
        return cls(ChangeKind.FREEZE, f"{region}/{key_id}/{principal_arn}")

    def parts(self) -> tuple[str, ...]:
        """What the subject was made of, in the order of the view's arguments."""
        if self.kind in (ChangeKind.KEY, ChangeKind.GRANTS_OF_KEY):
            return tuple(self.subject.split("/", 1))
        if self.kind in (ChangeKind.ALIAS, ChangeKind.GRANTS, ChangeKind.FREEZE):
            return tuple(self.subject.split("/", 2))
        return (self.subject,)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a view has to learn to be as new as `version`. `changes` None: more than is remembered."""

    version: int
    changes: tuple[Change, ...] | None


def progress(since: int, version: int, horizon: int, rows: Iterable[tuple[str, str]]) -> Progress:
    """What lies between `since` and `version`.

    Changes up to `horizon` are forgotten. A database whose version is lower than what was seen has been
    replaced by an older copy: nothing that was kept from the newer one may be trusted.
    """
    if since < horizon or version < since:
        return Progress(version, None)
    return Progress(version, tuple(Change(ChangeKind(kind), subject) for kind, subject in rows))
