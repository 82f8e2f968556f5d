"""The rows of AdminService about OpenID Connect providers."""

from __future__ import annotations

from dataclasses import replace

from kagitori_server.operations.admin_rows import permission, reading, writing
from kagitori_server.operations.administration import oidc_providers
from kagitori_server.operations.row import Operation, Resource
from kagitori_server.operations.shapes import oidc as shapes
from kagitori_server.operations.shapes.empty import Empty

OIDC_PROVIDERS: tuple[Operation, ...] = (
    replace(
        writing(
            "CreateOidcProvider", shapes.CreateOidcProviderRequest, shapes.CreateOidcProviderResponse,
            oidc_providers.create_oidc_provider,
            on=Resource.OIDC_PROVIDER, account_member="account_id", home_only=False,
            # Not the key set: who gives one with private keys by mistake doesn't find them in the trail.
            shown=("account_id", "issuer_url", "audiences", "role_arn", "session_name_claim", "tag_claims"),
            answer_shown=("oidc_provider_arn",), check=oidc_providers.check_create_oidc_provider,
        ),
        # Whoever lets an issuer's tokens stand for a role gives away credentials of it.
        permissions=(
            permission("CreateOidcProvider", Resource.OIDC_PROVIDER), permission("CreateToken", Resource.PRINCIPAL),
        ),
    ),
    reading(
        "ListOidcProviders", shapes.ListOidcProvidersRequest, shapes.ListOidcProvidersResponse,
        oidc_providers.list_oidc_providers,
        on=Resource.ACCOUNT, account_member="account_id", home_only=False, shown=("account_id", "limit", "marker"),
    ),
    writing(
        "DeleteOidcProvider", shapes.DeleteOidcProviderRequest, Empty, oidc_providers.delete_oidc_provider,
        on=Resource.OIDC_PROVIDER, account_member="oidc_provider_arn", home_only=False,
        shown=("oidc_provider_arn",),
    ),
)
"""Every operation of this kind that is served."""
