"""Encrypt, Decrypt, ReEncrypt: contexts, ciphertexts, keys, dry runs, accounts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess
from tests.support.kms_calls import (
    ABSENT_ID,
    OTHER,
    THIRD,
    alias_arn,
    delegating,
    encrypt,
    identity_policy,
    key_arn,
    last_record,
    new_key,
    refused,
    root,
    statement,
)

from kagitori_server.model.encryption_context import MAX_BYTES
from kagitori_server.model.errors import (
    AccessDeniedException,
    DisabledException,
    DryRunOperationException,
    IncorrectKeyException,
    InvalidCiphertextException,
    InvalidKeyUsageException,
    KmsError,
    NotFoundException,
    SerializationException,
    ValidationException,
)
from kagitori_server.operations.resolve import UNREADABLE
from kagitori_server.operations.shapes.keys import KeyMetadata

SECRET = b"attack at dawn"
WRONG_KEY = "The key ID in the request does not identify a CMK that can perform this operation."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that only look at keys of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


@pytest.fixture(scope="module")
def key(service: InProcess) -> KeyMetadata:
    """A key that no test changes."""
    return new_key(service)


@pytest.fixture(scope="module")
def other(service: InProcess) -> KeyMetadata:
    """Another."""
    return new_key(service)


def _decrypt(service: InProcess, blob: bytes, **values: Any) -> bytes:
    plaintext = service.call("Decrypt", {"ciphertext_blob": blob, **values}).plaintext
    assert isinstance(plaintext, bytes)
    return plaintext


@pytest.mark.parametrize("size", [1, 2, 4095, 4096])
def test_there_and_back(service: InProcess, key: KeyMetadata, size: int) -> None:
    """Every answer's members; the blob is within its limit and never the same twice."""
    plaintext = bytes(range(256)) * 16
    answer = service.call("Encrypt", {"key_id": key.key_id, "plaintext": plaintext[:size]})
    assert (answer.key_id, answer.encryption_algorithm) == (key.arn, "SYMMETRIC_DEFAULT")
    assert len(answer.ciphertext_blob) <= 6144
    assert answer.ciphertext_blob != encrypt(service, key.key_id, plaintext[:size])
    opened = service.call("Decrypt", {"ciphertext_blob": answer.ciphertext_blob})
    assert (opened.plaintext, opened.key_id) == (plaintext[:size], key.arn)
    assert (opened.encryption_algorithm, opened.key_material_id) == (
        "SYMMETRIC_DEFAULT", key.current_key_material_id
    )


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"plaintext": b""}, ValidationException, "'plaintext'"), ({"plaintext": None}, ValidationException, ""),
        ({"plaintext": b"x" * 4097}, ValidationException, "4096"), ({"plaintext": "x"}, SerializationException, ""),
        ({"encryption_algorithm": "RSAES_OAEP_SHA_1"}, InvalidKeyUsageException, "RSAES_OAEP_SHA_1"),
        ({"encryption_algorithm": "RSAES_OAEP_SHA_256"}, InvalidKeyUsageException, ""),
        ({"encryption_algorithm": "SM2PKE"}, InvalidKeyUsageException, ""),
        ({"encryption_algorithm": "ROT13"}, ValidationException, "'encryptionAlgorithm'"),
        ({"grant_tokens": ["t"] * 11}, ValidationException, "'grantTokens'"),
        ({"grant_tokens": ["t" * 8193]}, ValidationException, "'grantTokens.1.member'"),
        ({"encryption_context": {"": "v"}}, ValidationException, "must not be empty"),
        ({"encryption_context": {"k\x00": "v"}}, ValidationException, "U+0000"),
        ({"encryption_context": {"k": "\x00"}}, ValidationException, "U+0000"),
        ({"encryption_context": {"k": "\udfff"}}, SerializationException, ""),
        ({"encryption_context": {"k": 1}}, SerializationException, ""),
        ({"encryption_context": ["k"]}, SerializationException, ""),
        ({"encryption_context": {"k": "x" * (MAX_BYTES - 12)}}, ValidationException, f"at most {MAX_BYTES}"),
        ({"encryption_context": {str(n): "" for n in range(100_000)}}, ValidationException, "or equal to 1000"),
        ({"dry_run": "yes"}, SerializationException, ""),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_encrypt_refuses(
    service: InProcess, key: KeyMetadata, values: dict[str, Any], error: type[KmsError], text: str, dry_run: bool
) -> None:
    """Each limit just beyond its edge, in earnest and as a dry run; the secret is never repeated."""
    whole = {"key_id": key.key_id, "plaintext": SECRET, "dry_run": dry_run} | values
    message = refused(service, error, "Encrypt", whole).message
    assert text in message
    assert "x" * 20 not in message


