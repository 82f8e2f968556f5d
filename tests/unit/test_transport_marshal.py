"""Protobuf <-> members and shapes: what is given, what is left out, and what can't be compiled."""

from __future__ import annotations

import dataclasses
import enum
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kagitori.kms.v1 import (
    batch_pb2,
    credentials_pb2,
    cryptography_pb2,
    decisions_pb2,
    keys_pb2,
    operation_pb2,
    resources_pb2,
)
from kagitori_server.model.errors import SerializationException, ValidationException
from kagitori_server.model.keys import EncryptionAlgorithm, KeyManager, KeySpec, KeyState, KeyUsage, Origin, Tag
from kagitori_server.model.shape import Shape
from kagitori_server.operations.row import BatchOperation, Operation
from kagitori_server.operations.shapes import crypto, decisions, keys
from kagitori_server.operations.shapes.empty import Empty
from kagitori_server.operations.table import TABLE
from kagitori_server.transports.grpc.contract import SERVICES, methods, path
from kagitori_server.transports.grpc.marshal import (
    SINGLE_BYTES_MAX,
    batch_decoder,
    batch_encoder,
    request_decoder,
    response_encoder,
)
from kagitori_server.transports.grpc.mismatch import ContractMismatch

ENCRYPT = request_decoder(cryptography_pb2.EncryptRequest.DESCRIPTOR, crypto.EncryptRequest)
CREATE_KEY = request_decoder(keys_pb2.CreateKeyRequest.DESCRIPTOR, keys.CreateKeyRequest)
LIST_KEYS = request_decoder(keys_pb2.ListKeysRequest.DESCRIPTOR, keys.ListKeysRequest)
TAG_RESOURCE = request_decoder(keys_pb2.TagResourceRequest.DESCRIPTOR, keys.TagResourceRequest)
BATCH_ENCRYPT = batch_decoder(batch_pb2.BatchEncryptRequest.DESCRIPTOR, crypto.EncryptRequest)


# --- requests ---


def test_scalars_without_presence_are_always_given() -> None:
    """Protobuf can't tell empty from absent, so the shape judges the empty value."""
    assert ENCRYPT(b"") == {"key_id": "", "plaintext": b""}


def test_everything_that_was_sent_is_given() -> None:
    """Texts, bytes, maps, lists, enumerations and flags, as plain Python values."""
    sent = cryptography_pb2.EncryptRequest(
        key_id="k", plaintext=b"p", encryption_context={"a": "1", "b": ""}, grant_tokens=["t"],
        encryption_algorithm=resources_pb2.ENCRYPTION_ALGORITHM_SYMMETRIC_DEFAULT, dry_run=False,
    )
    members = ENCRYPT(sent.SerializeToString())
    assert members == {
        "key_id": "k", "plaintext": b"p", "encryption_context": {"a": "1", "b": ""}, "grant_tokens": ["t"],
        "encryption_algorithm": "SYMMETRIC_DEFAULT", "dry_run": False,
    }
    assert type(members["encryption_context"]) is dict
    assert type(members["grant_tokens"]) is list
    assert Shape(crypto.EncryptRequest).build(members).encryption_algorithm is EncryptionAlgorithm.SYMMETRIC_DEFAULT


def test_optional_is_given_when_sent_even_if_empty() -> None:
    """An empty description differs from none."""
    assert CREATE_KEY(b"") == {}
    assert CREATE_KEY(keys_pb2.CreateKeyRequest(description="").SerializeToString()) == {"description": ""}
    assert LIST_KEYS(keys_pb2.ListKeysRequest(limit=0).SerializeToString()) == {"limit": 0}


def test_unspecified_is_absent() -> None:
    """The zero of an enumeration says nothing, whether sent or not."""
    sent = keys_pb2.CreateKeyRequest(key_spec=resources_pb2.KEY_SPEC_UNSPECIFIED)
    assert sent.HasField("key_spec")
    assert CREATE_KEY(sent.SerializeToString()) == {}


