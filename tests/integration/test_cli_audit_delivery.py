"""`kagitori audit trail`, `status`, `public-keys` and `open` against a server that delivers, encrypted and not."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from tests.support.commandline import CommandLine
from tests.support.whole_server import WholeServer

HOME = "000000000000"
LISTEN = {"listen": {"grpc": "127.0.0.1:0"}, "log": {"level": "error"}}
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}, "Action": "kms:*", "Resource": "*"},
        {
            "Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"},
            "Action": "kms:GenerateDataKey*", "Resource": "*",
            "Condition": {"StringEquals": {
                "aws:SourceArn": f"arn:aws:cloudtrail:us-east-1:{HOME}:trail/kagitori",
            }},
        },
    ],
}


class Delivering:
    """A server that delivers into a folder; with a key, encrypted under it."""

    def __init__(self, folder: Path, key: str = "") -> None:
        self.out = folder / ("sealed" if key else "plain")
        self.out.mkdir()
        delivery = {"directory": str(self.out), "period_seconds": 0.2, "digest_seconds": 1.0, "kms_key": key}
        self.server = WholeServer(folder / "data", {**LISTEN, "delivery": delivery})

    def cli(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> CommandLine:
        environment = {
            "KAGITORI_ENDPOINT": f"https://{self.server.addresses.grpc}",
            "KAGITORI_CA_FILE": str(self.server.data.tls / "ca.crt"),
            "KAGITORI_TOKEN_FILE": str(self.server.data.root_token),
        }
        return CommandLine(monkeypatch, environment, folder)

    def logs(self) -> list[Path]:
        """Log files, once there are any."""
        deadline = time.monotonic() + 30
        while not (found := sorted(self.out.rglob("CloudTrail/**/*.json.gz"))):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delivering")


def test_plain_and_sealed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Delivering(folder)
    with plain.server:
        cli = plain.cli(monkeypatch, tmp_path)
        (tmp_path / "policy.json").write_text(json.dumps(POLICY))
        key = cli.json("key", "create", "--policy", "policy.json")["arn"]
        trail = cli.json("audit", "trail")
        assert (trail["name"], trail["s3_bucket_name"], trail["kms_key_id"]) == ("kagitori", "kagitori", None)
        [log] = plain.logs()[:1]
        cli.done("audit", "open", str(log), "events.json")
        assert json.loads((tmp_path / "events.json").read_text())["Records"][0]["eventName"] == "CreateKey"
        assert json.loads(cli.done("audit", "open", str(log), "-").out)["Records"]
        (tmp_path / "junk").write_bytes(b"junk")
        assert cli("audit", "open", "junk", "-").code == 4
        (tmp_path / "two").write_bytes(log.read_bytes() * 2)
        assert cli("audit", "open", "two", "-").code == 4
        deadline = time.monotonic() + 30
        while cli.json("audit", "status")["latest_digest_delivery_time"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert "encrypted" not in cli.done("audit", "verify", "--delivered").err
        content = log.read_bytes()
        log.unlink()
        broken = cli("audit", "verify", "--delivered")
        assert (broken.code, "the log file is missing" in broken.err) == (4, True)
        cli.done("audit", "verify")
        log.write_bytes(content)
        [listed] = cli.json("audit", "public-keys")["public_keys"]
        assert (listed["purpose"], len(listed["fingerprint"])) == ("AUDIT_DIGEST", 32)
    sealed = Delivering(folder, key)
    with sealed.server:
        cli = sealed.cli(monkeypatch, tmp_path)
        assert cli.json("audit", "trail")["kms_key_id"] == key
        [log] = sealed.logs()[:1]
        assert not log.read_bytes().startswith(b"\x1f\x8b")
        shutil.copytree(plain.out, sealed.out, dirs_exist_ok=True)
        verified = cli.done("audit", "verify", "--delivered")
        assert "log files are encrypted: what is in them was not verified" in verified.err
        cli.done("audit", "open", str(log), "sealed.json")
        assert json.loads((tmp_path / "sealed.json").read_text())["Records"]
        cli.done("audit", "open", str(log), "sealed.json.gz", "--packed")
        assert (tmp_path / "sealed.json.gz").read_bytes().startswith(b"\x1f\x8b")
        cli.done("principal", "create-user", "nobody")
        cli.done("token", "create", "user/nobody", "--out", "nobody.token")
        assert cli("audit", "open", str(log), "-", "--token-file", "nobody.token").code == 1
        log.write_bytes(log.read_bytes()[:-1])
        assert cli("audit", "open", str(log), "-").code == 4
