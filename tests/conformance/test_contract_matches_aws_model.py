"""The contract says what AWS's own model of KMS says, member by member.

The model is botocore's newest. When AWS changes it, these tests name what is missing here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from kagitori_server.model.errors import every_error

PROTOS = Path(__file__).resolve().parents[2] / "protos"
PACKAGE = ".kagitori.kms.v1."
MODEL = botocore.session.get_session().get_service_model("kms")

OUR_RPCS = {
    "BatchEncrypt", "BatchDecrypt", "BatchGenerateDataKey", "BatchSign", "BatchVerify", "BatchGenerateMac",
}
"""What KeyService and CryptoService serve beyond AWS's operations."""

OUR_FIELDS: dict[str, set[str]] = {}
"""What our messages hold beyond AWS's members, by message: nothing."""

MESSAGE_OF_SHAPE = {
    "XksKeyConfigurationType": "XksKeyConfiguration",
    "XksProxyAuthenticationCredentialType": "XksProxyAuthenticationCredential",
    "XksProxyConfigurationType": "XksProxyConfiguration",
}
"""Structures whose messages are not called as the shape is."""

ENUM_OF_SHAPE = {
    "AlgorithmSpec": "WrappingAlgorithm",
    "ConnectionErrorCodeType": "ConnectionErrorCode",
    "ConnectionStateType": "ConnectionState",
    "CustomerMasterKeySpec": "KeySpec",
    "DryRunModifierType": "DryRunModifier",
    "EncapsulationAlgorithmSpec": "EncapsulationAlgorithm",
    "EncryptionAlgorithmSpec": "EncryptionAlgorithm",
    "ExpirationModelType": "ExpirationModel",
    "KeyAgreementAlgorithmSpec": "KeyAgreementAlgorithm",
    "KeyManagerType": "KeyManager",
    "KeyUsageType": "KeyUsage",
    "MacAlgorithmSpec": "MacAlgorithm",
    "OriginType": "Origin",
    "ResourceOwnerType": "ResourceOwner",
    "SigningAlgorithmSpec": "SigningAlgorithm",
    "XksProxyConnectivityType": "XksProxyConnectivity",
}
"""String enumerations whose enums are not called as the shape is; KeySpec serves two of them."""

NOT_SECRET = {"GetParametersForImportResponse.public_key"}
"""Members that AWS's model calls sensitive for the sake of a shape they share with plaintexts."""

COMMON_ERRORS = {"DependencyTimeoutException", "KMSInternalException"}
"""Errors of single operations that the contract lists once for all."""

SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "blob": FieldDescriptorProto.TYPE_BYTES,
    "integer": FieldDescriptorProto.TYPE_INT32,
    "boolean": FieldDescriptorProto.TYPE_BOOL,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    """Our files as the compiler sees them, with their comments."""
    image = tmp_path_factory.mktemp("image") / "contract.binpb"
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([str(buf), "build", "--output", str(image)], cwd=PROTOS, check=True)
    parsed = FileDescriptorSet.FromString(image.read_bytes())
    return [file for file in parsed.file if file.name.startswith("kagitori/kms/")]


@pytest.fixture(scope="module")
def messages(files: list[FileDescriptorProto]) -> dict[str, DescriptorProto]:
    return {message.name: message for file in files for message in file.message_type}


@pytest.fixture(scope="module")
def enums(files: list[FileDescriptorProto]) -> dict[str, EnumDescriptorProto]:
    return {enum.name: enum for file in files for enum in file.enum_type}


@pytest.fixture(scope="module")
def rpc_comments(files: list[FileDescriptorProto]) -> dict[str, dict[str, str]]:
    """The comment of each rpc, by service and rpc."""
    found: dict[str, dict[str, str]] = {}
    for file in files:
        said = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        for index, service in enumerate(file.service):
            for number, method in enumerate(service.method):
                place = (FileDescriptorProto.SERVICE_FIELD_NUMBER, index,
                         ServiceDescriptorProto.METHOD_FIELD_NUMBER, number)
                found.setdefault(service.name, {})[method.name] = said[place]
    return found


