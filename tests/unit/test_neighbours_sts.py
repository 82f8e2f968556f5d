"""STS for AWS's clients: who asks, sessions by AssumeRole and by tokens of OpenID Connect issuers, what is refused and
what records show of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.identities import HOME_ARN, new_role, statement, trust
from tests.support.inprocess import ALLOW_ALL, HOME, START, InProcess
from tests.support.issuer import AUDIENCE, Issuer, SigningKey, compact

from kagitori_server.model.call import Evidence, ExchangedToken
from kagitori_server.model.errors import (
    AccessDeniedException,
    KmsError,
    MalformedPolicyDocumentException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
    ValidationException,
)
from kagitori_server.model.neighbour_errors import (
    ExpiredIdentityTokenException,
    IDPCommunicationErrorException,
    IDPRejectedClaimException,
    InvalidIdentityTokenException,
    PackedPolicyTooLargeException,
)
from kagitori_server.model.principals import AccessKeyRecord
from kagitori_server.model.shape import Constraint
from kagitori_server.operations.identity_table import ASSUME_ROLE
from kagitori_server.operations.neighbour_table import ASSUME as ASSUME_ROW
from kagitori_server.operations.neighbour_table import NEIGHBOURS
from kagitori_server.operations.row import Operation
from kagitori_server.operations.table import TABLE
from kagitori_server.simulation.sessions import PastSessions

ALICE = f"{HOME_ARN}:user/alice"
WORKER = f"{HOME_ARN}:role/worker"
OTHER = "222222222222"
ASSUME, EXCHANGE, WHO = "sts AssumeRole", "sts AssumeRoleWithWebIdentity", "sts GetCallerIdentity"
DENY_ALL = statement("*", "Deny")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer(now=START) as opened:
        yield opened


def assume(service: InProcess, token: str, **members: object) -> Any:
    """The answer to STS AssumeRole of the role `worker`."""
    return service.call(ASSUME, {"role_arn": WORKER, "role_session_name": "s1", **members}, token=token)


def kept(service: InProcess, answer: Any) -> AccessKeyRecord:
    """What the catalog has of a session's access key."""
    with service.catalog.read() as reader:
        found = reader.get_access_key(answer.credentials.access_key_id)
    assert found is not None
    return found


def test_rows_are_out_of_reach_and_show_no_secrets() -> None:
    """No transport's caller can name them; records show no sensitive member of a request and no hidden one of an
    answer."""
    assert not NEIGHBOURS.keys() & TABLE.keys()
    for name, row in NEIGHBOURS.items():
        assert " " in name
        assert isinstance(row, Operation)
        sent = {field.name: field for field in dataclasses.fields(row.request.cls)}
        for shown in row.audit.request_shown:
            constraint = sent[shown].metadata["constraint"]
            assert isinstance(constraint, Constraint)
            assert not constraint.sensitive
        answered = {field.name: field for field in dataclasses.fields(row.response)}
        assert all(answered[shown].repr for shown in row.audit.response_shown if "." not in shown)
        assert {shown for shown in row.audit.response_shown if "." in shown} <= {
            "credentials.access_key_id", "credentials.expiration",
        }


def test_everybody_hears_who_it_is(service: InProcess) -> None:
    """Even whom a policy denies everything; nobody else does. Its record is one of STS."""
    token = service.new_user("alice", policies={"deny": DENY_ALL})
    answer = service.call(WHO, token=token)
    assert (answer.arn, answer.account) == (ALICE, HOME)
    assert answer.user_id.startswith("AIDA")
    record = service.records()[-1]
    assert (record["eventSource"], record["eventName"]) == ("sts.amazonaws.com", "GetCallerIdentity")
    assert (record["readOnly"], record["requestParameters"], record["responseElements"]) == (True, None, None)
    with pytest.raises(MissingAuthenticationTokenException):
        service.send(WHO, {}, Evidence())
    with pytest.raises(UnrecognizedClientException):
        service.send(WHO, {}, Evidence(token="kgt_" + "x" * 43))
    assert service.records()[-1]["userIdentity"] == {"type": "Unknown"}
    assert service.records()[-1]["eventSource"] == "sts.amazonaws.com"


