"""Callers with tokens of OpenID Connect issuers: who gets in, as whom, and every way not to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from tests.support.inprocess import ALLOW_ALL, HOME, START, InProcess
from tests.support.issuer import AUDIENCE, Issuer, SigningKey, base64url, compact, with_hmac

from kagitori_server.model.call import Evidence
from kagitori_server.model.errors import (
    AccessDeniedException,
    DeleteConflictException,
    ExpiredTokenException,
    UnrecognizedClientException,
)

ROLE = f"arn:aws:iam::{HOME}:role/workloads"
TENANT = "111122223333"


def trust(issuer: Issuer, *, tags: bool = False, condition: Mapping[str, object] | None = None) -> str:
    """A trust policy that admits the issuer's callers."""
    actions = ["sts:AssumeRoleWithWebIdentity", *(["sts:TagSession"] if tags else [])]
    statement: dict[str, object] = {
        "Effect": "Allow", "Principal": {"Federated": provider_arn(issuer)}, "Action": actions,
    }
    if condition is not None:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def provider_arn(issuer: Issuer, account: str = HOME) -> str:
    """What CreateOidcProvider answers."""
    return f"arn:aws:iam::{account}:oidc-provider/{issuer.name}"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer(now=START) as opened:
        yield opened


@pytest.fixture
def service(tmp_path: Any, issuer: Issuer) -> Iterator[InProcess]:
    """A service that trusts the issuer: its tokens are sessions of a role that may do everything."""
    with InProcess(tmp_path) as opened:
        opened.call("CreateRole", {"role_name": "workloads", "assume_role_policy_document": trust(issuer)})
        policy = {"principal_arn": ROLE, "policy_name": "all", "policy_document": ALLOW_ALL}
        opened.call("PutIdentityPolicy", policy)
        yield opened


def register(service: InProcess, issuer: Issuer, **members: object) -> str:
    """Makes the provider, its keys given with it. Returns its ARN."""
    values = {
        "issuer_url": issuer.url, "audiences": [AUDIENCE], "role_arn": ROLE,
        "jwks_document": issuer.publish(issuer.signing), **members,
    }
    arn: str = service.call("CreateOidcProvider", {k: v for k, v in values.items() if v is not None}).oidc_provider_arn
    return arn


def who(service: InProcess, token: str) -> Any:
    return service.call("GetCallerIdentity", token=token)


def refused(service: InProcess, token: str, error: type[Exception] = UnrecognizedClientException) -> None:
    """The token is refused for reads, writes and batches alike, and nothing of it is recorded."""
    for operation, values in (
        ("GetCallerIdentity", {}), ("CreateKey", {}), ("ListKeys", {}), ("BatchEncrypt", {"items": [{"key_id": "x"}]}),
    ):
        with pytest.raises(error) as caught:
            service.send(operation, values, Evidence(token=token))
        assert token not in repr(caught.value)
        assert service.records()[-1]["userIdentity"] == {"type": "Unknown"}
    for part in token.split("."):
        assert len(part) < 8 or part not in service.audit_text()


def test_a_workload_calls(service: InProcess, issuer: Issuer) -> None:
    """Its session is named by the subject, ends with the token, and shows in records as CloudTrail does it."""
    arn = register(service, issuer)
    assert arn == provider_arn(issuer)
    token = issuer.token()
    identity = who(service, token)
    assert identity.arn == f"arn:aws:sts::{HOME}:assumed-role/workloads/workload"
    key_id = service.call("CreateKey", {}, token=token).key_metadata.key_id
    sealed = service.call("Encrypt", {"key_id": key_id, "plaintext": b"x"}, token=token)
    assert service.call("Decrypt", {"ciphertext_blob": sealed.ciphertext_blob}, token=token).plaintext == b"x"
    recorded = service.records()[-1]["userIdentity"]
    assert recorded["type"] == "AssumedRole"
    assert recorded["accessKeyId"].startswith("jwt-")
    context = recorded["sessionContext"]
    assert context["webIdFederationData"] == {"federatedProvider": arn, "attributes": {}}
    assert context["sessionIssuer"]["arn"] == ROLE
    assert token not in service.audit_text()
    service.clock.advance(299)
    assert who(service, token).user_id == identity.user_id
    service.clock.advance(1)
    refused(service, token, ExpiredTokenException)


