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
SESSION_SECONDS = 3_600
"""The longest session of a role whose maker names nothing (AWS IAM CreateRole)."""
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


class PolicyHome(StrEnum):
    """Where an identity policy that isn't the principal's own inline one lives."""

    GROUP = "group"
    MANAGED = "managed"


@dataclass(frozen=True, slots=True)
class PolicyText:
    """An identity policy that a principal has from elsewhere."""

    name: str
    """What decisions report: the managed policy's ARN, or the group's ARN, `/` and the policy's name."""
    home: PolicyHome
    document: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Who may assume a role: the document byte for byte, and the unique ids that its principals stood for."""

    document: str = field(repr=False)
    bindings: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PrincipalRecord:
    """A user, a role, or an account's root user, with everything that decides what it may do."""

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
    inherited: tuple[PolicyText, ...] = ()
    """Managed policies attached to it, and all policies of a user's groups, inline and managed."""
    boundary: PolicyText | None = None
    """The managed policy that bounds it."""
    trust: TrustPolicy | None = None
    """Of roles alone; without it nobody may assume the role."""
    max_session_seconds: int = SESSION_SECONDS
    """Of roles: how long a session may last."""


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group of users that share policies. It is no principal."""

    account: str
    name: str
    path: str
    group_id: str
    """AGPA…"""
    arn: str
    created: float
    policies: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Inline policies: name -> document."""


@dataclass(frozen=True, slots=True)
class ManagedPolicyRecord:
    """A policy with an ARN of its own, to be attached to many or to bound them. Its document never changes."""

    account: str
    name: str
    path: str
    policy_id: str
    """ANPA…"""
    arn: str
    created: float
    description: str
    document: str = field(repr=False)
    attachments: int = 0
    """How many users, groups and roles it is attached to or bounds."""


class CredentialKind(StrEnum):
    """How a caller can prove who it is."""

    TOKEN = "token"  # noqa: S105 - the name of the kind, not a secret
    CERTIFICATE = "certificate"
    WEB_IDENTITY = "web-identity"
    """A token of an OpenID Connect issuer."""
    EXCHANGED_TOKEN = "exchanged-token"  # noqa: S105 - the name of the kind
    """The same, shown once to open a session with (AWS STS AssumeRoleWithWebIdentity)."""
    SOCKET = "socket"
    ACCESS_KEY = "access-key"
    """A signature with an access key."""


@dataclass(frozen=True, slots=True)
class AssumedSession:
    """What AssumeRole settled for one session of a role, apart from its name and its end."""

    policy: str | None = field(default=None, repr=False)
    """Session policy: the session may do no more than it allows."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Session tags; they hide the role's tags of the same name."""
    source_identity: str | None = None
    federated_provider: str | None = None
    """ARN of the provider of the token that opened it, if one did."""


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
    session: AssumedSession | None = None
    """Of tokens that AssumeRole gave."""


def access_key_label(access_key_id: str) -> str:
    """What the wrapped secret of an access key is bound to."""
    return f"access-key/{access_key_id}"


@dataclass(frozen=True, slots=True)
class AccessKeyRecord:
    """An access key for signed requests. Its secret has to be read again, so it is kept wrapped, not hashed."""

    access_key_id: str
    """AKIA… for those that last, ASIA… for those of a session."""
    entry_id: str
    """Sorts by the time of making. Of a session's access key it is the id of the session's token."""
    principal_arn: str
    account: str
    region: str
    """Whose key-encryption key wraps the secret, together with the account; constant for the key's life."""
    wrapped_secret: bytes = field(repr=False)
    """Bound to the `access_key_label`."""
    active: bool
    created: float
    expires: float | None = None
    """Seconds since the epoch; None for never."""
    session_name: str = ""
    session_token_digest: bytes | None = field(default=None, repr=False)
    """SHA-256 of the session token that has to come with every signed request."""
    session: AssumedSession | None = None
    """Of access keys that AssumeRole gave."""


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A client certificate's name mapped to a principal: exactly one of `uri_san` and `subject` is set."""

    certificate_id: str
    uri_san: str | None
    """A URI, or a pattern of SPIFFE IDs (`model/spiffe.py`)."""
    subject: str | None
    """RFC 4514 string of the subject."""
    principal_arn: str
    account: str
    session_name: str
    """Empty for a pattern: each SPIFFE ID names its own session."""
    description: str
    created: float


@dataclass(frozen=True, slots=True)
class OidcProviderRecord:
    """An OpenID Connect issuer whose tokens prove sessions of one role."""

    arn: str
    account: str
    issuer: str
    """Exactly as in the tokens' `iss`."""
    audiences: tuple[str, ...]
    """One of them has to be in a token's `aud`. No two providers of an issuer share one, whichever account's."""
    role_arn: str
    session_name_claim: str
    tag_claims: Mapping[str, str]
    """Tag of the session -> claim that it is taken from."""
    jwks: str | None = field(repr=False)
    """The issuer's keys as a JSON Web Key Set; None when they are to be fetched from the issuer."""
    created: float


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """What a token of an OpenID Connect issuer says, for the trust policy of the role whose session it opens."""

    provider_arn: str
    facts: Mapping[str, str | tuple[str, ...]] = field(repr=False)
    """Condition keys in lower case, such as `issuer.example/path:sub`."""
    subject: str
    """Empty where the token has none."""
    audience: str
    """The first of the token's that the provider accepts."""


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
    session: AssumedSession | None = None
    """What AssumeRole or the proof itself settled; None for callers without any of it."""
    web_identity: WebIdentity | None = None
    """For sessions that a token of an OpenID Connect issuer opened."""

    @property
    def tags(self) -> Mapping[str, str]:
        """What policies see as `aws:PrincipalTag`: the principal's tags, session tags above them."""
        if self.session is None or not self.session.tags:
            return self.record.tags
        return {**self.record.tags, **self.session.tags}

    @property
    def source_identity(self) -> str | None:
        """Whom the session is for, as said when the first role of a chain was assumed."""
        return None if self.session is None else self.session.source_identity

    @property
    def federated_provider(self) -> str | None:
        """ARN of the OpenID Connect provider that vouched for the session, if one did."""
        if self.web_identity is not None:
            return self.web_identity.provider_arn
        return None if self.session is None else self.session.federated_provider
