"""Tokens, certificate mappings and GetCallerIdentity: made, used, listed and ended."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.inprocess import HOME, START, InProcess

from kagitori_server.model.arn import root_arn
from kagitori_server.model.call import Evidence
from kagitori_server.model.errors import (
    EntityAlreadyExistsException,
    ExpiredTokenException,
    LimitExceededException,
    MissingAuthenticationTokenException,
    NoSuchEntityException,
    UnrecognizedClientException,
    ValidationException,
)
from kagitori_server.operations.administration import credentials

ALICE = f"arn:aws:iam::{HOME}:user/alice"
WORKER = f"arn:aws:iam::{HOME}:role/worker"
ROOT = root_arn("aws", HOME)
YEAR = 31_536_000


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        opened.call("CreateUser", {"user_name": "alice"})
        opened.call("CreateRole", {"role_name": "worker"})
        yield opened


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """One service for all tests in which nothing is ever done."""
    with InProcess(tmp_path_factory.mktemp("refusing")) as opened:
        opened.call("CreateUser", {"user_name": "alice"})
        opened.call("CreateRole", {"role_name": "worker"})
        yield opened


def _certificate(*, uri: str | None = None, subject: str = "CN=somebody") -> bytes:
    """PEM of a certificate that says so; TLS would have checked who signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string(subject)
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(start).not_valid_after(start + dt.timedelta(days=3650))
    )
    if uri is not None:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _register(service: InProcess, **values: Any) -> str:
    certificate_id: str = service.call("RegisterCertificate", {"principal_arn": ALICE, **values}).certificate_id
    return certificate_id


@pytest.mark.parametrize(
    ("arn", "session", "caller"),
    [
        (ALICE, {}, ALICE),
        (ROOT, {}, ROOT),
        (WORKER, {"session_name": "job-1"}, f"arn:aws:sts::{HOME}:assumed-role/worker/job-1"),
    ],
)
def test_a_token_proves_its_principal(
    service: InProcess, arn: str, session: dict[str, str], caller: str
) -> None:
    made = service.call("CreateToken", {"principal_arn": arn, "description": "for tests", **session})
    assert re.fullmatch(r"kgt_[A-Za-z0-9_-]{43}", made.token)
    assert made.expiration is None
    assert service.call("GetCallerIdentity", token=made.token).arn == caller
    assert service.records()[-1]["userIdentity"]["accessKeyId"] == made.token_id
    [listed] = service.call("ListTokens", {"principal_arn": arn}).tokens[-1:]
    assert (listed.token_id, listed.principal_arn, listed.create_date) == (made.token_id, arn, START)
    assert (listed.description, listed.session_name) == ("for tests", session.get("session_name"))
    assert (listed.expiration, listed.last_used_date) == (None, None)


def test_the_secret_is_shown_once_and_kept_nowhere(service: InProcess) -> None:
    made = service.call("CreateToken", {"principal_arn": ALICE, "duration_seconds": 900})
    secret = made.token.removeprefix("kgt_")
    assert secret not in repr(made)
    assert service.records()[-1]["responseElements"] == {
        "tokenId": made.token_id, "expiration": "Sep 21, 2026, 2:28:20 PM"
    }
    assert secret not in service.audit_text()
    digest = hashlib.sha256(made.token.encode()).digest()
    assert digest.hex() not in service.audit_text()
    with service.catalog.read() as reader:
        kept = reader.find_token(digest)
        assert kept is not None
        assert digest.hex() not in repr(kept)
        assert not any(secret.encode() in intent.record for intent in reader.pending_intents())
    service.pipeline.settle()
    for path in service.audit_folder.parent.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path.name


def test_a_token_ends_when_its_time_is_over(service: InProcess) -> None:
    made = service.call("CreateToken", {"principal_arn": ALICE, "duration_seconds": 900})
    assert made.expiration == START + 900
    service.clock.advance(899)
    service.call("GetCallerIdentity", token=made.token)
    service.clock.advance(1)
    with pytest.raises(ExpiredTokenException):
        service.call("GetCallerIdentity", token=made.token)
    assert service.call("ListTokens", {"principal_arn": ALICE}).tokens == ()


def test_a_token_ends_when_it_is_revoked(service: InProcess) -> None:
    made = service.call("CreateToken", {"principal_arn": ALICE})
    service.call("GetCallerIdentity", token=made.token)
    service.call("RevokeToken", {"token_id": made.token_id})
    with pytest.raises(UnrecognizedClientException):
        service.call("GetCallerIdentity", token=made.token)
    with pytest.raises(NoSuchEntityException):
        service.call("RevokeToken", {"token_id": made.token_id})


