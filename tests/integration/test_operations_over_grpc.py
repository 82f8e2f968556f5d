"""Every served operation once over a real TLS socket, and the other ways in: client certificates and the socket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.client_certificates import certificate
from tests.support.inprocess import ALLOW_ALL, HOME, REGION
from tests.support.key_operations import refused, use_keys_of_every_family
from tests.support.kms_calls import OTHER, identity_policy, key_policy, statement, user_arn
from tests.support.tokens import PIN, fresh_token
from tests.support.whole_server import Caller, WholeServer

from kagitori.kms.v1 import budgets_pb2, credentials_pb2, decisions_pb2, operation_pb2, resources_pb2, trail_pb2
from kagitori_server.bootstrap.certificates import issue_client_certificate, load_authority
from kagitori_server.operations.table import TABLE
from kagitori_server.policy.defaults import default_key_policy

CLUSTER = "cluster-abcdefghijk"
SETTINGS: dict[str, dict[str, Any]] = {
    "listen": {"grpc": "127.0.0.1:0", "grpc_mtls": "127.0.0.1:0", "metrics": "127.0.0.1:0"},
    "service": {"region": REGION, "regions": [REGION, "eu-west-1"]},
    "limits": {"deletion_check_seconds": 0.2, "shutdown_seconds": 5.0},
    "log": {"level": "error"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeServer]:
    """One server for all tests of this file."""
    folder = tmp_path_factory.mktemp("whole")
    listen = {**SETTINGS["listen"], "socket": str(folder / "k.sock"), "socket_principal": user_arn("sidecar")}
    settings = fresh_token().settings
    cluster = {
        "module": settings.module, "token_label": settings.token_label, "softhsm_conf": settings.softhsm_conf,
    }
    (folder / "delivered").mkdir()
    delivery = {
        "directory": str(folder / "delivered"), "prefix": "audit", "period_seconds": 1.0, "digest_seconds": 1.0,
    }
    with WholeServer(folder / "data", {
        **SETTINGS, "listen": listen, "hsm": {CLUSTER: cluster}, "delivery": delivery,
    }) as opened:
        yield opened


@pytest.fixture(scope="module")
def root(server: WholeServer) -> Iterator[Caller]:
    """The home account's root user by token over TLS."""
    with server.tls() as channel:
        yield Caller(channel, server.root_token)


def test_every_served_operation(server: WholeServer, root: Caller) -> None:
    """A life of keys, names, principals and credentials: nothing in the table is left out."""
    _keys(root)
    _cryptography(root)
    with server.tls() as channel:
        use_keys_of_every_family(root, Caller(channel, server.root_token, "eu-west-1"))
    _grants(server, root)
    _identities(root)
    with server.tls() as channel:
        _sessions(channel, root)
    _budgets(server, root)
    _custom_key_stores(root)
    _administration(root)
    assert root.called == set(TABLE)


def _keys(root: Caller) -> None:
    key = root("CreateKey", description="app", tags=[{"tag_key": "team", "tag_value": "x"}]).key_metadata
    spare = root("CreateKey").key_metadata
    assert key.arn == f"arn:aws:kms:{REGION}:{HOME}:key/{key.key_id}"
    assert key.key_state == resources_pb2.KEY_STATE_ENABLED
    assert time.time() - 60 < key.creation_date.seconds <= time.time() + 1
    assert root("DescribeKey", key_id=key.arn).key_metadata == key
    listed = {entry.key_id: root("DescribeKey", key_id=entry.key_id).key_metadata for entry in root("ListKeys").keys}
    # The service may have made keys of its own by now.
    assert {key_id for key_id, found in listed.items() if found.key_manager == resources_pb2.KEY_MANAGER_CUSTOMER} == {
        key.key_id, spare.key_id,
    }
    root("UpdateKeyDescription", key_id=key.key_id, description="the app's")
    root("CreateAlias", alias_name="alias/app", target_key_id=spare.key_id)
    root("UpdateAlias", alias_name="alias/app", target_key_id=key.key_id)
    root("CreateAlias", alias_name="alias/old", target_key_id=spare.key_id)
    root("DeleteAlias", alias_name="alias/old")
    (alias,) = root("ListAliases").aliases
    assert (alias.alias_name, alias.target_key_id) == ("alias/app", key.key_id)
    root("TagResource", key_id=key.key_id, tags=[{"tag_key": "env", "tag_value": ""}])
    root("UntagResource", key_id=key.key_id, tag_keys=["team"])
    assert [tag.tag_key for tag in root("ListResourceTags", key_id=key.key_id).tags] == ["env"]
    assert root("GetKeyPolicy", key_id=key.key_id).policy == default_key_policy(HOME)
    policy = key_policy(statement(f"arn:aws:iam::{HOME}:root", "kms:*"))
    root("PutKeyPolicy", key_id=key.key_id, policy=policy)
    assert root("GetKeyPolicy", key_id=key.key_id, policy_name="default").policy == policy
    assert list(root("ListKeyPolicies", key_id=key.key_id).policy_names) == ["default"]
    assert root("GetKeyLastUsage", key_id=key.key_id).key_last_usage == resources_pb2.KeyLastUsageData()
    for operation in ("DisableKey", "EnableKey", "ScheduleKeyDeletion", "CancelKeyDeletion"):
        root(operation, key_id=spare.key_id)
    state = root("DescribeKey", key_id=spare.key_id).key_metadata.key_state
    assert state == resources_pb2.KEY_STATE_DISABLED


