"""What of a request is checked against the tables before a key is asked. All raise `RequestRefused`."""

from __future__ import annotations

from kagitori_keystore.algorithms import (
    DATA_KEY_MAX_BYTES,
    MESSAGE_MAX_BYTES,
    PLAINTEXT_MAX_BYTES,
    PROXY_CONTEXT_MAX_BYTES,
    PROXY_PLAINTEXT_MAX_BYTES,
    RANDOM_MAX_BYTES,
    AsymmetricEncryptionAlgorithm,
    KeySpec,
    encryption_algorithms,
    oaep_plaintext_max,
    signing_algorithms,
)
from kagitori_keystore.base import RequestRefused
from kagitori_keystore.software.abilities import Signable


def check_plaintext(plaintext: bytes) -> None:
    """1 to 4,096 bytes."""
    if not 1 <= len(plaintext) <= PLAINTEXT_MAX_BYTES:
        raise RequestRefused(f"a plaintext has 1 to {PLAINTEXT_MAX_BYTES} bytes")


def check_proxy_call(data: bytes, context: bytes) -> None:
    """1 to 4,300 bytes to seal or to open, at most 8,216 of context."""
    if not 1 <= len(data) <= PROXY_PLAINTEXT_MAX_BYTES:
        raise RequestRefused(f"what a proxy seals or opens has 1 to {PROXY_PLAINTEXT_MAX_BYTES} bytes")
    if len(context) > PROXY_CONTEXT_MAX_BYTES:
        raise RequestRefused(f"the context of what a proxy seals has at most {PROXY_CONTEXT_MAX_BYTES} bytes")


def check_data_key_size(size: int) -> None:
    """1 to 1,024."""
    if not 1 <= size <= DATA_KEY_MAX_BYTES:
        raise RequestRefused(f"a data key has 1 to {DATA_KEY_MAX_BYTES} bytes")


def check_random_size(size: int) -> None:
    """1 to 1,024."""
    if not 1 <= size <= RANDOM_MAX_BYTES:
        raise RequestRefused(f"random bytes come 1 to {RANDOM_MAX_BYTES} at a time")


def check_oaep(spec: KeySpec, algorithm: AsymmetricEncryptionAlgorithm) -> None:
    """The spec encrypts with the algorithm."""
    if algorithm not in encryption_algorithms(spec):
        raise RequestRefused("the key does not encrypt with this algorithm")


def check_oaep_plaintext(spec: KeySpec, algorithm: AsymmetricEncryptionAlgorithm, plaintext: bytes) -> None:
    """1 byte to what modulus and hash leave."""
    most = oaep_plaintext_max(spec, algorithm)
    if not 1 <= len(plaintext) <= most:
        raise RequestRefused(f"a plaintext has 1 to {most} bytes with this key and algorithm")


def check_signing(spec: KeySpec, what: Signable) -> None:
    """The spec signs with the algorithm, the algorithm takes the form, the form has the size."""
    algorithm, form = what.algorithm, what.form
    if algorithm not in signing_algorithms(spec):
        raise RequestRefused("the key does not sign with this algorithm")
    if form not in algorithm.forms:
        raise RequestRefused(f"{algorithm} does not take a message of the type {form}")
    least, most = algorithm.message_bytes(form)
    if not least <= len(what.message) <= most:
        sizes = f"{least} to {most}" if least < most else f"exactly {most}"
        raise RequestRefused(f"a message of the type {form} has {sizes} bytes with {algorithm}")


def check_mac_message(message: bytes) -> None:
    """1 to 4,096 bytes."""
    if not 1 <= len(message) <= MESSAGE_MAX_BYTES:
        raise RequestRefused(f"a message has 1 to {MESSAGE_MAX_BYTES} bytes")
