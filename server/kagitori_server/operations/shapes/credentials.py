"""Shapes of the operations on tokens and certificate mappings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import marker
from kagitori_server.operations.shapes.principals import account_id, credential_owner_arn, page_limit

_ID_MAX = 64
_ID = "[a-z0-9-]+"
_CERTIFICATE_NAME_MAX = 2_048
_URI = "[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\\[\\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"
"""RFC 3986: a scheme, then characters that a URI may hold."""


def description() -> str | None:
    """What the credential is for."""
    text: str | None = member(minimum=0, maximum=256)
    return text


def session_name() -> str | None:
    """The name of a role's session."""
    text: str | None = member(minimum=2, maximum=64, pattern="[A-Za-z0-9_+=,.@-]+")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTokenRequest:
    """What CreateToken takes."""

    principal_arn: str = credential_owner_arn()
    description: str | None = description()
    duration_seconds: int | None = member(minimum=900, maximum=31_536_000)
    session_name: str | None = session_name()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTokenResponse:
    """What CreateToken answers, the secret this once."""

    token: str = dataclasses.field(repr=False)
    token_id: str
    expiration: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCredentialsRequest:
    """What ListTokens and ListCertificates take."""

    account_id: str | None = account_id()
    principal_arn: str | None = credential_owner_arn(required=False)
    limit: int | None = page_limit()
    marker: str | None = marker()

    @property
    def account_named(self) -> str | None:
        """The member that says which account the call is about."""
        return self.account_id if self.account_id is not None else self.principal_arn


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMetadata:
    """A token without its secret."""

    token_id: str
    principal_arn: str
    description: str | None
    session_name: str | None
    create_date: float
    expiration: float | None
    last_used_date: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTokensResponse:
    """What ListTokens answers."""

    tokens: tuple[TokenMetadata, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeTokenRequest:
    """What RevokeToken takes."""

    account_id: str | None = account_id()
    token_id: str = member(required=True, minimum=1, maximum=_ID_MAX, pattern=_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterCertificateRequest:
    """What RegisterCertificate takes: exactly one of `uri_san` and `subject`."""

    principal_arn: str = credential_owner_arn()
    uri_san: str | None = member(minimum=1, maximum=_CERTIFICATE_NAME_MAX, pattern=_URI)
    subject: str | None = member(minimum=1, maximum=_CERTIFICATE_NAME_MAX)
    description: str | None = description()
    session_name: str | None = session_name()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterCertificateResponse:
    """What RegisterCertificate answers."""

    certificate_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateMapping:
    """Which certificates prove which principal."""

    certificate_id: str
    principal_arn: str
    uri_san: str | None
    subject: str | None
    description: str | None
    session_name: str | None
    create_date: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCertificatesResponse:
    """What ListCertificates answers."""

    certificates: tuple[CertificateMapping, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeregisterCertificateRequest:
    """What DeregisterCertificate takes."""

    account_id: str | None = account_id()
    certificate_id: str = member(required=True, minimum=1, maximum=_ID_MAX, pattern=_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCallerIdentityResponse:
    """AWS STS `GetCallerIdentity`."""

    account_id: str
    arn: str
    user_id: str
