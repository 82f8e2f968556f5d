"""`kagitori encrypt --raw` and `decrypt --raw`: the service's own Encrypt and Decrypt, without an envelope."""

from __future__ import annotations

from collections.abc import Sequence

from kagitori.kms.v1.cryptography_pb2 import DecryptRequest, EncryptRequest
from kagitori.kms.v1.keys_pb2 import DescribeKeyRequest
from kagitori.kms.v1.resources_pb2 import EncryptionAlgorithm
from kagitori_client.cli.arguments import pairs, value, values
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.files import STANDARD, check_output, read_small, refuse_same_file, write_output
from kagitori_client.cli.session import Session

_PLAINTEXT_MAX = 4096
_CIPHERTEXT_MAX = 6144
_SYMMETRIC = EncryptionAlgorithm.ENCRYPTION_ALGORITHM_SYMMETRIC_DEFAULT


def encrypt_raw(
    session: Session, source: str, target: str, *,
    keys: Sequence[str], algorithm: str | None, context: Sequence[str] | None, force: bool,
) -> None:
    """Encrypts a file of up to 4,096 bytes, less with RSA, under one key."""
    if len(keys) != 1:
        raise UsageError("--raw encrypts under one --key")
    refuse_same_file(source, target)
    check_output(target, force=force)
    bound = pairs(context, "--context")
    content = read_small(source, _PLAINTEXT_MAX, "plaintext for --raw")
    answer = session.client.crypto.Encrypt(
        EncryptRequest(
            key_id=keys[0], plaintext=content, encryption_context=bound,
            encryption_algorithm=_algorithm(session, keys[0], algorithm),
        )
    )
    write_output(target, answer.ciphertext_blob, force=force)
    if target != STANDARD:
        session.done(f"wrote {target}", key_id=answer.key_id, out=target, plaintext_length=len(content))


def decrypt_raw(
    session: Session, source: str, target: str, *,
    keys: Sequence[str], algorithm: str | None, context: Sequence[str] | None, force: bool,
) -> None:
    """Decrypts what `encrypt_raw` wrote, an encrypted data key, or what others encrypted with an RSA public key."""
    if len(keys) > 1:
        raise UsageError("--raw decrypts with one --key")
    refuse_same_file(source, target)
    check_output(target, force=force)
    bound = pairs(context, "--context")
    content = read_small(source, _CIPHERTEXT_MAX, "ciphertext for --raw")
    key = keys[0] if keys else None
    # Ciphertexts of symmetric keys name their key; those of RSA don't.
    chosen = _SYMMETRIC if key is None else _algorithm(session, key, algorithm)
    if key is None and algorithm is not None and value(EncryptionAlgorithm, algorithm, "--algorithm") != _SYMMETRIC:
        raise UsageError("a ciphertext of an RSA key doesn't name its key: give --key")
    answer = session.client.crypto.Decrypt(
        DecryptRequest(key_id=key, ciphertext_blob=content, encryption_context=bound, encryption_algorithm=chosen)
    )
    write_output(target, answer.plaintext, force=force)
    if target != STANDARD:
        session.done(f"wrote {target}", key_id=answer.key_id, out=target, plaintext_length=len(answer.plaintext))


def _algorithm(session: Session, key: str, name: str | None) -> EncryptionAlgorithm.ValueType:
    if name is not None:
        return value(EncryptionAlgorithm, name, "--algorithm")
    known = list(session.client.keys.DescribeKey(DescribeKeyRequest(key_id=key)).key_metadata.encryption_algorithms)
    if len(known) > 1:
        names = [name for name, number in values(EncryptionAlgorithm).items() if number in known]
        raise UsageError(
            f"{key} encrypts in several ways: say which with --algorithm", hint=f"one of {', '.join(names)}"
        )
    if not known:
        raise UsageError(f"{key} is not for encryption")
    return known[0]
