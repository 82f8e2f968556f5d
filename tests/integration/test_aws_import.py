"""`kagitori aws-import`, from an instance of the service that plays AWS into another one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.support.commandline import CommandLine, Result
from tests.support.devserver import DevServer, running_server

from kagitori.kms.v1.cryptography_pb2 import DecryptRequest, EncryptRequest
from kagitori.kms.v1.key_material_pb2 import DisableKeyRotationRequest, GetKeyRotationStatusRequest
from kagitori.kms.v1.keys_pb2 import (
    CreateKeyRequest,
    DeleteAliasRequest,
    DescribeKeyRequest,
    EnableKeyRequest,
    GetKeyPolicyRequest,
    ListAliasesRequest,
    ListKeysRequest,
    ListResourceTagsRequest,
    PutKeyPolicyRequest,
    TagResourceRequest,
    UntagResourceRequest,
)
from kagitori.kms.v1.resources_pb2 import KeySpec, KeyState, KeyUsage, Origin, Tag

AWS_ACCOUNT = "111122223333"
HERE = "000000000000"
_MATERIAL = bytes(range(32))


@pytest.fixture(scope="module")
def aws() -> Iterator[DevServer]:
    """The instance that plays AWS."""
    with running_server(["--aws-listen", "127.0.0.1:0", "--account", AWS_ACCOUNT]) as server:
        yield server


@pytest.fixture(scope="module")
def target() -> Iterator[DevServer]:
    """The instance that keys are moved to."""
    with running_server() as server:
        yield server


@pytest.fixture
def move(
    aws: DevServer, target: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Runs the command as somebody with credentials of both."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_KMS")
    given = {name: aws.variables[name] for name in names}
    line = CommandLine(monkeypatch, {**target.variables, **given}, tmp_path)
    return partial(line, "aws-import", "--output", "json", "--map-account", f"{AWS_ACCOUNT}={HERE}")


@pytest.fixture(scope="module")
def kms(aws: DevServer) -> Any:
    """boto3's client of the instance that plays AWS."""
    return boto3.client(
        "kms", endpoint_url=aws.variables["AWS_ENDPOINT_URL_KMS"], region_name="us-east-1",
        aws_access_key_id=aws.variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws.variables["AWS_SECRET_ACCESS_KEY"],
    )


def _outcomes(moved: Result) -> dict[str, dict[str, Any]]:
    return {row["source_arn"]: row for row in moved.json["keys"]}


def _count(server: DevServer) -> int:
    with server.client() as client:
        return len(client.keys.ListKeys(ListKeysRequest()).keys)


