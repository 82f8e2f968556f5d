"""CreateKey, DescribeKey, ListKeys, UpdateKeyDescription: members, limits, pages, and how keys may be named."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, REGION, START, InProcess
from tests.support.kms_calls import (
    ABSENT_ID,
    OTHER,
    alias_arn,
    delegating,
    identity_policy,
    key_arn,
    key_policy,
    last_record,
    new_key,
    refused,
    root,
    statement,
    user_arn,
)

from kagitori_server.model.errors import (
    AccessDeniedException,
    CustomKeyStoreNotFoundException,
    InvalidArnException,
    InvalidGrantTokenException,
    InvalidMarkerException,
    KmsError,
    LimitExceededException,
    MalformedPolicyDocumentException,
    NotFoundException,
    SerializationException,
    TagException,
    ValidationException,
)
from kagitori_server.model.keys import KeySpec, KeyState, KeyUsage, Origin
from kagitori_server.model.limits import Quotas


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that only look at keys of their own. Its first key is made: with that comes the
    account's key-encryption key, which a refused CreateKey would leave behind otherwise."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        new_key(opened)
        yield opened


def test_a_key_made_with_nothing_said(service: InProcess) -> None:
    """Every member of the metadata, and the record of it."""
    key = new_key(service)
    assert key.arn == key_arn(key.key_id)
    assert (key.aws_account_id, key.description, key.enabled) == (HOME, "", True)
    assert (key.key_spec, key.customer_master_key_spec) == (KeySpec.SYMMETRIC_DEFAULT, KeySpec.SYMMETRIC_DEFAULT)
    assert (key.key_usage, key.key_state, key.origin) == (
        KeyUsage.ENCRYPT_DECRYPT, KeyState.ENABLED, Origin.AWS_KMS
    )
    assert (key.creation_date, key.deletion_date, key.multi_region) == (START, None, False)
    assert [algorithm.value for algorithm in key.encryption_algorithms] == ["SYMMETRIC_DEFAULT"]
    assert key.current_key_material_id is not None
    assert len(bytes.fromhex(key.current_key_material_id)) == 32
    record = last_record(service)
    assert record["requestParameters"] == {
        "keySpec": "SYMMETRIC_DEFAULT", "keyUsage": "ENCRYPT_DECRYPT", "origin": "AWS_KMS", "multiRegion": False,
        "bypassPolicyLockoutSafetyCheck": False,
    }
    assert record["responseElements"]["keyMetadata"]["arn"] == key.arn
    assert record["responseElements"]["keyMetadata"]["aWSAccountId"] == HOME
    assert record["resources"] == [{"accountId": HOME, "type": "AWS::KMS::Key", "ARN": key.arn}]
    assert (record["readOnly"], record["recipientAccountId"]) == (False, HOME)


def test_a_key_made_with_everything_said(service: InProcess) -> None:
    """Description, tags, policy, spec and usage are kept and recorded."""
    values: dict[str, Any] = {
        "description": "für 鍵 & Co", "key_spec": "SYMMETRIC_DEFAULT", "key_usage": "ENCRYPT_DECRYPT",
        "origin": "AWS_KMS", "multi_region": False, "policy": delegating(),
        "tags": [{"tag_key": "b", "tag_value": ""}, {"tag_key": "a", "tag_value": "1"}],
        "bypass_policy_lockout_safety_check": False,
    }
    key = new_key(service, **values)
    assert key.description == "für 鍵 & Co"
    tags = service.call("ListResourceTags", {"key_id": key.key_id}).tags
    assert [(tag.tag_key, tag.tag_value) for tag in tags] == [("a", "1"), ("b", "")]
    assert service.call("GetKeyPolicy", {"key_id": key.key_id}).policy == delegating()
    record = next(record for record in reversed(service.records()) if record["eventName"] == "CreateKey")
    shown = record["requestParameters"]
    assert shown["tags"] == [{"tagKey": "b", "tagValue": ""}, {"tagKey": "a", "tagValue": "1"}]
    assert (shown["description"], shown["policy"]) == (values["description"], delegating())


def test_the_old_name_of_the_spec(service: InProcess) -> None:
    """CustomerMasterKeySpec does what KeySpec does; both at once are too much."""
    assert new_key(service, customer_master_key_spec="SYMMETRIC_DEFAULT").key_spec is KeySpec.SYMMETRIC_DEFAULT
    refused(
        service, ValidationException, "CreateKey",
        {"customer_master_key_spec": "SYMMETRIC_DEFAULT", "key_spec": "SYMMETRIC_DEFAULT"},
    )


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"description": "x" * 8193}, ValidationException, "'description' failed to satisfy constraint"),
        ({"key_spec": "AES_512"}, ValidationException, "'keySpec' failed to satisfy constraint"),
        ({"key_usage": ""}, ValidationException, "enum value set"),
        ({"origin": "MARS"}, ValidationException, "'origin'"),
        ({"policy": ""}, ValidationException, "'policy'"),
        ({"policy": "x" * 131_073}, ValidationException, "less than or equal to 131072"),
        ({"policy": "x" * 32_769}, LimitExceededException, "32768"),
        ({"policy": "{}\x00"}, ValidationException, "'policy'"),
        ({"policy": '{"Id": "\u0100"}'}, ValidationException, "'policy'"),
        ({"policy": "not json"}, MalformedPolicyDocumentException, ""),
        ({"policy": key_policy(statement("AIDA", "kms:*"))}, MalformedPolicyDocumentException, "invalid principals"),
        ({"policy": delegating(statement(user_arn("nobody"), "kms:*"))}, MalformedPolicyDocumentException,
         "one or more invalid principals"),
        ({"policy": delegating(statement("arn:nonsense", "kms:*"))}, InvalidArnException,
         "An ARN in the specified key policy is invalid."),
        ({"tags": [{"tag_key": "", "tag_value": ""}]}, ValidationException, "'tags.1.member.tagKey'"),
        ({"tags": [{"tag_key": "k" * 129, "tag_value": ""}]}, ValidationException, "128"),
        ({"tags": [{"tag_key": "k", "tag_value": "v" * 257}]}, ValidationException, "256"),
        ({"tags": [{"tag_key": "aws:k", "tag_value": ""}]}, TagException, "Tags beginning with aws: are reserved"),
        ({"tags": [{"tag_key": "AwS:k", "tag_value": ""}]}, TagException, "Tags beginning with aws: are reserved"),
        ({"tags": [{"tag_key": "k", "tag_value": "1"}, {"tag_key": "k", "tag_value": "1"}]}, TagException,
         "Duplicate tag keys"),
        ({"tags": [{"tag_key": f"k{n}", "tag_value": ""} for n in range(51)]}, TagException, "Too many tags"),
        ({"custom_key_store_id": "cks-1"}, CustomKeyStoreNotFoundException, ""),
        ({"custom_key_store_id": "c" * 65}, ValidationException, "'customKeyStoreId'"),
        ({"xks_key_id": "x"}, ValidationException, ""),
        ({"xks_key_id": "no/slash"}, ValidationException, "'xksKeyId'"),
        ({"origin": "AWS_CLOUDHSM"}, ValidationException, "CustomKeyStoreId"),
        ({"origin": "EXTERNAL_KEY_STORE"}, ValidationException, "CustomKeyStoreId"),
        ({"key_usage": "SIGN_VERIFY"}, ValidationException, "SIGN_VERIFY is not compatible"),
        ({"key_id": ABSENT_ID}, SerializationException, "key_id"),
    ],
)
def test_keys_that_are_not_made(
    service: InProcess, values: dict[str, Any], error: type[KmsError], text: str
) -> None:
    """Each limit just beyond its edge, and every kind of key that isn't served."""
    assert text in refused(service, error, "CreateKey", values).message


