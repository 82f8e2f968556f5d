"""STS, CloudTrail and Resource Groups Tagging on a real server by stock boto3 clients over TLS, which use what STS gave
for calls of KMS; and the query protocol by hand."""

from __future__ import annotations

import datetime as dt
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from ssl import create_default_context
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import boto3
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.support.aws_endpoint import REGION, AccessKey, Endpoint, running_endpoint
from tests.support.identities import statement, trust
from tests.support.inprocess import HOME
from tests.support.issuer import AUDIENCE, Issuer

from kagitori_server.bootstrap.certificates import prepare

ALICE = f"arn:aws:iam::{HOME}:user/alice"
WORKER = f"arn:aws:iam::{HOME}:role/worker"
PODS = f"arn:aws:iam::{HOME}:role/pods"
NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
FORM = "application/x-www-form-urlencoded; charset=utf-8"
VERSION = "Version=2011-06-15"


class Deployment(NamedTuple):
    """A server, who may do what there, and an issuer that it trusts."""

    endpoint: Endpoint
    issuer: Issuer
    alice: AccessKey
    """May assume the role `worker`, call STS, and nothing else."""

    @property
    def url(self) -> str:
        """Of the AWS endpoint."""
        return self.endpoint.url

    @property
    def authority(self) -> str:
        """The file of its certificate authority."""
        return str(self.endpoint.authority)

    def client(self, service: str, who: AccessKey | None = None) -> Any:
        """A client of boto3."""
        key = who or self.endpoint.root
        return boto3.client(
            service, region_name=REGION, endpoint_url=self.url, verify=self.authority,
            aws_access_key_id=key.id, aws_secret_access_key=key.secret, aws_session_token=key.token,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def send(self, request: urllib.request.Request) -> tuple[int, ET.Element, str]:
        """(status, XML document, media type) of the answer."""
        context = create_default_context(cafile=self.authority)
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as answer:  # noqa: S310 - our own server
                return answer.status, ET.fromstring(answer.read()), answer.headers["content-type"]  # noqa: S314
        except urllib.error.HTTPError as refused:
            return refused.code, ET.fromstring(refused.read()), refused.headers["content-type"]  # noqa: S314

    def post(self, body: str, headers: dict[str, str] | None = None) -> tuple[int, ET.Element, str]:
        """The same of a form that nobody signed, unless the headers say so."""
        shown = {"Content-Type": FORM, **(headers or {})}
        return self.send(urllib.request.Request(self.url + "/", body.encode(), shown))  # noqa: S310 - our own server


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("issuer")
    prepare(folder, (), time.time)
    data, trusted = tmp_path_factory.mktemp("aws") / "data", ("--set", f"oidc.ca_file={folder / 'ca.crt'}")
    with (
        Issuer(folder / "server.crt", folder / "server.key", now=time.time()) as issuer,
        running_endpoint(data, trusted) as endpoint,
    ):
        yield Deployment(endpoint, issuer, _furnish(endpoint, issuer))


def _furnish(endpoint: Endpoint, issuer: Issuer) -> AccessKey:
    """Makes users, roles and a provider. Returns alice's access key."""
    call, alice = endpoint.call, endpoint.new_user("alice")
    provider = f"arn:aws:iam::{HOME}:oidc-provider/{issuer.name}"
    pods = statement(
        "sts:AssumeRoleWithWebIdentity", Principal={"Federated": provider},
        Condition={"StringLike": {f"{issuer.name}:sub": "shop:*"}},
    )
    for name, trust_policy in (("worker", trust(ALICE)), ("pods", pods)):
        role = call("CreateRole", role_name=name, assume_role_policy_document=trust_policy).role.arn
        call("PutIdentityPolicy", principal_arn=role, policy_name="p", policy_document=statement("kms:*"))
    call("CreateOidcProvider", issuer_url=issuer.url, audiences=[AUDIENCE], role_arn=PODS)
    return alice


def of(credentials: dict[str, Any]) -> AccessKey:
    """The access key of an answer."""
    return AccessKey(credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])


def _root_token(deployment: Deployment) -> str:
    return (deployment.endpoint.server.data / "credentials" / "root.token").read_text().strip()


def newest(deployment: Deployment, name: str) -> dict[str, Any]:
    """The record of the last such call that went well."""
    records = reversed(deployment.endpoint.records())
    return next(each for each in records if each["eventName"] == name and "errorCode" not in each)


