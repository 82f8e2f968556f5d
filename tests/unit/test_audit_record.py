"""Records against CloudTrail's shape: the examples of its documentation, its bounds, and what must never get
in.
"""

from __future__ import annotations

import enum
import gzip
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore import xform_name

from kagitori_server.audit.identity import IdentityType, SessionFacts, render_identity
from kagitori_server.audit.members import camel_case, render_date, render_members
from kagitori_server.audit.record import (
    MAX_ADDITIONAL_BYTES,
    MAX_PARAMETERS_BYTES,
    CallFacts,
    EventType,
    Resource,
    render_record,
)
from kagitori_server.model.call import TlsFacts

ACCOUNT = "111122223333"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
MATERIAL = "ab" * 32
ALICE = render_identity(
    IdentityType.IAM_USER,
    principal_id="AIDAEXAMPLE",
    arn=f"arn:aws:iam::{ACCOUNT}:user/alice",
    account_id=ACCOUNT,
    access_key_id="AKIAEXAMPLE",
    user_name="alice",
)
ENCRYPT = CallFacts(
    event_id="aaaaaaaa-0000-4000-8000-000000000001",
    request_id="bbbbbbbb-0000-4000-8000-000000000001",
    event_time=1754865507.999,
    event_name="Encrypt",
    region="us-east-1",
    user_identity=ALICE,
    source_ip="192.0.2.7",
    user_agent="grpc-python/1.76",
    read_only=True,
    recipient_account=ACCOUNT,
    request_parameters={
        "key_id": "alias/app",
        "encryption_algorithm": "SYMMETRIC_DEFAULT",
        "encryption_context": {"tenant_id": "t1"},
    },
    additional_event_data={"key_material_id": MATERIAL},
    resources=(Resource(ACCOUNT, KEY),),
    tls=TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", "kms.example"),
)


def rendered(facts: CallFacts) -> Any:
    line = render_record(facts)
    assert b"\n" not in line
    assert line.isascii()
    return json.loads(line)


def test_encrypt_record_is_cloudtrails_example() -> None:
    """Every member of the documented example, with the caller's context keys as the caller wrote them."""
    assert rendered(ENCRYPT) == {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLE",
            "arn": f"arn:aws:iam::{ACCOUNT}:user/alice",
            "accountId": ACCOUNT,
            "accessKeyId": "AKIAEXAMPLE",
            "userName": "alice",
        },
        "eventTime": "2025-08-10T22:38:27Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": "Encrypt",
        "awsRegion": "us-east-1",
        "sourceIPAddress": "192.0.2.7",
        "userAgent": "grpc-python/1.76",
        "requestParameters": {
            "keyId": "alias/app",
            "encryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "encryptionContext": {"tenant_id": "t1"},
        },
        "responseElements": None,
        "additionalEventData": {"keyMaterialId": MATERIAL},
        "requestID": "bbbbbbbb-0000-4000-8000-000000000001",
        "eventID": "aaaaaaaa-0000-4000-8000-000000000001",
        "readOnly": True,
        "resources": [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": KEY}],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": "kms.example",
        },
    }


def test_refusal_carries_code_and_message() -> None:
    """Refusals have both error members and null parameters, between agent and parameters as in CloudTrail."""
    record = rendered(
        replace(
            ENCRYPT,
            request_parameters=None,
            additional_event_data=None,
            error_code="AccessDenied",
            error_message="no",
        )
    )
    assert (record["errorCode"], record["errorMessage"]) == ("AccessDenied", "no")
    assert record["requestParameters"] is None
    assert "additionalEventData" not in record
    names = list(record)
    assert names.index("userAgent") < names.index("errorCode") < names.index("requestParameters")


def test_service_event_has_no_request_and_no_connection() -> None:
    """A rotation by the service itself, as in the documentation."""
    record = rendered(
        replace(
            ENCRYPT,
            event_name="RotateKey",
            request_id=None,
            tls=None,
            user_identity=render_identity(
                IdentityType.INTERNAL, account_id=ACCOUNT, invoked_by="AWS Internal"
            ),
            read_only=False,
            request_parameters=None,
            additional_event_data=None,
            event_type=EventType.SERVICE_EVENT,
            service_event_details={"rotation_type": "AUTOMATIC", "key_id": "1234abcd"},
        )
    )
    assert record["userIdentity"] == {"accountId": ACCOUNT, "invokedBy": "AWS Internal"}
    assert record["eventType"] == "AwsServiceEvent"
    assert record["serviceEventDetails"] == {"rotationType": "AUTOMATIC", "keyId": "1234abcd"}
    assert not {"requestID", "tlsDetails", "errorCode"} & set(record)
    assert record["readOnly"] is False


