"""The life of imported material: expiry, deletion and return, rotation, restarts, and families in several Regions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.imports import (
    FOREVER,
    bring,
    expire,
    external_key,
    material_of,
    materials,
    parameters,
    state,
    wrapped,
)
from tests.support.inprocess import REGION, REGIONS, InProcess
from tests.support.kms_calls import (
    DAY,
    database_bytes,
    deletion_worker,
    encrypt,
    key_arn,
    last_record,
    refused,
)

from kagitori_server.model.errors import (
    IncorrectKeyMaterialException,
    KMSInvalidStateException,
    UnsupportedOperationException,
)
from kagitori_server.operations.imported_material import take_away

SYMMETRIC = "SYMMETRIC_DEFAULT"
THERE = REGIONS[1]
NEW = {"import_type": "NEW_KEY_MATERIAL"}
CURRENT, OLD = ("CURRENT", True), ("NON_CURRENT", True)
READY, INCOMPLETE = "PENDING_ROTATION", "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def material(number: int) -> bytes:
    return material_of(SYMMETRIC, number)


def decrypt(service: InProcess, blob: bytes, region: str = REGION) -> bytes:
    plaintext = service.call("Decrypt", {"ciphertext_blob": blob}, region=region).plaintext
    assert isinstance(plaintext, bytes)
    return plaintext


def pending_import(service: InProcess, key_id: str, region: str = REGION) -> None:
    """Nothing can be done with the key."""
    values = {"key_id": key_id, "plaintext": b"x"}
    error = refused(service, KMSInvalidStateException, "Encrypt", values, region=region)
    assert error.message == f"{key_arn(key_id, region=region)} is pending import."
    assert state(service, key_id, region) == "PendingImport"


def reference_bytes(service: InProcess, key_id: str) -> list[bytes]:
    """What the catalog has of the key's materials."""
    with service.catalog.read() as reader:
        key = reader.get_key(REGION, key_id)
        return [version.reference for version in key.materials] if key else []


def test_material_expires_to_the_second(service: InProcess, tmp_path: Path) -> None:
    """Refused from that moment on though the worker is late; the worker leaves nothing of it, once; it can return."""
    key_id, until = external_key(service), service.clock() + 7 * DAY
    bring(service, key_id, material(1), valid_to=until, key_material_description="for a week")
    blob = encrypt(service, key_id, b"secret")
    service.clock.advance(7 * DAY - 0.001)
    assert (decrypt(service, blob), expire(service)) == (b"secret", 0)
    service.clock.advance(0.001)
    pending_import(service, key_id)
    refused(service, KMSInvalidStateException, "Decrypt", {"ciphertext_blob": blob})
    told = service.call("DescribeKey", {"key_id": key_id}).key_metadata
    assert (told.valid_to, told.expiration_model, told.enabled) == (None, None, False)
    (kept,) = reference_bytes(service, key_id)
    assert kept in database_bytes(tmp_path)
    assert (expire(service), expire(service)) == (1, 0)
    assert reference_bytes(service, key_id) == [b""]
    assert kept not in database_bytes(tmp_path)
    event = last_record(service)
    assert (event["eventName"], event["eventType"]) == ("DeleteExpiredKeyMaterial", "AwsServiceEvent")
    (material_id,) = materials(service, key_id)
    assert event["serviceEventDetails"] == {"keyId": key_id, "keyMaterialId": material_id}
    pending_import(service, key_id)
    again = bring(service, key_id, material(1))
    assert again.key_material_id == material_id
    assert decrypt(service, blob) == b"secret"
    (entry,) = service.call(
        "ListKeyRotations", {"key_id": key_id, "include_key_material": "ALL_KEY_MATERIAL"}
    ).rotations
    assert (entry.key_material_description, entry.valid_to) == ("for a week", None)


