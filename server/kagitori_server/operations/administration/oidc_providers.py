"""CreateOidcProvider, ListOidcProviders and DeleteOidcProvider."""

from __future__ import annotations

import hashlib
from typing import Any

from kagitori_server.federation.claims import without_scheme
from kagitori_server.federation.fetching import fetchable
from kagitori_server.federation.keys import KeySetRefused, read_key_set
from kagitori_server.model.errors import LimitExceededException, NoSuchEntityException, ValidationException
from kagitori_server.model.limits import TAG_KEY_MAX
from kagitori_server.model.principals import OidcProviderRecord, PrincipalKind
from kagitori_server.operations.administration.entities import tags_of
from kagitori_server.operations.administration.pages import read_page
from kagitori_server.operations.administration.reach import principal_at
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import oidc as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.keys import TagShape

PROVIDERS_MAX = 100
"""OpenID Connect providers of an account (AWS IAM quotas)."""
SUBJECT_CLAIM = "sub"
_CLAIM_NAME_MAX = 255
_VENDORS = frozenset({"aws", "iam", "kagitori", "kms", "sts"})
"""Condition keys begin so; tokens of an issuer of that name would bring some that only we may set."""


def provider_arn(context: Context, request: Any) -> str:
    """The ARN of the provider that a request is about, whether it exists or not."""
    named: str | None = getattr(request, "oidc_provider_arn", None)
    if named is not None:
        return named
    where = f"arn:{context.services.partition}:iam::{context.account}"
    return f"{where}:oidc-provider/{without_scheme(request.issuer_url)}"


def check_create_oidc_provider(_context: Context, request: shapes.CreateOidcProviderRequest) -> None:
    """Refuses issuers that can't be asked safely, tags that can't be, and unusable keys."""
    if fetchable(request.issuer_url, plain=True) is None:
        raise ValidationException("The issuer must be an https:// URL; http:// is for loopback addresses alone.")
    if without_scheme(request.issuer_url).lower() in _VENDORS:
        raise ValidationException("The issuer's name is that of a vendor of condition keys.")
    tags_of(tuple(TagShape(tag_key=tag, tag_value=claim) for tag, claim in request.tag_claims.items()))
    for tag, claim in request.tag_claims.items():
        if not 1 <= len(tag) <= TAG_KEY_MAX or not 1 <= len(claim) <= _CLAIM_NAME_MAX:
            raise ValidationException(
                f"tagClaims maps tags of at most {TAG_KEY_MAX} to claims of at most {_CLAIM_NAME_MAX} characters."
            )
    if request.jwks_document is not None:
        try:
            read_key_set(request.jwks_document)
        except KeySetRefused as refusal:
            raise ValidationException(f"The key set can't be used: {refusal}.") from None


def create_oidc_provider(
    context: Context, request: shapes.CreateOidcProviderRequest
) -> shapes.CreateOidcProviderResponse:
    """Lets tokens of an issuer prove sessions of a role, as far as the role's trust policy admits them."""
    writer = context.writer
    role = principal_at(context, writer, request.role_arn)
    if role.kind is not PrincipalKind.ROLE:
        raise NoSuchEntityException(f"The role {request.role_arn} cannot be found.")
    if writer.count_oidc_providers(context.account) >= PROVIDERS_MAX:
        raise LimitExceededException(f"The account has {PROVIDERS_MAX} providers, the most it may have.")
    provider = OidcProviderRecord(
        arn=provider_arn(context, request),
        account=context.account,
        issuer=request.issuer_url,
        audiences=tuple(dict.fromkeys(request.audiences)),
        role_arn=role.arn,
        session_name_claim=request.session_name_claim or SUBJECT_CLAIM,
        tag_claims=dict(request.tag_claims),
        jwks=request.jwks_document,
        created=context.now,
    )
    writer.insert_oidc_provider(provider)
    if provider.jwks is not None:
        context.extra["jwks_sha256"] = hashlib.sha256(provider.jwks.encode()).hexdigest()
    return shapes.CreateOidcProviderResponse(oidc_provider_arn=provider.arn)


def list_oidc_providers(
    context: Context, request: shapes.ListOidcProvidersRequest
) -> shapes.ListOidcProvidersResponse:
    """Lists an account's providers in the order of their ARNs."""
    with context.services.catalog.read() as reader:
        page = read_page(
            context.operation.name,
            request.marker,
            request.limit,
            lambda after, limit: reader.list_oidc_providers(context.account, after, limit),
            lambda provider: provider.arn,
        )
    return shapes.ListOidcProvidersResponse(
        oidc_providers=tuple(_provider(provider) for provider in page.items),
        next_marker=page.next_marker,
        truncated=page.truncated,
    )


def delete_oidc_provider(context: Context, request: shapes.DeleteOidcProviderRequest) -> Empty:
    """Ends the trust in an issuer; its tokens are refused at once."""
    provider = context.writer.get_oidc_provider(request.oidc_provider_arn)
    if provider is None or provider.account != context.account:
        raise NoSuchEntityException(f"The provider {request.oidc_provider_arn} cannot be found.")
    context.writer.delete_oidc_provider(provider.arn)
    return EMPTY


def _provider(provider: OidcProviderRecord) -> shapes.OidcProvider:
    return shapes.OidcProvider(
        oidc_provider_arn=provider.arn,
        issuer_url=provider.issuer,
        audiences=provider.audiences,
        role_arn=provider.role_arn,
        session_name_claim=provider.session_name_claim,
        tag_claims=dict(provider.tag_claims),
        create_date=provider.created,
    )
