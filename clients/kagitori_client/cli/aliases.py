"""`kagitori alias`: names for keys."""

from __future__ import annotations

from typing import Annotated

import typer

from kagitori.kms.v1.keys_pb2 import (
    CreateAliasRequest,
    DeleteAliasRequest,
    ListAliasesRequest,
    UpdateAliasRequest,
)
from kagitori_client.cli.keys import Key
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

app = typer.Typer(help="Give keys names, and move names between keys.", no_args_is_help=True)

Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="alias/NAME")]


@command(app, "create", epilog="Example: kagitori alias create alias/orders 1234abcd-12ab-34cd-56ef-1234567890ab")
def create(session: Session, alias: Alias, key: Key) -> None:
    """Give a key a name."""
    arn = session.key_id(key)
    session.client.keys.CreateAlias(CreateAliasRequest(alias_name=alias, target_key_id=arn))
    session.done(f"{alias} names {key}", alias_name=alias, target_key_id=arn)


@command(app, "update")
def update(session: Session, alias: Alias, key: Key) -> None:
    """Point a name at another key."""
    arn = session.key_id(key)
    session.client.keys.UpdateAlias(UpdateAliasRequest(alias_name=alias, target_key_id=arn))
    session.done(f"{alias} names {key} now", alias_name=alias, target_key_id=arn)


@command(app, "delete")
def delete(session: Session, alias: Alias) -> None:
    """Remove a name; the key stays."""
    session.client.keys.DeleteAlias(DeleteAliasRequest(alias_name=alias))
    session.done(f"{alias} is removed", alias_name=alias)


@command(app, "list")
def list_(
    session: Session,
    key: Annotated[str | None, typer.Option(help="Only names of this key.", metavar="KEY")] = None,
) -> None:
    """List the names of the account and Region, or those of one key."""
    request = ListAliasesRequest(key_id=session.key_id(key) if key else None)
    found = [entry for page in pages(session.client.keys.ListAliases, request) for entry in page.aliases]
    session.records("aliases", found, ["alias_name", "target_key_id", "last_updated_date"])