@pytest.mark.parametrize(
    "values",
    [
        {"description": "x" * 8192},
        {"tags": [{"tag_key": "k" * 128, "tag_value": "v" * 256}]},
        {"tags": [{"tag_key": f"k{n}", "tag_value": ""} for n in range(50)]},
        {"tags": [{"tag_key": "awsome", "tag_value": "aws:"}, {"tag_key": "K", "tag_value": ""},
                  {"tag_key": "k", "tag_value": ""}]},
        {"policy": delegating() + " " * (32_768 - len(delegating()))},
    ],
    ids=["description", "tag", "fifty tags", "tags that look alike", "policy"],
)
def test_the_edge_itself_is_allowed(service: InProcess, values: dict[str, Any]) -> None:
    """What is exactly as long as allowed."""
    new_key(service, **values)


def test_the_quota_of_keys(tmp_path: Any) -> None:
    """The key beyond the quota of account and Region is refused; another Region has its own."""
    with InProcess(tmp_path, quotas=Quotas(keys_per_account_region=2)) as service:
        new_key(service)
        new_key(service)
        refused(service, LimitExceededException, "CreateKey")
        new_key(service, region="eu-west-1")


def test_permissions_of_creation(service: InProcess) -> None:
    """Tags and a policy each need a permission more; a refusal comes before any complaint about parameters."""
    plain = service.new_user("maker", policies={"p": identity_policy("kms:CreateKey")})
    tagging = service.new_user("tagger", policies={"p": identity_policy("kms:CreateKey", "kms:TagResource")})
    putting = service.new_user("putter", policies={"p": identity_policy("kms:CreateKey", "kms:PutKeyPolicy")})
    nobody = service.new_user("nobody-at-all")
    tags = [{"tag_key": "k", "tag_value": "v"}]
    own = key_policy(statement(user_arn("putter"), "kms:*"), statement(root(HOME), "kms:*"))
    new_key(service, token=plain)
    new_key(service, token=tagging, tags=tags)
    new_key(service, token=putting, policy=own)
    for token, values, action in (
        (plain, {"tags": tags}, "TagResource"),
        (plain, {"policy": own}, "PutKeyPolicy"),
        (tagging, {"tags": tags, "policy": own}, "PutKeyPolicy"),
        (nobody, {}, "CreateKey"),
        (nobody, {"multi_region": True}, "CreateKey"),
        (nobody, {"tags": [{"tag_key": "aws:x", "tag_value": ""}]}, "CreateKey"),
    ):
        error = refused(service, AccessDeniedException, "CreateKey", values, token=token)
        assert f"is not authorized to perform: kms:{action} on resource: arn:aws:kms:{REGION}:{HOME}:*" in error.message
        assert error.message.endswith(f"because no identity-based policy allows the kms:{action} action")


