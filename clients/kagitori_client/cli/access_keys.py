"""`kagitori access-key`: credentials for signed requests, whose secret is shown once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kagitori.kms.v1.credentials_pb2 import (
    AccessKeyStatus,
    CreateAccessKeyRequest,
    DeleteAccessKeyRequest,
    ListAccessKeysRequest,
    UpdateAccessKeyRequest,
)
from kagitori_client.cli.arguments import principal_arn
from kagitori_client.cli.files import check_target, write_secret
from kagitori_client.cli.policies import Principal
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import plain
from kagitori_client.client import pages
from kagitori_client.errors import KagitoriError

app = typer.Typer(help="Make and end access keys for signed requests.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ACCESS_KEY_ID")]


@command(app, "create", epilog="Example: kagitori access-key create user/web --out web.secret")
def create(
    session: Session,
    principal: Principal,
    out: Annotated[
        str | None, typer.Option(help="Write the secret to this new file, mode 0600.", metavar="FILE")
    ] = None,
) -> None:
    """Make an access key. Its secret is printed this once, alone on stdout, or written to a file."""
    if out is not None:
        check_target(out, force=False)
    request = CreateAccessKeyRequest(principal_arn=principal_arn(session, principal))
    answer = session.client.admin.CreateAccessKey(request)
    facts = {**plain(answer.access_key), "secret_access_key": answer.secret_access_key}
    if out is not None:
        try:
            write_secret(out, f"{answer.secret_access_key}\n".encode("ascii"), force=False)
        except KagitoriError as error:
            key_id = answer.access_key.access_key_id
            error.hint = f"an access key was made whose secret nobody has: kagitori access-key delete {key_id}"
            raise
        session.record({**facts, "secret_access_key": None, "secret_file": out})
    elif session.as_json:
        session.json(facts)
    else:
        key_id = answer.access_key.access_key_id
        sys.stderr.write(f"secret of access key {key_id} of {request.principal_arn}; it is not shown again\n")
        sys.stdout.write(f"{answer.secret_access_key}\n")


@command(app, "list")
def list_(
    session: Session,
    principal: Annotated[str | None, typer.Option(help="Only those of this principal.")] = None,
) -> None:
    """List access keys, without their secrets."""
    request = ListAccessKeysRequest(principal_arn=principal_arn(session, principal) if principal else None)
    found = [key for page in pages(session.client.admin.ListAccessKeys, request) for key in page.access_keys]
    session.records("access_keys", found, ["access_key_id", "principal_arn", "status", "create_date"])


@command(app, "activate")
def activate(session: Session, access_key_id: KeyId) -> None:
    """Let an access key be accepted again."""
    _update(session, access_key_id, AccessKeyStatus.ACCESS_KEY_STATUS_ACTIVE)
    session.done(f"access key {access_key_id} is active", access_key_id=access_key_id)


@command(app, "deactivate")
def deactivate(session: Session, access_key_id: KeyId) -> None:
    """Let an access key not be accepted until it is made active again."""
    _update(session, access_key_id, AccessKeyStatus.ACCESS_KEY_STATUS_INACTIVE)
    session.done(f"access key {access_key_id} is inactive", access_key_id=access_key_id)


@command(app, "delete")
def delete(session: Session, access_key_id: KeyId) -> None:
    """End an access key for good."""
    session.client.admin.DeleteAccessKey(DeleteAccessKeyRequest(access_key_id=access_key_id))
    session.done(f"access key {access_key_id} is deleted", access_key_id=access_key_id)


def _update(session: Session, access_key_id: str, status: AccessKeyStatus.ValueType) -> None:
    session.client.admin.UpdateAccessKey(UpdateAccessKeyRequest(access_key_id=access_key_id, status=status))
