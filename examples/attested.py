"""Attestation documents without a Nitro machine: what an enclave would show, under a root of your own.

    python examples/attested.py root DIR            writes root.pem, and root.key that signs
    python examples/attested.py document DIR        writes document.cose, and recipient.key that opens the answers
    python examples/attested.py data-key DIR KEY    calls GenerateDataKey for it: answer.cms and data-key.sealed
    python examples/attested.py decrypt DIR KEY     calls Decrypt of data-key.sealed for it: answer.cms

For trying policies out: a server that believes this root believes whoever holds root.key. docs/attestation.md goes
through it.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from kagitori.kms.v1 import cryptography_pb2, resources_pb2
from kagitori_client import KmsClient, load_settings

IMAGE = bytes(range(48))
"""What the image of the enclave measures: PCR0, SHA-384."""
MODULE = "i-0123456789abcdef0-enc0123456789abcdef"
_PROTECTED = b"\xa1\x01\x38\x22"  # {1: -35}, which is ES384

Cbor = int | bytes | str | None | list["Cbor"] | dict[int, "Cbor"] | dict[str, "Cbor"]


def encoded(value: Cbor) -> bytes:
    """CBOR (RFC 8949) of the few kinds of values that a document has."""
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return _head(0, value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(encoded, value))
    return _head(5, len(value)) + b"".join(encoded(name) + encoded(item) for name, item in value.items())


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind << 5 | number])
    size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    return bytes([kind << 5 | 23 + size.bit_length()]) + number.to_bytes(size)


def certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, *, authority: bool
) -> x509.Certificate:
    """A certificate as those of the Nitro hypervisor are, valid for a day."""
    now = dt.datetime.now(dt.UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only",
         "decipher_only"), False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, **usage), critical=True
        )
        .sign(issuer_key, hashes.SHA384())
    )


def make_root(folder: Path) -> None:
    """A root as AWS's, but yours."""
    key = ec.generate_private_key(ec.SECP384R1())
    root = certificate("root.example", key, "root.example", key, authority=True)
    (folder / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    _keep(folder / "root.key", key)


def make_document(folder: Path) -> None:
    """What an enclave gets from its hypervisor: its measurements and its public key, signed."""
    root = x509.load_pem_x509_certificate((folder / "root.pem").read_bytes())
    root_key = serialization.load_pem_private_key((folder / "root.key").read_bytes(), None)
    if not isinstance(root_key, ec.EllipticCurvePrivateKey):
        raise SystemExit("root.key is not a key that `root` made")
    signer = ec.generate_private_key(ec.SECP384R1())
    recipient = rsa.generate_private_key(65_537, 2048)
    issued = certificate("enclave.example", signer, "root.example", root_key, authority=False)
    registers: dict[int, Cbor] = {0: IMAGE, 1: bytes(48), 2: bytes(48), 3: bytes(48), 4: bytes(48), 8: bytes(48)}
    fields: dict[str, Cbor] = {
        "module_id": MODULE,
        "digest": "SHA384",
        "timestamp": int(time.time() * 1000),
        "pcrs": registers,
        "certificate": issued.public_bytes(Encoding.DER),
        "cabundle": [root.public_bytes(Encoding.DER)],
        "public_key": recipient.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "user_data": None,
        "nonce": None,
    }
    payload = encoded(fields)
    der = signer.sign(encoded(["Signature1", _PROTECTED, b"", payload]), ec.ECDSA(hashes.SHA384()))
    signature = b"".join(number.to_bytes(48) for number in utils.decode_dss_signature(der))
    # COSE_Sign1 (RFC 9052); its unprotected header is an empty map.
    message = b"\x84" + encoded(_PROTECTED) + b"\xa0" + encoded(payload) + encoded(signature)
    (folder / "document.cose").write_bytes(message)
    _keep(folder / "recipient.key", recipient)


def data_key(folder: Path, key: str) -> None:
    """GenerateDataKey for the recipient: in answer.cms for recipient.key alone, in data-key.sealed for Decrypt."""
    with KmsClient.from_settings(load_settings()) as client:
        answer = client.crypto.GenerateDataKey(
            cryptography_pb2.GenerateDataKeyRequest(
                key_id=key, key_spec=resources_pb2.DATA_KEY_SPEC_AES_256, recipient=recipient_info(folder)
            )
        )
    (folder / "data-key.sealed").write_bytes(answer.ciphertext_blob)
    (folder / "answer.cms").write_bytes(answer.ciphertext_for_recipient)


def decrypt(folder: Path, key: str) -> None:
    """Decrypt of data-key.sealed for the recipient, into answer.cms."""
    sealed = (folder / "data-key.sealed").read_bytes()
    with KmsClient.from_settings(load_settings()) as client:
        answer = client.crypto.Decrypt(
            cryptography_pb2.DecryptRequest(key_id=key, ciphertext_blob=sealed, recipient=recipient_info(folder))
        )
    (folder / "answer.cms").write_bytes(answer.ciphertext_for_recipient)


def recipient_info(folder: Path) -> resources_pb2.RecipientInfo:
    """The member that makes an answer one for the recipient of the document."""
    return resources_pb2.RecipientInfo(
        key_encryption_algorithm=resources_pb2.KEY_ENCRYPTION_MECHANISM_RSAES_OAEP_SHA_256,
        attestation_document=(folder / "document.cose").read_bytes(),
    )


def _keep(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(Encoding.PEM, form, serialization.NoEncryption()))


def main(arguments: list[str]) -> None:
    """One step, as the text at the top says."""
    match arguments:
        case ["root", folder]:
            Path(folder).mkdir(parents=True, exist_ok=True)
            make_root(Path(folder))
        case ["document", folder]:
            make_document(Path(folder))
        case ["data-key", folder, key]:
            data_key(Path(folder), key)
        case ["decrypt", folder, key]:
            decrypt(Path(folder), key)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
