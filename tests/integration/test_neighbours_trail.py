"""The delivered trail as CloudTrail's clients see it on a running server: by boto3, and by the AWS CLI's own validator,
which finds the trail and the keys there and the files in a bucket."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.support.aws_endpoint import REGION, Endpoint, running_endpoint
from tests.support.inprocess import HOME
from tests.support.s3_server import ACCESS_KEY_ID, SECRET, S3Server

ARN = f"arn:aws:cloudtrail:{REGION}:{HOME}:trail/kagitori"
BUCKET = "trail"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        server.new_bucket(BUCKET)
        yield server


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[Endpoint]:
    """Delivers often, with digests each second."""
    credentials = tmp_path_factory.mktemp("s3") / "credentials"
    credentials.write_text(f"[default]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {SECRET}\n")
    credentials.chmod(0o600)
    settings = {
        "s3_bucket": BUCKET, "s3_endpoint": s3.endpoint, "s3_credentials_file": credentials, "prefix": "audit",
        "period_seconds": 0.5, "digest_seconds": 1,
    }
    arguments = [part for name, value in settings.items() for part in ("--set", f"delivery.{name}={value}")]
    with running_endpoint(tmp_path_factory.mktemp("aws") / "data", arguments) as running:
        yield running


@pytest.fixture(scope="module")
def cloudtrail(endpoint: Endpoint) -> Any:
    return boto3.client(
        "cloudtrail", region_name=REGION, endpoint_url=endpoint.url, verify=str(endpoint.authority),
        aws_access_key_id=endpoint.root.id, aws_secret_access_key=endpoint.root.secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def eventually(look: Callable[[], Any]) -> Any:
    """What is found before patience ends."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def test_a_trail(cloudtrail: Any) -> None:
    """By name, by ARN, and how it goes."""
    (trail,) = cloudtrail.describe_trails()["trailList"]
    assert (trail["Name"], trail["TrailARN"], trail["HomeRegion"]) == ("kagitori", ARN, REGION)
    assert (trail["S3BucketName"], trail["S3KeyPrefix"]) == (BUCKET, "audit")
    assert trail["LogFileValidationEnabled"]
    assert trail["IsMultiRegionTrail"]
    eventually(lambda: "LatestDigestDeliveryTime" in cloudtrail.get_trail_status(Name=ARN))
    status = cloudtrail.get_trail_status(Name="kagitori")
    assert status["IsLogging"]
    assert abs(status["LatestDeliveryTime"] - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=2)
    assert status["TimeLoggingStopped"] == ""
    assert "LatestDeliveryError" not in status
    with pytest.raises(cloudtrail.exceptions.TrailNotFoundException):
        cloudtrail.get_trail_status(Name="another")


def test_public_keys(cloudtrail: Any) -> None:
    """PKCS #1, not SubjectPublicKeyInfo, under its MD5."""
    (key,) = eventually(lambda: cloudtrail.list_public_keys()["PublicKeyList"])
    assert key["Fingerprint"] == hashlib.md5(key["Value"], usedforsecurity=False).hexdigest()
    assert key["ValidityStartTime"] < dt.datetime.now(dt.UTC) < key["ValidityEndTime"]
    assert isinstance(load_der_public_key(key["Value"]), RSAPublicKey)
    assert base64.b64encode(key["Value"]).startswith(b"MIIBCgKCAQEA")
    before = key["ValidityStartTime"] - dt.timedelta(days=2)
    assert cloudtrail.list_public_keys(StartTime=before, EndTime=before)["PublicKeyList"] == []


def test_the_validator_of_the_aws_cli(endpoint: Endpoint, s3: S3Server, cloudtrail: Any, tmp_path: Path) -> None:
    """Finds everything there and valid."""
    endpoint.client().create_key()
    eventually(lambda: "LatestDeliveryTime" in cloudtrail.get_trail_status(Name=ARN))
    eventually(lambda: sum("/CloudTrail-Digest/" in key for key in s3.objects(BUCKET)) >= 3)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)
    done = subprocess.run(
        [
            sys.executable, "-m", "awscli", "cloudtrail", "validate-logs", "--trail-arn", ARN, "--verbose",
            "--start-time", start.strftime("%Y-%m-%dT%H:%M:%SZ"), "--region", REGION,
        ],
        env={
            **os.environ, "AWS_ACCESS_KEY_ID": endpoint.root.id, "AWS_SECRET_ACCESS_KEY": endpoint.root.secret,
            "AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_ENDPOINT_URL_CLOUDTRAIL": endpoint.url,
            "AWS_CA_BUNDLE": str(endpoint.authority), "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        },
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )
    found = {kind: ratio.split("/") for ratio, kind in re.findall(
        r"^(\d+/\d+) (digest|log) files valid", done.stdout, re.MULTILINE
    )}
    assert done.returncode == 0, done.stdout
    assert "INVALID" not in done.stdout
    for kind, least in (("digest", 3), ("log", 1)):
        valid, every = map(int, found[kind])
        assert valid == every >= least
