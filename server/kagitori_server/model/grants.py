"""Grants: permissions for one principal on one key, made and withdrawn without touching a policy (AWS KMS grants).

A grant only adds permission. Whom it names is settled when it's made: the ARN is kept to be shown, the unique id it
stood for is what counts, so a principal made anew under an old name inherits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class GrantOperation(StrEnum):
    """What a grant can permit (AWS `GrantOperation`)."""

    DECRYPT = "Decrypt"
    ENCRYPT = "Encrypt"
    GENERATE_DATA_KEY = "GenerateDataKey"
    GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = "GenerateDataKeyWithoutPlaintext"
    RE_ENCRYPT_FROM = "ReEncryptFrom"
    RE_ENCRYPT_TO = "ReEncryptTo"
    SIGN = "Sign"
    VERIFY = "Verify"
    GET_PUBLIC_KEY = "GetPublicKey"
    CREATE_GRANT = "CreateGrant"
    RETIRE_GRANT = "RetireGrant"
    DESCRIBE_KEY = "DescribeKey"
    GENERATE_DATA_KEY_PAIR = "GenerateDataKeyPair"
    GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT = "GenerateDataKeyPairWithoutPlaintext"
    GENERATE_MAC = "GenerateMac"
    VERIFY_MAC = "VerifyMac"
    DERIVE_SHARED_SECRET = "DeriveSharedSecret"  # noqa: S105 - the name of the operation, not a secret
    ENCAPSULATE = "Encapsulate"
    DECAPSULATE = "Decapsulate"


class ConstraintKind(StrEnum):
    """How a constraint's pairs relate to the encryption context of a call (AWS `GrantConstraints`)."""

    EQUALS = "EncryptionContextEquals"
    """The context is exactly these pairs."""
    SUBSET = "EncryptionContextSubset"
    """The context holds all of these pairs."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the encryption context of a call must be like: at least one pair, compared exactly."""

    kind: ConstraintKind
    pairs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GrantPrincipal:
    """Whom a grant names."""

    arn: str
    """As it was given when the grant was made."""
    unique_id: str
    """`AIDA…` for a user, `AROA…` for a role (its sessions included), `AROA…:session` for one session,
    `ACCOUNT:NAME` for a federated user, the 12 digits for an account."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant as the catalog keeps it. It never changes; it's made and removed."""

    region: str
    key_id: str
    grant_id: str
    """64 hexadecimal digits, chosen at random."""
    name: str | None
    created: float
    """Seconds since the epoch."""
    grantee: GrantPrincipal
    retiring: GrantPrincipal | None
    issuing_account: str
    """The account of the caller that made it."""
    operations: frozenset[GrantOperation]
    constraint: Constraint | None

    def same_terms(self, other: Grant) -> bool:
        """Whether `other` gives the same to the same principals under the same name, on the same key."""
        return self._terms() == other._terms()

    def _terms(self) -> tuple[object, ...]:
        return (
            self.region, self.key_id, self.name, self.grantee, self.retiring, self.issuing_account,
            self.operations, None if self.constraint is None else (self.constraint.kind, dict(self.constraint.pairs)),
        )


@dataclass(frozen=True, slots=True)
class GrantToken:
    """What a grant token names. The token itself is kept as its SHA-256 alone."""

    region: str
    key_id: str
    grant_id: str
