"""Attested recipients of answers: what they send, how they open what they get, and a service that believes them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.support.attestations import (
    INSTANCE,
    LEAF,
    MODULE,
    NOW,
    PCR0,
    REGION,
    ROOT,
    Fields,
    Hypervisor,
    altered,
    enclave_key,
    hypervisor,
)
from tests.support.inprocess import FakeClock, InProcess
from tests.support.kms_calls import encrypt, new_key

from kagitori_server.attestation import AttestationVerifier
from kagitori_server.operations.shapes.keys import KeyMetadata

ALGORITHM = "RSAES_OAEP_SHA_256"
ATTESTED = ("Decrypt", "DeriveSharedSecret", "GenerateDataKey", "GenerateDataKeyPair", "GenerateRandom")
"""The operations whose answers can be for a recipient."""
IMAGE = PCR0.hex()
OTHER_IMAGE = bytes(reversed(PCR0))
SHOWN = {
    "attestationDocumentModuleId": MODULE,
    "attestationDocumentEnclaveImageDigest": IMAGE,
    "attestationDocumentEnclavePCR1": "00" * 48,
    "attestationDocumentEnclavePCR15": OTHER_IMAGE.hex(),
}
"""What a record shows of the tests' enclave."""
_CONSTRUCTED = 0x20


def recipient(document: bytes) -> dict[str, Any]:
    """The member of a request that names a document."""
    return {"key_encryption_algorithm": ALGORITHM, "attestation_document": document}


@dataclass(frozen=True)
class Scene:
    """A service that believes the tests' hypervisor, with a key of each kind that is needed."""

    service: InProcess
    symmetric: KeyMetadata
    agreement: KeyMetadata

    def request(self, operation: str) -> dict[str, Any]:
        """The members of a request that succeeds without a recipient."""
        peer = ec.generate_private_key(ec.SECP256R1()).public_key()
        der = peer.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        requests: dict[str, dict[str, Any]] = {
            "Decrypt": {"ciphertext_blob": encrypt(self.service, self.symmetric.key_id)},
            "DeriveSharedSecret": {
                "key_id": self.agreement.key_id, "key_agreement_algorithm": "ECDH", "public_key": der,
            },
            "GenerateDataKey": {"key_id": self.symmetric.key_id, "key_spec": "AES_256"},
            "GenerateDataKeyPair": {"key_id": self.symmetric.key_id, "key_pair_spec": "ECC_NIST_P256"},
            "GenerateRandom": {"number_of_bytes": 24},
        }
        return requests[operation]

    def answer(self, operation: str, document: bytes, **more: Any) -> Any:
        """The answer for a recipient."""
        return self.service.call(operation, {**self.request(operation), "recipient": recipient(document), **more})


def open_service(folder: Path, **more: Any) -> InProcess:
    """A service that believes the tests' hypervisor, at the time of its documents."""
    verifier = AttestationVerifier(hypervisor().roots)
    return InProcess(folder, FakeClock(NOW), **{"attestation": verifier, **more})


def open_scene(service: InProcess) -> Scene:
    """Makes the keys."""
    agreement = new_key(service, key_spec="ECC_NIST_P256", key_usage="KEY_AGREEMENT")
    return Scene(service, new_key(service), agreement)


def of_tpm(fields: Fields) -> None:
    """Makes the fields of a document those of an instance with NitroTPM."""
    del fields["pcrs"]
    fields["nitrotpm_pcrs"] = {4: PCR0, 23: OTHER_IMAGE}


def hypervisor_of(now: float) -> Hypervisor:
    """One whose certificates are valid at another time than the tests' own."""
    plans = {"root": ROOT, "region": REGION, "instance": INSTANCE, "leaf": LEAF}
    return Hypervisor(**{
        name: altered(plan, start=now - 3_600, end=now + 3_600) for name, plan in plans.items()
    })


def flipped(document: bytes) -> bytes:
    """The document with one bit of its signature changed."""
    return document[:-1] + bytes((document[-1] ^ 1,))


def signed_by_another() -> bytes:
    """A good document, but for who signed it."""
    by = hypervisor()
    return by.sign(cbor2.dumps(by.fields()), key=ec.generate_private_key(ec.SECP384R1()))


def opened(envelope: bytes, key: rsa.RSAPrivateKey | None = None) -> bytes:
    """What an envelope holds, by `cryptography` and a reader of BER of our own."""
    oaep = OAEP(MGF1(hashes.SHA256()), hashes.SHA256(), None)
    _, ((_, recipients, (_, (_, vector), (ciphertext,))),) = _first(envelope)
    ((_, _, _, encrypted_key),) = recipients
    content_key = (key or enclave_key()).decrypt(encrypted_key, oaep)
    decryptor, unpadder = Cipher(AES256(content_key), CBC(vector)).decryptor(), PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()


def opened_by_openssl(envelope: bytes, folder: Path, key: rsa.RSAPrivateKey | None = None) -> bytes:
    """The same by `openssl cms -decrypt`."""
    command = shutil.which("openssl")
    assert command is not None, "openssl is needed: tests/install-system-packages"
    pem = (key or enclave_key()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    return subprocess.run(
        [command, "cms", "-decrypt", "-binary", "-inform", "DER", "-inkey", str(folder / "key.pem")],
        input=envelope, capture_output=True, check=True,
    ).stdout


def _first(data: bytes) -> Any:
    value, end = _read(data, 0)
    assert end == len(data)
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    """(the value at `at`: bytes, or a list of values, where it ends)."""
    tag, size = data[at], data[at + 1]
    at += 2
    if size == 0x80:
        parts = []
        while data[at : at + 2] != b"\0\0":
            part, at = _read(data, at)
            parts.append(part)
        return parts, at + 2
    if size > 0x80:
        more = size & 0x7F
        size, at = int.from_bytes(data[at : at + more]), at + more
    end = at + size
    if not tag & _CONSTRUCTED:
        return data[at:end], end
    parts = []
    while at < end:
        part, at = _read(data, at)
        parts.append(part)
    assert at == end
    return parts, end
