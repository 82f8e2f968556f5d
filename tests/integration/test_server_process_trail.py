"""Real server processes with everything on that has to do with the audit trail: used, killed, restarted, verified."""

from __future__ import annotations

import configparser
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import boto3
import grpc
import pytest
from botocore.config import Config
from tests.support.inprocess import HOME, REGION
from tests.support.operated import OperatedServer, Stubs, command
from tests.support.receivers import Authority, HttpReceiver
from tests.support.small_segments import PROGRAM

from kagitori.kms.v1 import audit_pb2, cryptography_pb2, keys_pb2, transparency_pb2
from kagitori_client.receipts import TrustedKey, verify_receipt
from kagitori_server.audit.pruned import read_statements

TRAIL = f"arn:aws:cloudtrail:{REGION}:{HOME}:trail/kagitori"
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}, "Action": "kms:*", "Resource": "*"},
    {
        "Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}, "Action": "kms:GenerateDataKey*",
        "Resource": "*", "Condition": {"StringEquals": {"aws:SourceArn": TRAIL}},
    },
]})
WANTED = (("kagitori-receipt", "true"),)
PATIENCE = 60.0


class Place:
    """The configuration with all of it, and a webhook's receiver."""

    def __init__(self, folder: Path, hook: HttpReceiver, authority: Authority) -> None:
        self.data, self.out, self.archive = folder / "data", folder / "out", folder / "archive"
        self.hook = hook
        self.out.mkdir()
        secret, ca = folder / "secret", folder / "ca.crt"
        secret.touch(mode=0o600)
        secret.write_text("the secret of the hook")
        ca.write_text(authority.pem)
        self.config = folder / "kagitori.toml"
        self._text = f"""
[limits]
usage_count_seconds = 0.3
audit_index_seconds = 0.3
[transparency]
update_seconds = 0.3
[audit]
retention_days = 3e-5
archive_directory = "{self.archive}"
archive_days = 1e-5
keeping_seconds = 0.3
[[audit.sinks]]
name = "hook"
kind = "webhook"
url = "{hook.url}"
secret_file = "{secret}"
ca_file = "{ca}"
from_beginning = true
"""
        self.config.write_text(self._text)

    def deliver(self, key: str) -> None:
        """From the next start on, encrypted under a key."""
        self.config.write_text(self._text + f"""
[delivery]
directory = "{self.out}"
period_seconds = 0.3
digest_seconds = 1
kms_key = "{key}"
""")

    def server(self, *arguments: str) -> OperatedServer:
        """A process on the data directory; the first of them has the AWS endpoint."""
        return OperatedServer(
            self.data, "--config", str(self.config), "--log-level", "warning", *arguments, program=PROGRAM
        )

    def sent(self) -> dict[str, list[int]]:
        """The numbers of records that were sent, by chain."""
        found: dict[str, list[int]] = {}
        for post in self.hook.posts:
            batch = json.loads(post.body)
            found.setdefault(batch["chain"], []).extend(range(batch["first_seq"], batch["last_seq"] + 1))
        return found

    def pruned(self, chain: str) -> int:
        """How many segments of a chain were removed."""
        return read_statements(self.data / "audit" / chain).segments

    def verified(self, *arguments: object) -> tuple[int | None, str]:
        """What `kagitori-server verify-audit` says."""
        done = command(
            "verify-audit", "--data-dir", self.data, "--config", self.config, *arguments, cwd=self.data.parent
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    authority = Authority(tmp_path / "authority")
    with HttpReceiver(authority) as hook:
        yield Place(tmp_path, hook, authority)


class Load:
    """Encrypts until the server is gone or the block ends; counts what was answered."""

    def __init__(self, stubs: Stubs, key: str) -> None:
        self.answered = 0
        self._stubs, self._key = stubs, key
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with suppress(grpc.RpcError):
            while not self._stopped.is_set():
                encrypt(self._stubs, self._key)
                self.answered += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(PATIENCE)


def encrypt(stubs: Stubs, key: str) -> None:
    stubs.crypto.Encrypt(cryptography_pb2.EncryptRequest(key_id=key, plaintext=b"x"), timeout=PATIENCE)


def eventually(look: Callable[[], Any], what: str) -> Any:
    """What is found before patience ends."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return found


def receipt(stubs: Stubs, key: str) -> bytes:
    """Of a call that describes the key."""
    _, call = stubs.keys.DescribeKey.with_call(keys_pb2.DescribeKeyRequest(key_id=key), metadata=WANTED)
    return bytes(dict(call.trailing_metadata())["kagitori-receipt-bin"])


def looked_up(server: OperatedServer) -> set[str]:
    """Names of events that CloudTrail's LookupEvents finds, by boto3."""
    credentials = configparser.ConfigParser()
    credentials.read(server.data / "credentials" / "aws")
    (profile,) = credentials.sections()
    client = boto3.client(
        "cloudtrail", region_name=REGION, endpoint_url=f"https://{server.addresses['aws']}",
        verify=str(server.data / "tls" / "ca.crt"), config=Config(retries={"total_max_attempts": 1}),
        aws_access_key_id=credentials[profile]["aws_access_key_id"],
        aws_secret_access_key=credentials[profile]["aws_secret_access_key"],
    )
    return {event["EventName"] for event in client.lookup_events()["Events"]}


@pytest.mark.timeout(240)
def test_everything_at_once(place: Place, tmp_path: Path) -> None:
    """Nothing that was answered is lost to anybody, and all of it verifies in the end."""
    with place.server() as server, server.stubs() as root:
        key = root.keys.CreateKey(keys_pb2.CreateKeyRequest(policy=POLICY)).key_metadata.arn
        assert server.terminate() == 0
    place.deliver(key)
    with ExitStack() as stack:
        one = stack.enter_context(place.server("--aws-listen", "127.0.0.1:0"))
        two = stack.enter_context(place.server())
        first, second = (stack.enter_context(each.stubs()) for each in (one, two))
        made = receipt(first, key)
        head = first.admin.GetTreeHead(transparency_pb2.GetTreeHeadRequest())
        (tmp_path / "seen").write_text(head.checkpoint)
        with Load(first, key) as loud, Load(second, key) as quiet:
            eventually(lambda: all(place.pruned(chain) > 2 for chain in ("chain-00", "chain-01")), "nothing was pruned")
            assert {"Encrypt", "GenerateDataKey"} & looked_up(one)
            one.kill()
        answered = loud.answered + quiet.answered
        assert "Traceback" not in two.log
        assert '"level":"error"' not in two.log.replace(" ", "")
    with place.server("--aws-listen", "127.0.0.1:0") as again, again.stubs() as root:
        for _ in range(40):
            encrypt(root, key)
        answered += 40
        # Who was shown a receipt and a head before sees that the log was only added to since.
        keys = [TrustedKey.parse(text) for text in head.verifier_keys]
        assert verify_receipt(made, keys).record is not None
        grown = root.admin.GetConsistencyProof(
            transparency_pb2.GetConsistencyProofRequest(origin=head.origin, first_size=head.tree_size)
        )
        assert grown.second_size > head.tree_size + 40
        assert verify_receipt(receipt(root, key), keys).record is not None
        found = root.admin.LookupEvents(audit_pb2.LookupEventsRequest(max_results=5)).events
        proven = root.admin.GetInclusionProof(transparency_pb2.GetInclusionProofRequest(event_id=found[0].event_id))
        assert len(proven.proofs) == 1
        assert "Encrypt" in looked_up(again)
        used = root.keys.GetKeyLastUsage(keys_pb2.GetKeyLastUsageRequest(key_id=key)).key_last_usage
        assert used.operation
        eventually(lambda: sum(map(len, place.sent().values())) > answered, "the webhook was not sent everything")
        assert again.terminate() == 0
        assert "Traceback" not in again.log
    status, text = place.verified("--checkpoint", tmp_path / "seen")
    assert status == 0, text
    for told in (
        "pruned up to record", "The trail is sound.",
        "log files are encrypted: what is in them was not verified, nor that no record is missing",
        "What was delivered is sound. That isn't said of the content of encrypted log files.",
    ):
        assert told in text
    for chain, numbers in place.sent().items():
        # At least once: what was under way when the first one was killed came again.
        assert set(numbers) == set(range(1, max(numbers) + 1)), chain
    next(place.out.rglob("*CloudTrail-Digest*.json.gz")).unlink()
    status, text = place.verified()
    assert status == 3
    assert "PROBLEM" in text