@pytest.mark.parametrize("spec", ["HMAC_384", "ECC_NIST_P384"])
def test_material_of_other_keys_expires_too(service: InProcess, spec: str) -> None:
    """And its key asks for it until it is back."""
    key_id = external_key(service, spec)
    bring(service, key_id, material_of(spec), valid_to=service.clock() + 60)
    values: dict[str, Any] = {"key_id": key_id, "message": b"x"}
    if spec == "HMAC_384":
        operation, values["mac_algorithm"] = "GenerateMac", "HMAC_SHA_384"
    else:
        operation, values["signing_algorithm"] = "Sign", "ECDSA_SHA_384"
    service.call(operation, values)
    service.clock.advance(60)
    refused(service, KMSInvalidStateException, operation, values)
    assert expire(service) == 1
    refused(service, KMSInvalidStateException, operation, values)
    bring(service, key_id, material_of(spec))
    service.call(operation, values)


def test_expiry_is_put_off_and_taken_away(service: InProcess) -> None:
    """By importing the same material again."""
    key_id, start = external_key(service), service.clock()
    bring(service, key_id, material(1), valid_to=start + 10)
    bring(service, key_id, material(1), valid_to=start + 100)
    service.clock.advance(10)
    assert (expire(service), state(service, key_id)) == (0, "Enabled")
    bring(service, key_id, material(1))
    service.clock.advance(1_000)
    assert (expire(service), state(service, key_id)) == (0, "Enabled")
    bring(service, key_id, material(1), valid_to=service.clock() + 1)
    service.clock.advance(1)
    # Imported again before the worker saw it.
    bring(service, key_id, material(1))
    assert (expire(service), state(service, key_id)) == (0, "Enabled")


def test_expiry_in_other_states(service: InProcess) -> None:
    """A disabled key awaits its import; one pending deletion goes on to its end."""
    disabled, dying = external_key(service), external_key(service)
    for key_id, operation in ((disabled, "DisableKey"), (dying, "ScheduleKeyDeletion")):
        bring(service, key_id, material(1), valid_to=service.clock() + DAY)
        service.call(operation, {"key_id": key_id})
    service.clock.advance(DAY)
    assert (state(service, disabled), state(service, dying)) == ("PendingImport", "PendingDeletion")
    assert expire(service) == 2
    assert (state(service, disabled), state(service, dying)) == ("PendingImport", "PendingDeletion")
    bring(service, disabled, material(1))
    assert state(service, disabled) == "Enabled"
    service.call("CancelKeyDeletion", {"key_id": dying})
    assert state(service, dying) == "PendingImport"
    service.call("ScheduleKeyDeletion", {"key_id": dying})
    service.clock.advance(31 * DAY)
    assert deletion_worker(service).run_once() == 1


def test_restarts_and_several_processes(tmp_path: Path) -> None:
    """Token, material and expiry outlive a process; of two workers one deletes."""
    with InProcess(tmp_path) as service:
        key_id, clock = external_key(service), service.clock
        members = wrapped(material(1), parameters(service, key_id))
    with InProcess(tmp_path, clock) as service:
        values = {"key_id": key_id, **members, "valid_to": clock() + 60}
        service.call("ImportKeyMaterial", values)
        blob = encrypt(service, key_id, b"kept")
    clock.advance(59)
    with InProcess(tmp_path, clock) as service:
        assert decrypt(service, blob) == b"kept"
        clock.advance(1)
        pending_import(service, key_id)
    with InProcess(tmp_path, clock) as service:
        pending_import(service, key_id)
        # What another process found due, and this one did meanwhile.
        with service.catalog.read() as reader:
            assert len(reader.due_expirations(clock(), 10)) == 1
        assert (expire(service), expire(service)) == (1, 0)
        service.call("ImportKeyMaterial", {"key_id": key_id, **members, **FOREVER})
        assert decrypt(service, blob) == b"kept"
        assert [found["eventName"] for found in service.records()].count("DeleteExpiredKeyMaterial") == 1


def test_workers_that_come_at_once(service: InProcess) -> None:
    """However many processes have one, each material goes once, with one record."""
    ids = {external_key(service) for _ in range(8)}
    for key_id in ids:
        bring(service, key_id, material(1), valid_to=service.clock() + 1)
    service.clock.advance(1)
    with ThreadPoolExecutor(4) as pool:
        gone = list(pool.map(lambda _: expire(service), range(4)))
    assert sum(gone) == 8
    events = [found for found in service.records() if found["eventName"] == "DeleteExpiredKeyMaterial"]
    assert sorted(event["serviceEventDetails"]["keyId"] for event in events) == sorted(ids)