def code(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    """(code, HTTP status) of what botocore raised."""
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def said(document: ET.Element) -> str | None:
    """The code in an error's document."""
    return document.findtext(f"{NAMESPACE}Error/{NAMESPACE}Code")


def test_who_calls(deployment: Deployment) -> None:
    """By access key, in any Region that is served, and by a URL signed beforehand, as Kubernetes clusters use it."""
    found = deployment.client("sts", deployment.alice).get_caller_identity()
    assert (found["Arn"], found["Account"]) == (ALICE, HOME)
    assert found["UserId"].startswith("AIDA")
    sts = deployment.client("sts", deployment.alice)
    url = sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    status, document, media_type = deployment.send(urllib.request.Request(url))  # noqa: S310 - our own server
    assert (status, media_type, document.tag) == (200, "text/xml", f"{NAMESPACE}GetCallerIdentityResponse")
    assert document.findtext(f".//{NAMESPACE}Arn") == ALICE
    assert document.findtext(f"{NAMESPACE}ResponseMetadata/{NAMESPACE}RequestId")
    record = newest(deployment, "GetCallerIdentity")
    assert (record["eventSource"], record["userIdentity"]["arn"]) == ("sts.amazonaws.com", ALICE)
    assert record["tlsDetails"]["tlsVersion"] == "TLSv1.3"


def test_who_does_not_call(deployment: Deployment) -> None:
    """Each with STS's code and status."""
    alice = deployment.alice
    for who, wanted in (
        (replace(alice, secret="x" * 43), ("SignatureDoesNotMatch", 403)),
        (replace(alice, id="AKIAAAAAAAAAAAAAAAAA"), ("InvalidClientTokenId", 403)),
        (replace(alice, token="x"), ("InvalidClientTokenId", 403)),
    ):
        with pytest.raises(ClientError) as caught:
            deployment.client("sts", who).get_caller_identity()
        assert code(caught) == wanted
    status, document, _ = deployment.post(f"Action=GetCallerIdentity&{VERSION}")
    assert (status, said(document)) == (403, "MissingAuthenticationToken")
    status, document, _ = deployment.post(f"Action=GetCallerIdentity&{VERSION}", {"Authorization": "AWS4-HMAC-SHA256"})
    assert (status, said(document)) == (400, "IncompleteSignature")


def signed(deployment: Deployment, body: str, service: str) -> dict[str, str]:
    """Headers of a form that alice signed for that service."""
    request = AWSRequest("POST", deployment.url + "/", data=body, headers={"Content-Type": FORM})
    SigV4Auth(deployment.alice.credentials, service, REGION).add_auth(request)
    return dict(request.headers.items())


def test_a_signature_is_for_one_service(deployment: Deployment) -> None:
    """One for KMS opens nothing of STS, nor the reverse; a changed body neither."""
    body = f"Action=GetCallerIdentity&{VERSION}"
    assert deployment.post(body, signed(deployment, body, "sts"))[0] == 200
    for headers in (signed(deployment, body, "kms"), signed(deployment, body + "&x=y", "sts")):
        status, document, _ = deployment.post(body, headers)
        assert (status, said(document)) == (403, "SignatureDoesNotMatch")
    request = AWSRequest("GET", f"{deployment.url}/?Action=GetCallerIdentity&{VERSION}")
    SigV4QueryAuth(deployment.alice.credentials, "kms", REGION).add_auth(request)
    status, document, _ = deployment.send(urllib.request.Request(request.url))  # noqa: S310 - our own server
    assert (status, said(document)) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (f"Action=GetSessionToken&{VERSION}", "InvalidAction"),
        (f"Action=sts+AssumeRole&{VERSION}", "InvalidAction"),
        ("Action=GetCallerIdentity&Version=2010-05-08", "InvalidAction"),
        (f"Action=<x>&{VERSION}", "InvalidAction"),
        (f"Action=AssumeRole&Action=AssumeRole&{VERSION}", "MalformedInput"),
        (f"Action=AssumeRoleWithWebIdentity&{VERSION}", "ValidationError"),
        (f"Action=AssumeRoleWithWebIdentity&{VERSION}&RoleArn.x=y", "MalformedInput"),
        (f"Action=AssumeRoleWithWebIdentity&{VERSION}&DurationSeconds=soon", "MalformedInput"),
    ],
)
def test_requests_that_are_none(deployment: Deployment, body: str, wanted: str) -> None:
    status, document, media_type = deployment.post(body)
    assert (status, said(document), media_type) == (400, wanted, "text/xml")
    assert document.findtext(f"{NAMESPACE}RequestId")
    assert document.findtext(f"{NAMESPACE}Error/{NAMESPACE}Type") == "Sender"


