"""A real server with sinks in its configuration: down receivers cost calls nothing, and all records arrive."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from tests.support.forked import run_forked
from tests.support.operated import OperatedServer, environment
from tests.support.receivers import Authority, HttpReceiver, SyslogReceiver, until

from kagitori.kms.v1 import cryptography_pb2, keys_pb2

SECRET = "MARKED-secret-of-the-webhook"
TOKEN = "MARKED-token-of-the-collector"
FREE = "127.0.0.1:0"


class Place:
    """Where the receivers are, and the configuration that says so."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "authority")
        self.hook = HttpReceiver(self.authority)
        self.collector = HttpReceiver(self.authority)
        self.syslog = SyslogReceiver("tls", self.authority)
        ca, secret, token = folder / "ca.crt", folder / "secret", folder / "token"
        ca.write_text(self.authority.pem)
        for path, content in ((secret, SECRET), (token, TOKEN)):
            path.touch(mode=0o600)
            path.write_text(content + "\n")
        self.config = folder / "kagitori.toml"
        self.config.write_text(f"""
[[audit.sinks]]
name = "hook"
kind = "webhook"
url = "{self.hook.url}"
secret_file = "{secret}"
ca_file = "{ca}"
[[audit.sinks]]
name = "collector"
kind = "otlp"
url = "{self.collector.url}"
token_file = "{token}"
timeout_seconds = 0.5
ca_file = "{ca}"
[[audit.sinks]]
name = "syslog"
kind = "syslog"
url = "{self.syslog.url}"
ca_file = "{ca}"
""")

    def ids(self) -> dict[str, list[str]]:
        """What each receiver has, by the records' ids."""
        hook = [event for post in self.hook.posts for event in json.loads(post.body)["records"]]
        logs = [
            json.loads(record.body.string_value)
            for post in self.collector.posts
            for resource in ExportLogsServiceRequest.FromString(post.body).resource_logs
            for record in resource.scope_logs[0].log_records
        ]
        syslog = [json.loads(message[message.index(b"] {") + 2 :]) for message in self.syslog.messages]
        found = (("hook", hook), ("collector", logs), ("syslog", syslog))
        return {name: [event["eventID"] for event in events] for name, events in found}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    # The collector comes later.
    with made.hook, made.syslog:
        yield made


def _recorded(data: Path) -> list[str]:
    lines = (data / "audit" / "chain-00" / "00000001.jsonl").read_bytes().splitlines()
    return [json.loads(line)["event"]["eventID"] for line in lines]


def _metrics(server: OperatedServer) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.addresses['metrics']}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    samples = [line.rpartition(" ") for line in lines if line.startswith("kagitori_audit")]
    return {name: float(value) for name, _, value in samples}


def test_a_server_and_its_sinks(tmp_path: Path, place: Place) -> None:
    """One that is down keeps none of the others; after a restart it gets what it missed, and nobody anything twice."""
    data = tmp_path / "data"
    arguments = ("--config", str(place.config), "--metrics-listen", FREE)
    with OperatedServer(data, *arguments) as server, server.stubs() as root:
        key = root.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.key_id
        for _ in range(50):
            root.crypto.Encrypt(cryptography_pb2.EncryptRequest(key_id=key, plaintext=b"x"))
        until(lambda: len(place.ids()["hook"]) == len(place.ids()["syslog"]) == 51)
        until(lambda: _metrics(server)['kagitori_audit_sink_failures_total{kind="otlp",sink="collector"}'] > 0)
        metrics = _metrics(server)
        assert metrics['kagitori_audit_sink_up{kind="otlp",sink="collector"}'] == 0
        assert metrics['kagitori_audit_sink_up{kind="webhook",sink="hook"}'] == 1
        assert metrics['kagitori_audit_sink_lag_records{kind="otlp",sink="collector"}'] == 51
        assert metrics['kagitori_audit_sink_records_total{kind="syslog",sink="syslog"}'] == 51
        assert server.terminate() == 0
        logs = server.log
    with place.collector, OperatedServer(data, *arguments) as server, server.stubs() as root:
        root.whoami()
        until(lambda: set(place.ids()["collector"]) == set(_recorded(data)), 60)
        until(lambda: place.ids()["hook"] == place.ids()["syslog"] == _recorded(data))
        assert place.collector.posts[0].headers["Authorization"] == f"Bearer {TOKEN}"
        assert server.terminate() == 0
        logs += server.log
    assert "audit sink collector: not delivered" in logs
    for secret in (SECRET, TOKEN):
        assert secret not in logs
        assert not any(secret.encode() in path.read_bytes() for path in data.rglob("*") if path.is_file())


BAD = {
    'name = "A"': "audit.sinks[0].name", 'name = "a"\nkind = "kafka"': "audit.sinks[0].kind",
    'name = "a"\nkind = "webhook"\nurl = "https://h/"': "audit.sinks[0].secret_file",
    'name = "a"\nkind = "syslog"\nurl = "tcp://h"': "audit.sinks, a: a syslog server is",
    'name = "a"\nkind = "otlp"\nurl = "https://u:p@h/"': "without a user",
    'name = "a"\nkind = "webhook"\nurl = "https://h/"\nsecret_file = "/nowhere"': "/nowhere",
    'name = "a"\nsize = 1': "audit.sinks[0].size is not a setting",
}


@pytest.mark.parametrize("terms", BAD)
def test_a_server_does_not_start_with_a_sink_that_can_not_be(tmp_path: Path, terms: str) -> None:
    """It says which and why."""
    config = tmp_path / "kagitori.toml"
    config.write_text(f"[[audit.sinks]]\n{terms}\n")
    arguments = ["--data-dir", str(tmp_path / "data"), "--grpc-listen", FREE, "--config", str(config)]
    ended = run_forked(arguments, tmp_path, environment())
    assert ended.returncode == 1
    assert BAD[terms] in ended.stderr
    assert "Traceback" not in ended.stderr
