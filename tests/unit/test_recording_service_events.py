"""Records of what the service does by itself, and of what a call leads to in other places."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.client_certificates import certificate
from tests.support.imports import bring, expire, external_key
from tests.support.inprocess import HOME, REGIONS, START, InProcess
from tests.support.keystore_parts import Workshop
from tests.support.kms_calls import DAY, deletion_worker, last_record, new_key, refused
from tests.support.token_double import CLUSTER, PIN, TokenOpener

from kagitori_server.custom_stores import Timing
from kagitori_server.model.custom_key_stores import CustomKeyStoreType
from kagitori_server.model.errors import AlreadyExistsException
from kagitori_server.workers import RotationWorker

THERE = REGIONS[1]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def _event(name: str, arn: str, **more: Any) -> dict[str, Any]:
    """The record of something done to a key, without time and id."""
    return {
        "eventVersion": "1.11", "userIdentity": {"accountId": HOME, "invokedBy": "AWS Internal"},
        "eventSource": "kms.amazonaws.com", "eventName": name, "awsRegion": arn.split(":")[3],
        "sourceIPAddress": "AWS Internal", "userAgent": "AWS Internal", "requestParameters": None,
        "responseElements": None, "readOnly": False,
        "resources": [{"accountId": HOME, "type": "AWS::KMS::Key", "ARN": arn}], "eventType": "AwsServiceEvent",
        "managementEvent": True, "recipientAccountId": HOME, "eventCategory": "Management", **more,
    }


def _bare(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("eventTime", "eventID")}


def _rotate(service: InProcess) -> int:
    return RotationWorker(service.services, service.events).run_once()


def _details(kind: str, record: dict[str, Any], key_id: str) -> dict[str, Any]:
    materials = {name: record["serviceEventDetails"][name] for name in
                 ("previousKeyMaterialId", "currentKeyMaterialId")}
    assert len(set(materials.values())) == 2
    return {"keyId": key_id, "keyOrigin": "AWS_KMS", "rotationType": kind, **materials}


def test_automatic_rotation(service: InProcess) -> None:
    """One event, without a request id."""
    key = new_key(service)
    service.call("EnableKeyRotation", {"key_id": key.key_id})
    before = len(service.records())
    service.clock.advance(365 * DAY)
    assert _rotate(service) == 1
    (record,) = service.records()[before:]
    details = _details("AUTOMATIC", record, key.key_id)
    assert _bare(record) == _event("RotateKey", str(key.arn), serviceEventDetails=details)
    assert record["eventTime"] == "2027-09-21T14:13:20Z"


def test_a_family_is_synchronized_after_its_rotation(service: InProcess) -> None:
    """By the calendar or on demand: the primary key is told of, in its Region, as a call of the service's own."""
    key = new_key(service, multi_region=True)
    service.call("ReplicateKey", {"key_id": key.key_id, "replica_region": THERE})
    service.call("EnableKeyRotation", {"key_id": key.key_id})
    synchronized = _event(
        "SynchronizeMultiRegionKey", str(key.arn), eventType="AwsApiCall", responseElements={"keyId": key.arn}
    )
    before = len(service.records())
    service.call("RotateKeyOnDemand", {"key_id": key.key_id})
    rotated, followed, call = service.records()[before:]
    assert _bare(rotated)["serviceEventDetails"] == _details("ON_DEMAND", rotated, key.key_id)
    assert _bare(followed) == {**synchronized, "requestID": call["requestID"]}
    assert (call["eventName"], call["userIdentity"]["type"]) == ("RotateKeyOnDemand", "Root")
    assert len({record["eventID"] for record in (rotated, followed, call)}) == 3
    before = len(service.records())
    service.clock.advance(365 * DAY)
    assert _rotate(service) == 1
    rotated, followed = service.records()[before:]
    assert rotated["serviceEventDetails"] == _details("AUTOMATIC", rotated, key.key_id)
    assert _bare(followed) == synchronized


def test_a_call_that_fails_leads_to_nothing(service: InProcess) -> None:
    """Its own record is the only one."""
    key = new_key(service, multi_region=True)
    values = {"key_id": key.key_id, "replica_region": THERE}
    service.call("ReplicateKey", values)
    refused(service, AlreadyExistsException, "ReplicateKey", values)


