"""`kagitori token`: credentials that are shown once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kagitori.kms.v1.credentials_pb2 import CreateTokenRequest, ListTokensRequest, RevokeTokenRequest
from kagitori_client.cli.arguments import principal_arn, seconds
from kagitori_client.cli.files import check_target, write_secret
from kagitori_client.cli.policies import Principal
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import plain
from kagitori_client.client import pages
from kagitori_client.errors import KagitoriError

app = typer.Typer(help="Make, list and revoke API tokens.", no_args_is_help=True)


@command(app, "create", epilog="Example: kagitori token create user/alice --expires 90d --out alice.token")
def create(
    session: Session,
    principal: Principal,
    expires: Annotated[
        str | None, typer.Option(help="Life, such as 90d, 12h or 30m; without end when absent.", metavar="TIME")
    ] = None,
    session_name: Annotated[str | None, typer.Option(help="Name of the session; roles need one.")] = None,
    description: Annotated[str | None, typer.Option(help="What the token is for.")] = None,
    out: Annotated[
        str | None, typer.Option(help="Write the token to this new file, mode 0600.", metavar="FILE")
    ] = None,
) -> None:
    """Make a token. It is printed this once, alone on stdout, or written to a file."""
    life = seconds(expires) if expires is not None else None
    if out is not None:
        check_target(out, force=False)
    request = CreateTokenRequest(
        principal_arn=principal_arn(session, principal),
        description=description,
        duration_seconds=life,
        session_name=session_name,
    )
    answer = session.client.admin.CreateToken(request)
    facts = {**plain(answer), "principal_arn": request.principal_arn}
    if out is not None:
        try:
            write_secret(out, f"{answer.token}\n".encode("ascii"), force=False)
        except KagitoriError as error:
            error.hint = f"a token was made that nobody has: kagitori token revoke {answer.token_id}"
            raise
        session.record({**facts, "token": None, "token_file": out})
    elif session.as_json:
        session.json(facts)
    else:
        sys.stderr.write(f"token {answer.token_id} of {request.principal_arn}; it is not shown again\n")
        sys.stdout.write(f"{answer.token}\n")


@command(app, "list")
def list_(
    session: Session,
    principal: Annotated[str | None, typer.Option(help="Only those of this principal.")] = None,
) -> None:
    """List tokens, without their secrets."""
    request = ListTokensRequest(principal_arn=principal_arn(session, principal) if principal else None)
    found = [token for page in pages(session.client.admin.ListTokens, request) for token in page.tokens]
    session.records("tokens", found, ["token_id", "principal_arn", "description", "expiration", "last_used_date"])


@command(app, "revoke")
def revoke(session: Session, token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID")]) -> None:
    """End a token at once."""
    session.client.admin.RevokeToken(RevokeTokenRequest(token_id=token_id))
    session.done(f"token {token_id} is revoked", token_id=token_id)