def test_a_session(service: InProcess) -> None:
    """Policy, tags, source identity, external id and end are as asked; the record tells all but secrets."""
    alice = service.new_user("alice")
    condition = {"StringEquals": {"sts:ExternalId": "x:1/2", "aws:RequestTag/team": "red"}}
    new_role(service, max_session_duration=7200, trust_policy=trust(ALICE, Condition=condition))
    policy = statement("kms:ListKeys")
    answer = assume(
        service, alice, policy=policy, duration_seconds=7200, tags=[{"key": "team", "value": "red"}],
        external_id="x:1/2", source_identity="alice@example",
    )
    assert answer.assumed_role_user.arn == f"arn:aws:sts::{HOME}:assumed-role/worker/s1"
    assert answer.assumed_role_user.assumed_role_id.endswith(":s1")
    assert answer.credentials.access_key_id.startswith("ASIA")
    assert answer.credentials.expiration == START + 7200
    assert answer.source_identity == "alice@example"
    assert 0 < answer.packed_policy_size < 10
    assert answer.session_token_size == len(answer.credentials.session_token)
    key = kept(service, answer)
    assert key.session is not None
    assert (key.session.policy, key.session.source_identity) == (policy, "alice@example")
    assert dict(key.session.tags) == {"team": "red"}
    record = service.records()[-1]
    assert record["requestParameters"] == {
        "roleArn": WORKER, "roleSessionName": "s1", "policy": policy, "durationSeconds": 7200,
        "tags": [{"key": "team", "value": "red"}], "externalId": "x:1/2", "sourceIdentity": "alice@example",
    }
    shown = record["responseElements"]
    assert shown["credentials"]["accessKeyId"] == answer.credentials.access_key_id
    assert set(shown["credentials"]) == {"accessKeyId", "expiration"}
    assert shown["assumedRoleUser"]["arn"] == answer.assumed_role_user.arn
    assert record["resources"] == [{"accountId": HOME, "type": "AWS::IAM::Role", "ARN": WORKER}]
    assert record["eventSource"] == "sts.amazonaws.com"
    for secret in (answer.credentials.secret_access_key, answer.credentials.session_token):
        assert secret not in service.audit_text()
        assert secret not in repr(answer)


def test_a_session_without_extras(service: InProcess) -> None:
    """Nothing packed, an hour."""
    alice = service.new_user("alice")
    new_role(service, trust_policy=trust(ALICE))
    answer = assume(service, alice)
    assert (answer.packed_policy_size, answer.source_identity) == (None, None)
    assert answer.credentials.expiration == START + 3600


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"external_id": "wrong"}, AccessDeniedException),
        ({"external_id": None}, AccessDeniedException),
        ({"role_arn": f"{HOME_ARN}:role/nobody"}, AccessDeniedException),
        ({"role_arn": "arn:aws:iam::whatever:this-is/nothing"}, AccessDeniedException),
        ({"role_arn": ALICE}, AccessDeniedException),
        ({"role_arn": "short"}, ValidationException),
        ({"role_session_name": "a b"}, ValidationException),
        ({"role_session_name": "r"}, ValidationException),
        ({"role_session_name": "root"}, ValidationException),
        ({"duration_seconds": 899}, ValidationException),
        ({"duration_seconds": 3601}, ValidationException),
        ({"duration_seconds": 43201}, ValidationException),
        ({"policy": "{}"}, MalformedPolicyDocumentException),
        ({"policy": "{" + " " * 2048 + "}"}, PackedPolicyTooLargeException),
        ({"policy_arns": [{"arn": f"{HOME_ARN}:policy/p"}]}, ValidationException),
        ({"policy_arns": [{}]}, ValidationException),
        ({"transitive_tag_keys": ["a"]}, ValidationException),
        ({"serial_number": "GAHT12345678"}, ValidationException),
        ({"token_code": "123456"}, ValidationException),
        ({"provided_contexts": [{}]}, ValidationException),
        ({"minimum_session_token_size": 1}, ValidationException),
        ({"tags": [{"key": "aws:x", "value": ""}]}, ValidationException),
        ({"tags": [{"key": "x", "value": "1"}, {"key": "x", "value": "2"}]}, ValidationException),
    ],
)
def test_what_no_session_can_have(service: InProcess, members: dict[str, Any], error: type[KmsError]) -> None:
    """Refused, not left out; no credentials are made and the code in the record is the refusal's."""
    alice = service.new_user("alice")
    new_role(service, trust_policy=trust(ALICE, Condition={"StringEquals": {"sts:ExternalId": "right"}}))
    wanted = {"external_id": "right", **members}
    with pytest.raises(error) as caught:
        assume(service, alice, **{name: value for name, value in wanted.items() if value is not None})
    assert type(caught.value) is error
    with service.catalog.read() as reader:
        assert reader.count_tokens(WORKER) == 0
    record = service.records()[-1]
    assert record["errorCode"] == ("AccessDenied" if error is AccessDeniedException else error.code())
    assert "123456" not in service.audit_text()


