"""Who calls: tokens, certificates, the local socket; and that a failed proof tells nothing but that it failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from tests.support.client_certificates import certificate, der_to_pem, replaced, twisted_certificate
from tests.support.inprocess import HOME, START, FakeClock, InProcess
from tests.support.kms_calls import last_record, root, user_arn

from kagitori_server.authn.authenticator import Authenticator, SocketIdentity
from kagitori_server.model.call import Evidence
from kagitori_server.model.errors import (
    DeleteConflictException,
    ExpiredTokenException,
    KmsError,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from kagitori_server.model.principals import Caller, PrincipalKind

INVALID = "The security token included in the request is invalid."
EXPIRED = "The security token included in the request is expired."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests with principals of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


def _who(service: InProcess, evidence: Evidence, socket: SocketIdentity | None = None) -> Caller:
    return Authenticator(service.clock, "aws", socket).authenticate(evidence, service.catalog.view)


def _unproven(service: InProcess, error: type[KmsError], evidence: Evidence) -> KmsError:
    """The refusal, which is the same for every operation and leaves a record of nobody."""
    for operation, values in (("ListKeys", {}), ("CreateKey", {}), ("DescribeKey", {"key_id": "x"}),
                              ("BatchEncrypt", {"items": []}), ("GetCallerIdentity", {}), ("Encrypt", {"bad": 1})):
        with pytest.raises(error) as caught:
            service.send(operation, values, evidence)
        record = last_record(service)
        assert record["userIdentity"] == {"type": "Unknown"}
        assert (record["eventName"], record["errorCode"]) == (operation, error.code())
        assert record["requestParameters"] is None
        assert record["recipientAccountId"] == HOME
    return caught.value


# --- tokens -------------------------------------------------------------------------------------------------


def test_a_user_by_token(service: InProcess) -> None:
    """The caller is the user; the record names the token by its id."""
    token = service.new_user("alice")
    caller = _who(service, Evidence(token=token))
    assert (caller.kind, caller.account, caller.arn) == (PrincipalKind.USER, HOME, user_arn("alice"))
    assert caller.user_id == caller.record.principal_id
    identity = service.call("GetCallerIdentity", token=token)
    assert identity.arn == user_arn("alice")
    shown = last_record(service)["userIdentity"]
    assert (shown["type"], shown["userName"], shown["arn"]) == ("IAMUser", "alice", user_arn("alice"))
    (listed,) = service.call("ListTokens", {"principal_arn": user_arn("alice")}).tokens
    assert shown["accessKeyId"] == listed.token_id
    assert token not in service.audit_text()


@pytest.mark.parametrize(
    "form",
    ["", "kgt_", "{cut}", "{token}A", "{cut}*", "{token}\n", " {token}", "{secret}", "kgx_{secret}", "Bearer {token}",
     "{cut}\u0661", "kgt_\x00{secret}", "kgt_" + "\ud800" * 43, "kgt_" + "-" * 43, "x" * 1_000_000, "{token}==",
     "{token},{token}", "{upper}", "KGT_{secret}"],
)
def test_tokens_of_other_forms(service: InProcess, form: str) -> None:
    """Cut, longer, in other capitals, with anything around: one and the same refusal."""
    token = _token(service)
    changed = form.format(token=token, cut=token[:-1], secret=token[4:], upper=token.upper())
    assert _unproven(service, UnrecognizedClientException, Evidence(token=changed)).message == INVALID


_TOKENS: dict[int, str] = {}


def _token(service: InProcess) -> str:
    if id(service) not in _TOKENS:
        _TOKENS[id(service)] = service.new_user("mutable")
    return _TOKENS[id(service)]


def test_nothing_at_all(service: InProcess) -> None:
    """No evidence, and a local socket where no identity is configured."""
    _unproven(service, MissingAuthenticationTokenException, Evidence())
    _unproven(service, MissingAuthenticationTokenException, Evidence(local_socket=True))


def test_the_moment_of_expiry(tmp_path: Path) -> None:
    """Good until the last moment before, not in the very moment; never good again."""
    clock = FakeClock(START)
    with InProcess(tmp_path, clock) as service:
        service.new_user("brief")
        answer = service.call("CreateToken", {"principal_arn": user_arn("brief"), "duration_seconds": 900})
        assert answer.expiration == START + 900
        evidence = Evidence(token=answer.token)
        service.send("GetCallerIdentity", {}, evidence)
        clock.now = START + 899.999
        service.send("GetCallerIdentity", {}, evidence)
        for now in (START + 900, START + 901, START + 10**6):
            clock.now = now
            assert _unproven(service, ExpiredTokenException, evidence).message == EXPIRED


def test_a_revoked_token_is_any_unknown_one(service: InProcess) -> None:
    """At once, and nobody is told that it was good once."""
    token = service.new_user("revoked")
    service.call("GetCallerIdentity", token=token)
    (listed,) = service.call("ListTokens", {"principal_arn": user_arn("revoked")}).tokens
    service.call("RevokeToken", {"account_id": HOME, "token_id": listed.token_id})
    assert _unproven(service, UnrecognizedClientException, Evidence(token=token)).message == INVALID


def test_a_deleted_principal(service: InProcess) -> None:
    """It isn't deleted while a credential stands for it; afterwards its proofs are nobody's."""
    token = service.new_user("gone")
    pem = certificate("spiffe://test/gone")
    service.call("RegisterCertificate", {"principal_arn": user_arn("gone"), "uri_san": "spiffe://test/gone"})
    assert _who(service, Evidence(certificate=pem)).arn == user_arn("gone")
    gone = {"account_id": HOME, "user_name": "gone"}
    (listed,) = service.call("ListTokens", {"principal_arn": user_arn("gone")}).tokens
    (mapping,) = service.call("ListCertificates", {"principal_arn": user_arn("gone")}).certificates
    for operation, values in (
        ("RevokeToken", {"account_id": HOME, "token_id": listed.token_id}),
        ("DeregisterCertificate", {"account_id": HOME, "certificate_id": mapping.certificate_id}),
    ):
        with pytest.raises(DeleteConflictException):
            service.call("DeleteUser", gone)
        service.call(operation, values)
    service.call("DeleteUser", gone)
    assert _unproven(service, UnrecognizedClientException, Evidence(token=token)).message == INVALID
    _unproven(service, UnrecognizedClientException, Evidence(certificate=pem))


def test_role_sessions(service: InProcess) -> None:
    """A role's token opens the session it was made for."""
    role = service.call("CreateRole", {"account_id": HOME, "role_name": "deploy", "path": "/ci/"}).role
    token = service.new_token(role.arn, session_name="build-7")
    caller = _who(service, Evidence(token=token))
    assert caller.arn == f"arn:aws:sts::{HOME}:assumed-role/deploy/build-7"
    assert caller.user_id == f"{caller.record.principal_id}:build-7"
    assert caller.record.arn == role.arn == f"arn:aws:iam::{HOME}:role/ci/deploy"
    assert (caller.session_name, caller.session_started) == ("build-7", service.clock())
    identity = service.call("GetCallerIdentity", token=token)
    assert (identity.arn, identity.user_id) == (caller.arn, caller.user_id)
    shown = last_record(service)["userIdentity"]
    assert (shown["type"], shown["arn"], shown["principalId"]) == ("AssumedRole", caller.arn, caller.user_id)
    issuer = shown["sessionContext"]["sessionIssuer"]
    assert (issuer["type"], issuer["arn"], issuer["userName"]) == ("Role", role.arn, "deploy")
    assert issuer["principalId"] == caller.record.principal_id
    assert shown["sessionContext"]["attributes"]["creationDate"] == "2026-09-21T14:13:20Z"


