"""Budgets on the way of calls: what is counted, what exceeding does, and how freezes are lifted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, START, InProcess
from tests.support.kms_calls import DAY, deletion_worker

from kagitori_server.model.budgets import BudgetWindow, window_bounds
from kagitori_server.model.errors import (
    AccessDeniedException,
    DisabledException,
    DryRunOperationException,
    InvalidCiphertextException,
    LimitExceededException,
    NoSuchEntityException,
    NotFoundException,
    ThrottlingException,
    ValidationException,
)

ALICE, BOB = (f"arn:aws:iam::{HOME}:user/{name}" for name in ("alice", "bob"))
TENANT = "111111111111"


class Spender:
    """A key, two users that may use it, and budgets on it."""

    def __init__(self, service: InProcess) -> None:
        self.service = service
        self.alice, self.bob = (service.new_user(name, policies={"all": ALLOW_ALL}) for name in ("alice", "bob"))
        self.key = service.call("CreateKey").key_metadata
        self.other = service.call("CreateKey").key_metadata

    def budget(self, name: str = "b", *, limits: Sequence[tuple[str, int]] = (("DAY", 3),), **terms: Any) -> Any:
        values = {
            "budget_name": name, "key_arn": self.key.arn, "principal_arn": "*", "on_exceed": "REFUSE",
            "limits": [{"window": window, "count": count} for window, count in limits], **terms,
        }
        return self.service.call("PutBudget", values).budget

    def encrypt(self, token: str | None = None, key_id: str | None = None, **more: Any) -> Any:
        values = {"key_id": key_id or self.key.key_id, "plaintext": b"x", **more}
        return self.service.call("Encrypt", values, token=token or self.alice)

    def allowed(self, most: int = 50, **call: Any) -> int:
        """How many calls pass before one doesn't."""
        for number in range(most):
            try:
                self.encrypt(**call)
            except (ThrottlingException, AccessDeniedException):
                return number
        return most


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


@pytest.fixture
def spender(service: InProcess) -> Spender:
    return Spender(service)


def test_calls_beyond_a_limit_are_refused_until_the_window_ends(service: InProcess, spender: Spender) -> None:
    """The refusal says when to come again; it is recorded like any other."""
    spender.budget()
    assert spender.allowed() == 3
    with pytest.raises(ThrottlingException) as refused:
        spender.encrypt()
    _, end = window_bounds(BudgetWindow.DAY, service.clock())
    assert refused.value.retry_after == end - START
    assert refused.value.message == "The budget b allows 3 uses of the key a day; they are used up."
    record = service.records()[-1]
    assert (record["eventName"], record["errorCode"]) == ("Encrypt", "ThrottlingException")
    service.clock.now = end - 0.001
    assert spender.allowed() == 0
    service.clock.now = end
    assert spender.allowed() == 3


@pytest.mark.parametrize("window", BudgetWindow)
def test_every_window(service: InProcess, spender: Spender, window: BudgetWindow) -> None:
    """Each begins anew at its end and not before."""
    begin, end = window_bounds(window, START + 86_400)
    service.clock.now = float(begin)
    spender.budget(limits=[(window, 4)])
    assert spender.allowed() == 4
    service.clock.now = end - 0.01
    assert spender.allowed() == 0
    service.clock.now = float(end)
    assert spender.allowed() == 4


def test_several_windows_hold_at_once(service: InProcess, spender: Spender) -> None:
    """What one limit refuses isn't counted by the others."""
    spender.budget(limits=[("SECOND", 2), ("DAY", 5)])
    passed = []
    for _ in range(4):
        passed.append(spender.allowed(5))
        service.clock.advance(1)
    assert passed == [2, 2, 1, 0]


def test_principals_and_keys_are_counted_apart(spender: Spender) -> None:
    spender.budget(key_arn="*")
    assert [spender.allowed(token=token) for token in (spender.alice, spender.bob)] == [3, 3]
    assert spender.allowed(key_id=spender.other.key_id) == 3
    assert spender.allowed() == 0


def test_a_budget_is_about_whom_and_what_it_names(spender: Spender) -> None:
    spender.budget(principal_arn=ALICE)
    assert spender.allowed() == 3
    assert spender.allowed(10, token=spender.bob) == 10
    assert spender.allowed(10, key_id=spender.other.key_id) == 10


def test_sessions_of_a_role_share_its_budget(service: InProcess, spender: Spender) -> None:
    """Else a new session would be a new budget."""
    role = service.call("CreateRole", {"role_name": "worker"}).role.arn
    service.call("PutIdentityPolicy", {"principal_arn": role, "policy_name": "all", "policy_document": ALLOW_ALL})
    first, second = (service.new_token(role, name) for name in ("one", "two"))
    spender.budget()
    spender.encrypt(first)
    spender.encrypt(second)
    spender.encrypt(first)
    with pytest.raises(ThrottlingException):
        spender.encrypt(second)