@pytest.mark.parametrize("operation", ["CreateToken", "RegisterCertificate"])
@pytest.mark.parametrize(
    "values",
    [
        {"principal_arn": WORKER},
        {"principal_arn": ALICE, "session_name": "session"},
        {"principal_arn": ROOT, "session_name": "session"},
        {"principal_arn": WORKER, "session_name": "s"},
        {"principal_arn": WORKER, "session_name": "s" * 65},
        {"principal_arn": WORKER, "session_name": "a b"},
        {"principal_arn": WORKER, "session_name": "a/b"},
        {"principal_arn": WORKER, "session_name": "ää"},
        {"principal_arn": WORKER, "session_name": "root"},
        {"principal_arn": ALICE, "description": "d" * 257},
        {"principal_arn": "alice"},
        {"principal_arn": f"arn:aws:sts::{HOME}:assumed-role/worker/session"},
        {"principal_arn": f"arn:aws:iam::{HOME}:policy/p"},
        {},
    ],
)
def test_bad_members_are_refused(refusing: InProcess, operation: str, values: dict[str, str]) -> None:
    identity = {"uri_san": "spiffe://a/b"} if operation == "RegisterCertificate" else {}
    with pytest.raises(ValidationException):
        refusing.call(operation, {**identity, **values})


@pytest.mark.parametrize("seconds", [0, -1, 899, YEAR + 1])
def test_a_token_lives_15_minutes_to_a_year(refusing: InProcess, seconds: int) -> None:
    with pytest.raises(ValidationException):
        refusing.call("CreateToken", {"principal_arn": ALICE, "duration_seconds": seconds})


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:iam::{HOME}:user/bob",
        f"arn:aws:iam::{HOME}:group/alice",
        "arn:aws:iam::999999999999:root",
        f"arn:aws-cn:iam::{HOME}:root",
    ],
)
def test_unknown_principals_are_not_found(refusing: InProcess, arn: str) -> None:
    for operation, more in (
        ("CreateToken", {}), ("RegisterCertificate", {"uri_san": "spiffe://a/b"}),
        ("ListTokens", {}), ("ListCertificates", {}),
    ):
        with pytest.raises(NoSuchEntityException):
            refusing.call(operation, {"principal_arn": arn, **more})


@pytest.mark.parametrize("wrong", ["x", "tok-00000000000-0000000000000000", "0" * 64])
def test_unknown_ids_are_not_found(refusing: InProcess, wrong: str) -> None:
    for operation, name in (("RevokeToken", "token_id"), ("DeregisterCertificate", "certificate_id")):
        with pytest.raises(NoSuchEntityException):
            refusing.call(operation, {name: wrong})


@pytest.mark.parametrize("wrong", ["", "X", "a" * 65, "a b", "kgt_secret"])
def test_what_can_be_no_id_is_refused_and_not_repeated(refusing: InProcess, wrong: str) -> None:
    for operation, name in (("RevokeToken", "token_id"), ("DeregisterCertificate", "certificate_id")):
        with pytest.raises(ValidationException):
            refusing.call(operation, {name: wrong})


def test_a_principal_has_a_most_of_tokens_of_which_expired_ones_do_not_count(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "TOKENS_MAX", 2)
    service.call("CreateToken", {"principal_arn": ALICE})
    service.call("CreateToken", {"principal_arn": ALICE, "duration_seconds": 900})
    with pytest.raises(LimitExceededException):
        service.call("CreateToken", {"principal_arn": ALICE})
    service.new_token(WORKER, "other")
    service.clock.advance(900)
    service.call("CreateToken", {"principal_arn": ALICE})
    with service.catalog.read() as reader:
        assert reader.count_tokens(ALICE) == 2


def test_tokens_are_listed_oldest_first_in_pages(service: InProcess) -> None:
    made = []
    owners: tuple[tuple[str, dict[str, str]], ...] = (
        (ALICE, {}), (WORKER, {"session_name": "one"}), (ALICE, {}), (WORKER, {"session_name": "two"}),
    )
    for arn, session in owners:
        made.append(service.call("CreateToken", {"principal_arn": arn, **session}).token_id)
        service.clock.advance(1)
    listed = service.call("ListTokens").tokens
    assert [token.token_id for token in listed][-4:] == made
    assert len(listed) == 5, "the root's first token is there too"
    first = service.call("ListTokens", {"principal_arn": ALICE, "limit": 1})
    assert ([token.token_id for token in first.tokens], first.truncated) == ([made[0]], True)
    last = service.call("ListTokens", {"principal_arn": ALICE, "limit": 1, "marker": first.next_marker})
    assert ([token.token_id for token in last.tokens], last.truncated) == ([made[2]], False)


# --- certificates -------------------------------------------------------------------------------------------------