def test_a_policy_that_locks_its_maker_out(service: InProcess) -> None:
    """CreateKey refuses it unless told not to."""
    service.new_user("keeper")
    policy = key_policy(statement(user_arn("keeper"), "kms:*"))
    error = refused(service, MalformedPolicyDocumentException, "CreateKey", {"policy": policy})
    assert error.message == "The new key policy will not allow you to update the key policy in the future."
    key = new_key(service, policy=policy, bypass_policy_lockout_safety_check=True)
    refused(service, AccessDeniedException, "DescribeKey", {"key_id": key.key_id})


def test_a_policy_for_callers_of_an_account_does_not_lock_them_out(service: InProcess) -> None:
    """`kms:CallerAccount` is known of the key that CreateKey is going to make, as it is of every other."""
    policy = json.loads(key_policy(statement(f"arn:aws:iam::{HOME}:root", "kms:*")))
    for account, allowed in ((HOME, True), ("444455556666", False)):
        policy["Statement"][0]["Condition"] = {"StringEquals": {"kms:CallerAccount": account}}
        values = {"policy": json.dumps(policy)}
        if allowed:
            new_key(service, **values)
        else:
            refused(service, MalformedPolicyDocumentException, "CreateKey", values)


def test_the_four_ways_to_name_a_key(service: InProcess) -> None:
    """Where aliases are allowed all four name it; elsewhere an alias is refused as an ARN that doesn't fit."""
    key = new_key(service)
    service.call("CreateAlias", {"alias_name": "alias/named", "target_key_id": key.arn})
    for name in (key.key_id, key.arn, "alias/named", alias_arn("alias/named")):
        assert service.call("DescribeKey", {"key_id": name}).key_metadata.key_id == key.key_id
        assert last_record(service)["requestParameters"] == {"keyId": name}
        assert last_record(service)["resources"][0]["ARN"] == key.arn
    for name in ("alias/named", alias_arn("alias/named")):
        refused(service, InvalidArnException, "EnableKey", {"key_id": name})
        refused(service, InvalidArnException, "UpdateKeyDescription", {"key_id": name, "description": ""})


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        (ABSENT_ID, NotFoundException, f"Key '{key_arn(ABSENT_ID)}' does not exist"),
        (key_arn(ABSENT_ID), NotFoundException, f"Key '{key_arn(ABSENT_ID)}' does not exist"),
        (ABSENT_ID.upper(), NotFoundException, f"Invalid keyId '{ABSENT_ID.upper()}'"),
        ("nonsense", NotFoundException, "Invalid keyId 'nonsense'"),
        (f" {ABSENT_ID}", NotFoundException, "Invalid keyId"),
        (f"{ABSENT_ID}\n", NotFoundException, "Invalid keyId"),
        ("x" * 2048, NotFoundException, "Invalid keyId"),
        ("x" * 2049, ValidationException, "'keyId'"),
        ("", ValidationException, "'keyId'"),
        ("alias/absent", NotFoundException, f"Alias {alias_arn('alias/absent')} is not found."),
        ("alias/", NotFoundException, "is not found."),
        ("alias/ö", NotFoundException, "is not found."),
        ("arn:aws:kms", InvalidArnException, "Invalid arn arn:aws:kms"),
        (f"arn:aws-cn:kms:{REGION}:{HOME}:key/{ABSENT_ID}", InvalidArnException, "Invalid arn"),
        (f"arn:aws:s3:{REGION}:{HOME}:key/{ABSENT_ID}", InvalidArnException, "Invalid arn"),
        (f"arn:aws:kms:{REGION}:{HOME}:grant/{ABSENT_ID}", InvalidArnException, "Invalid arn"),
        (f"arn:aws:kms:{REGION}:{HOME}1:key/{ABSENT_ID}", InvalidArnException, "Invalid arn"),
        (key_arn(ABSENT_ID, region="eu-west-1"), NotFoundException, "Invalid arn eu-west-1"),
        (alias_arn("alias/x", region="eu-west-1"), NotFoundException, "Invalid arn eu-west-1"),
    ],
)
def test_names_that_lead_nowhere(service: InProcess, name: str, error: type[KmsError], text: str) -> None:
    """Malformed, absent, elsewhere: each with AWS's exception and text."""
    assert text in refused(service, error, "DescribeKey", {"key_id": name}).message


