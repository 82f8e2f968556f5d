"""GetServerStatus, ListKeyStoreHealth and RotateRootKey."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.inprocess import REGIONS, START, InProcess

from kagitori_keystore.base import Domain
from kagitori_server.model.errors import ConflictException, KeyUnavailableException, UnsupportedOperationException
from kagitori_server.operations.administration.root_key import RootKeyRotation
from kagitori_server.operations.table import TABLE

TENANT = "111111111111"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def test_the_server_is_described(service: InProcess) -> None:
    tenant = service.new_account(TENANT)
    service.call("CreateKey")
    service.call("CreateKey", {}, token=tenant, region=REGIONS[1])
    service.clock.advance(90)
    position = service.trail.position()
    status = service.call("GetServerStatus")
    assert (status.version, status.region, status.uptime) == ("0.0.0", REGIONS[0], service.clock() - START)
    assert (status.account_count, status.key_count) == (2, 2)
    assert (status.catalog_kind, status.catalog_schema_revision) == ("sqlite", service.catalog.schema_revision)
    assert (status.root_key_provider, status.root_key_id) == ("file", service.root_keys.current_version())
    assert status.operations == tuple(sorted(TABLE))
    [shown] = status.audit_positions
    assert (shown.chain_name, shown.sequence, shown.head_hash.hex()) == position[:3]


def test_a_healthy_store_says_so(service: InProcess) -> None:
    [health] = service.call("ListKeyStoreHealth").key_stores
    assert (health.key_store_id, health.kind, health.healthy, health.detail) == ("software", "software", True, "")
    assert health.latency >= 0


def test_a_store_that_fails_says_why(service: InProcess) -> None:
    service.root_keys.close()
    [health] = service.call("ListKeyStoreHealth").key_stores
    assert not health.healthy
    assert health.detail == "the root key is closed"


def _encrypt(service: InProcess, key: str) -> bytes:
    blob: bytes = service.call("Encrypt", {"key_id": key, "plaintext": b"secret"}).ciphertext_blob
    return blob


def test_a_rotation_rewraps_everything_and_changes_no_ciphertext(tmp_path: Path) -> None:
    with InProcess(tmp_path) as service:
        tenant = service.new_account(TENANT)
        key = service.call("CreateKey").key_metadata.arn
        service.call("CreateKey", {}, token=tenant, region=REGIONS[1])
        blob = _encrypt(service, key)
        before = service.root_keys.current_version()
        done = service.call("RotateRootKey")
        assert (done.previous_root_key_id, done.rewrapped_count) == (before, 2)
        assert done.root_key_id == service.root_keys.current_version() != before
        shown = service.records()[-1]
        assert shown["responseElements"] == {
            "previousRootKeyId": before, "rootKeyId": done.root_key_id, "rewrappedCount": 2
        }
        assert not shown["readOnly"]
        wrapped = [wrap for _, _, wrap in service.catalog.kek_shelf.all()]
        assert {service.root_keys.version_of(wrap) for wrap in wrapped} == {done.root_key_id}
        assert service.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"secret"
    with InProcess(tmp_path) as reopened:
        assert reopened.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"secret"
        assert _encrypt(reopened, key)


def test_the_version_before_is_kept_until_the_next_rotation(service: InProcess) -> None:
    service.call("CreateKey")
    first = service.root_keys.current_version()
    second = service.call("RotateRootKey").root_key_id
    assert service.root_keys.versions() == (first, second)
    third = service.call("RotateRootKey").root_key_id
    assert service.root_keys.versions() == (second, third)


def test_a_key_that_was_stored_late_under_the_old_version_stays_readable(service: InProcess) -> None:
    """As by another process that wrapped it just before the rotation and stored it just after."""
    key = service.call("CreateKey", {}, region=REGIONS[0]).key_metadata.arn
    blob = _encrypt(service, key)
    domain = Domain("000000000000", REGIONS[0])
    late = service.catalog.kek_shelf.get(domain)
    assert late is not None
    service.call("RotateRootKey")
    current = service.catalog.kek_shelf.get(domain)
    assert current is not None
    with service.catalog.kek_shelf.replacing() as kept:
        kept.replace(domain, current, late)
    done = service.call("RotateRootKey")
    assert done.rewrapped_count == 1
    service.call("RotateRootKey")
    assert service.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"secret"


def test_one_rotation_runs_at_a_time(service: InProcess) -> None:
    service.call("CreateKey")
    begun, go_on = threading.Event(), threading.Event()

    def rewrap_slowly(domain: Domain, wrapped: bytes) -> bytes:
        begun.set()
        assert go_on.wait(30)
        return service.store.rewrap_kek(domain, wrapped)

    rotation = RootKeyRotation("file", service.root_keys, rewrap_slowly, service.catalog.kek_shelf)
    worker = threading.Thread(target=rotation.rotate)
    worker.start()
    assert begun.wait(30)
    with pytest.raises(ConflictException):
        rotation.rotate()
    go_on.set()
    worker.join()
    rotation.rotate()


def test_a_crash_after_the_new_version_loses_nothing(service: InProcess) -> None:
    key = service.call("CreateKey").key_metadata.arn
    blob = _encrypt(service, key)

    def crash(_domain: Domain, _wrapped: bytes) -> bytes:
        raise KeyboardInterrupt

    rotation = RootKeyRotation("file", service.root_keys, crash, service.catalog.kek_shelf)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            rotation.rotate()
    assert service.call("RotateRootKey").rewrapped_count == 1
    assert service.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"secret"
    assert len(service.root_keys.versions()) == 2


def test_a_provider_that_makes_no_more_versions_is_told_of(service: InProcess) -> None:
    for _ in range(63):
        service.root_keys.add_version()
    with pytest.raises(UnsupportedOperationException):
        service.call("RotateRootKey")


def test_a_root_key_out_of_reach_is_told_of(service: InProcess) -> None:
    service.root_keys.close()
    with pytest.raises(KeyUnavailableException):
        service.call("RotateRootKey")
    with pytest.raises(KeyUnavailableException):
        service.call("GetServerStatus")
