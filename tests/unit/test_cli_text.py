"""Messages as JSON data and as text: every kind of field, and nothing that moves a terminal."""

from __future__ import annotations

import json

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kagitori.kms.v1.admin_service_pb2 import DESCRIPTOR as ADMIN
from kagitori.kms.v1.audit_pb2 import AuditChain, AuditProblem
from kagitori.kms.v1.crypto_service_pb2 import DESCRIPTOR as CRYPTO
from kagitori.kms.v1.cryptography_pb2 import EncryptRequest
from kagitori.kms.v1.key_service_pb2 import DESCRIPTOR as KEYS
from kagitori.kms.v1.operation_pb2 import KeyStoreHealth
from kagitori.kms.v1.resources_pb2 import KeyMetadata, KeyState
from kagitori_client.cli.text import Plain, cell, json_text, plain, printable

MESSAGES = sorted(
    {
        kind
        for file in (KEYS, CRYPTO, ADMIN)
        for service in file.services_by_name.values()
        for method in service.methods
        for kind in (method.input_type, method.output_type)
    },
    key=lambda kind: kind.full_name,
)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.name)
def test_every_message_of_the_contract_has_a_plain_form(kind) -> None:  # type: ignore[no-untyped-def]
    message: Message = kind._concrete_class()
    assert list(json.loads(json.dumps(plain(message)))) == [field.name for field in kind.fields]


def test_values() -> None:
    metadata = KeyMetadata(key_state=KeyState.KEY_STATE_PENDINGDELETION, enabled=False, description="")
    metadata.creation_date.FromJsonString("2026-11-24T08:15:39.8485Z")
    shown = plain(metadata)
    assert shown["key_state"] == "PendingDeletion"
    assert shown["key_usage"] is None
    assert (shown["enabled"], shown["description"]) == (False, "")
    assert shown["creation_date"] == "2026-11-24T08:15:39.848Z"
    assert shown["deletion_date"] is None
    assert shown["custom_key_store_id"] is None
    assert shown["mac_algorithms"] == []


def test_bytes_maps_numbers_and_nested_messages() -> None:
    request = plain(EncryptRequest(plaintext=b"\xff\x00", encryption_context={"b": "2", "a": "1"}))
    assert request["plaintext"] == "/wA="
    assert request["encryption_context"] == {"a": "1", "b": "2"}
    chain = plain(AuditChain(records=1 << 62, problems=[AuditProblem(line=3)]))
    assert chain["records"] == 1 << 62
    assert chain["problems"] == [{"chain_name": "", "segment_file": "", "line": 3, "description": ""}]
    health = KeyStoreHealth()
    health.latency.FromMicroseconds(1500)
    assert plain(health)["latency"] == 0.0015


def test_enum_values_of_a_newer_server_are_kept_as_numbers() -> None:
    assert plain(KeyMetadata.FromString(b"\x40\x63"))["key_state"] == 99


def test_every_state_of_a_key_has_the_name_aws_gives_it() -> None:
    names = {plain(KeyMetadata(key_state=number))["key_state"] for number in KeyState.values() if number}
    assert names == {
        "Creating", "Enabled", "Disabled", "PendingDeletion", "PendingImport", "PendingReplicaDeletion",
        "Unavailable", "Updating",
    }


@pytest.mark.parametrize("time", ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z"])
def test_times_at_the_ends(time: str) -> None:
    at = Timestamp()
    at.FromJsonString(time)
    shown = plain(KeyMetadata(creation_date=at))["creation_date"]
    assert str(shown).replace(".000Z", "Z") == time


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ([], "-"),
        ({}, "-"),
        ("", ""),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (1.5, "1.5"),
        (["a", "b"], "a, b"),
        ({"a": "b", "c": None}, "a=b, c=-"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("\x1b[2Jx\r\n\x07\u202e\x9b", "\\x1b[2Jx\\r\\n\\x07\\u202e\\x9b"),
        ("鍵取 é", "鍵取 é"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert cell(value) == text  # type: ignore[arg-type]  # plain data, but of every kind
    assert printable(text) == text


def test_json_has_nothing_that_terminals_obey() -> None:
    hostile: Plain = {"\x9b2J": ["\x1b[2J", "\x7f", "\x85", "注文 🔑"]}
    for indent in (None, 2):
        text = json_text(hostile, indent)
        assert json.loads(text) == hostile
        assert "注文 🔑" in text
        assert all(c.isprintable() or c == "\n" for c in text)