@pytest.mark.parametrize(
    "algorithm",
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed448"],
)
def test_every_accepted_algorithm(service: InProcess, issuer: Issuer, algorithm: str) -> None:
    """Signed by `cryptography` itself; a token whose signature is another one's is refused."""
    name = "EdDSA" if algorithm == "Ed448" else algorithm
    issuer.signing = SigningKey(algorithm)
    issuer.signing.algorithm = name
    register(service, issuer)
    assert who(service, issuer.token()).account_id == HOME
    good, other = issuer.token().rpartition("."), issuer.token(sub="other").rpartition(".")
    refused(service, good[0] + "." + other[2])


def test_tokens_made_by_the_library(service: InProcess, issuer: Issuer) -> None:
    register(service, issuer)
    pem = issuer.signing.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    token = jwt.encode(issuer.claims(), pem, algorithm="ES256", headers={"kid": "key-1"})
    assert who(service, token).arn.endswith("/workload")


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None}, {"exp": "tomorrow"}, {"exp": True}, {"exp": -1}, {"exp": 10**40}, {"exp": [1]},
        {"nbf": START + 61}, {"iat": START + 61}, {"nbf": "now"}, {"iat": {}},
        {"aud": "other"}, {"aud": None}, {"aud": []}, {"aud": [AUDIENCE, 1]}, {"aud": {"a": AUDIENCE}},
        {"aud": AUDIENCE + "/"},
        {"iss": "https://issuer.example"}, {"iss": None}, {"iss": 1}, {"iss": ""},
        {"sub": None}, {"sub": ""}, {"sub": 7}, {"sub": ["workload"]},
    ],
    ids=repr,
)
def test_claims_that_are_refused(service: InProcess, issuer: Issuer, claims: dict[str, object]) -> None:
    register(service, issuer)
    refused(service, issuer.token(**claims))


def test_an_issuer_with_a_slash_more(service: InProcess, issuer: Issuer) -> None:
    register(service, issuer)
    refused(service, issuer.token(iss=issuer.url + "/"))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["other", AUDIENCE]}, {"nbf": None, "iat": None}, {"nbf": START + 59, "iat": START + 59},
        {"exp": START + 0.5},
    ],
    ids=repr,
)
def test_claims_that_are_accepted(service: InProcess, issuer: Issuer, claims: dict[str, object]) -> None:
    register(service, issuer)
    assert who(service, issuer.token(**claims)).account_id == HOME


def test_a_token_that_was_over_before_it_came(service: InProcess, issuer: Issuer) -> None:
    """Said of tokens alone that the issuer has signed."""
    register(service, issuer)
    refused(service, issuer.token(exp=START), ExpiredTokenException)
    forged = compact(issuer.header(), issuer.claims(exp=START), SigningKey())
    refused(service, forged)


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "other"}, {"kid": 1}, {"kid": "x" * 300}, {"alg": None}, {"alg": "ES384"}, {"alg": "RS256"},
        {"alg": "es256"}, {"alg": "none"}, {"alg": ["ES256"]}, {"crit": ["exp"]}, {"crit": []}, {"b64": False},
        {"b64": True, "crit": ["b64"]}, {"typ": "logout+jwt"}, {"typ": 1},
    ],
    ids=repr,
)
def test_headers_that_are_refused(service: InProcess, issuer: Issuer, header: dict[str, object]) -> None:
    """Signed by the right key all the same."""
    register(service, issuer)
    refused(service, compact(issuer.header(**header), issuer.claims(), issuer.signing))


