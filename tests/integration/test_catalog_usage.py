"""Usage in the catalog: checkpoints that move once, counts that add up, spans that outlive their keys."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy
from tests.support.catalogs import ACCOUNT, OTHER_ACCOUNT, OTHER_REGION, REGION, Place, a_key, a_root, key_id_of

from kagitori_server.model.keys import KeySpec, KeyState
from kagitori_server.model.principals import Account
from kagitori_server.model.usage_records import BillingSpan, FollowedChain, LastUse, RequestCount

pytest_plugins = ["tests.support.catalog_fixtures"]

ID = key_id_of(1)
BEGINNING = FollowedChain("ab" * 32, "chain-00", 1, 0, 0, 1_790_000_000.5)
KIND = "Requests-Symmetric"


def test_a_checkpoint_moves_only_from_where_it_is(place: Place) -> None:
    catalog = place.open()
    first = replace(BEGINNING, offset=900, seq=3)
    second = replace(first, segment=2, offset=2**40, seq=2**40)
    with catalog.write() as writer:
        assert writer.followed_chain(BEGINNING.chain_id) is None
        assert writer.followed_since() is None
        assert writer.follow_chain(BEGINNING, first)
        assert not writer.follow_chain(BEGINNING, first)
    with place.open().write() as writer:
        assert writer.followed_chain(BEGINNING.chain_id) == first
        for stale in (BEGINNING, replace(first, seq=2), replace(first, offset=899), replace(first, segment=2)):
            assert not writer.follow_chain(stale, second)
        assert writer.follow_chain(first, second)
        assert writer.followed_chain(BEGINNING.chain_id) == second
        older = replace(BEGINNING, chain_id="cd" * 32, seq=1, began=5.5)
        assert writer.follow_chain(replace(older, seq=0), older)
        assert writer.followed_since() == 5.5


def test_counts_add_up_and_are_summed_as_wanted(place: Place) -> None:
    catalog = place.open()
    counts = [
        RequestCount(ACCOUNT, 10, REGION, "arn:a", KIND, 2), RequestCount(ACCOUNT, 10, REGION, "", KIND, 1),
        RequestCount(ACCOUNT, 11, OTHER_REGION, "arn:b", KIND, 5), RequestCount(OTHER_ACCOUNT, 11, REGION, "", KIND, 7),
        RequestCount(ACCOUNT, 11, REGION, "arn:a", "Requests-Asymmetric", 2**40),
    ]
    for _ in range(2):
        with catalog.write() as writer:
            writer.add_requests([])
            writer.add_requests(counts)
    with place.open().read() as reader:
        def sums(first: int, end: int, account: str | None, *, region: bool, key: bool) -> set[RequestCount]:
            return set(reader.request_counts(first, end, account, by_region=region, by_key=key))

        assert sums(10, 12, None, region=True, key=True) == {
            count._replace(hour=0, quantity=2 * count.quantity) for count in counts
        }
        assert sums(10, 12, ACCOUNT, region=False, key=False) == {
            RequestCount(ACCOUNT, 0, "", "", KIND, 16), RequestCount(ACCOUNT, 0, "", "", "Requests-Asymmetric", 2**41),
        }
        assert sums(11, 12, ACCOUNT, region=True, key=False) == {
            RequestCount(ACCOUNT, 0, OTHER_REGION, "", KIND, 10),
            RequestCount(ACCOUNT, 0, REGION, "", "Requests-Asymmetric", 2**41),
        }
        assert sums(9, 10, None, region=True, key=True) == set()


def test_an_hour_is_added_to_another(place: Place) -> None:
    catalog = place.open()
    counts = [
        RequestCount(ACCOUNT, 10, REGION, "arn:a", KIND, 2), RequestCount(ACCOUNT, 12, REGION, "arn:a", KIND, 3),
        RequestCount(OTHER_ACCOUNT, 12, REGION, "", KIND, 7), RequestCount(ACCOUNT, 13, REGION, "arn:a", KIND, 1),
    ]
    with catalog.write() as writer:
        writer.add_requests(counts)
        assert [writer.first_counted_hour(start, 13) for start in (0, 10, 11, 13)] == [10, 10, 12, None]
        for _ in range(2):
            writer.add_up_hour(12, 10)
    with place.open().read() as reader:
        assert reader.first_counted_hour(11, 100) == 13
        assert set(reader.request_counts(10, 11, None, by_region=True, by_key=True)) == {
            RequestCount(ACCOUNT, 0, REGION, "arn:a", KIND, 5), RequestCount(OTHER_ACCOUNT, 0, REGION, "", KIND, 7),
        }
        assert [count.quantity for count in reader.request_counts(13, 14, None, by_region=True, by_key=True)] == [1]


def test_the_latest_use_stays(place: Place) -> None:
    catalog = place.open()
    use = LastUse("arn:a", 100.0, "Encrypt", "event-1", "request-1")
    newer = LastUse("arn:a", 100.0, "Decrypt", "event-2", None)
    with catalog.write() as writer:
        writer.note_last_uses([])
        writer.note_last_uses([use, replace(use, key_arn="arn:b")])
    with catalog.write() as writer:
        writer.note_last_uses([newer])
    with catalog.write() as writer:
        writer.note_last_uses([replace(use, moment=99.0)])
    with catalog.read() as reader:
        assert reader.last_use("arn:a") == newer
        assert reader.last_use("arn:b") == replace(use, key_arn="arn:b")
        assert reader.last_use("arn:c") is None


def test_spans_follow_a_key_and_outlive_it(place: Place) -> None:
    catalog = place.with_account()
    key = a_key(materials=3)
    rotated = sum(version.rotated is not None for version in key.materials)
    with catalog.write() as writer:
        writer.insert_key(key)
        whole = [
            BillingSpan(ACCOUNT, REGION, key.arn, number, key.created, None) for number in range(rotated + 1)
        ]
        assert list(writer.billing_spans(0, 1e12, None)) == whole
        assert list(writer.billing_spans(0, key.created, None)) == []
        assert list(writer.billing_spans(0, 1e12, OTHER_ACCOUNT)) == []
        assert writer.spec_of(REGION, ID) is KeySpec.SYMMETRIC_DEFAULT
        assert writer.spec_of(OTHER_REGION, ID) is None
        writer.stop_billing(REGION, ID, key.created + 50)
        writer.stop_billing(REGION, ID, key.created + 60)
        ended = [span._replace(ended=key.created + 50) for span in whole]
        assert list(writer.billing_spans(0, 1e12, ACCOUNT)) == ended
        assert list(writer.billing_spans(key.created + 50, 1e12, ACCOUNT)) == []
        writer.resume_billing(REGION, ID)
        assert list(writer.billing_spans(0, 1e12, ACCOUNT)) == whole
        writer.stop_billing(REGION, ID, key.created + 50)
        writer.delete_key(REGION, ID)
        writer.resume_billing(REGION, ID)
        assert list(writer.billing_spans(0, 1e12, ACCOUNT)) == ended
        assert writer.spec_of(REGION, ID) is KeySpec.SYMMETRIC_DEFAULT
        again = replace(key, created=key.created + 100)
        writer.insert_key(again)
        assert len(list(writer.billing_spans(0, 1e12, ACCOUNT))) == 2 * len(whole)


def test_what_was_charged_to_the_end_ends_with_the_key(place: Place) -> None:
    """Whoever destroys a key without having stopped its charges: they end when its end was due."""
    catalog = place.with_account()
    due = replace(a_key(), state=KeyState.PENDING_DELETION, deletion_date=a_key().created + 70)
    with catalog.write() as writer:
        writer.insert_key(due)
        writer.delete_key(REGION, ID)
        (span, *_) = writer.billing_spans(0, 1e12, None)
        assert span.ended == due.deletion_date


def test_keys_of_a_catalog_without_usage_get_their_spans(place: Place) -> None:
    """An upgrade: keys are charged from their creation, but for those that are pending deletion."""
    catalog = place.with_account()
    created = 1_790_000_000.0
    living, dying, young = (replace(a_key(number), created=created) for number in (1, 2, 3))
    dying = replace(dying, state=KeyState.PENDING_DELETION, deletion_date=created + 40 * 86_400)
    young = replace(young, state=KeyState.PENDING_DELETION, deletion_date=created + 7 * 86_400)
    with catalog.write() as writer:
        for key in (living, dying, young):
            writer.insert_key(key)
    with catalog._database.writing() as connection:
        for table in (
            "billing_spans", "usage_requests", "key_last_uses", "followed_chains",
            "doomed_materials", "custom_key_stores", "material_uses",
            "signing_keys", "delivered_chains", "delivered_files", "digest_chains", "trail_state",
        ):
            connection.execute(sqlalchemy.text(f"DROP TABLE {table}"))
        connection.execute(sqlalchemy.text("DROP INDEX ix_keys_store_id"))
        connection.execute(sqlalchemy.text("ALTER TABLE keys DROP COLUMN xks_key_id"))
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '0006'"))
    with place.open().read() as reader:
        spans = {span.arn: span for span in reader.billing_spans(0, 1e12, None)}
    assert spans[living.arn] == BillingSpan(ACCOUNT, REGION, living.arn, 0, created, None)
    assert spans[dying.arn].ended == created + 10 * 86_400
    assert spans[young.arn].ended == created


def test_an_account_that_has_used_something_can_be_deleted(place: Place) -> None:
    """What it used stays."""
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_account(Account(OTHER_ACCOUNT, "tenant", 2.5), a_root(OTHER_ACCOUNT))
        writer.add_requests([RequestCount(OTHER_ACCOUNT, 10, REGION, "", KIND, 1)])
        writer.delete_account(OTHER_ACCOUNT)
        assert len(list(writer.request_counts(0, 20, OTHER_ACCOUNT, by_region=False, by_key=False))) == 1