def test_several_materials(service: InProcess) -> None:
    """Rotated one after the other; each decrypts what it encrypted; any that is missing stops the whole key."""
    key_id = external_key(service)
    ids: list[str] = []
    blobs: list[bytes] = []
    for number in range(4):
        ids.append(bring(service, key_id, material(number), **NEW).key_material_id)
        if number:
            assert materials(service, key_id)[ids[-1]] == (READY, True)
            assert decrypt(service, blobs[-1]) == b"%d" % (number - 1)
            service.call("RotateKeyOnDemand", {"key_id": key_id})
            record = last_record(service)["additionalEventData"]
            assert record == {"previousKeyMaterialId": ids[-2], "currentKeyMaterialId": ids[-1]}
        blobs.append(encrypt(service, key_id, b"%d" % number))
    assert materials(service, key_id) == {**dict.fromkeys(ids[:3], OLD), ids[3]: CURRENT}
    refused(service, KMSInvalidStateException, "RotateKeyOnDemand", {"key_id": key_id})
    for missing in ids[:2]:
        answer = service.call("DeleteImportedKeyMaterial", {"key_id": key_id, "key_material_id": missing})
        assert answer.key_material_id == missing
        pending_import(service, key_id)
    assert materials(service, key_id) == {
        ids[0]: ("NON_CURRENT", False), ids[1]: ("NON_CURRENT", False), ids[2]: OLD, ids[3]: CURRENT
    }
    bring(service, key_id, material(1), key_material_id=ids[1])
    pending_import(service, key_id)
    bring(service, key_id, material(0), import_type="EXISTING_KEY_MATERIAL")
    assert state(service, key_id) == "Enabled"
    for number, blob in enumerate(blobs):
        opened = service.call("Decrypt", {"ciphertext_blob": blob})
        assert (opened.plaintext, opened.key_material_id) == (b"%d" % number, ids[number])
    assert service.call("DeleteImportedKeyMaterial", {"key_id": key_id}).key_material_id == ids[3]
    again = service.call("DeleteImportedKeyMaterial", {"key_id": key_id})
    assert again.key_material_id == ids[3]
    pending_import(service, key_id)


def test_material_that_awaits_its_rotation(service: InProcess) -> None:
    """Its deletion and its expiry hurt nobody and make room for another; its life isn't the key's."""
    key_id = external_key(service)
    one = bring(service, key_id, material(1)).key_material_id
    two = bring(service, key_id, material(2), **NEW, valid_to=service.clock() + 60).key_material_id
    told = service.call("DescribeKey", {"key_id": key_id}).key_metadata
    assert (told.valid_to, told.current_key_material_id, told.key_state) == (None, one, "Enabled")
    service.call("DeleteImportedKeyMaterial", {"key_id": key_id, "key_material_id": two})
    assert (materials(service, key_id), state(service, key_id)) == ({one: CURRENT}, "Enabled")
    bring(service, key_id, material(3), **NEW, valid_to=service.clock() + 60)
    service.clock.advance(60)
    refused(service, KMSInvalidStateException, "RotateKeyOnDemand", {"key_id": key_id})
    assert (expire(service), state(service, key_id)) == (1, "Enabled")
    assert materials(service, key_id) == {one: CURRENT}
    # The next two are in time, before the worker is.
    three = bring(service, key_id, material(3), **NEW, valid_to=service.clock() + 60).key_material_id
    service.clock.advance(60)
    assert bring(service, key_id, material(3), **NEW).key_material_id == three
    assert materials(service, key_id) == {one: CURRENT, three: (READY, True)}
    service.call("DeleteImportedKeyMaterial", {"key_id": key_id, "key_material_id": three})
    bring(service, key_id, material(3), **NEW, valid_to=service.clock() + 60)
    service.clock.advance(60)
    four = bring(service, key_id, material(4), **NEW).key_material_id
    assert (materials(service, key_id), expire(service)) == ({one: CURRENT, four: (READY, True)}, 0)
    service.call("RotateKeyOnDemand", {"key_id": key_id})
    assert materials(service, key_id) == {one: OLD, four: CURRENT}


