"""The command line as a whole: its nouns, its options, its end."""

from __future__ import annotations

import inspect
import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Never

import typer

from kagitori_client.cli import (
    access_keys,
    aliases,
    assume_role,
    audit,
    audit_delivery,
    audit_files,
    aws_env,
    aws_import,
    budgets,
    dev,
    encryption,
    grants,
    groups,
    key_material,
    key_pairs,
    keys,
    keystores,
    managed_policies,
    oidc_providers,
    policies,
    principals,
    proofs,
    regions,
    rotation,
    service,
    signatures,
    tags,
    tokens,
    usage,
)
from kagitori_client.cli.failures import LocalFileError, UsageError, report
from kagitori_client.cli.session import Options, shared_parameters
from kagitori_client.errors import KagitoriError

_EPILOG = """\
Exit codes: 0 done; 1 refused by the service; 2 wrong usage, configuration or local files;
3 the service can't be reached; 4 data does not verify; 5 a simulated change would refuse calls.

Start with `kagitori init`; `kagitori COMMAND --help` shows examples.
"""


def build() -> typer.Typer:
    """The command line, complete."""
    app = typer.Typer(
        name="kagitori",
        no_args_is_help=True,
        epilog=_EPILOG,
        rich_markup_mode="markdown",
        # A traceback with local variables would show secrets.
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
    )
    _shared_options(app)
    service.register(app)
    for name, parts in (
        ("key", (keys.app, key_material.app, rotation.app, regions.app)),
        ("alias", (aliases.app,)), ("tag", (tags.app,)), ("grant", (grants.app,)),
        ("policy", (policies.app, managed_policies.policy_app)),
        ("principal", (principals.app, groups.app, managed_policies.boundary_app)),
        ("token", (tokens.app, assume_role.app)), ("access-key", (access_keys.app,)), ("budget", (budgets.app,)),
        ("audit", (audit.app, audit_delivery.app, audit_files.app, proofs.app)),
        ("oidc-provider", (oidc_providers.app,)), ("keystore", (keystores.app,)),
    ):
        noun = typer.Typer(help=parts[0].info.help, no_args_is_help=True)
        for part in parts:
            # Without a name its commands become the noun's own.
            noun.add_typer(part)
        app.add_typer(noun, name=name)
    encryption.register(app)
    signatures.register(app)
    key_pairs.register(app)
    aws_env.register(app)
    aws_import.register(app)
    app.add_typer(usage.app, name="usage")
    app.add_typer(dev.app, name="dev")
    return app


def _shared_options(app: typer.Typer) -> None:
    def take(*, ctx: typer.Context, **arguments: Any) -> None:
        ctx.obj.take(arguments)

    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context), *shared_parameters()
    ]
    take.__doc__ = "Keys that never leave the service: make them, use them, say who may, see who did."
    take.__annotations__ = {p.name: p.annotation for p in parameters}
    take.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect
    app.callback()(take)


def run(arguments: list[str], program: Callable[..., object] | None = None) -> Never:
    """Runs one command and ends the process with its exit code.

    `program` is the command line, for those who run it more than once: making it takes longer than most commands do.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # JSON is UTF-8 in every locale, and names of files that aren't text must not end a command that has done its
        # work: they are written as escapes, which are JSON's own.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    options = Options()
    try:
        (program or build())(args=arguments, prog_name="kagitori", obj=options)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            # Nobody reads stdout any more. The framework ends with 1 then, which is for refusals here.
            sys.exit(128 + signal.SIGPIPE)
        raise
    except KagitoriError as error:
        sys.exit(report(error, debug=bool(options.debug)))
    except UnicodeEncodeError:
        # Of all we encode only arguments can hold what isn't text; the contract's strings are UTF-8.
        sys.exit(report(UsageError("an argument is not UTF-8 text"), debug=bool(options.debug)))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        failed = LocalFileError(f"{where}{error.strerror or type(error).__name__}")
        _give_up_stdout()
        sys.exit(report(failed, debug=bool(options.debug)))
    sys.exit(0)


def _give_up_stdout() -> None:
    """Where what is still to be written can't be: on the way out it would be tried again, and told in other words."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, sys.stdout.fileno())


def _end(number: int, _frame: FrameType | None) -> None:
    # An exception, so that temporary files are removed on the way out.
    sys.exit(128 + number)
