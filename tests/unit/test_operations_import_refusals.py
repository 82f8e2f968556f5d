"""What is not imported: tokens, materials, members and keys that are wrong, each with AWS's word for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from tests.support.foreign_keys import ec_key, ec_structure, pkcs8, point, rsa_structure
from tests.support.imports import (
    FOREVER,
    KEY_WRAP,
    USAGES,
    bring,
    external_key,
    material_of,
    materials,
    parameters,
    state,
    wrapped,
)
from tests.support.inprocess import REGIONS, InProcess
from tests.support.kms_calls import ABSENT_ID, DAY, catalog_version, new_key, refused

from kagitori_keystore.algorithms import KeySpec
from kagitori_server.model.errors import (
    ExpiredImportTokenException,
    IncorrectKeyMaterialException,
    InvalidArnException,
    InvalidCiphertextException,
    InvalidImportTokenException,
    KmsError,
    KMSInvalidStateException,
    NotFoundException,
    UnsupportedOperationException,
    ValidationException,
)

SYMMETRIC = "SYMMETRIC_DEFAULT"
HEAD_BYTES = 27


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


def not_imported(
    service: InProcess, error: type[KmsError], key_id: str, members: Mapping[str, Any], **how: Any
) -> KmsError:
    """The exception with which an import is refused that changes nothing."""
    model = {} if "valid_to" in members or "expiration_model" in members else FOREVER
    return refused(service, error, "ImportKeyMaterial", {"key_id": key_id, **members, **model}, **how)


@pytest.mark.parametrize(("algorithm", "size"), [
    ("RSAES_PKCS1_V1_5", "RSA_2048"), ("RSAES_PKCS1_V1_5", "RSA_4096"), ("SM2PKE", "SM2"), ("SM2PKE", "RSA_2048"),
    ("RSAES_OAEP_SHA_256", "SM2"), ("RSA_AES_KEY_WRAP_SHA_256", "SM2"),
])
def test_ways_of_wrapping_that_are_not_served(service: InProcess, algorithm: str, size: str) -> None:
    values = {"key_id": external_key(service), "wrapping_algorithm": algorithm, "wrapping_key_spec": size}
    refused(service, UnsupportedOperationException, "GetParametersForImport", values)


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
@pytest.mark.parametrize(("spec", "sizes"), [
    *((f"RSA_{bits}", ("RSA_2048", "RSA_3072", "RSA_4096")) for bits in (2048, 3072, 4096)),
    ("ECC_NIST_P521", ("RSA_2048",)),
])
def test_ways_of_wrapping_that_can_not_hold_the_key(
    service: InProcess, spec: str, sizes: tuple[str, ...], algorithm: str
) -> None:
    key_id = external_key(service, spec)
    for size in sizes:
        values = {"key_id": key_id, "wrapping_algorithm": algorithm, "wrapping_key_spec": size}
        error = refused(service, UnsupportedOperationException, "GetParametersForImport", values)
        assert "RSA_AES_KEY_WRAP" in error.message


def test_tokens_end_after_a_day(service: InProcess) -> None:
    """Usable as often as wanted until then, and not at that moment."""
    key_id, material = external_key(service), material_of(SYMMETRIC)
    given = parameters(service, key_id)
    members = wrapped(material, given)
    for _ in range(2):
        service.call("ImportKeyMaterial", {"key_id": key_id, **members, **FOREVER})
    service.clock.advance(DAY - 0.01)
    service.call("ImportKeyMaterial", {"key_id": key_id, **wrapped(material, given), **FOREVER})
    service.clock.advance(0.01)
    not_imported(service, ExpiredImportTokenException, key_id, members)


def test_altered_tokens(service: InProcess) -> None:
    """Each byte of the head, and of what is sealed its ends and its middle; cut and lengthened; anything at all."""
    key_id = external_key(service)
    members = wrapped(material_of(SYMMETRIC), parameters(service, key_id))
    token: bytes = members["import_token"]
    places = (*range(HEAD_BYTES), HEAD_BYTES, HEAD_BYTES + 1, HEAD_BYTES + 2, len(token) // 2, len(token) - 1)
    for place in places:
        altered = token[:place] + bytes((token[place] ^ 1,)) + token[place + 1 :]
        ended = int.from_bytes(altered[2:10]) <= service.clock() * 1_000
        error = ExpiredImportTokenException if ended else InvalidImportTokenException
        not_imported(service, error, key_id, {**members, "import_token": altered})
    for other in (token[:-1], token + b"\0", token[:HEAD_BYTES], token[: HEAD_BYTES + 1], b"\0", b"\1",
                  os.urandom(len(token)), os.urandom(6_144)):
        not_imported(service, InvalidImportTokenException, key_id, {**members, "import_token": other})
    assert state(service, key_id) == "PendingImport"


def test_a_token_with_a_longer_life_is_not_genuine(service: InProcess) -> None:
    """Nor with another algorithm, though that one would open the material."""
    key_id = external_key(service)
    members = wrapped(material_of(SYMMETRIC), parameters(service, key_id))
    token: bytes = members["import_token"]
    end = int.from_bytes(token[2:10]) + 3_600_000
    longer = token[:2] + end.to_bytes(8) + token[10:]
    not_imported(service, InvalidImportTokenException, key_id, {**members, "import_token": longer})
    past = token[:2] + int(service.clock() * 1_000).to_bytes(8) + token[10:]
    not_imported(service, ExpiredImportTokenException, key_id, {**members, "import_token": past})
    members = wrapped(material_of(SYMMETRIC), parameters(service, key_id, "RSAES_OAEP_SHA_1"), "RSAES_OAEP_SHA_256")
    token = members["import_token"]
    switched = token[:1] + b"\2" + token[2:]
    not_imported(service, InvalidImportTokenException, key_id, {**members, "import_token": switched})
    not_imported(service, InvalidCiphertextException, key_id, members)


def test_tokens_of_others(service: InProcess) -> None:
    """Of another key, of the same key in another Region, of a key of another account."""
    here = external_key(service, multi_region=True)
    bring(service, here, material_of(SYMMETRIC))
    service.call("ReplicateKey", {"key_id": here, "replica_region": REGIONS[1]})
    mine = wrapped(material_of(SYMMETRIC), parameters(service, here))
    not_imported(service, InvalidImportTokenException, here, mine, region=REGIONS[1])
    there = wrapped(material_of(SYMMETRIC), parameters(service, here, region=REGIONS[1]))
    not_imported(service, InvalidImportTokenException, here, there)
    other = external_key(service)
    not_imported(service, InvalidImportTokenException, other, mine)
    tenant = service.new_account("222233334444")
    foreign = new_key(service, token=tenant, origin="EXTERNAL").key_id
    values = {"key_id": foreign, "wrapping_algorithm": KEY_WRAP, "wrapping_key_spec": "RSA_2048"}
    given = service.call("GetParametersForImport", values, token=tenant)
    not_imported(service, InvalidImportTokenException, other, wrapped(material_of(SYMMETRIC), given))
    assert state(service, other) == "PendingImport"


def test_token_and_key_pair_belong_together(service: InProcess) -> None:
    """Material wrapped under another answer's public key doesn't open."""
    key_id = external_key(service)
    first, second = parameters(service, key_id), parameters(service, key_id)
    assert first.public_key != second.public_key
    members = {**wrapped(material_of(SYMMETRIC), first), "import_token": second.import_token}
    not_imported(service, InvalidCiphertextException, key_id, members)


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256"])
def test_wrapped_material_that_does_not_open(service: InProcess, algorithm: str) -> None:
    """Whatever was done to it: one answer, without words."""
    key_id = external_key(service)
    members = wrapped(material_of(SYMMETRIC), parameters(service, key_id, algorithm), algorithm)
    sealed: bytes = members["encrypted_key_material"]
    for other in (
        bytes((sealed[0] ^ 1,)) + sealed[1:], sealed[:-1] + bytes((sealed[-1] ^ 1,)), sealed[:-1], sealed + b"\0",
        sealed[:-8], sealed[:256] + bytes(8), b"\0", bytes(len(sealed)), b"\xff" * len(sealed), sealed * 2,
        os.urandom(6_144),
    ):
        error = not_imported(service, InvalidCiphertextException, key_id, {**members, "encrypted_key_material": other})
        assert error.message == ""


def _wrong_materials() -> list[tuple[str, str, bytes]]:
    symmetric = [(SYMMETRIC, f"{size} bytes", os.urandom(size)) for size in (1, 16, 24, 31, 33, 64)]
    macs = [
        (f"HMAC_{bits}", f"{size} bytes", os.urandom(size))
        for bits in (224, 256, 384, 512) for size in (bits // 8 - 1, 129)
    ]
    p256 = KeySpec.ECC_NIST_P256
    secret = ec_key(p256, 0).private_numbers().private_value
    curve = [
        ("ECC_NIST_P256", "the public half of another key", ec_structure(p256, secret, public=point(ec_key(p256, 1)))),
        ("ECC_NIST_P256", "a public half off the curve", ec_structure(p256, secret, public=b"\4" + bytes(63) + b"\5")),
        ("ECC_NIST_P256", "no secret", ec_structure(p256, 0)),
        ("ECC_NIST_P256", "a secret beyond the order", ec_structure(p256, 2**256 - 1)),
        ("ECC_NIST_P256", "a curve that contradicts", ec_structure(p256, secret, inner_curve="1.3.132.0.10")),
        ("ECC_NIST_P256", "bytes behind it", pkcs8(ec_key(p256, 0)) + b"\0"),
    ]
    key = load_der_private_key(material_of("RSA_2048"), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    halves = [
        ("RSA_2048", "another modulus", rsa_structure(key, n=numbers.public_numbers.n + 2)),
        ("RSA_2048", "another prime", rsa_structure(key, p=numbers.p + 2)),
        ("RSA_2048", "another exponent", rsa_structure(key, d=numbers.d + 2)),
        ("RSA_2048", "bytes alone", os.urandom(32)),
    ]
    others = {
        spec: material_of(spec) for spec in USAGES if spec not in ("RSA_3072", "RSA_4096") and spec != SYMMETRIC
    }
    crossed = [
        (spec, f"a key of {other}", others[other])
        for spec, other in zip(others, [*list(others)[1:], next(iter(others))], strict=True)
        # Any 28 to 128 bytes are an HMAC key.
        if not (spec.startswith("HMAC") and len(others[other]) <= 128)
    ]
    return [*symmetric, *macs, *curve, *halves, *crossed]


def test_material_that_is_not_one_key_of_the_spec(service: InProcess) -> None:
    """Sizes, kinds, points off the curve, halves that don't belong together."""
    keys: dict[str, tuple[str, Any]] = {}
    for spec, what, material in _wrong_materials():
        if spec not in keys:
            key_id = external_key(service, spec)
            keys[spec] = key_id, parameters(service, key_id)
        key_id, given = keys[spec]
        error = not_imported(service, IncorrectKeyMaterialException, key_id, wrapped(material, given))
        assert error.message == "The key material is not one key of the KMS key's spec.", (spec, what)
    assert {state(service, key_id) for key_id, _ in keys.values()} == {"PendingImport"}


