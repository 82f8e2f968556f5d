"""Rules of the contract that the linter does not know: names, paging, batches, who serves what."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from kagitori.kms.v1 import admin_service_pb2, crypto_service_pb2, key_service_pb2

BATCHED = ("Encrypt", "Decrypt", "GenerateDataKey", "Sign", "Verify", "GenerateMac")


def contract(*services: FileDescriptor) -> list[FileDescriptorProto]:
    """The files of the services and all of ours that they import."""
    waiting, found = list(services), dict[str, FileDescriptorProto]()
    while waiting:
        file = waiting.pop()
        if file.name.startswith("kagitori/") and file.name not in found:
            found[file.name] = FileDescriptorProto()
            file.CopyToProto(found[file.name])
            waiting += file.dependencies
    return [found[name] for name in sorted(found)]


FILES = contract(admin_service_pb2.DESCRIPTOR, crypto_service_pb2.DESCRIPTOR, key_service_pb2.DESCRIPTOR)
MESSAGES = {message.name: message for file in FILES for message in file.message_type}
ADMIN_RPCS = {
    "CreateAccount", "ListAccounts", "DeleteAccount",
    "CreateUser", "GetUser", "ListUsers", "DeleteUser",
    "CreateGroup", "ListGroups", "DeleteGroup", "AddUserToGroup", "RemoveUserFromGroup", "ListGroupsForUser",
    "CreateRole", "GetRole", "ListRoles", "UpdateAssumeRolePolicy", "DeleteRole",
    "PutIdentityPolicy", "GetIdentityPolicy", "ListIdentityPolicies", "DeleteIdentityPolicy",
    "CreateManagedPolicy", "GetManagedPolicy", "ListManagedPolicies", "DeleteManagedPolicy",
    "AttachManagedPolicy", "DetachManagedPolicy", "PutPermissionsBoundary", "DeletePermissionsBoundary",
    "TagPrincipal", "UntagPrincipal",
    "CreateToken", "ListTokens", "RevokeToken",
    "CreateAccessKey", "ListAccessKeys", "UpdateAccessKey", "DeleteAccessKey",
    "RegisterCertificate", "ListCertificates", "DeregisterCertificate",
    "CreateOidcProvider", "ListOidcProviders", "DeleteOidcProvider", "AssumeRole", "GetCallerIdentity",
    "ExplainAccess", "SimulatePolicy", "LintPolicy",
    "PutBudget", "GetBudget", "ListBudgets", "DeleteBudget", "ListFreezes", "LiftFreeze",
    "LookupEvents", "TailEvents", "ExportEvents", "VerifyAuditTrail", "DescribeTrail", "GetTrailStatus",
    "ListAuditPublicKeys", "GetTreeHead", "GetInclusionProof", "GetConsistencyProof",
    "GetUsage", "GetServerStatus", "ListKeyStoreHealth", "CheckCustomKeyStore", "RotateRootKey",
}


def rpcs() -> Iterator[tuple[str, str]]:
    """Service and rpc of the whole contract."""
    for file in FILES:
        for service in file.service:
            for method in service.method:
                yield service.name, method.name


def fields(message: str) -> dict[str, FieldDescriptorProto]:
    return {field.name: field for field in MESSAGES[message].field}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.rsplit("/", 1)[-1])
def test_options_of_other_languages_are_set(file: FileDescriptorProto) -> None:
    """Go and Java users get sensible packages; the syntax is one that protobuf 3.21 reads."""
    assert file.syntax == "proto3"
    assert file.package == "kagitori.kms.v1"
    assert file.options.go_package == "kagitori/kms/v1;kmsv1"
    assert file.options.java_package == "kagitori.kms.v1"
    assert file.options.java_multiple_files


def test_admin_service_alone_serves_administration() -> None:
    """The rpcs of AdminService are the ones listed here, and no other service has one of them."""
    assert {name for service, name in rpcs() if service == "AdminService"} == ADMIN_RPCS
    assert {name for service, name in rpcs() if service != "AdminService"}.isdisjoint(ADMIN_RPCS)


def test_only_what_reads_the_trail_streams() -> None:
    """All other rpcs are one request, one response: that is what the other protocols can carry as well."""
    streaming = [
        (method.name, method.client_streaming, method.server_streaming)
        for file in FILES for service in file.service for method in service.method
        if method.client_streaming or method.server_streaming
    ]
    assert streaming == [
        ("SimulatePolicy", False, True), ("TailEvents", False, True), ("ExportEvents", False, True)
    ]


def test_messages_are_named_after_their_rpc() -> None:
    """<Rpc>Request and <Rpc>Response belong to one rpc, also where one of them is empty."""
    for file in FILES:
        for service in file.service:
            for method in service.method:
                assert method.input_type == f".kagitori.kms.v1.{method.name}Request"
                assert method.output_type == f".kagitori.kms.v1.{method.name}Response"


def test_pages_are_asked_for_and_answered_alike() -> None:
    """`limit` and `marker` in a request stand for `next_marker` and `truncated` in its response."""
    paged = set()
    for _, name in rpcs():
        asked, answered = fields(f"{name}Request"), fields(f"{name}Response")
        present = [word in side for word, side in
                   (("limit", asked), ("marker", asked), ("next_marker", answered), ("truncated", answered))]
        assert all(present) or not any(present), name
        if all(present):
            paged.add(name)
            assert asked["limit"].proto3_optional
            assert asked["marker"].proto3_optional
            assert answered["next_marker"].proto3_optional
            assert not answered["truncated"].proto3_optional
    unpaged = {name for _, name in rpcs() if name.startswith("List")} - paged
    # There are as many key stores as somebody set up by hand.
    assert unpaged == {"ListKeyStoreHealth"}


@pytest.mark.parametrize("operation", BATCHED)
def test_a_batch_holds_the_messages_of_the_single_call(operation: str) -> None:
    """Items are the single requests; an outcome is the single response or an error."""
    package = ".kagitori.kms.v1."
    (items,) = MESSAGES[f"Batch{operation}Request"].field
    (outcomes,) = MESSAGES[f"Batch{operation}Response"].field
    repeated = FieldDescriptorProto.LABEL_REPEATED
    assert (items.name, items.label, items.type_name) == ("items", repeated, f"{package}{operation}Request")
    assert (outcomes.name, outcomes.label, outcomes.type_name) == (
        "outcomes", repeated, f"{package}Batch{operation}Outcome",
    )
    outcome = MESSAGES[f"Batch{operation}Outcome"]
    assert [oneof.name for oneof in outcome.oneof_decl] == ["result"]
    assert [(field.name, field.type_name, field.HasField("oneof_index")) for field in outcome.field] == [
        ("response", f"{package}{operation}Response", True), ("error", f"{package}BatchItemError", True),
    ]


def test_batches_are_served_for_these_operations_only() -> None:
    """A new Batch rpc is added to the list above."""
    assert {name for _, name in rpcs() if name.startswith("Batch")} == {f"Batch{name}" for name in BATCHED}


def test_accounts_are_named_alike() -> None:
    """Where a request of AdminService names an account, it is by default the caller's own."""
    named = {name: fields(f"{name}Request")["account_id"] for name in ADMIN_RPCS
             if "account_id" in fields(f"{name}Request")}
    assert {name for name, field in named.items() if not field.proto3_optional} == {"DeleteAccount"}


