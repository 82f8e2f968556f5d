"""How the AWS endpoint is started and found: what is printed works for the AWS CLI and boto3 as it stands."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.support.devserver import DevServer, running_server
from tests.support.operated import OperatedServer, command

from kagitori.kms.v1.credentials_pb2 import AssumeRoleRequest, CreateTokenRequest
from kagitori.kms.v1.dev_pb2 import AdvanceClockRequest
from kagitori.kms.v1.principals_pb2 import CreateRoleRequest, CreateUserRequest
from kagitori_server.laboratory.regions import AWS_REGIONS

ANY_PORT = ("--aws-listen", "127.0.0.1:0")
AWS = Path(sys.executable).with_name("aws")


def aws(variables: Mapping[str, str], folder: Path, *words: str) -> Any:
    """What the AWS CLI answers, with these variables and a home of its own."""
    done = subprocess.run(
        [AWS, "kms", *words, "--output", "json"], capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **variables},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")


def exported(lines: list[str]) -> dict[str, str]:
    """The variables of lines for a shell."""
    words = [shlex.split(line) for line in lines]
    assert all(len(parts) == 2 and parts[0] == "export" for parts in words)
    return dict(parts[1].split("=", 1) for parts in words)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that was used once without an AWS endpoint."""
    folder = tmp_path_factory.mktemp("start") / "data"
    with OperatedServer(folder, "--log-level", "warning") as server:
        assert server.terminate() == 0
    assert not (folder / "credentials" / "aws").exists()
    return folder


def test_what_is_printed_makes_the_cli_work(data: Path) -> None:
    """Endpoint, CA, credentials, Region; the secret is in its file alone. It can be replaced, by an operator."""
    file = data / "credentials" / "aws"
    with OperatedServer(data, "--log-level", "warning", *ANY_PORT) as server:
        assert f"First start: the root user's access key is in {file}" in [line.strip() for line in server.said]
        address = server.addresses["aws"]
        done = command("aws-env", "--data-dir", data, "--aws-listen", address, cwd=data.parent)
        variables = exported(done.stdout.splitlines())
        assert variables == {
            "AWS_ENDPOINT_URL_KMS": f"https://{address}", "AWS_CA_BUNDLE": str(data / "tls" / "ca.crt"),
            "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_PROFILE": "kagitori",
        } | {name: url for name, url in variables.items() if name.startswith("AWS_ENDPOINT_URL_")}
        assert aws(variables, data.parent, "create-key")["KeyMetadata"]["KeyState"] == "Enabled"
        assert server.terminate() == 0
        log = server.log
    assert log == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_text()
    secret = before.split()[-1]
    assert secret not in "".join(server.said)
    assert not [path for path in data.rglob("*") if path.is_file() and secret in path.read_text("latin-1")
                and path != file]
    file.unlink()
    with OperatedServer(data, "--log-level", "warning", *ANY_PORT) as server:
        assert not [line for line in server.said if line.startswith("First start")]
        assert not file.exists(), "there is an access key, so somebody wanted the file away"
        done = command("aws-access-key", "--data-dir", data, cwd=data.parent)
        assert (done.returncode, done.stdout) == (0, f"The root user's new access key is in {file}\n")
        parts = file.read_text().split()
        new = {"aws_access_key_id": parts[3], "aws_secret_access_key": parts[-1]}
        url = f"https://{server.addresses['aws']}"
        named = {"region_name": "us-east-1", "endpoint_url": url, "verify": variables["AWS_CA_BUNDLE"]}
        assert len(boto3.client("kms", **named, **new).list_keys()["Keys"]) == 1
        old = {"aws_access_key_id": before.split()[3], "aws_secret_access_key": secret}
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            boto3.client("kms", **named, **old).list_keys()
        assert server.terminate() == 0


def test_words_that_are_off(tmp_path: Path) -> None:
    """Each is told what is missing."""
    folder = tmp_path / "data"
    for words, told in (
        (("aws-env", "--data-dir", folder), "No such file"),
        (("--data-dir", folder, "--aws-listen", "nowhere"), "aws.listen must be host:port"),
        (("--data-dir", folder, "--aws-listen", "0.0.0.0:0", "--set", "aws.plaintext=true"), "loopback"),
        (("dev", "--aws-listen", "0.0.0.0:0"), "loopback"),
    ):
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 1
        assert told in done.stderr
    folder.mkdir(mode=0o700, exist_ok=True)
    for words, told in (
        (("aws-env", "--data-dir", folder), "aws.listen (--aws-listen) is needed"),
        (("aws-access-key", "--data-dir", folder), "there is no account"),
    ):
        done = command(*words, cwd=tmp_path)
        assert (done.returncode, told in done.stderr) == (1, True)


