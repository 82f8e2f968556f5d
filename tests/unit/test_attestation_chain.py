"""Which certificate chains lead to a trusted root, and the enumerated ones that do not."""

from __future__ import annotations

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.attestations import (
    INSTANCE,
    LEAF,
    MODULE,
    NOW,
    REGION,
    ROOT,
    Change,
    Fields,
    Hypervisor,
    Plan,
    altered,
    enclave_key,
    hypervisor,
    issue,
    planned,
    put,
    refused,
    verify,
)

from kagitori_server.attestation import AttestationFault

CHAIN = AttestationFault.CHAIN
EXPIRED = AttestationFault.EXPIRED
SIGNATURE = AttestationFault.SIGNATURE
ITEM = cbor2.dumps(hypervisor().fields())


def test_longer_and_shorter_paths_are_followed() -> None:
    by = hypervisor()
    short = issue(LEAF, by.region)
    payload = cbor2.dumps({**by.fields(), "certificate": short.der, "cabundle": by.bundle[:2]})
    assert verify(by.sign(payload, key=short.key)).module_id == MODULE
    direct = issue(LEAF, by.root)
    payload = cbor2.dumps({**by.fields(), "certificate": direct.der, "cabundle": by.bundle[:1]})
    assert verify(by.sign(payload, key=direct.key)).module_id == MODULE


PLAN_REFUSALS: dict[str, tuple[dict[str, Plan], AttestationFault]] = {
    "an expired leaf": ({"leaf": altered(LEAF, end=NOW - 1)}, EXPIRED),
    "a leaf of tomorrow": ({"leaf": altered(LEAF, start=NOW + 10)}, EXPIRED),
    "an expired authority": ({"region": altered(REGION, end=NOW - 1)}, EXPIRED),
    "an expired root": ({"root": altered(ROOT, end=NOW - 1)}, EXPIRED),
    "a leaf on another curve": ({"leaf": altered(LEAF, curve=ec.SECP256R1)}, CHAIN),
    "an authority on another curve": ({"instance": altered(INSTANCE, curve=ec.SECP521R1)}, CHAIN),
    "a leaf with an RSA key": ({"leaf": altered(LEAF, subject_key=enclave_key().public_key())}, CHAIN),
    "a root on another curve": ({"root": altered(ROOT, curve=ec.SECP256R1)}, CHAIN),
    "a leaf signed with SHA-256": ({"leaf": altered(LEAF, hash=hashes.SHA256)}, CHAIN),
    "an authority signed with SHA-512": ({"region": altered(REGION, hash=hashes.SHA512)}, CHAIN),
    "a leaf that is an authority": ({"leaf": altered(LEAF, authority=True)}, CHAIN),
    "a leaf without constraints": ({"leaf": altered(LEAF, basic=False)}, CHAIN),
    "a leaf without usage": ({"leaf": altered(LEAF, usage=None)}, CHAIN),
    "a leaf for certificates": ({"leaf": altered(LEAF, usage="certify")}, CHAIN),
    "a leaf with a critical extension": (
        {"leaf": altered(LEAF, extra=x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]))},
        CHAIN,
    ),
    "an authority that is none": ({"instance": altered(INSTANCE, authority=False, path_length=None)}, CHAIN),
    "an authority without constraints": ({"instance": altered(INSTANCE, basic=False)}, CHAIN),
    "an authority whose constraints are a hint": ({"instance": altered(INSTANCE, basic_critical=False)}, CHAIN),
    "an authority without usage": ({"region": altered(REGION, usage=None)}, CHAIN),
    "an authority for documents": ({"region": altered(REGION, usage="sign")}, CHAIN),
    "a path too long": ({"region": altered(REGION, path_length=0)}, CHAIN),
    "a path too long for the root": ({"root": altered(ROOT, path_length=1)}, CHAIN),
    "a root that is no authority": ({"root": altered(ROOT, authority=False)}, CHAIN),
    "a leaf of another issuer's name": ({"leaf": altered(LEAF, issuer_name="somebody.example")}, CHAIN),
}