def test_field_numbers_have_no_gaps() -> None:
    """Nothing was released yet, so nothing is reserved: numbers count from 1 in every message."""
    for name, message in MESSAGES.items():
        assert [field.number for field in message.field] == list(range(1, len(message.field) + 1)), name


def test_secrets_are_answered_by_few() -> None:
    """Fields that hold what must not be logged, by message: a new one is a decision, not an accident."""
    words = ("plaintext", "secret", "password", "session_token")
    found = {
        f"{message.name}.{field.name}" for message in MESSAGES.values() for field in message.field
        if holds_secret(message, field, words)
    }
    assert found == {
        "EncryptRequest.plaintext", "DecryptResponse.plaintext", "GenerateRandomResponse.plaintext",
        "GenerateDataKeyResponse.plaintext", "GenerateDataKeyPairResponse.private_key_plaintext",
        "DeriveSharedSecretResponse.shared_secret", "EncapsulateResponse.shared_secret",
        "DecapsulateResponse.shared_secret",
        "CreateCustomKeyStoreRequest.key_store_password", "UpdateCustomKeyStoreRequest.key_store_password",
        "XksProxyAuthenticationCredential.raw_secret_access_key",
        "CreateTokenResponse.token", "AssumeRoleResponse.token", "CreateAccessKeyResponse.secret_access_key",
        "SessionCredentials.secret_access_key", "SessionCredentials.session_token",
    }


def holds_secret(message: DescriptorProto, field: FieldDescriptorProto, words: tuple[str, ...]) -> bool:
    """True for fields named like secrets; a ciphertext of one is none."""
    if field.name == "token":
        return message.name.endswith("Response")
    return any(word in field.name for word in words) and "ciphertext" not in field.name