@pytest.mark.parametrize("number", [99, -1, 2**31 - 1])
def test_unknown_number_becomes_text_that_no_enumeration_has(number: int) -> None:
    """It breaks a constraint of the shape and no decoder."""
    sent = keys_pb2.CreateKeyRequest(key_spec=typing.cast("Any", number))
    members = CREATE_KEY(sent.SerializeToString())
    assert members == {"key_spec": str(number)}
    with pytest.raises(ValidationException, match="enum value set"):
        Shape(keys.CreateKeyRequest).build(members)


@pytest.mark.parametrize(("number", "text"), [(0, "UNSPECIFIED"), (42, "42"), (1, "SELF")])
def test_enumerations_in_lists(number: int, text: str) -> None:
    """Within a list nothing can be left out."""
    sent = keys_pb2.ListKeysRequest(resource_owners=[typing.cast("Any", number)])
    assert LIST_KEYS(sent.SerializeToString()) == {"resource_owners": [text]}


def test_required_list_without_elements_is_a_missing_member() -> None:
    """Protobuf can't tell the two apart; the stricter reading holds."""
    members = TAG_RESOURCE(keys_pb2.TagResourceRequest(key_id="k").SerializeToString())
    assert members == {"key_id": "k"}
    with pytest.raises(ValidationException, match="'tags' failed to satisfy constraint: Member must not be null"):
        Shape(keys.TagResourceRequest).build(members)


def test_nested_messages_become_members() -> None:
    """A list of structures, each with its own rules of presence."""
    sent = keys_pb2.TagResourceRequest(key_id="k", tags=[resources_pb2.Tag(tag_key="a")])
    assert TAG_RESOURCE(sent.SerializeToString())["tags"] == [{"tag_key": "a", "tag_value": ""}]


def test_empty_message_is_present() -> None:
    """An empty recipient was sent, which differs from none."""
    decode = request_decoder(cryptography_pb2.DecryptRequest.DESCRIPTOR, crypto.DecryptRequest)
    sent = cryptography_pb2.DecryptRequest(recipient=resources_pb2.RecipientInfo())
    assert decode(sent.SerializeToString()) == {"recipient": {}}


def test_fields_that_the_shape_lacks_are_left_to_it() -> None:
    """A field of the contract that a row doesn't know is refused when it was sent, not ignored."""
    decode = request_decoder(cryptography_pb2.EncryptRequest.DESCRIPTOR, keys.DescribeKeyRequest)
    assert decode(cryptography_pb2.EncryptRequest(key_id="k").SerializeToString()) == {"key_id": "k"}
    members = decode(cryptography_pb2.EncryptRequest(key_id="k", dry_run=True).SerializeToString())
    with pytest.raises(SerializationException, match="no member dry_run"):
        Shape(keys.DescribeKeyRequest).build(members)


