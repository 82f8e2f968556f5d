"""Which attestation documents are believed, and the enumerated reasons why all others are not."""

from __future__ import annotations

import hashlib

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.attestations import (
    MODULE,
    NOW,
    PCR0,
    Change,
    Fields,
    drop,
    enclave_key,
    hypervisor,
    put,
    refused,
    spki,
    verify,
)

from kagitori_server.attestation import (
    AWS_NITRO_ROOT_PEM,
    Attestation,
    AttestationFault,
    AttestationRefused,
    AttestationVerifier,
    Platform,
    read_roots,
)
from kagitori_server.attestation.roots import AWS_NITRO_ROOT_SHA256

MALFORMED = AttestationFault.MALFORMED
ALGORITHM = AttestationFault.ALGORITHM
CHAIN = AttestationFault.CHAIN
EXPIRED = AttestationFault.EXPIRED
SIGNATURE = AttestationFault.SIGNATURE
STALE = AttestationFault.STALE
PUBLIC_KEY = AttestationFault.PUBLIC_KEY

# Accepted


def test_an_enclave_is_believed() -> None:
    attestation = verify(hypervisor().document())
    assert attestation == Attestation(
        platform=Platform.NITRO_ENCLAVE,
        module_id=MODULE,
        issued_at=NOW,
        pcrs={0: PCR0.hex(), 1: "00" * 48, 15: bytes(reversed(PCR0)).hex()},
        public_key=spki(enclave_key()),
        user_data=None,
        nonce=b"nonce",
    )
    assert attestation.condition_values() == {
        "kms:RecipientAttestation:ImageSha384": PCR0.hex(),
        "kms:RecipientAttestation:PCR0": PCR0.hex(),
        "kms:RecipientAttestation:PCR1": "00" * 48,
        "kms:RecipientAttestation:PCR15": bytes(reversed(PCR0)).hex(),
    }


def test_an_instance_with_nitro_tpm_is_believed() -> None:
    def tpm(fields: Fields) -> None:
        del fields["pcrs"]
        fields["nitrotpm_pcrs"] = {0: PCR0, 23: PCR0}

    attestation = verify(hypervisor().document(tpm))
    assert attestation.platform is Platform.NITRO_TPM
    assert attestation.condition_values() == {
        "kms:RecipientAttestation:NitroTPMPCR0": PCR0.hex(),
        "kms:RecipientAttestation:NitroTPMPCR23": PCR0.hex(),
    }


@pytest.mark.parametrize("name", ["user_data", "nonce"])
def test_optional_fields_may_be_missing_null_or_empty(name: str) -> None:
    for change in (drop(name), put(**{name: None})):
        assert getattr(verify(hypervisor().document(change)), name) is None
    for value in (b"", bytes(1024)):
        assert getattr(verify(hypervisor().document(put(**{name: value}))), name) == value


def test_the_message_may_be_tagged_and_its_map_open() -> None:
    payload = cbor2.dumps(hypervisor().fields())
    opened = b"\xbf" + payload[1:] + b"\xff"  # as the hypervisor writes it since 2025
    assert verify(hypervisor().sign(opened)) == verify(hypervisor().sign(payload))
    assert verify(hypervisor().sign(payload, tag=18)) == verify(hypervisor().sign(payload))


@pytest.mark.parametrize("age", [-60.0, 0.0, 299.0, 300.0])
def test_a_document_is_fresh_for_five_minutes(age: float) -> None:
    assert verify(hypervisor().document(), now=NOW + age).issued_at == NOW


@pytest.mark.parametrize("bits", [3072, 4096])
def test_larger_keys_are_answered_to(bits: int) -> None:
    key = spki(enclave_key(bits))
    assert verify(hypervisor().document(put(public_key=key))).public_key == key


def test_representations_hold_back_what_the_enclave_sent() -> None:
    shown = repr(verify(hypervisor().document(put(user_data=b"private matter"))))
    assert "private matter" not in shown
    assert "nonce" not in shown


def test_the_default_root_is_the_one_aws_publishes() -> None:
    (root,) = read_roots(AWS_NITRO_ROOT_PEM)
    assert hashlib.sha256(root).hexdigest() == AWS_NITRO_ROOT_SHA256
    with pytest.raises(ValueError, match="PEM"):
        read_roots(b"no certificate")
    with pytest.raises(ValueError, match="without a root"):
        AttestationVerifier(frozenset())


