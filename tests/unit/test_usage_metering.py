"""What is counted: every charged call once, whatever ends, restarts or stands in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, REGION, START, InProcess
from tests.support.kms_calls import OTHER, encrypt, identity_policy, key_policy, new_key, root, statement

from kagitori_client.billing.bill import month_of
from kagitori_server.audit.identity import IdentityType, render_identity
from kagitori_server.audit.record import CallFacts, EventType, Resource, render_record
from kagitori_server.audit.trail import open_trail
from kagitori_server.metering import Meter
from kagitori_server.model.errors import (
    AccessDeniedException,
    DependencyTimeoutException,
    InvalidMarkerException,
    KmsError,
    ValidationException,
)
from kagitori_server.model.keys import KeySpec
from kagitori_server.operations.administration.usage_lists import Sum, UsageLists
from kagitori_server.operations.prices import PRICES
from kagitori_server.workers import UsageWorker

HOUR = 3_600
MONTH = {"start_time": START - 86_400, "end_time": START + 30 * 86_400}
BY_ALL = ("USAGE_TYPE", "ACCOUNT", "REGION", "KEY")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def usage(service: InProcess, *by: str, token: str | None = None, **more: Any) -> dict[tuple[str | None, ...], int]:
    """Sums by what was grouped by (the unit where by nothing), all pages of them."""
    found: dict[tuple[str | None, ...], int] = {}
    marker: str | None = None
    while True:
        values = {**MONTH, "group_by": by, **more, **({"marker": marker} if marker else {})}
        answer = service.call("GetUsage", values, token=token)
        for item in answer.items:
            shown = {
                "USAGE_TYPE": item.usage_type, "ACCOUNT": item.account_id, "REGION": item.region, "KEY": item.key_arn,
            }
            group = tuple(shown[name] for name in by) or (item.unit,)
            assert group not in found
            found[group] = item.quantity
        marker = answer.next_marker
        assert answer.truncated == (marker is not None)
        if marker is None:
            return found


def requests(service: InProcess, *by: str, **more: Any) -> dict[tuple[str | None, ...], int]:
    """Sums of requests alone, by kind and what else is given."""
    found = usage(service, "USAGE_TYPE", *by, **more)
    return {group: count for group, count in found.items() if str(group[0]).startswith("Requests")}


def charged(service: InProcess) -> Counter[str]:
    """What the trail says when each record is parsed: charged calls by account."""
    free = {"AccessDenied", "ThrottlingException", "KMSInternalException", "DependencyTimeoutException"}
    found: Counter[str] = Counter()
    for record in service.records():
        if record["eventType"] != "AwsApiCall" or record["eventName"] not in PRICES:
            continue
        if record["userIdentity"].get("type") in ("AWSAccount", "Unknown") or record.get("errorCode") in free:
            continue
        found[record["recipientAccountId"]] += 1
    return found


def busy(service: InProcess) -> None:
    """Calls of all sorts and ends."""
    key = new_key(service)
    blob = encrypt(service, key.key_id)
    service.call("Decrypt", {"ciphertext_blob": blob})
    service.call("ReEncrypt", {"ciphertext_blob": blob, "destination_key_id": key.key_id})
    service.call("BatchEncrypt", {"items": [{"key_id": key.key_id, "plaintext": b"x"}] * 3})
    service.call("ListUsers", {})
    nobody = service.new_user("nobody")
    for operation, values, token in (
        ("Encrypt", {"key_id": key.key_id, "plaintext": b"x", "dry_run": True}, None),
        ("Decrypt", {"ciphertext_blob": b"junk"}, None),
        ("DescribeKey", {"key_id": "absent"}, None),
        ("DescribeKey", {"key_id": key.key_id}, nobody),
        ("Encrypt", {}, None),
        ("NoSuchOperation", {}, None),
        ("ListKeys", {}, "kgt_" + "x" * 43),
    ):
        with pytest.raises(KmsError):
            service.call(operation, values, token=token)


def test_every_name_of_the_api_has_a_price() -> None:
    """And nothing else has one."""
    model = botocore.session.get_session().get_service_model("kms")
    assert set(model.operation_names) == set(PRICES)


def test_calls_are_counted_by_account_region_and_key(service: InProcess) -> None:
    key = new_key(service)
    for _ in range(3):
        encrypt(service, key.key_id)
    service.call("ListKeys", {}, region="eu-west-1")
    assert requests(service, "ACCOUNT", "REGION", "KEY") == {
        ("Requests-Symmetric", HOME, REGION, key.arn): 4,
        ("Requests-Symmetric", HOME, "eu-west-1", None): 1,
    }
    assert usage(service) == {("Requests",): 5, ("Hours",): 1}


def test_what_is_charged(service: InProcess) -> None:
    """Answered calls and refused ones, dry runs and items of batches; not who isn't let in, nor AdminService."""
    busy(service)
    # CreateKey, Encrypt, Decrypt, ReEncrypt, 3 items; dry run, bad ciphertext, absent key, bad shape.
    assert requests(service) == {("Requests-Symmetric",): 11}
    assert charged(service) == {HOME: 11}


