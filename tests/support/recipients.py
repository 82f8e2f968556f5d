"""Attested recipients of answers: what they send, and how they open what they get."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.attestations import enclave_key

ALGORITHM = "RSAES_OAEP_SHA_256"
_CONSTRUCTED = 0x20


def recipient(document: bytes) -> dict[str, Any]:
    """The member of a request that names a document."""
    return {"key_encryption_algorithm": ALGORITHM, "attestation_document": document}


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
