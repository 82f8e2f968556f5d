"""Request rates: which calls share one, what is refused, and what a refusal costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.inprocess import ALLOW_ALL, HOME, FakeClock, InProcess

from kagitori_server.config import Config, ConfigurationError, load_config
from kagitori_server.configured import configured_throttle
from kagitori_server.limiting.buckets import Buckets, Flow
from kagitori_server.limiting.throttle import REFUSAL, RatesRefused, parse_rates
from kagitori_server.model.errors import AccessDeniedException, KmsError, NotFoundException, ThrottlingException
from kagitori_server.model.keys import KeySpec
from kagitori_server.model.rates import AWS_RATES, CryptoRate, RateGroup, rate_group
from kagitori_server.operations.row import BatchOperation, Operation
from kagitori_server.operations.table import TABLE

TENANT = "111111111111"
Opener = Callable[..., InProcess]

GROUPS = {
    "symmetric": "GenerateRandom",
    "describe": "DescribeKey GetPublicKey ListResourceTags",
    "read_settings": "GetKeyPolicy GetKeyRotationStatus",
    "list": "ListKeys ListAliases",
    "list_of_key": "ListGrants ListRetirableGrants ListKeyPolicies ListKeyRotations",
    "grant": "CreateGrant RetireGrant RevokeGrant",
    "change": "DeleteAlias DeleteImportedKeyMaterial EnableKeyRotation ImportKeyMaterial PutKeyPolicy "
              "ScheduleKeyDeletion",
    "tag": "TagResource",
    "import_parameters": "GetParametersForImport",
}
"""AWS's table of request quotas; what isn't named and uses no key material is `other`."""
CRYPTOGRAPHY = {
    "Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "Sign", "Verify",
    "GenerateMac", "VerifyMac", "DeriveSharedSecret", "Encapsulate", "Decapsulate",
}
PAIRS = {"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Services with rates, whose clock stands still."""
    with ExitStack() as stack:
        yield lambda **rates: stack.enter_context(InProcess(tmp_path, **rates))


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.name)
def test_every_row_has_the_group_of_aws(row: Operation | BatchOperation) -> None:
    """As AWS's page lists them; AdminService has a group of its own."""
    if isinstance(row, BatchOperation):
        assert row.item.uses_keys
        return
    by_name = {name: group for group, names in GROUPS.items() for name in names.split()}
    expected: Any
    if row.service == "kagitori":
        expected = RateGroup.ADMINISTRATION
    elif row.name in CRYPTOGRAPHY | PAIRS:
        expected = CryptoRate.KEY if row.name in CRYPTOGRAPHY else CryptoRate.PAIR
    else:
        expected = RateGroup(by_name.get(row.name, "other"))
    assert row.rate is expected
    assert not (row.uses_keys and row.writes), "budgets are counted outside of write transactions"


@pytest.mark.parametrize("spec", KeySpec)
def test_every_spec_has_a_group(spec: KeySpec) -> None:
    expected = {"SYM": "symmetric", "HMA": "symmetric", "RSA": "rsa", "ECC": "ecc", "SM2": "ecc"}
    name = expected.get(spec[:3]) or ("ml_dsa" if spec.startswith("ML_DSA") else "ml_kem")
    assert rate_group(CryptoRate.KEY, spec, None) == name
    assert rate_group(CryptoRate.KEY, None, None) is RateGroup.SYMMETRIC
    assert rate_group(RateGroup.TAG, spec, None) is RateGroup.TAG


@pytest.mark.parametrize(
    ("pair", "group"),
    [
        ("RSA_2048", RateGroup.DATA_KEY_PAIR_RSA_2048), ("RSA_3072", RateGroup.DATA_KEY_PAIR_RSA_3072),
        ("RSA_4096", RateGroup.DATA_KEY_PAIR_RSA_4096), ("SM2", RateGroup.DATA_KEY_PAIR_SM2),
        ("ECC_NIST_P256", RateGroup.DATA_KEY_PAIR_ECC), ("ECC_NIST_EDWARDS25519", RateGroup.DATA_KEY_PAIR_ECC),
    ],
)
def test_data_key_pairs_by_their_spec(pair: str, group: RateGroup) -> None:
    assert rate_group(CryptoRate.PAIR, KeySpec.SYMMETRIC_DEFAULT, pair) is group


def test_rates_are_read() -> None:
    assert parse_rates([]) == {}
    assert parse_rates(["aws"]) == AWS_RATES
    assert parse_rates(["aws", "symmetric=20000", "administration = 0.5"]) == {
        **AWS_RATES, RateGroup.SYMMETRIC: 20_000, RateGroup.ADMINISTRATION: 0.5,
    }