def test_only_the_operations_that_it_names_are_counted(service: InProcess, spender: Spender) -> None:
    spender.budget(operations=["Decrypt", "ReEncryptFrom"], limits=[("DAY", 2)])
    blob = spender.encrypt().ciphertext_blob
    assert spender.allowed(10) == 10
    service.call("Decrypt", {"ciphertext_blob": blob}, token=spender.alice)
    moving = {"ciphertext_blob": blob, "destination_key_id": spender.other.key_id}
    service.call("ReEncrypt", moving, token=spender.alice)
    for operation, values in (("Decrypt", {"ciphertext_blob": blob}), ("ReEncrypt", moving)):
        with pytest.raises(ThrottlingException):
            service.call(operation, values, token=spender.alice)
    service.call("DescribeKey", {"key_id": spender.key.key_id}, token=spender.alice)


def test_re_encryption_uses_a_key_twice(service: InProcess, spender: Spender) -> None:
    """Once to open, once to seal; both or neither."""
    spender.budget(limits=[("DAY", 4)])
    blob = spender.encrypt().ciphertext_blob
    values = {"ciphertext_blob": blob, "destination_key_id": spender.key.key_id}
    service.call("ReEncrypt", values, token=spender.alice)
    with pytest.raises(ThrottlingException):
        service.call("ReEncrypt", values, token=spender.alice)
    assert spender.allowed() == 1


@pytest.mark.parametrize(
    ("terms", "context", "allowed"),
    [
        ({"context_key": "tenant"}, {"tenant": "a"}, 3),
        ({"context_key": "tenant"}, {"tenant": ""}, 3),
        ({"context_key": "tenant"}, {"Tenant": "a"}, 9),
        ({"context_key": "tenant"}, {}, 9),
        ({"context_key": "tenant", "context_value": "a"}, {"tenant": "a", "more": "x"}, 3),
        ({"context_key": "tenant", "context_value": "a"}, {"tenant": "b"}, 9),
        ({"context_key": "tenant", "context_value": ""}, {"tenant": ""}, 3),
    ],
)
def test_the_encryption_context(
    spender: Spender, terms: dict[str, Any], context: dict[str, str], allowed: int
) -> None:
    spender.budget(**terms)
    assert spender.allowed(9, encryption_context=context) == allowed


def test_values_of_the_encryption_context_are_counted_apart(spender: Spender) -> None:
    spender.budget(context_key="tenant")
    for value in "abc":
        assert spender.allowed(encryption_context={"tenant": value}) == 3


def test_what_comes_to_nothing_does_not_count(service: InProcess, spender: Spender) -> None:
    """Refused, failed and dry calls."""
    spender.budget()
    blob = spender.encrypt().ciphertext_blob
    token, nobody = spender.alice, service.new_user("nobody")
    for _ in range(5):
        with pytest.raises(DryRunOperationException):
            spender.encrypt(dry_run=True)
        with pytest.raises(InvalidCiphertextException):
            service.call("Decrypt", {"ciphertext_blob": blob, "encryption_context": {"a": "b"}}, token=token)
        with pytest.raises(ValidationException):
            spender.encrypt(plaintext=b"")
        service.call("DisableKey", {"key_id": spender.key.key_id})
        with pytest.raises(DisabledException):
            spender.encrypt()
        service.call("EnableKey", {"key_id": spender.key.key_id})
        with pytest.raises(AccessDeniedException):
            spender.encrypt(nobody)
    assert spender.allowed() == 2
    assert spender.allowed(token=nobody) == 0
    policy = {"principal_arn": ALICE.replace("alice", "nobody"), "policy_name": "all", "policy_document": ALLOW_ALL}
    service.call("PutIdentityPolicy", policy)
    assert spender.allowed(token=nobody) == 3


def test_each_item_of_a_batch_counts(service: InProcess, spender: Spender) -> None:
    spender.budget()
    items = [{"key_id": spender.key.key_id, "plaintext": b"x"}] * 5
    outcomes = service.call("BatchEncrypt", {"items": items}, token=spender.alice).outcomes
    assert [outcome.error and outcome.error.code for outcome in outcomes] == [None] * 3 + ["ThrottlingException"] * 2