def snake_case(member: str) -> str:
    """The rule of the contract for the name of a field: an underscore where a new word starts."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", member).lower()


def upper_snake(name: str) -> str:
    return snake_case(name).upper()


def structures() -> Iterator[tuple[str, Any]]:
    """Every message that mirrors a structure of AWS, with its shape (None: AWS answers nothing)."""
    for operation in MODEL.operation_names:
        model = MODEL.operation_model(operation)
        yield f"{operation}Request", model.input_shape
        yield f"{operation}Response", model.output_shape
    ends = {shape.name for operation in MODEL.operation_names for shape in (
        MODEL.operation_model(operation).input_shape, MODEL.operation_model(operation).output_shape,
    ) if shape is not None}
    for name in MODEL.shape_names:
        shape = MODEL.shape_for(name)
        if shape.type_name == "structure" and name not in ends and not shape.metadata.get("exception"):
            yield MESSAGE_OF_SHAPE.get(name, name), shape


STRUCTURES = dict(structures())


def expected_type(shape: Any) -> tuple[int, str]:
    """Type and type name that a field for a member of this shape has."""
    if shape.type_name == "structure":
        return FieldDescriptorProto.TYPE_MESSAGE, PACKAGE + MESSAGE_OF_SHAPE.get(shape.name, shape.name)
    if shape.type_name == "timestamp":
        return FieldDescriptorProto.TYPE_MESSAGE, ".google.protobuf.Timestamp"
    if shape.type_name == "string" and shape.metadata.get("enum"):
        return FieldDescriptorProto.TYPE_ENUM, PACKAGE + ENUM_OF_SHAPE.get(shape.name, shape.name)
    return SCALARS[shape.type_name], ""


def is_string_map(message: DescriptorProto, field: FieldDescriptorProto) -> bool:
    entries = [nested for nested in message.nested_type
               if nested.options.map_entry and field.type_name == f"{PACKAGE}{message.name}.{nested.name}"]
    string = FieldDescriptorProto.TYPE_STRING
    return bool(entries) and [part.type for part in entries[0].field] == [string, string]


def test_the_model_is_the_one_this_contract_was_written_to() -> None:
    """API version 2014-11-01 with 56 operations; a new one fails the next test by name."""
    assert MODEL.api_version == "2014-11-01"
    assert len(MODEL.operation_names) == 56


def test_every_operation_is_an_rpc_of_one_service(rpc_comments: dict[str, dict[str, str]]) -> None:
    """KeyService and CryptoService share AWS's operations among them and add the batches only."""
    key, crypto = set(rpc_comments["KeyService"]), set(rpc_comments["CryptoService"])
    assert key & crypto == set()
    assert (key | crypto) - set(MODEL.operation_names) == OUR_RPCS
    assert set(MODEL.operation_names) - (key | crypto) == set()
    assert set(rpc_comments["AdminService"]).isdisjoint(key | crypto)
    assert crypto >= OUR_RPCS


def test_snake_case_is_botocores() -> None:
    """Our rule and the AWS SDK's give the same names for every member of the model."""
    members = {member for shape in STRUCTURES.values() if shape is not None for member in shape.members}
    assert {member: snake_case(member) for member in members} == {
        member: xform_name(member) for member in members
    }
    assert snake_case("AWSAccountId") == "aws_account_id"
    assert snake_case("CloudHsmClusterId") == "cloud_hsm_cluster_id"
    assert snake_case("XksProxyUriEndpoint") == "xks_proxy_uri_endpoint"


@pytest.mark.parametrize("name", STRUCTURES)
def test_fields_are_the_members(name: str, messages: dict[str, DescriptorProto]) -> None:
    """Nothing is missing, nothing is ours that OUR_FIELDS does not name."""
    shape = STRUCTURES[name]
    members = {snake_case(member) for member in shape.members} if shape is not None else set()
    assert {field.name for field in messages[name].field} == members | OUR_FIELDS.get(name, set())


