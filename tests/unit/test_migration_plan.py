"""What becomes of a key of AWS: decided from what is known of it, before anything is done."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kagitori_client.errors import ConfigurationError
from kagitori_client.migration.plan import ORIGIN_TAG, Wishes, plan, read_accounts, rewritten
from kagitori_client.migration.source import SourceKey

ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
KEY = SourceKey(
    arn=ARN, description="orders", key_spec="SYMMETRIC_DEFAULT", key_usage="ENCRYPT_DECRYPT", origin="AWS_KMS",
    state="Enabled", multi_region_type=None, valid_to=None, policy="{}", tags={"a": "b"}, aliases=("alias/orders",),
    rotation_days=365, grants=0,
)


def test_accounts_are_exchanged_where_they_stand_by_themselves_and_all_at_once() -> None:
    policy = json.dumps({
        "Principal": {"AWS": ["arn:aws:iam::111122223333:root", "444455556666"]},
        "Condition": {
            "StringEquals": {"kms:CallerAccount": "111122223333", "kms:EncryptionContext:n": "9111122223333"},
        },
    })
    found = json.loads(rewritten(policy, {"111122223333": "444455556666", "444455556666": "000000000000"}))
    assert found["Principal"]["AWS"] == ["arn:aws:iam::444455556666:root", "000000000000"]
    assert found["Condition"]["StringEquals"] == {
        "kms:CallerAccount": "444455556666", "kms:EncryptionContext:n": "9111122223333",
    }


def test_a_key_keeps_what_it_has_and_the_name_it_had() -> None:
    made = plan(KEY, Wishes())
    assert made.skipped is None
    assert made.policy == "{}"
    assert made.tags == {"a": "b", ORIGIN_TAG: ARN}
    assert "new key material" in made.notes[0]


def test_tags_of_aws_itself_stay_there_and_take_no_room() -> None:
    reserved = {"aws:cloudformation:stack-name": "shop", "AWS:x": ""}
    made = plan(replace(KEY, tags={**{str(number): "" for number in range(49)}, **reserved}), Wishes())
    assert made.skipped is None
    assert not reserved.keys() & made.tags.keys()
    assert len(made.tags) == 50
    assert "tags of AWS itself stay there: AWS:x, aws:cloudformation:stack-name" in made.notes


@pytest.mark.parametrize("resource", [ARN, [ARN]])
@pytest.mark.parametrize("as_list", [True, False])
def test_a_policy_that_names_its_key_means_the_key_made_of_it(resource: str | list[str], as_list: bool) -> None:
    statement = {"Effect": "Allow", "Resource": resource, "Condition": {"ArnEquals": {"aws:SourceArn": ARN}}}
    policy = json.dumps({"Statement": [statement] if as_list else statement})
    made = plan(replace(KEY, policy=policy), Wishes(accounts={"111122223333": "000000000000"}))
    assert made.policy is not None
    found = json.loads(made.policy)["Statement"]
    found = found[0] if as_list else found
    assert found["Resource"] == ["*"]
    assert found["Condition"]["ArnEquals"]["aws:SourceArn"] == ARN.replace("111122223333", "000000000000")
    assert not any("its policy names" in note for note in made.notes)


def test_other_resources_of_a_policy_are_kept_and_told() -> None:
    other = "arn:aws:kms:eu-west-1:111122223333:key/*"
    policy = json.dumps({"Statement": [{"Resource": ["*", other]}, {"Resource": "*"}]})
    made = plan(replace(KEY, policy=policy), Wishes())
    assert made.policy == policy
    assert [note for note in made.notes if f"its policy names the resource {other}" in note]
    assert plan(replace(KEY, policy=policy), Wishes(keep_policies=False)).notes == plan(KEY, Wishes()).notes


def test_policies_are_left_out_on_request() -> None:
    assert plan(KEY, Wishes(keep_policies=False)).policy is None


@pytest.mark.parametrize("name", [ARN, KEY.key_id])
def test_material_is_given_for_a_key_by_arn_or_id(name: str) -> None:
    assert plan(replace(KEY, origin="EXTERNAL"), Wishes(materials={name: "file"})).material == "file"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (replace(KEY, state="PendingDeletion"), "about to be deleted"),
        (replace(KEY, state="PendingReplicaDeletion"), "about to be deleted"),
        (replace(KEY, multi_region_type="REPLICA"), "replica"),
        (replace(KEY, origin="AWS_CLOUDHSM"), "custom key store"),
        (replace(KEY, origin="EXTERNAL_KEY_STORE"), "custom key store"),
        (replace(KEY, tags={str(number): "" for number in range(50)}), "50 tags"),
    ],
)
def test_what_is_not_moved_says_why(key: SourceKey, reason: str) -> None:
    skipped = plan(key, Wishes()).skipped
    assert skipped is not None
    assert reason in skipped


def test_what_does_not_come_along_is_told() -> None:
    notes = plan(replace(KEY, origin="EXTERNAL", grants=2), Wishes()).notes
    assert notes == ("waits for its imported material: kagitori key import", "2 grants were not moved")


@pytest.mark.parametrize(
    "account", ["", "12345678901", "1234567890123", "12345678901a", "arn:aws:iam::111122223333:root"]
)
def test_accounts_have_twelve_digits(account: str) -> None:
    with pytest.raises(ConfigurationError):
        read_accounts({account: "000000000000"})
    with pytest.raises(ConfigurationError):
        read_accounts({"000000000000": account})