# Refused: the fields

OTHER_KEYS: dict[str, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey] = {
    "elliptic": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "edwards": ed25519.Ed25519PrivateKey.generate().public_key(),
    "small": rsa.RSAPublicNumbers(65_537, (1 << 1023) + 1).public_key(),
    "large": rsa.RSAPublicNumbers(65_537, (1 << 8191) + 1).public_key(),
    "exponent 3": rsa.RSAPublicNumbers(3, enclave_key().public_key().public_numbers().n).public_key(),
}

FIELD_REFUSALS: dict[str, tuple[Change, AttestationFault]] = {
    **{f"no {name}": (drop(name), MALFORMED) for name in ("module_id", "timestamp", "digest", "certificate")},
    "no cabundle": (drop("cabundle"), MALFORMED),
    "no registers": (drop("pcrs"), MALFORMED),
    "two kinds of registers": (put(nitrotpm_pcrs={0: PCR0}), MALFORMED),
    "an unknown field": (put(comment="hello"), MALFORMED),
    "a field with a number for a name": (lambda fields: fields.update({1: 2}), MALFORMED),  # type: ignore[dict-item]  # wrong on purpose
    "null where a value must be": (put(module_id=None), MALFORMED),
    "an empty module id": (put(module_id=""), MALFORMED),
    "a long module id": (put(module_id="x" * 257), MALFORMED),
    "a module id that acts on terminals": (put(module_id="i-\x1b[2J"), MALFORMED),
    "a module id of bytes": (put(module_id=MODULE.encode()), MALFORMED),
    "another digest": (put(digest="SHA512"), ALGORITHM),
    "a digest of bytes": (put(digest=b"SHA384"), ALGORITHM),
    "a timestamp of zero": (put(timestamp=0), MALFORMED),
    "a negative timestamp": (put(timestamp=-1), MALFORMED),
    "a timestamp in text": (put(timestamp="1800000000000"), MALFORMED),
    "a timestamp in floating point": (put(timestamp=NOW * 1000 + 0.5), MALFORMED),
    "the largest timestamp": (put(timestamp=(1 << 64) - 1), STALE),
    "an old timestamp": (put(timestamp=int(NOW * 1000) - 300_001), STALE),
    "a future timestamp": (put(timestamp=int(NOW * 1000) + 60_001), STALE),
    "empty registers": (put(pcrs={}), MALFORMED),
    "registers in a list": (put(pcrs=[PCR0]), MALFORMED),
    "register 32": (put(pcrs={32: PCR0}), MALFORMED),
    "register -1": (put(pcrs={-1: PCR0}), MALFORMED),
    "a register with a name": (put(pcrs={"0": PCR0}), MALFORMED),
    "a register of SHA-256": (put(pcrs={0: bytes(32)}), MALFORMED),
    "an empty register": (put(pcrs={0: b""}), MALFORMED),
    "a null register": (put(pcrs={0: None}), MALFORMED),
    "an empty certificate": (put(certificate=b""), MALFORMED),
    "a large certificate": (put(certificate=bytes(1025)), MALFORMED),
    "an empty bundle": (put(cabundle=[]), MALFORMED),
    "a bundle of nine": (put(cabundle=[hypervisor().root.der] * 9), MALFORMED),
    "a bundle that is no list": (put(cabundle=hypervisor().root.der), MALFORMED),
    "a bundle that is a number": (put(cabundle=5), MALFORMED),
    "a bundle that is a map": (put(cabundle={0: hypervisor().root.der}), MALFORMED),
    "a bundle with an empty entry": (put(cabundle=[*hypervisor().bundle, b""]), MALFORMED),
    "large user data": (put(user_data=bytes(1025)), MALFORMED),
    "a large nonce": (put(nonce=bytes(1025)), MALFORMED),
    "a nonce in text": (put(nonce="nonce"), MALFORMED),
    "a large public key": (put(public_key=bytes(1025)), MALFORMED),
    "no public key": (drop("public_key"), PUBLIC_KEY),
    "a null public key": (put(public_key=None), PUBLIC_KEY),
    "an empty public key": (put(public_key=b""), PUBLIC_KEY),
    "a public key that is none": (put(public_key=b"key"), PUBLIC_KEY),
    "a public key of PKCS#1": (
        put(public_key=enclave_key().public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)),
        PUBLIC_KEY,
    ),
    "a public key and a byte": (put(public_key=spki(enclave_key()) + b"\x00"), PUBLIC_KEY),
    **{
        f"a public key that is {name}": (
            put(public_key=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
            MALFORMED if name == "large" else PUBLIC_KEY,
        )
        for name, key in OTHER_KEYS.items()
    },
}


