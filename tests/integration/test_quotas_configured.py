"""Quotas and rates from the configuration reach the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.whole_server import Caller, WholeServer

from kagitori_server.config import ConfigurationError

SETTINGS: dict[str, dict[str, Any]] = {
    "listen": {"grpc": "127.0.0.1:0"},
    "log": {"level": "error"},
    "quotas": {"keys_per_account": 1, "aliases_per_key": 1, "grants_per_key": 1},
    "throttling": {"principal_rates": ["aws", "describe=1"]},
}


def _refusal(caller: Caller, operation: str, **members: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        caller(operation, **members)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return str(error.details())


def test_quotas_and_rates_are_those_of_the_configuration(tmp_path: Path) -> None:
    with WholeServer(tmp_path / "data", SETTINGS) as server, server.tls() as channel:
        root = Caller(channel, server.root_token)
        key_id = root("CreateKey").key_metadata.key_id
        assert "1 keys" in _refusal(root, "CreateKey")
        root("CreateAlias", alias_name="alias/a", target_key_id=key_id)
        assert "1 aliases" in _refusal(root, "CreateAlias", alias_name="alias/b", target_key_id=key_id)
        root("DescribeKey", key_id=key_id)
        assert "exceeded the rate" in _refusal(root, "DescribeKey", key_id=key_id)


@pytest.mark.parametrize("rates", [["symmetric"], ["speed=1"], ["rsa=0"]])
def test_rates_that_make_no_sense_keep_the_server_from_starting(tmp_path: Path, rates: list[str]) -> None:
    settings = {**SETTINGS, "throttling": {"account_rates": rates}}
    server = WholeServer(tmp_path / "data", settings)
    with pytest.raises(ConfigurationError, match=r"throttling\.account_rates"):
        server.__enter__()
