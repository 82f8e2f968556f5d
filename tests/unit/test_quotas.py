"""Resource quotas: the last that fits and the first that doesn't, configured low where AWS lets them be adjusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import HOME, InProcess

from kagitori_server.model.errors import LimitExceededException, TagException
from kagitori_server.model.limits import POLICY_BYTES, TAGS_PER_KEY, Quotas
from kagitori_server.policy.defaults import default_key_policy


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    quotas = Quotas(keys_per_account_region=2, aliases_per_key=3, grants_per_key=2)
    with InProcess(tmp_path, quotas=quotas) as opened:
        yield opened


@pytest.fixture
def key_id(service: InProcess) -> str:
    return str(service.call("CreateKey").key_metadata.key_id)


def _refused(service: InProcess, operation: str, values: dict[str, Any], **call: Any) -> str:
    with pytest.raises(LimitExceededException) as refused:
        service.call(operation, values, **call)
    assert service.records()[-1]["errorCode"] == "LimitExceededException"
    return refused.value.message


def test_the_defaults_are_those_of_aws() -> None:
    assert Quotas() == Quotas(keys_per_account_region=100_000, aliases_per_key=50, grants_per_key=50_000)
    assert (TAGS_PER_KEY, POLICY_BYTES) == (50, 32_768)


def test_keys_of_an_account_in_a_region(service: InProcess, key_id: str) -> None:
    """Whatever their state; another Region and another account have their own."""
    service.call("DisableKey", {"key_id": key_id})
    service.call("CreateKey")
    assert "2 keys" in _refused(service, "CreateKey", {})
    service.call("CreateKey", region="eu-west-1")
    service.call("CreateKey", token=service.new_account("111111111111"))


def test_aliases_of_a_key(service: InProcess, key_id: str) -> None:
    """Made, or pointed to it."""
    for number in range(3):
        service.call("CreateAlias", {"alias_name": f"alias/{number}", "target_key_id": key_id})
    assert "3 aliases" in _refused(service, "CreateAlias", {"alias_name": "alias/x", "target_key_id": key_id})
    other = service.call("CreateKey").key_metadata.key_id
    service.call("CreateAlias", {"alias_name": "alias/other", "target_key_id": other})
    _refused(service, "UpdateAlias", {"alias_name": "alias/other", "target_key_id": key_id})
    service.call("UpdateAlias", {"alias_name": "alias/0", "target_key_id": key_id})
    service.call("DeleteAlias", {"alias_name": "alias/0"})
    service.call("UpdateAlias", {"alias_name": "alias/other", "target_key_id": key_id})


def test_grants_on_a_key(service: InProcess, key_id: str) -> None:
    """A dry run is told, too."""
    values = {"key_id": key_id, "grantee_principal": f"arn:aws:iam::{HOME}:root", "operations": ["Decrypt"]}
    made = [service.call("CreateGrant", values).grant_id for _ in range(2)]
    assert "2 grants" in _refused(service, "CreateGrant", values)
    _refused(service, "CreateGrant", {**values, "dry_run": True})
    service.call("RevokeGrant", {"key_id": key_id, "grant_id": made[0]})
    service.call("CreateGrant", values)


def test_tags_of_a_key(service: InProcess, key_id: str) -> None:
    tags = [{"tag_key": f"k{number}", "tag_value": ""} for number in range(TAGS_PER_KEY)]
    service.call("TagResource", {"key_id": key_id, "tags": tags})
    service.call("TagResource", {"key_id": key_id, "tags": [{"tag_key": "k0", "tag_value": "again"}]})
    with pytest.raises(TagException, match="Too many tags"):
        service.call("TagResource", {"key_id": key_id, "tags": [{"tag_key": "more", "tag_value": ""}]})


def test_bytes_of_a_key_policy(service: InProcess, key_id: str) -> None:
    text = default_key_policy(HOME)
    values = {"key_id": key_id, "policy": text + " " * (POLICY_BYTES - len(text))}
    service.call("PutKeyPolicy", values)
    _refused(service, "PutKeyPolicy", {**values, "policy": values["policy"] + " "})