def _policy(account: str) -> str:
    statement = {
        "Sid": "all", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "kms:*",
        "Resource": "*", "Condition": {"StringEquals": {"kms:CallerAccount": account}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_settings_policy_tags_and_aliases_come_along(
    kms: Any, target: DevServer, move: Callable[..., Result]
) -> None:
    arn = kms.create_key(
        Description="Aufträge 注文", Policy=_policy(AWS_ACCOUNT), Tags=[{"TagKey": "team", "TagValue": "shop"}]
    )["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/moved-orders", TargetKeyId=arn)
    kms.enable_key_rotation(KeyId=arn, RotationPeriodInDays=180)
    kms.create_grant(KeyId=arn, GranteePrincipal=f"arn:aws:iam::{AWS_ACCOUNT}:root", Operations=["Decrypt"])

    moved = move("--key", "alias/moved-orders")
    assert moved.code == 0, moved.err
    row = _outcomes(moved)[arn]
    assert row["outcome"] == "created"
    assert any("1 grants were not moved" in note for note in row["notes"])
    with target.client() as client:
        here = client.keys.DescribeKey(DescribeKeyRequest(key_id="alias/moved-orders")).key_metadata
        assert here.arn == row["arn"]
        assert here.aws_account_id == HERE
        assert here.description == "Aufträge 注文"
        policy = client.keys.GetKeyPolicy(GetKeyPolicyRequest(key_id=here.arn)).policy
        assert json.loads(policy) == json.loads(_policy(HERE))
        status = client.keys.GetKeyRotationStatus(GetKeyRotationStatusRequest(key_id=here.arn))
        assert (status.key_rotation_enabled, status.rotation_period_in_days) == (True, 180)
        tags = client.keys.ListResourceTags(ListResourceTagsRequest(key_id=here.arn)).tags
        assert {tag.tag_key: tag.tag_value for tag in tags} == {"team": "shop", "kagitori:imported-from": arn}


def test_every_spec_state_and_origin_is_moved_and_a_second_run_changes_nothing(
    kms: Any, target: DevServer, move: Callable[..., Result], tmp_path: Path
) -> None:
    made = {}
    for spec, usage in (
        ("RSA_2048", "SIGN_VERIFY"), ("ECC_NIST_P256", "KEY_AGREEMENT"), ("HMAC_256", "GENERATE_VERIFY_MAC"),
        ("ML_DSA_44", "SIGN_VERIFY"),
    ):
        made[spec] = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"]
    disabled = kms.create_key()["KeyMetadata"]["Arn"]
    kms.disable_key(KeyId=disabled)
    doomed = kms.create_key()["KeyMetadata"]["Arn"]
    kms.schedule_key_deletion(KeyId=doomed, PendingWindowInDays=7)
    primary = kms.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]

    before = _count(target)
    planned = move("--dry-run", "--mapping-out", "plan.json")
    assert planned.code == 0, planned.err
    assert {row["outcome"] for row in planned.json["keys"]} == {"planned", "skipped"}
    assert _count(target) == before

    moved = _outcomes(move("--mapping-out", "moved.json"))
    assert json.loads((tmp_path / "moved.json").read_text())["keys"] == list(moved.values())
    assert moved[doomed]["outcome"] == "skipped"
    with target.client() as client:
        for spec, arn in made.items():
            metadata = client.keys.DescribeKey(DescribeKeyRequest(key_id=moved[arn]["arn"])).key_metadata
            assert KeySpec.Name(metadata.key_spec) == f"KEY_SPEC_{spec}"
        described = client.keys.DescribeKey(DescribeKeyRequest(key_id=moved[disabled]["arn"])).key_metadata
        assert described.key_state == KeyState.KEY_STATE_DISABLED
        described = client.keys.DescribeKey(DescribeKeyRequest(key_id=moved[primary]["arn"])).key_metadata
        assert described.multi_region is True
    before = _count(target)
    again = _outcomes(move())
    assert {row["outcome"] for row in again.values()} == {"found", "skipped"}
    assert {arn: row["arn"] for arn, row in again.items()} == {arn: row["arn"] for arn, row in moved.items()}
    assert _count(target) == before


def test_a_key_that_aws_does_not_show_ends_nothing(kms: Any, target: DevServer, move: Callable[..., Result]) -> None:
    closed = kms.create_key()["KeyMetadata"]["Arn"]
    shown = kms.create_key()["KeyMetadata"]["Arn"]
    before = kms.get_key_policy(KeyId=closed, PolicyName="default")["Policy"]
    statement = {
        "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{AWS_ACCOUNT}:root"},
        "Action": ["kms:DescribeKey", "kms:PutKeyPolicy"], "Resource": "*",
    }
    kms.put_key_policy(KeyId=closed, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    try:
        planned = move("--dry-run", "--key", closed, "--key", shown)
        moved = move("--key", closed, "--key", "alias/nothing", "--key", shown)
    finally:
        kms.put_key_policy(KeyId=closed, Policy=before)
    assert [row["outcome"] for row in planned.json["keys"]] == ["planned", "failed"]
    rows = _outcomes(moved)
    assert planned.code == moved.code == 1
    assert rows[shown]["outcome"] == "created"
    assert (rows[closed]["outcome"], rows[closed]["arn"]) == ("failed", None)
    assert "AccessDeniedException" in rows[closed]["notes"][0]
    assert "GetKeyPolicy" in rows[closed]["notes"][0]
    assert "NotFoundException" in rows["alias/nothing"]["notes"][0]
    assert moved.err.startswith("error: MovedInPart: 2 of 3 keys could not be moved")
    assert _outcomes(move("--key", closed))[closed]["outcome"] == "created"


def test_a_second_run_finishes_what_broke_off_and_leaves_what_was_changed_since(
    kms: Any, target: DevServer, move: Callable[..., Result]
) -> None:
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/resting", TargetKeyId=arn)
    kms.enable_key_rotation(KeyId=arn)
    kms.disable_key(KeyId=arn)
    here = _outcomes(move("--key", arn))[arn]["arn"]
    with target.client() as client:

        def seen() -> tuple[KeyState.ValueType, bool, int, str]:
            tags = client.keys.ListResourceTags(ListResourceTagsRequest(key_id=here)).tags
            return (
                client.keys.DescribeKey(DescribeKeyRequest(key_id=here)).key_metadata.key_state,
                client.keys.GetKeyRotationStatus(GetKeyRotationStatusRequest(key_id=here)).key_rotation_enabled,
                len(client.keys.ListAliases(ListAliasesRequest(key_id=here)).aliases),
                next(tag.tag_value for tag in tags if tag.tag_key == "kagitori:imported-from"),
            )

        def undo() -> None:
            client.keys.EnableKey(EnableKeyRequest(key_id=here))
            client.keys.DisableKeyRotation(DisableKeyRotationRequest(key_id=here))
            client.keys.DeleteAlias(DeleteAliasRequest(alias_name="alias/resting"))

        as_in_aws = (KeyState.KEY_STATE_DISABLED, True, 1, arn)
        assert seen() == as_in_aws
        undo()
        assert _outcomes(move("--key", arn))[arn] | {"notes": []} == {
            "source_arn": arn, "arn": here, "outcome": "found", "notes": []
        }
        assert seen() == (KeyState.KEY_STATE_ENABLED, False, 0, arn), "its owners' doing stays"
        # What a run leaves that ended before the key was all that was planned.
        tag = Tag(tag_key="kagitori:imported-from", tag_value=f"{arn} unfinished")
        client.keys.TagResource(TagResourceRequest(key_id=here, tags=[tag]))
        assert _outcomes(move("--key", arn))[arn]["outcome"] == "found"
        assert seen() == as_in_aws


def test_a_key_whose_tags_are_closed_is_not_made_again(
    kms: Any, target: DevServer, move: Callable[..., Result]
) -> None:
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/closed", TargetKeyId=arn)
    here = _outcomes(move("--key", arn))[arn]["arn"]
    statement = {
        "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HERE}:root"},
        "Action": ["kms:DescribeKey", "kms:PutKeyPolicy"], "Resource": "*",
    }
    with target.client() as client:
        before = client.keys.GetKeyPolicy(GetKeyPolicyRequest(key_id=here)).policy
        closed = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        client.keys.PutKeyPolicy(PutKeyPolicyRequest(key_id=here, policy=closed))
        count = _count(target)
        again = move("--key", arn)
        client.keys.PutKeyPolicy(PutKeyPolicyRequest(key_id=here, policy=before))
    assert again.code == 1
    assert "an earlier run may have made it" in _outcomes(again)[arn]["notes"][0]
    assert _count(target) == count


