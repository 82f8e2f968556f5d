"""A running server with its AWS endpoint over TLS, and the variables that make AWS's clients use it."""

from __future__ import annotations

import configparser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.server_process import ServerProcess

REGION = "us-east-1"


@dataclass(frozen=True)
class AwsServer:
    """Its endpoint, HOST:PORT, and the environment of a client that is the root user."""

    address: str
    environment: Mapping[str, str]


@contextmanager
def aws_server(data: Path, *arguments: str) -> Iterator[AwsServer]:
    """Starts a server on `data` and ends it."""
    with ServerProcess(data, "--aws-listen", "127.0.0.1:0", *arguments, listeners=2) as process:
        address = process.addresses["aws"]
        keys = configparser.ConfigParser()
        keys.read(data / "credentials" / "aws")
        (profile,) = keys.sections()
        yield AwsServer(
            address=address,
            environment={
                "AWS_ENDPOINT_URL_KMS": f"https://{address}",
                "AWS_CA_BUNDLE": str(data / "tls" / "ca.crt"),
                "AWS_ACCESS_KEY_ID": keys[profile]["aws_access_key_id"],
                "AWS_SECRET_ACCESS_KEY": keys[profile]["aws_secret_access_key"],
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
            },
        )