def test_a_session_uses_keys(deployment: Deployment) -> None:
    """The role's permissions within the session's policy, with its tags, until somebody changes one of the three."""
    kms = deployment.client("kms")
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}, "Action": "kms:*", "Resource": "*"},
        {
            "Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:PrincipalTag/team": "red"}},
        },
    ]}
    key = kms.create_key(Policy=json.dumps(policy), BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["KeyId"]
    sts = deployment.client("sts", deployment.alice)
    answer = sts.assume_role(
        RoleArn=WORKER, RoleSessionName="build-7", DurationSeconds=900, SourceIdentity="alice",
        Policy=statement(["kms:Encrypt", "kms:Decrypt"]), Tags=[{"Key": "team", "Value": "red"}],
    )
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{HOME}:assumed-role/worker/build-7"
    assert answer["SourceIdentity"] == "alice"
    assert 0 < answer["PackedPolicySize"] < 100
    left = answer["Credentials"]["Expiration"] - dt.datetime.now(dt.UTC)
    assert dt.timedelta(seconds=870) < left <= dt.timedelta(seconds=900)
    session = of(answer["Credentials"])
    assert deployment.client("sts", session).get_caller_identity()["Arn"] == answer["AssumedRoleUser"]["Arn"]
    used = deployment.client("kms", session)
    sealed = used.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    assert used.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"secret"
    with pytest.raises(used.exceptions.ClientError) as caught:
        used.describe_key(KeyId=key)
    assert code(caught) == ("AccessDeniedException", 400)
    blue = of(sts.assume_role(RoleArn=WORKER, RoleSessionName="b2")["Credentials"])
    with pytest.raises(ClientError) as caught:
        deployment.client("kms", blue).decrypt(CiphertextBlob=sealed)
    assert code(caught)[0] == "AccessDeniedException"
    for broken in (replace(session, token=None), replace(session, token=blue.token)):
        with pytest.raises(ClientError) as caught:
            deployment.client("kms", broken).encrypt(KeyId=key, Plaintext=b"x")
        assert code(caught)[0] == "UnrecognizedClientException"
    record = newest(deployment, "Encrypt")
    assert record["userIdentity"]["accessKeyId"] == session.id
    assert record["userIdentity"]["sessionContext"]["sourceIdentity"] == "alice"


def test_calls_of_sessions_are_simulated(deployment: Deployment) -> None:
    """By what was settled for the session, which its access key tells."""
    key = deployment.client("kms").create_key()["KeyMetadata"]["KeyId"]
    sts = deployment.client("sts", deployment.alice)
    session = sts.assume_role(RoleArn=WORKER, RoleSessionName="sim", Policy=statement("kms:Encrypt"))
    deployment.client("kms", of(session["Credentials"])).encrypt(KeyId=key, Plaintext=b"x")
    only_root = statement(
        "kms:*", Principal={"AWS": f"arn:aws:iam::{HOME}:root"}, Resource="*",
        Condition={"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{HOME}:root"}},
    )
    messages = deployment.endpoint.call("SimulatePolicy", key_policy={"key_id": key, "policy": only_root})
    found = [each.finding for each in messages if each.HasField("finding") and each.finding.action == "kms:Encrypt"]
    assert [each.principal_arn.rpartition("/")[2] for each in found] == ["sim"]
    assert "SESSION_GONE" not in str(messages)


def test_sessions_that_are_refused(deployment: Deployment) -> None:
    """By the exceptions of botocore's client where the model has them."""
    sts, root = deployment.client("sts", deployment.alice), deployment.client("sts")
    wanted = {"RoleArn": WORKER, "RoleSessionName": "s1"}
    with pytest.raises(sts.exceptions.MalformedPolicyDocumentException):
        sts.assume_role(**wanted, Policy="{}")
    with pytest.raises(sts.exceptions.PackedPolicyTooLargeException):
        sts.assume_role(**wanted, Policy=statement("kms:*", Sid="x" * 2048))
    for client, members, refusal in (
        (root, wanted, ("AccessDenied", 403)),
        (sts, {**wanted, "RoleArn": PODS}, ("AccessDenied", 403)),
        (sts, {**wanted, "DurationSeconds": 7200}, ("ValidationError", 400)),
        (sts, {**wanted, "PolicyArns": [{"arn": f"arn:aws:iam::{HOME}:policy/p"}]}, ("ValidationError", 400)),
        (sts, {**wanted, "TransitiveTagKeys": ["a"]}, ("ValidationError", 400)),
        (sts, {**wanted, "RoleSessionName": "a/b"}, ("ValidationError", 400)),
    ):
        with pytest.raises(ClientError) as caught:
            client.assume_role(**members)
        assert code(caught) == refusal
    with pytest.raises(ClientError) as caught:
        sts.get_session_token()
    assert code(caught) == ("InvalidAction", 400)


