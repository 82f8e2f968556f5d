"""`kagitori keystore` against a real server with a token of SoftHSM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.client_certificates import certificate
from tests.support.commandline import CommandLine
from tests.support.tokens import PIN, fresh_token
from tests.support.whole_server import WholeServer

CLUSTER = "cluster-aaaaaaaaaaa"
SPARE = "cluster-bbbbbbbbbbb"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CommandLine]:
    """Commands by root; the files that they need are in their folder."""
    found = fresh_token().settings
    section = {"module": found.module, "token_label": found.token_label, "softhsm_conf": found.softhsm_conf}
    settings: dict[str, dict[str, Any]] = {"listen": {"grpc": "127.0.0.1:0"}, "hsm": {CLUSTER: section, SPARE: section}}
    with WholeServer(tmp_path / "data", settings) as server:
        environment = {
            "KAGITORI_ENDPOINT": f"https://{server.addresses.grpc}",
            "KAGITORI_CA_FILE": str(server.data.tls / "ca.crt"),
            "KAGITORI_TOKEN_FILE": str(server.data.root_token),
        }
        folder = tmp_path / "cli"
        folder.mkdir()
        (folder / "ca.pem").write_bytes(certificate())
        (folder / "pin").write_bytes(PIN + b"\n")
        (folder / "wrong").write_bytes(b"wrong-pin\n")
        yield CommandLine(monkeypatch, environment, folder)


def test_the_life_of_a_key_store(cli: CommandLine) -> None:
    made = cli.json(
        "keystore", "create-hsm", "vault", CLUSTER, "--password-file", "wrong", "--trust-anchor", "ca.pem"
    )
    store_id = made["custom_key_store_id"]
    (cli.folder / "wrong").chmod(0o644)
    warned = cli("keystore", "update", "vault", "--password-file", "wrong")
    assert "warning: others may read the PIN in wrong (mode 0644): chmod 600 it\n" in warned.err
    failed = cli("keystore", "connect", "vault")
    assert failed.code == 1
    assert f"error: Unhealthy: key store {store_id} could not be connected: INVALID_CREDENTIALS\n" in failed.err
    cli.done("keystore", "disconnect", "vault")
    cli.done("keystore", "update", "vault", "--password-file", "pin", "--name", "hsm")
    assert cli.json("keystore", "connect", store_id)["connection_state"] == "CONNECTED"
    assert "CONNECTED" in cli.done("keystore", "list").text
    assert cli.json("keystore", "show", "hsm")["cloud_hsm_cluster_id"] == CLUSTER
    key = cli.json("key", "create", "--key-store", store_id)
    assert (key["origin"], key["cloud_hsm_cluster_id"]) == ("AWS_CLOUDHSM", CLUSTER)
    assert cli("key", "create", "--key-store", store_id, "--xks-key-id", "x").code == 1
    assert "1 objects, 0 orphaned; 0 missing" in cli.done("keystore", "check", "hsm").text
    assert f"key store {store_id}" in cli.done("status").text
    cli.done("keystore", "disconnect", "hsm")
    assert cli("keystore", "check", "hsm").code == 1
    assert cli("keystore", "delete", "hsm").err.startswith("error: CustomKeyStoreHasCMKsException")
    made = cli.json("keystore", "create-hsm", "spare", SPARE, "--password-file", "pin", "--trust-anchor", "ca.pem")
    cli.done("keystore", "delete", made["custom_key_store_id"])
    assert [found["custom_key_store_name"] for found in cli.json("keystore", "list")["custom_key_stores"]] == ["hsm"]


def test_wrong_usage(cli: CommandLine) -> None:
    """No secret is ever an argument."""
    assert cli("keystore", "update", "cks-none", "--access-key-id", "A" * 20).code == 2
    create = ("keystore", "create-hsm", "v", CLUSTER, "--trust-anchor", "ca.pem", "--password-file")
    assert cli(*create, "absent").code == 2
    assert cli("keystore", "show", "nothing").err.startswith("error: CustomKeyStoreNotFoundException")
