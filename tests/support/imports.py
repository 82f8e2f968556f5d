"""Bringing material that was made elsewhere into a service."""

from __future__ import annotations

from typing import Any

from tests.support.foreign_keys import key_of, pkcs8
from tests.support.inprocess import InProcess
from tests.support.kms_calls import new_key
from tests.support.ml_kem_512 import seed_form

from kagitori_client.importing import KeyMaterial, WrappingAlgorithm, wrap_key_material
from kagitori_keystore.algorithms import KeySpec
from kagitori_server.workers import ExpirationWorker

KEY_WRAP = "RSA_AES_KEY_WRAP_SHA_256"
FOREVER = {"expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
USAGES = {
    "SYMMETRIC_DEFAULT": "ENCRYPT_DECRYPT",
    **{f"HMAC_{bits}": "GENERATE_VERIFY_MAC" for bits in (224, 256, 384, 512)},
    **dict.fromkeys(
        ("RSA_2048", "RSA_3072", "RSA_4096", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1",
         "ECC_NIST_EDWARDS25519", "ML_DSA_44", "ML_DSA_65", "ML_DSA_87"),
        "SIGN_VERIFY",
    ),
    **dict.fromkeys(("ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"), "ENCAPSULATE_DECAPSULATE"),
}
"""Every spec whose material can be imported, with a usage of its keys."""


def material_of(spec: str, number: int = 0) -> bytes:
    """Material for a key of that spec, another for each number."""
    if spec == "SYMMETRIC_DEFAULT":
        return bytes((number, *range(1, 32)))
    if spec.startswith("HMAC"):
        return bytes((number, *range(1, int(spec[5:]) // 8)))
    if spec == "ML_KEM_512":
        return seed_form(bytes((number, *range(1, 64))))
    return pkcs8(key_of(KeySpec[spec], number))


def external_key(service: InProcess, spec: str = "SYMMETRIC_DEFAULT", **values: Any) -> str:
    """Makes a key that awaits its material. Returns its id."""
    values = {"key_usage": USAGES[spec], **values}
    return new_key(service, key_spec=spec, origin="EXTERNAL", **values).key_id


def parameters(
    service: InProcess, key_id: str, algorithm: str = KEY_WRAP, wrapping_spec: str = "RSA_2048",
    region: str | None = None,
) -> Any:
    """The answer of GetParametersForImport."""
    values = {"key_id": key_id, "wrapping_algorithm": algorithm, "wrapping_key_spec": wrapping_spec}
    return service.call("GetParametersForImport", values, region=region)


def wrapped(material: bytes, given: Any, algorithm: str = KEY_WRAP) -> dict[str, Any]:
    """The members of ImportKeyMaterial that bring `material`."""
    sealed = wrap_key_material(KeyMaterial(material, ()), given.public_key, WrappingAlgorithm(algorithm))
    return {"import_token": given.import_token, "encrypted_key_material": sealed}


def bring(service: InProcess, key_id: str, material: bytes, region: str | None = None, **values: Any) -> Any:
    """Imports material, not to expire unless `values` say when. Returns the answer."""
    model = {} if "valid_to" in values else FOREVER
    members = wrapped(material, parameters(service, key_id, region=region))
    return service.call("ImportKeyMaterial", {"key_id": key_id, **members, **model, **values}, region=region)


def expire(service: InProcess) -> int:
    """What one round of the worker deletes."""
    return ExpirationWorker(service.services, service.events).run_once()


def state(service: InProcess, key_id: str, region: str | None = None) -> str:
    """The key's state."""
    return str(service.call("DescribeKey", {"key_id": key_id}, region=region).key_metadata.key_state)


def materials(service: InProcess, key_id: str, region: str | None = None) -> dict[str, tuple[str, bool]]:
    """Of a symmetric key: material id -> (its state, whether it is there), oldest first."""
    listed = service.call(
        "ListKeyRotations", {"key_id": key_id, "include_key_material": "ALL_KEY_MATERIAL"}, region=region
    ).rotations
    return {
        entry.key_material_id: (str(entry.key_material_state), entry.import_state == "IMPORTED") for entry in listed
    }