def test_default_is_no(service: InProcess) -> None:
    """Nobody whom the trust policy doesn't name; no role without one; no root user; nobody whom a policy denies."""
    alice, bob = service.new_user("alice"), service.new_user("bob", policies={"all": ALLOW_ALL})
    denied = service.new_user("carol", policies={"deny": DENY_ALL})
    new_role(service, trust_policy=trust([ALICE, f"{HOME_ARN}:user/carol"]))
    new_role(service, name="untrusting")
    assume(service, alice)
    for token, role in (
        (bob, WORKER), (denied, WORKER), (alice, f"{HOME_ARN}:role/untrusting"), (service.root_token, WORKER),
    ):
        with pytest.raises(AccessDeniedException):
            assume(service, token, role_arn=role)


def test_across_accounts(service: InProcess) -> None:
    """Both sides have to allow; both have a record of it."""
    service.new_account(OTHER)
    carol = service.new_user("carol", account=OTHER, policies={"all": ALLOW_ALL})
    idle = service.new_user("idle", account=OTHER)
    new_role(service, trust_policy=trust(f"arn:aws:iam::{OTHER}:root"))
    assume(service, carol)
    copies = [record for record in service.records() if record["eventName"] == "AssumeRole"]
    assert {record["recipientAccountId"] for record in copies} == {HOME, OTHER}
    with pytest.raises(AccessDeniedException):
        assume(service, idle)


def test_records_tell_of_past_sessions(service: InProcess) -> None:
    """To simulations, once the catalog has forgotten them: by access key as by token."""
    alice = service.new_user("alice")
    new_role(service, trust_policy=trust(ALICE))
    policy = statement("kms:ListKeys")
    answer = assume(service, alice, policy=policy, tags=[{"key": "team", "value": "red"}])
    past = PastSessions((ASSUME_ROLE, ASSUME_ROW), lambda: [service.audit_text().encode().splitlines()])
    found = past.find(answer.credentials.access_key_id)
    assert found is not None
    assert (found.policy, found.tags) == (policy, {"team": "red"})
    token_id = service.records()[-1]["additionalEventData"]["tokenId"]
    assert past.find(token_id) is found
    assert past.find("ASIAAAAAAAAAAAAAAAAA") is None


# --- AssumeRoleWithWebIdentity -----------------------------------------------------------------------------------


def federated(issuer: Issuer, *actions: str, account: str = HOME, **condition: Mapping[str, object]) -> str:
    """A trust policy for the issuer's provider."""
    provider = f"arn:aws:iam::{account}:oidc-provider/{issuer.name}"
    more: dict[str, Any] = {"Condition": condition} if condition else {}
    return statement(["sts:AssumeRoleWithWebIdentity", *actions], Principal={"Federated": provider}, **more)


def provide(service: InProcess, issuer: Issuer, **members: object) -> str:
    """Trusts the issuer for the role `workloads`, whose own trust policy admits nobody. Returns the provider's ARN."""
    role = new_role(service, "workloads")
    values = {
        "issuer_url": issuer.url, "audiences": [AUDIENCE], "role_arn": role,
        "jwks_document": issuer.publish(issuer.signing), **members,
    }
    arn: str = service.call(
        "CreateOidcProvider", {name: value for name, value in values.items() if value is not None}
    ).oidc_provider_arn
    return arn


def exchange(service: InProcess, token: str, role: str = WORKER, session: str = "pod", **members: object) -> Any:
    """The answer to AssumeRoleWithWebIdentity as a transport asks it."""
    values = {"role_arn": role, "role_session_name": session, "web_identity_token": token, **members}
    return service.send(EXCHANGE, values, Evidence(exchanged=ExchangedToken(token, role, session)))


