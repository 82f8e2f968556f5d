"""The environment variables that make AWS SDKs and the AWS CLI talk to an AWS endpoint of this service."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from kagitori_server.bootstrap.access_keys import PROFILE
from kagitori_server.bootstrap.data_directory import DataDirectory
from kagitori_server.config import Config
from kagitori_server.wiring import AWS_SERVICES


def aws_environment(address: str, config: Config, data: DataDirectory) -> dict[str, str]:
    """Where the endpoint is, how to know it, and the Region."""
    host, _, port = address.rpartition(":")
    # Nobody connects to a wildcard address.
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - compared, not listened on
    url = f"{'http' if config.aws.plaintext else 'https'}://{host}:{port}"
    found = {service.endpoint_variable: url for service in AWS_SERVICES}
    if not config.aws.plaintext and not config.tls.certificate_file:
        found["AWS_CA_BUNDLE"] = str(data.tls / "ca.crt")
    return {**found, "AWS_REGION": config.service.region, "AWS_DEFAULT_REGION": config.service.region}


def credentials_environment(data: DataDirectory) -> dict[str, str]:
    """Whose access key to sign with: the root user's from the first start."""
    return {"AWS_SHARED_CREDENTIALS_FILE": str(data.aws_credentials), "AWS_PROFILE": PROFILE}


def exports(variables: Mapping[str, str]) -> list[str]:
    """Lines for a POSIX shell."""
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
