"""`kagitori oidc-provider`: OpenID Connect issuers whose tokens open sessions of a role."""

from __future__ import annotations

from typing import Annotated

import typer

from kagitori.kms.v1.credentials_pb2 import (
    CreateOidcProviderRequest,
    DeleteOidcProviderRequest,
    ListOidcProvidersRequest,
)
from kagitori_client.cli.arguments import iam_arn, pairs, principal_arn
from kagitori_client.cli.files import read_document
from kagitori_client.cli.principals import Account
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

app = typer.Typer(help="Let tokens of an OpenID Connect issuer open sessions of a role.", no_args_is_help=True)


@command(
    app, "create",
    epilog="Example: kagitori oidc-provider create https://issuer.example --audience kagitori --role role/workloads",
)
def create(
    session: Session,
    issuer: Annotated[str, typer.Argument(metavar="URL", help="The issuer, exactly as in the token's iss.")],
    audience: Annotated[list[str], typer.Option("--audience", help="Value of aud to accept; repeatable.")],
    role: Annotated[str, typer.Option(help="ARN of the role, or role/NAME.")],
    session_name_claim: Annotated[
        str | None, typer.Option(help="Claim that names the session; sub when absent.", metavar="CLAIM")
    ] = None,
    tag_claim: Annotated[
        list[str] | None, typer.Option("--tag-claim", help="Session tag from a claim; repeatable.", metavar="TAG=CLAIM")
    ] = None,
    jwks: Annotated[
        str | None, typer.Option(help="The issuer's keys (JWKS); fetched from it when absent.", metavar="FILE")
    ] = None,
    account: Account = None,
) -> None:
    """Trust an issuer. The role's trust policy has to admit its tokens as well."""
    request = CreateOidcProviderRequest(
        issuer_url=issuer, audiences=audience, role_arn=principal_arn(session, role),
        session_name_claim=session_name_claim, tag_claims=pairs(tag_claim, "--tag-claim"), account_id=account,
        jwks_document=None if jwks is None else read_document(jwks),
    )
    arn = session.client.admin.CreateOidcProvider(request).oidc_provider_arn
    session.done(f"{arn} is trusted", oidc_provider_arn=arn, role_arn=request.role_arn)


@command(app, "list")
def list_providers(session: Session, account: Account = None) -> None:
    """List the issuers that are trusted."""
    request = ListOidcProvidersRequest(account_id=account)
    found = [each for page in pages(session.client.admin.ListOidcProviders, request) for each in page.oidc_providers]
    session.records("oidc_providers", found, ["oidc_provider_arn", "role_arn", "audiences", "session_name_claim"])


@command(app, "delete", epilog="Example: kagitori oidc-provider delete oidc-provider/issuer.example")
def delete(
    session: Session,
    provider: Annotated[
        str, typer.Argument(metavar="PROVIDER", help="ARN, or oidc-provider/HOST/PATH of your account.")
    ],
) -> None:
    """Trust an issuer no more; its tokens are refused at once."""
    arn = iam_arn(session, provider, ("oidc-provider/",), "provider", "write an ARN or oidc-provider/HOST/PATH")
    session.client.admin.DeleteOidcProvider(DeleteOidcProviderRequest(oidc_provider_arn=arn))
    session.done(f"{arn} is trusted no more", oidc_provider_arn=arn)
