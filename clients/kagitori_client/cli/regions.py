"""`kagitori key replicate` and `set-primary`: one key in several Regions."""

from __future__ import annotations

from typing import Annotated

import typer

from kagitori.kms.v1.key_material_pb2 import ReplicateKeyRequest, UpdatePrimaryRegionRequest
from kagitori_client.cli.arguments import tags
from kagitori_client.cli.files import read_document
from kagitori_client.cli.keys import Key
from kagitori_client.cli.session import Session, command

app = typer.Typer()


@command(app, "replicate", epilog="Example: kagitori key replicate alias/orders eu-west-1")
def replicate(
    session: Session,
    key: Key,
    replica_region: Annotated[str, typer.Argument(metavar="REGION", help="Where the replica will be.")],
    tag: Annotated[list[str] | None, typer.Option(help="Tag of the replica; repeatable.", metavar="NAME=VALUE")] = None,
    description: Annotated[str | None, typer.Option(help="What the replica is for; not secret.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="File with the replica's policy, - for stdin; the default policy without it.")
    ] = None,
    bypass_lockout_check: Annotated[
        bool, typer.Option("--bypass-lockout-check", help="Accept a policy that you could not change again.")
    ] = False,
) -> None:
    """Make a replica of a multi-Region key in another Region: the same id and material, its own policy and tags.

    The replica of a key of origin EXTERNAL waits for `key import` of the same material in its Region.
    """
    request = ReplicateKeyRequest(replica_region=replica_region, description=description, tags=tags(tag))
    if policy is not None:
        request.policy = read_document(policy)
    if bypass_lockout_check:
        request.bypass_policy_lockout_safety_check = True
    request.key_id = session.key_id(key)
    session.record(session.client.keys.ReplicateKey(request).replica_key_metadata)


@command(app, "set-primary")
def set_primary(
    session: Session,
    key: Key,
    primary_region: Annotated[
        str, typer.Argument(metavar="REGION", help="Region of the replica that becomes the primary.")
    ],
) -> None:
    """Make a replica the primary key of its family, and the primary a replica."""
    arn = session.key_id(key)
    session.client.keys.UpdatePrimaryRegion(UpdatePrimaryRegionRequest(key_id=arn, primary_region=primary_region))
    session.done(f"the primary key of {key} is in {primary_region}", key_id=arn, primary_region=primary_region)