def _cryptography(root: Caller) -> None:
    context = {"tenant": "t1", "\u9375": ""}
    sealed = root("Encrypt", key_id="alias/app", plaintext=b"attack at dawn", encryption_context=context)
    opened = root("Decrypt", ciphertext_blob=sealed.ciphertext_blob, encryption_context=context)
    assert (opened.plaintext, opened.key_id) == (b"attack at dawn", sealed.key_id)
    moved = root("ReEncrypt", ciphertext_blob=sealed.ciphertext_blob, source_encryption_context=context,
                 destination_key_id="alias/app")
    assert root("Decrypt", ciphertext_blob=moved.ciphertext_blob).plaintext == b"attack at dawn"
    data = root("GenerateDataKey", key_id="alias/app", number_of_bytes=48)
    assert root("Decrypt", ciphertext_blob=data.ciphertext_blob).plaintext == data.plaintext
    bare = root("GenerateDataKeyWithoutPlaintext", key_id="alias/app", key_spec=resources_pb2.DATA_KEY_SPEC_AES_128)
    assert len(root("Decrypt", ciphertext_blob=bare.ciphertext_blob).plaintext) == 16
    assert len(root("GenerateRandom", number_of_bytes=7).plaintext) == 7
    items = [{"key_id": "alias/app", "plaintext": bytes([number])} for number in range(3)]
    blobs = [outcome.response.ciphertext_blob for outcome in root("BatchEncrypt", items=items).outcomes]
    outcomes = root("BatchDecrypt", items=[{"ciphertext_blob": blob} for blob in [*blobs, b"junk"]]).outcomes
    assert [outcome.response.plaintext for outcome in outcomes] == [b"\x00", b"\x01", b"\x02", b""]
    assert outcomes[3].error.code == "InvalidCiphertextException"
    outcomes = root("BatchGenerateDataKey", items=[{"key_id": "alias/app", "number_of_bytes": 4}]).outcomes
    assert len(outcomes[0].response.plaintext) == 4
    used = root("GetKeyLastUsage", key_id=opened.key_id)
    assert used.key_last_usage.operation == resources_pb2.KEY_LAST_USAGE_TRACKING_OPERATION_GENERATEDATAKEY
    assert used.key_last_usage.timestamp.seconds >= used.key_creation_date.seconds
    assert used.tracking_start_date == used.key_creation_date


