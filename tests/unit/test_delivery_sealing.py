"""Log files encrypted under a customer's key, as AWS CloudTrail does: by its policy, on record, and for readers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aws_encryption_sdk
import pytest
from aws_encryption_sdk.identifiers import CommitmentPolicy
from aws_encryption_sdk.key_providers.base import MasterKeyProvider, MasterKeyProviderConfig
from aws_encryption_sdk.structures import DataKey
from tests.support.delivering import BUCKET, DESCRIPTION, Deliverer
from tests.support.inprocess import HOME, REGION, InProcess
from tests.support.kms_calls import OTHER

from kagitori_server.delivery.checking import check_delivery, known_of
from kagitori_server.delivery.directory import DirectoryDestination
from kagitori_server.delivery.naming import TrailDescription
from kagitori_server.delivery.reading import unpack
from kagitori_server.delivery.sealing import EnvelopeSealing
from kagitori_server.model.errors import (
    AccessDeniedException,
    DisabledException,
    InvalidKeyUsageException,
    KmsError,
    NotFoundException,
)
from kagitori_server.service_calls import CLOUDTRAIL, ServiceCaller

TRAIL_ARN = DESCRIPTION.arn
CONTEXT = {"aws:cloudtrail:arn": TRAIL_ARN, "aws:s3:arn": f"arn:aws:s3:::{BUCKET}/x"}
ADMINISTRATION: Mapping[str, Any] = {
    "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}, "Action": "kms:*", "Resource": "*",
}
SERVICE: Mapping[str, Any] = {
    "Effect": "Allow", "Principal": {"Service": CLOUDTRAIL}, "Action": "kms:GenerateDataKey*", "Resource": "*",
    "Condition": {
        "StringEquals": {"aws:SourceArn": TRAIL_ARN},
        "StringLike": {"kms:EncryptionContext:aws:cloudtrail:arn": f"arn:aws:cloudtrail:*:{HOME}:trail/*"},
    },
}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    (tmp_path / "service").mkdir()
    (tmp_path / "out").mkdir()
    with InProcess(tmp_path / "service") as opened:
        yield opened


def key(service: InProcess, *statements: Mapping[str, Any], **values: Any) -> str:
    policy = json.dumps({"Version": "2012-10-17", "Statement": [ADMINISTRATION, *statements]})
    arn: str = service.call("CreateKey", {"policy": policy, **values}).key_metadata.arn
    return arn


def caller(service: InProcess, source_arn: str = TRAIL_ARN) -> ServiceCaller:
    return ServiceCaller(service.services, service.trail, CLOUDTRAIL, source_arn)


class Reader(MasterKeyProvider):  # type: ignore[misc]  # the library has no types
    """Data keys by Decrypt, as the token's principal may."""

    provider_id = "aws-kms"
    _config_class = MasterKeyProviderConfig

    def __new__(cls, *_: object) -> Reader:
        instance: Reader = super().__new__(cls)
        return instance

    def __init__(self, service: InProcess, token: str | None = None) -> None:
        self._service, self._token = service, token

    def _new_master_key(self, key_id: bytes) -> None:
        raise NotImplementedError

    def decrypt_data_key_from_list(self, **asked: Any) -> DataKey:
        [found] = asked["encrypted_data_keys"]
        context = dict(asked["encryption_context"])
        values = {"ciphertext_blob": found.encrypted_data_key, "encryption_context": context}
        answer = self._service.call("Decrypt", values, token=self._token)
        return DataKey(found.key_provider, answer.plaintext, found.encrypted_data_key)


def opened(content: bytes, reader: Reader) -> bytes:
    sdk = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    text: bytes = sdk.decrypt(source=content, key_provider=reader)[0]
    return text


def test_log_files_are_sealed_and_read_by_who_may_decrypt(service: InProcess, tmp_path: Path) -> None:
    reading = {
        "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}, "Action": "kms:Decrypt",
        "Resource": "*", "Condition": {"Null": {"kms:EncryptionContext:aws:cloudtrail:arn": "false"}},
    }
    arn = key(service, SERVICE, reading)
    description = TrailDescription("kagitori", "aws", HOME, REGION, BUCKET, "audit", arn)
    sealing = EnvelopeSealing(caller(service), description)
    deliverer = Deliverer(service, DirectoryDestination(tmp_path / "out"), description=description, sealing=sealing)
    deliverer.deliver()
    [path] = (tmp_path / "out").rglob("*.json.gz")
    assert b"CreateKey" not in path.read_bytes()
    with pytest.raises(AccessDeniedException):
        opened(path.read_bytes(), Reader(service, service.new_user("nobody")))
    text = unpack(opened(path.read_bytes(), Reader(service)))
    assert [record["eventName"] for record in json.loads(text)["Records"]] == ["CreateKey"]
    made = next(record for record in service.records() if record["eventName"] == "GenerateDataKey")
    object_key = path.relative_to(tmp_path / "out").as_posix()
    assert made["userIdentity"] == {"type": "AWSService", "invokedBy": CLOUDTRAIL}
    assert made["sourceIPAddress"] == made["userAgent"] == CLOUDTRAIL
    assert made["requestParameters"] == {
        "keyId": arn, "numberOfBytes": 32, "encryptionContext": {
            "aws:cloudtrail:arn": TRAIL_ARN, "aws:s3:arn": f"arn:aws:s3:::{BUCKET}/{object_key}",
        },
    }
    assert made["resources"] == [{"accountId": HOME, "type": "AWS::KMS::Key", "ARN": arn}]
    assert (made["recipientAccountId"], made["readOnly"], made["eventType"]) == (HOME, True, "AwsApiCall")
    service.clock.advance(3_600)
    deliverer.running.finish(60)
    report = check_delivery(
        DirectoryDestination(tmp_path / "out"), description, lambda: known_of(service.catalog), service.audit_folder
    )
    assert (report.problems, report.sealed) == ([], report.log_files)