def test_a_token_for_a_session(service: InProcess, issuer: Issuer) -> None:
    """Of the role and by the name that the request says, with the tags of the token's claims."""
    arn = provide(service, issuer, tag_claims={"ns": "namespace"})
    new_role(service, trust_policy=federated(
        issuer, "sts:TagSession", StringEquals={f"{issuer.name}:sub": "workload", "sts:RoleSessionName": "pod"},
    ))
    token = issuer.token(namespace="shop")
    answer = exchange(service, token, policy=statement("kms:*"), duration_seconds=900)
    assert answer.assumed_role_user.arn == f"arn:aws:sts::{HOME}:assumed-role/worker/pod"
    assert answer.credentials.expiration == START + 900
    assert (answer.subject_from_web_identity_token, answer.provider, answer.audience) == ("workload", arn, AUDIENCE)
    session = kept(service, answer).session
    assert session is not None
    assert (dict(session.tags), session.federated_provider) == ({"ns": "shop"}, arn)
    record = service.records()[-1]
    assert record["userIdentity"] == {
        "type": "WebIdentityUser", "principalId": f"{arn}:{AUDIENCE}:workload", "userName": "workload",
        "identityProvider": arn,
    }
    assert record["responseElements"]["credentials"]["accessKeyId"] == answer.credentials.access_key_id
    assert record["responseElements"]["subjectFromWebIdentityToken"] == "workload"
    assert record["resources"] == [{"accountId": HOME, "type": "AWS::IAM::Role", "ARN": WORKER}]
    for secret in (token, answer.credentials.secret_access_key, answer.credentials.session_token):
        assert secret not in service.audit_text()
        assert secret not in repr(answer)


def test_what_trust_says(service: InProcess, issuer: Issuer) -> None:
    """The role has to name the provider and allow the action, tags too; the provider's own role is no other."""
    provide(service, issuer)
    token = issuer.token()
    new_role(service, "plain", trust_policy=trust("*"))
    new_role(service, "other", trust_policy=federated(issuer, account=OTHER))
    new_role(service, "named", trust_policy=federated(issuer, StringEquals={f"{issuer.name}:sub": "somebody"}))
    for name in ("plain", "other", "named", "workloads", "nobody"):
        with pytest.raises(AccessDeniedException) as caught:
            exchange(service, token, f"{HOME_ARN}:role/{name}")
        assert caught.value.message == "Not authorized to perform sts:AssumeRoleWithWebIdentity"
    service.new_account(OTHER)
    service.call("CreateRole", {
        "account_id": OTHER, "role_name": "far", "assume_role_policy_document": federated(issuer),
    })
    with pytest.raises(AccessDeniedException):
        exchange(service, token, f"arn:aws:iam::{OTHER}:role/far")
    new_role(service, trust_policy=federated(issuer))
    assert exchange(service, token).packed_policy_size is None


def test_as_long_as_the_role_allows(service: InProcess, issuer: Issuer) -> None:
    """Which may be more than an hour: nobody's session renews itself with this."""
    provide(service, issuer)
    new_role(service, trust_policy=federated(issuer), max_session_duration=7200)
    assert exchange(service, issuer.token(), duration_seconds=7200).credentials.expiration == START + 7200
    with pytest.raises(ValidationException):
        exchange(service, issuer.token(), duration_seconds=7201)


def test_tags_need_their_permission(service: InProcess, issuer: Issuer) -> None:
    provide(service, issuer, tag_claims={"ns": "namespace"})
    new_role(service, trust_policy=federated(issuer))
    with pytest.raises(AccessDeniedException):
        exchange(service, issuer.token(namespace="shop"))
    assert exchange(service, issuer.token()).packed_policy_size is None