def test_root(service: InProcess) -> None:
    """The account's root user: the account's id is its own."""
    caller = _who(service, Evidence(token=service.root_token))
    assert (caller.kind, caller.arn, caller.user_id) == (PrincipalKind.ROOT, root(HOME), HOME)
    service.call("GetCallerIdentity")
    assert last_record(service)["userIdentity"]["type"] == "Root"


def test_one_object_per_credential_and_state(service: InProcess) -> None:
    """The same caller object while nothing changes, another once the principal's policies did."""
    authenticator = Authenticator(service.clock, "aws", None)
    evidence = Evidence(token=service.new_user("stable"))
    view = service.catalog.view
    first = authenticator.authenticate(evidence, view)
    assert authenticator.authenticate(evidence, view) is first
    service.call("PutIdentityPolicy", {
        "principal_arn": user_arn("stable"), "policy_name": "p",
        "policy_document": '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}',
    })
    assert authenticator.authenticate(evidence, view) is not first


def test_memory_is_bounded(service: InProcess) -> None:
    """More callers and certificates than kept: still right."""
    authenticator = Authenticator(service.clock, "aws", None, entries=2)
    evidence = [Evidence(token=service.new_user(f"many-{n}")) for n in range(4)]
    for _ in range(2):
        for number, each in enumerate(evidence):
            assert authenticator.authenticate(each, service.catalog.view).arn == user_arn(f"many-{number}")
    assert len(authenticator._known) <= 2