@pytest.mark.parametrize(
    "body",
    [b"\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x0a", b"\x12" + b"\xff" * 10, b"\x1a\x02\x0a\xff", b"{}" * 40],
    ids=["tag", "short text", "no UTF-8", "no length", "endless length", "broken map", "JSON"],
)
def test_garbage_is_a_serialization_error(body: bytes) -> None:
    """Bytes that aren't the message are refused, without being quoted."""
    with pytest.raises(SerializationException) as caught:
        ENCRYPT(body)
    assert caught.value.message == "The body of the request is no EncryptRequest."
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_oneof_gives_what_was_chosen() -> None:
    """Members of a oneof are fields of their own, at most one of them given."""
    @dataclass(frozen=True, slots=True, kw_only=True)
    class RegisterCertificateRequest:
        principal_arn: str
        uri_san: str | None
        subject: str | None

    decode = request_decoder(credentials_pb2.RegisterCertificateRequest.DESCRIPTOR, RegisterCertificateRequest)
    sent = credentials_pb2.RegisterCertificateRequest(principal_arn="p", subject="")
    assert decode(sent.SerializeToString()) == {"principal_arn": "p", "subject": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class GetUsageRequest:
    """Times in a request."""

    start_time: float
    end_time: float | None


USAGE = request_decoder(operation_pb2.GetUsageRequest.DESCRIPTOR, GetUsageRequest)


def usage(seconds: int, nanos: int = 0) -> bytes:
    """A request with that start."""
    sent = operation_pb2.GetUsageRequest()
    sent.start_time.seconds = seconds
    sent.start_time.nanos = nanos
    return sent.SerializeToString()


@pytest.mark.parametrize(
    ("seconds", "nanos", "expected"),
    [
        (0, 0, 0.0),
        (1_764_000_000, 500_000_000, 1_764_000_000.5),
        (253_402_300_799, 0, 253_402_300_799.0),
        (-62_135_596_800, 0, -62_135_596_800.0),
    ],
)
def test_timestamps_are_seconds(seconds: int, nanos: int, expected: float) -> None:
    """As floats, from the year 1 to the year 9999."""
    assert USAGE(usage(seconds, nanos)) == {"start_time": expected}


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(253_402_300_800, 0), (-62_135_596_801, 0), (2**63 - 1, 0), (0, -1), (0, 1_000_000_000), (0, 2**31 - 1)],
)
def test_timestamps_out_of_range(seconds: int, nanos: int) -> None:
    """What the well-known type forbids is no readable request."""
    with pytest.raises(SerializationException, match="out of range"):
        USAGE(usage(seconds, nanos))


def test_batches_give_their_items_always() -> None:
    """Each item as its own request; none is an empty list, so that its length can be judged."""
    nothing = BATCH_ENCRYPT(b"")["items"]
    assert len(nothing) == 0
    sent = batch_pb2.BatchEncryptRequest(items=[cryptography_pb2.EncryptRequest(key_id=key) for key in ("a", "")])
    items = BATCH_ENCRYPT(sent.SerializeToString())["items"]
    assert list(items) == [{"key_id": "a", "plaintext": b""}, {"key_id": "", "plaintext": b""}]
    assert [items[number] for number in range(len(items))] == list(items)


def test_no_request_is_read_that_is_longer_than_any() -> None:
    """Whatever would be in it; of a batch, that holds for each item."""
    long = cryptography_pb2.EncryptRequest(plaintext=bytes(SINGLE_BYTES_MAX)).SerializeToString()
    with pytest.raises(SerializationException, match="at most"):
        ENCRYPT(long)
    items = BATCH_ENCRYPT(batch_pb2.BatchEncryptRequest(items=[
        cryptography_pb2.EncryptRequest(), cryptography_pb2.EncryptRequest.FromString(long),
    ]).SerializeToString())["items"]
    assert items[0]["plaintext"] == b""
    with pytest.raises(SerializationException, match="at most"):
        _ = items[1]


# --- answers ---


def test_answer_of_every_kind_of_member() -> None:
    """Enumerations with AWS's capitals, times, flags, lists and what is absent."""
    metadata = keys.KeyMetadata(
        aws_account_id="000000000000", key_id="k", arn="a", creation_date=1_764_000_000.25, enabled=False,
        description="", key_usage=KeyUsage.ENCRYPT_DECRYPT, key_state=KeyState.PENDING_DELETION,
        deletion_date=None, valid_to=None, origin=Origin.AWS_KMS, custom_key_store_id=None,
        cloud_hsm_cluster_id=None, expiration_model=None, key_manager=KeyManager.CUSTOMER,
        customer_master_key_spec=KeySpec.SYMMETRIC_DEFAULT, key_spec=KeySpec.SYMMETRIC_DEFAULT,
        encryption_algorithms=(EncryptionAlgorithm.SYMMETRIC_DEFAULT,), signing_algorithms=(),
        key_agreement_algorithms=(), encapsulation_algorithms=(), multi_region=False,
        multi_region_configuration=None, pending_deletion_window_in_days=None, mac_algorithms=(),
        xks_key_configuration=None, current_key_material_id=None,
    )
    encode = response_encoder(keys_pb2.DescribeKeyResponse.DESCRIPTOR, keys.DescribeKeyResponse)
    answer = keys_pb2.DescribeKeyResponse.FromString(encode(keys.DescribeKeyResponse(key_metadata=metadata)))
    told = answer.key_metadata
    assert told.key_state == resources_pb2.KEY_STATE_PENDINGDELETION
    assert (told.creation_date.seconds, told.creation_date.nanos) == (1_764_000_000, 250_000_000)
    assert not told.HasField("deletion_date")
    assert not told.HasField("current_key_material_id")
    assert list(told.encryption_algorithms) == [resources_pb2.ENCRYPTION_ALGORITHM_SYMMETRIC_DEFAULT]
    assert told.HasField("customer_master_key_spec")


