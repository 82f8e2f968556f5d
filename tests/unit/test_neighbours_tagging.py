"""Resource Groups Tagging for AWS's clients: which keys are found by their tags, in pages, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.identities import statement
from tests.support.inprocess import InProcess

from kagitori_server.model.errors import AccessDeniedException, KmsError, ValidationException
from kagitori_server.model.neighbour_errors import InvalidParameterException

OTHER = "222222222222"
GET = "tagging GetResources"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def key(service: InProcess, token: str | None = None, region: str | None = None, **tags: str) -> str:
    """A key with these tags. Returns its ARN."""
    values = {"tags": [{"tag_key": name, "tag_value": value} for name, value in tags.items()]}
    arn: str = service.call("CreateKey", values, token=token, region=region).key_metadata.arn
    return arn


def found(service: InProcess, token: str | None = None, region: str | None = None, **members: Any) -> set[str]:
    answer = service.call(GET, members, token=token, region=region)
    assert answer.pagination_token == ""
    return {each.resource_arn for each in answer.resource_tag_mapping_list}


def by(name: str, *values: str) -> dict[str, object]:
    return {"key": name, "values": list(values)}


def test_filters(service: InProcess) -> None:
    """All filters, any of their values; types; ARNs. Keys without tags aren't found."""
    red, blue, bare = key(service, team="red", env="p"), key(service, team="blue"), key(service)
    away, tenant = key(service, region="eu-west-1", team="red"), service.new_account(OTHER)
    theirs = key(service, tenant, team="red")
    assert found(service) == {red, blue}
    assert found(service, region="eu-west-1") == {away}
    assert found(service, tenant) == {theirs}
    for filters, wanted in (
        ([by("team")], {red, blue}), ([by("team", "red")], {red}), ([by("team", "red", "blue")], {red, blue}),
        ([by("team", "red"), by("env")], {red}), ([by("team", "blue"), by("env")], set()), ([by("Team")], set()),
        ([by("team", "")], set()),
    ):
        assert found(service, tag_filters=filters) == wanted
    for types, wanted in (
        (["kms"], {red, blue}), (["kms:key"], {red, blue}), (["s3", "kms:key"], {red, blue}), (["s3"], set()),
        (["kms:alias"], set()),
    ):
        assert found(service, resource_type_filters=types) == wanted
    assert found(service, resource_arn_list=[red, bare, away, theirs, red, "arn:aws:s3:::bucket"]) == {red}
    answer = service.call(GET, {"resource_arn_list": [red]}).resource_tag_mapping_list
    assert [(tag.key, tag.value) for tag in answer[0].tags] == [("env", "p"), ("team", "red")]
    record = service.records()[-1]
    assert (record["eventSource"], record["eventName"]) == ("tagging.amazonaws.com", "GetResources")
    assert record["requestParameters"] == {"resourceArnList": [red]}
    service.call("UntagResource", {"key_id": red, "tag_keys": ["team", "env"]})
    assert found(service) == {blue}


def test_pages(service: InProcess) -> None:
    """By keys and by tags; a token goes with its own filters."""
    keys = {key(service, n=str(number)) for number in range(7)}
    seen: list[str] = []
    token, pages = "", 0
    while pages == 0 or token:
        answer = service.call(GET, {"resources_per_page": 3, "pagination_token": token})
        seen += [each.resource_arn for each in answer.resource_tag_mapping_list]
        token, pages = answer.pagination_token, pages + 1
    assert (pages, set(seen), len(seen)) == (3, keys, 7)
    first = service.call(GET, {"resources_per_page": 1}).pagination_token
    for members in (
        {"tag_filters": [by("n")], "pagination_token": first}, {"pagination_token": "x"},
        {"resource_type_filters": ["kms"], "pagination_token": first},
    ):
        with pytest.raises(InvalidParameterException):
            service.call(GET, members)