@pytest.mark.parametrize("spec", [SYMMETRIC, "HMAC_256", "ECC_NIST_P256", "RSA_2048", "ML_DSA_44"])
def test_a_key_never_gets_other_material(service: InProcess, spec: str) -> None:
    """There, deleted, expired: what was imported first, and nothing else."""
    key_id = external_key(service, spec)
    bring(service, key_id, material_of(spec))
    given = parameters(service, key_id)
    other = wrapped(material_of(spec, 1), given)
    not_imported(service, IncorrectKeyMaterialException, key_id, other)
    service.call("DeleteImportedKeyMaterial", {"key_id": key_id})
    not_imported(service, IncorrectKeyMaterialException, key_id, other)
    assert state(service, key_id) == "PendingImport"
    service.call("ImportKeyMaterial", {
        "key_id": key_id, **wrapped(material_of(spec), given), "valid_to": service.clock() + 10
    })
    service.clock.advance(10)
    not_imported(service, IncorrectKeyMaterialException, key_id, other)
    bring(service, key_id, material_of(spec))
    assert state(service, key_id) == "Enabled"


@pytest.mark.parametrize(("values", "said"), [
    ({}, "A validTo date must be set"),
    ({"expiration_model": "KEY_MATERIAL_EXPIRES"}, "A validTo date must be set"),
    ({"expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE", "valid_to": DAY}, "ValidTo is only"),
    ({"valid_to": 0.0}, "ValidTo must be"),
    ({"valid_to": -1.0}, "ValidTo must be"),
    ({"valid_to": 365 * DAY + 1.0}, "ValidTo must be"),
    ({"valid_to": DAY, "import_type": "NEW_KEY_MATERIAL", "key_material_id": "0" * 64}, "KeyMaterialId is only"),
    ({"valid_to": DAY, "key_material_id": "0" * 63}, "keyMaterialId"),
    ({"valid_to": DAY, "key_material_id": "g" * 64}, "keyMaterialId"),
    ({"valid_to": DAY, "key_material_description": "x" * 257}, "keyMaterialDescription"),
    ({"valid_to": DAY, "key_material_description": "b\u00fcro"}, "keyMaterialDescription"),
    ({"valid_to": DAY, "import_type": "OLD"}, "importType"),
    ({"valid_to": DAY, "import_token": b""}, "importToken"),
    ({"valid_to": DAY, "encrypted_key_material": bytes(6_145)}, "encryptedKeyMaterial"),
])
def test_members_that_do_not_fit(service: InProcess, values: dict[str, Any], said: str) -> None:
    """`valid_to` is given from now."""
    key_id = external_key(service)
    members = {**wrapped(material_of(SYMMETRIC), parameters(service, key_id)), **values}
    if "valid_to" in members:
        members["valid_to"] += service.clock()
    error = refused(service, ValidationException, "ImportKeyMaterial", {"key_id": key_id, **members})
    assert said in error.message