@pytest.mark.parametrize("name", STRUCTURES)
def test_types_are_the_members(name: str, messages: dict[str, DescriptorProto]) -> None:
    """Blobs are bytes, dates Timestamps, lists repeated, maps maps, enumerations enums."""
    fields = {field.name: field for field in messages[name].field}
    for member, shape in (STRUCTURES[name].members if STRUCTURES[name] is not None else {}).items():
        field = fields[snake_case(member)]
        if shape.type_name == "map":
            assert is_string_map(messages[name], field), field.name
            continue
        repeated = shape.type_name == "list"
        assert (field.label == FieldDescriptorProto.LABEL_REPEATED) == repeated, field.name
        wanted = expected_type(shape.member if repeated else shape)
        assert (field.type, field.type_name) == wanted, field.name


@pytest.mark.parametrize("operation", MODEL.operation_names)
def test_requests_tell_absent_from_empty(operation: str, messages: dict[str, DescriptorProto]) -> None:
    """A scalar has a presence exactly if AWS does not require it."""
    shape = MODEL.operation_model(operation).input_shape
    fields = {field.name: field for field in messages[f"{operation}Request"].field}
    for member, member_shape in (shape.members if shape is not None else {}).items():
        if member_shape.type_name in SCALARS:
            field = fields[snake_case(member)]
            assert field.proto3_optional == (member not in shape.required_members), field.name


def test_enum_values_are_the_models(enums: dict[str, EnumDescriptorProto]) -> None:
    """Each value is the enum's name and AWS's value in upper case, and the zero value is nobody's."""
    wanted: dict[str, set[str]] = {}
    for name in MODEL.shape_names:
        shape = MODEL.shape_for(name)
        if shape.metadata.get("enum") and not name.endswith("Exception"):
            enum = ENUM_OF_SHAPE.get(name, name)
            prefix = upper_snake(enum)
            values = {f"{prefix}_{re.sub('[^A-Za-z0-9]', '_', value).upper()}" for value in shape.enum}
            assert len(values) == len(shape.enum), f"values of {name} fall together"
            wanted.setdefault(enum, {f"{prefix}_UNSPECIFIED"}).update(values)
    assert {name: {value.name for value in enums[name].value} for name in wanted} == wanted
    assert all(enums[name].value[0].name.endswith("_UNSPECIFIED") for name in wanted)
    assert all(enums[name].value[0].number == 0 for name in wanted)


def test_the_deprecated_key_spec_is_a_subset() -> None:
    """CustomerMasterKeySpec may share KeySpec's enum because it has no value of its own."""
    assert set(MODEL.shape_for("CustomerMasterKeySpec").enum) <= set(MODEL.shape_for("KeySpec").enum)


@pytest.mark.parametrize("operation", MODEL.operation_names)
def test_comments_name_the_models_errors(operation: str, rpc_comments: dict[str, dict[str, str]]) -> None:
    """Each exception of the operation's model is in the comment of its rpc, or among the common ones."""
    (comment,) = (said[operation] for said in rpc_comments.values() if operation in said)
    named = set(re.findall(r"\b\w+Exception\b", comment))
    modelled = {shape.name for shape in MODEL.operation_model(operation).error_shapes}
    assert modelled - named - COMMON_ERRORS == set()


def test_comments_mark_what_is_sensitive(files: list[FileDescriptorProto]) -> None:
    """The comment of a field says "Secret." exactly if AWS's model calls the member sensitive."""
    marked = set()
    for file in files:
        said = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        for index, message in enumerate(file.message_type):
            for number, field in enumerate(message.field):
                place = (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, index,
                         DescriptorProto.FIELD_FIELD_NUMBER, number)
                if message.name in STRUCTURES and said[place].rstrip().endswith("Secret."):
                    marked.add(f"{message.name}.{field.name}")
    sensitive = {
        f"{name}.{snake_case(member)}" for name, shape in STRUCTURES.items() if shape is not None
        for member, member_shape in shape.members.items() if member_shape.metadata.get("sensitive")
    }
    assert marked == sensitive - NOT_SECRET


def test_comments_name_no_error_that_does_not_exist(files: list[FileDescriptorProto]) -> None:
    """Every exception named anywhere in the contract is one of the service's vocabulary."""
    known = {error.code() for error in every_error()}
    said = "\n".join(
        text for file in files for place in file.source_code_info.location
        for text in (*place.leading_detached_comments, place.leading_comments)
    )
    assert set(re.findall(r"\b\w+Exception\b", said)) - known == set()