def test_the_longest_context(service: InProcess, key: KeyMetadata) -> None:
    """Exactly the limit passes."""
    context = {"k": "x" * (MAX_BYTES - 13)}
    blob = encrypt(service, key.key_id, encryption_context=context)
    assert _decrypt(service, blob, encryption_context=context) == SECRET


CONTEXTS: list[dict[str, str]] = [
    {}, {"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, {"a": "b"}, {"A": "bc"}, {"a": "BC"}, {"a": "bc", "d": ""},
    {"a": ""}, {"abc": ""}, {"\u00e9": "\u00e9"}, {"e\u0301": "e\u0301"}, {"\u9375": "\U0001f511"},
    {"a": "bc "}, {" a": "bc"}, {"a": "b\nc"}, {"a\x01": "bc"},
]


@pytest.mark.parametrize("number", range(len(CONTEXTS)))
def test_a_context_fits_only_itself(service: InProcess, key: KeyMetadata, number: int) -> None:
    """Neither shifted, nor cut, nor in other capitals, nor normalised, nor left out."""
    mine = CONTEXTS[number]
    blob = encrypt(service, key.key_id, encryption_context=mine)
    for context in CONTEXTS:
        if context == mine:
            assert _decrypt(service, blob, encryption_context=context) == SECRET
        else:
            error = refused(service, InvalidCiphertextException, "Decrypt",
                            {"ciphertext_blob": blob, "encryption_context": context})
            assert error.message == ""


def test_the_order_of_a_context_does_not_matter(service: InProcess, key: KeyMetadata) -> None:
    """The same pairs are the same context; none and empty are too."""
    pairs = {"b": "2", "a": "1", "\u00e9": "3", "aa": "4"}
    blob = encrypt(service, key.key_id, encryption_context=pairs)
    assert _decrypt(service, blob, encryption_context=dict(reversed(pairs.items()))) == SECRET
    assert _decrypt(service, encrypt(service, key.key_id), encryption_context={}) == SECRET
    assert _decrypt(service, encrypt(service, key.key_id, encryption_context={})) == SECRET


def test_every_class_of_bytes_of_a_ciphertext(service: InProcess, key: KeyMetadata, other: KeyMetadata) -> None:
    """One bit anywhere, one byte more or less, parts of another: never anything but a refusal."""
    while (blob := encrypt(service, key.key_id))[3] in (1, 2):
        # Without its first byte it would be that of a key which isn't there, as the id begins like a form.
        key = new_key(service)
    foreign = encrypt(service, other.key_id)
    places = {"version": 0, "kind": 1, "form": 2, "key id": 3, "material": 19, "nonce": 51, "ciphertext": 75,
              "tag": len(blob) - 1}
    for name, place in places.items():
        for bit in (0, 7):
            changed = bytearray(blob)
            changed[place] ^= 1 << bit
            expected = AccessDeniedException if name == "key id" else InvalidCiphertextException
            error = refused(service, expected, "Decrypt", {"ciphertext_blob": bytes(changed)})
            assert error.message == (UNREADABLE if name == "key id" else "")
            for named in (key.key_id, key.arn):
                named_error = IncorrectKeyException if name == "key id" else InvalidCiphertextException
                refused(service, named_error, "Decrypt", {"ciphertext_blob": bytes(changed), "key_id": named})
    for broken in (blob[:-1], blob + b"\x00", blob[1:], blob[:51], blob[:75], blob[:91], b"\x00", b"\x01" * 6144,
                   foreign[:51] + blob[51:], blob[:51] + foreign[51:], blob[:19] + foreign[19:], blob * 2):
        refused(service, InvalidCiphertextException, "Decrypt", {"ciphertext_blob": broken})
    assert _decrypt(service, blob) == SECRET


@pytest.mark.parametrize("flip", range(51, 51 + 24 + len(SECRET) + 16))
def test_every_byte_of_the_sealed_part(service: InProcess, key: KeyMetadata, flip: int) -> None:
    """No byte of nonce, ciphertext or tag may change."""
    changed = bytearray(encrypt(service, key.key_id))
    changed[flip] ^= 0x10
    refused(service, InvalidCiphertextException, "Decrypt", {"ciphertext_blob": bytes(changed)})


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"ciphertext_blob": b""}, ValidationException, "'ciphertextBlob'"),
        ({"ciphertext_blob": b"x" * 6145}, ValidationException, "6144"),
        ({"ciphertext_blob": b"x" * 6144}, InvalidCiphertextException, ""),
        ({"ciphertext_blob": None}, ValidationException, ""),
        ({"recipient": {"attestation_document": b"x"}}, ValidationException, "KeyEncryptionAlgorithm"),
        ({"recipient": {"attestation_document": b""}}, ValidationException, "'recipient.attestationDocument'"),
        ({"recipient": {"key_encryption_algorithm": "X"}}, ValidationException, ""),
        ({"encryption_algorithm": "RSAES_OAEP_SHA_256"}, InvalidKeyUsageException, ""),
        ({"key_id": ""}, ValidationException, "'keyId'"), ({"key_id": ABSENT_ID}, NotFoundException, ""),
        ({"key_id": "alias/absent"}, NotFoundException, "is not found"),
        ({"dry_run_modifiers": ["IGNORE_CIPHERTEXT"]}, ValidationException, ""),
        ({"dry_run_modifiers": ["MAYBE"]}, ValidationException, "'dryRunModifiers.1.member'"),
        ({"dry_run_modifiers": ["IGNORE_CIPHERTEXT"], "dry_run": True}, ValidationException, "must name its key"),
    ],
)
def test_what_decrypt_refuses(
    service: InProcess, key: KeyMetadata, values: dict[str, Any], error: type[KmsError], text: str
) -> None:
    """Limits, and parameters that make no sense together."""
    whole = {"ciphertext_blob": encrypt(service, key.key_id)} | values
    assert text in refused(service, error, "Decrypt", whole).message


