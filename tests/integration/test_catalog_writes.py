"""Write transactions: in order, whole or not at all, and nothing stored that wouldn't come back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import sqlalchemy
from tests.support.catalogs import (
    ACCOUNT,
    OTHER_ACCOUNT,
    OTHER_REGION,
    REGION,
    Place,
    a_key,
    a_root,
    a_token,
    a_user,
    key_id_of,
)

from kagitori_server.model.errors import (
    AlreadyExistsException,
    DependencyTimeoutException,
    KmsError,
    KMSInternalException,
    NotFoundException,
    ValidationException,
)
from kagitori_server.model.keys import MaterialVersion, Tag
from kagitori_server.model.principals import Account
from kagitori_server.storage import Catalog, CatalogOptions, Intent, Writer

pytest_plugins = ["tests.support.catalog_fixtures"]

ID = key_id_of(1)


@dataclass(frozen=True)
class Domain:
    account: str = ACCOUNT
    region: str = REGION


def test_versions_count_committed_writes(place: Place) -> None:
    one, two = place.with_account(), place.open()
    for expected, catalog in enumerate((one, two, two, one), start=2):
        with catalog.write() as writer:
            assert writer.version == expected
    with pytest.raises(LookupError), one.write():
        raise LookupError
    with two.read() as reader:
        assert reader.version == 5
    assert two.health().version == 5
    assert two.kind == place.kind
    assert two.health().schema_revision == one.schema_revision == "0004"


def test_an_exception_undoes_everything(place: Place) -> None:
    catalog = place.with_account()

    def fail(writer: Writer) -> None:
        writer.insert_key(a_key())
        writer.insert_principal(a_user())
        writer.add_intent("event", "chain", b"record")
        raise LookupError

    with pytest.raises(LookupError), catalog.write() as writer:
        fail(writer)
    with catalog.read() as reader:
        assert reader.get_key(REGION, ID) is None
        assert reader.get_principal(a_user().arn) is None
        assert reader.pending_intents() == []


def test_a_reader_can_not_write(place: Place) -> None:
    catalog = place.with_account()
    with pytest.raises(KmsError), catalog.read() as reader:
        reader._connection.exec_driver_sql("DELETE FROM changes")


def test_intents_stay_until_they_are_cleared(place: Place) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.add_intent("e1", "b", b"\x00\xff")
        writer.add_intent("e2", "a", b"")
    with catalog.write() as writer:
        writer.add_intent("e0", "a", b"zero")
    with pytest.raises(AlreadyExistsException), catalog.write() as writer:
        writer.add_intent("e1", "b", b"again")
    with place.open().read() as reader:
        assert reader.pending_intents() == [
            Intent("e1", "b", b"\x00\xff"),
            Intent("e2", "a", b""),
            Intent("e0", "a", b"zero"),
        ]
        assert reader.pending_intents(limit=1) == [Intent("e1", "b", b"\x00\xff")]
        assert [intent.event_id for intent in reader.pending_intents("a")] == ["e2", "e0"]
    with catalog.write() as writer:
        assert writer.clear_intents([]) == 0
        assert writer.clear_intents(["e1", "e0", "unknown"]) == 2
    with catalog.read() as reader:
        assert [intent.event_id for intent in reader.pending_intents()] == ["e2"]


def test_old_changes_are_forgotten(place: Place) -> None:
    catalog = place.with_account(CatalogOptions(changes_kept=10))
    with catalog.write() as writer:
        writer.insert_key(a_key())
    for number in range(260):
        with catalog.write() as writer:
            writer.set_key_description(REGION, ID, str(number))
    with catalog.read() as reader:
        count = reader._connection.scalar(sqlalchemy.text("SELECT count(*) FROM changes"))
        horizon = reader._connection.scalar(sqlalchemy.text("SELECT horizon FROM catalog_clock"))
    assert horizon == 246
    assert count == reader.version - horizon


def test_the_first_key_encryption_key_wins(place: Place) -> None:
    one, two = place.open(), place.open()
    assert one.kek_shelf.get(Domain()) is None
    assert one.kek_shelf.put_if_absent(Domain(), b"one") == b"one"
    assert two.kek_shelf.put_if_absent(Domain(), b"two") == b"one"
    assert two.kek_shelf.put_if_absent(Domain(region=OTHER_REGION), b"three") == b"three"
    assert two.kek_shelf.get(Domain()) == b"one"
    assert one.kek_shelf.get(Domain(OTHER_ACCOUNT)) is None
    assert one.kek_shelf.all() == [(ACCOUNT, OTHER_REGION, b"three"), (ACCOUNT, REGION, b"one")]


def test_key_encryption_keys_are_replaced_all_or_none(place: Place) -> None:
    shelf = place.open().kek_shelf
    domains = [Domain(), Domain(region=OTHER_REGION)]
    for domain in domains:
        shelf.put_if_absent(domain, b"old")

    def rotate(last: bytes) -> None:
        with shelf.replacing() as replacement:
            assert [entry[2] for entry in replacement.all()] == [b"old", b"old"]
            replacement.replace(domains[0], b"old", b"new")
            replacement.replace(domains[1], last, b"new")

    with pytest.raises(NotFoundException):
        rotate(b"something else")
    assert [shelf.get(domain) for domain in domains] == [b"old", b"old"]
    rotate(b"old")
    assert [shelf.get(domain) for domain in domains] == [b"new", b"new"]


HOSTILE = ["\x00", "a\x00b", "\ud800", "a\udfff"]


@pytest.mark.parametrize(
    "change",
    [
        lambda w, text: w.insert_key(replace(a_key(3), description=text)),
        lambda w, text: w.insert_key(replace(a_key(3), policy=text)),
        lambda w, text: w.insert_key(replace(a_key(3), tags=(Tag(text, "v"),))),
        lambda w, text: w.insert_key(replace(a_key(3), tags=(Tag("k", text),))),
        lambda w, text: w.set_key_description(REGION, ID, text),
        lambda w, text: w.set_key_policy(REGION, ID, text, {}),
        lambda w, text: w.replace_tags(REGION, ID, [Tag("k", text)]),
        lambda w, text: w.insert_principal(replace(a_user(), description=text)),
        lambda w, text: w.put_principal_policy(a_user("bob").arn, "p", text),
        lambda w, text: w.insert_token(replace(a_token(), description=text)),
        lambda w, text: w.get_key(REGION, text),
        lambda w, text: w.list_keys(ACCOUNT, REGION, text),
    ],
)
def test_text_that_would_not_come_back_is_refused(
    place: Place, change: Callable[[Writer, str], None]
) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_key(a_key())
        writer.insert_principal(a_user("bob"))
    for text in HOSTILE:
        with pytest.raises(ValidationException) as refused, catalog.write() as writer:
            change(writer, text)
        assert text not in str(refused.value)
    with catalog.read() as reader:
        assert reader.get_key(REGION, ID) == a_key()
        assert reader.get_key(REGION, key_id_of(3)) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.insert_key(replace(a_key(3), description="d" * 8_193)),
        lambda w: w.insert_key(replace(a_key(3), store_id="s" * 65)),
        lambda w: w.insert_key(replace(a_key(3), region="r" * 64)),
        lambda w: w.insert_key(replace(a_key(3), materials=(MaterialVersion("m", bytes(32_769), 1.0),))),
        lambda w: w.replace_tags(REGION, ID, [Tag("k" * 129, "")]),
        lambda w: w.replace_tags(REGION, ID, [Tag("k", "v" * 257)]),
        lambda w: w.add_intent("e" * 65, "chain", b""),
        lambda w: w.add_intent("e", "chain", bytes(1_048_577)),
        lambda w: w.put_key_encryption_key(ACCOUNT, REGION, bytes(4_097)),
        lambda w: w.put_principal_policy(a_user().arn, "p", "x" * 131_073),
    ],
)
def test_what_is_too_long_is_refused(place: Place, change: Callable[[Writer], None]) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_key(a_key())
        writer.insert_principal(a_user())
    with pytest.raises(ValidationException), catalog.write() as writer:
        change(writer)


@pytest.mark.parametrize(
    "text",
    ["", "' OR 1=1; --", "%s %(a)s :b ?", "\x01\x7f\r\n\t", "\u2028\ufeff\u202e", "\U0010ffff", "e\u0301"],
    ids=ascii,
)
def test_strange_text_comes_back_as_it_was(place: Place, text: str) -> None:
    catalog = place.with_account()
    tags = (Tag(text or "k", text),)
    key = replace(a_key(), description=text, policy=text, tags=tags, policy_bindings={text: text})
    with catalog.write() as writer:
        writer.insert_key(key)
    with catalog.read() as reader:
        assert reader.get_key(REGION, ID) == key


def test_what_nobody_expected_is_internal_and_says_nothing(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = place.open()
    secret = replace(a_key(), policy="the policy's text")
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(KMSInternalException) as refused,
        catalog.write() as writer,
    ):
        writer.insert_key(secret)
    assert refused.value.message == "The catalog failed."
    assert refused.value.__cause__ is None
    assert "foreign key" in caplog.text.lower()
    assert "the policy's text" not in caplog.text
    assert key_id_of(1) not in caplog.text


def test_who_waits_too_long_is_refused(place: Place) -> None:
    options = CatalogOptions(write_wait_seconds=0.3)
    one, two = place.with_account(options), place.open(options)
    with one.write():
        for catalog in (one, two):
            with pytest.raises(DependencyTimeoutException), catalog.write():
                pytest.fail("nobody may write beside another")
    with two.write() as writer:
        writer.insert_account(Account(OTHER_ACCOUNT, "other", 1.0), a_root(OTHER_ACCOUNT))


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.view.prove_blocking(),
        lambda c: c.read().__enter__(),
        lambda c: c.write().__enter__(),
        lambda c: c.view.key(REGION, ID),
        lambda c: c.health(),
        lambda c: c.kek_shelf.get(Domain()),
    ],
)
def test_a_closed_catalog_refuses_and_may_be_closed_again(
    place: Place, call: Callable[[Catalog], object]
) -> None:
    catalog = place.with_account()
    catalog.close()
    catalog.close()
    with pytest.raises(DependencyTimeoutException):
        call(catalog)


def test_snapshots_are_bounded(place: Place) -> None:
    catalog = place.with_account(CatalogOptions(read_connections=1, write_wait_seconds=0.3))
    with catalog.read():
        with pytest.raises(DependencyTimeoutException), catalog.read():
            pytest.fail("there is one connection")
        with catalog.write() as writer:
            writer.add_intent("readers don't hold writers up", "chain", b"")
    with catalog.read() as reader:
        assert len(reader.pending_intents()) == 1


def test_threads_of_one_process_take_turns(place: Place) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_key(a_key())
    versions: list[int] = []

    def work() -> None:
        for _ in range(25):
            with catalog.write() as writer:
                key = writer.get_key(REGION, ID)
                assert key is not None
                count = int(key.description) if key.description.isdigit() else 0
                writer.set_key_description(REGION, ID, str(count + 1))
                versions.append(writer.version)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions == sorted(set(versions))
    with catalog.read() as reader:
        key = reader.get_key(REGION, ID)
    assert key is not None
    assert key.description == "100"
