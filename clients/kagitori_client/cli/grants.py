"""`kagitori grant`: permissions on one key for one principal, without touching a policy."""

from __future__ import annotations

from typing import Annotated

import typer

from kagitori.kms.v1.grants_pb2 import (
    CreateGrantRequest,
    GrantConstraints,
    ListGrantsRequest,
    ListRetirableGrantsRequest,
    RetireGrantRequest,
    RevokeGrantRequest,
)
from kagitori.kms.v1.resources_pb2 import GrantOperation
from kagitori_client.cli.arguments import pairs, principal_arn
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.files import read_document
from kagitori_client.cli.keys import Key
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

app = typer.Typer(help="Permit others operations on a key, and end that again.", no_args_is_help=True)

_COLUMNS = ["grant_id", "grantee_principal", "operations", "constraints", "name"]
_PREFIX = "GRANT_OPERATION_"

Grant = Annotated[str, typer.Argument(metavar="GRANT", help="Id of the grant, 64 hexadecimal digits.")]


@command(app, "create", epilog="Example: kagitori grant create alias/orders role/worker Decrypt --context app=shop")
def create(
    session: Session,
    key: Key,
    grantee: Annotated[str, typer.Argument(metavar="GRANTEE", help="ARN, or user/NAME, role/NAME, root.")],
    operation: Annotated[list[str], typer.Argument(metavar="OPERATION...", help="Such as Encrypt or Decrypt.")],
    context: Annotated[
        list[str] | None,
        typer.Option(help="Only for encryption contexts that hold this pair; repeatable.", metavar="NAME=VALUE"),
    ] = None,
    exact_context: Annotated[
        list[str] | None,
        typer.Option(
            "--exact-context", help="Only for encryption contexts of just these pairs; repeatable.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    retiring: Annotated[
        str | None, typer.Option(help="Who may retire the grant; ARN, user/NAME, role/NAME, root.", metavar="PRINCIPAL")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Makes repeating the command harmless.")] = None,
) -> None:
    """Permit a principal operations on a key."""
    if context and exact_context:
        raise UsageError("--context and --exact-context exclude each other")
    request = CreateGrantRequest(
        grantee_principal=principal_arn(session, grantee),
        operations=[_operation(text) for text in operation],
        name=name,
        retiring_principal=principal_arn(session, retiring) if retiring else None,
    )
    if context:
        request.constraints.CopyFrom(GrantConstraints(encryption_context_subset=pairs(context, "--context")))
    if exact_context:
        wanted = pairs(exact_context, "--exact-context")
        request.constraints.CopyFrom(GrantConstraints(encryption_context_equals=wanted))
    request.key_id = session.key_id(key)
    session.record(session.client.keys.CreateGrant(request))


@command(app, "list")
def list_(
    session: Session,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Key id, key ARN, alias/NAME or alias ARN.")] = None,
    grantee: Annotated[
        str | None, typer.Option(help="Only grants to this principal.", metavar="PRINCIPAL")
    ] = None,
    retiring: Annotated[
        str | None, typer.Option(help="Grants on any key that this principal may retire.", metavar="PRINCIPAL")
    ] = None,
) -> None:
    """List the grants on a key, or with --retiring those that a principal may retire."""
    if (key is None) == (retiring is None) or (retiring is not None and grantee is not None):
        raise UsageError("name a key, with --grantee or without, or else --retiring PRINCIPAL alone")
    if retiring is not None:
        wanted = ListRetirableGrantsRequest(retiring_principal=principal_arn(session, retiring))
        found = [grant for page in pages(session.client.keys.ListRetirableGrants, wanted) for grant in page.grants]
        session.records("grants", found, ["key_id", *_COLUMNS])
        return
    request = ListGrantsRequest(
        key_id=session.key_id(key or ""), grantee_principal=principal_arn(session, grantee) if grantee else None
    )
    found = [grant for page in pages(session.client.keys.ListGrants, request) for grant in page.grants]
    session.records("grants", found, _COLUMNS)


@command(app, "retire", epilog="Example: kagitori grant retire --token grant.token")
def retire(
    session: Session,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Key of the grant.")] = None,
    grant: Annotated[str | None, typer.Argument(metavar="GRANT", help="Id of the grant.")] = None,
    token: Annotated[
        str | None, typer.Option(help="File with a token of the grant, - for stdin, instead of key and id.")
    ] = None,
) -> None:
    """End a grant as its retiring principal, as its grantee, or for the account that made it."""
    if (key is None or grant is None) == (token is None) or (token is not None and key is not None):
        raise UsageError("name a key and a grant, or else --token FILE")
    if token is not None:
        session.client.keys.RetireGrant(RetireGrantRequest(grant_token=read_document(token).strip()))
        session.done("the grant is retired")
        return
    arn = session.key_id(key or "")
    session.client.keys.RetireGrant(RetireGrantRequest(key_id=arn, grant_id=grant))
    session.done(f"grant {grant} is retired", key_id=arn, grant_id=grant)


@command(app, "revoke")
def revoke(session: Session, key: Key, grant: Grant) -> None:
    """End a grant as who administers the key."""
    arn = session.key_id(key)
    session.client.keys.RevokeGrant(RevokeGrantRequest(key_id=arn, grant_id=grant))
    session.done(f"grant {grant} is revoked", key_id=arn, grant_id=grant)


def _operation(text: str) -> GrantOperation.ValueType:
    names = {name: number for name, number in GrantOperation.items() if number}
    number = names.get(_PREFIX + text.upper())
    if number is None:
        raise UsageError(f"{text!r} is no operation that can be granted")
    return number