def test_tokens_that_open_nothing(service: InProcess, issuer: Issuer) -> None:
    """Each with STS's own error; nothing of the token gets into a record."""
    provide(service, issuer, tag_claims={"ns": "namespace"})
    new_role(service, trust_policy=federated(issuer, "sts:TagSession"))
    stranger = SigningKey(key_id=issuer.signing.key_id)
    cases: tuple[tuple[str, type[KmsError]], ...] = (
        (issuer.token(exp=int(START) - 1), ExpiredIdentityTokenException),
        (issuer.token(nbf=int(START) + 600), InvalidIdentityTokenException),
        (issuer.token(aud="somebody-else"), InvalidIdentityTokenException),
        (issuer.token(iss="https://elsewhere.example"), InvalidIdentityTokenException),
        (compact(issuer.header(), issuer.claims(), stranger), InvalidIdentityTokenException),
        (compact(issuer.header(alg="none"), issuer.claims(), issuer.signing), InvalidIdentityTokenException),
        ("not-a-token", InvalidIdentityTokenException),
        (service.root_token, InvalidIdentityTokenException),
        (issuer.token(namespace=["a", "b"]), IDPRejectedClaimException),
        (issuer.token(namespace="x" * 300), IDPRejectedClaimException),
    )
    for token, error in cases:
        with pytest.raises(error) as caught:
            exchange(service, token)
        assert type(caught.value) is error
        record = service.records()[-1]
        assert (record["errorCode"], record["eventName"]) == (error.code(), "AssumeRoleWithWebIdentity")
        assert (record["eventSource"], record["userIdentity"]) == ("sts.amazonaws.com", {"type": "Unknown"})
        assert token not in service.audit_text()
        assert token not in caught.value.message


def test_issuers_that_cannot_be_reached(service: InProcess, issuer: Issuer) -> None:
    provide(service, issuer, issuer_url="https://127.0.0.1:1/none", jwks_document=None)
    new_role(service, trust_policy=federated(issuer))
    with pytest.raises(IDPCommunicationErrorException):
        exchange(service, issuer.token(iss="https://127.0.0.1:1/none"))


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"duration_seconds": 3601}, ValidationException),
        ({"provider_id": "www.amazon.com"}, ValidationException),
        ({"policy_arns": [{}]}, ValidationException),
        ({"policy": "{}"}, MalformedPolicyDocumentException),
        ({"policy": " " * 2049}, ValidationException),
        ({"minimum_session_token_size": 4000}, ValidationException),
        ({"session": "root"}, ValidationException),
    ],
)
def test_what_no_token_opens(
    service: InProcess, issuer: Issuer, members: dict[str, Any], error: type[KmsError]
) -> None:
    provide(service, issuer)
    new_role(service, trust_policy=federated(issuer))
    with pytest.raises(error):
        exchange(service, issuer.token(), **members)


def test_a_shown_token_proves_nothing_else(service: InProcess, issuer: Issuer) -> None:
    """It comes with one operation, for the role that it was checked for; no other proof opens that operation."""
    provide(service, issuer)
    new_role(service, trust_policy=federated(issuer), inline=ALLOW_ALL)
    new_role(service, "second", trust_policy=federated(issuer), inline=ALLOW_ALL)
    token = issuer.token()
    shown = ExchangedToken(token, WORKER, "pod")
    assert token not in repr(Evidence(exchanged=shown))
    assert token not in repr(shown)
    for operation in ("ListKeys", "CreateKey", WHO, "sts AssumeRole"):
        with pytest.raises(KmsError):
            service.send(operation, {"role_arn": WORKER, "role_session_name": "x2"} if "Assume" in operation else {},
                         Evidence(exchanged=shown))
    values = {"role_arn": f"{HOME_ARN}:role/second", "role_session_name": "pod", "web_identity_token": token}
    with pytest.raises(AccessDeniedException):
        service.send(EXCHANGE, values, Evidence(exchanged=shown))
    values["role_arn"] = WORKER
    for name, other in (("role_session_name", "another"), ("web_identity_token", issuer.token(sub="another"))):
        with pytest.raises(AccessDeniedException):
            service.send(EXCHANGE, {**values, name: other}, Evidence(exchanged=shown))
    for evidence in (Evidence(token=service.root_token), Evidence(token=token)):
        with pytest.raises(AccessDeniedException):
            service.send(EXCHANGE, values, evidence)
    with pytest.raises(UnrecognizedClientException):
        service.send(EXCHANGE, values, Evidence(exchanged=shown, token=service.root_token))
    with pytest.raises(MissingAuthenticationTokenException):
        service.send(EXCHANGE, values, Evidence())


def test_sessions_remember_their_provider(service: InProcess, issuer: Issuer) -> None:
    arn = provide(service, issuer)
    new_role(service, trust_policy=federated(issuer))
    exchange(service, issuer.token())
    with service.catalog.read() as reader:
        (token,) = reader.list_tokens(HOME, WORKER)
    assert token.session is not None
    assert (token.session.federated_provider, dict(token.session.tags)) == (arn, {})
