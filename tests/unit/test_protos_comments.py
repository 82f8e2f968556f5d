"""The contract passes `buf lint`, and everything a reader can meet in it is explained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

PROTOS = Path(__file__).resolve().parents[2] / "protos"
BUF = Path(sys.executable).parent / "buf"
Place = tuple[int, ...]
"""Path of an element in SourceCodeInfo: field numbers of descriptor.proto and indexes, alternating."""


def run_buf(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BUF), *arguments], cwd=PROTOS, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    """Our files as the compiler sees them, with their comments."""
    image = tmp_path_factory.mktemp("image") / "contract.binpb"
    outcome = run_buf("build", "--output", str(image))
    assert outcome.returncode == 0, outcome.stderr
    parsed = FileDescriptorSet.FromString(image.read_bytes())
    return [file for file in parsed.file if file.name.startswith("kagitori/")]


def of_message(message: DescriptorProto, name: str, place: Place) -> Iterator[tuple[str, Place]]:
    yield name, place
    for index, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*place, DescriptorProto.FIELD_FIELD_NUMBER, index)
    # The compiler makes a oneof of every `optional` field and puts those last; nobody writes or reads them.
    synthetic = sum(field.proto3_optional for field in message.field)
    for index, oneof in enumerate(message.oneof_decl[: len(message.oneof_decl) - synthetic]):
        yield f"{name}.{oneof.name}", (*place, DescriptorProto.ONEOF_DECL_FIELD_NUMBER, index)
    for index, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            inner = (*place, DescriptorProto.NESTED_TYPE_FIELD_NUMBER, index)
            yield from of_message(nested, f"{name}.{nested.name}", inner)
    for index, enum in enumerate(message.enum_type):
        inner = (*place, DescriptorProto.ENUM_TYPE_FIELD_NUMBER, index)
        yield from of_enum(enum, f"{name}.{enum.name}", inner)


def of_enum(enum: EnumDescriptorProto, name: str, place: Place) -> Iterator[tuple[str, Place]]:
    yield name, place
    for index, value in enumerate(enum.value):
        yield f"{name}.{value.name}", (*place, EnumDescriptorProto.VALUE_FIELD_NUMBER, index)


def elements(file: FileDescriptorProto) -> Iterator[tuple[str, Place]]:
    """Every element of a file that must be explained: its name and where its comment is to be found."""
    yield file.name, (FileDescriptorProto.SYNTAX_FIELD_NUMBER,)
    for index, message in enumerate(file.message_type):
        yield from of_message(message, message.name, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, index))
    for index, enum in enumerate(file.enum_type):
        yield from of_enum(enum, enum.name, (FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, index))
    for index, service in enumerate(file.service):
        place = (FileDescriptorProto.SERVICE_FIELD_NUMBER, index)
        yield service.name, place
        for number, method in enumerate(service.method):
            inner = (*place, ServiceDescriptorProto.METHOD_FIELD_NUMBER, number)
            yield f"{service.name}.{method.name}", inner


def comments(file: FileDescriptorProto) -> dict[Place, str]:
    """What stands above each element; a header separated by a blank line counts for its file."""
    return {
        tuple(place.path): "".join([*place.leading_detached_comments, place.leading_comments]).strip()
        for place in file.source_code_info.location
    }


def test_buf_lint_is_clean() -> None:
    """The rules chosen in buf.yaml hold."""
    outcome = run_buf("lint")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_files_are_formatted() -> None:
    """The canonical format, so that differences show changes of meaning only."""
    outcome = run_buf("format", "--diff", "--exit-code")
    assert outcome.returncode == 0, outcome.stdout


def test_every_element_has_a_comment(files: list[FileDescriptorProto]) -> None:
    """Files, services, rpcs, messages, fields, oneofs, enums and enum values alike."""
    assert len(files) == len(list(PROTOS.glob("kagitori/**/*.proto")))
    bare = []
    for file in files:
        said = comments(file)
        bare += [f"{file.name}: {name}" for name, place in elements(file) if not said.get(place)]
    assert bare == []


def test_the_walk_finds_what_it_should(files: list[FileDescriptorProto]) -> None:
    """One element of every kind is seen, synthetic ones are not: an empty walk would pass the test above."""
    names = {name for file in files for name, _ in elements(file)}
    assert {
        "kagitori/kms/v1/keys.proto", "KeyService", "KeyService.CreateKey", "CreateKeyRequest",
        "CreateKeyRequest.policy", "BatchSignOutcome.result", "KeySpec", "KeySpec.KEY_SPEC_SM2",
    } <= names
    assert not {"CreateKeyRequest._policy", "EncryptRequest.EncryptionContextEntry"} & names


def test_every_rpc_names_its_permission_and_its_errors(files: list[FileDescriptorProto]) -> None:
    """Each comment of an rpc ends with a line of each kind."""
    silent = []
    for file in files:
        said = comments(file)
        for index, service in enumerate(file.service):
            for number, method in enumerate(service.method):
                place = (FileDescriptorProto.SERVICE_FIELD_NUMBER, index,
                         ServiceDescriptorProto.METHOD_FIELD_NUMBER, number)
                lines = [line.strip() for line in said[place].splitlines()]
                if not all(any(line.startswith(word) for line in lines) for word in ("IAM: ", "Errors: ")):
                    silent.append(f"{service.name}.{method.name}")
    assert silent == []