@pytest.fixture(scope="module")
def dev() -> Iterator[DevServer]:
    """An instance for tests."""
    with running_server(ANY_PORT) as server:
        yield server


def client(dev: DevServer, **changed: str) -> Any:
    """boto3 by the variables of the instance."""
    named = {
        "region_name": dev.variables["AWS_REGION"], "endpoint_url": dev.variables["AWS_ENDPOINT_URL_KMS"],
        "aws_access_key_id": dev.variables["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": dev.variables["AWS_SECRET_ACCESS_KEY"],
    }
    return boto3.client("kms", **(named | changed))


def test_dev_is_empty_and_takes_test_for_every_region(dev: DevServer, tmp_path: Path) -> None:
    """Access key test, secret test: the root user, checked all the same."""
    assert dev.variables["AWS_ENDPOINT_URL_KMS"] == f"http://{dev.addresses['aws']}"
    assert (dev.variables["AWS_ACCESS_KEY_ID"], dev.variables["AWS_SECRET_ACCESS_KEY"]) == ("test", "test")
    assert aws({k: v for k, v in dev.variables.items() if k.startswith("AWS_")}, tmp_path, "list-keys")["Keys"] == []
    assert len(AWS_REGIONS) > 30
    arn = client(dev, region_name="ap-southeast-7").create_key()["KeyMetadata"]["Arn"]
    assert arn.startswith("arn:aws:kms:ap-southeast-7:000000000000:key/")
    for region in AWS_REGIONS:
        assert len(client(dev, region_name=region).list_keys()["Keys"]) == (region == "ap-southeast-7")
    for changed, code in (
        ({"aws_secret_access_key": "other"}, "InvalidSignatureException"),
        ({"aws_access_key_id": "other"}, "UnrecognizedClientException"),
        ({"region_name": "nowhere-1"}, "InvalidSignatureException"),
    ):
        with pytest.raises(ClientError) as refused:
            client(dev, **changed).list_keys()
        assert refused.value.response["Error"]["Code"] == code


def test_a_moved_clock_locks_nobody_out(dev: DevServer) -> None:
    """Clients sign by their own time, wherever the instance's is."""
    kms = client(dev)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    due = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)["DeletionDate"]
    with dev.client() as admin:
        admin.dev.AdvanceClock(AdvanceClockRequest(seconds=6 * 86_400))
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["DeletionDate"] == due


def test_sessions_end_by_the_clock_of_the_instance(dev: DevServer, tmp_path: Path) -> None:
    """As tokens do."""
    with dev.client() as admin:
        user = admin.admin.CreateUser(CreateUserRequest(user_name="assumer")).user.arn
        trust = {"Effect": "Allow", "Principal": {"AWS": user}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        made = admin.admin.CreateRole(CreateRoleRequest(role_name="r", assume_role_policy_document=document))
        token = tmp_path / "assumer.token"
        token.touch(mode=0o600)
        token.write_text(admin.admin.CreateToken(CreateTokenRequest(principal_arn=user)).token)
        with dev.client(KAGITORI_TOKEN_FILE=str(token)) as assumer:
            given = assumer.admin.AssumeRole(
                AssumeRoleRequest(role_arn=made.role.arn, role_session_name="s1", duration_seconds=900)
            ).credentials
        session = client(
            dev, aws_access_key_id=given.access_key_id, aws_secret_access_key=given.secret_access_key,
            aws_session_token=given.session_token,
        )
        with pytest.raises(ClientError, match="AccessDeniedException"):
            session.list_keys()
        admin.dev.AdvanceClock(AdvanceClockRequest(seconds=901))
    with pytest.raises(ClientError, match="ExpiredTokenException"):
        session.list_keys()


def test_dev_as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Access key and account by flags, the secret by the environment alone."""
    monkeypatch.setenv("KAGITORI_DEV_SECRET_ACCESS_KEY", "secret/+")
    with running_server((
        *ANY_PORT, "--aws-access-key-id", "AKIAIOSFODNN7EXAMPLE",
        "--account", "123456789012", "--region", "eu-west-1",
    )) as server:
        assert server.variables["AWS_ACCESS_KEY_ID"] == "AKIAIOSFODNN7EXAMPLE"
        assert server.variables["AWS_SECRET_ACCESS_KEY"] == "secret/+"
        made = client(server).create_key()["KeyMetadata"]["Arn"]
        assert made.startswith("arn:aws:kms:eu-west-1:123456789012:key/")