def test_regions_are_apart(service: InProcess) -> None:
    """A key is known in its own Region alone, and a Region that isn't served is refused."""
    key = new_key(service, region="eu-west-1")
    assert key.arn == key_arn(key.key_id, region="eu-west-1")
    assert service.call("DescribeKey", {"key_id": key.arn}, region="eu-west-1").key_metadata == key
    refused(service, NotFoundException, "DescribeKey", {"key_id": key.key_id})
    refused(service, NotFoundException, "DescribeKey", {"key_id": key.arn})
    refused(service, ValidationException, "DescribeKey", {"key_id": key.arn}, region="mars-north-1")
    assert key.key_id not in {entry.key_id for entry in service.call("ListKeys", {"limit": 1000}).keys}


def test_pages_of_keys(tmp_path: Any) -> None:
    """Each key comes exactly once whatever the size of the page, also while keys come and go in between."""
    with InProcess(tmp_path) as service:
        made = sorted(new_key(service).key_id for _ in range(7))
        for size in (1, 2, 3, 6, 7, 1000):
            assert [entry.key_id for entry in _walk(service, size)] == made
        whole = service.call("ListKeys")
        assert (whole.truncated, whole.next_marker, len(whole.keys)) == (False, None, 7)
        assert {entry.key_arn for entry in whole.keys} == {key_arn(key_id) for key_id in made}
        # The last item of a page ends before the next one is asked for; a new key lands somewhere.
        page = service.call("ListKeys", {"limit": 3})
        gone = page.keys[-1].key_id
        service.call("ScheduleKeyDeletion", {"key_id": gone, "pending_window_in_days": 7})
        with service.catalog.write() as writer:
            writer.delete_key(REGION, gone)
        new = new_key(service).key_id
        rest = [entry.key_id for entry in _walk(service, 2, page.next_marker)]
        assert rest == sorted({*made[3:], *([new] if new > gone else [])})


