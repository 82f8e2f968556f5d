"""ARNs, key ids, alias names, encryption contexts, states, and the vocabulary of failures."""

from __future__ import annotations

import botocore.session
import pytest

from kagitori_server.model import errors
from kagitori_server.model.arn import (
    ReferenceKind,
    check_new_alias_name,
    parse_key_reference,
    shortened,
)
from kagitori_server.model.encryption_context import EMPTY, MAX_BYTES, canonical
from kagitori_server.model.errors import (
    InvalidAliasNameException,
    InvalidArnException,
    KmsError,
    NotFoundException,
    ValidationException,
)

UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"
MRK = "mrk-" + "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("text", "kind", "name", "account", "region"),
    [
        (UUID, ReferenceKind.KEY_ID, UUID, None, None), (MRK, ReferenceKind.KEY_ID, MRK, None, None),
        (f"arn:aws:kms:r-1:123456789012:key/{UUID}", ReferenceKind.KEY_ARN, UUID, "123456789012", "r-1"),
        (f"arn:aws:kms:r-1:123456789012:key/{MRK}", ReferenceKind.KEY_ARN, MRK, "123456789012", "r-1"),
        ("alias/a:/_-Z", ReferenceKind.ALIAS_NAME, "alias/a:/_-Z", None, None),
        ("alias/aws/s3", ReferenceKind.ALIAS_NAME, "alias/aws/s3", None, None),
        ("arn:aws:kms:r-1:123456789012:alias/a/b", ReferenceKind.ALIAS_ARN, "alias/a/b", "123456789012", "r-1"),
    ],
)
def test_references(text: str, kind: ReferenceKind, name: str, account: str | None, region: str | None) -> None:
    """The four forms, told apart."""
    found = parse_key_reference(text, "aws", alias_allowed=True)
    assert (found.kind, found.name, found.account, found.region) == (kind, name, account, region)
    assert found.is_alias is name.startswith("alias/")
    if found.is_alias:
        with pytest.raises(InvalidArnException, match="names an alias"):
            parse_key_reference(text, "aws", alias_allowed=False)
    else:
        assert parse_key_reference(text, "aws", alias_allowed=False) == found


@pytest.mark.parametrize(
    "text",
    ["", "x", UUID.upper(), UUID[:-1], UUID + "0", UUID.replace("-", ""), f"{{{UUID}}}", f"{UUID}\n", "\n" + UUID,
     "mrk-" + "0" * 31, "mrk-" + "0" * 33, "MRK-" + "0" * 32, "mrk-" + "g" * 32, f"key/{UUID}", "alias", "Alias/x",
     UUID[:-1] + "\u0661", "ARN:aws:kms:r:123456789012:key/" + UUID, " arn:aws:kms:r:123456789012:key/" + UUID],
)
def test_texts_that_name_no_key(text: str) -> None:
    """AWS's answer to what can't be an id."""
    with pytest.raises(NotFoundException, match="Invalid keyId"):
        parse_key_reference(text, "aws", alias_allowed=True)


@pytest.mark.parametrize("text", ["alias/", "alias/a b", "alias/\u00e9", "alias/a\n", "alias/" + "x" * 251, "alias/a*"])
def test_texts_that_name_no_alias(text: str) -> None:
    """Not found, whatever is wrong with it."""
    with pytest.raises(NotFoundException, match="is not found"):
        parse_key_reference(text, "aws", alias_allowed=True)


@pytest.mark.parametrize(
    "text",
    ["arn:", "arn:aws", f"arn:aws:kms:r-1:123456789012:{UUID}", f"arn:aws:kms:r-1:12345678901:key/{UUID}",
     f"arn:aws:kms:r-1::key/{UUID}", f"arn:aws:kms::123456789012:key/{UUID}", f"arn::kms:r:123456789012:key/{UUID}",
     f"arn:aws:kms:R-1:123456789012:key/{UUID}", f"arn:aws:kms:r-1:123456789012:key/{UUID}/x",
     f"arn:aws:kms:r-1:123456789012:key/{UUID}\n", f"arn:aws:kms:r-1:123456789012:key/{UUID.upper()}",
     "arn:aws:kms:r-1:123456789012:key/*", f"arn:aws:kms:*:123456789012:key/{UUID}",
     "arn:aws:kms:r-1:123456789012:alias/",
     f"arn:aws:kms:r-1:12345678901\u0661:key/{UUID}", f"arn:aws-cn:kms:r-1:123456789012:key/{UUID}",
     f"arn:azure:kms:r-1:123456789012:key/{UUID}", f"arn:aws:iam::123456789012:key/{UUID}",
     f"arn:aws:kms:{'r' * 64}:123456789012:key/{UUID}", "arn:aws:kms:r-1:123456789012:alias/" + "x" * 251],
)
def test_malformed_arns(text: str) -> None:
    """Any part that isn't exactly right."""
    with pytest.raises(InvalidArnException, match="Invalid arn"):
        parse_key_reference(text, "aws", alias_allowed=True)