@pytest.mark.parametrize(
    "text", ["symmetric", "symmetric=", "symmetric=0", "symmetric=-1", "rsa=nan", "rsa=inf", "rsa=1e9", "x=1", "=1", ""]
)
def test_rates_that_are_refused(text: str) -> None:
    """Also where the server starts, with the name of the setting."""
    with pytest.raises(RatesRefused):
        parse_rates(["aws", text])
    config = load_config(None, {}, {"throttling": {"principal_rates": ["aws", f" {text}x"]}})
    with pytest.raises(ConfigurationError, match=r"throttling\.principal_rates"):
        configured_throttle(config, lambda: 0.0)


def test_nothing_is_limited_by_default() -> None:
    assert not configured_throttle(Config(), lambda: 0.0).on


def _passed(service: InProcess, operation: str, values: dict[str, Any], most: int = 20, **call: Any) -> int:
    for number in range(most):
        try:
            service.call(operation, values, **call)
        except ThrottlingException:
            return number
        except KmsError:
            pass
    return most


def test_a_refusal_says_what_aws_says_and_when_to_come_again(opened: Opener) -> None:
    """And leaves a record like any other."""
    service = opened(account_rates=["symmetric=4"])
    values = {"number_of_bytes": 1}
    assert _passed(service, "GenerateRandom", values) == 4
    with pytest.raises(ThrottlingException) as refused:
        service.call("GenerateRandom", values)
    assert refused.value.message == REFUSAL
    assert refused.value.message.startswith("You have exceeded the rate at which you may call KMS.")
    assert refused.value.retry_after == pytest.approx(0.25)
    record = service.records()[-1]
    assert (record["eventName"], record["errorCode"]) == ("GenerateRandom", "ThrottlingException")
    service.clock.advance(0.25)
    assert _passed(service, "GenerateRandom", values) == 1
    service.clock.advance(3600)
    assert _passed(service, "GenerateRandom", values) == 4


def test_cryptography_shares_its_rate_and_other_operations_dont(opened: Opener) -> None:
    service = opened(account_rates=["symmetric=6", "describe=2"])
    key_id = service.call("CreateKey").key_metadata.key_id
    blob = service.call("Encrypt", {"key_id": key_id, "plaintext": b"x"}).ciphertext_blob
    service.call("Decrypt", {"ciphertext_blob": blob})
    service.call("ReEncrypt", {"ciphertext_blob": blob, "destination_key_id": key_id})
    service.call("GenerateDataKey", {"key_id": key_id, "number_of_bytes": 1})
    assert _passed(service, "GenerateRandom", {"number_of_bytes": 1}) == 2
    assert _passed(service, "Encrypt", {"key_id": key_id, "plaintext": b"x"}) == 0
    assert _passed(service, "DescribeKey", {"key_id": key_id}) == 2
    assert _passed(service, "ListResourceTags", {"key_id": key_id}) == 2
    assert _passed(service, "ListKeys", {}) == 20


def test_accounts_principals_and_regions_have_rates_of_their_own(opened: Opener) -> None:
    """Who calls a key of another account uses up its own rate."""
    service = opened(account_rates=["symmetric=5"], principal_rates=["symmetric=3"])
    alice, bob = (service.new_user(name, policies={"all": ALLOW_ALL}) for name in ("alice", "bob"))
    tenant = service.new_account(TENANT)
    values = {"number_of_bytes": 1}
    assert _passed(service, "GenerateRandom", values, token=alice) == 3
    assert _passed(service, "GenerateRandom", values, token=bob) == 2
    assert _passed(service, "GenerateRandom", values, token=tenant) == 3
    assert _passed(service, "GenerateRandom", values, token=bob, region="eu-west-1") == 3


def test_sessions_share_the_rate_of_their_role(opened: Opener) -> None:
    service = opened(principal_rates=["list=2"])
    role = service.call("CreateRole", {"role_name": "worker"}).role.arn
    service.call("PutIdentityPolicy", {"principal_arn": role, "policy_name": "all", "policy_document": ALLOW_ALL})
    tokens = [service.new_token(role, name) for name in ("one", "two", "three")]
    assert [_passed(service, "ListKeys", {}, token=token) for token in tokens] == [2, 0, 0]