def test_a_restart_gives_nothing_back(tmp_path: Path) -> None:
    """What a process had leased and not used is lost until the window ends; never is more allowed than the limit."""
    with InProcess(tmp_path) as service:
        spender = Spender(service)
        spender.budget(limits=[("DAY", 100)])
        used = spender.allowed(10)
        clock, token, key_id = service.clock, spender.alice, spender.key.key_id
    with InProcess(tmp_path, clock) as service:
        values = {"key_id": key_id, "plaintext": b"x"}
        while True:
            try:
                service.call("Encrypt", values, token=token)
            except ThrottlingException:
                break
            used += 1
    assert 80 <= used <= 100


def test_exceeding_freezes_the_principal_on_the_key(service: InProcess, spender: Spender) -> None:
    """For everything on that key, and for nobody and nothing else; the freeze has a record of its own."""
    spender.budget(on_exceed="FREEZE")
    blob = spender.encrypt().ciphertext_blob
    assert spender.allowed() == 2
    for operation, values in (
        ("Encrypt", {"key_id": spender.key.key_id, "plaintext": b"x"}),
        ("Decrypt", {"ciphertext_blob": blob}),
        ("DescribeKey", {"key_id": spender.key.key_id}),
        ("CreateGrant", {"key_id": spender.key.key_id, "grantee_principal": BOB, "operations": ["Decrypt"]}),
        ("PutKeyPolicy", {"key_id": spender.key.key_id, "policy": "{}"}),
        ("ReEncrypt", {"ciphertext_blob": blob, "destination_key_id": spender.other.key_id}),
    ):
        with pytest.raises(AccessDeniedException, match="is frozen on resource") as refused:
            service.call(operation, values, token=spender.alice)
        assert spender.key.arn in refused.value.message
        assert service.records()[-1]["errorCode"] == "AccessDenied"
    spender.encrypt(key_id=spender.other.key_id)
    assert spender.allowed(token=spender.bob) == 3
    events = [record for record in service.records() if record["eventName"] == "FreezePrincipal"]
    assert [event["serviceEventDetails"]["principalArn"] for event in events] == [ALICE, BOB]
    details = events[0]["serviceEventDetails"]
    assert (events[0]["eventType"], events[0]["resources"][0]["ARN"]) == ("AwsServiceEvent", spender.key.arn)
    assert (details["budgetName"], details["window"], details["limit"]) == ("b", "DAY", 3)
    with service.catalog.read() as reader:
        assert not [intent for intent in reader.pending_intents() if b"FreezePrincipal" in intent.record]


def test_a_freeze_lasts_until_it_is_lifted(service: InProcess, spender: Spender) -> None:
    """Whatever time passes and whatever becomes of the budget; then the counts begin anew."""
    spender.budget(on_exceed="FREEZE")
    assert spender.allowed() == 3
    service.clock.advance(90 * 86_400)
    spender.budget(limits=[("DAY", 1000)])
    assert spender.allowed() == 0
    service.call("DeleteBudget", {"budget_name": "b"})
    assert spender.allowed() == 0
    [freeze] = service.call("ListFreezes").freezes
    assert (freeze.key_arn, freeze.principal_arn, freeze.limit.count) == (spender.key.arn, ALICE, 3)
    for wrong in ({"freeze_id": "frz-other"}, {"budget_name": "other"}):
        with pytest.raises(NoSuchEntityException):
            service.call("LiftFreeze", {"budget_name": "b", "freeze_id": freeze.freeze_id, **wrong})
    service.call("LiftFreeze", {"budget_name": "b", "freeze_id": freeze.freeze_id})
    assert service.call("ListFreezes").freezes == ()
    assert spender.allowed(10) == 10
    with pytest.raises(NoSuchEntityException):
        service.call("LiftFreeze", {"budget_name": "b", "freeze_id": freeze.freeze_id})


def test_nobody_lifts_its_own_freeze(service: InProcess, spender: Spender) -> None:
    """Not even with every permission: stolen credentials would."""
    spender.budget(on_exceed="FREEZE")
    assert spender.allowed() == 3
    [freeze] = service.call("ListFreezes").freezes
    values = {"budget_name": "b", "freeze_id": freeze.freeze_id}
    with pytest.raises(AccessDeniedException, match="its own freeze"):
        service.call("LiftFreeze", values, token=spender.alice)
    service.call("LiftFreeze", values, token=spender.bob)
    assert spender.allowed() == 3


def test_a_lift_within_the_window_begins_the_counts_anew(service: InProcess, spender: Spender) -> None:
    spender.budget(on_exceed="FREEZE")
    for _ in range(3):
        assert spender.allowed() == 3
        [freeze] = service.call("ListFreezes").freezes
        service.call("LiftFreeze", {"budget_name": "b", "freeze_id": freeze.freeze_id})