@pytest.mark.parametrize(
    "header", [{"kid": None}, {"typ": None}, {"typ": "at+JWT"}, {"jku": "https://evil.example"}], ids=repr
)
def test_headers_that_are_accepted(service: InProcess, issuer: Issuer, header: dict[str, object]) -> None:
    """Without an id, the only key fits. Where a header says that keys are is never looked at."""
    register(service, issuer)
    assert who(service, compact(issuer.header(**header), issuer.claims(), issuer.signing)).account_id == HOME


def test_no_algorithm_and_symmetric_ones(service: InProcess, issuer: Issuer) -> None:
    """`none`, and HMAC with the public key as its secret."""
    issuer.signing = SigningKey("RS256")
    register(service, issuer)
    head, body = (base64url(json.dumps(part).encode()) for part in (issuer.header(alg="none"), issuer.claims()))
    for signature in ("", "AAAA"):
        refused(service, f"{head}.{body}.{signature}")
    public = issuer.signing.private.public_key()
    formats = serialization.PublicFormat
    secrets = [
        public.public_bytes(serialization.Encoding.PEM, formats.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, formats.SubjectPublicKeyInfo),
        issuer.publish(issuer.signing).encode(), b"",
    ]
    for secret in secrets:
        for header in (issuer.header(alg="HS256"), issuer.header(alg="HS256", kid=None), issuer.header()):
            refused(service, with_hmac(header, issuer.claims(), secret))


def test_an_rsa_key_for_one_algorithm(service: InProcess, issuer: Issuer) -> None:
    """A key that says RS256 signs nothing else."""
    issuer.signing = SigningKey("RS256")
    register(service, issuer)
    issuer.signing.algorithm = "PS256"
    refused(service, issuer.token())


def test_tampered_tokens(service: InProcess, issuer: Issuer) -> None:
    """Any part changed, exchanged, repeated, missing or written otherwise."""
    register(service, issuer)
    token = issuer.token()
    header, body, signature = token.split(".")
    other = issuer.token(sub="root-of-evil").split(".")
    refused(service, f"{header}.{other[1]}.{signature}")
    for text in (
        f"{header}.{body}.", f".{body}.{signature}", f"{header}..{signature}", f"{header}.{body}",
        f"{token}.{signature}", f"{token}=", f"{token} ", f" {token}", f"{token}\n",
        f"{header}.{body}.{signature[:-2]}", f"{header}.{body}.{signature}AA", token.replace(".", ".."),
        f"{header}.{body}.{signature}.", f"{body}.{header}.{signature}",
    ):
        refused(service, text)
    last = "AQgw"["AQgw".index(signature[-1])] if signature[-1] in "AQgw" else signature[-1]
    twin = signature[:-1] + chr(ord(last) + 1)
    refused(service, f"{header}.{body}.{twin}")


@pytest.mark.parametrize(
    "twist",
    [
        lambda text: text.replace('"sub": "workload"', '"sub": "workload", "sub": "admin"'),
        lambda text: text.replace('"sub": "workload"', '"sub": "workload", "\\u0073ub": "admin"'),
        lambda text: text.replace('"sub": "workload"', '"sub": "workload", "x": {"a": 1, "a": 2}'),
        lambda text: text.replace('"sub": "workload"', '"sub": "workload", "x": NaN'),
        lambda text: text.replace('"sub": "workload"', '"sub": "workload", "x": ' + "[" * 50 + "]" * 50),
        lambda text: f"[{text}]", lambda text: text + "{}", lambda text: text[:0], lambda text: text[:0] + '"text"',
        lambda text: text[:0] + "[" * 3_000,
        lambda text: text.replace('"sub": "workload"', '"sub": "workload", "x": "' + "y" * 8_192 + '"'),
    ],
    ids=["repeated", "repeated by an escape", "repeated inside", "NaN", "nested", "list", "two", "empty", "text",
         "deep", "huge"],
)
def test_claims_that_are_no_strict_json(service: InProcess, issuer: Issuer, twist: Any) -> None:
    register(service, issuer)
    claims = twist(json.dumps(issuer.claims()))
    refused(service, compact(issuer.header(), claims, issuer.signing))
    repeated = '{"alg": "none", "alg": "ES256", "kid": "key-1"}'
    refused(service, compact(repeated, issuer.claims(), issuer.signing))


