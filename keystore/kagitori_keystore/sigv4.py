"""AWS Signature Version 4: the published algorithm, pure. Signs what goes to an external key store proxy, and is what
the server checks signatures with.

Source: AWS, "Signature Version 4 for API requests", create a signed request, steps 1 to 4. A path is encoded once more
than it is on the wire, as for every service but Amazon S3. Nothing here is decided: who may sign, when and with what
is for the callers.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
SIGNATURE_CHARACTERS = 64
"""A signature is the lower-case hexadecimal form of an HMAC-SHA-256."""

_SAFE = "-_.~"

Headers = Sequence[tuple[str, str]]
"""(name in lower case, value) as on the wire; names may repeat."""


class Scope(NamedTuple):
    """What a signing key is good for: a day (YYYYMMDD, UTC), a Region and a service."""

    date: str
    region: str
    service: str

    @property
    def text(self) -> str:
        """As it stands in the credential and in what is signed."""
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


def payload_hash(body: bytes) -> str:
    """The last line of a canonical request."""
    return hashlib.sha256(body).hexdigest()


def canonical_path(path: str) -> str:
    """`path` as on the wire, without dot segments and doubled slashes (RFC 3986 section 6.2.2.3), encoded once more."""
    if path == "/":
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    joined = "/" + "/".join(kept)
    if kept and path.endswith("/"):
        joined += "/"
    return quote(joined, safe="/" + _SAFE)


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """The parameters (decoded) encoded and in order."""
    encoded = sorted((quote(name, safe=_SAFE), quote(value, safe=_SAFE)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def canonical_request(
    method: str, path: str, query: Iterable[tuple[str, str]], headers: Headers, signed: Sequence[str], payload: str
) -> str:
    """Step 1. `signed` are names of headers in lower case and in order, `payload` is the `payload_hash`.

    Values of a name that repeats are joined by commas; runs of spaces become one.
    """
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return canonical_by_name(method, path, query, values, signed, payload)


def canonical_by_name(
    method: str, path: str, query: Iterable[tuple[str, str]], values: Mapping[str, Sequence[str]],
    signed: Sequence[str], payload: str,
) -> str:
    """As `canonical_request`, from the values of each header in the order of the wire."""
    lines = [f"{name}:{','.join([' '.join(value.split()) for value in values.get(name, ())])}\n" for name in signed]
    return "\n".join((
        method, canonical_path(path), canonical_query(query), "".join(lines), ";".join(signed), payload,
    ))


def string_to_sign(time: str, scope: Scope, canonical: str) -> str:
    """Step 2 and 3. `time` is YYYYMMDD'T'HHMMSS'Z'."""
    return "\n".join((ALGORITHM, time, scope.text, hashlib.sha256(canonical.encode()).hexdigest()))


def signing_key(secret: bytes, scope: Scope) -> bytes:
    """What signs everything of a scope: 32 bytes, a secret too."""
    key = b"AWS4" + secret
    for part in (scope.date, scope.region, scope.service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature(key: bytes, text: str) -> str:
    """Step 4: the signature of a `string_to_sign` under a `signing_key`."""
    return hmac.digest(key, text.encode(), "sha256").hex()


def prepared(key: bytes) -> HMAC:
    """A `signing_key` made ready for many signatures, in any number of threads: a third of the work of each."""
    return HMAC(key, SHA256())


def prepared_signature(ready: HMAC, text: str) -> str:
    """As `signature`, with what `prepared` made of the key."""
    copy = ready.copy()
    copy.update(text.encode())
    return copy.finalize().hex()


def authorization(access_key_id: str, scope: Scope, signed: Sequence[str], signed_as: str) -> str:
    """Step 5: the value of the header `Authorization`."""
    return (
        f"{ALGORITHM} Credential={access_key_id}/{scope.text}, "
        f"SignedHeaders={';'.join(signed)}, Signature={signed_as}"
    )