def test_the_longest_life(service: InProcess) -> None:
    """365 days to the second."""
    key_id = external_key(service)
    bring(service, key_id, material_of(SYMMETRIC), valid_to=service.clock() + 365 * DAY)
    told = service.call("DescribeKey", {"key_id": key_id}).key_metadata
    assert (told.expiration_model, told.valid_to) == ("KEY_MATERIAL_EXPIRES", service.clock() + 365 * DAY)


@pytest.mark.parametrize("member", [
    {"import_type": "NEW_KEY_MATERIAL"}, {"import_type": "EXISTING_KEY_MATERIAL"},
    {"key_material_description": "mine"}, {"key_material_id": "0" * 64},
])
@pytest.mark.parametrize("spec", ["HMAC_512", "ECC_NIST_EDWARDS25519"])
def test_members_for_symmetric_keys_alone(service: InProcess, spec: str, member: dict[str, str]) -> None:
    key_id = external_key(service, spec)
    members = wrapped(material_of(spec), parameters(service, key_id))
    not_imported(service, UnsupportedOperationException, key_id, {**members, **member})


def test_new_and_existing(service: InProcess) -> None:
    """Which of the two material is has to be true."""
    key_id = external_key(service)
    given = parameters(service, key_id)
    first, second = wrapped(material_of(SYMMETRIC), given), wrapped(material_of(SYMMETRIC, 1), given)
    existing = {"import_type": "EXISTING_KEY_MATERIAL"}
    not_imported(service, IncorrectKeyMaterialException, key_id, {**first, **existing})
    not_imported(service, IncorrectKeyMaterialException, key_id, {**first, "key_material_id": "0" * 64})
    new = {"import_type": "NEW_KEY_MATERIAL"}
    one = service.call("ImportKeyMaterial", {"key_id": key_id, **first, **new, **FOREVER}).key_material_id
    not_imported(service, IncorrectKeyMaterialException, key_id, {**first, **new})
    not_imported(service, IncorrectKeyMaterialException, key_id, {**second, **existing})
    not_imported(service, IncorrectKeyMaterialException, key_id, {**second, "key_material_id": one})
    two = service.call("ImportKeyMaterial", {"key_id": key_id, **second, **new, **FOREVER}).key_material_id
    third = wrapped(material_of(SYMMETRIC, 2), given)
    error = not_imported(service, KMSInvalidStateException, key_id, {**third, **new})
    assert f"{two} is pending rotation" in error.message
    not_imported(service, IncorrectKeyMaterialException, key_id, {**second, "key_material_id": one})
    service.call("ImportKeyMaterial", {"key_id": key_id, **second, **existing, "key_material_id": two, **FOREVER})
    assert materials(service, key_id) == {one: ("CURRENT", True), two: ("PENDING_ROTATION", True)}