def test_the_key_may_be_named_and_must_fit(service: InProcess, key: KeyMetadata, other: KeyMetadata) -> None:
    """In all four ways; another key of the caller's is the incorrect one."""
    blob = encrypt(service, key.key_id)
    for name, target in (("alias/right", key), ("alias/wrong", other)):
        service.call("CreateAlias", {"alias_name": name, "target_key_id": target.key_id})
    for name in (key.key_id, key.arn, "alias/right", alias_arn("alias/right")):
        assert _decrypt(service, blob, key_id=name) == SECRET
        assert last_record(service)["requestParameters"]["keyId"] == name
    for name in (other.key_id, other.arn, "alias/wrong", alias_arn("alias/wrong")):
        values = {"ciphertext_blob": blob, "key_id": name}
        assert refused(service, IncorrectKeyException, "Decrypt", values).message == WRONG_KEY
        values = {"ciphertext_blob": blob, "source_key_id": name, "destination_key_id": key.key_id}
        assert refused(service, IncorrectKeyException, "ReEncrypt", values).message == WRONG_KEY


def test_records_of_decrypt(service: InProcess, key: KeyMetadata) -> None:
    """The key is a resource whether it was named or not; the member keyId only if it was."""
    blob = encrypt(service, key.key_id, encryption_context={"Tenant_Id": "t1", "b": "\u9375"})
    _decrypt(service, blob, encryption_context={"Tenant_Id": "t1", "b": "\u9375"})
    record = last_record(service)
    assert record["requestParameters"] == {
        "encryptionAlgorithm": "SYMMETRIC_DEFAULT", "encryptionContext": {"Tenant_Id": "t1", "b": "\u9375"}
    }
    assert record["resources"] == [{"accountId": HOME, "type": "AWS::KMS::Key", "ARN": key.arn}]
    assert record["additionalEventData"] == {"keyMaterialId": key.current_key_material_id}
    assert (record["readOnly"], record["responseElements"]) == (True, None)


