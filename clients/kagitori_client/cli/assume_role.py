"""`kagitori token assume-role`: a token of a role's session, for whom the role trusts."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kagitori.kms.v1.credentials_pb2 import AssumeRoleRequest
from kagitori_client.cli.arguments import iam_arn, seconds, tags
from kagitori_client.cli.files import check_target, read_document, write_secret
from kagitori_client.cli.principals import TagOption
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import plain

app = typer.Typer()
"""Part of `kagitori token`."""


@command(
    app, "assume-role",
    epilog="Example: kagitori token assume-role role/backup nightly --out backup.token --expires 1h",
)
def assume_role(
    session: Session,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="ARN, or role/NAME of your account.")],
    session_name: Annotated[str, typer.Argument(metavar="SESSION", help="Name of the session.")],
    policy: Annotated[
        str | None, typer.Option(help="Session policy: the session may do no more than it allows.", metavar="FILE")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="Life such as 15m or 1h; 1h when absent.", metavar="TIME")
    ] = None,
    tag: TagOption = None,
    source_identity: Annotated[str | None, typer.Option(help="Whom the session is for.")] = None,
    out: Annotated[
        str | None, typer.Option(help="Write the token to this new file, mode 0600.", metavar="FILE")
    ] = None,
) -> None:
    """Take a role on for a while. The token is printed this once, alone on stdout, or written to a file.

    With --output json the access key for signed requests is printed as well.
    """
    life = seconds(expires) if expires is not None else None
    document = read_document(policy) if policy is not None else None
    if out is not None:
        check_target(out, force=False)
    request = AssumeRoleRequest(
        role_arn=iam_arn(session, role, ("role/",), "role", "write an ARN or role/NAME"),
        role_session_name=session_name, policy=document, duration_seconds=life, tags=tags(tag),
        source_identity=source_identity,
    )
    answer = session.client.admin.AssumeRole(request)
    if out is not None:
        write_secret(out, f"{answer.token}\n".encode("ascii"), force=False)
        facts = {"assumed_role_arn": answer.assumed_role_arn, "expiration": plain(answer.credentials)["expiration"]}
        session.record({**facts, "token_file": out})
    elif session.as_json:
        session.json(plain(answer))
    else:
        sys.stderr.write(f"token of {answer.assumed_role_arn}; it is not shown again\n")
        sys.stdout.write(f"{answer.token}\n")