def test_calls_across_accounts_are_charged_once_to_the_caller(service: InProcess) -> None:
    service.new_account(OTHER)
    alice = service.new_user("alice", account=OTHER, policies={"all": ALLOW_ALL})
    key = new_key(service, policy=key_policy(statement(root(HOME), "kms:*"), statement(root(OTHER), "kms:*")))
    service.call("Encrypt", {"key_id": key.arn, "plaintext": b"x"}, token=alice)
    assert requests(service, "ACCOUNT", "KEY") == {
        ("Requests-Symmetric", HOME, key.arn): 1, ("Requests-Symmetric", OTHER, key.arn): 1,
    }


def test_counting_again_and_after_a_restart_changes_nothing(tmp_path: Path) -> None:
    for round_ in range(1, 4):
        with InProcess(tmp_path) as service:
            if round_ == 1:
                busy(service)
            else:
                new_key(service)
            before = charged(service)
            for _ in range(2):
                assert requests(service, "ACCOUNT") == {("Requests-Symmetric", HOME): before[HOME]}
                service.meter.run_once()


def test_a_crash_between_counting_and_keeping_loses_and_doubles_nothing(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction fails after the counts were added: they are added again with the checkpoint, once."""
    busy(service)

    class Crash(BaseException):
        pass

    original = service.catalog.write

    def failing() -> Any:
        with original() as writer:
            yield writer
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(service.catalog, "write", contextmanager(failing))
        with pytest.raises(Crash):
            service.meter.run_once()
    assert requests(service) == {("Requests-Symmetric",): charged(service)[HOME]}


def test_two_followers_of_one_chain_count_it_once(service: InProcess) -> None:
    """What a process counts that was meant to be gone, and the one that took its chain over."""
    other = Meter(
        service.catalog, service.audit_folder, service.trail, PRICES, lambda: 0.0, service.meter.run_once
    )
    for _ in range(3):
        busy_key = new_key(service)
        for _ in range(100):
            encrypt(service, busy_key.key_id)
        other.run_once()  # lets the first one overtake it while it reads
    assert requests(service) == {("Requests-Symmetric",): 303}


def test_a_chain_whose_process_is_gone_is_counted_and_that_of_a_running_one_is_not(tmp_path: Path) -> None:
    with InProcess(tmp_path) as first:
        key = new_key(first)
        second_trail = open_trail(first.audit_folder)
        event = _event("Encrypt", key.arn)
        for _ in range(5):
            second_trail.append_blocking(event)
        assert second_trail.position().chain == "chain-01"
        assert requests(first) == {("Requests-Symmetric",): 1}, "its own process counts it"
        second_trail.close()
        assert requests(first) == {("Requests-Symmetric",): 6}
        again = open_trail(first.audit_folder)
        again.append_blocking(event)
        assert requests(first) == {("Requests-Symmetric",): 6}
        again.close()
        assert requests(first) == {("Requests-Symmetric",): 7}


def test_an_audit_folder_of_another_host_has_chains_of_its_own(tmp_path: Path, service: InProcess) -> None:
    """Chains of two folders are called the same and are not the same."""
    key = new_key(service)
    folder = tmp_path / "other-host"
    trail = open_trail(folder)
    for _ in range(4):
        trail.append_blocking(_event("Encrypt", key.arn))
    assert trail.position().chain == service.trail.position().chain
    Meter(service.catalog, folder, trail, PRICES, lambda: 0.0, lambda: None).run_once()
    trail.close()
    assert requests(service) == {("Requests-Symmetric",): 5}


def test_names_that_callers_choose_are_no_members(service: InProcess) -> None:
    """Contexts that imitate every part of a record that counting looks for."""
    key = new_key(service)
    context = {
        "eventTime": "2020-01-01T00:00:00Z", '","readOnly":': "x", "requestParameters": ",\"errorCode\":\"x\"",
        "eventName": "GenerateDataKeyPair", "recipientAccountId": OTHER, "readOnly": "false",
    }
    service.call("Encrypt", {"key_id": key.key_id, "plaintext": b"x", "encryption_context": context})
    assert requests(service, "ACCOUNT", "KEY") == {
        ("Requests-Symmetric", HOME, key.arn): 2,
    }


def test_an_alias_named_like_a_key_is_none(service: InProcess) -> None:
    key = new_key(service)
    alias = f"arn:aws:kms:{REGION}:{HOME}:alias/x:key/y"
    service.trail.append_blocking(_event("CreateAlias", key.arn, more=(alias,)))
    assert requests(service, "KEY") == {("Requests-Symmetric", key.arn): 2}


@pytest.mark.parametrize(("operation", "spec", "parameters", "kind"), [
    ("Encrypt", "SYMMETRIC_DEFAULT", {}, "Requests-Symmetric"),
    ("GenerateMac", "HMAC_256", {}, "Requests-Symmetric"),
    ("Sign", "RSA_2048", {}, "Requests-RSA_2048"),
    ("Decrypt", "RSA_2048", {}, "Requests-RSA_2048"),
    ("Sign", "RSA_3072", {}, "Requests-Asymmetric"),
    ("Verify", "ECC_NIST_P256", {}, "Requests-Asymmetric"),
    ("GetPublicKey", "ECC_NIST_EDWARDS25519", {}, "Requests-Asymmetric"),
    ("Decapsulate", "ML_KEM_768", {}, "Requests-Asymmetric"),
    ("Encapsulate", "ML_KEM_512", {}, "Requests-Asymmetric"),
    ("Sign", "ML_DSA_65", {}, "Requests-Asymmetric"),
    ("DescribeKey", "RSA_4096", {}, "Requests-Symmetric"),
    ("GenerateDataKeyPair", "SYMMETRIC_DEFAULT", {"key_pair_spec": "RSA_2048"}, "Requests-DataKeyPair-RSA"),
    ("GenerateDataKeyPair", "SYMMETRIC_DEFAULT", {"key_pair_spec": "ECC_NIST_P256"}, "Requests-DataKeyPair-ECC"),
    ("GenerateDataKeyPairWithoutPlaintext", "SYMMETRIC_DEFAULT",
     {"encryption_context": {"keyPairSpec": "RSA_4096"}, "key_pair_spec": "ECC_SECG_P256K1"},
     "Requests-DataKeyPair-ECC"),
    ("GenerateDataKeyPair", "SYMMETRIC_DEFAULT", {}, "Requests-Symmetric"),
])
def test_price_classes(
    service: InProcess, operation: str, spec: str, parameters: dict[str, object], kind: str
) -> None:
    """By the spec of the key, also of one that is gone by then, or of the pair."""
    arn = f"arn:aws:kms:{REGION}:{HOME}:key/00000000-0000-4000-8000-000000000001"
    _remember(service, arn, KeySpec(spec))
    service.trail.append_blocking(_event(operation, arn, parameters))
    assert {group: count for group, count in requests(service, "KEY").items() if group[1] == arn} == {(kind, arn): 1}


def test_the_dearest_key_of_a_call_decides(service: InProcess) -> None:
    first, second = (f"arn:aws:kms:{REGION}:{HOME}:key/00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))
    _remember(service, first, KeySpec.RSA_3072)
    _remember(service, second, KeySpec.SYMMETRIC_DEFAULT)
    service.trail.append_blocking(_event("ReEncrypt", first, more=(second,)))
    found = requests(service, "KEY")
    assert found["Requests-Asymmetric", second] == 1
    assert ("Requests-Asymmetric", first) not in found


def test_hours_and_months_end_where_they_end(service: InProcess) -> None:
    """A call in the last second of an hour, and one in the first of the next."""
    new_key(service)
    border = (int(START) // HOUR + 1) * HOUR
    for moment in (border - 1, border - 0.001, border, border + 1):
        service.clock.now = moment
        service.call("ListKeys", {})
    def between(start: float, end: float) -> int:
        found = requests(service, start_time=start, end_time=end)
        return sum(found.values())
    assert between(border - HOUR, border) == 3
    assert between(border, border + HOUR) == 2
    assert between(border - 1, border + 1) == 5, "rounded to whole hours"
    assert between(border + HOUR, border + 2 * HOUR) == 0


def test_a_month_ends_with_its_last_second(service: InProcess) -> None:
    """Calls and keys on both sides of the end of September, as a report asks for them."""
    october = month_of(2026, 10)
    border = october.start.timestamp()
    for moment in (border - 1, border, border + 2 * HOUR - 1):
        service.clock.now = moment
        new_key(service)
    found = [
        usage(service, "USAGE_TYPE", start_time=of.start.timestamp(), end_time=of.end.timestamp())
        for of in (month_of(2026, 9), october, month_of(2026, 11))
    ]
    assert found == [
        {("Requests-Symmetric",): 1, ("KeyHours",): 1}, {("Requests-Symmetric",): 2, ("KeyHours",): 2 + 2 + 1}, {},
    ]


def test_who_sees_whose_usage(service: InProcess) -> None:
    tenant = service.new_account(OTHER)
    service.call("ListKeys", {}, token=tenant)
    service.call("ListKeys", {})
    own = {("Requests-Symmetric", OTHER): 1}
    assert requests(service, "ACCOUNT") == {**own, ("Requests-Symmetric", HOME): 1}
    assert requests(service, "ACCOUNT", account_id=OTHER) == own
    assert requests(service, "ACCOUNT", token=tenant) == own
    assert requests(service, "ACCOUNT", token=tenant, account_id=OTHER) == own
    with pytest.raises(AccessDeniedException):
        usage(service, token=tenant, account_id=HOME)
    admin = service.new_user("eve", policies={"p": identity_policy("kagitori:ListUsers")})
    with pytest.raises(AccessDeniedException):
        usage(service, token=admin)


def test_pages_hold_every_sum_once(service: InProcess) -> None:
    keys = [new_key(service) for _ in range(5)]
    for key in keys:
        encrypt(service, key.key_id)
    whole = usage(service, *BY_ALL)
    assert len(whole) == 10
    for limit in (1, 2, 3, 10, 1_000):
        assert usage(service, *BY_ALL, limit=limit) == whole
    with pytest.raises(InvalidMarkerException):
        service.call("GetUsage", {**MONTH, "marker": "junk"})


def test_pages_of_a_list_tell_of_one_moment(service: InProcess) -> None:
    """That of its first page, for a minute; another list, or a new first page, is added up anew."""
    keys = [new_key(service) for _ in range(3)]
    values: dict[str, Any] = {**MONTH, "group_by": ("KEY",), "limit": 3}

    def requests_on(page: Any) -> int:
        return sum(item.quantity for item in page.items if item.unit == "Requests")

    def next_page(marker: str) -> int:
        return requests_on(service.call("GetUsage", {**values, "marker": marker}))

    first = service.call("GetUsage", values)
    whole = requests_on(first) + next_page(first.next_marker)
    assert whole == 3, "one CreateKey each"
    for key in keys:
        encrypt(service, key.key_id)
    assert requests_on(first) + next_page(first.next_marker) == whole
    assert requests(service) == {("Requests-Symmetric",): 2 * whole}
    again = service.call("GetUsage", values)
    assert requests_on(again) + next_page(again.next_marker) == 2 * whole
    for key in keys:
        encrypt(service, key.key_id)
    service.clock.advance(61)
    assert requests_on(first) + next_page(first.next_marker) > whole


def test_lists_that_are_kept_are_bounded() -> None:
    now = 0.0
    lists = UsageLists(lambda: now, lines=5)
    lines = [Sum(str(number), (), number) for number in range(3)]
    lists.keep("a", lines)
    assert lists.get("a") == lines
    lists.keep("b", lines)
    assert (lists.get("a"), lists.get("b")) == (None, lines)
    lists.keep("c", lines * 2)
    assert (lists.get("b"), lists.get("c")) == (lines, None)
    now = 61.0
    assert lists.get("b") is None


def test_old_hours_are_added_up_and_no_bill_changes(service: InProcess) -> None:
    """Whole months are the same before, while and after; parts of them can't be told any more."""
    worker = UsageWorker(service.catalog, service.clock)
    september, october, november = (month_of(2026, month) for month in (9, 10, 11))
    keys = [new_key(service) for _ in range(2)]
    for moment in (START, START + HOUR, START + 5 * 86_400, october.start.timestamp(), october.end.timestamp() - 1,
                   november.start.timestamp(), november.start.timestamp() + HOUR):
        service.clock.now = moment
        for key in keys:
            encrypt(service, key.key_id)

    def bills() -> list[dict[tuple[str | None, ...], int]]:
        return [
            usage(service, *BY_ALL, start_time=of.start.timestamp(), end_time=of.end.timestamp())
            for of in (september, october, november)
        ]

    def hours() -> list[int]:
        with service.catalog.read() as reader:
            found, place = [], 0
            while (hour := reader.first_counted_hour(place, 1 << 30)) is not None:
                found.append(hour * HOUR)
                place = hour + 1
            return found

    service.clock.now = october.end.timestamp() + 400 * 86_400 - HOUR
    before, known = bills(), hours()
    assert worker.run_once() == 3, "of September, which is over for 400 days; October isn't"
    assert bills() == before
    september_first, october_first = (int(of.start.timestamp()) for of in (september, october))
    assert hours() == [september_first, *(hour for hour in known if hour >= october_first)]
    for start, end in ((START, october_first), (september_first, START), (september_first + HOUR, october_first)):
        with pytest.raises(ValidationException, match="by months"):
            service.call("GetUsage", {"start_time": start, "end_time": end})
    usage(service, start_time=september_first, end_time=october_first + 90_000.0)
    service.clock.advance(2 * HOUR)
    assert worker.run_once() == 1, "October is over for 400 days now, and has calls in its first hour already"
    assert bills() == before
    assert worker.run_once() == 0
    assert bills() == before


@pytest.mark.parametrize(("start", "end"), [
    (START, START), (START, START - 1), (-1.0, START), (START, 1e300), (float("nan"), START), (START, float("inf")),
    (START, START + 367 * 86_400), (253_402_300_000.0, 253_402_300_801.0), (None, START), (START, None),
])
def test_times_that_make_no_sense_are_refused(service: InProcess, start: float | None, end: float | None) -> None:
    with pytest.raises(ValidationException):
        service.call("GetUsage", {"start_time": start, "end_time": end})


def test_a_caller_waits_for_counting_just_so_long(service: InProcess) -> None:
    busy(service)
    late = iter(range(1_000))
    slow = Meter(service.catalog, service.audit_folder, service.trail, PRICES, lambda: float(next(late)), lambda: None)
    with pytest.raises(DependencyTimeoutException):
        slow.catch_up(0.5)


def test_lines_that_cannot_be_read_are_passed_over_and_told(
    service: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """A record without its members, as no release has written one."""
    new_key(service)
    service.trail.append_blocking(b'{"eventVersion":"1.11"}')
    service.call("ListKeys", {})
    assert requests(service) == {("Requests-Symmetric",): 2}
    assert "1 lines of audit chain chain-00 can't be read" in caplog.text


def _remember(service: InProcess, arn: str, spec: KeySpec) -> None:
    """A key that was made, and is gone."""
    key_id = arn.rpartition("/")[2]
    made = new_key(service)
    with service.catalog.write() as writer:
        key = writer.get_key(REGION, made.key_id)
        assert key is not None
        ghost = replace(key, key_id=key_id, arn=arn, spec=spec, materials=(), aliases=())
        writer.insert_key(ghost)
        writer.delete_key(REGION, key_id)


def _event(
    operation: str, arn: str, parameters: dict[str, object] | None = None, more: tuple[str, ...] = ()
) -> bytes:
    """A record as `Recording` makes them, of a call whose operation another release may serve."""
    identity = render_identity(IdentityType.ROOT, principal_id=HOME, arn=root(HOME), account_id=HOME)
    return render_record(CallFacts(
        event_id="00000000-0000-4000-8000-0000000000aa", request_id="r", event_time=START, event_name=operation,
        region=REGION, user_identity=identity, source_ip="127.0.0.1", user_agent="t", read_only=True,
        recipient_account=HOME, request_parameters=parameters, event_type=EventType.API_CALL,
        resources=tuple(Resource(HOME, name) for name in (arn, *more)),
    ))
