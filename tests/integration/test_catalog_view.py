"""The view: lazy, bounded, narrow in what it drops, and never behind once it's proven."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from tests.support.catalogs import (
    ACCOUNT,
    REGION,
    Place,
    a_certificate,
    a_key,
    a_role,
    a_token,
    a_user,
    key_id_of,
)

from kagitori_server.model.errors import NotFoundException
from kagitori_server.model.keys import Alias, KeyState
from kagitori_server.storage import (
    Catalog,
    CatalogOptions,
    Change,
    ChangeKind,
    Lookups,
    NotLoaded,
    View,
    Writer,
)

pytest_plugins = ["tests.support.catalog_fixtures"]

ID, ID2 = key_id_of(1), key_id_of(2)
USER, ROLE = a_user(), a_role()
URI, SUBJECT = a_certificate(1), a_certificate(2, uri=False)

LOOKUPS: dict[str, Callable[[Lookups], object]] = {
    "key 1": lambda v: v.key(REGION, ID),
    "key 2": lambda v: v.key(REGION, ID2),
    "key none": lambda v: v.key(REGION, key_id_of(9)),
    "alias a": lambda v: v.alias(ACCOUNT, REGION, "alias/a"),
    "alias none": lambda v: v.alias(ACCOUNT, REGION, "alias/none"),
    "user": lambda v: v.principal(USER.arn),
    "role": lambda v: v.principal(ROLE.arn),
    "token 1": lambda v: v.token(a_token(1).digest),
    "token none": lambda v: v.token(a_token(7).digest),
    "uri": lambda v: v.certificate_by_uri(URI.uri_san or ""),
    "subject": lambda v: v.certificate_by_subject(SUBJECT.subject or ""),
    "uri none": lambda v: v.certificate_by_uri("spiffe://example.org/workload/7"),
}


def fill(catalog: Catalog) -> None:
    with catalog.write() as writer:
        writer.insert_key(a_key(1))
        writer.insert_key(a_key(2))
        writer.insert_alias(Alias(ACCOUNT, REGION, "alias/a", ID, 1.0, 1.0))
        writer.insert_principal(USER)
        writer.insert_principal(ROLE)
        writer.insert_token(a_token(1))
        writer.insert_certificate(URI)
        writer.insert_certificate(SUBJECT)


def kept(view: View) -> set[str]:
    found = set()
    for name, lookup in LOOKUPS.items():
        try:
            lookup(view.kept)
        except NotLoaded:
            continue
        found.add(name)
    return found


def test_records_are_loaded_when_asked_for(place: Place) -> None:
    catalog = place.with_account()
    fill(catalog)
    view = catalog.view
    assert kept(view) == set()
    expected = {
        "key 1": replace(a_key(1), aliases=("alias/a",)),
        "key 2": a_key(2),
        "alias a": ID,
        "user": USER,
        "role": ROLE,
        "token 1": a_token(1),
        "uri": URI,
        "subject": SUBJECT,
    }
    for name, lookup in LOOKUPS.items():
        with pytest.raises(NotLoaded) as missing:
            lookup(view.kept)
        view.load(missing.value)
        assert lookup(view.kept) == lookup(view) == expected.get(name)
    assert lookup(view.kept) is lookup(view.kept)


@pytest.mark.parametrize(
    ("change", "dropped"),
    [
        (lambda w: w.set_key_state(REGION, ID, KeyState.DISABLED), {"key 1"}),
        (lambda w: w.set_key_policy(REGION, ID2, "{}", {}), {"key 2"}),
        (lambda w: w.replace_tags(REGION, ID, []), {"key 1"}),
        (lambda w: w.delete_key(REGION, ID), {"key 1", "alias a"}),
        (lambda w: w.insert_key(a_key(9)), {"key none"}),
        (
            lambda w: w.insert_alias(Alias(ACCOUNT, REGION, "alias/none", ID2, 1.0, 1.0)),
            {"alias none", "key 2"},
        ),
        (lambda w: w.repoint_alias(ACCOUNT, REGION, "alias/a", ID2, 2.0), {"alias a", "key 1", "key 2"}),
        (lambda w: w.delete_alias(ACCOUNT, REGION, "alias/a"), {"alias a", "key 1"}),
        (lambda w: w.put_principal_policy(USER.arn, "p", "{}"), {"user"}),
        (lambda w: w.delete_principal_policy(ROLE.arn, "use"), {"role"}),
        (lambda w: w.delete_principal(USER.arn), {"user"}),
        (lambda w: w.delete_token("token-0001"), {"token 1"}),
        (lambda w: w.insert_token(a_token(7)), {"token none"}),
        (lambda w: w.delete_certificate(URI.certificate_id), {"uri"}),
        (lambda w: w.delete_certificate(SUBJECT.certificate_id), {"subject"}),
        (lambda w: w.insert_certificate(a_certificate(7)), {"uri none"}),
        (lambda w: w.put_key_encryption_key(ACCOUNT, REGION, b"wrapped"), set()),
        (lambda w: w.add_intent("event", "chain", b"record"), set()),
    ],
)
def test_what_changed_is_dropped_and_nothing_else(
    place: Place, change: Callable[[Writer], None], dropped: set[str]
) -> None:
    mine = place.with_account()
    fill(mine)
    others = place.open()
    for catalog in (mine, others):
        for lookup in LOOKUPS.values():
            lookup(catalog.view)
    with mine.write() as writer:
        change(writer)
    everything = set(LOOKUPS)
    assert kept(mine.view) == everything - dropped
    assert kept(others.view) == everything
    others.view.prove_blocking()
    assert kept(others.view) == everything - dropped
    for lookup in LOOKUPS.values():
        assert lookup(mine.view) == lookup(others.view)
    others.view.prove_blocking()
    assert kept(others.view) == everything


def test_each_proof_shows_what_was_committed_before_it(place: Place) -> None:
    one, two = place.with_account(), place.open()
    fill(one)
    for number in range(30):
        writer_of, reader_of = (one, two) if number % 2 else (two, one)
        assert reader_of.view.key(REGION, ID) is not None
        with writer_of.write() as writer:
            writer.set_key_description(REGION, ID, str(number))
        if not reader_of.view.prove_now():
            asyncio.run(reader_of.view.prove())
        for catalog in (one, two):
            key = catalog.view.key(REGION, ID)
            assert key is not None
            assert key.description == str(number)


def test_sqlite_proves_at_once_and_postgresql_asks(place: Place) -> None:
    catalog = place.with_account()
    assert catalog.view.prove_now() is (place.kind == "sqlite")


def test_a_write_that_failed_leaves_the_view_alone(place: Place) -> None:
    catalog = place.with_account()
    fill(catalog)
    before = catalog.view.key(REGION, ID)

    def fail(writer: Writer) -> None:
        writer.set_key_description(REGION, ID, "never")
        writer.delete_alias(ACCOUNT, REGION, "alias/none")

    with pytest.raises(NotFoundException), catalog.write() as writer:
        fail(writer)
    catalog.view.prove_blocking()
    assert catalog.view.kept.key(REGION, ID) is before


def test_within_a_write_the_view_shows_what_others_have_done(place: Place) -> None:
    one, two = place.with_account(), place.open()
    fill(one)
    two.view.key(REGION, ID)
    with one.write() as writer:
        writer.set_key_description(REGION, ID, "news")
    with two.write() as writer:
        key = two.view.key(REGION, ID)
        assert key is not None
        assert key.description == "news"
        writer.set_key_description(REGION, ID, "mine")
        assert two.view.key(REGION, ID) is key
    key = two.view.key(REGION, ID)
    assert key is not None
    assert key.description == "mine"


def test_a_view_too_far_behind_drops_everything(place: Place) -> None:
    options = CatalogOptions(changes_kept=5)
    one, two = place.with_account(options), place.open(options)
    fill(one)
    for lookup in LOOKUPS.values():
        lookup(two.view)
    told: list[Sequence[Change] | None] = []
    two.view.listen(told.append)
    for number in range(300):
        with one.write() as writer:
            writer.add_intent(f"event-{number}", "chain", b"")
    two.view.prove_blocking()
    assert kept(two.view) == set()
    assert told == [None]
    assert two.view.version == one.view.version
    assert two.view.key(REGION, ID2) == a_key(2)


def test_listeners_hear_of_changes_before_the_view_counts_as_current(place: Place) -> None:
    one, two = place.with_account(), place.open()
    fill(one)
    heard: list[tuple[int, Sequence[Change] | None]] = []
    two.view.prove_blocking()
    before = two.view.version
    two.view.listen(lambda changes: heard.append((two.view.version, changes)))
    with one.write() as writer:
        writer.set_key_description(REGION, ID, "new")
        writer.set_key_state(REGION, ID, KeyState.DISABLED)
        writer.delete_token("token-0001")
    two.view.prove_blocking()
    two.view.prove_blocking()
    assert heard == [
        (before, (Change.of_key(REGION, ID), Change(ChangeKind.TOKEN, a_token(1).digest.hex())))
    ]


def test_a_database_set_back_to_an_older_copy_is_not_taken_for_the_newer_one(place: Place) -> None:
    one, two = place.with_account(), place.open()
    fill(one)
    for lookup in LOOKUPS.values():
        lookup(two.view)
    two.view.prove_blocking()
    with one._database.writing() as connection:
        connection.exec_driver_sql("UPDATE catalog_clock SET version = 1")
    two.view.prove_blocking()
    assert kept(two.view) == set()
    assert two.view.version == 1


def test_what_changes_while_it_is_loaded_is_not_kept_stale(place: Place) -> None:
    """The snapshot is taken, then the record changes and the view hears of it, then the load ends."""
    one, two = place.with_account(), place.open()
    fill(one)
    snapshots: list[str] = []

    def load_slowly(number: int) -> object:
        with two.read() as reader:
            key = reader.get_key(REGION, ID)
            assert key is not None
            snapshots.append(key.description)
            if number == 0:
                with one.write() as writer:
                    writer.set_key_description(REGION, ID, "changed meanwhile")
                two.view.prove_blocking()
            return key

    records = two.view._tables.keys
    flight = records.begin((REGION, ID))
    stale = load_slowly(0)
    assert not records.finish((REGION, ID), flight, stale)  # type: ignore[arg-type]  # a Key
    fresh = two.view.key(REGION, ID)
    assert fresh is not None
    assert fresh.description == "changed meanwhile"
    assert snapshots == [a_key().description]


@pytest.mark.parametrize(
    "lookup",
    [
        lambda v: v.key(REGION, "\x00"),
        lambda v: v.key("\x00", ID),
        lambda v: v.alias(ACCOUNT, REGION, "alias/\x00"),
        lambda v: v.principal("arn:\ud800"),
        lambda v: v.principal("a" * 100_000),
        lambda v: v.token(b""),
        lambda v: v.token(bytes(33)),
        lambda v: v.certificate_by_uri("spiffe://a/\x00"),
        lambda v: v.certificate_by_subject("CN=" + "a" * 100_000),
    ],
)
def test_what_could_not_be_stored_does_not_exist(place: Place, lookup: Callable[[Lookups], object]) -> None:
    catalog = place.with_account()
    assert lookup(catalog.view.kept) is None
    assert lookup(catalog.view) is None


@pytest.mark.parametrize(
    "lookup",
    [
        lambda v: v.principal("a" * 1_500),
        lambda v: v.certificate_by_subject("CN=" + "a" * 1_500),
        lambda v: v.key(REGION, "a" * 1_500),
    ],
)
def test_what_is_longer_than_its_column_does_not_exist(
    place: Place, lookup: Callable[[Lookups], object]
) -> None:
    catalog = place.with_account()
    assert lookup(catalog.view) is None


def test_the_view_is_bounded_and_absent_names_push_out_no_record(place: Place) -> None:
    catalog = place.with_account(CatalogOptions(view_entries=20))
    fill(catalog)
    key = catalog.view.key(REGION, ID)
    for number in range(1_000, 1_100):
        assert catalog.view.key(REGION, key_id_of(number)) is None
    assert catalog.view.kept.key(REGION, ID) is key
    assert len(catalog.view._tables.keys) <= 21