@pytest.mark.parametrize("name", FIELD_REFUSALS)
def test_a_wrong_field_is_refused(name: str) -> None:
    change, fault = FIELD_REFUSALS[name]
    assert refused(hypervisor().document(change)) is fault


# Refused: the outer form

ITEM = cbor2.dumps(hypervisor().fields())


def resized(head: bytes, text: str) -> bytes:
    """The payload with the head of one text string replaced."""
    plain = bytes((0x60 | len(text),)) + text.encode()
    assert ITEM.count(plain) == 1
    return ITEM.replace(plain, head + text.encode())


FORM_REFUSALS: dict[str, tuple[bytes, AttestationFault]] = {
    "nothing": (b"", MALFORMED),
    "more than 262,144 bytes": (bytes(262_145), MALFORMED),
    "a document without signature": (ITEM, MALFORMED),
    "bytes behind the message": (hypervisor().document() + b"\x00", MALFORMED),
    "two messages": (hypervisor().document() * 2, MALFORMED),
    "another tag": (hypervisor().sign(ITEM, tag=17), MALFORMED),
    "a tag twice": (b"\xd2" + hypervisor().sign(ITEM, tag=18), MALFORMED),
    "three parts": (cbor2.dumps(cbor2.loads(hypervisor().document())[:3]), MALFORMED),
    "five parts": (cbor2.dumps([*cbor2.loads(hypervisor().document()), b""]), MALFORMED),
    "a detached payload": (cbor2.dumps([b"\xa1\x01\x38\x22", {}, None, bytes(96)]), MALFORMED),
    "parts in an open list": (b"\x9f" + hypervisor().document()[1:] + b"\xff", MALFORMED),
    "ES256": (hypervisor().sign(ITEM, protected=b"\xa1\x01\x26"), ALGORITHM),
    "ES512": (hypervisor().sign(ITEM, protected=b"\xa1\x01\x38\x23"), ALGORITHM),
    "no algorithm": (hypervisor().sign(ITEM, protected=b"\xa0"), ALGORITHM),
    "an empty header": (hypervisor().sign(ITEM, protected=b""), MALFORMED),
    "a header more": (hypervisor().sign(ITEM, protected=cbor2.dumps({1: -35, 2: [1]})), ALGORITHM),
    "an algorithm twice": (hypervisor().sign(ITEM, protected=b"\xa2\x01\x38\x22\x01\x38\x22"), MALFORMED),
    "an unprotected header": (hypervisor().sign(ITEM, unprotected={"x": 1}), ALGORITHM),
    "an empty payload": (hypervisor().sign(b""), MALFORMED),
    "a payload of 16,385 bytes": (hypervisor().sign(bytes(16_385)), MALFORMED),
    "a short signature": (cbor2.dumps([*cbor2.loads(hypervisor().document())[:3], bytes(95)]), MALFORMED),
    "a long signature": (cbor2.dumps([*cbor2.loads(hypervisor().document())[:3], bytes(97)]), MALFORMED),
    "a signature of zeros": (cbor2.dumps([*cbor2.loads(hypervisor().document())[:3], bytes(96)]), SIGNATURE),
    "a payload of 70,000 bytes": (hypervisor().sign(bytes(70_000)), MALFORMED),
    "a payload that is null": (hypervisor().sign(b"\xf6"), MALFORMED),
    "a payload that is a number": (hypervisor().sign(b"\x01"), MALFORMED),
    "a payload that names registers": (hypervisor().sign(cbor2.dumps("pcrs")), MALFORMED),
    "a payload that is a list": (hypervisor().sign(cbor2.dumps([1])), MALFORMED),
    "bytes behind the payload": (hypervisor().sign(ITEM + b"\x00"), MALFORMED),
    "a payload cut short": (hypervisor().sign(ITEM[:-1]), MALFORMED),
    "a field twice": (hypervisor().sign(b"\xaa" + ITEM[1:] + cbor2.dumps("nonce") + b"\xf6"), MALFORMED),
    "a register twice": (hypervisor().sign(ITEM.replace(b"\x01\x58\x30", b"\x00\x58\x30", 1)), MALFORMED),
    "a length not in its shortest form": (hypervisor().sign(resized(b"\x78\x06", "SHA384")), MALFORMED),
    "a text of indefinite length": (
        hypervisor().sign(ITEM.replace(b"\x66SHA384", b"\x7f\x66SHA384\xff")),
        MALFORMED,
    ),
    "bytes of indefinite length": (hypervisor().sign(ITEM.replace(b"\x45nonce", b"\x5f\x45nonce\xff")), MALFORMED),
    "a list of indefinite length": (
        hypervisor().sign(ITEM.replace(b"\x68cabundle\x83", b"\x68cabundle\x9f")),
        MALFORMED,
    ),
    "registers of indefinite length": (hypervisor().sign(ITEM.replace(b"\x64pcrs\xa3", b"\x64pcrs\xbf")), MALFORMED),
    "an open map without end": (hypervisor().sign(b"\xbf" + ITEM[1:]), MALFORMED),
    "an open map with half an entry": (hypervisor().sign(b"\xbf" + ITEM[1:] + b"\x61x\xff"), MALFORMED),
    "a text that is not UTF-8": (hypervisor().sign(ITEM.replace(b"\x66SHA384", b"\x66SHA38\xff")), MALFORMED),
    "a reserved length": (hypervisor().sign(b"\xbc" + ITEM[1:]), MALFORMED),
    "a tagged field": (hypervisor().sign(ITEM.replace(b"\x65nonce\x45", b"\x65nonce\xc0\x45")), MALFORMED),
    "a boolean": (hypervisor().sign(ITEM.replace(b"\x69user_data\xf6", b"\x69user_data\xf5")), MALFORMED),
    "a length beyond the end": (hypervisor().sign(b"\xbb" + b"\xff" * 8 + ITEM[1:]), MALFORMED),
    "deep nesting": (hypervisor().sign(b"\x81" * 16_000), MALFORMED),
    "too many items": (hypervisor().sign(cbor2.dumps([0] * 1000)), MALFORMED),
}