def test_a_uri_proves_its_principal_until_it_is_deregistered(service: InProcess) -> None:
    uri = "urn:example:ns/prod/a%20b"
    certificate_id = _register(service, uri_san=uri, description="for tests")
    pem = _certificate(uri=uri)
    assert service.call("GetCallerIdentity", certificate=pem).arn == ALICE
    [listed] = service.call("ListCertificates").certificates
    assert (listed.certificate_id, listed.principal_arn) == (certificate_id, ALICE)
    assert (listed.uri_san, listed.subject, listed.description) == (uri, None, "for tests")
    service.call("DeregisterCertificate", {"certificate_id": certificate_id})
    with pytest.raises(UnrecognizedClientException):
        service.call("GetCallerIdentity", certificate=pem)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("CN=somebody,O=Example", "CN=somebody,O=Example"),
        ("CN=a\\2cb,O=x\\, y", "CN=a\\,b,O=x\\, y"),
        ("CN=ä,OU=b,C=DE", "CN=ä,OU=b,C=DE"),
        ("UID=x,DC=example,DC=org", "UID=x,DC=example,DC=org"),
        ("2.5.4.3=somebody", "CN=somebody"),
        ("1.2.840.113549.1.9.1=a@b", "1.2.840.113549.1.9.1=a@b"),
    ],
)
def test_a_subject_is_kept_as_certificates_say_it(service: InProcess, given: str, kept: str) -> None:
    _register(service, subject=given)
    assert service.call("GetCallerIdentity", certificate=_certificate(subject=given)).arn == ALICE
    assert service.call("ListCertificates").certificates[0].subject == kept


def test_a_certificate_opens_a_session_of_a_role(service: InProcess) -> None:
    service.call("RegisterCertificate", {"principal_arn": WORKER, "subject": "CN=w", "session_name": "host-1"})
    who = service.call("GetCallerIdentity", certificate=_certificate(subject="CN=w"))
    assert who.arn == f"arn:aws:sts::{HOME}:assumed-role/worker/host-1"
    role_id = service.call("GetRole", {"role_name": "worker"}).role.role_id
    assert who.user_id == f"{role_id}:host-1"


@pytest.mark.parametrize(
    "identity",
    [
        {},
        {"uri_san": "spiffe://a/b", "subject": "CN=a"},
        {"uri_san": ""},
        {"uri_san": "no-scheme"},
        {"uri_san": "spiffe:"},
        {"uri_san": "1a://b"},
        {"uri_san": "spiffe://a b"},
        {"uri_san": "spiffe://ä"},
        {"uri_san": "spiffe://a/%zz"},
        {"uri_san": "spiffe://a/%2"},
        {"uri_san": "spiffe://a/<b>"},
        {"uri_san": "spiffe://a/b\n"},
        {"uri_san": "spiffe://" + "a" * 2_040},
        {"subject": ""},
        {"subject": " "},
        {"subject": "somebody"},
        {"subject": "CN="},
        {"subject": "CN=a,"},
        {"subject": "cn=a"},
        {"subject": "CN=a, O=b"},
        {"subject": "XX=a"},
        {"subject": "C=DEU"},
        {"subject": "CN=a+OU=b"},
        {"subject": "CN=a\\0ab"},
        {"subject": "CN=" + "a" * 65},
        {"subject": "CN=a\\00b"},
        {"subject": "1.2.3.4=#0c0161"},
        {"subject": ",".join(["OU=" + "a" * 60] * 9)},
        {"subject": "CN=" + "a" * 2_046},
    ],
)
def test_anything_but_one_readable_identity_is_refused(refusing: InProcess, identity: dict[str, str]) -> None:
    with pytest.raises(ValidationException):
        _register(refusing, **identity)


def test_an_identity_can_be_registered_once_in_all_accounts(service: InProcess) -> None:
    other = service.new_account("111111111111")
    _register(service, uri_san="spiffe://a/b")
    _register(service, subject="CN=a\\2cb")
    for identity in ({"uri_san": "spiffe://a/b"}, {"subject": "CN=a\\,b"}):
        with pytest.raises(EntityAlreadyExistsException):
            _register(service, **identity)
        with pytest.raises(EntityAlreadyExistsException):
            service.call(
                "RegisterCertificate", {"principal_arn": root_arn("aws", "111111111111"), **identity}, token=other
            )


def test_a_principal_has_a_most_of_certificates(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "CERTIFICATES_MAX", 2)
    for number in range(2):
        _register(service, uri_san=f"spiffe://a/{number}")
    with pytest.raises(LimitExceededException):
        _register(service, uri_san="spiffe://a/2")


def test_certificates_are_listed_oldest_first_in_pages(service: InProcess) -> None:
    made = []
    for number in range(3):
        made.append(_register(service, uri_san=f"spiffe://a/{9 - number}"))
        service.clock.advance(0.002)
    first = service.call("ListCertificates", {"principal_arn": ALICE, "limit": 2})
    assert [found.certificate_id for found in first.certificates] == made[:2]
    last = service.call("ListCertificates", {"principal_arn": ALICE, "limit": 2, "marker": first.next_marker})
    assert ([found.certificate_id for found in last.certificates], last.truncated) == (made[2:], False)
    assert service.call("ListCertificates", {"principal_arn": WORKER}).certificates == ()


# --- who am I -----------------------------------------------------------------------------------------------------


def test_everybody_known_may_ask_who_it_is_and_nobody_else(service: InProcess) -> None:
    token = service.new_token(ALICE)
    user_id = service.call("GetUser", {"user_name": "alice"}).user.user_id
    who = service.call("GetCallerIdentity", token=token)
    assert (who.account_id, who.arn, who.user_id) == (HOME, ALICE, user_id)
    with pytest.raises(MissingAuthenticationTokenException):
        service.send("GetCallerIdentity", {}, Evidence())
