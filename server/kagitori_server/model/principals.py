"""Who may call: accounts, users, roles, their credentials, and the caller of one request.

Names follow AWS IAM. A role never calls as itself: its credentials make a role session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
"""User and role names (AWS IAM `userNameType`)."""
PATH = re.compile(r"/|/[!-~]{0,510}/")
SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
POLICY_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)


class PrincipalKind(StrEnum):
    """The kinds of principal that can hold identity policies or credentials."""

    ROOT = "root"
    USER = "user"
    ROLE = "role"


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant: 12 digits and a name."""

    account: str
    name: str
    created: float


@dataclass(frozen=True, slots=True)
class PrincipalRecord:
    """A user, a role, or an account's root user, with its inline identity policies."""

    kind: PrincipalKind
    account: str
    name: str
    """User or role name; `root` for the root user."""
    path: str
    principal_id: str
    """AIDA… for users, AROA… for roles, the account id for root."""
    arn: str
    created: float
    policies: Mapping[str, str] = field(repr=False)
    """Policy name -> document, byte for byte as put."""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class CredentialKind(StrEnum):
    """How a caller can prove who it is."""

    TOKEN = "token"  # noqa: S105 - the name of the kind, not a secret
    CERTIFICATE = "certificate"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An API token: stored as the SHA-256 of its random secret, so a copy of the catalog is no use."""

    token_id: str
    digest: bytes = field(repr=False)
    principal_arn: str
    account: str
    session_name: str
    """For roles: the name of the session the token opens."""
    description: str
    created: float
    expires: float | None
    """Seconds since the epoch; None for never."""


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A client certificate's name mapped to a principal: exactly one of `uri_san` and `subject` is set."""

    certificate_id: str
    uri_san: str | None
    subject: str | None
    """RFC 4514 string of the subject."""
    principal_arn: str
    account: str
    session_name: str
    description: str
    created: float


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """The principal of one request, as authentication established it.

    Compared and hashed by identity: one object per credential and state of the catalog, so that what follows from
    it (compiled policies, decisions, the identity in a record) can be kept beside it.
    """

    kind: PrincipalKind
    account: str
    arn: str
    """The user's or root's ARN; for a role the session's (`arn:…:sts::…:assumed-role/ROLE/SESSION`)."""
    user_id: str
    """AIDA…, the account id for root, or `AROA…:session`."""
    record: PrincipalRecord
    credential_kind: CredentialKind
    credential_id: str
    """Id of the token or certificate mapping, `socket` for the local socket: what the audit record shows."""
    session_name: str = ""
    session_started: float = 0.0

    @property
    def tags(self) -> Mapping[str, str]:
        """What policies see as `aws:PrincipalTag`."""
        return self.record.tags

    @property
    def source_identity(self) -> str | None:
        """Whom the session is for, where its maker said so."""
        return None