@pytest.mark.parametrize("name", FORM_REFUSALS)
def test_another_form_is_refused(name: str) -> None:
    document, fault = FORM_REFUSALS[name]
    assert refused(document) is fault


@pytest.mark.parametrize("now", [NOW - 61, NOW + 301, 0.0, NOW + 3601])
def test_a_document_out_of_its_time_is_refused(now: float) -> None:
    assert refused(hypervisor().document(), now=now) in {STALE, EXPIRED}


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_no_byte_can_be_changed() -> None:
    document = hypervisor().document()
    for at in range(len(document)):
        forged = bytearray(document)
        forged[at] ^= 1 << (at % 8)
        refused(bytes(forged))


def test_no_end_can_be_cut() -> None:
    document = hypervisor().document()
    for size in range(len(document)):
        refused(document[:size])


# Whatever comes, nothing but the package's own refusal leaves it.

FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers() | st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@FUZZ
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(document: bytes) -> None:
    refused(document)


@FUZZ
@given(VALUES)
def test_any_payload_is_refused(value: object) -> None:
    refused(hypervisor().sign(cbor2.dumps(value)))


@FUZZ
@given(st.sampled_from(sorted(hypervisor().fields())), VALUES)
def test_any_field_is_refused_or_within_its_bounds(name: str, value: object) -> None:
    document = hypervisor().document(put(**{name: value}))
    try:
        attestation = verify(document)
    except AttestationRefused:
        return
    assert name in {"module_id", "user_data", "nonce", "pcrs"}
    assert name == "pcrs" or getattr(attestation, name) == value


@pytest.mark.parametrize("size", [0, 262_145, 10_000_000])
def test_a_document_of_another_size_is_not_looked_at(size: int) -> None:
    with pytest.raises(AttestationRefused, match="1 to 262144 bytes"):
        verify(bytes(size))