def test_permission_is_asked_for_the_key_that_made_the_ciphertext(
    service: InProcess, key: KeyMetadata, other: KeyMetadata
) -> None:
    """Being allowed on one key opens nothing of another, named or not."""
    token = service.new_user("one-key", policies={"p": identity_policy("kms:Decrypt", resource=other.arn)})
    blob = encrypt(service, key.key_id)
    error = refused(service, AccessDeniedException, "Decrypt", {"ciphertext_blob": blob}, token=token)
    assert f"on resource: {key.arn} because" in error.message
    # It may use `other`, and hears that the ciphertext isn't of it, nothing about `key`.
    values = {"ciphertext_blob": blob, "key_id": other.key_id}
    refused(service, IncorrectKeyException, "Decrypt", values, token=token)
    service.call("Decrypt", {"ciphertext_blob": encrypt(service, other.key_id)}, token=token)


def test_a_ciphertext_of_another_region_or_of_nobody(service: InProcess) -> None:
    """It refers to a key that isn't here, or that may not be used: nobody hears which."""
    elsewhere = new_key(service, region="eu-west-1")
    wanted = {"key_id": elsewhere.key_id, "plaintext": SECRET}
    blob = service.call("Encrypt", wanted, region="eu-west-1").ciphertext_blob
    service.new_account("888888888888")
    stranger = service.new_token(root("888888888888"))
    here = encrypt(service, new_key(service).key_id)
    nowhere = here[:3] + bytes(16) + here[19:]
    for ciphertext, token in ((blob, None), (nowhere, None), (here, stranger), (nowhere, stranger)):
        values = {"ciphertext_blob": ciphertext}
        assert refused(service, AccessDeniedException, "Decrypt", values, token=token).message == UNREADABLE
        assert "resources" not in last_record(service)
        moved = values | {"destination_key_id": elsewhere.arn}
        assert refused(service, AccessDeniedException, "ReEncrypt", moved, token=token).message == UNREADABLE


# --- ReEncrypt ----------------------------------------------------------------------------------------------


def test_re_encryption(service: InProcess, key: KeyMetadata, other: KeyMetadata) -> None:
    """From key to key and context to context; to the same key too. Both keys are recorded, source first."""
    blob = encrypt(service, key.key_id, encryption_context={"a": "1"})
    for target in (other, key):
        answer = service.call("ReEncrypt", {
            "ciphertext_blob": blob, "source_encryption_context": {"a": "1"}, "destination_key_id": target.arn,
            "destination_encryption_context": {"b": "2"},
        })
        assert (answer.source_key_id, answer.key_id) == (key.arn, target.arn)
        assert answer.source_key_material_id == key.current_key_material_id
        assert answer.destination_key_material_id == target.current_key_material_id
        assert answer.ciphertext_blob != blob
        assert _decrypt(service, answer.ciphertext_blob, encryption_context={"b": "2"}) == SECRET
        record = last_record(service)
        record = service.records()[-2]
        assert record["requestParameters"] == {
            "sourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT", "sourceEncryptionContext": {"a": "1"},
            "destinationKeyId": target.arn, "destinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "destinationEncryptionContext": {"b": "2"},
        }
        assert [resource["ARN"] for resource in record["resources"]] == [key.arn, target.arn]
        assert record["additionalEventData"] == {
            "sourceKeyMaterialId": key.current_key_material_id,
            "destinationKeyMaterialId": target.current_key_material_id,
        }


def test_re_encryption_of_the_longest_plaintext(service: InProcess, key: KeyMetadata, other: KeyMetadata) -> None:
    """What Encrypt takes, ReEncrypt takes too."""
    blob = encrypt(service, key.key_id, b"z" * 4096)
    made = service.call("ReEncrypt", {"ciphertext_blob": blob, "destination_key_id": other.key_id})
    assert _decrypt(service, made.ciphertext_blob) == b"z" * 4096


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"destination_key_id": None}, ValidationException), ({"destination_key_id": ABSENT_ID}, NotFoundException),
        ({"destination_key_id": "alias/absent"}, NotFoundException),
        ({"source_key_id": ABSENT_ID}, NotFoundException), ({"ciphertext_blob": None}, ValidationException),
        ({"ciphertext_blob": b"\x00"}, InvalidCiphertextException),
        ({"source_encryption_context": {"x": "y"}}, InvalidCiphertextException),
        ({"source_encryption_context": {"": "y"}}, ValidationException),
        ({"destination_encryption_context": {"": "y"}}, ValidationException),
        ({"source_encryption_algorithm": "SM2PKE"}, InvalidKeyUsageException),
        ({"destination_encryption_algorithm": "SM2PKE"}, InvalidKeyUsageException),
        ({"dry_run_modifiers": ["IGNORE_CIPHERTEXT"]}, ValidationException),
        ({"dry_run_modifiers": ["IGNORE_CIPHERTEXT"], "dry_run": True}, ValidationException),
    ],
)
def test_what_re_encrypt_refuses(
    service: InProcess, key: KeyMetadata, other: KeyMetadata, values: dict[str, Any], error: type[KmsError]
) -> None:
    """Each side has its own limits."""
    whole = {"ciphertext_blob": encrypt(service, key.key_id), "destination_key_id": other.key_id} | values
    refused(service, error, "ReEncrypt", whole)