def test_shared_event_id_joins_copies() -> None:
    """The two records of a cross-account call name each other."""
    assert rendered(replace(ENCRYPT, shared_event_id="cccc"))["sharedEventID"] == "cccc"


def test_create_key_answer_as_cloudtrail_writes_it() -> None:
    """Nested dataclasses, enums, dates in words and the odd name of the account."""

    class KeyState(enum.StrEnum):
        ENABLED = "Enabled"

    @dataclass(frozen=True)
    class KeyMetadata:
        aws_account_id: str
        key_id: str
        creation_date: datetime
        enabled: bool
        key_state: KeyState
        encryption_algorithms: tuple[str, ...]
        custom_key_store_id: str | None = None

    metadata = KeyMetadata(
        ACCOUNT,
        "1234abcd",
        datetime(2025, 8, 10, 22, 38, 27, tzinfo=UTC),
        enabled=True,
        key_state=KeyState.ENABLED,
        encryption_algorithms=("SYMMETRIC_DEFAULT",),
    )
    parameters = {
        "tags": [{"tag_key": "a_b", "tag_value": "c"}],
        "multi_region": False,
        "pending_window_in_days": 7,
    }
    record = rendered(
        replace(
            ENCRYPT,
            request_parameters=parameters,
            response_elements={"key_metadata": metadata},
        )
    )
    assert record["requestParameters"] == {
        "tags": [{"tagKey": "a_b", "tagValue": "c"}],
        "multiRegion": False,
        "pendingWindowInDays": 7,
    }
    assert record["responseElements"] == {
        "keyMetadata": {
            "aWSAccountId": ACCOUNT,
            "keyId": "1234abcd",
            "creationDate": "Aug 10, 2025, 10:38:27 PM",
            "enabled": True,
            "keyState": "Enabled",
            "encryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        }
    }


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2025, 1, 2, 0, 3, 4, tzinfo=UTC), "Jan 2, 2025, 12:03:04 AM"),
        (datetime(2025, 12, 31, 12, 0, 0, tzinfo=UTC), "Dec 31, 2025, 12:00:00 PM"),
        (datetime(2025, 6, 1, 1, 30, 0, tzinfo=timezone(timedelta(hours=9))), "May 31, 2025, 4:30:00 PM"),
    ],
)
def test_dates_are_written_in_utc_words(moment: datetime, text: str) -> None:
    assert render_date(moment) == text


def test_every_member_of_the_kms_model_gets_cloudtrails_name() -> None:
    """CloudTrail lowers the first letter of the API's name; ours start from snake_case."""
    path = Path(botocore.__file__).parent / "data/kms/2014-11-01/service-2.json.gz"
    model = json.loads(gzip.decompress(path.read_bytes()))
    members = {
        name
        for shape in model["shapes"].values()
        if shape["type"] == "structure"
        for name in shape["members"]
    }
    assert len(members) > 100
    for name in members:
        assert camel_case(xform_name(name)) == name[0].lower() + name[1:]


@dataclass(frozen=True)
class Answer:
    key_id: str
    plaintext: str | None = field(default=None, repr=False)


@pytest.mark.parametrize(
    "value",
    [
        b"payload",
        bytearray(b"x"),
        memoryview(b"x"),
        {1, 2},
        object(),
        Answer,
        1j,
        ["nested", b"x"],
        {"deep": {"deeper": b"x"}},
        Answer("k", "secret"),
    ],
)
def test_what_could_hold_a_payload_is_refused(value: object) -> None:
    """Bytes, unknown objects and secret fields, at any depth; the message doesn't repeat them."""
    with pytest.raises(TypeError) as refusal:
        render_record(replace(ENCRYPT, request_parameters={"blob": value}))
    assert "payload" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("context", [b"x", ["a"], {"a": 1}, {1: "a"}, {"a": b"x"}, {"a": None}])
def test_encryption_context_holds_strings_only(context: object) -> None:
    with pytest.raises(TypeError):
        render_members({"source_encryption_context": context}, 1000)


@pytest.mark.parametrize("name", ["", "KeyId", "key-id", "key__id", '"', "_key", "schlüssel"])
def test_names_must_be_snake_case(name: str) -> None:
    with pytest.raises(ValueError, match="snake_case"):
        render_members({name: "x"}, 1000)


def test_dates_without_zone_numbers_without_end_and_depth_are_refused() -> None:
    nested: object = "x"
    for _ in range(20):
        nested = [nested]
    for value in (datetime(2025, 1, 1), float("nan"), float("inf"), nested):  # noqa: DTZ001  # the point of it
        with pytest.raises(ValueError, match=r"zone|finite|deeply"):
            render_members({"value": value}, 1000)


