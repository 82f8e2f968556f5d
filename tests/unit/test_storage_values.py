"""Small values of the catalog: changes, options, text that can be stored."""

from __future__ import annotations

import pytest

from kagitori_server.storage import CatalogOptions, Change, ChangeKind
from kagitori_server.storage.changes import SUBJECT_MAX, Progress, progress
from kagitori_server.storage.column_types import storable
from kagitori_server.storage.rows import pairs_of, pairs_text


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (Change.of_key("us-east-1", "id"), ("us-east-1", "id")),
        (Change.of_alias("0", "us-east-1", "alias/a/b"), ("0", "us-east-1", "alias/a/b")),
        (Change(ChangeKind.PRINCIPAL, "arn:aws:iam::0:user/a/b"), ("arn:aws:iam::0:user/a/b",)),
        (Change(ChangeKind.CERTIFICATE_URI, "spiffe://a/b/c"), ("spiffe://a/b/c",)),
    ],
)
def test_a_changes_subject_comes_apart_as_it_was_put_together(change: Change, parts: tuple[str, ...]) -> None:
    assert change.parts() == parts
    assert len(change.subject) <= SUBJECT_MAX


ROWS = [("key", "r/k"), ("token", "00")]
CHANGES = (Change(ChangeKind.KEY, "r/k"), Change(ChangeKind.TOKEN, "00"))


@pytest.mark.parametrize(
    ("since", "version", "horizon", "expected"),
    [
        (5, 7, 0, CHANGES),
        (5, 7, 5, CHANGES),
        (5, 7, 6, None),
        (5, 4, 0, None),
        (7, 7, 0, CHANGES),
    ],
)
def test_progress_is_complete_or_everything(
    since: int, version: int, horizon: int, expected: tuple[Change, ...] | None
) -> None:
    assert progress(since, version, horizon, ROWS) == Progress(version, expected)


@pytest.mark.parametrize(
    "fault",
    [
        {"read_connections": 0},
        {"view_entries": 0},
        {"changes_kept": 0},
        {"write_wait_seconds": 0.0},
        {"statement_seconds": -1.0},
        {"prove_seconds": 0.0},
    ],
)
def test_options_that_make_no_sense_are_refused(fault: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CatalogOptions(**fault)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", True), ("ä\U0001f511\x01", True), ("\x00", False), ("\ud800", False), ("a\udc00b", False)],
    ids=ascii,
)
def test_what_can_be_stored(text: str, expected: bool) -> None:
    assert storable(text) is expected


def test_pairs_come_back_whatever_their_order() -> None:
    pairs = {"b": "ä\x00\ud800", "a": ""}
    assert pairs_of(pairs_text(pairs)) == pairs
    assert pairs_text({"b": "2", "a": "1"}) == pairs_text({"a": "1", "b": "2"}) == '{"a":"1","b":"2"}'