def test_a_deleted_provider(service: InProcess, issuer: Issuer) -> None:
    """A token that was accepted a moment ago is refused at once, and accepted again by a new provider."""
    arn = register(service, issuer)
    token = issuer.token()
    who(service, token)
    service.call("DeleteOidcProvider", {"oidc_provider_arn": arn})
    refused(service, token)
    register(service, issuer, audiences=["other"])
    refused(service, token)
    service.call("DeleteOidcProvider", {"oidc_provider_arn": arn})
    register(service, issuer)
    assert who(service, token).account_id == HOME


def test_other_keys_of_the_same_provider(service: InProcess, issuer: Issuer) -> None:
    """The provider made anew with other keys doesn't know the tokens of the old ones."""
    arn = register(service, issuer)
    token = issuer.token()
    who(service, token)
    service.call("DeleteOidcProvider", {"oidc_provider_arn": arn})
    issuer.signing = SigningKey()
    register(service, issuer)
    refused(service, token)
    assert who(service, issuer.token()).account_id == HOME


def test_a_deleted_role(service: InProcess, issuer: Issuer) -> None:
    """A role can't go while a provider is for it; one made anew under its name starts without trust."""
    arn = register(service, issuer)
    token = issuer.token()
    first = who(service, token).user_id
    service.call("DeleteIdentityPolicy", {"principal_arn": ROLE, "policy_name": "all"})
    with pytest.raises(DeleteConflictException):
        service.call("DeleteRole", {"role_name": "workloads"})
    service.call("DeleteOidcProvider", {"oidc_provider_arn": arn})
    service.call("DeleteRole", {"role_name": "workloads"})
    refused(service, token)
    service.call("CreateRole", {"role_name": "workloads"})
    register(service, issuer)
    refused(service, token, AccessDeniedException)
    service.call("UpdateAssumeRolePolicy", {"role_name": "workloads", "policy_document": trust(issuer)})
    assert who(service, token).user_id != first


@pytest.mark.parametrize(
    ("document", "admitted"),
    [
        ({}, True),
        ({"Condition": {"StringEquals": {"ISSUER:sub": "workload", "ISSUER:aud": AUDIENCE}}}, True),
        ({"Condition": {"StringLike": {"ISSUER:sub": "work*"}}}, True),
        ({"Condition": {"StringEquals": {"ISSUER:sub": "other"}}}, False),
        ({"Condition": {"StringEquals": {"ISSUER:aud": "other"}}}, False),
        ({"Condition": {"StringEquals": {"issuer.example:sub": "workload"}}}, False),
        ({"Condition": {"StringEquals": {"ISSUER:team": "shop"}}}, True),
        ({"Condition": {"ForAnyValue:StringEquals": {"ISSUER:groups": ["b"]}}}, True),
        ({"Condition": {"ForAnyValue:StringEquals": {"ISSUER:groups": ["c"]}}}, False),
        ({"Condition": {"Bool": {"ISSUER:email_verified": "true"}}}, True),
        ({"Condition": {"StringEquals": {"sts:RoleSessionName": "workload"}}}, True),
        ({"Condition": {"DateLessThan": {"aws:CurrentTime": "2040-01-01T00:00:00Z"}}}, True),
        ({"Condition": {"DateGreaterThan": {"aws:CurrentTime": "2040-01-01T00:00:00Z"}}}, False),
        # What a role may is not what its caller was before: no principal is known yet.
        ({"Condition": {"StringEquals": {"aws:PrincipalAccount": HOME}}}, False),
        ({"Condition": {"Null": {"aws:PrincipalArn": "true"}}}, True),
        ({"Action": "sts:AssumeRole"}, False), ({"Action": "sts:*"}, True), ({"Action": "*"}, True),
        ({"Principal": {"Federated": "PROVIDER2"}}, False),
        ({"Principal": "*"}, False), ({"Principal": {"AWS": "*"}}, False),
        ({"Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}}, False),
        ({"Principal": {"Federated": ["accounts.example", "PROVIDER"]}}, True),
        ({"Effect": "Deny"}, False),
    ],
    ids=str,
)
def test_trust_policies(service: InProcess, issuer: Issuer, document: dict[str, object], admitted: bool) -> None:
    """Only a statement that names the provider admits; conditions see what the issuer says. A change counts at once,
    for tokens that were accepted before as well."""
    arn = register(service, issuer)
    token = issuer.token(team="shop", groups=["a", "b"], email_verified=True)
    who(service, token)
    statement = {"Effect": "Allow", "Principal": {"Federated": "PROVIDER"}, "Action": "sts:AssumeRoleWithWebIdentity"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, **document}]})
    text = text.replace("ISSUER:", issuer.name + ":").replace("PROVIDER", arn)
    service.call("UpdateAssumeRolePolicy", {"role_name": "workloads", "policy_document": text})
    if admitted:
        assert who(service, token).account_id == HOME
    else:
        refused(service, token, AccessDeniedException)


