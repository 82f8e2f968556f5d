"""`kagitori aws-env` and the endpoint that `kagitori init` keeps for it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer, running_server

from kagitori_client.aws_endpoint import ENDPOINT_VARIABLES, aws_variables, checked_aws_endpoint
from kagitori_client.errors import ConfigurationError
from kagitori_client.settings import Settings
from kagitori_server.wiring import AWS_SERVICES


@pytest.fixture(scope="module")
def server() -> Iterator[DevServer]:
    """One over TLS, as services in earnest are."""
    with running_server(("--aws-listen", "127.0.0.1:0", "--set", "aws.plaintext=false")) as running:
        yield running


def test_what_is_printed_makes_the_aws_cli_work(
    monkeypatch: pytest.MonkeyPatch, server: DevServer, tmp_path: Path
) -> None:
    """With credentials that the user names; the profile holds the endpoint, and nothing printed is secret."""
    variables = {name: value for name, value in server.environment().items() if name != "KAGITORI_AWS_ENDPOINT"}
    cli = CommandLine(monkeypatch, variables, tmp_path)
    none = cli("aws-env")
    assert (none.code, "init --aws-endpoint" in none.err) == (2, True)
    url = f"https://{server.addresses['aws']}"
    cli.done("init", "--aws-endpoint", url)
    by_profile = {"KAGITORI_ENDPOINT": "", "KAGITORI_TOKEN_FILE": "", "KAGITORI_CA_FILE": "", "KAGITORI_REGION": ""}
    done = cli("aws-env", environment=by_profile)
    assert done.code == 0
    lines = [shlex.split(line) for line in done.text.splitlines()]
    assert all(words[0] == "export" and len(words) == 2 for words in lines)
    printed = dict(words[1].split("=", 1) for words in lines)
    assert printed == {
        **dict.fromkeys(ENDPOINT_VARIABLES, url), "AWS_CA_BUNDLE": server.variables["KAGITORI_CA_FILE"],
        "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
    }
    assert cli.json("aws-env") == printed
    listed = subprocess.run(
        [Path(sys.executable).with_name("aws"), "kms", "list-keys"], capture_output=True, check=True, timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **printed, "AWS_ACCESS_KEY_ID": "test",
             "AWS_SECRET_ACCESS_KEY": "test"},
    )
    assert json.loads(listed.stdout)["Keys"] == []


def test_variables_are_those_of_the_services_that_are_served() -> None:
    """The client doesn't import the server, so it is told here."""
    assert sorted(ENDPOINT_VARIABLES) == sorted(service.endpoint_variable for service in AWS_SERVICES)


def test_endpoints() -> None:
    """In the clear on loopback alone, and no more than a place; no CA without TLS."""
    for good in ("https://kms.example", "https://kms.example:8443", "http://127.0.0.1:1", "http://[::1]:1",
                 "http://localhost:8443"):
        assert checked_aws_endpoint(good) == checked_aws_endpoint(f"{good}/") == good
    for bad in ("", "kms.example:8443", "http://kms.example", "ftp://kms.example", "https://", "https://u:p@kms.example",
                "https://kms.example/x", "https://kms.example?x", "https://kms.example:x", "https://kms.example:0",
                "https://kms.ex ample", "https://kms.example\n", "https://[::1"):
        with pytest.raises(ConfigurationError):
            checked_aws_endpoint(bad)
    assert "AWS_CA_BUNDLE" not in aws_variables(Settings(aws_endpoint="http://127.0.0.1:1", ca_file="/ca"))
