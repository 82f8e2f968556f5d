"""`kagitori init`, `serve`, `status`: getting to a service, and asking how it is."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kagitori.kms.v1.credentials_pb2 import GetCallerIdentityRequest
from kagitori.kms.v1.operation_pb2 import GetServerStatusRequest, ListKeyStoreHealthRequest
from kagitori_client.aws_endpoint import checked_aws_endpoint
from kagitori_client.cli.failures import Unhealthy, UsageError
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import Plain, plain
from kagitori_client.client import KmsClient
from kagitori_client.credentials import BearerToken, parse_token
from kagitori_client.errors import ConfigurationError, ServiceError
from kagitori_client.settings import (
    DEFAULT_PROFILE,
    Settings,
    config_path,
    from_environment,
    read_profiles,
    write_private,
    write_profile,
)

_MAX_TOKEN = 8448


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    command(
        app, "init",
        epilog="Example: kagitori init --endpoint https://kms.example.org:7443 --ca-file ca.crt --token-stdin < t",
    )(init)
    app.command(
        "serve", add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(serve)
    command(app, "status")(status)


def _absolute(path: str | None) -> str | None:
    return str(Path(path).expanduser().absolute()) if path else None


def init(
    session: Session,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from stdin and keep it beside the configuration.")
    ] = False,
    cert_file: Annotated[
        str | None, typer.Option(help="Client certificate, PEM, instead of a token.", metavar="FILE")
    ] = None,
    key_file: Annotated[str | None, typer.Option(help="Its private key, PEM, mode 0600.", metavar="FILE")] = None,
    aws_endpoint: Annotated[
        str | None, typer.Option(help="Where the service speaks AWS's protocol, for aws-env.", metavar="URL")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a profile that exists.")] = False,
) -> None:
    """Write a profile for a service, after trying whether it works.

    What isn't given is taken from the KAGITORI_… environment variables. The profile names the files of
    credentials; they stay where they are.
    """
    name = session.options.profile or os.environ.get("KAGITORI_PROFILE") or DEFAULT_PROFILE
    given = replace(
        session.options.given(), cert_file=cert_file, key_file=key_file,
        aws_endpoint=None if aws_endpoint is None else checked_aws_endpoint(aws_endpoint),
    )
    settings = from_environment(os.environ).overlaid(given)
    path = config_path(os.environ)
    if name in read_profiles(path) and not force:
        raise UsageError(f"{path} has a profile {name}", hint="--force replaces it, --profile names another")
    if settings.endpoint is None and sys.stdin.isatty():
        settings = replace(settings, endpoint=typer.prompt("Endpoint of the service", err=True))
    kept = path.parent / f"{name}.token"
    if token_stdin:
        if "/" in name or name.startswith("."):
            raise UsageError(f"a profile named {name!r} can't have a token file of its own")
        token = _token_from_stdin()
        # Under another name until it has been tried: a token that works isn't lost to one that doesn't.
        trial = path.parent / f".{name}.token.trial"
        write_private(trial, f"{token.reveal()}\n".encode("ascii"))
        try:
            caller = _try(session, replace(settings, token_file=str(trial), cert_file=None, key_file=None))
            trial.replace(kept)
        finally:
            trial.unlink(missing_ok=True)
        settings = replace(settings, token_file=str(kept), cert_file=None, key_file=None)
    else:
        caller = _try(session, settings)
    settings = replace(
        settings,
        ca_file=_absolute(settings.ca_file),
        token_file=_absolute(settings.token_file),
        cert_file=_absolute(settings.cert_file),
        key_file=_absolute(settings.key_file),
    )
    write_profile(path, name, settings)
    session.done(
        f"profile {name} is in {path}; you are {caller}", profile=name, config_file=str(path), arn=caller
    )


def _token_from_stdin() -> BearerToken:
    if sys.stdin.isatty():
        raise UsageError("--token-stdin reads from a pipe", hint="kagitori init --token-stdin ... < FILE")
    return parse_token(sys.stdin.buffer.read(_MAX_TOKEN), "stdin")


def _try(session: Session, settings: Settings) -> str:
    timeout = session.options.timeout
    with KmsClient.from_settings(settings, timeout=10.0 if timeout is None else timeout) as client:
        return client.admin.GetCallerIdentity(GetCallerIdentityRequest()).arn


def serve(ctx: typer.Context) -> None:
    """Start the server: kagitori-server with the same arguments, if it is installed."""
    if importlib.util.find_spec("kagitori_server") is not None:
        # -P: what lies in the current folder is not to be taken for the server, or for a module of Python's.
        command_line = [sys.executable, "-P", "-m", "kagitori_server", *ctx.args]
    elif (found := shutil.which("kagitori-server")) is not None:
        command_line = [found, *ctx.args]
    else:
        raise ConfigurationError("the server is not installed", hint="pip install 'kagitori-kms[server]'")
    sys.stdout.flush()
    # The arguments are the user's own words for a program of ours, and no shell sees them.
    os.execv(command_line[0], command_line)  # noqa: S606


def status(session: Session) -> None:
    """Show who you are, what the server is, and whether its key stores work; exit code 1 if one doesn't.

    Accounts other than the managing one are shown the first only.
    """
    admin = session.client.admin
    identity = admin.GetCallerIdentity(GetCallerIdentityRequest())
    shown: dict[str, Plain] = {"endpoint": session.options.settings().endpoint, "caller": identity.arn}
    try:
        server = admin.GetServerStatus(GetServerStatusRequest())
        stores = admin.ListKeyStoreHealth(ListKeyStoreHealthRequest()).key_stores
    except ServiceError as error:
        if error.code != "AccessDeniedException":
            raise
        session.record({**shown, "server": None, "key_stores": None} if session.as_json else shown)
        return
    if session.as_json:
        session.record({**shown, "server": plain(server), "key_stores": [plain(store) for store in stores]})
    else:
        described = {
            name: value
            for name, value in plain(server).items()
            if name not in {"operations", "audit_positions"}
        }
        health: dict[str, Plain] = {
            f"key store {s.key_store_id}": f"healthy ({s.kind})" if s.healthy else f"FAILED: {s.detail}"
            for s in stores
        }
        session.record({**shown, **described, "operations": len(server.operations), **health})
    failed = [store for store in stores if not store.healthy]
    if failed:
        raise Unhealthy(f"key store {failed[0].key_store_id} does not work: {failed[0].detail}")