def test_an_old_material_expires_alone(service: InProcess) -> None:
    """And the whole key waits for it."""
    key_id = external_key(service)
    one = bring(service, key_id, material(1), valid_to=service.clock() + 60).key_material_id
    two = bring(service, key_id, material(2), **NEW, valid_to=service.clock() + 600).key_material_id
    service.call("RotateKeyOnDemand", {"key_id": key_id})
    told = service.call("DescribeKey", {"key_id": key_id}).key_metadata
    assert told.valid_to == service.clock() + 60
    service.clock.advance(60)
    pending_import(service, key_id)
    assert expire(service) == 1
    pending_import(service, key_id)
    assert materials(service, key_id) == {one: ("NON_CURRENT", False), two: CURRENT}
    bring(service, key_id, material(1))
    assert state(service, key_id) == "Enabled"


def family(service: InProcess, spec: str = SYMMETRIC, **values: Any) -> tuple[str, str | None]:
    """A primary that has its material, and a replica that awaits it."""
    key_id = external_key(service, spec, multi_region=True)
    material_id = bring(service, key_id, material_of(spec, 1), **values).key_material_id
    service.call("ReplicateKey", {"key_id": key_id, "replica_region": THERE})
    return key_id, material_id


@pytest.mark.parametrize("spec", [SYMMETRIC, "HMAC_256", "ECC_NIST_P256"])
def test_a_replica_wants_the_same_material(service: InProcess, spec: str) -> None:
    """It awaits its own import of it, and takes no other."""
    key_id, _ = family(service, spec)
    assert (state(service, key_id), state(service, key_id, THERE)) == ("Enabled", "PendingImport")
    given = parameters(service, key_id, region=THERE)
    other = {"key_id": key_id, **wrapped(material_of(spec, 2), given), **FOREVER}
    refused(service, IncorrectKeyMaterialException, "ImportKeyMaterial", other, region=THERE)
    if spec == SYMMETRIC:
        refused(service, UnsupportedOperationException, "ImportKeyMaterial", {**other, **NEW}, region=THERE)
    bring(service, key_id, material_of(spec, 1), THERE)
    assert state(service, key_id, THERE) == "Enabled"
    if spec == SYMMETRIC:
        assert materials(service, key_id) == materials(service, key_id, THERE)
        assert decrypt(service, encrypt(service, key_id, b"over the sea"), THERE) == b"over the sea"


def test_each_region_loses_and_expires_by_itself(service: InProcess) -> None:
    key_id, one = family(service, valid_to=service.clock() + 600)
    bring(service, key_id, material(1), THERE, valid_to=service.clock() + 60)
    service.clock.advance(60)
    pending_import(service, key_id, THERE)
    assert (expire(service), state(service, key_id)) == (1, "Enabled")
    bring(service, key_id, material(1), THERE)
    service.call("DeleteImportedKeyMaterial", {"key_id": key_id})
    pending_import(service, key_id)
    assert state(service, key_id, THERE) == "Enabled"
    assert (materials(service, key_id), materials(service, key_id, THERE)) == (
        {one: ("CURRENT", False)}, {one: CURRENT}
    )


def test_rotation_waits_for_every_region(service: InProcess) -> None:
    """New material comes to the primary first, then to the replicas; then all rotate at once."""
    key_id, one = family(service)
    bring(service, key_id, material(1), THERE)
    old = encrypt(service, key_id, b"old")
    two = bring(service, key_id, material(2), **NEW).key_material_id
    assert materials(service, key_id)[two] == (INCOMPLETE, True)
    assert materials(service, key_id, THERE)[two] == (INCOMPLETE, False)
    assert state(service, key_id, THERE) == "Enabled"
    refused(service, KMSInvalidStateException, "RotateKeyOnDemand", {"key_id": key_id})
    bring(service, key_id, material(2), THERE, import_type="EXISTING_KEY_MATERIAL", key_material_id=two)
    for region in REGIONS:
        assert materials(service, key_id, region)[two] == (READY, True)
    service.call("DeleteImportedKeyMaterial", {"key_id": key_id, "key_material_id": two}, region=THERE)
    assert (state(service, key_id), state(service, key_id, THERE)) == ("Enabled", "Enabled")
    assert materials(service, key_id)[two] == (INCOMPLETE, True)
    refused(service, KMSInvalidStateException, "RotateKeyOnDemand", {"key_id": key_id})
    bring(service, key_id, material(2), THERE)
    service.call("RotateKeyOnDemand", {"key_id": key_id})
    for region in REGIONS:
        assert materials(service, key_id, region) == {one: OLD, two: CURRENT}
        assert decrypt(service, old, region) == b"old"
    assert decrypt(service, encrypt(service, key_id, b"new"), THERE) == b"new"


