"""Attestation documents as the Nitro hypervisor writes them, under a root of the tests' own.

`Hypervisor` is the PKI and the signer; every part of what it makes can be replaced, so that a refusal test says
what is wrong and nothing else. CBOR comes from cbor2, an implementation independent of the one under test.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from kagitori_server.attestation import Attestation, AttestationFault, AttestationRefused, AttestationVerifier

NOW = 1_800_000_000.0
"""The time at which the documents made here are fresh."""
MODULE = "i-0123456789abcdef0-enc0123456789abcdef"
PCR0 = bytes(range(48))

Fields = dict[str, Any]  # CBOR values of any kind, also of wrong ones
Change = Callable[[Fields], None]


@cache
def enclave_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """The enclave's own key; the same for all tests, since making one takes long."""
    return rsa.generate_private_key(65_537, bits)


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


@dataclass(frozen=True)
class Plan:
    """What a certificate is to say. `usage` None leaves the extension away, as `basic` does."""

    name: str
    authority: bool
    path_length: int | None = None
    basic: bool = True
    basic_critical: bool = True
    usage: str | None = "sign"
    start: float = NOW - 3600
    end: float = NOW + 3600
    curve: type[ec.EllipticCurve] = ec.SECP384R1
    hash: type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = hashes.SHA384
    issuer_name: str | None = None
    extra: x509.ExtensionType | None = None
    subject_key: rsa.RSAPublicKey | None = None


ROOT = Plan("root.example", authority=True, usage="certify", end=NOW + 1e8)
REGION = Plan("region.example", authority=True, path_length=1, usage="certify")
INSTANCE = Plan("instance.example", authority=True, path_length=0, usage="certify")
LEAF = Plan("enclave.example", authority=False)


def issue(plan: Plan, issuer: Issued | None) -> Issued:
    """A certificate after a plan; without an issuer, signed by itself."""
    key = ec.generate_private_key(plan.curve())
    issuer_name = plan.issuer_name or (_common_name(issuer.certificate) if issuer else plan.name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(plan.name))
        .issuer_name(_name(issuer_name))
        .public_key(plan.subject_key or key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(plan.start, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(plan.end, dt.UTC))
    )
    if plan.basic:
        constraints = x509.BasicConstraints(plan.authority, plan.path_length)
        builder = builder.add_extension(constraints, critical=plan.basic_critical)
    if plan.usage is not None:
        builder = builder.add_extension(_usage(plan.usage), critical=True)
    if plan.extra is not None:
        builder = builder.add_extension(plan.extra, critical=True)
    return Issued(builder.sign(issuer.key if issuer else key, plan.hash()), key)


class Hypervisor:
    """Root, two authorities below it, and a signing certificate; writes documents."""

    def __init__(
        self, *, root: Plan = ROOT, region: Plan = REGION, instance: Plan = INSTANCE, leaf: Plan = LEAF
    ) -> None:
        self.root = issue(root, None)
        self.region = issue(region, self.root)
        self.instance = issue(instance, self.region)
        self.leaf = issue(leaf, self.instance)

    @property
    def roots(self) -> frozenset[bytes]:
        return frozenset((self.root.der,))

    @property
    def bundle(self) -> list[bytes]:
        return [self.root.der, self.region.der, self.instance.der]

    def fields(self) -> Fields:
        """The fields of a good enclave document, in the hypervisor's order."""
        return {
            "module_id": MODULE,
            "digest": "SHA384",
            "timestamp": int(NOW * 1000),
            "pcrs": {0: PCR0, 1: bytes(48), 15: bytes(reversed(PCR0))},
            "certificate": self.leaf.der,
            "cabundle": self.bundle,
            "public_key": spki(enclave_key()),
            "user_data": None,
            "nonce": b"nonce",
        }

    def document(self, change: Change | None = None) -> bytes:
        """A signed document, its fields changed beforehand."""
        fields = self.fields()
        if change is not None:
            change(fields)
        return self.sign(cbor2.dumps(fields))

    def sign(
        self,
        payload: bytes,
        *,
        protected: bytes = b"\xa1\x01\x38\x22",
        unprotected: Fields | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        hash_algorithm: hashes.HashAlgorithm | None = None,
        tag: int | None = None,
    ) -> bytes:
        """A COSE_Sign1 over any payload."""
        structure = cbor2.dumps(["Signature1", protected, b"", payload])
        der = (key or self.leaf.key).sign(structure, ec.ECDSA(hash_algorithm or hashes.SHA384()))
        signature = b"".join(number.to_bytes(48) for number in utils.decode_dss_signature(der))
        message = [protected, unprotected or {}, payload, signature]
        return cbor2.dumps(message if tag is None else cbor2.CBORTag(tag, message))


@cache
def hypervisor() -> Hypervisor:
    """One for all tests that change nothing of the PKI."""
    return Hypervisor()


def planned(**plans: Plan) -> Hypervisor:
    """A hypervisor some of whose certificates follow other plans."""
    return Hypervisor(**plans)


def altered(plan: Plan, **changes: object) -> Plan:
    return replace(plan, **changes)  # type: ignore[arg-type]  # names and types are the callers' business


def verify(document: bytes, by: Hypervisor | None = None, *, now: float = NOW) -> Attestation:
    return AttestationVerifier((by or hypervisor()).roots).verify(document, now)


def refused(document: bytes, by: Hypervisor | None = None, *, now: float = NOW) -> AttestationFault:
    """The fault of a document that is refused; its message quotes nothing."""
    with pytest.raises(AttestationRefused) as caught:
        verify(document, by, now=now)
    assert MODULE not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value.fault


def put(**values: object) -> Change:
    return lambda fields: fields.update(values)


def drop(name: str) -> Change:
    return lambda fields: fields.pop(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _usage(usage: str) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=usage == "sign",
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=usage == "certify",
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
