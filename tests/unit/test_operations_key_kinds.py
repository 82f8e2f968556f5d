"""Which kinds of key CreateKey makes, and what it tells of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.inprocess import HOME, REGION, InProcess
from tests.support.kms_calls import new_key, refused

from kagitori_server.model.errors import UnsupportedOperationException, ValidationException
from kagitori_server.model.key_specs import KEY_SPECS
from kagitori_server.model.keys import KeySpec, KeyState, KeyUsage, Origin
from kagitori_server.operations.shapes.keys import MultiRegionKeyType

LEGAL = {
    "SYMMETRIC_DEFAULT": {"ENCRYPT_DECRYPT"},
    **{spec: {"ENCRYPT_DECRYPT", "SIGN_VERIFY"} for spec in ("RSA_2048", "RSA_3072", "RSA_4096")},
    **{spec: {"SIGN_VERIFY", "KEY_AGREEMENT"} for spec in ("ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521")},
    **{spec: {"SIGN_VERIFY"} for spec in ("ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519")},
    **{spec: {"SIGN_VERIFY"} for spec in ("ML_DSA_44", "ML_DSA_65", "ML_DSA_87")},
    **{spec: {"GENERATE_VERIFY_MAC"} for spec in ("HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512")},
    **{spec: {"ENCAPSULATE_DECAPSULATE"} for spec in ("ML_KEM_512", "ML_KEM_768", "ML_KEM_1024")},
}
"""AWS KMS developer guide, "Key spec reference": spec -> usages."""

NOT_SERVED = {KeySpec.SM2: KeyUsage.SIGN_VERIFY}
"""A spec of China Regions."""

PAIRS = [(spec.value, usage.value) for spec in KeySpec if spec not in NOT_SERVED for usage in KeyUsage]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """One service for all: keys don't know of each other."""
    with InProcess(Path(tmp_path_factory.mktemp("service"))) as running:
        yield running


@pytest.mark.parametrize(("spec", "usage"), [pair for pair in PAIRS if pair[1] in LEGAL[pair[0]]])
def test_what_a_kind_of_key_tells(service: InProcess, spec: str, usage: str) -> None:
    """Algorithms of its usage alone; material that awaits import has no id."""
    key = new_key(service, key_spec=spec, key_usage=usage, origin="EXTERNAL")
    assert (key.key_spec, key.key_usage, key.origin) == (spec, usage, Origin.EXTERNAL)
    assert (key.key_state, key.enabled, key.current_key_material_id) == (KeyState.PENDING_IMPORT, False, None)
    assert (key.valid_to, key.expiration_model) == (None, None)
    algorithms = {
        "ENCRYPT_DECRYPT": key.encryption_algorithms,
        "SIGN_VERIFY": key.signing_algorithms,
        "KEY_AGREEMENT": key.key_agreement_algorithms,
        "ENCAPSULATE_DECAPSULATE": key.encapsulation_algorithms,
        "GENERATE_VERIFY_MAC": key.mac_algorithms,
    }
    assert algorithms.pop(usage)
    assert not any(algorithms.values())
    old = not spec.startswith("ML_") and spec != "ECC_NIST_EDWARDS25519"
    assert key.customer_master_key_spec == (spec if old else None)


@pytest.mark.parametrize(("spec", "usage"), [pair for pair in PAIRS if pair[1] not in LEGAL[pair[0]]])
def test_pairs_that_no_key_can_be(service: InProcess, spec: str, usage: str) -> None:
    """A usage that the spec hasn't."""
    error = refused(service, ValidationException, "CreateKey", {"key_spec": spec, "key_usage": usage})
    assert error.message == f"KeyUsage {usage} is not compatible with KeySpec {spec}"


@pytest.mark.parametrize("spec", sorted(set(LEGAL) - {"SYMMETRIC_DEFAULT"}))
def test_usage_has_to_be_said(service: InProcess, spec: str) -> None:
    """For all but symmetric encryption keys, even where there is but one."""
    error = refused(service, ValidationException, "CreateKey", {"key_spec": spec})
    assert "must specify a KeyUsage" in error.message


@pytest.mark.parametrize(("spec", "usage"), list(NOT_SERVED.items()))
def test_specs_that_are_not_served(service: InProcess, spec: KeySpec, usage: KeyUsage) -> None:
    """Generated or imported."""
    for origin in ("AWS_KMS", "EXTERNAL"):
        error = refused(
            service, UnsupportedOperationException, "CreateKey",
            {"key_spec": spec, "key_usage": usage, "origin": origin},
        )
        assert spec in error.message


def test_every_spec_has_a_row() -> None:
    """Those that are served, and the one that isn't."""
    assert set(KEY_SPECS) == set(KeySpec)
    assert {spec for spec, row in KEY_SPECS.items() if not row.served} == {KeySpec.SM2}


def test_a_primary_key(service: InProcess) -> None:
    """A family of one at first."""
    key = new_key(service, multi_region=True)
    assert key.key_id.startswith("mrk-")
    assert len(key.key_id) == 36
    assert key.arn == f"arn:aws:kms:{REGION}:{HOME}:key/{key.key_id}"
    family = key.multi_region_configuration
    assert key.multi_region
    assert family is not None
    assert family.multi_region_key_type is MultiRegionKeyType.PRIMARY
    assert (family.primary_key.arn, family.primary_key.region, family.replica_keys) == (key.arn, REGION, ())
    assert new_key(service).multi_region_configuration is None
