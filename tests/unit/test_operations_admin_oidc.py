"""CreateOidcProvider, ListOidcProviders and DeleteOidcProvider: what they take, whom they obey, what they record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import HOME, InProcess
from tests.support.issuer import SigningKey

from kagitori_server.model.errors import (
    AccessDeniedException,
    EntityAlreadyExistsException,
    LimitExceededException,
    NoSuchEntityException,
    ValidationException,
)
from kagitori_server.operations.administration import oidc_providers

TENANT = "111122223333"
ROLE = f"arn:aws:iam::{HOME}:role/workloads"
ISSUER = "https://issuer.example/realms/a"
ARN = f"arn:aws:iam::{HOME}:oidc-provider/issuer.example/realms/a"
KEYS = json.dumps({"keys": [SigningKey().jwk()]})


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        opened.call("CreateRole", {"role_name": "workloads"})
        yield opened


def create(service: InProcess, token: str | None = None, **members: object) -> str:
    values = {"issuer_url": ISSUER, "audiences": ["kagitori"], "role_arn": ROLE, **members}
    arn: str = service.call("CreateOidcProvider", values, token=token).oidc_provider_arn
    return arn


def test_a_provider_is_made_listed_and_deleted(service: InProcess) -> None:
    assert create(service, audiences=["b", "a", "b"], tag_claims={"team": "/org/team"}, jwks_document=KEYS) == ARN
    record = service.records()[-1]
    assert record["requestParameters"]["tagClaims"] == {"team": "/org/team"}
    assert record["responseElements"] == {"oidcProviderArn": ARN}
    assert record["additionalEventData"] == {"jwksSha256": hashlib.sha256(KEYS.encode()).hexdigest()}
    (listed,) = service.call("ListOidcProviders").oidc_providers
    assert (listed.oidc_provider_arn, listed.issuer_url, listed.audiences) == (ARN, ISSUER, ("b", "a"))
    assert (listed.role_arn, listed.session_name_claim, listed.tag_claims) == (ROLE, "sub", {"team": "/org/team"})
    assert listed.create_date == service.clock.now
    with pytest.raises(EntityAlreadyExistsException):
        create(service, audiences=["other"])
    service.call("DeleteOidcProvider", {"oidc_provider_arn": ARN})
    assert service.call("ListOidcProviders").oidc_providers == ()
    with pytest.raises(NoSuchEntityException):
        service.call("DeleteOidcProvider", {"oidc_provider_arn": ARN})


@pytest.mark.parametrize(
    "members",
    [
        {"issuer_url": issuer} for issuer in (
            "http://issuer.example", "issuer.example", "https://", "https://issuer.example/?x=y", "https://u@issuer.example",
            "https://issuer.example#x", "HTTPS://issuer.example", "https://issuer.example/*", "https://issuer.example:0",
            "https://issuer.example/" + "x" * 255, "file:///etc/passwd", "https://[::1]", "https://aws", "https://STS", "https://issuer.example/ä",
        )
    ] + [
        {"audiences": []}, {"audiences": [""]}, {"audiences": ["x" * 256]}, {"audiences": [str(n) for n in range(101)]},
        {"audiences": ["a\nb"]}, {"session_name_claim": ""}, {"tag_claims": {"aws:x": "a"}}, {"tag_claims": {"": "a"}},
        {"tag_claims": {"a": ""}}, {"tag_claims": {"x" * 129: "a"}}, {"tag_claims": {"a": "x" * 256}},
        {"tag_claims": {str(n): "a" for n in range(51)}}, {"role_arn": f"arn:aws:iam::{HOME}:user/x"},
        {"role_arn": "x"}, {"jwks_document": "{}"}, {"jwks_document": "x"}, {"jwks_document": '{"keys": []}'},
        {"jwks_document": ""},
        {"jwks_document": json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]})}, {"jwks_document": " " * 65_537},
        {"jwks_document": json.dumps({"keys": [SigningKey().jwk(d="AAAA")]})},
    ],
    ids=lambda members: repr(members)[:50],
)
def test_what_is_refused(service: InProcess, members: dict[str, object]) -> None:
    with pytest.raises(ValidationException):
        create(service, None, **members)


def test_private_keys_given_by_mistake(service: InProcess) -> None:
    """Are refused, and nothing of them gets into the trail or the message, nor of what is too long."""
    secret = "c2VjcmV0LXByaXZhdGUta2V5LW9mLXNvbWVib2R5"
    for document in (json.dumps({"keys": [SigningKey().jwk(d=secret)]}), secret * 2_000):
        with pytest.raises(ValidationException) as refused:
            create(service, jwks_document=document)
        assert secret not in refused.value.message
    assert secret not in service.audit_text()


def test_roles_that_are_not_there(service: InProcess) -> None:
    """Missing, or of another account: told alike."""
    service.new_account(TENANT)
    service.call("CreateRole", {"account_id": TENANT, "role_name": "workloads"})
    for arn in (f"{ROLE}2", f"arn:aws:iam::{TENANT}:role/workloads"):
        with pytest.raises(NoSuchEntityException, match="cannot be found"):
            create(service, role_arn=arn)


def test_another_account_from_home(service: InProcess) -> None:
    root = service.new_account(TENANT)
    service.call("CreateRole", {"role_name": "workloads"}, token=root)
    theirs = f"arn:aws:iam::{TENANT}:role/workloads"
    arn = create(service, account_id=TENANT, role_arn=theirs)
    assert arn == ARN.replace(HOME, TENANT)
    assert service.call("ListOidcProviders").oidc_providers == ()
    assert len(service.call("ListOidcProviders", {"account_id": TENANT}).oidc_providers) == 1
    with pytest.raises(AccessDeniedException):
        service.call("DeleteOidcProvider", {"oidc_provider_arn": ARN}, token=root)
    service.call("DeleteOidcProvider", {"oidc_provider_arn": arn})


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([("kagitori:CreateOidcProvider", ARN), ("kagitori:CreateToken", ROLE)], True),
        ([("kagitori:CreateOidcProvider", "arn:aws:iam::*:oidc-provider/*"), ("kagitori:CreateToken", "*")], True),
        ([("kagitori:CreateOidcProvider", ARN)], False),
        ([("kagitori:CreateToken", ROLE)], False),
        ([("kagitori:CreateOidcProvider", ARN + "2"), ("kagitori:CreateToken", ROLE)], False),
        ([("kagitori:CreateOidcProvider", ARN), ("kagitori:CreateToken", ROLE + "2")], False),
    ],
)
def test_permissions(service: InProcess, statements: list[tuple[str, str]], allowed: bool) -> None:
    """On the provider, and on the role, of which credentials are given away."""
    policy = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in statements
    ]})
    token = service.new_user("admin", policies={"p": policy})
    if allowed:
        assert create(service, token) == ARN
        with pytest.raises(AccessDeniedException, match=f"kagitori:DeleteOidcProvider on resource: {ARN}"):
            service.call("DeleteOidcProvider", {"oidc_provider_arn": ARN}, token=token)
    else:
        with pytest.raises(AccessDeniedException):
            create(service, token)
        assert service.call("ListOidcProviders").oidc_providers == ()


def test_pages_and_the_limit(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_providers, "PROVIDERS_MAX", 3)
    for number in range(3):
        create(service, issuer_url=f"https://issuer.example/{number}")
    with pytest.raises(LimitExceededException):
        create(service)
    seen: list[str] = []
    values: dict[str, Any] = {"limit": 2}
    while True:
        page = service.call("ListOidcProviders", values)
        seen += [each.issuer_url for each in page.oidc_providers]
        if not page.truncated:
            break
        values["marker"] = page.next_marker
    assert seen == [f"https://issuer.example/{number}" for number in range(3)]