def test_re_encryption_needs_both_permissions(service: InProcess, key: KeyMetadata, other: KeyMetadata) -> None:
    """From on the source, To on the destination; the other way round is nothing."""
    values = {"ciphertext_blob": encrypt(service, key.key_id), "destination_key_id": other.key_id}
    half = {
        "from": (identity_policy("kms:ReEncryptFrom"), f"kms:ReEncryptTo on resource: {other.arn}"),
        "to": (identity_policy("kms:ReEncryptTo"), f"kms:ReEncryptFrom on resource: {key.arn}"),
        "swapped": (identity_policy("kms:ReEncryptTo", "kms:ReEncryptFrom", resource=key.arn),
                    f"kms:ReEncryptTo on resource: {other.arn}"),
        "neither": (identity_policy("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt"),
                    f"kms:ReEncryptFrom on resource: {key.arn}"),
    }
    for name, (policy, text) in half.items():
        token = service.new_user(f"re-{name}", policies={"p": policy})
        assert text in refused(service, AccessDeniedException, "ReEncrypt", values, token=token).message
        dry = values | {"dry_run": True}
        assert text in refused(service, AccessDeniedException, "ReEncrypt", dry, token=token).message
    token = service.new_user("re-both", policies={
        "p": identity_policy("kms:ReEncryptFrom", resource=key.arn),
        "q": identity_policy("kms:ReEncryptTo", resource=other.arn),
    })
    service.call("ReEncrypt", values, token=token)


# --- dry runs -----------------------------------------------------------------------------------------------

WOULD = "The request would have succeeded, but the DryRun option is set."


def _dry_requests(key: KeyMetadata, blob: bytes) -> dict[str, dict[str, Any]]:
    return {
        "Encrypt": {"key_id": key.key_id, "plaintext": SECRET},
        "Decrypt": {"ciphertext_blob": blob},
        "ReEncrypt": {"ciphertext_blob": blob, "destination_key_id": key.key_id},
        "GenerateDataKey": {"key_id": key.key_id, "key_spec": "AES_256"},
        "GenerateDataKeyWithoutPlaintext": {"key_id": key.key_id, "number_of_bytes": 5},
    }


@pytest.mark.parametrize("operation", ["Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey",
                                       "GenerateDataKeyWithoutPlaintext"])
def test_dry_runs(service: InProcess, operation: str) -> None:
    """Allowed: would have succeeded. Not allowed, disabled, wrong: as in earnest. Always recorded."""
    key = new_key(service)
    values = _dry_requests(key, encrypt(service, key.key_id))[operation] | {"dry_run": True}
    assert refused(service, DryRunOperationException, operation, values).message == WOULD
    record = last_record(service)
    assert (record["errorCode"], record["errorMessage"]) == ("DryRunOperationException", WOULD)
    assert key.arn in {resource["ARN"] for resource in record["resources"]}
    nobody = service.new_user(f"dry-{operation}")
    refused(service, AccessDeniedException, operation, values, token=nobody)
    service.call("DisableKey", {"key_id": key.key_id})
    refused(service, DisabledException, operation, values)