def _walk(service: InProcess, size: int, marker: str | None = None) -> Iterator[Any]:
    while True:
        values = {"limit": size} if marker is None else {"limit": size, "marker": marker}
        page = service.call("ListKeys", values)
        assert len(page.keys) <= size
        yield from page.keys
        marker = page.next_marker
        assert page.truncated is (marker is not None)
        if marker is None:
            return


def _marker(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "marker",
    ["garbage", "AAAA", "=", "a", "!" * 8, _marker("ListKeys"), _marker("ListAliases\nalias/a"), _marker("\n"),
     _marker(f"ListKeys\n{ABSENT_ID}") + "=", _marker(f"ListKeys\n{ABSENT_ID}") + " ",
     base64.urlsafe_b64encode(b"ListKeys\n\xff").decode().rstrip("="), _marker("ListKeys\n\x00"), "ÿ"],
)
def test_markers_that_were_never_given(service: InProcess, marker: str) -> None:
    """Garbage, another list's, not quite ours: all refused the same way."""
    refused(service, InvalidMarkerException, "ListKeys", {"marker": marker})


def test_made_up_markers_of_the_right_form_only_say_where_to_go_on(service: InProcess) -> None:
    """A marker gives no access: another account's list begun in the middle is still one's own list."""
    token = service.new_account("222222222222")
    own = new_key(service, token=token)
    for last in ("", "'; DROP TABLE keys; --", "0"):
        found = service.call("ListKeys", {"marker": _marker(f"ListKeys\n{last}")}, token=token).keys
        assert [entry.key_id for entry in found] == [own.key_id]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"limit": 0}, ValidationException), ({"limit": 1001}, ValidationException),
        ({"limit": -1}, ValidationException), ({"limit": 2**40}, ValidationException),
        ({"limit": True}, SerializationException), ({"marker": ""}, ValidationException),
        ({"marker": "x" * 1025}, ValidationException), ({"marker": "\u0100"}, ValidationException),
        ({"resource_owners": ["SOMEBODY"]}, ValidationException),
        ({"resource_owners": ["SELF"] * 3}, ValidationException),
    ],
)
def test_limits_of_list_keys(service: InProcess, values: dict[str, Any], error: type[KmsError]) -> None:
    """Page sizes and markers out of their bounds."""
    refused(service, error, "ListKeys", values)


def test_keys_of_others_are_never_listed(service: InProcess) -> None:
    """Nothing is shared by AWS RAM here."""
    assert service.call("ListKeys", {"resource_owners": ["OTHER_ACCOUNTS_VIA_RAM"]}).keys == ()
    assert service.call("ListKeys", {"resource_owners": ["SELF"]}).keys


def test_descriptions(service: InProcess) -> None:
    """Replaced, emptied, never too long; the record names the key."""
    key = new_key(service, description="old")
    for text in ("new", "", "x" * 8192, "\u00e9\u9375\U0001f511"):
        service.call("UpdateKeyDescription", {"key_id": key.arn, "description": text})
        assert last_record(service)["responseElements"] == {"keyId": key.arn}
        assert service.call("DescribeKey", {"key_id": key.key_id}).key_metadata.description == text
    refused(service, ValidationException, "UpdateKeyDescription", {"key_id": key.key_id, "description": "x" * 8193})
    refused(service, ValidationException, "UpdateKeyDescription", {"key_id": key.key_id})
    refused(service, ValidationException, "UpdateKeyDescription", {"key_id": key.key_id, "description": "\x00"})
    values = {"key_id": key.key_id, "description": "\ud800"}
    refused(service, SerializationException, "UpdateKeyDescription", values)