def test_lists_of_structures() -> None:
    """Tuples of dataclasses become repeated messages, in order."""
    encode = response_encoder(keys_pb2.ListResourceTagsResponse.DESCRIPTOR, keys.ListResourceTagsResponse)
    answer = keys.ListResourceTagsResponse(tags=(Tag("b", "2"), Tag("a", "")), next_marker="m", truncated=True)
    told = keys_pb2.ListResourceTagsResponse.FromString(encode(answer))
    assert [(tag.tag_key, tag.tag_value) for tag in told.tags] == [("b", "2"), ("a", "")]
    assert (told.next_marker, told.truncated) == ("m", True)


def test_answers_without_members() -> None:
    """Empty stands for every empty message."""
    assert response_encoder(keys_pb2.EnableKeyResponse.DESCRIPTOR, Empty)(Empty()) == b""


def test_outcomes_of_a_batch() -> None:
    """An answer or an error per item, in order."""
    encode = batch_encoder(batch_pb2.BatchEncryptResponse.DESCRIPTOR, crypto.EncryptResponse)
    good = crypto.EncryptResponse(
        ciphertext_blob=b"c", key_id="k", encryption_algorithm=EncryptionAlgorithm.SYMMETRIC_DEFAULT
    )
    error = crypto.BatchItemError(code="NotFoundException", message="no")
    outcomes = (crypto.BatchOutcome(response=good), crypto.BatchOutcome(error=error))
    told = batch_pb2.BatchEncryptResponse.FromString(encode(crypto.BatchResponse(outcomes=outcomes)))
    assert [outcome.WhichOneof("result") for outcome in told.outcomes] == ["response", "error"]
    assert told.outcomes[0].response.ciphertext_blob == b"c"
    assert told.outcomes[1].error.code == "NotFoundException"


@pytest.mark.parametrize(
    "outcome",
    [crypto.BatchOutcome(), crypto.BatchOutcome(response=Empty())],
    ids=["neither", "another class"],
)
def test_outcome_that_is_none(outcome: crypto.BatchOutcome) -> None:
    """A mistake of ours is never sent as an empty outcome."""
    encode = batch_encoder(batch_pb2.BatchEncryptResponse.DESCRIPTOR, crypto.EncryptResponse)
    with pytest.raises(TypeError):
        encode(crypto.BatchResponse(outcomes=(outcome,)))


@pytest.mark.parametrize("answer", [None, object(), Empty(), b""])
def test_answer_of_another_class(answer: object) -> None:
    """Nothing but the row's class is written."""
    encode = response_encoder(keys_pb2.DescribeKeyResponse.DESCRIPTOR, keys.DescribeKeyResponse)
    with pytest.raises(TypeError):
        encode(answer)