def test_messages_repeat_little_and_nothing_strange() -> None:
    """Of a caller's text at most 128 characters, printable ones."""
    assert shortened("a" * 128) == "a" * 128
    assert shortened("a" * 129) == "a" * 128 + "..."
    assert shortened("a\nb\x1b[31m\u202e\ud800") == "a\ufffdb\ufffd[31m\ufffd\ufffd"
    with pytest.raises(NotFoundException) as caught:
        parse_key_reference("x\r\nSet-Cookie: a" * 100, "aws", alias_allowed=True)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("name", ["", "x", "alias", "Alias/x", "alias/", "alias/aws/x", "alias/aWs/", "alias/a b",
                                  "alias/" + "x" * 251, "alias/x\n"])
def test_new_alias_names(name: str) -> None:
    """Prefix, reserved names, characters, length."""
    with pytest.raises(InvalidAliasNameException):
        check_new_alias_name(name)
    check_new_alias_name("alias/" + "x" * 250)
    check_new_alias_name("alias/aws-x")


def test_the_canonical_context() -> None:
    """Exactly the bytes that its docstring draws; order is that of the UTF-8 bytes."""
    assert canonical(None) == canonical({}) == EMPTY == bytes(4)
    assert canonical({"a": "bc"}) == bytes.fromhex("00000001" "00000001" "61" "00000002" "6263")
    assert canonical({"b": "", "a": "\u00e9"}) == bytes.fromhex(
        "00000002" "00000001" "61" "00000002" "c3a9" "00000001" "62" "00000000"
    )
    # U+FFEE sorts before U+1F511 in UTF-8, after it in UTF-16.
    assert canonical({"\U0001f511": "", "\uffee": ""}).index("\uffee".encode()) == 8
    assert canonical({"b": "1", "a": "2"}) == canonical({"a": "2", "b": "1"})


def test_contexts_that_are_refused() -> None:
    """Too large by one byte, an empty key, text that isn't Unicode."""
    assert len(canonical({"k": "x" * (MAX_BYTES - 13)})) == MAX_BYTES
    for context in ({"k": "x" * (MAX_BYTES - 12)}, {"": "x"}, {"": "", "a": ""}, {"k": "\ud800"}, {"\udfff": ""}):
        with pytest.raises(ValidationException):
            canonical(context)


def test_the_vocabulary_is_the_model_s() -> None:
    """Every exception that AWS's model names is there, under its name, and says whose fault it is as AWS does."""
    model = botocore.session.get_session().get_component("data_loader").load_service_model("kms", "service-2")
    theirs = {name: shape.get("fault", False) for name, shape in model["shapes"].items() if shape.get("exception")}
    ours = {error.code(): error.server_fault for error in errors.every_error()}
    assert {name: ours[name] for name in theirs} == theirs
    extra = ours.keys() - theirs.keys()
    assert extra == {
        "AccessDeniedException", "ValidationException", "SerializationException", "RequestEntityTooLargeException",
        "UnknownOperationException", "ThrottlingException", "MissingAuthenticationTokenException",
        "IncompleteSignatureException", "InvalidSignatureException", "UnrecognizedClientException",
        "ExpiredTokenException", "NoSuchEntityException", "EntityAlreadyExistsException", "DeleteConflictException",
    }


def test_messages_are_what_was_given() -> None:
    """By default none; text and time to retry are kept."""
    for error in errors.every_error():
        made = error() if error is errors.DryRunOperationException else error("text", retry_after=2.0)
        assert isinstance(made, KmsError)
        assert str(made) == made.message
    assert errors.InvalidCiphertextException().message == ""