# --- certificates -------------------------------------------------------------------------------------------


def _register(service: InProcess, user: str, **names: str) -> None:
    service.new_user(user)
    service.call("RegisterCertificate", {"principal_arn": user_arn(user), **names})


def test_certificates_by_uri_and_by_subject(service: InProcess) -> None:
    """The URI counts before the subject; other names don't count."""
    _register(service, "by-uri", uri_san="spiffe://test/app")
    _register(service, "by-subject", subject="CN=app")
    dns = x509.DNSName("spiffe.test")
    for pem, user in (
        (certificate("spiffe://test/app"), "by-uri"),
        (certificate("spiffe://test/app", common_name="app"), "by-uri"),
        (certificate("spiffe://test/unmapped", common_name="app"), "by-subject"),
        (certificate(common_name="app"), "by-subject"),
        (certificate(common_name="app", others=[dns]), "by-subject"),
    ):
        assert _who(service, Evidence(certificate=pem)).arn == user_arn(user)
    (mapping,) = service.call("ListCertificates", {"principal_arn": user_arn("by-uri")}).certificates
    service.call("GetCallerIdentity", certificate=certificate("spiffe://test/app"))
    assert last_record(service)["userIdentity"]["accessKeyId"] == mapping.certificate_id


@pytest.mark.parametrize(
    "uris", [["spiffe://test/APP2"], ["spiffe://test/app2/x"], ["spiffe://test/app"[:-1]], ["urn:app"], []]
)
def test_certificates_of_nobody(service: InProcess, uris: list[str]) -> None:
    """Names are compared whole and exactly."""
    error = _unproven(service, UnrecognizedClientException, Evidence(certificate=certificate(*uris, common_name="no")))
    assert error.message == "The client certificate belongs to no principal."


def test_a_certificate_of_two(service: InProcess) -> None:
    """Two mapped URIs are refused; one mapped beside one that isn't is that one."""
    _register(service, "twin-a", uri_san="urn:test:a")
    _register(service, "twin-b", uri_san="urn:test:b")
    both = Evidence(certificate=certificate("urn:test:a", "urn:test:b"))
    assert "more than one principal" in _unproven(service, UnrecognizedClientException, both).message
    one = Evidence(certificate=certificate("urn:test:b", "urn:test:unmapped"))
    assert _who(service, one).arn == user_arn("twin-b")


def test_two_proofs_are_none(service: InProcess) -> None:
    """A token and a certificate at once, each good by itself."""
    _register(service, "double", uri_san="spiffe://test/double")
    pem, token = certificate("spiffe://test/double"), service.new_token(user_arn("double"))
    error = _unproven(service, UnrecognizedClientException, Evidence(token=token, certificate=pem))
    assert "not several" in error.message
    _unproven(service, UnrecognizedClientException, Evidence(token="", certificate=pem))