@pytest.mark.parametrize(
    ("seconds", "whole", "nanos"),
    [(0.0, 0, 0), (1.9999999, 2, 0), (-0.5, -1, 500_000_000), (1_764_000_000.123456, 1_764_000_000, 123_456_000)],
)
def test_times_of_answers(seconds: float, whole: int, nanos: int) -> None:
    """To the microsecond; nanos count upwards in a Timestamp, whatever the sign."""
    encode = response_encoder(keys_pb2.ScheduleKeyDeletionResponse.DESCRIPTOR, keys.ScheduleKeyDeletionResponse)
    answer = keys.ScheduleKeyDeletionResponse(
        key_id="k", deletion_date=seconds, key_state=KeyState.PENDING_DELETION, pending_window_in_days=7
    )
    told = keys_pb2.ScheduleKeyDeletionResponse.FromString(encode(answer)).deletion_date
    assert (told.seconds, told.nanos) == (whole, nanos)


@pytest.mark.parametrize(
    ("seconds", "whole", "nanos"), [(1.5, 1, 500_000_000), (-1.5, -1, -500_000_000), (0.0, 0, 0)]
)
def test_durations_of_answers(seconds: float, whole: int, nanos: int) -> None:
    """Both parts have the sign of the whole."""
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Health:
        latency: float | None

    encode = response_encoder(operation_pb2.KeyStoreHealth.DESCRIPTOR, Health)
    told = operation_pb2.KeyStoreHealth.FromString(encode(Health(latency=seconds))).latency
    assert (told.seconds, told.nanos) == (whole, nanos)


# --- the table and the contract ---


def test_every_row_fits_the_contract() -> None:
    """The whole table compiles, each row under the one path that its rpc has."""
    served = methods(TABLE)
    assert {method.operation for method in served.values()} == set(TABLE)
    rpcs = {path(rpc): rpc for service in SERVICES for rpc in service.methods}
    assert set(served) <= set(rpcs)
    assert all(rpcs[where].name == method.operation for where, method in served.items())


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.name)
def test_every_row_decodes_an_empty_body_into_members_of_its_shape(row: Operation | BatchOperation) -> None:
    """What is given always is something that the shape has."""
    where = next(path(rpc) for service in SERVICES for rpc in service.methods if rpc.name == row.name)
    members = methods({row.name: row})[where].decode(b"")
    known = {"items"} if isinstance(row, BatchOperation) else set(row.request.cls.__dataclass_fields__)
    assert set(members) <= known


@pytest.mark.parametrize("row", [r for r in TABLE.values() if isinstance(r, Operation)], ids=lambda row: row.name)
def test_every_field_of_the_contract_is_known_to_the_shape(row: Operation) -> None:
    """Nothing that a caller can say by the contract is refused as unknown."""
    rpc = next(rpc for service in SERVICES for rpc in service.methods if rpc.name == row.name)
    assert {field.name for field in rpc.input_type.fields} == set(row.request.cls.__dataclass_fields__)


@pytest.mark.parametrize("name", ["EncryptFaster", "encrypt", ""])
def test_row_without_an_rpc(name: str) -> None:
    """The server doesn't start with an operation that can't be called."""
    with pytest.raises(ContractMismatch):
        methods({name: dataclasses.replace(typing.cast("Operation", TABLE["Encrypt"]), name=name)})


def test_row_under_another_name() -> None:
    """A row is called what the table calls it."""
    with pytest.raises(ContractMismatch):
        methods({"Decrypt": TABLE["Encrypt"]})


class Colour(enum.StrEnum):
    """No enumeration of the contract."""

    RED = "RED"


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        (int, "key_id"),
        (bytes, "key_id"),
        (KeySpec, "key_id"),
        (str, "plaintext"),
        (str, "missing_member"),
        (tuple[str, ...], "encryption_context"),
        (Mapping[str, int], "encryption_context"),
        (str, "grant_tokens"),
        (tuple[int, ...], "grant_tokens"),
        (tuple[str, str], "grant_tokens"),
        (Colour, "encryption_algorithm"),
        (int, "encryption_algorithm"),
        (int, "dry_run"),
        (str | bytes, "key_id"),
    ],
    ids=str,
)
def test_members_that_do_not_fit(hint: Any, name: str) -> None:
    """A member without a field of a fitting type is found when it's compiled, both ways."""
    shape = dataclasses.make_dataclass("Wrong", [(name, hint)], frozen=True)
    for compiled in (request_decoder, response_encoder):
        with pytest.raises(ContractMismatch):
            compiled(cryptography_pb2.EncryptRequest.DESCRIPTOR, shape)


