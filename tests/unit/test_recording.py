"""Records show what the row allows, to whom it concerns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, START, InProcess
from tests.support.kms_calls import (
    OTHER,
    delegating,
    encrypt,
    last_record,
    new_key,
    refused,
    root,
    statement,
    user_arn,
)

from kagitori_server.audit.members import camel_case
from kagitori_server.model.call import Call, Evidence, TlsFacts
from kagitori_server.model.errors import AccessDeniedException, DisabledException, InvalidCiphertextException, KmsError
from kagitori_server.operations.row import Operation
from kagitori_server.operations.table import TABLE

KMS_ROWS = [row.name for row in TABLE.values() if isinstance(row, Operation) and row.service == "kms"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that only look at keys of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


def _complete(service: InProcess, name: str) -> dict[str, Any]:
    """A request of the operation with every member there is, well formed but not always meaningful."""
    key = new_key(service)
    alias = f"alias/{key.key_id}"
    members: dict[str, Any] = {
        "key_id": key.key_id, "target_key_id": key.key_id, "source_key_id": key.key_id,
        "destination_key_id": key.key_id, "alias_name": alias, "description": "d", "policy": delegating(),
        "policy_name": "default", "bypass_policy_lockout_safety_check": True, "limit": 1, "marker": "m",
        "resource_owners": ["SELF"], "key_usage": "ENCRYPT_DECRYPT", "key_spec": "SYMMETRIC_DEFAULT",
        "customer_master_key_spec": "SYMMETRIC_DEFAULT", "origin": "AWS_KMS", "custom_key_store_id": "cks",
        "tags": [{"tag_key": "k", "tag_value": "v"}], "tag_keys": ["k"], "multi_region": True, "xks_key_id": "x",
        "pending_window_in_days": 7, "plaintext": b"SECRET", "ciphertext_blob": encrypt(service, key.key_id, b"SECRET"),
        "encryption_context": {"a": "1"}, "source_encryption_context": {"a": "1"},
        "destination_encryption_context": {"a": "1"}, "grant_tokens": ["SECRET"],
        "encryption_algorithm": "SYMMETRIC_DEFAULT", "source_encryption_algorithm": "SYMMETRIC_DEFAULT",
        "destination_encryption_algorithm": "SYMMETRIC_DEFAULT", "dry_run": True, "number_of_bytes": 1,
        "dry_run_modifiers": ["IGNORE_CIPHERTEXT"],
        "grantee_principal": user_arn("alice"), "retiring_principal": user_arn("alice"), "operations": ["Encrypt"],
        "constraints": {"encryption_context_equals": {"a": "1"}}, "name": "n", "grant_id": "0" * 64,
        "grant_token": "SECRET", "grantee_service_principal": "a.b.c", "retiring_service_principal": "a.b.c",
        "custom_key_store_name": "n", "new_custom_key_store_name": "n", "cloud_hsm_cluster_id": "cluster-abcdefghijk",
        "trust_anchor_certificate": "c", "key_store_password": "SECRET7", "custom_key_store_type": "AWS_CLOUDHSM",
        "xks_proxy_uri_endpoint": "https://xks.example", "xks_proxy_uri_path": "/kms/xks/v1",
        "xks_proxy_vpc_endpoint_service_name": "com.amazonaws.vpce.us-east-1.vpce-svc-0",
        "xks_proxy_vpc_endpoint_service_owner": "0" * 12, "xks_proxy_connectivity": "PUBLIC_ENDPOINT",
        "xks_proxy_authentication_credential": {
            "access_key_id": "SECRET" * 4, "raw_secret_access_key": "SECRET" * 8,
        },
        "recipient": {"key_encryption_algorithm": "RSAES_OAEP_SHA_256", "attestation_document": b"SECRET"},
        "message": b"SECRET", "message_type": "RAW", "signing_algorithm": "ECDSA_SHA_256", "signature": b"SECRET",
        "mac_algorithm": "HMAC_SHA_256", "mac": b"SECRET", "key_agreement_algorithm": "ECDH", "public_key": b"SECRET",
        "encapsulation_algorithm": "ML_KEM", "shared_secret_ciphertext_blob": b"SECRET", "key_pair_spec": "RSA_2048",
        "rotation_period_in_days": 90, "include_key_material": "ALL_KEY_MATERIAL", "replica_region": "eu-west-1",
        "primary_region": "eu-west-1", "wrapping_algorithm": "RSAES_OAEP_SHA_256", "wrapping_key_spec": "RSA_2048",
        "import_token": b"SECRET", "encrypted_key_material": b"SECRET", "valid_to": START + 60,
        "expiration_model": "KEY_MATERIAL_EXPIRES", "import_type": "NEW_KEY_MATERIAL",
        "key_material_description": "d", "key_material_id": "0" * 64,
    }
    row = TABLE[name]
    assert isinstance(row, Operation)
    wanted = {member: members[member] for member in row.request.cls.__dataclass_fields__}
    if name.startswith("GenerateDataKey") and "Pair" not in name:
        wanted["key_spec"] = "AES_256"
    return wanted


@pytest.mark.parametrize("name", KMS_ROWS)
def test_requests_show_exactly_the_row_s_members(service: InProcess, name: str) -> None:
    """All of them when all are given, none when the request couldn't be read, and no secret."""
    row = TABLE[name]
    assert isinstance(row, Operation)
    values = _complete(service, name)
    try:
        service.call(name, values)
    except KmsError as error:
        assert "SECRET" not in error.message  # noqa: PT017 - whether it is refused doesn't matter here
    record = last_record(service)
    assert record["eventName"] == name
    shown = record["requestParameters"] or {}
    assert list(shown) == [camel_case(member) for member in row.audit.request_shown]
    assert "SECRET" not in str(record)
    assert record["readOnly"] is row.read_only