def test_grant_tokens_are_taken_and_never_shown(service: InProcess) -> None:
    """Ten tokens of 8,192 characters at most; none reaches the trail."""
    key = new_key(service)
    grant = {"key_id": key.key_id, "grantee_principal": root(HOME), "operations": ["DescribeKey"]}
    token = service.call("CreateGrant", grant).grant_token
    service.call("DescribeKey", {"key_id": key.key_id, "grant_tokens": [token] * 10})
    unknown = {"key_id": key.key_id, "grant_tokens": ["secret-grant-token"]}
    refused(service, InvalidGrantTokenException, "DescribeKey", unknown)
    refused(service, ValidationException, "DescribeKey", {"key_id": key.key_id, "grant_tokens": ["t"] * 11})
    refused(service, ValidationException, "DescribeKey", {"key_id": key.key_id, "grant_tokens": ["t" * 8193]})
    refused(service, ValidationException, "DescribeKey", {"key_id": key.key_id, "grant_tokens": [""]})
    assert "secret-grant-token" not in service.audit_text()
    assert token not in service.audit_text()


def test_other_accounts_see_only_what_both_sides_allow(service: InProcess) -> None:
    """DescribeKey works across accounts; management never does."""
    token = service.new_account(OTHER)
    guest = service.new_user("guest", account=OTHER, policies={"p": ALLOW_ALL})
    open_key = new_key(service, policy=delegating(statement(root(OTHER), "kms:*")))
    closed_key = new_key(service)
    for caller in (token, guest):
        assert service.call("DescribeKey", {"key_id": open_key.arn}, token=caller).key_metadata.arn == open_key.arn
        refused(service, NotFoundException, "DescribeKey", {"key_id": open_key.key_id}, token=caller)
        refused(service, AccessDeniedException, "DescribeKey", {"key_id": closed_key.arn}, token=caller)
        for operation in ("DisableKey", "EnableKey", "ScheduleKeyDeletion", "CancelKeyDeletion", "GetKeyPolicy",
                          "ListKeyPolicies", "ListResourceTags"):
            refused(service, AccessDeniedException, operation, {"key_id": open_key.arn}, token=caller)
    powerless = service.new_user("powerless", account=OTHER)
    error = refused(service, AccessDeniedException, "DescribeKey", {"key_id": open_key.arn}, token=powerless)
    assert error.message.endswith("because no identity-based policy allows the kms:DescribeKey action")


@pytest.mark.parametrize("policies", [{}, {"p": ALLOW_ALL}, {"p": identity_policy("kms:*", effect="Deny")}],
                         ids=["nothing", "everything", "denied"])
@pytest.mark.parametrize("operation", ["DescribeKey", "Encrypt", "GenerateDataKey", "Decrypt"])
def test_whether_a_foreign_key_exists_is_not_told(
    tmp_path: Any, operation: str, policies: dict[str, str]
) -> None:
    """By key and by alias, word for word the same refusal, and records that differ in nothing but the name."""
    with InProcess(tmp_path) as service:
        service.new_account(OTHER)
        stranger = service.new_user("stranger", account=OTHER, policies=policies)
        service.new_user("friend")
        deny = statement(root(OTHER), "kms:*", effect="Deny")
        texts, records = set(), set()
        keys = [new_key(service), new_key(service, policy=delegating(deny))]
        for number, key in enumerate(keys):
            service.call("CreateAlias", {"alias_name": f"alias/there-{number}", "target_key_id": key.key_id})
        blob = service.call("Encrypt", {"key_id": keys[0].key_id, "plaintext": b"x"}).ciphertext_blob
        members: dict[str, dict[str, Any]] = {
            "DescribeKey": {}, "Encrypt": {"plaintext": b"x"}, "GenerateDataKey": {"number_of_bytes": 1},
            "Decrypt": {"ciphertext_blob": blob},
        }
        more = members[operation]
        names = [keys[0].arn, keys[1].arn, key_arn(ABSENT_ID), alias_arn("alias/there-0"),
                 alias_arn("alias/there-1"), alias_arn("alias/absent")]
        for name in names:
            error = refused(service, AccessDeniedException, operation, {"key_id": name, **more}, token=stranger)
            texts.add(error.message.replace(name, "NAME"))
            record = last_record(service)
            for member in ("eventID", "requestID"):
                del record[member]
            records.add(json.dumps(record).replace(name, "NAME"))
        assert len(texts) == 1
        assert len(records) == 1
        assert not any(key.key_id in json.dumps(records_of) for key in keys for records_of in records)