def test_a_freeze_survives_a_restart(tmp_path: Path) -> None:
    with InProcess(tmp_path) as service:
        spender = Spender(service)
        spender.budget(on_exceed="FREEZE")
        assert spender.allowed() == 3
    with InProcess(tmp_path, service.clock) as again, pytest.raises(AccessDeniedException, match="frozen"):
        again.call("DescribeKey", {"key_id": spender.key.key_id}, token=spender.alice)


def test_other_terms_keep_what_was_counted(spender: Spender) -> None:
    """More room, less room: what was leased of the old terms isn't used any more."""
    spender.budget(limits=[("DAY", 3)])
    assert spender.allowed() == 3
    spender.budget(limits=[("DAY", 5)])
    assert spender.allowed() == 2
    spender.budget(limits=[("DAY", 4)])
    assert spender.allowed() == 0
    spender.service.call("DeleteBudget", {"budget_name": "b"})
    assert spender.allowed(9) == 9


def test_budgets_add_up(spender: Spender) -> None:
    """The strictest of several decides; what it refuses, the others don't count."""
    spender.budget("loose", limits=[("DAY", 5)])
    spender.budget("strict", limits=[("HOUR", 2)], operations=["Encrypt"])
    assert spender.allowed() == 2
    spender.service.call("DeleteBudget", {"budget_name": "strict"})
    assert spender.allowed() == 3


def test_a_budget_protects_the_key_from_other_accounts(service: InProcess, spender: Spender) -> None:
    """It belongs to the keys' account, and says so to the caller of the other one only in the refusal."""
    tenant = service.new_account(TENANT)
    policy = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["000000000000","111111111111"]},'
        '"Action":"kms:*","Resource":"*"}]}'
    )
    service.call("PutKeyPolicy", {"key_id": spender.key.key_id, "policy": policy})
    spender.budget(principal_arn=f"arn:aws:iam::{TENANT}:root", on_exceed="FREEZE")
    assert spender.allowed(token=tenant, key_id=spender.key.arn) == 3
    assert spender.allowed(5) == 5
    spender.budget("quiet", principal_arn=f"arn:aws:iam::{TENANT}:root", key_arn="*", limits=[("DAY", 1)])
    service.call("PutKeyPolicy", {"key_id": spender.other.key_id, "policy": policy})
    assert spender.allowed(token=tenant, key_id=spender.other.arn) == 1
    with pytest.raises(ThrottlingException) as refused:
        spender.encrypt(tenant, spender.other.arn)
    assert refused.value.message == "A budget of the key's account is used up."
    events = [record for record in service.records() if record["eventName"] == "FreezePrincipal"]
    assert [event["recipientAccountId"] for event in events] == [HOME]


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ({"limits": [{"window": "DAY", "count": 0}]}, ValidationException),
        ({"limits": [{"window": "DAY", "count": 10**12 + 1}]}, ValidationException),
        ({"limits": [{"window": "WEEK", "count": 1}]}, ValidationException),
        ({"limits": []}, ValidationException),
        ({"limits": [{"window": "DAY", "count": 1}] * 2}, ValidationException),
        ({"on_exceed": "WARN"}, ValidationException),
        ({"on_exceed": None}, ValidationException),
        ({"budget_name": "a b"}, ValidationException),
        ({"budget_name": "a*"}, ValidationException),
        ({"budget_name": "x" * 129}, ValidationException),
        ({"key_arn": "alias/x"}, ValidationException),
        ({"key_arn": "arn:aws:kms:us-east-1:000000000000:alias/x"}, ValidationException),
        ({"key_arn": "arn:aws:kms:us-east-1:000000000000:key/" + "0" * 8 + "-0000-4000-8000-" + "0" * 12},
         NotFoundException),
        ({"principal_arn": "alice"}, ValidationException),
        ({"principal_arn": f"arn:aws:sts::{HOME}:assumed-role/r/s"}, ValidationException),
        ({"principal_arn": f"arn:aws:iam::{HOME}:user/absent"}, NoSuchEntityException),
        ({"context_value": "a"}, ValidationException),
        ({"context_key": ""}, ValidationException),
        ({"operations": ["DescribeKey"]}, ValidationException),
        ({"operations": ["kms:Decrypt"]}, ValidationException),
        ({"operations": ["Decrypt", "Decrypt"]}, ValidationException),
    ],
)
def test_terms_that_are_refused(spender: Spender, terms: dict[str, Any], error: type[Exception]) -> None:
    usual = {
        "budget_name": "b", "key_arn": "*", "principal_arn": "*", "on_exceed": "REFUSE",
        "limits": [{"window": "DAY", "count": 1}],
    }
    with pytest.raises(error):
        spender.service.call("PutBudget", {**usual, **terms})