def test_pages_by_tags(service: InProcess) -> None:
    """A key and its tags are never divided: of 40 tags each, two fit into a hundred."""
    for _ in range(3):
        key(service, **{f"t{number}": "" for number in range(40)})
    first = service.call(GET, {"tags_per_page": 100})
    assert len(first.resource_tag_mapping_list) == 2
    second = service.call(GET, {"tags_per_page": 100, "pagination_token": first.pagination_token})
    assert (len(second.resource_tag_mapping_list), second.pagination_token) == (1, "")


def test_names_and_values(service: InProcess) -> None:
    """Each once, of the account and the Region, in pages of a hundred."""
    key(service, team="red", env="")
    key(service, team="blue")
    key(service, region="eu-west-1", far="x")
    tenant = service.new_account(OTHER)
    key(service, tenant, secret="theirs")
    assert service.call("tagging GetTagKeys", {}).tag_keys == ("env", "team")
    assert service.call("tagging GetTagValues", {"key": "team"}).tag_values == ("blue", "red")
    assert service.call("tagging GetTagValues", {"key": "env"}).tag_values == ("",)
    assert service.call("tagging GetTagValues", {"key": "secret"}).tag_values == ()
    for number in range(3):
        key(service, **{f"k{number * 40 + each:03}": "" for each in range(40)})
    first = service.call("tagging GetTagKeys", {})
    second = service.call("tagging GetTagKeys", {"pagination_token": first.pagination_token})
    assert (len(first.tag_keys), len(second.tag_keys), second.pagination_token) == (100, 22, "")
    with pytest.raises(InvalidParameterException):
        service.call("tagging GetTagValues", {"key": "team", "pagination_token": first.pagination_token})


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"resources_per_page": 0}, InvalidParameterException),
        ({"resources_per_page": 101}, InvalidParameterException),
        ({"tags_per_page": 99}, InvalidParameterException),
        ({"tags_per_page": 150}, InvalidParameterException),
        ({"tags_per_page": 600}, InvalidParameterException),
        ({"tag_filters": [{"values": ["x"]}]}, InvalidParameterException),
        ({"tag_filters": [{"key": "", "values": []}]}, ValidationException),
        ({"tag_filters": [{"key": "a", "values": ["x"] * 21}]}, ValidationException),
        ({"tag_filters": [{"key": "a"}] * 51}, ValidationException),
        ({"resource_type_filters": ["KMS KEY"]}, InvalidParameterException),
        ({"resource_type_filters": ["kms"] * 101}, InvalidParameterException),
        ({"resource_arn_list": ["x"]}, InvalidParameterException),
        ({"resource_arn_list": []}, ValidationException),
        ({"resource_arn_list": ["arn:aws:s3:::b"], "tag_filters": [{"key": "a"}]}, InvalidParameterException),
        ({"resource_arn_list": ["arn:aws:s3:::b"], "resources_per_page": 1}, InvalidParameterException),
        ({"include_compliance_details": True}, InvalidParameterException),
        ({"exclude_compliant_resources": True}, InvalidParameterException),
    ],
)
def test_requests_that_are_refused(service: InProcess, members: dict[str, Any], error: type[KmsError]) -> None:
    with pytest.raises(error) as caught:
        service.call(GET, members)
    assert type(caught.value) is error


def test_default_is_no(service: InProcess) -> None:
    """Each operation needs its action, whatever else is allowed."""
    token = service.new_user("alice", policies={"kms": statement(["kms:*", "tagging:*"])})
    for operation, values in ((GET, {}), ("tagging GetTagKeys", {}), ("tagging GetTagValues", {"key": "x"})):
        with pytest.raises(AccessDeniedException, match=f"perform: tag:{operation.split()[1]}"):
            service.call(operation, values, token=token)
        assert service.records()[-1]["eventSource"] == "tagging.amazonaws.com"
    allowed = service.new_user("bob", policies={"tag": statement("tag:Get*")})
    assert found(service, allowed) == set()