def test_refused_calls_cost_as_much(opened: Opener) -> None:
    """Of a key that isn't there or that the caller may not use, and of what it may not do at all."""
    service = opened(account_rates=["symmetric=3", "describe=3", "administration=200"])
    key_id = service.call("CreateKey").key_metadata.key_id
    nobody = service.new_user("nobody")
    for operation, values in (
        ("Encrypt", {"key_id": key_id, "plaintext": b"x"}), ("DescribeKey", {"key_id": "alias/absent"}),
    ):
        for _ in range(3):
            with pytest.raises((AccessDeniedException, NotFoundException)):
                service.call(operation, values, token=nobody)
        with pytest.raises(ThrottlingException):
            service.call(operation, values, token=nobody)


def test_a_write_costs_one_token(opened: Opener) -> None:
    """Although it's admitted twice."""
    service = opened(account_rates=["other=3"])
    assert _passed(service, "CreateKey", {}) == 3


def test_a_call_that_has_to_load_costs_one_token(opened: Opener) -> None:
    """Although it's begun anew."""
    service = opened(account_rates=["symmetric=3"])
    key_id = service.call("CreateKey").key_metadata.key_id
    bob = service.new_user("bob", policies={"all": ALLOW_ALL})
    assert _passed(service, "Encrypt", {"key_id": key_id, "plaintext": b"x"}, token=bob) == 3


def test_each_item_of_a_batch_costs_a_token(opened: Opener) -> None:
    service = opened(account_rates=["symmetric=5"])
    key_id = service.call("CreateKey").key_metadata.key_id
    items = [{"key_id": key_id, "plaintext": b"x"}] * 7
    outcomes = service.call("BatchEncrypt", {"items": items}).outcomes
    assert [outcome.error and outcome.error.code for outcome in outcomes] == [None] * 5 + ["ThrottlingException"] * 2


def test_nobody_is_told_of_rates_before_they_have_proven_who_they_are(opened: Opener) -> None:
    service = opened(account_rates=["list=1"])
    assert _passed(service, "ListKeys", {}, token="kgt_" + "x" * 43) == 20
    assert _passed(service, "ListKeys", {}) == 1
    assert service.services.home_account == HOME


# --- buckets -----------------------------------------------------------------------------------------------------


def test_a_bucket_fills_up_to_its_capacity() -> None:
    clock = FakeClock(0.0)
    buckets, flow = Buckets(10, clock), Flow(2.0, 4.0)
    assert [buckets.take([("a", flow)]) for _ in range(5)] == [0.0] * 4 + [0.5]
    clock.advance(0.75)
    assert [buckets.take([("a", flow)]) for _ in range(2)] == [0.0, pytest.approx(0.25)]
    clock.advance(1e9)
    assert [buckets.take([("a", flow)]) for _ in range(5)] == [0.0] * 4 + [0.5]
    clock.advance(-1e9)
    assert buckets.take([("a", flow)]) == 0.5, "a clock that goes back gives nothing"


def test_a_token_is_taken_from_each_bucket_or_from_none() -> None:
    clock = FakeClock(0.0)
    buckets, wide, narrow = Buckets(10, clock), Flow(1.0, 3.0), Flow(1.0, 1.0)
    assert buckets.take([("a", wide), ("b", narrow)]) == 0.0
    assert buckets.take([("a", wide), ("b", narrow)]) == 1.0
    assert [buckets.take([("a", wide)]) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_full_buckets_make_room() -> None:
    """So that an unused name takes no memory, and a drained one is not refilled by others' names."""
    clock = FakeClock(0.0)
    buckets, flow = Buckets(8, clock), Flow(1.0, 2.0)
    for _ in range(2):
        buckets.take([("drained", flow)])
    clock.advance(1.5)
    for number in range(1000):
        clock.advance(0.0001)
        buckets.take([(number, flow)])
        buckets.take([("drained", flow)])
        assert len(buckets) <= 8
    assert buckets.take([("drained", flow)]) > 0.0


@given(
    rate=st.floats(0.1, 1000), capacity=st.floats(1, 100),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(0, 20)), max_size=40),
)
def test_never_more_than_burst_and_rate_allow(rate: float, capacity: float, steps: list[tuple[float, int]]) -> None:
    """Whatever the pattern of calls: capacity and what ran in since the beginning."""
    clock = FakeClock(0.0)
    buckets, flow = Buckets(10, clock), Flow(rate, capacity)
    passed = 0
    for seconds, calls in steps:
        clock.advance(seconds)
        passed += sum(buckets.take([("a", flow)]) == 0.0 for _ in range(calls))
        assert passed <= capacity + clock.now * rate + 1e-6