@pytest.mark.parametrize(
    ("deny", "admitted"),
    [
        ({"Principal": "*", "Condition": {"StringNotLike": {"ISSUER:sub": "work*"}}}, True),
        ({"Principal": "*", "Condition": {"StringLike": {"ISSUER:sub": "work*"}}}, False),
        ({"Principal": {"Federated": "PROVIDER"}}, False),
        ({"Principal": {"Federated": "PROVIDER2"}}, True),
        ({"NotPrincipal": {"Federated": "PROVIDER"}}, True),
        ({"NotPrincipal": {"Federated": "PROVIDER2"}}, False),
        ({"Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}}, True),
    ],
    ids=str,
)
def test_denials(service: InProcess, issuer: Issuer, deny: dict[str, object], admitted: bool) -> None:
    arn = register(service, issuer)
    document = json.loads(trust(issuer))
    document["Statement"].append({"Effect": "Deny", "Action": "*", **deny})
    text = json.dumps(document).replace("ISSUER:", issuer.name + ":").replace("PROVIDER", arn)
    service.call("UpdateAssumeRolePolicy", {"role_name": "workloads", "policy_document": text})
    if admitted:
        assert who(service, issuer.token()).account_id == HOME
    else:
        refused(service, issuer.token(), AccessDeniedException)


def test_a_role_without_a_trust_policy(service: InProcess, issuer: Issuer) -> None:
    service.call("CreateRole", {"role_name": "closed"})
    register(service, issuer, role_arn=f"arn:aws:iam::{HOME}:role/closed")
    refused(service, issuer.token(), AccessDeniedException)


def test_session_tags(service: InProcess, issuer: Issuer) -> None:
    """Claims become tags, nested ones by a JSON pointer; key policies see them. `sts:TagSession` has to be allowed."""
    claims = {
        "team": "shop", "level": 3, "human": False, "gone": None,
        "kubernetes.io": {"namespace": "shop", "a/b~c": "pointed"},
    }
    register(service, issuer, tag_claims={
        "team": "team", "level": "level", "human": "human", "gone": "gone", "namespace": "/kubernetes.io/namespace",
        "pointed": "/kubernetes.io/a~1b~0c", "nowhere": "/team/x",
    })
    token = issuer.token(**claims)
    refused(service, token, AccessDeniedException)
    condition = {"StringEquals": {"aws:RequestTag/team": "shop"}}
    text = trust(issuer, tags=True, condition=condition)
    service.call("UpdateAssumeRolePolicy", {"role_name": "workloads", "policy_document": text})
    who(service, token)
    refused(service, issuer.token(**{**claims, "team": "other"}), AccessDeniedException)
    for wanted, value, expected in (
        ("aws:PrincipalTag/team", "shop", True), ("aws:PrincipalTag/team", "other", False),
        ("aws:PrincipalTag/level", "3", True), ("aws:PrincipalTag/human", "false", True),
        ("aws:PrincipalTag/namespace", "shop", True), ("aws:PrincipalTag/pointed", "pointed", True),
        ("aws:PrincipalTag/gone", "*", False), ("aws:PrincipalTag/nowhere", "*", False),
        ("aws:FederatedProvider", provider_arn(issuer), True), ("aws:userid", "*:workload", True),
        ("aws:PrincipalArn", ROLE, True), ("aws:PrincipalType", "AssumedRole", True),
        ("aws:TokenIssueTime", "2026*", True), (f"{issuer.name}:sub", "*", False),
    ):
        policy = json.dumps({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringLike": {wanted: value}},
        }]})
        service.call("PutIdentityPolicy", {"principal_arn": ROLE, "policy_name": "all", "policy_document": policy})
        if expected:
            service.call("ListKeys", {}, token=token)
        else:
            with pytest.raises(AccessDeniedException):
                service.call("ListKeys", {}, token=token)


