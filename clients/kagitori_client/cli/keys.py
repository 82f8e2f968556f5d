"""`kagitori key`: KMS keys, their life and their description."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kagitori.kms.v1.keys_pb2 import (
    CancelKeyDeletionRequest,
    CreateAliasRequest,
    CreateKeyRequest,
    DescribeKeyRequest,
    DisableKeyRequest,
    EnableKeyRequest,
    GetKeyLastUsageRequest,
    ListAliasesRequest,
    ListKeysRequest,
    ListResourceTagsRequest,
    ScheduleKeyDeletionRequest,
    UpdateKeyDescriptionRequest,
)
from kagitori.kms.v1.resources_pb2 import KeySpec, KeyUsage, Origin
from kagitori_client.cli.arguments import tags, value, values
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.files import read_document
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import Plain, plain
from kagitori_client.client import pages
from kagitori_client.errors import ServiceError

app = typer.Typer(help="Make, show, disable and delete KMS keys.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(metavar="KEY", help="Key id, key ARN, alias/NAME or alias ARN.")]


_ONLY_USAGES = {
    "SYMMETRIC_": "ENCRYPT_DECRYPT",
    "HMAC_": "GENERATE_VERIFY_MAC",
    "ECC_SECG_": "SIGN_VERIFY",
    "ECC_NIST_EDWARDS": "SIGN_VERIFY",
    "ML_DSA_": "SIGN_VERIFY",
    "ML_KEM_": "ENCAPSULATE_DECAPSULATE",
}
"""Beginning of a spec's name -> what its keys are for, where that is one thing only."""