def test_a_profile_with_a_role(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 assumes the role by itself."""
    config = tmp_path / "config"
    config.write_text(
        f"[profile base]\naws_access_key_id={deployment.alice.id}\n"
        f"aws_secret_access_key={deployment.alice.secret}\n"
        f"[profile worker]\nrole_arn={WORKER}\nsource_profile=base\nrole_session_name=profiled\n"
    )
    _environment(deployment, monkeypatch, AWS_CONFIG_FILE=str(config), AWS_PROFILE="worker")
    session = boto3.Session()
    assert session.client("sts").get_caller_identity()["Arn"].endswith(":assumed-role/worker/profiled")
    assert session.client("kms").list_keys()["Truncated"] is False


def test_a_token_in_a_file(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 exchanges it by itself, as in a pod, and uses keys with what it got."""
    token = tmp_path / "token"
    token.write_text(deployment.issuer.token(sub="shop:orders"))
    _environment(
        deployment, monkeypatch, AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ROLE_ARN=PODS,
        AWS_ROLE_SESSION_NAME="orders", AWS_CONFIG_FILE=str(tmp_path / "none"),
    )
    session = boto3.Session()
    assert session.client("sts").get_caller_identity()["Arn"] == f"arn:aws:sts::{HOME}:assumed-role/pods/orders"
    kms = session.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert kms.encrypt(KeyId=key, Plaintext=b"x")["KeyId"].endswith(key)
    record = newest(deployment, "CreateKey")
    provider = f"arn:aws:iam::{HOME}:oidc-provider/{deployment.issuer.name}"
    context = record["userIdentity"]["sessionContext"]
    assert context["webIdFederationData"] == {"federatedProvider": provider, "attributes": {}}
    opened = newest(deployment, "AssumeRoleWithWebIdentity")
    assert opened["userIdentity"]["type"] == "WebIdentityUser"
    assert opened["responseElements"]["credentials"]["accessKeyId"] == record["userIdentity"]["accessKeyId"]


def _environment(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, **names: str) -> None:
    """Lets boto3 find the server, and nothing else that it could go by."""
    for name in (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_KMS",
        "AWS_SHARED_CREDENTIALS_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    wanted = {
        "AWS_ENDPOINT_URL": deployment.url, "AWS_CA_BUNDLE": deployment.authority, "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", **names,
    }
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)


def test_tokens_that_open_nothing(deployment: Deployment) -> None:
    """By the exceptions of botocore's client; a signature that comes along changes nothing."""
    issuer, sts = deployment.issuer, deployment.client("sts")
    now = int(time.time())

    def exchange(token: str, **more: Any) -> Any:
        members = {"RoleArn": PODS, "RoleSessionName": "s1", "WebIdentityToken": token, **more}
        return sts.assume_role_with_web_identity(**members)

    good = issuer.token(sub="shop:orders")
    answer = exchange(good)
    assert (answer["SubjectFromWebIdentityToken"], answer["Audience"]) == ("shop:orders", AUDIENCE)
    assert "PackedPolicySize" not in answer
    with pytest.raises(sts.exceptions.ExpiredTokenException):
        exchange(issuer.token(sub="shop:orders", exp=now - 1))
    for token in (issuer.token(sub="shop:orders", aud="other"), good[:-8], "x.y.z" * 3, _root_token(deployment)):
        with pytest.raises(sts.exceptions.InvalidIdentityTokenException):
            exchange(token)
    for members in ({"token": issuer.token(sub="bank:orders")}, {"token": good, "RoleArn": WORKER}):
        with pytest.raises(ClientError) as caught:
            exchange(members.pop("token"), **members)
        assert code(caught) == ("AccessDenied", 403)
    body = f"Action=AssumeRoleWithWebIdentity&{VERSION}&RoleArn={PODS}&RoleSessionName=s1&WebIdentityToken=not-one"
    status, document, _ = deployment.post(body, signed(deployment, body, "sts"))
    assert (status, said(document)) == (400, "InvalidIdentityToken")
    text = "".join(path.read_text() for path in (deployment.endpoint.server.data / "audit").rglob("*.jsonl"))
    assert good not in text
    assert answer["Credentials"]["SessionToken"] not in text


