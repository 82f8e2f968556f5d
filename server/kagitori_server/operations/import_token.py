"""Import tokens, version 1: what GetParametersForImport hands out and ImportKeyMaterial takes back. Nothing is kept.

    offset  bytes  field
         0      1  0x01
         1      1  code of the wrapping algorithm
         2      8  when it ends, milliseconds since the epoch, big-endian
        10     17  the key's id, as in ciphertexts
        27      n  the wrapping private key, sealed by the key store for the key's account and Region, its id, and all
                   that is before

At most 2,446 bytes. A token works as often as wanted until it ends, on its own key in its own Region.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from kagitori_keystore.algorithms import WrappingAlgorithm
from kagitori_keystore.ciphertext import encode_key_id
from kagitori_server.model.errors import ExpiredImportTokenException, InvalidImportTokenException
from kagitori_server.model.keys import Key

_VERSION = 1
_HEAD = struct.Struct(">BBQ17s")
_CODES = {
    WrappingAlgorithm.RSAES_OAEP_SHA_1: 1,
    WrappingAlgorithm.RSAES_OAEP_SHA_256: 2,
    WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_1: 3,
    WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256: 4,
}
_BY_CODE = {code: algorithm for algorithm, code in _CODES.items()}


class ImportToken(NamedTuple):
    """A token taken apart. Only the key store can tell whether it is genuine."""

    binding: bytes
    """What the sealed key is bound to."""
    algorithm: WrappingAlgorithm
    sealed: bytes


def binding_of(key: Key, algorithm: WrappingAlgorithm, valid_to: float) -> bytes:
    """The beginning of a token for `key` that ends at `valid_to` (seconds since the epoch)."""
    return _HEAD.pack(_VERSION, _CODES[algorithm], round(valid_to * 1_000), encode_key_id(key.key_id))


def parse_token(token: bytes, key: Key, now: float) -> ImportToken:
    """Takes a token for `key` apart. Raises InvalidImportTokenException for one that is malformed or another key's,
    ExpiredImportTokenException for one that has ended."""
    if len(token) <= _HEAD.size:
        raise _invalid()
    version, code, milliseconds, key_id = _HEAD.unpack_from(token)
    algorithm = _BY_CODE.get(code)
    if version != _VERSION or algorithm is None or key_id != encode_key_id(key.key_id):
        raise _invalid()
    if milliseconds <= now * 1_000:
        raise ExpiredImportTokenException("The import token has expired; get new parameters for the import.")
    return ImportToken(token[: _HEAD.size], algorithm, token[_HEAD.size :])


def _invalid() -> InvalidImportTokenException:
    return InvalidImportTokenException("The import token is malformed, or of another key or Region.")