def _grants(server: WholeServer, root: Caller) -> None:
    grantee = root("CreateUser", user_name="grantee").user.arn
    token = root("CreateToken", principal_arn=grantee).token
    terms = {
        "key_id": root("DescribeKey", key_id="alias/app").key_metadata.arn, "grantee_principal": grantee,
        "retiring_principal": grantee, "operations": [resources_pb2.GRANT_OPERATION_ENCRYPT],
        "constraints": {"encryption_context_subset": {"tenant": "t1"}},
    }
    made = root("CreateGrant", **terms)
    other = root("CreateGrant", **terms, name="other")
    assert len(root("ListGrants", key_id=terms["key_id"]).grants) == 2
    assert len(root("ListRetirableGrants", retiring_principal=grantee).grants) == 2
    with server.tls() as channel:
        caller = Caller(channel, token)
        values = {"key_id": terms["key_id"], "plaintext": b"x"}
        caller("Encrypt", **values, encryption_context={"tenant": "t1", "more": "x"})
        assert refused(caller, "Encrypt", **values)[0] is grpc.StatusCode.PERMISSION_DENIED
        caller("RetireGrant", grant_token=made.grant_token)
        root("RevokeGrant", key_id=terms["key_id"], grant_id=other.grant_id)
        values["encryption_context"] = {"tenant": "t1"}
        assert refused(caller, "Encrypt", **values)[0] is grpc.StatusCode.PERMISSION_DENIED
        root.called |= caller.called


def _identities(root: Caller) -> None:
    member = root("CreateUser", user_name="member").user.arn
    root("CreateGroup", group_name="team")
    root("AddUserToGroup", group_name="team", user_name="member")
    assert [group.group_name for group in root("ListGroupsForUser", user_name="member").groups] == ["team"]
    assert [group.group_name for group in root("ListGroups").groups] == ["team"]
    policy = root("CreateManagedPolicy", policy_name="use", policy_document=ALLOW_ALL).policy.arn
    assert root("GetManagedPolicy", policy_arn=policy).policy.arn == policy
    root("AttachManagedPolicy", principal_arn=member, policy_arn=policy)
    assert [found.arn for found in root("ListManagedPolicies", principal_arn=member).policies] == [policy]
    root("PutPermissionsBoundary", principal_arn=member, policy_arn=policy)
    assert root("GetUser", user_name="member").user.permissions_boundary == policy
    root("DeletePermissionsBoundary", principal_arn=member)
    root("DetachManagedPolicy", principal_arn=member, policy_arn=policy)
    root("DeleteManagedPolicy", policy_arn=policy)
    root("TagPrincipal", principal_arn=member, tags=[{"tag_key": "team", "tag_value": "x"}])
    root("UntagPrincipal", principal_arn=member, tag_keys=["team"])
    root("RemoveUserFromGroup", group_name="team", user_name="member")
    root("DeleteGroup", group_name="team")
    key = root("CreateAccessKey", principal_arn=member).access_key.access_key_id
    root("UpdateAccessKey", access_key_id=key, status=credentials_pb2.ACCESS_KEY_STATUS_INACTIVE)
    assert [found.access_key_id for found in root("ListAccessKeys", principal_arn=member).access_keys] == [key]
    root("DeleteAccessKey", access_key_id=key)