@pytest.mark.parametrize("value", [["a"], {"a": 1}, "x" * 257, "a\x00b", "\ud800"], ids=repr)
def test_claims_that_are_no_tags(service: InProcess, issuer: Issuer, value: object) -> None:
    register(service, issuer, tag_claims={"team": "team"})
    text = trust(issuer, tags=True)
    service.call("UpdateAssumeRolePolicy", {"role_name": "workloads", "policy_document": text})
    refused(service, issuer.token(team=value))


def test_session_names(service: InProcess, issuer: Issuer) -> None:
    """What can't be a session's name is made one that nobody else has."""
    register(service, issuer)
    names = {}
    for subject in (
        "system:serviceaccount:a:b-c", "system:serviceaccount:a-b:c", "system-serviceaccount-a-b-c",
        "x" * 64, "x" * 65, "x" * 66, "root", "ROOT", "r", "ä", "a b", "a/b",
    ):
        names[subject] = who(service, issuer.token(sub=subject)).arn.rpartition("/")[2]
    assert len({name.lower() for name in names.values()}) == len(names)
    assert names["system:serviceaccount:a:b-c"].startswith("system-serviceaccount-a-b-c-")
    assert names["system-serviceaccount-a-b-c"] == "system-serviceaccount-a-b-c"
    assert names["x" * 64] == "x" * 64
    assert all(2 <= len(name) <= 64 for name in names.values())
    taken = names["system:serviceaccount:a:b-c"]
    assert who(service, issuer.token(sub=taken)).arn.rpartition("/")[2] != taken


def test_the_session_named_by_another_claim(service: InProcess, issuer: Issuer) -> None:
    register(service, issuer, session_name_claim="/act/login")
    assert who(service, issuer.token(act={"login": "ada"})).arn.endswith("/ada")
    refused(service, issuer.token())


def test_accounts_that_share_an_issuer(service: InProcess, issuer: Issuer) -> None:
    """Each has audiences of its own; a token for two of them is nobody's."""
    register(service, issuer)
    root = service.new_account(TENANT)
    arn = f"arn:aws:iam::{TENANT}:role/workloads"
    text = trust(issuer).replace(HOME, TENANT)
    service.call("CreateRole", {"role_name": "workloads", "assume_role_policy_document": text}, token=root)
    values = {"issuer_url": issuer.url, "role_arn": arn, "jwks_document": issuer.publish(issuer.signing)}
    with pytest.raises(Exception, match="another role already"):
        service.call("CreateOidcProvider", {**values, "audiences": ["x", AUDIENCE]}, token=root)
    service.call("CreateOidcProvider", {**values, "audiences": ["tenant"]}, token=root)
    assert who(service, issuer.token(aud="tenant")).account_id == TENANT
    assert who(service, issuer.token()).account_id == HOME
    refused(service, issuer.token(aud=["tenant", AUDIENCE]))