def test_imported_material_comes_along_where_it_is_supplied(
    kms: Any, target: DevServer, move: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "material").write_bytes(_MATERIAL)
    (tmp_path / "material").chmod(0o600)
    (tmp_path / "wrong").write_bytes(_MATERIAL + b"x")
    (tmp_path / "wrong").chmod(0o600)
    arn = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["Arn"]
    row = _outcomes(move("--key", arn))[arn]
    assert row["outcome"] == "created"
    assert any("waits for its imported material" in note for note in row["notes"])

    refused = move("--key", arn, "--material", f"{arn}=wrong")
    assert refused.code == 1
    assert _outcomes(refused)[arn]["outcome"] == "failed"

    row = _outcomes(move("--key", arn, "--material", f"{arn}=material"))[arn]
    assert row["outcome"] == "found"
    with target.client() as client:
        sealed = client.crypto.Encrypt(EncryptRequest(key_id=row["arn"], plaintext=b"x")).ciphertext_blob
        assert client.crypto.Decrypt(DecryptRequest(ciphertext_blob=sealed)).plaintext == b"x"


def test_a_key_that_only_says_it_was_moved_gets_nothing(
    kms: Any, target: DevServer, move: Callable[..., Result], tmp_path: Path
) -> None:
    """Somebody who may make keys put the tag on one of theirs."""
    (tmp_path / "theirs").write_bytes(_MATERIAL[::-1])
    (tmp_path / "theirs").chmod(0o600)
    arn = kms.create_key(Origin="EXTERNAL", Policy=_policy(AWS_ACCOUNT))["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/coveted", TargetKeyId=arn)
    with target.client() as client:
        trap = client.keys.CreateKey(CreateKeyRequest(
            origin=Origin.ORIGIN_EXTERNAL, tags=[Tag(tag_key="kagitori:imported-from", tag_value=arn)]
        )).key_metadata.arn
        refused = move("--key", arn, "--material", f"{arn}=theirs")
        assert refused.code == 1
        row = _outcomes(refused)[arn]
        assert (row["outcome"], row["arn"]) == ("failed", trap)
        state = client.keys.DescribeKey(DescribeKeyRequest(key_id=trap)).key_metadata.key_state
        assert state == KeyState.KEY_STATE_PENDINGIMPORT
        aliases = client.keys.ListAliases(ListAliasesRequest(key_id=trap)).aliases
        assert not aliases
        client.keys.UntagResource(UntagResourceRequest(key_id=trap, tag_keys=["kagitori:imported-from"]))
    assert _outcomes(move("--key", arn, "--material", f"{arn}=theirs"))[arn]["outcome"] == "created"


