"""`kagitori audit tree-head|prove|consistency|verify-receipt` and `--receipt` against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer

from kagitori.kms.v1.cryptography_pb2 import EncryptRequest, GenerateRandomRequest
from kagitori_client import KmsClient, Settings
from kagitori_client.cli.failures import DOES_NOT_VERIFY, REFUSED, USAGE
from kagitori_client.errors import ServiceError
from kagitori_client.receipts import TrustedKey, verify_receipt

NOWHERE = {"KAGITORI_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


@pytest.fixture
def log_key(cli: CommandLine) -> str:
    (key,) = cli.json("audit", "tree-head")["verifier_keys"]
    assert isinstance(key, str)
    return key


def test_a_receipt_is_verified_offline(cli: CommandLine, log_key: str, tmp_path: Path) -> None:
    """With the public key alone, as text or in a file; another key, an altered receipt or another log are refused."""
    key = cli.json("key", "create")["arn"]
    cli.done("--receipt", "made.tlog-proof", "data-key", "--key", key, "--ciphertext-out", "dk", "--without-plaintext")
    shown = cli.json("audit", "verify-receipt", "made.tlog-proof", "--public-key", log_key)
    assert shown["event_name"] == "GenerateDataKeyWithoutPlaintext"
    assert shown["record"]["resources"][0]["ARN"] == key
    (tmp_path / "log.vkey").write_text(f"{log_key}\n")
    words = ("audit", "verify-receipt", "made.tlog-proof", "--public-key", "log.vkey")
    assert "GenerateDataKeyWithoutPlaintext" in cli(*words, environment=NOWHERE).text
    assert cli(*words, "--origin", shown["origin"]).code == 0
    assert cli(*words, "--origin", "other").code == DOES_NOT_VERIFY
    receipt = tmp_path / "made.tlog-proof"
    receipt.write_bytes(receipt.read_bytes().replace(b"index ", b"index 9"))
    refused = cli(*words)
    assert (refused.code, refused.out) == (DOES_NOT_VERIFY, b"")
    assert "error: ReceiptInvalid: " in refused.err
    assert cli(*words[:-1], "nonsense").code == USAGE
    assert cli("audit", "verify-receipt", "made.tlog-proof").code == USAGE


def test_a_refused_call_has_a_receipt_too(cli: CommandLine, log_key: str, tmp_path: Path) -> None:
    """It holds the hash of the record, which the account's auditors can look up."""
    refused = cli("--receipt", "refused", "key", "show", "alias/none")
    assert refused.code == REFUSED
    words = ("audit", "verify-receipt", "refused", "--public-key", log_key)
    shown = cli.json(*words)
    assert shown["record"] is None
    request_id = refused.err.rsplit(" ", 1)[1].strip()
    (event,) = cli.json("audit", "prove", "--request-id", request_id, "--save", "p")["proofs"]
    assert event["leaf_hash"] == shown["leaf_hash"]
    proven = cli.json("audit", "verify-receipt", "p", "--public-key", log_key)
    assert proven["error_code"] == "NotFoundException"
    (tmp_path / "record").write_text(json.dumps(proven["record"], separators=(",", ":")) + "\n")
    assert cli.json(*words, "--record", "record")["error_code"] == "NotFoundException"
    (tmp_path / "record").write_text("{}")
    assert cli(*words, "--record", "record").code == DOES_NOT_VERIFY


def test_growth_is_followed(cli: CommandLine, log_key: str, tmp_path: Path) -> None:
    """The file is begun, carried on, and refused when it says something else."""
    words = ("audit", "consistency", "--checkpoint", "seen", "--public-key", log_key)
    first = cli.json(*words)
    assert first["seen_size"] is None
    second = cli.json(*words)
    assert second["seen_size"] == first["tree_size"] < second["tree_size"]
    assert second["origin"] == first["origin"]
    cli.done("audit", "tree-head", "--save", "head", "--origin", first["origin"])
    assert (tmp_path / "head").read_text().split("\n")[0] == first["origin"]
    kept = (tmp_path / "seen").read_text()
    (tmp_path / "seen").write_text(kept.replace(f"\n{second['tree_size']}\n", f"\n{second['tree_size'] + 1}\n"))
    assert cli(*words).code == DOES_NOT_VERIFY
    (tmp_path / "seen").write_text(kept)
    assert cli(*words, "--origin", "other").code == USAGE


def test_what_is_proven(cli: CommandLine) -> None:
    """By index, by ids; nothing that isn't there."""
    assert cli.json("audit", "prove", "--index", "0")["proofs"][0]["leaf_index"] == 0
    assert cli("audit", "prove").code == REFUSED
    assert cli("audit", "prove", "--event-id", "none").code == REFUSED
    assert cli("audit", "tree-head", "--origin", "none").code == REFUSED


def test_the_client_takes_receipts(devserver: DevServer, log_key: str) -> None:
    """Of answers and refusals; none where none is wanted."""
    made: list[tuple[str, bytes | None]] = []
    settings = Settings(**{
        name.removeprefix("KAGITORI_").lower(): value for name, value in devserver.environment().items()
        if name in ("KAGITORI_ENDPOINT", "KAGITORI_CA_FILE", "KAGITORI_TOKEN_FILE")
    })
    with KmsClient.from_settings(settings, receipts=lambda *receipt: made.append(receipt)) as client:
        client.crypto.GenerateRandom(GenerateRandomRequest(number_of_bytes=8))
        with pytest.raises(ServiceError):
            client.crypto.Encrypt(EncryptRequest(key_id="alias/none", plaintext=b"x"))
    names = []
    for method, receipt in made:
        assert receipt is not None
        record = verify_receipt(receipt, [TrustedKey.parse(log_key)]).record
        names.append((method.rsplit("/", 1)[1], None if record is None else record["eventName"]))
    assert names == [("GenerateRandom", "GenerateRandom"), ("Encrypt", None)]
    with KmsClient.from_settings(settings) as client:
        _, call = client.crypto.GenerateRandom.with_call(GenerateRandomRequest(number_of_bytes=8))
        assert [name for name, _ in call.trailing_metadata()] == ["kagitori-request-id"]
