"""Shapes of the operations on OpenID Connect providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kagitori_server.model.arn import ACCOUNT_PATTERN, PARTITION_PATTERN
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import marker
from kagitori_server.operations.shapes.principals import ARN_MAX, account_id, page_limit

_ISSUER_MAX = 255
_TEXT_MAX = 255
_TAGS_MAX = 50
_AUDIENCES_MAX = 100
_JWKS_MAX = 65_536
_ISSUER = "https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[!\"$-)+->@-~]*)?"
"""A URL without user, query and fragment (OpenID Connect Discovery 1.0, section 3), and without policies' wildcards."""
_NAME = "[^\\x00-\\x1f\\x7f-\\x9f]+"


def _role_arn() -> str:
    text: str = member(
        required=True, minimum=20, maximum=ARN_MAX,
        pattern=f"arn:{PARTITION_PATTERN}:iam::{ACCOUNT_PATTERN}:role/[!-~]{{1,575}}",
    )
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOidcProviderRequest:
    """What CreateOidcProvider takes."""

    account_id: str | None = account_id()
    issuer_url: str = member(required=True, minimum=9, maximum=_ISSUER_MAX, pattern=_ISSUER)
    audiences: tuple[str, ...] = member(
        required=True, minimum=1, maximum=_TEXT_MAX, pattern=_NAME, items_minimum=1, items_maximum=_AUDIENCES_MAX
    )
    role_arn: str = _role_arn()
    session_name_claim: str | None = member(minimum=1, maximum=_TEXT_MAX, pattern=_NAME)
    tag_claims: Mapping[str, str] = member(items_maximum=_TAGS_MAX, default={})
    jwks_document: str | None = member(minimum=1, maximum=_JWKS_MAX, sensitive=True)

    @property
    def principal_arn(self) -> str:
        """Whose credentials the issuer's tokens are."""
        return self.role_arn


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOidcProviderResponse:
    """What CreateOidcProvider answers."""

    oidc_provider_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOidcProvidersRequest:
    """What ListOidcProviders takes."""

    account_id: str | None = account_id()
    limit: int | None = page_limit()
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvider:
    """An OpenID Connect issuer whose tokens prove sessions of a role."""

    oidc_provider_arn: str
    issuer_url: str
    audiences: tuple[str, ...]
    role_arn: str
    session_name_claim: str
    tag_claims: Mapping[str, str]
    create_date: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOidcProvidersResponse:
    """What ListOidcProviders answers."""

    oidc_providers: tuple[OidcProvider, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOidcProviderRequest:
    """What DeleteOidcProvider takes."""

    oidc_provider_arn: str = member(
        required=True, minimum=20, maximum=ARN_MAX,
        pattern=f"arn:{PARTITION_PATTERN}:iam::{ACCOUNT_PATTERN}:oidc-provider/[!-~]{{1,255}}",
    )
