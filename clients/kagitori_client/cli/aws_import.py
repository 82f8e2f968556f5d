"""`kagitori aws-import`: makes here what an AWS account's KMS holds."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from kagitori_client.cli.arguments import pairs
from kagitori_client.cli.encryption import Force
from kagitori_client.cli.failures import MovedInPart
from kagitori_client.cli.files import check_output, write_secret
from kagitori_client.cli.key_material import read_material
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import Plain


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app, "aws-import",
        epilog="Examples: kagitori aws-import --aws-profile prod --dry-run; "
        "kagitori aws-import --aws-profile prod --map-account 111122223333=000000000000 --mapping-out keys.json",
    )(aws_import)


def aws_import(
    session: Session,
    key: Annotated[
        list[str] | None, typer.Option("--key", help="Only this key: id, ARN or alias in AWS; repeatable.")
    ] = None,
    aws_profile: Annotated[str | None, typer.Option(help="Profile of AWS's configuration to read with.")] = None,
    aws_region: Annotated[str | None, typer.Option(help="Region of AWS to read from.")] = None,
    aws_endpoint: Annotated[str | None, typer.Option(help="Who plays AWS KMS, if it isn't AWS.", metavar="URL")] = None,
    map_account: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Account that policies name, and the one to name instead; repeatable."),
    ] = None,
    material: Annotated[
        list[str] | None,
        typer.Option(metavar="ARN=FILE", help="The material that was imported into that key of AWS; repeatable."),
    ] = None,
    default_policies: Annotated[
        bool, typer.Option("--default-policies", help="Give keys the default key policy instead of theirs.")
    ] = False,
    bypass_lockout_check: Annotated[
        bool, typer.Option("--bypass-lockout-check", help="Accept policies that you could not change again.")
    ] = False,
    mapping_out: Annotated[
        str | None, typer.Option(metavar="FILE", help="File for what became of each key, as JSON.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made, and make nothing.")] = False,
    force: Force = False,
) -> None:
    """Copy keys' settings, policies, tags and aliases from AWS KMS, which stays as it is.

    Material that AWS made never leaves AWS: such keys get new material here. A second run goes on where the first
    one ended, and leaves alone what the first one finished. Keys that AWS doesn't show are told at the end, with exit
    code 1. Credentials for AWS are boto3's: profile, environment, instance role.
    """
    # Not above: they load cryptography and boto3, which makes every command start later.
    from kagitori_client.migration.moving import Moved, Moving
    from kagitori_client.migration.plan import Wishes, plan, read_accounts
    from kagitori_client.migration.source import Source, SourceKey, UnreadKey

    wishes = Wishes(
        accounts=read_accounts(pairs(map_account, "--map-account")), materials=pairs(material, "--material"),
        keep_policies=not default_policies,
    )
    if mapping_out is not None:
        check_output(mapping_out, force=force)
    source = Source(profile=aws_profile, region=aws_region, endpoint=aws_endpoint)
    read = list(source.keys(key or ()))
    plans = [plan(found, wishes) for found in read if isinstance(found, SourceKey)]
    if dry_run:
        results = [
            Moved(each.source.arn, None, "skipped" if each.skipped else "planned",
                  (each.skipped,) if each.skipped else each.notes)
            for each in plans
        ]
    else:
        moving = Moving(
            session.client, lambda name: read_material(name, None, None), bypass_lockout_check=bypass_lockout_check
        )
        results = [moving.carry_out(each) for each in plans]
    results += [
        Moved(each.name, None, "failed", (f"it can't be read: {each.reason}",))
        for each in read if isinstance(each, UnreadKey)
    ]
    rows: list[dict[str, Plain]] = [
        {"source_arn": each.source_arn, "arn": each.arn, "outcome": each.outcome, "notes": list(each.notes)}
        for each in results
    ]
    if mapping_out is not None:
        write_secret(mapping_out, (json.dumps({"keys": rows}, indent=2) + "\n").encode(), force=force)
    session.rows("keys", rows, ["source_arn", "outcome", "arn", "notes"])
    failed = sum(each.outcome == "failed" for each in results)
    if failed:
        raise MovedInPart(f"{failed} of {len(results)} keys could not be moved", hint="mend it and run this again")
    if not results:
        sys.stderr.write("there is no customer managed key there\n")