def test_a_dry_run_tells_whether_the_ciphertext_would_open(
    service: InProcess, key: KeyMetadata, other: KeyMetadata
) -> None:
    """A tampered ciphertext, a wrong context or key fails as it would; IGNORE_CIPHERTEXT asks for permission only."""
    blob = encrypt(service, key.key_id, encryption_context={"a": "b"})
    tampered = blob[:-1] + bytes([blob[-1] ^ 1])
    for operation, named, prefix in (("Decrypt", "key_id", ""), ("ReEncrypt", "source_key_id", "source_")):
        more = {} if operation == "Decrypt" else {"destination_key_id": other.key_id}
        context = {f"{prefix}encryption_context": {"a": "b"}}
        base: dict[str, Any] = {**more, **context, "dry_run": True}
        refused(service, DryRunOperationException, operation, base | {"ciphertext_blob": blob})
        refused(service, InvalidCiphertextException, operation, base | {"ciphertext_blob": tampered})
        wrong = base | {"ciphertext_blob": blob, f"{prefix}encryption_context": {"a": "c"}}
        refused(service, InvalidCiphertextException, operation, wrong)
        refused(service, IncorrectKeyException, operation, base | {"ciphertext_blob": blob, named: other.key_id})
        lax = base | {"dry_run_modifiers": ["IGNORE_CIPHERTEXT"], named: key.key_id}
        for ciphertext in ({}, {"ciphertext_blob": tampered}, {"ciphertext_blob": b"junk"}):
            refused(service, DryRunOperationException, operation, lax | ciphertext)
        nobody = service.new_user(f"lax-{operation}")
        refused(service, AccessDeniedException, operation, lax, token=nobody)


# --- other accounts -----------------------------------------------------------------------------------------


def test_both_sides_must_allow(service: InProcess) -> None:
    """A foreign key opens to whom its policy and the caller's own account admit, by ARN and by ciphertext."""
    service.new_account(OTHER)
    guest = service.new_user("guest", account=OTHER, policies={"p": ALLOW_ALL})
    powerless = service.new_user("powerless", account=OTHER)
    shared = new_key(service, policy=delegating(statement(root(OTHER), "kms:Encrypt", "kms:Decrypt")))
    blob = service.call("Encrypt", {"key_id": shared.arn, "plaintext": SECRET}, token=guest).ciphertext_blob
    for values in ({"ciphertext_blob": blob}, {"ciphertext_blob": blob, "key_id": shared.arn}):
        assert service.call("Decrypt", values, token=guest).plaintext == SECRET
        refused(service, AccessDeniedException, "Decrypt", values, token=powerless)
    refused(service, NotFoundException, "Decrypt", {"ciphertext_blob": blob, "key_id": shared.key_id}, token=guest)
    values = {"key_id": shared.arn, "number_of_bytes": 4}
    refused(service, AccessDeniedException, "GenerateDataKey", values, token=guest)
    assert _decrypt(service, blob) == SECRET
    service.call("PutKeyPolicy", {"key_id": shared.key_id, "policy": delegating()})
    error = refused(service, AccessDeniedException, "Decrypt", {"ciphertext_blob": blob}, token=guest)
    assert error.message == UNREADABLE


def test_re_encryption_between_accounts(service: InProcess) -> None:
    """Each foreign key's account has its copy; whether a destination exists isn't told."""
    service.new_account(THIRD)
    third = service.new_token(root(THIRD))
    service.new_account("555555555555")
    caller = service.new_user("go-between", account="555555555555", policies={"p": ALLOW_ALL})
    admitting = statement(root("555555555555"), "kms:*")
    source = new_key(service, policy=delegating(admitting))
    target = new_key(service, token=third, policy=delegating(admitting, account=THIRD))
    closed = new_key(service, token=third)
    before = len(service.records())
    blob = encrypt(service, source.key_id)
    values = {"ciphertext_blob": blob, "destination_key_id": target.arn}
    service.call("ReEncrypt", values, token=caller)
    records = service.records()[before + 1:]
    assert [record["recipientAccountId"] for record in records] == ["555555555555", HOME, THIRD]
    assert len({record["sharedEventID"] for record in records}) == 1
    assert len({record["eventID"] for record in records}) == 3
    texts = {
        refused(service, AccessDeniedException, "ReEncrypt", values | {"destination_key_id": name}, token=caller)
        .message.replace(name, "NAME")
        for name in (closed.arn, key_arn(ABSENT_ID, account=THIRD), alias_arn("alias/no", account=THIRD))
    }
    assert len(texts) == 1
    assert "kms:ReEncryptTo on resource: NAME" in texts.pop()