def test_envelope(service: InProcess) -> None:
    """Where the call came from, by what TLS, under which request id."""
    evidence = Evidence(token=service.root_token, source_ip="192.0.2.7", user_agent="agent \u9375 \x07",
                        tls=TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "kms.test"))
    call = Call("ListKeys", "the-request", evidence, "eu-west-1", dict)
    service._runner.run(service.pipeline.handle(call))
    record = last_record(service)
    assert (record["requestID"], record["sourceIPAddress"], record["awsRegion"]) == (
        "the-request", "192.0.2.7", "eu-west-1"
    )
    assert record["userAgent"].startswith("agent \u9375")
    assert record["tlsDetails"] == {
        "tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_256_GCM_SHA384", "clientProvidedHostHeader": "kms.test"
    }
    assert (record["eventSource"], record["eventType"], record["eventCategory"]) == (
        "kms.amazonaws.com", "AwsApiCall", "Management"
    )
    service.call("GetCallerIdentity")
    assert last_record(service)["eventSource"] == "kagitori.amazonaws.com"


def test_cross_account_success_has_two_records(service: InProcess) -> None:
    """The caller's with its identity, the owner's with its account alone; joined by the shared id."""
    service.new_account(OTHER)
    guest = service.new_user("guest", account=OTHER, policies={"p": ALLOW_ALL})
    key = new_key(service, policy=delegating(statement(root(OTHER), "kms:*")))
    before = len(service.records())
    service.call("Encrypt", {"key_id": key.arn, "plaintext": b"x", "encryption_context": {"a": "1"}}, token=guest)
    callers, owners = service.records()[before:]
    assert (callers["recipientAccountId"], owners["recipientAccountId"]) == (OTHER, HOME)
    assert callers["sharedEventID"] == owners["sharedEventID"]
    assert callers["eventID"] != owners["eventID"]
    assert callers["userIdentity"]["arn"].endswith("user/guest")
    unique_id = callers["userIdentity"]["principalId"]
    assert unique_id.startswith("AIDA")
    assert owners["userIdentity"] == {"type": "AWSAccount", "principalId": unique_id, "accountId": OTHER}
    same = {name for name in callers if callers[name] == owners.get(name)}
    assert callers.keys() - same == {"userIdentity", "eventID", "recipientAccountId"}
    service.call("Decrypt", {"ciphertext_blob": encrypt(service, key.arn)}, token=guest)
    assert [record["recipientAccountId"] for record in service.records()[-2:]] == [OTHER, HOME]
    refused(service, AccessDeniedException, "Encrypt", {"key_id": new_key(service).arn, "plaintext": b"x"}, token=guest)
    assert last_record(service)["recipientAccountId"] == OTHER
    assert "sharedEventID" not in last_record(service)


def test_a_cross_account_call_that_fails_is_the_caller_s_alone(service: InProcess) -> None:
    """Whatever it fails of after the permission was given."""
    account = "666677778888"
    service.new_account(account)
    guest = service.new_token(root(account))
    key = new_key(service, policy=delegating(statement(root(account), "kms:*")))
    blob = encrypt(service, key.arn)
    values = {"ciphertext_blob": blob, "encryption_context": {"not": "this"}}
    refused(service, InvalidCiphertextException, "Decrypt", values, token=guest)
    service.call("DisableKey", {"key_id": key.key_id})
    refused(service, DisabledException, "Decrypt", {"ciphertext_blob": blob}, token=guest)
    assert last_record(service)["recipientAccountId"] == account


def test_within_an_account_there_is_one_record(service: InProcess) -> None:
    """And no shared id."""
    key = new_key(service)
    before = len(service.records())
    service.call("Encrypt", {"key_id": key.arn, "plaintext": b"x"})
    (record,) = service.records()[before:]
    assert "sharedEventID" not in record


def test_every_refusal_is_recorded_with_what_is_known(service: InProcess) -> None:
    """The key when it was found, the parameters when they could be read, CloudTrail's word for a denial."""
    token = service.new_user("denied")
    key = new_key(service)
    refused(service, AccessDeniedException, "Encrypt", {"key_id": key.key_id, "plaintext": b"x"}, token=token)
    record = last_record(service)
    assert record["errorCode"] == "AccessDenied"
    assert record["requestParameters"] == {"keyId": key.key_id, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    assert record["resources"] == [{"accountId": HOME, "type": "AWS::KMS::Key", "ARN": key.arn}]
    assert record["userIdentity"]["userName"] == "denied"


def test_odd_texts_are_recorded_as_they_are(service: InProcess) -> None:
    """Quotes, line ends, look-alike members: one line each, and the same text after parsing."""
    key = new_key(service)
    for text in ('","errorCode":"x', "line\nline\u2028\u2029\r", "\\", "\x7f\x1f", "\U0001f511"):
        service.call("UpdateKeyDescription", {"key_id": key.key_id, "description": text})
        assert last_record(service)["requestParameters"]["description"] == text
        context = {text: text}
        service.call("Encrypt", {"key_id": key.key_id, "plaintext": b"x", "encryption_context": context})
        assert last_record(service)["requestParameters"]["encryptionContext"] == context