def test_another_accounts_key_is_as_good_as_absent(service: InProcess, spender: Spender) -> None:
    tenant = service.new_account(TENANT)
    foreign = service.call("CreateKey", token=tenant).key_metadata.arn
    with pytest.raises(NotFoundException):
        spender.budget(key_arn=foreign)


def test_budgets_of_an_account(service: InProcess, spender: Spender) -> None:
    """By name, in pages, and at most 100."""
    made = spender.budget(context_key="t", context_value="", operations=["Encrypt"], limits=[("MONTH", 9), ("DAY", 1)])
    assert made.arn == f"arn:aws:kagitori::{HOME}:budget/b"
    assert service.call("GetBudget", {"budget_name": "b"}).budget == made
    assert [(limit.window, limit.count) for limit in made.limits] == [("MONTH", 9), ("DAY", 1)]
    for number in range(99):
        spender.budget(f"n{number:02}")
    with pytest.raises(LimitExceededException):
        spender.budget("one-more")
    spender.budget("b")
    page = service.call("ListBudgets", {"limit": 60})
    rest = service.call("ListBudgets", {"limit": 60, "marker": page.next_marker})
    assert [len(page.budgets), len(rest.budgets), rest.truncated] == [60, 40, False]
    with pytest.raises(NoSuchEntityException):
        service.call("GetBudget", {"budget_name": "B"})
    with pytest.raises(NoSuchEntityException):
        service.call("DeleteBudget", {"budget_name": "absent"})


def test_permission_is_asked_on_the_budget(service: InProcess, spender: Spender) -> None:
    """By its ARN, whether or not it exists."""
    document = (
        '{"Statement":{"Effect":"Allow","Action":"kagitori:*","Resource":"arn:aws:kagitori::000000000000:budget/team-*"}}'
    )
    token = service.new_user("clerk", policies={"team": document})
    terms = {"key_arn": "*", "principal_arn": "*", "on_exceed": "REFUSE", "limits": [{"window": "DAY", "count": 1}]}
    service.call("PutBudget", {"budget_name": "team-a", **terms}, token=token)
    service.call("GetBudget", {"budget_name": "team-a"}, token=token)
    for operation, values in (
        ("PutBudget", {"budget_name": "other", **terms}),
        ("GetBudget", {"budget_name": "other"}),
        ("DeleteBudget", {"budget_name": "other"}),
        ("LiftFreeze", {"budget_name": "other", "freeze_id": "frz-1"}),
        ("ListBudgets", {}),
        ("ListFreezes", {}),
    ):
        with pytest.raises(AccessDeniedException, match=f"kagitori:{operation}"):
            service.call(operation, values, token=token)


def test_a_deleted_key_takes_its_freezes_with_it(service: InProcess, spender: Spender) -> None:
    spender.budget(on_exceed="FREEZE")
    assert spender.allowed() == 3
    with service.catalog.write() as writer:
        writer.delete_key("us-east-1", spender.key.key_id)
    assert service.call("ListFreezes").freezes == ()


def test_a_replica_that_is_made_anew_is_frozen_for_nobody(service: InProcess, spender: Spender) -> None:
    region = "eu-west-1"
    key_id = service.call("CreateKey", {"multi_region": True}).key_metadata.key_id
    replicate = {"key_id": key_id, "replica_region": region}
    arn = service.call("ReplicateKey", replicate).replica_key_metadata.arn
    spender.budget(key_arn=arn, on_exceed="FREEZE")
    described = {"key_id": key_id}
    values = {"key_id": key_id, "plaintext": b"x"}
    for _ in range(3):
        service.call("Encrypt", values, token=spender.alice, region=region)
    with pytest.raises(AccessDeniedException, match="frozen"):
        service.call("Encrypt", values, token=spender.alice, region=region)
    with pytest.raises(AccessDeniedException, match="frozen"):
        service.call("DescribeKey", described, token=spender.alice, region=region)
    service.call("DeleteBudget", {"budget_name": "b"})
    service.call("ScheduleKeyDeletion", {"key_id": key_id, "pending_window_in_days": 7}, region=region)
    service.clock.advance(7 * DAY)
    assert deletion_worker(service).run_once() == 1
    service.call("ReplicateKey", replicate)
    assert service.call("DescribeKey", described, token=spender.alice, region=region).key_metadata.arn == arn


def test_an_account_that_is_not_there_has_no_budget(spender: Spender) -> None:
    with pytest.raises(NoSuchEntityException):
        spender.budget(account_id=TENANT, key_arn="*")