@pytest.mark.parametrize(
    "trap", [{"origin": Origin.ORIGIN_EXTERNAL}, {"multi_region": True}, {"key_spec": KeySpec.KEY_SPEC_RSA_2048}],
    ids=lambda trap: next(iter(trap)),
)
def test_a_key_of_another_kind_gets_nothing_under_the_planned_policy_either(
    kms: Any, target: DevServer, move: Callable[..., Result], trap: dict[str, Any]
) -> None:
    """Its maker would know the material, or have it in a replica under another policy."""
    arn = kms.create_key(Policy=_policy(AWS_ACCOUNT))["KeyMetadata"]["Arn"]
    alias = f"alias/coveted-{next(iter(trap))}"
    kms.create_alias(AliasName=alias, TargetKeyId=arn)
    tag = Tag(tag_key="kagitori:imported-from", tag_value=f"{arn} unfinished")
    usage = KeyUsage.KEY_USAGE_ENCRYPT_DECRYPT
    with target.client() as client:
        made = client.keys.CreateKey(CreateKeyRequest(policy=_policy(HERE), tags=[tag], key_usage=usage, **trap))
        there = made.key_metadata.arn
        refused = move("--key", arn)
        row = _outcomes(refused)[arn]
        assert (refused.code, row["outcome"], row["arn"]) == (1, "failed", there)
        assert not client.keys.ListAliases(ListAliasesRequest(key_id=there)).aliases
        client.keys.UntagResource(UntagResourceRequest(key_id=there, tag_keys=["kagitori:imported-from"]))
    assert _outcomes(move("--key", arn))[arn]["outcome"] == "created"


def test_without_the_map_policies_lock_nobody_out(kms: Any, aws: DevServer, target: DevServer, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    arn = kms.create_key(Policy=_policy(AWS_ACCOUNT))["KeyMetadata"]["Arn"]
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_KMS")
    line = CommandLine(monkeypatch, {**target.variables, **{name: aws.variables[name] for name in names}}, tmp_path)
    before = _count(target)
    refused = line("aws-import", "--output", "json", "--key", arn)
    assert refused.code == 1
    row = _outcomes(refused)[arn]
    assert row["outcome"] == "failed"
    assert row["arn"] is None
    assert "MalformedPolicyDocumentException" in row["notes"][0]
    assert _count(target) == before
    given = line("aws-import", "--output", "json", "--key", arn, "--default-policies")
    assert _outcomes(given)[arn]["outcome"] == "created"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--map-account", "1=2"], 2),
        (["--aws-profile", "none-of-this-name"], 2),
        (["--key", "alias/nothing"], 1),
        (["--aws-endpoint", "http://127.0.0.1:9"], 1),
    ],
)
def test_what_cannot_work_says_so(move: Callable[..., Result], arguments: list[str], code: int) -> None:
    refused = move(*arguments, environment={"AWS_MAX_ATTEMPTS": "1"})
    assert refused.code == code
    assert refused.err.startswith("error: ")
    assert "Traceback" not in refused.err
