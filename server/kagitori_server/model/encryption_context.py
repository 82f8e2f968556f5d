"""The encryption context: caller-chosen pairs bound to a ciphertext as additional authenticated data.

The pairs are not secret and appear in the audit trail. The canonical form is what is authenticated:

    count (4 bytes, big endian), then for each pair in the order of the key's UTF-8 bytes
    length of key (4) ‖ key (UTF-8) ‖ length of value (4) ‖ value (UTF-8)

so `{"a": "bc"}` and `{"ab": "c"}` differ, and the order in which a caller wrote the pairs doesn't matter.
"""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_server.model.errors import ValidationException
from kagitori_server.model.limits import ENCRYPTION_CONTEXT_MAX

MAX_BYTES = ENCRYPTION_CONTEXT_MAX
"""Longest canonical form. AWS documents no limit of its own; this is the bound of its policy engine."""

EMPTY = b"\x00\x00\x00\x00"
"""The canonical form of no pairs: absent and empty contexts are the same."""


def canonical(context: Mapping[str, str] | None) -> bytes:
    """The bytes that are authenticated for `context`.

    Raises ValidationException when they exceed `MAX_BYTES`, when a key is empty, or for text that is not
    valid Unicode.
    """
    if not context:
        return EMPTY
    try:
        pairs = sorted([(key.encode(), value.encode()) for key, value in context.items()])
    except UnicodeEncodeError:
        raise ValidationException("The encryption context holds text that is not valid Unicode.") from None
    if not pairs[0][0]:
        raise ValidationException("An encryption context key must not be empty.")
    parts = [len(pairs).to_bytes(4)]
    for key, value in pairs:
        parts += (len(key).to_bytes(4), key, len(value).to_bytes(4), value)
    joined = b"".join(parts)
    if len(joined) > MAX_BYTES:
        raise ValidationException(
            f"The encryption context takes {len(joined)} bytes; at most {MAX_BYTES} are allowed."
        )
    return joined
