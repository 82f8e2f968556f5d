"""Callers with X.509-SVIDs: SPIFFE IDs read strictly, and patterns of them that stand for sessions of a role."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from tests.support.client_certificates import certificate
from tests.support.inprocess import HOME, InProcess

from kagitori_server.model.errors import (
    AccessDeniedException,
    EntityAlreadyExistsException,
    UnrecognizedClientException,
    ValidationException,
)
from kagitori_server.model.spiffe import SpiffeIdRefused, parse_spiffe_id

ROLE = f"arn:aws:iam::{HOME}:role/workloads"
TENANT = "111122223333"
PATTERN = "spiffe://example.org/ns/*/sa/web"


@pytest.fixture
def service(tmp_path: Any) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        opened.call("CreateRole", {"role_name": "workloads"})
        yield opened


def register(service: InProcess, uri: str, token: str | None = None, **more: str) -> str:
    values = {"principal_arn": ROLE, "uri_san": uri, **more}
    made: str = service.call("RegisterCertificate", values, token=token).certificate_id
    return made


def session(service: InProcess, pem: bytes) -> str:
    arn: str = service.call("GetCallerIdentity", certificate=pem).arn
    return arn.rpartition("/")[2]


def nobody(service: InProcess, pem: bytes) -> str:
    with pytest.raises(UnrecognizedClientException) as refused:
        service.call("GetCallerIdentity", certificate=pem)
    return refused.value.message


def test_a_pattern_of_workloads(service: InProcess) -> None:
    """Each SPIFFE ID has a session of its own; when the mapping goes, all of them do."""
    certificate_id = register(service, PATTERN)
    web = {name: certificate(f"spiffe://example.org/ns/{name}/sa/web") for name in ("shop", "blog")}
    first, second = (session(service, pem) for pem in web.values())
    assert first.startswith("example.org-ns-shop-sa-web-")
    assert second.startswith("example.org-ns-blog-sa-web-")
    assert service.records()[-1]["userIdentity"]["accessKeyId"] == certificate_id
    assert session(service, web["shop"]) == first, "the callers don't mix"
    (listed,) = service.call("ListCertificates", {"principal_arn": ROLE}).certificates
    assert (listed.uri_san, listed.session_name) == (PATTERN, None)
    service.call("DeregisterCertificate", {"certificate_id": certificate_id})
    for pem in web.values():
        assert nobody(service, pem) == "The client certificate belongs to no principal."
    register(service, PATTERN)
    assert session(service, web["blog"]) == second


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://example.org/ns/shop/sa/app", "spiffe://example.org/ns/shop/sa/web/x", "spiffe://example.org/ns/sa/web",
        "spiffe://example.com/ns/shop/sa/web", "spiffe://example.org/NS/shop/sa/web", "spiffe://sub.example.org/ns/a/sa/web",
        "spiffe://example.org/ns/a/b/sa/web",
    ],
)
def test_what_fits_no_pattern(service: InProcess, uri: str) -> None:
    register(service, PATTERN)
    assert nobody(service, certificate(uri)) == "The client certificate belongs to no principal."


def test_an_id_goes_before_a_pattern(service: InProcess) -> None:
    """Whichever was mapped first; and one URI alone counts, never the subject beside it."""
    register(service, PATTERN)
    pem = certificate("spiffe://example.org/ns/shop/sa/web", common_name="app")
    assert session(service, pem).startswith("example.org-")
    register(service, "spiffe://example.org/ns/shop/sa/web", session_name="the-shop")
    assert session(service, pem) == "the-shop"


def test_session_tags(service: InProcess) -> None:
    """Policies see trust domain, path and ID, of IDs and of patterns alike."""
    register(service, PATTERN)
    register(service, "spiffe://example.org/one", session_name="one")
    for uri, path in (
        ("spiffe://example.org/ns/shop/sa/web", "/ns/shop/sa/web"), ("spiffe://example.org/one", "/one"),
    ):
        wanted = {"spiffe-trust-domain": "example.org", "spiffe-path": path, "spiffe-id": uri}
        for tag, value in wanted.items():
            for given, allowed in ((value, True), (value + "x", False)):
                policy = json.dumps({"Version": "2012-10-17", "Statement": [{
                    "Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*",
                    "Condition": {"StringEquals": {f"aws:PrincipalTag/{tag}": given}},
                }]})
                values = {"principal_arn": ROLE, "policy_name": "p", "policy_document": policy}
                service.call("PutIdentityPolicy", values)
                if allowed:
                    service.call("ListKeys", {}, certificate=certificate(uri))
                else:
                    with pytest.raises(AccessDeniedException):
                        service.call("ListKeys", {}, certificate=certificate(uri))


@pytest.mark.parametrize(
    "uris",
    [
        ["spiffe://example.org/ns/a/sa/web", "spiffe://example.org/ns/b/sa/web"],
        ["spiffe://example.org/ns/a/sa/web", "urn:x"], ["urn:x", "SPIFFE://example.org/x"],
        ["spiffe://example.org/ns/*/sa/web"], ["spiffe://example.org/ns//sa/web"], ["spiffe://example.org/ns/./sa/web"],
        ["spiffe://example.org/ns/../sa/web"], ["spiffe://example.org/ns/a/sa/web/"], ["spiffe://example.org"],
        ["spiffe://example.org/"], ["spiffe://Example.org/ns/a/sa/web"], ["SPIFFE://example.org/ns/a/sa/web"],
        ["spiffe://example.org:443/ns/a/sa/web"], ["spiffe://user@example.org/ns/a/sa/web"], ["spiffe:///ns/a/sa/web"],
        ["spiffe://example.org/ns/a/sa/web?x=y"], ["spiffe://example.org/ns/a/sa/web#x"], ["spiffe:example.org/x"],
        ["spiffe://example.org/ns/%61/sa/web"], ["spiffe://example.org/" + "a" * 2_048],
        ["spiffe://" + "a" * 256 + "/x"],
    ],
    ids=lambda uris: " ".join(uris)[:60],
)
def test_certificates_that_are_no_svids(service: InProcess, uris: list[str]) -> None:
    """Refused for what they say, though the subject or another URI is mapped."""
    register(service, PATTERN)
    service.new_user("app")
    service.call("RegisterCertificate", {"principal_arn": f"arn:aws:iam::{HOME}:user/app", "subject": "CN=app"})
    message = nobody(service, certificate(*uris, common_name="app"))
    assert "SPIFFE ID" in message
    assert not any(uri in message for uri in uris)


@pytest.mark.parametrize(
    "extension",
    [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
        ),
        x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=False, crl_sign=True, encipher_only=False, decipher_only=False,
        ),
    ],
    ids=["CA", "signs certificates", "signs lists"],
)
def test_an_authority_is_no_workload(service: InProcess, extension: x509.ExtensionType) -> None:
    register(service, PATTERN)
    pem = certificate("spiffe://example.org/ns/a/sa/web", extra=extension)
    assert nobody(service, pem) == "The client certificate is an authority's, not a workload's."


@pytest.mark.parametrize(
    "values",
    [
        {"uri_san": "spiffe://example.org/a*"}, {"uri_san": "spiffe://example.org/**"}, {"uri_san": "spiffe://*/a"},
        {"uri_san": "spiffe://example.org/a%20b", "session_name": "xy"},
        {"uri_san": "spiffe://example.org", "session_name": "xy"},
        {"uri_san": "Spiffe://example.org/a", "session_name": "xy"},
        {"uri_san": "spiffe://example.org/a/", "session_name": "xy"},
        {"uri_san": PATTERN, "session_name": "xy"}, {"uri_san": "spiffe://example.org/a"},
        {"uri_san": PATTERN, "principal_arn": f"arn:aws:iam::{HOME}:root"},
        {"uri_san": PATTERN, "principal_arn": f"arn:aws:iam::{HOME}:user/app"},
    ],
    ids=repr,
)
def test_mappings_that_are_refused(service: InProcess, values: dict[str, str]) -> None:
    """Patterns are for roles, without a session name; a star stands for a whole segment of the path."""
    service.new_user("app")
    with pytest.raises(ValidationException):
        service.call("RegisterCertificate", {"principal_arn": ROLE, **values})


def test_overlaps(service: InProcess) -> None:
    """No SPIFFE ID fits two patterns, and no account takes what another one has mapped."""
    root = service.new_account(TENANT)
    foreign = f"arn:aws:iam::{TENANT}:role/workloads"
    service.call("CreateRole", {"role_name": "workloads"}, token=root)

    def theirs(uri: str, **more: str) -> None:
        register(service, uri, root, principal_arn=foreign, **more)

    register(service, PATTERN)
    register(service, "spiffe://example.org/one/two", session_name="one")
    for uri in (PATTERN, "spiffe://example.org/ns/shop/sa/*", "spiffe://example.org/*/*/*/*"):
        with pytest.raises(EntityAlreadyExistsException):
            register(service, uri)
        with pytest.raises(EntityAlreadyExistsException):
            theirs(uri)
    with pytest.raises(EntityAlreadyExistsException):
        theirs("spiffe://example.org/ns/shop/sa/web", session_name="thief")
    with pytest.raises(EntityAlreadyExistsException):
        theirs("spiffe://example.org/*/two")
    register(service, "spiffe://example.org/*/two")
    theirs("spiffe://example.org/ns/*/sa/app")
    theirs("spiffe://example.com/ns/*/sa/web")
    theirs("spiffe://example.org/other", session_name="other")
    assert "111122223333" in service.call(
        "GetCallerIdentity", certificate=certificate("spiffe://example.org/ns/x/sa/app")
    ).arn


def test_ids_and_patterns_are_told_apart() -> None:
    assert parse_spiffe_id("spiffe://a/b/c").uri == "spiffe://a/b/c"
    assert parse_spiffe_id("spiffe://a/*/c", pattern=True).is_pattern
    with pytest.raises(SpiffeIdRefused):
        parse_spiffe_id("spiffe://a/*/c")