def test_the_copy_of_a_replica_s_making_is_no_call_of_its_own_to_usage(service: InProcess) -> None:
    """It is recorded as CreateKey, and charged as part of ReplicateKey."""
    key = new_key(service, multi_region=True)
    service.call("ReplicateKey", {"key_id": key.key_id, "replica_region": THERE})
    day = START - START % DAY
    values = {"start_time": day, "end_time": day + DAY, "group_by": ["USAGE_TYPE", "REGION"]}
    counted = {each.region: each.quantity for each in service.call("GetUsage", values).items if each.unit == "Requests"}
    assert counted == {REGIONS[0]: 2}


def test_end_of_a_key(service: InProcess) -> None:
    """Its ARN is in the answer, as CloudTrail has it since December 2022."""
    key = new_key(service)
    service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
    service.clock.advance(7 * DAY)
    assert deletion_worker(service).run_once() == 1
    assert _bare(last_record(service)) == _event("DeleteKey", str(key.arn), responseElements={"keyId": key.arn})


def test_end_of_a_key_in_a_token(tmp_path: Path) -> None:
    """The record names the store and the material that is going to be destroyed in it."""
    place = tmp_path / "tokens"
    place.mkdir()
    opener = TokenOpener(Workshop(place).store)
    timing = Timing(look=0.05, retry=0.0, attempt=60.0, threads=2, waiting=2)
    with InProcess(tmp_path, openers={CustomKeyStoreType.AWS_CLOUDHSM: opener}, timing=timing) as service:
        store_id = _connected(service)
        key = new_key(service, custom_key_store_id=store_id, origin="AWS_CLOUDHSM")
        made = last_record(service)["additionalEventData"]
        material = json.loads(made["backingKey"])
        assert made == {"customKeyStoreName": "hsm", "clusterId": CLUSTER, "backingKey": made["backingKey"]}
        assert material.keys() == {"backingKeyId"}
        service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
        service.clock.advance(7 * DAY)
        assert deletion_worker(service).run_once() == 1
        record = next(each for each in service.records() if each["eventName"] == "DeleteKey")
        extra = record["additionalEventData"]
        assert json.loads(extra["backingKeys"]) == [material]
        assert json.loads(extra["backingKeysDeletionStatus"]) == [{**material, "deletionStatus": "PENDING"}]
        assert {name: extra[name] for name in ("customKeyStoreId", "customKeyStoreName", "clusterId")} == {
            "customKeyStoreId": store_id, "customKeyStoreName": "hsm", "clusterId": CLUSTER,
        }
        assert PIN not in service.audit_text()
        _until(lambda: not opener.tokens[CLUSTER].objects)


def _connected(service: InProcess) -> str:
    """A connected custom key store's id."""
    store_id: str = service.call("CreateCustomKeyStore", {
        "custom_key_store_name": "hsm", "cloud_hsm_cluster_id": CLUSTER, "key_store_password": PIN,
        "trust_anchor_certificate": certificate(common_name="customer CA").decode(),
    }).custom_key_store_id
    service.call("ConnectCustomKeyStore", {"custom_key_store_id": store_id})

    def connected() -> bool:
        (found,) = service.call("DescribeCustomKeyStores", {"custom_key_store_id": store_id}).custom_key_stores
        return bool(found.connection_state == "CONNECTED")

    _until(connected)
    return store_id


def _until(condition: Callable[[], bool]) -> None:
    """Waits for what happens in the background."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.01)


def test_expiry_of_imported_material(service: InProcess) -> None:
    """With the dates of its import in words."""
    key_id = external_key(service)
    bring(service, key_id, bytes(32), valid_to=START + 3_600.5, expiration_model="KEY_MATERIAL_EXPIRES")
    imported = last_record(service)
    assert imported["requestParameters"]["validTo"] == "Sep 21, 2026, 3:13:20 PM"
    service.clock.advance(3_601)
    assert expire(service) == 1
    arn = imported["resources"][0]["ARN"]
    details = {"keyId": key_id, "keyMaterialId": imported["responseElements"]["keyMaterialId"]}
    assert _bare(last_record(service)) == _event("DeleteExpiredKeyMaterial", arn, serviceEventDetails=details)