def test_events(deployment: Deployment) -> None:
    """In pages, by an attribute, in a range of times; by the exceptions of botocore's client what can't be."""
    cloudtrail, kms = deployment.client("cloudtrail"), deployment.client("kms")
    started = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    for _ in range(3):
        kms.list_aliases()
    named = [{"AttributeKey": "EventName", "AttributeValue": "ListAliases"}]
    pages = cloudtrail.get_paginator("lookup_events").paginate(
        LookupAttributes=named, StartTime=started, PaginationConfig={"PageSize": 2},
    )
    events = [event for page in pages for event in page["Events"]]
    assert len(events) == 3
    assert (events[0]["EventSource"], events[0]["ReadOnly"], events[0]["Username"]) == (
        "kms.amazonaws.com", "true", "root"
    )
    assert events[0]["EventTime"] >= started.replace(microsecond=0)
    assert json.loads(events[0]["CloudTrailEvent"])["eventID"] == events[0]["EventId"]
    page = cloudtrail.lookup_events(LookupAttributes=named, MaxResults=1)
    errors = cloudtrail.exceptions
    with pytest.raises(errors.InvalidNextTokenException):
        cloudtrail.lookup_events(NextToken=page["NextToken"])
    with pytest.raises(errors.InvalidTimeRangeException):
        cloudtrail.lookup_events(StartTime=started, EndTime=started - dt.timedelta(days=1))
    with pytest.raises(errors.InvalidLookupAttributesException):
        cloudtrail.lookup_events(LookupAttributes=[*named, *named])
    with pytest.raises(errors.InvalidTrailNameException):
        cloudtrail.get_trail_status(Name="-")
    with pytest.raises(errors.CloudTrailARNInvalidException):
        cloudtrail.describe_trails(trailNameList=["arn:aws:s3:::x"])
    with pytest.raises(errors.TrailNotFoundException):
        cloudtrail.get_trail_status(Name=f"arn:aws:cloudtrail:{REGION}:{HOME}:trail/other")
    for refused, wanted in (
        (cloudtrail.list_trails, ("UnknownOperationException", 400)),
        (deployment.client("cloudtrail", deployment.alice).lookup_events, ("AccessDeniedException", 400)),
    ):
        with pytest.raises(ClientError) as caught:
            refused()
        assert code(caught) == wanted


def test_tagged_keys(deployment: Deployment) -> None:
    """Found by a paginator of boto3; by the exceptions of botocore's client what can't be."""
    kms, tagging = deployment.client("kms"), deployment.client("resourcegroupstaggingapi")
    keys = {
        kms.create_key(Tags=[{"TagKey": "paged", "TagValue": str(number)}])["KeyMetadata"]["Arn"] for number in range(3)
    }
    pages = list(tagging.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": "paged", "Values": ["0", "1", "2"]}], ResourceTypeFilters=["kms:key"], ResourcesPerPage=2,
    ))
    found = [each for page in pages for each in page["ResourceTagMappingList"]]
    assert ({each["ResourceARN"] for each in found}, len(pages)) == (keys, 2)
    assert found[0]["Tags"][0]["Key"] == "paged"
    (arn, *_) = keys
    assert len(tagging.get_resources(ResourceARNList=[arn])["ResourceTagMappingList"]) == 1
    assert "paged" in tagging.get_tag_keys()["TagKeys"]
    assert tagging.get_tag_values(Key="paged")["TagValues"] == ["0", "1", "2"]
    with pytest.raises(tagging.exceptions.InvalidParameterException) as caught:
        tagging.get_resources(ResourceARNList=[arn], ResourcesPerPage=1)
    assert caught.value.response["Error"]["Message"]
    for refused, wanted in (
        (lambda: tagging.tag_resources(ResourceARNList=[arn], Tags={"a": "b"}), "UnknownOperationException"),
        (deployment.client("resourcegroupstaggingapi", deployment.alice).get_resources, "AccessDeniedException"),
    ):
        with pytest.raises(ClientError) as unserved:
            refused()
        assert code(unserved) == (wanted, 400)