def _sessions(channel: grpc.Channel, root: Caller) -> None:
    user = root("CreateUser", user_name="assumer").user.arn
    token = root("CreateToken", principal_arn=user).token
    trust = {"Effect": "Allow", "Principal": {"AWS": user}, "Action": "sts:AssumeRole"}
    trusting = {"Version": "2012-10-17", "Statement": [trust]}
    role = root("CreateRole", role_name="assumed", assume_role_policy_document=json.dumps(trusting)).role.arn
    assumer = Caller(channel, token)
    session = assumer("AssumeRole", role_arn=role, role_session_name="s1")
    arn = f"arn:aws:sts::{HOME}:assumed-role/assumed/s1"
    assert Caller(channel, session.token)("GetCallerIdentity").arn == arn
    trust["Condition"] = {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    root("UpdateAssumeRolePolicy", role_name="assumed", policy_document=json.dumps(trusting))
    refusal = refused(assumer, "AssumeRole", role_arn=role, role_session_name="s2")
    assert refusal[0] is grpc.StatusCode.PERMISSION_DENIED, "the trust policy's condition sees where the call is from"
    root("DeleteRole", role_name="assumed")
    assert refused(Caller(channel, session.token), "GetCallerIdentity")[0] is grpc.StatusCode.UNAUTHENTICATED
    root.called |= assumer.called


def _budgets(server: WholeServer, root: Caller) -> None:
    spender = root("CreateUser", user_name="spender").user.arn
    root("PutIdentityPolicy", principal_arn=spender, policy_name="all", policy_document=ALLOW_ALL)
    key = root("CreateKey").key_metadata
    day = budgets_pb2.BudgetLimit(window=budgets_pb2.BUDGET_WINDOW_DAY, count=2)
    made = root(
        "PutBudget", budget_name="day", key_arn=key.arn, principal_arn=spender, operations=["Encrypt"], limits=[day],
        context_key="tenant", on_exceed=budgets_pb2.ON_EXCEED_FREEZE,
    ).budget
    assert made.arn == f"arn:aws:kagitori::{HOME}:budget/day"
    assert root("GetBudget", budget_name="day").budget == made
    assert list(root("ListBudgets").budgets) == [made]
    with server.tls() as channel:
        caller = Caller(channel, root("CreateToken", principal_arn=spender).token)
        values = {"key_id": key.key_id, "plaintext": b"x", "encryption_context": {"tenant": "a"}}
        for _ in range(2):
            caller("Encrypt", **values)
        assert refused(caller, "Encrypt", **values)[0] is grpc.StatusCode.PERMISSION_DENIED
        (freeze,) = root("ListFreezes").freezes
        assert (freeze.key_arn, freeze.principal_arn, freeze.limit) == (key.arn, spender, day)
        root("LiftFreeze", budget_name="day", freeze_id=freeze.freeze_id)
        caller("Encrypt", **values)
    root("DeleteBudget", budget_name="day")


def _custom_key_stores(root: Caller) -> None:
    store = {
        "custom_key_store_id": root(
            "CreateCustomKeyStore", custom_key_store_name="hsm", cloud_hsm_cluster_id=CLUSTER,
            trust_anchor_certificate=certificate().decode(), key_store_password=PIN.decode(),
        ).custom_key_store_id
    }
    root("UpdateCustomKeyStore", **store, new_custom_key_store_name="vault")

    def waited(state: int) -> None:
        end = time.monotonic() + 30
        while True:
            (found,) = root("DescribeCustomKeyStores", custom_key_store_name="vault").custom_key_stores
            if found.connection_state == state:
                return
            assert time.monotonic() < end
            time.sleep(0.05)

    root("ConnectCustomKeyStore", **store)
    waited(resources_pb2.CONNECTION_STATE_CONNECTED)
    assert root("CheckCustomKeyStore", **store).object_count == 0
    root("DisconnectCustomKeyStore", **store)
    waited(resources_pb2.CONNECTION_STATE_DISCONNECTED)
    root("DeleteCustomKeyStore", **store)


def _administration(root: Caller) -> None:
    root("CreateAccount", account_id=OTHER, name="tenant")
    root("CreateAccount", account_id="222233334444", name="short-lived")
    root("DeleteAccount", account_id="222233334444")
    assert {account.account_id for account in root("ListAccounts").accounts} == {HOME, OTHER}
    arn = root("CreateUser", account_id=HOME, user_name="alice").user.arn
    assert root("GetUser", account_id=HOME, user_name="alice").user.arn == arn
    assert "alice" in [user.user_name for user in root("ListUsers", account_id=HOME).users]
    role = root("CreateRole", account_id=HOME, role_name="worker").role
    assert root("GetRole", account_id=HOME, role_name="worker").role.arn == role.arn
    assert [found.role_name for found in root("ListRoles", account_id=HOME).roles] == ["worker"]
    root("PutIdentityPolicy", principal_arn=arn, policy_name="all", policy_document=ALLOW_ALL)
    found = root("GetIdentityPolicy", principal_arn=arn, policy_name="all")
    assert found.policy_document == ALLOW_ALL
    assert list(root("ListIdentityPolicies", principal_arn=arn).policy_names) == ["all"]
    root("DeleteIdentityPolicy", principal_arn=arn, policy_name="all")
    root("CreateToken", principal_arn=arn)
    (token,) = root("ListTokens", account_id=HOME, principal_arn=arn).tokens
    root("RevokeToken", account_id=HOME, token_id=token.token_id)
    made = root("RegisterCertificate", principal_arn=arn, uri_san="spiffe://test/alice")
    (mapping,) = root("ListCertificates", account_id=HOME, principal_arn=arn).certificates
    assert mapping.certificate_id == made.certificate_id
    root("DeregisterCertificate", account_id=HOME, certificate_id=made.certificate_id)
    provider = root(
        "CreateOidcProvider", issuer_url="https://issuer.example/a", audiences=["kagitori"], role_arn=role.arn,
        tag_claims={"team": "team"},
    ).oidc_provider_arn
    (listed,) = root("ListOidcProviders", account_id=HOME).oidc_providers
    assert (listed.oidc_provider_arn, listed.session_name_claim, dict(listed.tag_claims)) == (
        provider, "sub", {"team": "team"},
    )
    root("DeleteOidcProvider", oidc_provider_arn=provider)
    key = root("DescribeKey", key_id="alias/app").key_metadata.arn
    explained = root("ExplainAccess", principal_arn=arn, action="kms:Decrypt", resource_arn=key)
    assert explained.decision == decisions_pb2.DECISION_IMPLICIT_DENY
    simulated = root("SimulatePolicy", key_disabling={"key_id": key})
    assert simulated[-1].progress.finished
    assert "kms:Encrypt" in {message.finding.action for message in simulated}
    lint = root("LintPolicy", policy_kind=decisions_pb2.POLICY_KIND_IDENTITY_POLICY, policy_document=ALLOW_ALL)
    assert lint.findings
    root("DeleteUser", account_id=HOME, user_name="alice")
    root("DeleteRole", account_id=HOME, role_name="worker")
    assert root("GetCallerIdentity").arn == f"arn:aws:iam::{HOME}:root"
    assert root("LookupEvents", max_results=5).events
    assert sum(len(message.events) for message in root("TailEvents", backlog=5)) == 5
    assert root("ExportEvents")[-1].complete
    assert [list(chain.problems) for chain in root("VerifyAuditTrail").chains] == [[]]
    trail = root("DescribeTrail")
    assert (trail.trail_arn, trail.s3_key_prefix) == (f"arn:aws:cloudtrail:us-east-1:{HOME}:trail/kagitori", "audit")
    _delivery(root)
    size = root("GetTreeHead").tree_size
    assert root("GetInclusionProof", leaf_index=0).proofs[0].leaf_index == 0
    assert root("GetConsistencyProof", first_size=1, second_size=size).second_size == size
    found = root("VerifyAuditTrail", delivered=True)
    assert (found.delivery.problem_count, list(found.delivery.problems)) == (0, [])
    assert found.delivery.records > 10
    _usage(root)
    root("GetServerStatus")
    root("ListKeyStoreHealth")
    assert root("RotateRootKey").root_key_id


def _delivery(root: Caller) -> None:
    deadline = time.monotonic() + 30
    while not root("GetTrailStatus").HasField("latest_digest_delivery_time"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    status = root("GetTrailStatus")
    assert status.is_logging
    assert status.latest_delivery_time.seconds >= status.start_logging_time.seconds
    [key] = root("ListAuditPublicKeys", purpose=trail_pb2.AUDIT_KEY_PURPOSE_AUDIT_DIGEST).public_keys
    assert len(key.fingerprint) == 32
    assert key.public_key == root("GetPublicKey", key_id="alias/kagitori/audit-digest").public_key


def _usage(root: Caller) -> None:
    now = int(time.time())
    by = [operation_pb2.USAGE_DIMENSION_USAGE_TYPE, operation_pb2.USAGE_DIMENSION_ACCOUNT]
    answer = root(
        "GetUsage", start_time={"seconds": now - 3_600}, end_time={"seconds": now + 3_600}, group_by=by, limit=1
    )
    assert (answer.items[0].usage_type, answer.items[0].account_id) == ("KeyHours", HOME)
    assert answer.items[0].quantity >= 2
    assert not answer.items[0].HasField("key_arn")
    assert answer.truncated
    again = root("GetUsage", start_time={"seconds": now - 3_600}, end_time={"seconds": now + 3_600}, group_by=by,
                 marker=answer.next_marker)
    symmetric = next(item for item in again.items if item.usage_type == "Requests-Symmetric")
    assert (symmetric.unit, symmetric.quantity > 20) == ("Requests", True)


def test_refusals_over_the_wire(server: WholeServer, root: Caller) -> None:
    """Status, details and record of a refusal belong together."""
    code, info = refused(root, "DescribeKey", key_id="alias/absent")
    assert (code, info.reason, info.domain) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "kms.kagitori")
    record = next(record for record in _records(server) if record.get("requestID") == info.metadata["requestId"])
    assert (record["eventName"], record["errorCode"]) == ("DescribeKey", "NotFoundException")
    assert record["sourceIPAddress"] == "127.0.0.1"
    assert record["userAgent"].startswith("grpc-python")
    with server.tls() as channel:
        for caller, expected in (
            (Caller(channel), grpc.StatusCode.UNAUTHENTICATED),
            (Caller(channel, "kgt_" + "x" * 43), grpc.StatusCode.UNAUTHENTICATED),
            (Caller(channel, server.root_token, "mars-1"), grpc.StatusCode.INVALID_ARGUMENT),
        ):
            assert refused(caller, "ListKeys")[0] is expected
        abroad = Caller(channel, server.root_token, "eu-west-1")
        assert all(key.key_id.startswith("mrk-") for key in abroad("ListKeys").keys)


def _records(server: WholeServer) -> list[dict[str, Any]]:
    lines = [line for path in server.data.audit.rglob("*.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line)["event"] for line in lines]


def test_a_client_certificate(server: WholeServer, root: Caller) -> None:
    """Mapped by its URI on the listener for mutual TLS; nobody comes in there without one."""
    root("CreateUser", account_id=HOME, user_name="by-certificate")
    root("RegisterCertificate", principal_arn=user_arn("by-certificate"), uri_san="spiffe://test/app")
    authority = load_authority(server.data.tls)
    pair = issue_client_certificate(authority, time.time, days=1, uri_san="spiffe://test/app")
    address = str(server.addresses.grpc_mtls)
    credentials = grpc.ssl_channel_credentials(server.authority, pair.key, pair.certificate)
    with grpc.secure_channel(address, credentials) as channel:
        assert Caller(channel)("GetCallerIdentity").arn == user_arn("by-certificate")
        code, info = refused(Caller(channel, server.root_token), "GetCallerIdentity")
        assert (code, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNRECOGNIZED_CLIENT")
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(server.authority)) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            Caller(channel, server.root_token)("GetCallerIdentity")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_local_socket(server: WholeServer, root: Caller) -> None:
    """Stands for its principal once that exists, with its permissions and no more."""
    with grpc.insecure_channel(f"unix:{server.addresses.socket}") as channel:
        assert refused(Caller(channel), "GetCallerIdentity")[0] is grpc.StatusCode.UNAUTHENTICATED
        root("CreateUser", account_id=HOME, user_name="sidecar")
        assert Caller(channel)("GetCallerIdentity").arn == user_arn("sidecar")
        assert refused(Caller(channel), "ListKeys")[0] is grpc.StatusCode.PERMISSION_DENIED
        policy = identity_policy("kms:ListKeys")
        root("PutIdentityPolicy", principal_arn=user_arn("sidecar"), policy_name="p", policy_document=policy)
        Caller(channel)("ListKeys")
        assert Caller(channel, server.root_token)("GetCallerIdentity").arn == f"arn:aws:iam::{HOME}:root"


def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    """Keys, names, credentials and records are there again; the trail is whole over both lives."""
    with WholeServer(tmp_path / "data", SETTINGS) as server, server.tls() as channel:
        token = server.root_token
        root = Caller(channel, token)
        key = root("CreateKey").key_metadata
        root("CreateAlias", alias_name="alias/kept", target_key_id=key.key_id)
        blob = root("Encrypt", key_id="alias/kept", plaintext=b"kept").ciphertext_blob
        root("RotateRootKey")
    with WholeServer(tmp_path / "data", SETTINGS) as server, server.tls() as channel:
        root = Caller(channel, token)
        assert server.root_token == token
        assert root("Decrypt", ciphertext_blob=blob).plaintext == b"kept"
        assert root("DescribeKey", key_id="alias/kept").key_metadata == key
        (chain,) = root("VerifyAuditTrail").chains
        assert (chain.records, list(chain.problems)) == (6, [])
        names = [record["eventName"] for record in _records(server)]
        assert names == ["CreateKey", "CreateAlias", "Encrypt", "RotateRootKey", "Decrypt", "DescribeKey",
                         "VerifyAuditTrail"]
