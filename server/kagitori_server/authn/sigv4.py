"""Signed requests as they come over HTTP: AWS Signature Version 4 in the header `Authorization`.

Reads what a request claims and what of it the signature has to cover; whose access key it is, whether the signature
holds and whether it is fresh is decided by `Authenticator`. Nothing unsigned is trusted: `host`, `x-amz-date` and
every other `x-amz-` header must be among the signed ones, and so is the body by its hash.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

from kagitori_keystore import sigv4
from kagitori_server.model.call import SignedRequest
from kagitori_server.model.errors import (
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
)

AUTHORIZATION_MAX = 2_048
"""Characters of the header."""
SIGNED_HEADERS_MAX = 50
SESSION_TOKEN_MAX = 4_096

_PARTS = ("Credential", "SignedHeaders", "Signature")
_CREDENTIAL = re.compile(
    r"(?P<id>[A-Za-z0-9]{16,128})/(?P<date>[0-9]{8})/(?P<region>[a-z0-9-]{1,64})/(?P<service>[a-z0-9-]{1,64})/"
    + sigv4.TERMINATOR
)
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
_SIGNATURE = re.compile(rf"[0-9a-f]{{{sigv4.SIGNATURE_CHARACTERS}}}")
_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_NEEDED = frozenset({"host", "x-amz-date"})
_AMZ = "x-amz-"


def read_signed(
    method: str, path: str, query: Sequence[tuple[str, str]], headers: sigv4.Headers, body: bytes, service: str
) -> SignedRequest:
    """What a request claims that is signed for `service`. `path` is as on the wire, `headers` have lower-case names.

    Raises MissingAuthenticationTokenException without an `Authorization` header, IncompleteSignatureException for
    one that is malformed or lacks a part, InvalidSignatureException for one that can't hold for this request.
    """
    credential, signed, signature = _authorization(headers)
    time = _only(headers, "x-amz-date")
    moment = _moment(time)
    if credential["date"] != time[:8]:
        raise InvalidSignatureException("Date in Credential scope does not match YYYYMMDD of X-Amz-Date.")
    if credential["service"] != service:
        raise InvalidSignatureException(f"Credential should be scoped to correct service: '{service}'.")
    present = {name for name, _ in headers}
    unsigned = {name for name in present if name.startswith(_AMZ)} | _NEEDED
    if not unsigned <= set(signed) <= present:
        raise InvalidSignatureException("host and all x-amz- headers must be signed, and signed headers be there.")
    _only(headers, "host")
    payload = sigv4.payload_hash(body)
    if any(name == "x-amz-content-sha256" and value != payload for name, value in headers):
        raise InvalidSignatureException("The provided x-amz-content-sha256 header does not match what was computed.")
    tokens = [value for name, value in headers if name == "x-amz-security-token"]
    if len(tokens) > 1 or any(len(token) > SESSION_TOKEN_MAX for token in tokens):
        raise InvalidSignatureException("There is one session token at most.")
    scope = sigv4.Scope(credential["date"], credential["region"], credential["service"])
    canonical = sigv4.canonical_request(method, path, query, headers, signed, payload)
    return SignedRequest(
        access_key_id=credential["id"],
        date=scope.date,
        region=scope.region,
        service=scope.service,
        time=moment,
        string_to_sign=sigv4.string_to_sign(time, scope, canonical),
        signature=signature,
        session_token=tokens[0] if tokens else None,
    )


def _authorization(headers: sigv4.Headers) -> tuple[re.Match[str], list[str], str]:
    """(credential, names of signed headers, signature)."""
    values = [value for name, value in headers if name == "authorization"]
    if not values:
        raise MissingAuthenticationTokenException("Missing Authentication Token")
    if len(values) > 1 or len(values[0]) > AUTHORIZATION_MAX:
        raise IncompleteSignatureException("There is one Authorization header, of a bounded length.")
    algorithm, _, rest = values[0].strip().partition(" ")
    if algorithm != sigv4.ALGORITHM:
        raise IncompleteSignatureException(f"The Authorization header does not begin with {sigv4.ALGORITHM}.")
    pairs = [part.strip().partition("=") for part in rest.split(",")]
    found = {name: value for name, _, value in pairs}
    for name in _PARTS:
        if name not in found:
            raise IncompleteSignatureException(f"Authorization header requires '{name}' parameter.")
    if len(pairs) != len(_PARTS):
        raise IncompleteSignatureException("The Authorization header has other parameters than its three.")
    credential = _CREDENTIAL.fullmatch(found["Credential"])
    signed = found["SignedHeaders"].split(";")
    if credential is None or not _SIGNATURE.fullmatch(found["Signature"]):
        raise IncompleteSignatureException("Credential or Signature of the Authorization header is malformed.")
    in_order = len(signed) <= SIGNED_HEADERS_MAX and signed == sorted(set(signed))
    if not in_order or not all(map(_HEADER.fullmatch, signed)):
        raise IncompleteSignatureException("SignedHeaders are names in lower case and in order, each once.")
    return credential, signed, found["Signature"]


def _only(headers: sigv4.Headers, name: str) -> str:
    values = [value.strip() for each, value in headers if each == name]
    if len(values) != 1:
        raise IncompleteSignatureException(f"Authorization header requires one '{name}' header.")
    return values[0]


def _moment(time: str) -> float:
    if _TIME.fullmatch(time):
        try:
            return dt.datetime.strptime(time, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC).timestamp()
        except ValueError:
            pass
    raise IncompleteSignatureException("X-Amz-Date must be in ISO-8601 'basic format'.")
