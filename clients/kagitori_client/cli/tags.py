"""`kagitori tag`: labels of keys, which policies can refer to."""

from __future__ import annotations

from typing import Annotated

import typer

from kagitori.kms.v1.keys_pb2 import ListResourceTagsRequest, TagResourceRequest, UntagResourceRequest
from kagitori_client.cli.arguments import tags
from kagitori_client.cli.keys import Key
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

app = typer.Typer(help="Set and remove the tags of keys.", no_args_is_help=True)


@command(app, "set", epilog="Example: kagitori tag set alias/orders team=shop stage=live")
def set_(
    session: Session, key: Key, tag: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...")]
) -> None:
    """Add tags, or replace the values of those there are."""
    given, arn = tags(tag), session.key_id(key)
    session.client.keys.TagResource(TagResourceRequest(key_id=arn, tags=given))
    session.done(f"{key} is tagged", key_id=arn, tags={t.tag_key: t.tag_value for t in given})


@command(app, "remove")
def remove(session: Session, key: Key, name: Annotated[list[str], typer.Argument(metavar="NAME...")]) -> None:
    """Remove tags by name."""
    arn = session.key_id(key)
    session.client.keys.UntagResource(UntagResourceRequest(key_id=arn, tag_keys=name))
    session.done(f"{key} is without {', '.join(name)}", key_id=arn, tag_keys=list(name))


@command(app, "list")
def list_(session: Session, key: Key) -> None:
    """List the tags of a key."""
    request = ListResourceTagsRequest(key_id=session.key_id(key))
    found = [tag for page in pages(session.client.keys.ListResourceTags, request) for tag in page.tags]
    session.records("tags", found, ["tag_key", "tag_value"])