@pytest.mark.parametrize("name", PLAN_REFUSALS)
def test_an_unfit_certificate_is_refused(name: str) -> None:
    changes, fault = PLAN_REFUSALS[name]
    by = planned(**changes)
    if by.leaf.key.curve.name != "secp384r1":
        payload = cbor2.dumps(by.fields())
        assert refused(by.sign(payload, key=hypervisor().leaf.key), by) is fault
    else:
        assert refused(by.document(), by) is fault


OTHER = Hypervisor()


def signed_by_other(fields: Fields) -> None:
    fields["certificate"] = OTHER.leaf.der


BUNDLE_REFUSALS: dict[str, Change] = {
    "another root": put(cabundle=OTHER.bundle),
    "another chain below our root": put(cabundle=[hypervisor().root.der, *OTHER.bundle[1:]]),
    "no root": put(cabundle=hypervisor().bundle[1:]),
    "the other way round": put(cabundle=hypervisor().bundle[::-1]),
    "a gap": put(cabundle=[hypervisor().root.der, hypervisor().instance.der]),
    "an authority twice": put(cabundle=[*hypervisor().bundle, hypervisor().instance.der]),
    "the leaf in the bundle": put(cabundle=[*hypervisor().bundle, hypervisor().leaf.der]),
    "the root and a byte": put(cabundle=[hypervisor().root.der + b"\x00", *hypervisor().bundle[1:]]),
    "an authority and a byte": put(cabundle=[hypervisor().root.der, hypervisor().region.der + b"\x00"]),
    "an authority that is none": put(cabundle=[hypervisor().root.der, b"certificate"]),
    "a leaf of another chain": signed_by_other,
    "a leaf that is no certificate": put(certificate=b"certificate"),
    "an authority as leaf": put(certificate=hypervisor().instance.der, cabundle=hypervisor().bundle[:2]),
    "a leaf that is the root": put(certificate=hypervisor().root.der, cabundle=[hypervisor().root.der]),
}


@pytest.mark.parametrize("name", BUNDLE_REFUSALS)
def test_another_chain_is_refused(name: str) -> None:
    assert refused(hypervisor().document(BUNDLE_REFUSALS[name])) is CHAIN


def test_a_wholly_foreign_document_is_refused() -> None:
    assert refused(OTHER.document()) is CHAIN
    assert refused(hypervisor().sign(ITEM, key=OTHER.leaf.key)) is SIGNATURE
    assert refused(hypervisor().sign(ITEM, key=hypervisor().instance.key)) is SIGNATURE
    assert refused(hypervisor().sign(ITEM, hash_algorithm=hashes.SHA256())) is SIGNATURE


def test_signatures_are_whole_bytes() -> None:
    """Their count of unused bits is signed by nobody, and refused when it isn't none."""
    by = hypervisor()
    for _ in range(20):
        certificates = [*by.bundle, by.leaf.der]
        for which, der in enumerate(certificates[1:], 1):
            signature = x509.load_der_x509_certificate(der).signature
            forged = bytearray(der)
            forged[-len(signature) - 1] = 1
            changed = [*certificates]
            changed[which] = bytes(forged)
            assert refused(by.document(put(certificate=changed[-1], cabundle=changed[:-1]))) is CHAIN
        by = hypervisor()


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_certificate_is_refused(data: st.DataObject) -> None:
    """Certificates with a few bytes changed, in a document signed after the change."""
    by = hypervisor()
    certificates = [*by.bundle, by.leaf.der]
    which = data.draw(st.integers(0, len(certificates) - 1))
    forged = bytearray(certificates[which])
    for _ in range(data.draw(st.integers(1, 4))):
        forged[data.draw(st.integers(0, len(forged) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(forged) == certificates[which]:
        return
    certificates[which] = bytes(forged)
    assert refused(by.document(put(certificate=certificates[-1], cabundle=certificates[:-1]))) in {CHAIN, EXPIRED}