IMPORTING = ("GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial")


def values_of(operation: str, key_id: str, members: Mapping[str, Any]) -> dict[str, Any]:
    return {"key_id": key_id, **{
        "GetParametersForImport": {"wrapping_algorithm": KEY_WRAP, "wrapping_key_spec": "RSA_2048"},
        "ImportKeyMaterial": {**members, **FOREVER},
        "DeleteImportedKeyMaterial": {},
    }[operation]}


@pytest.mark.parametrize("operation", IMPORTING)
def test_keys_whose_material_is_the_services_own(service: InProcess, operation: str) -> None:
    """Whatever their state; and what is no key."""
    key = new_key(service)
    values = values_of(operation, key.key_id, {"import_token": b"x", "encrypted_key_material": b"x"})
    for change in ("DisableKey", "ScheduleKeyDeletion"):
        error = refused(service, UnsupportedOperationException, operation, values)
        assert error.message == f"{key.arn} origin is AWS_KMS which is not valid for this operation."
        service.call(change, {"key_id": key.key_id})
    refused(service, UnsupportedOperationException, operation, values)
    refused(service, NotFoundException, operation, {**values, "key_id": ABSENT_ID})
    refused(service, InvalidArnException, operation, {**values, "key_id": "alias/x"})


def test_states(service: InProcess) -> None:
    """AWS's key state table: a disabled key takes its material again and stays disabled; one pending deletion takes
    none and may lose it."""
    key_id = external_key(service)
    bring(service, key_id, material_of(SYMMETRIC))
    members = wrapped(material_of(SYMMETRIC), parameters(service, key_id))
    service.call("DisableKey", {"key_id": key_id})
    parameters(service, key_id)
    service.call("ImportKeyMaterial", {"key_id": key_id, **members, **FOREVER})
    assert state(service, key_id) == "Disabled"
    service.call("ScheduleKeyDeletion", {"key_id": key_id})
    for operation in ("GetParametersForImport", "ImportKeyMaterial"):
        error = refused(service, KMSInvalidStateException, operation, values_of(operation, key_id, members))
        assert error.message.endswith("is pending deletion.")
    service.call("DeleteImportedKeyMaterial", {"key_id": key_id})
    assert state(service, key_id) == "PendingDeletion"
    service.call("CancelKeyDeletion", {"key_id": key_id})
    assert state(service, key_id) == "PendingImport"
    for operation in ("EnableKey", "DisableKey", "Encrypt"):
        values = {"key_id": key_id, **({"plaintext": b"x"} if operation == "Encrypt" else {})}
        error = refused(service, KMSInvalidStateException, operation, values)
        assert error.message.endswith("is pending import.")
    bring(service, key_id, material_of(SYMMETRIC))
    assert state(service, key_id) == "Enabled"


def test_material_that_the_key_never_had_can_not_be_deleted(service: InProcess) -> None:
    key_id = external_key(service)
    version = catalog_version(service)
    answer = service.call("DeleteImportedKeyMaterial", {"key_id": key_id})
    assert (answer.key_id.rpartition("/")[2], answer.key_material_id) == (key_id, None)
    assert state(service, key_id) == "PendingImport"
    assert catalog_version(service) > version
    refused(
        service, NotFoundException, "DeleteImportedKeyMaterial", {"key_id": key_id, "key_material_id": "0" * 64}
    )