def test_a_certificate_that_ends_while_its_connection_lasts(tmp_path: Path) -> None:
    """TLS looks at dates when a connection is made, which may be kept for as long as one likes."""
    pem = certificate("spiffe://test/short-lived")
    ends = x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    with InProcess(tmp_path) as service:
        _register(service, "short-lived", uri_san="spiffe://test/short-lived")
        for moment, good in ((ends - 1, True), (ends, True), (ends + 1, False)):
            service.clock.now = moment
            if good:
                service.call("GetCallerIdentity", certificate=pem)
                continue
            with pytest.raises(UnrecognizedClientException, match="expired"):
                service.call("GetCallerIdentity", certificate=pem)


def test_a_deregistered_certificate(service: InProcess) -> None:
    """Refused from the next call on, though the certificate itself is as good as ever."""
    _register(service, "withdrawn", uri_san="spiffe://test/withdrawn")
    pem = certificate("spiffe://test/withdrawn")
    service.call("GetCallerIdentity", certificate=pem)
    (mapping,) = service.call("ListCertificates", {"principal_arn": user_arn("withdrawn")}).certificates
    service.call("DeregisterCertificate", {"account_id": HOME, "certificate_id": mapping.certificate_id})
    _unproven(service, UnrecognizedClientException, Evidence(certificate=pem))


def test_a_role_by_certificate(service: InProcess) -> None:
    """Its session has the name that the mapping says."""
    role = service.call("CreateRole", {"account_id": HOME, "role_name": "worker"}).role
    service.call("RegisterCertificate", {
        "principal_arn": role.arn, "uri_san": "spiffe://test/worker", "session_name": "host-1"
    })
    caller = _who(service, Evidence(certificate=certificate("spiffe://test/worker")))
    assert caller.arn == f"arn:aws:sts::{HOME}:assumed-role/worker/host-1"


@pytest.mark.parametrize(
    "pem",
    [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff" * 100,
     certificate("spiffe://test/cut")[:200], der_to_pem(b"\x30\x03\x02\x01\x01"),
     twisted_certificate("spiffe://test/twice"),
     replaced(certificate("spiffe://test/v"), bytes.fromhex("a003020102"), bytes.fromhex("a003020109"))],
    ids=["empty", "nonsense", "no certificate", "binary", "cut", "tiny", "an extension twice", "version 10"],
)
def test_certificates_that_can_not_be_read(service: InProcess, pem: bytes) -> None:
    """Whatever TLS let through, it's a proof that fails, never a failure of the service."""
    error = _unproven(service, UnrecognizedClientException, Evidence(certificate=pem))
    assert error.message == "The client certificate can't be read."


# --- the local socket ----------------------------------------------------------------------------------------


def test_the_local_socket(service: InProcess) -> None:
    """Stands for its principal; a token shown there counts instead."""
    service.new_user("sidecar")
    socket = SocketIdentity(user_arn("sidecar"), "socket", START)
    caller = _who(service, Evidence(local_socket=True), socket)
    assert (caller.arn, caller.credential_id) == (user_arn("sidecar"), "socket")
    by_token = _who(service, Evidence(local_socket=True, token=service.root_token), socket)
    assert by_token.kind is PrincipalKind.ROOT
    with pytest.raises(UnrecognizedClientException):
        _who(service, Evidence(local_socket=True, token="kgt_" + "x" * 43), socket)
    with pytest.raises(MissingAuthenticationTokenException):
        _who(service, Evidence(local_socket=False), socket)
    with pytest.raises(UnrecognizedClientException):
        _who(service, Evidence(local_socket=True), SocketIdentity(user_arn("nobody"), "socket", START))


def test_a_role_on_the_local_socket(service: InProcess) -> None:
    """A session of it."""
    role = service.call("CreateRole", {"account_id": HOME, "role_name": "agent"}).role
    caller = _who(service, Evidence(local_socket=True), SocketIdentity(role.arn, "socket", START))
    assert caller.arn == f"arn:aws:sts::{HOME}:assumed-role/agent/socket"


def test_nothing_of_a_proof_is_shown(service: InProcess) -> None:
    """Neither by repr nor by messages."""
    evidence = Evidence(token="kgt_secret", certificate=b"secret")
    assert "secret" not in repr(evidence)
    with pytest.raises(UnrecognizedClientException) as caught:
        _who(service, Evidence(token="kgt_" + "s" * 42))
    assert "ssss" not in str(caught.value)
