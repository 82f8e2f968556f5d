"""Opened material of a key, and secrets of an access key, that changed do not stay in memory, in whichever process
the change was made."""

from __future__ import annotations

from pathlib import Path

from tests.support.inprocess import InProcess

from kagitori_keystore import sigv4
from kagitori_server.authn.signatures import Signatures
from kagitori_server.forgetting import forgetting, forgetting_access_keys
from kagitori_server.model.call import SignedRequest
from kagitori_server.workers import DeletionWorker


def _opened(service: InProcess) -> int:
    return len(service.store._materials)


def test_a_key_destroyed_by_another_process_is_forgotten(tmp_path: Path) -> None:
    with InProcess(tmp_path) as one, InProcess(tmp_path, one.clock) as two:
        two.catalog.view.listen(forgetting(two.store))
        doomed, kept = (one.call("CreateKey").key_metadata.key_id for _ in range(2))
        for key_id in (doomed, kept):
            two.call("Encrypt", {"key_id": key_id, "plaintext": b"x"})
        assert _opened(two) == 2
        one.call("ScheduleKeyDeletion", {"key_id": doomed, "pending_window_in_days": 7})
        one.clock.advance(8 * 86_400)
        assert DeletionWorker(one.services, one.events).run_once() == 1
        two.call("GetCallerIdentity")
        assert _opened(two) == 1


def test_an_access_key_that_another_process_ends_is_forgotten(tmp_path: Path) -> None:
    with InProcess(tmp_path) as one, InProcess(tmp_path, one.clock) as two:
        signatures = Signatures(two.store)
        two.catalog.view.listen(forgetting_access_keys(signatures))
        arn = one.call("CreateUser", {"user_name": "signer"}).user.arn
        kept, ended = (one.call("CreateAccessKey", {"principal_arn": arn}) for _ in range(2))
        requests = []
        two.call("GetCallerIdentity")
        for made in (kept, ended):
            scope = sigv4.Scope("20260101", "us-east-1", "kms")
            signature = sigv4.signature(sigv4.signing_key(made.secret_access_key.encode(), scope), "text")
            signed = SignedRequest(made.access_key.access_key_id, *scope, 0.0, "text", signature, None)
            record = two.catalog.view.access_key(signed.access_key_id)
            assert record is not None
            assert signatures.hold(signed, record)
            requests.append(signed)
        assert all(map(signatures.is_known, requests))
        one.call("DeleteAccessKey", {"access_key_id": ended.access_key.access_key_id})
        two.call("GetCallerIdentity")
        assert list(map(signatures.is_known, requests)) == [True, False]