def test_unset_members_are_left_out() -> None:
    """A field kept out of repr is fine as long as it is not set."""
    assert render_members({"answer": Answer("k"), "absent": None}, 1000) == '{"answer":{"keyId":"k"}}'


def test_hostile_text_stays_inside_its_string() -> None:
    """Quotes, newlines, lone surrogates and line separators survive a round trip on one ASCII line."""
    hostile = 'a"},"eventID":"forged\n\r\u2028\ud800\x00é'
    record = rendered(replace(ENCRYPT, user_agent=hostile, request_parameters={"key_id": hostile}))
    assert record["userAgent"] == hostile
    assert record["requestParameters"] == {"keyId": hostile}
    assert record["eventID"] == ENCRYPT.event_id


def test_long_parameters_lose_their_longest_members_visibly() -> None:
    """The record stays within CloudTrail's bound and says what it left out."""
    parameters = {"key_id": KEY, "policy": "p" * MAX_PARAMETERS_BYTES, "description": "short"}
    shown = rendered(replace(ENCRYPT, request_parameters=parameters))["requestParameters"]
    marker = shown.pop("kagitoriOmitted")
    assert shown == {"keyId": KEY, "description": "short"}
    assert marker["limitBytes"] == MAX_PARAMETERS_BYTES
    assert marker["members"]["policy"] > MAX_PARAMETERS_BYTES

    extra = {"a": "x" * 20_000, "b": "y" * 15_000, "c": "z"}
    shown = rendered(replace(ENCRYPT, additional_event_data=extra))["additionalEventData"]
    assert set(shown) == {"b", "c", "kagitoriOmitted"}
    assert len(json.dumps(shown)) <= MAX_ADDITIONAL_BYTES

    everything = rendered(replace(ENCRYPT, request_parameters={"items": ["x" * 200_000]}))[
        "requestParameters"
    ]
    assert set(everything) == {"kagitoriOmitted"}


@pytest.mark.parametrize("text", ["m" * 5000, "鍵" * 2000, "\ud800" * 2000])
def test_messages_and_agents_are_cut_at_a_kilobyte(text: str) -> None:
    record = rendered(replace(ENCRYPT, error_code="X", error_message=text, user_agent=text))
    for shown in (record["errorMessage"], record["userAgent"]):
        assert len(shown.encode()) <= 1024
        assert shown.endswith("(truncated)")
    kept = rendered(replace(ENCRYPT, error_code="X", error_message="e" * 1024))
    assert kept["errorMessage"] == "e" * 1024


SESSION = SessionFacts(
    issuer_type="Role",
    issuer_principal_id="AROAEXAMPLE",
    issuer_arn=f"arn:aws:iam::{ACCOUNT}:role/app",
    issuer_account_id=ACCOUNT,
    issuer_user_name="app",
    creation_time=1754865507.0,
    mfa_authenticated=True,
    source_identity="alice",
)


def test_assumed_role_shows_its_session() -> None:
    identity = json.loads(
        render_identity(
            IdentityType.ASSUMED_ROLE,
            principal_id="AROAEXAMPLE:job",
            account_id=ACCOUNT,
            access_key_id="ASIAEXAMPLE",
            arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/app/job",
            session=SESSION,
        )
    )
    assert identity["type"] == "AssumedRole"
    assert identity["sessionContext"] == {
        "sessionIssuer": {
            "type": "Role",
            "principalId": "AROAEXAMPLE",
            "arn": f"arn:aws:iam::{ACCOUNT}:role/app",
            "accountId": ACCOUNT,
            "userName": "app",
        },
        "attributes": {"creationDate": "2025-08-10T22:38:27Z", "mfaAuthenticated": "true"},
        "sourceIdentity": "alice",
    }


def test_root_service_and_unknown_callers() -> None:
    root = render_identity(
        IdentityType.ROOT,
        principal_id=ACCOUNT,
        arn=f"arn:aws:iam::{ACCOUNT}:root",
        account_id=ACCOUNT,
    )
    assert json.loads(root)["type"] == "Root"
    service = render_identity(IdentityType.AWS_SERVICE, invoked_by="backup.amazonaws.com")
    assert json.loads(service) == {"type": "AWSService", "invokedBy": "backup.amazonaws.com"}
    assert json.loads(render_identity(IdentityType.UNKNOWN)) == {"type": "Unknown"}


@pytest.mark.parametrize("kind", [kind for kind in IdentityType if kind is not IdentityType.UNKNOWN])
def test_every_known_kind_needs_its_members(kind: IdentityType) -> None:
    with pytest.raises(ValueError, match="lacks"):
        render_identity(kind)
