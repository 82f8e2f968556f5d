"""`kagitori aws-env`: what makes AWS SDKs and the AWS CLI use the service."""

from __future__ import annotations

import shlex
import sys

import typer

from kagitori_client.aws_endpoint import aws_variables
from kagitori_client.cli.session import Session, command
from kagitori_client.errors import ConfigurationError


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    command(app, "aws-env", epilog='Example: eval "$(kagitori aws-env)"')(aws_env)


def aws_env(session: Session) -> None:
    """Print the variables that make AWS SDKs and the AWS CLI use the service, as lines for a shell.

    The endpoint is the profile's aws_endpoint (kagitori init --aws-endpoint) or KAGITORI_AWS_ENDPOINT. Credentials
    aren't among them: name your access key (kagitori access-key create) as you would one of AWS.
    """
    settings = session.options.settings()
    if settings.aws_endpoint is None:
        raise ConfigurationError(
            "no endpoint for AWS's protocol is set",
            hint="kagitori init --aws-endpoint https://host:8443 --force, or KAGITORI_AWS_ENDPOINT",
        )
    variables = aws_variables(settings)
    if session.as_json:
        session.json(dict(variables))
        return
    for name, value in variables.items():
        session.text(f"export {name}={shlex.quote(value)}\n")
    if sys.stdout.isatty():
        sys.stderr.write("for a shell: eval \"$(kagitori aws-env)\"; credentials are yours to name\n")