@pytest.mark.parametrize(("change", "source"), [
    ({}, "arn:aws:cloudtrail:us-east-1:000000000000:trail/other"),
    ({"Principal": {"Service": "logs.amazonaws.com"}}, TRAIL_ARN),
    ({"Action": "kms:Decrypt"}, TRAIL_ARN),
    ({"Condition": {"StringEquals": {"kms:EncryptionContext:aws:cloudtrail:arn": "other"}}}, TRAIL_ARN),
    ({"Condition": {"Null": {"aws:SourceArn": "true"}}}, TRAIL_ARN),
    ({"Condition": {"Bool": {"aws:PrincipalIsAWSService": "false"}}}, TRAIL_ARN),
    ({"Effect": "Deny"}, TRAIL_ARN),
    ({"Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}}, TRAIL_ARN),
])
def test_it_is_refused_unless_the_policy_permits_it(
    service: InProcess, change: Mapping[str, Any], source: str
) -> None:
    """And the refusal is recorded."""
    arn = key(service, {**SERVICE, **change})
    with pytest.raises(AccessDeniedException, match=f"User: {CLOUDTRAIL} is not authorized"):
        caller(service, source).generate_data_key(arn, CONTEXT)
    record = service.records()[-1]
    assert (record["eventName"], record["errorCode"]) == ("GenerateDataKey", "AccessDenied")
    assert "additionalEventData" not in record


def test_a_default_key_policy_admits_no_service(service: InProcess) -> None:
    arn = service.call("CreateKey").key_metadata.arn
    with pytest.raises(AccessDeniedException):
        caller(service).generate_data_key(arn, CONTEXT)


def test_a_deny_for_everybody_is_for_services_too(service: InProcess) -> None:
    deny = {"Effect": "Deny", "Principal": "*", "Action": "kms:GenerateDataKey", "Resource": "*"}
    exempting = {**deny, "Condition": {"Bool": {"aws:PrincipalIsAWSService": "false"}}}
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        caller(service).generate_data_key(key(service, SERVICE, deny), CONTEXT)
    assert caller(service).generate_data_key(key(service, SERVICE, exempting), CONTEXT)
    named = {name: value for name, value in deny.items() if name != "Principal"}
    spared = {**named, "NotPrincipal": {"Service": CLOUDTRAIL}}
    assert caller(service).generate_data_key(key(service, SERVICE, spared), CONTEXT)


def test_what_is_wrong_with_the_key(service: InProcess) -> None:
    arn = key(service, SERVICE)
    service.call("DisableKey", {"key_id": arn})
    rsa = key(service, SERVICE, key_spec="RSA_2048", key_usage="ENCRYPT_DECRYPT")
    tenant = service.new_account(OTHER)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [
        {**ADMINISTRATION, "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"}}, SERVICE,
    ]})
    foreign = service.call("CreateKey", {"policy": policy}, token=tenant).key_metadata.arn
    wrongs: list[tuple[str, type[KmsError]]] = [
        (arn, DisabledException), (rsa, InvalidKeyUsageException), (foreign, AccessDeniedException),
        (arn.replace(HOME, OTHER), NotFoundException), (arn[:-12] + "000000000000", NotFoundException),
    ]
    for wrong, error in wrongs:
        with pytest.raises(error):
            caller(service).generate_data_key(wrong, CONTEXT)


def test_a_service_principal_gives_nobody_else_anything(service: InProcess) -> None:
    """Neither users, nor those who call themselves like it, nor grants."""
    arn = key(service, {**SERVICE, "Condition": {}})
    token = service.new_user(CLOUDTRAIL)
    with pytest.raises(AccessDeniedException):
        service.call("GenerateDataKey", {"key_id": arn, "number_of_bytes": 32}, token=token)
    with pytest.raises(ValueError, match="service that calls"):
        ServiceCaller(service.services, service.trail, "logs.amazonaws.com", TRAIL_ARN)


def test_a_key_that_is_denied_shows_in_the_state_and_loses_nothing(service: InProcess, tmp_path: Path) -> None:
    arn = key(service)
    description = TrailDescription("kagitori", "aws", HOME, REGION, BUCKET, "audit", arn)
    deliverer = Deliverer(
        service, DirectoryDestination(tmp_path / "out"), description=description,
        sealing=EnvelopeSealing(caller(service), description),
    )
    deliverer.running.run_once()
    assert (deliverer.running.state().log_error or "").startswith("AccessDeniedException")
    assert list((tmp_path / "out").rglob("*.json.gz")) == []
    policy = json.dumps({"Version": "2012-10-17", "Statement": [ADMINISTRATION, SERVICE]})
    service.call("PutKeyPolicy", {"key_id": arn, "policy": policy})
    service.clock.advance(400)
    deliverer.running.run_once()
    assert deliverer.running.state().log_error is None
    assert list((tmp_path / "out").rglob("*.json.gz"))
