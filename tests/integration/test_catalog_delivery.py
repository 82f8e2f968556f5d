"""What the catalog knows of delivery and signing keys: steps that the first of several takes, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.catalogs import ACCOUNT, OTHER_ACCOUNT, REGION, Place

from kagitori_server.model import delivery_records as records
from kagitori_server.model.errors import ValidationException

pytest_plugins = ["tests.support.catalog_fixtures"]

CHAIN = records.DeliveredChain("c" * 64, "chain-00", 1_790_000_000.5, records.Place(1, 0, 0))
FIRST = records.Consignment(records.Place(1, 2**40, 9), 1_790_000_300.25)


def a_file(name: str, account: str = ACCOUNT) -> records.DeliveredFile:
    return records.DeliveredFile(
        "bucket", f"AWSLogs/{name}", account, REGION, "0" * 64, "2026-09-21T14:13:20Z", "2026-09-21T14:13:21Z", 2**33,
        1_790_000_301.0,
    )


def test_signing_keys_by_purpose(place: Place) -> None:
    catalog = place.with_account()
    first = records.ListedKey(records.KeyPurpose.AUDIT_LOG, 1, REGION, "key-1", b"\x00\x01", 1.5, 3.5)
    second = replace(first, number=2, key_id="key-2", valid_from=3.5, valid_until=9.5)
    with catalog.write() as writer:
        assert writer.signing_key(first.purpose) is None
        writer.insert_signing_key(first)
        writer.insert_signing_key(second)
        writer.end_signing_key(second.purpose, 2, 5.5)
    with place.open().read() as reader:
        assert reader.signing_keys(records.KeyPurpose.AUDIT_LOG) == (first, replace(second, valid_until=5.5))
        assert reader.signing_key(records.KeyPurpose.AUDIT_LOG) == replace(second, valid_until=5.5)
        assert reader.signing_keys(records.KeyPurpose.AUDIT_DIGEST) == ()
    with pytest.raises(ValidationException), catalog.write() as writer:
        writer.insert_signing_key(replace(first, number=3, public_key_der=bytes(2_049)))


def test_a_consignment_arrives_once(place: Place) -> None:
    catalog = place.with_account()
    consigned = replace(CHAIN, consignment=FIRST)
    with catalog.write() as writer:
        assert writer.delivered_chain(CHAIN.chain_id) is None
        assert writer.consign(CHAIN, FIRST)
    with catalog.write() as writer:
        assert not writer.consign(CHAIN, records.Consignment(records.Place(1, 5, 5), 7.0))
        assert writer.delivered_chain(CHAIN.chain_id) == consigned
    with catalog.write() as writer:
        late = replace(consigned, consignment=replace(FIRST, moment=1.0))
        assert not writer.arrived(late, [a_file("late")])
        assert writer.arrived(consigned, [a_file("a"), a_file("b", OTHER_ACCOUNT)])
    with catalog.write() as writer:
        assert not writer.arrived(consigned, [a_file("again")])
        reached = replace(CHAIN, delivered=FIRST.end)
        assert writer.delivered_chains() == (reached,)
        assert writer.undigested_files() == (a_file("a"), a_file("b", OTHER_ACCOUNT))
        assert not writer.consign(CHAIN, FIRST)
        assert writer.consign(reached, records.Consignment(records.Place(2, 0, 10), 8.0))
    with pytest.raises(ValueError, match="on its way"), catalog.write() as writer:
        writer.arrived(CHAIN, [])


def test_a_digest_is_planned_taken_over_and_arrives_once(place: Place) -> None:
    catalog = place.with_account()
    begun = records.DigestChain(ACCOUNT, REGION, 0, 100.0)
    plan = records.DigestPlan(200.0, "key-1", "one", 200.5)
    with catalog.write() as writer:
        writer.begin_digests(ACCOUNT, REGION, 100.0)
        writer.begin_digests(ACCOUNT, REGION, 150.0)
        assert writer.digest_chains() == (begun,)
        writer.consign(CHAIN, FIRST)
        writer.arrived(replace(CHAIN, consignment=FIRST), [a_file("a"), a_file("b", OTHER_ACCOUNT), a_file("c")])
        assert writer.plan_digest(begun, plan, writer.delivered_files(ACCOUNT, REGION, None, 1))
    planned = replace(begun, plan=plan)
    with catalog.write() as writer:
        assert not writer.plan_digest(begun, replace(plan, worker="two"), ())
        assert writer.digest_chain(ACCOUNT, REGION) == planned
        assert writer.delivered_files(ACCOUNT, REGION, 1, 9) == (replace(a_file("a"), digest=1),)
        mine = replace(plan, worker="two", claimed=300.0)
        assert writer.plan_digest(planned, mine, ())
        assert not writer.plan_digest(planned, replace(plan, worker="three"), ())
    reached = records.DigestChain(ACCOUNT, REGION, 1, 200.0, "bucket", "AWSLogs/digest", "1" * 64, "ab" * 256)
    with catalog.write() as writer:
        assert writer.digest_arrived(replace(begun, plan=mine), reached)
        assert not writer.digest_arrived(planned, replace(reached, signature="cd"))
    with place.open().read() as reader:
        assert reader.digest_chain(ACCOUNT, REGION) == reached
        assert reader.delivered_files(ACCOUNT, REGION, None, 9) == (a_file("c"),)
        assert reader.delivered_files(OTHER_ACCOUNT, REGION, None, 9) == (a_file("b", OTHER_ACCOUNT),)
        assert reader.digest_chain(OTHER_ACCOUNT, REGION) is None


def test_how_delivery_goes(place: Place) -> None:
    catalog = place.with_account()
    for state in (
        records.TrailState(started=1.5, log_error="away"),
        records.TrailState(1.5, 2.5, 3.5, 4.5, None, 5.5, 6.5, "x" * 512),
    ):
        with catalog.write() as writer:
            writer.set_trail_state(state)
        with place.open().read() as reader:
            assert reader.trail_state() == state
