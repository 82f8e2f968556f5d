"""TagResource, UntagResource, ListResourceTags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inprocess import InProcess
from tests.support.kms_calls import identity_policy, last_record, new_key, refused

from kagitori_server.model.errors import (
    AccessDeniedException,
    InvalidMarkerException,
    KmsError,
    SerializationException,
    TagException,
    ValidationException,
)
from kagitori_server.operations.paging import encode_marker


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that only look at keys of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


def _tags(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"tag_key": key, "tag_value": value} for key, value in pairs]


def _of(service: InProcess, key_id: str) -> list[tuple[str, str]]:
    found = service.call("ListResourceTags", {"key_id": key_id}).tags
    return [(tag.tag_key, tag.tag_value) for tag in found]


def test_tags_are_laid_over_those_that_are_there(service: InProcess) -> None:
    """New ones come, known ones change their value, the rest stays; order is that of the keys."""
    key = new_key(service, tags=_tags(("b", "1"), ("d", "")))
    service.call("TagResource", {"key_id": key.arn, "tags": _tags(("c", "2"), ("b", "3"), ("B", "4"))})
    record = last_record(service)
    assert record["requestParameters"]["tags"] == [
        {"tagKey": "c", "tagValue": "2"}, {"tagKey": "b", "tagValue": "3"}, {"tagKey": "B", "tagValue": "4"}
    ]
    assert record["responseElements"] == {"keyId": key.arn}
    assert _of(service, key.key_id) == [("B", "4"), ("b", "3"), ("c", "2"), ("d", "")]
    service.call("UntagResource", {"key_id": key.key_id, "tag_keys": ["b", "absent", "b"]})
    assert last_record(service)["requestParameters"] == {"keyId": key.key_id, "tagKeys": ["b", "absent", "b"]}
    assert _of(service, key.key_id) == [("B", "4"), ("c", "2"), ("d", "")]


@pytest.mark.parametrize(
    ("tags", "error", "text"),
    [
        (_tags(("aws:x", "")), TagException, "Tags beginning with aws: are reserved"),
        (_tags(("AWS:", "")), TagException, "Tags beginning with aws: are reserved"),
        (_tags(("k", "1"), ("k", "2")), TagException, "Duplicate tag keys"),
        (_tags(*((f"k{n}", "") for n in range(50))), TagException, "Too many tags"),
        (_tags(("", "")), ValidationException, "'tags.1.member.tagKey'"),
        (_tags(("k" * 129, "")), ValidationException, "'tags.1.member.tagKey'"),
        (_tags(("ok", ""), ("k", "v" * 257)), ValidationException, "'tags.2.member.tagValue'"),
        (_tags(("k\x00", "")), ValidationException, "U+0000"),
        (_tags(("\ud800", "")), SerializationException, ""),
        ([{"tag_key": "k"}], ValidationException, "tagValue"),
        ([{"tag_key": "k", "tag_value": "v", "more": "x"}], SerializationException, "more"),
        (["k"], SerializationException, ""),
        (None, ValidationException, "'tags'"),
    ],
)
def test_tags_that_are_refused(service: InProcess, tags: Any, error: type[KmsError], text: str) -> None:
    """None of them changes anything, not even the good tags beside a bad one."""
    key = new_key(service, tags=_tags(("present", "1")))
    assert text in refused(service, error, "TagResource", {"key_id": key.key_id, "tags": tags}).message
    assert _of(service, key.key_id) == [("present", "1")]


def test_fifty_tags(service: InProcess) -> None:
    """Fifty there may be; changing one of them is no fifty-first."""
    key = new_key(service, tags=_tags(*((f"k{n:02}", "") for n in range(49))))
    service.call("TagResource", {"key_id": key.key_id, "tags": _tags(("k49", "last"))})
    service.call("TagResource", {"key_id": key.key_id, "tags": _tags(("k07", "changed"))})
    refused(service, TagException, "TagResource", {"key_id": key.key_id, "tags": _tags(("k50", ""))})
    refused(service, TagException, "TagResource", {"key_id": key.key_id, "tags": _tags(("k01", "x"), ("k50", ""))})
    found = _of(service, key.key_id)
    assert (len(found), found[7], found[1]) == (50, ("k07", "changed"), ("k01", ""))


@pytest.mark.parametrize(
    ("keys", "error"),
    [([""], ValidationException), (["k" * 129], ValidationException), (None, ValidationException),
     ([3], SerializationException), ("k", SerializationException)],
)
def test_tag_keys_that_are_refused(service: InProcess, keys: Any, error: type[KmsError]) -> None:
    """UntagResource's limits."""
    key = new_key(service)
    refused(service, error, "UntagResource", {"key_id": key.key_id, "tag_keys": keys})


def test_pages_of_tags(service: InProcess) -> None:
    """One by one, with keys that need more than ASCII, while tags change in between."""
    names = sorted(["a", "a\n", "ä", "Z", "鍵", "\U0001f511", "\uffee", "k" * 128, "\U0001f511" * 128])
    key = new_key(service, tags=_tags(*((name, name[:5]) for name in names)))
    found, marker = [], None
    while True:
        values = {"key_id": key.key_id, "limit": 1} | ({"marker": marker} if marker else {})
        page = service.call("ListResourceTags", values)
        found += [tag.tag_key for tag in page.tags]
        if page.next_marker is None:
            assert not page.truncated
            break
        assert page.truncated
        assert len(page.next_marker) <= 1024
        marker = page.next_marker
    assert found == names
    page = service.call("ListResourceTags", {"key_id": key.key_id, "limit": 2})
    service.call("UntagResource", {"key_id": key.key_id, "tag_keys": [page.tags[-1].tag_key]})
    rest = service.call("ListResourceTags", {"key_id": key.key_id, "marker": page.next_marker}).tags
    assert [tag.tag_key for tag in rest] == names[2:]


@pytest.mark.parametrize("limit", [0, 51, -5])
def test_limits_of_pages(service: InProcess, limit: int) -> None:
    """1 to 50."""
    refused(service, ValidationException, "ListResourceTags", {"key_id": new_key(service).key_id, "limit": limit})


def test_markers_of_others(service: InProcess) -> None:
    """Another list's marker is refused, after the permission was asked."""
    key = new_key(service)
    values = {"key_id": key.key_id, "marker": encode_marker("ListKeys", "x")}
    refused(service, InvalidMarkerException, "ListResourceTags", values)
    refused(service, AccessDeniedException, "ListResourceTags", values, token=service.new_user("marker-guesser"))


def test_each_is_a_permission_of_its_own(service: InProcess) -> None:
    """Nobody tags by being allowed to untag, and the other way round."""
    key = new_key(service, tags=_tags(("k", "v")))
    requests: dict[str, dict[str, Any]] = {
        "TagResource": {"tags": _tags(("k", "v"))}, "UntagResource": {"tag_keys": ["absent"]}, "ListResourceTags": {}
    }
    for action in requests:
        token = service.new_user(f"only-{action}", policies={"p": identity_policy(f"kms:{action}")})
        for operation, values in requests.items():
            if operation == action:
                service.call(operation, {"key_id": key.key_id, **values}, token=token)
            else:
                refused(service, AccessDeniedException, operation, {"key_id": key.key_id, **values}, token=token)