def test_deleting_at_the_primary_what_awaits_rotation_deletes_it_everywhere(service: InProcess) -> None:
    key_id, one = family(service)
    bring(service, key_id, material(1), THERE)
    for _ in range(2):
        two = bring(service, key_id, material(2), **NEW).key_material_id
        bring(service, key_id, material(2), THERE)
        service.call("DeleteImportedKeyMaterial", {"key_id": key_id, "key_material_id": two})
        for region in REGIONS:
            assert (materials(service, key_id, region), state(service, key_id, region)) == ({one: CURRENT}, "Enabled")
    two = bring(service, key_id, material(3), **NEW, valid_to=service.clock() + 60).key_material_id
    bring(service, key_id, material(3), THERE)
    service.clock.advance(60)
    assert expire(service) == 1
    for region in REGIONS:
        assert materials(service, key_id, region) == {one: CURRENT}


def test_replicas_that_come_and_go_while_material_awaits_its_rotation(service: InProcess) -> None:
    """A new one has to get it first; one that is gone isn't waited for."""
    key_id = external_key(service, multi_region=True)
    one = bring(service, key_id, material(1)).key_material_id
    two = bring(service, key_id, material(2), **NEW).key_material_id
    assert materials(service, key_id)[two] == (READY, True)
    service.call("ReplicateKey", {"key_id": key_id, "replica_region": THERE})
    assert materials(service, key_id)[two] == (INCOMPLETE, True)
    assert materials(service, key_id, THERE) == {one: ("CURRENT", False), two: (INCOMPLETE, False)}
    bring(service, key_id, material(1), THERE)
    assert state(service, key_id, THERE) == "Enabled"
    service.call("ScheduleKeyDeletion", {"key_id": key_id, "pending_window_in_days": 7}, region=THERE)
    service.clock.advance(7 * DAY)
    assert deletion_worker(service).run_once() == 1
    assert materials(service, key_id)[two] == (READY, True)
    service.call("RotateKeyOnDemand", {"key_id": key_id})
    service.call("ReplicateKey", {"key_id": key_id, "replica_region": THERE})
    bring(service, key_id, material(2), THERE)
    pending_import(service, key_id, THERE)
    bring(service, key_id, material(1), THERE)
    assert materials(service, key_id, THERE) == {one: OLD, two: CURRENT}
    assert state(service, key_id, THERE) == "Enabled"


def test_a_new_primary_takes_new_material(service: InProcess) -> None:
    """And the old one doesn't any more."""
    key_id, _ = family(service)
    bring(service, key_id, material(1), THERE)
    service.call("UpdatePrimaryRegion", {"key_id": key_id, "primary_region": THERE})
    values = {"key_id": key_id, **wrapped(material(2), parameters(service, key_id)), **NEW, **FOREVER}
    refused(service, UnsupportedOperationException, "ImportKeyMaterial", values)
    two = bring(service, key_id, material(2), THERE, **NEW).key_material_id
    bring(service, key_id, material(2))
    service.call("RotateKeyOnDemand", {"key_id": key_id}, region=THERE)
    for region in REGIONS:
        assert materials(service, key_id, region)[two] == CURRENT


def test_taking_away_twice_changes_nothing_more(service: InProcess) -> None:
    """As when a worker's transaction is repeated after a crash."""
    key_id = external_key(service)
    bring(service, key_id, material(1))
    for _ in range(2):
        with service.catalog.write() as writer:
            key = writer.get_key(REGION, key_id)
            assert key is not None
            take_away(service.services, writer, key, key.materials[0])
    pending_import(service, key_id)
    bring(service, key_id, material(1))
    assert state(service, key_id) == "Enabled"