@command(
    app, "create",
    epilog="Examples: kagitori key create --alias alias/orders --tag team=shop; "
    "kagitori key create --spec RSA_3072 --usage SIGN_VERIFY --alias alias/releases",
)
def create(
    session: Session,
    spec: Annotated[
        str, typer.Option(help=f"What the key consists of: {', '.join(values(KeySpec))}.", metavar="SPEC")
    ] = "SYMMETRIC_DEFAULT",
    usage: Annotated[
        str | None,
        typer.Option(
            help=f"What it is for: {', '.join(values(KeyUsage))}. Needed for RSA and the NIST curves, whose keys can "
            "be for two of them.",
            metavar="USAGE",
        ),
    ] = None,
    multi_region: Annotated[
        bool, typer.Option("--multi-region", help="Make a key that can be replicated to other Regions.")
    ] = False,
    origin: Annotated[
        str | None,
        typer.Option(help="AWS_KMS: made by the service; EXTERNAL: to be imported.", metavar="ORIGIN"),
    ] = None,
    key_store: Annotated[
        str | None,
        typer.Option("--key-store", help="Id of the custom key store that it is to be in."),
    ] = None,
    xks_key_id: Annotated[
        str | None, typer.Option("--xks-key-id", help="The external key to use, by the proxy's name for it.")
    ] = None,
    alias: Annotated[str | None, typer.Option(help="Name to give it, alias/NAME.", metavar="ALIAS")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag; repeatable.", metavar="NAME=VALUE")] = None,
    description: Annotated[str | None, typer.Option(help="What the key is for; not secret.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="File with the key policy, - for stdin; the default policy without it.")
    ] = None,
    bypass_lockout_check: Annotated[
        bool, typer.Option("--bypass-lockout-check", help="Accept a policy that you could not change again.")
    ] = False,
) -> None:
    """Make a key: for symmetric encryption, or of another kind with --spec.

    What it consists of and what it is for never changes.
    """
    if alias is not None and not alias.startswith("alias/"):
        raise UsageError(f"an alias starts with alias/: did you mean alias/{alias}?")
    request = CreateKeyRequest(
        description=description, tags=tags(tag), key_spec=value(KeySpec, spec, "--spec"), key_usage=_usage(spec, usage),
        multi_region=multi_region or None, origin=value(Origin, origin, "--origin") if origin else None,
        custom_key_store_id=key_store, xks_key_id=xks_key_id,
    )
    if key_store is not None and origin is None:
        request.origin = Origin.ORIGIN_AWS_CLOUDHSM if xks_key_id is None else Origin.ORIGIN_EXTERNAL_KEY_STORE
    if policy is not None:
        request.policy = read_document(policy)
    if bypass_lockout_check:
        request.bypass_policy_lockout_safety_check = True
    metadata = session.client.keys.CreateKey(request, timeout=session.patience).key_metadata
    if alias is not None:
        try:
            session.client.keys.CreateAlias(CreateAliasRequest(alias_name=alias, target_key_id=metadata.key_id))
        except ServiceError as error:
            error.hint = f"the key was made, without alias: {metadata.arn}"
            raise
    session.record({**plain(metadata), "aliases": [alias] if alias else []})


def _usage(spec: str, usage: str | None) -> KeyUsage.ValueType:
    if usage is None:
        usage = next((only for start, only in _ONLY_USAGES.items() if spec.upper().startswith(start)), None)
    if usage is None:
        raise UsageError(
            f"a key of spec {spec} can be for two things: say which with --usage",
            hint="RSA: ENCRYPT_DECRYPT or SIGN_VERIFY; ECC_NIST: SIGN_VERIFY or KEY_AGREEMENT",
        )
    return value(KeyUsage, usage, "--usage")


@command(app, "list")
def list_(session: Session) -> None:
    """List the keys of the account and Region, with their aliases."""
    names: dict[str, list[Plain]] = {}
    for alias_page in pages(session.client.keys.ListAliases, ListAliasesRequest()):
        for entry in alias_page.aliases:
            names.setdefault(entry.target_key_id, []).append(entry.alias_name)
    rows: list[dict[str, Plain]] = []
    for page in pages(session.client.keys.ListKeys, ListKeysRequest()):
        rows += [{**plain(key), "aliases": names.get(key.key_id, [])} for key in page.keys]
    session.rows("keys", rows, ["key_id", "aliases", "key_arn"])


def _show(session: Session, key: Key) -> None:
    """Show all about a key: state, description, aliases and tags."""
    metadata = session.client.keys.DescribeKey(DescribeKeyRequest(key_id=key)).key_metadata
    aliases: list[Plain] = []
    for page in pages(session.client.keys.ListAliases, ListAliasesRequest(key_id=metadata.arn)):
        aliases += [entry.alias_name for entry in page.aliases]
    tagged: dict[str, Plain] = {}
    for tag_page in pages(session.client.keys.ListResourceTags, ListResourceTagsRequest(key_id=metadata.arn)):
        tagged |= {tag.tag_key: tag.tag_value for tag in tag_page.tags}
    session.record({**plain(metadata), "aliases": aliases, "tags": tagged})


command(app, "show")(_show)
command(app, "describe", hidden=True)(_show)


@command(app, "last-used")
def last_used(session: Session, key: Key) -> None:
    """Show when and for what a key was last used with success, and since when that is known."""
    answer = session.client.keys.GetKeyLastUsage(GetKeyLastUsageRequest(key_id=session.key_id(key)))
    used = plain(answer.key_last_usage)
    shown = {name: value for name, value in plain(answer).items() if name != "key_last_usage"}
    session.record({**shown, "used": answer.key_last_usage.HasField("operation"), **used})


@command(app, "enable")
def enable(session: Session, key: Key) -> None:
    """Allow the use of a disabled key again."""
    arn = session.key_id(key)
    session.client.keys.EnableKey(EnableKeyRequest(key_id=arn))
    session.done(f"{key} is enabled", key_id=arn, key_state="Enabled")


@command(app, "disable")
def disable(session: Session, key: Key) -> None:
    """Forbid all use of a key until it is enabled again."""
    arn = session.key_id(key)
    session.client.keys.DisableKey(DisableKeyRequest(key_id=arn))
    session.done(f"{key} is disabled", key_id=arn, key_state="Disabled")


@command(app, "delete", epilog="Example: kagitori key delete alias/orders --days 30")
def delete(
    session: Session,
    key: Key,
    days: Annotated[int, typer.Option(min=7, max=30, help="Days to wait before it is destroyed.")] = 30,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Schedule the destruction of a key.

    It can't be used from now on, and what was encrypted under it is lost when the days are over. Until then
    `kagitori key cancel-deletion` saves it.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("deleting a key wants a confirmation, and there is no terminal", hint="give --yes")
        typer.confirm(
            f"Everything encrypted under {key} will be lost in {days} days. Go on?", abort=True, err=True
        )
    request = ScheduleKeyDeletionRequest(key_id=session.key_id(key), pending_window_in_days=days)
    session.record(session.client.keys.ScheduleKeyDeletion(request))


@command(app, "cancel-deletion")
def cancel_deletion(session: Session, key: Key) -> None:
    """Save a key that waits for its destruction; it is disabled then, or waits for its material to be imported."""
    answer = session.client.keys.CancelKeyDeletion(CancelKeyDeletionRequest(key_id=session.key_id(key)))
    state = _state_of(session, answer.key_id)
    if state is None:
        session.done(f"{key} is saved", key_id=answer.key_id)
    else:
        words = "and disabled" if state == "Disabled" else f"and {state}"
        session.done(f"{key} is saved, {words}", key_id=answer.key_id, key_state=state)


def _state_of(session: Session, key_id: str) -> str | None:
    """The state of a key as AWS calls it; None where the caller isn't allowed to ask, or nobody answers any more."""
    try:
        found = session.client.keys.DescribeKey(DescribeKeyRequest(key_id=key_id)).key_metadata
    except ServiceError:
        return None
    return str(plain(found)["key_state"])


@command(app, "set-description")
def set_description(
    session: Session, key: Key, description: Annotated[str, typer.Argument(help="The new words; '' for none.")]
) -> None:
    """Replace the description of a key."""
    arn = session.key_id(key)
    session.client.keys.UpdateKeyDescription(UpdateKeyDescriptionRequest(key_id=arn, description=description))
    session.done(f"{key} is described anew", key_id=arn, description=description)