@pytest.mark.parametrize("descriptor", [keys_pb2.CreateKeyRequest.DESCRIPTOR, keys_pb2.ListKeysResponse.DESCRIPTOR])
def test_batches_that_are_none(descriptor: Any) -> None:
    """A batch has `items` and `outcomes` in the contract."""
    with pytest.raises(ContractMismatch):
        batch_decoder(descriptor, crypto.EncryptRequest)
    with pytest.raises(ContractMismatch):
        batch_encoder(descriptor, crypto.EncryptResponse)


def test_every_enumeration_of_the_rows_goes_there_and_back() -> None:
    """Each AWS value that an answer can hold has a number, and the number the value."""
    descriptor = resources_pb2.KeyMetadata.DESCRIPTOR
    enumerations = {"key_state": KeyState, "key_spec": KeySpec, "origin": Origin, "key_usage": KeyUsage}
    for name, values in enumerations.items():
        shape = dataclasses.make_dataclass("One", [(name, values)], frozen=True)
        encode, decode = response_encoder(descriptor, shape), request_decoder(descriptor, shape)
        make: type[Message] = GetMessageClass(descriptor)
        for value in values:
            body = encode(shape(value))
            assert getattr(make.FromString(body), name) != 0
            assert decode(body)[name] == value.value


# --- maps of messages ---


def test_maps_of_messages_are_maps_of_members() -> None:
    """There and back."""
    decode = request_decoder(decisions_pb2.ExplainAccessRequest.DESCRIPTOR, decisions.ExplainAccessRequest)
    sent = decisions_pb2.ExplainAccessRequest(
        action="kms:Encrypt", resource_arn="*",
        condition_values={"aws:SourceIp": decisions_pb2.ContextValues(values=["a", "b"])},
    )
    members = decode(sent.SerializeToString())
    assert members["condition_values"] == {"aws:SourceIp": {"values": ["a", "b"]}}
    built = Shape(decisions.ExplainAccessRequest).build(members)
    assert built.condition_values == {"aws:SourceIp": decisions.ContextValues(values=("a", "b"))}
    answer = decisions.ExplainAccessResponse(
        decision=decisions.Outcome.ALLOWED, explanation="", decided_by=None, evaluations=(),
        condition_values=built.condition_values,
    )
    encode = response_encoder(decisions_pb2.ExplainAccessResponse.DESCRIPTOR, decisions.ExplainAccessResponse)
    received = decisions_pb2.ExplainAccessResponse.FromString(encode(answer))
    assert list(received.condition_values["aws:SourceIp"].values) == ["a", "b"]


@pytest.mark.parametrize("hint", [Mapping[str, str], Mapping[int, decisions.ContextValues], Mapping[str, int], dict])
def test_maps_of_messages_need_a_structure(hint: Any) -> None:
    """Anything else can't be compiled."""
    shape = dataclasses.make_dataclass("Shape", [("condition_values", hint)])
    with pytest.raises(ContractMismatch):
        request_decoder(decisions_pb2.ExplainAccessRequest.DESCRIPTOR, shape)


def test_elements_of_a_map_of_structures_are_checked() -> None:
    """In type and in size."""
    shape = Shape(decisions.ExplainAccessRequest)
    values = {"action": "kms:Encrypt", "resource_arn": "*"}
    with pytest.raises(SerializationException):
        shape.build({**values, "condition_values": {"a": "1"}})
    with pytest.raises(ValidationException):
        shape.build({**values, "condition_values": {"a": {"values": ["x"] * 101}}})
    with pytest.raises(ValidationException):
        shape.build({**values, "condition_values": {str(n): {"values": []} for n in range(101)}})
