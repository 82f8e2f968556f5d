"""Signed requests as they come over HTTP: AWS Signature Version 4 in the header `Authorization` or in the query string.

Reads what a request claims and what of it the signature has to cover; whose access key it is, whether the signature
holds and whether it is fresh is decided by `Authenticator`. Nothing unsigned is trusted: `host`, `x-amz-date` and
every other `x-amz-` header must be among the signed ones, and so is the body by its hash, which is never left out.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

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

EXPIRES_MAX = 604_800
"""Seconds that a signature in a query string may say to be good for (AWS: seven days)."""

_PARTS = ("Credential", "SignedHeaders", "Signature")
_CREDENTIAL = re.compile(
    r"([A-Za-z0-9_]{1,128})/([0-9]{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/" + sigv4.TERMINATOR
)
_AUTHORIZATION = re.compile(
    sigv4.ALGORITHM + r" Credential=([!-+\--~]+), ?SignedHeaders=([!-+\--~]+), ?Signature=([!-+\--~]+)"
)
"""The header as clients write it, with no comma inside of its parts; it may be written otherwise."""
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
_SIGNATURE = re.compile(rf"[0-9a-f]{{{sigv4.SIGNATURE_CHARACTERS}}}")
_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SECONDS = re.compile(r"[0-9]{1,7}")
_AMZ = "x-amz-"
_ALGORITHM, _DATE, _EXPIRES, _TOKEN = "X-Amz-Algorithm", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Security-Token"
_QUERY_PARTS = ("X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature")
_OF_QUERY = frozenset({_ALGORITHM, _DATE, _EXPIRES, _TOKEN, *_QUERY_PARTS})


_NEEDED = frozenset({"host", "x-amz-date"})
_NEEDED_BY_QUERY = frozenset({"host"})

_Present = Mapping[str, Sequence[str]]
"""The values of each header, by its name."""


def is_signature_parameter(name: str) -> bool:
    """Whether a parameter of a query string belongs to its signature."""
    return name in _OF_QUERY


class _Claims(NamedTuple):
    """What says by whom, when and over what a request is signed."""

    credential: tuple[str, ...]
    """Access key id, date, Region, service."""
    signed: tuple[str, ...]
    signature: str
    time: str
    session_token: str | None
    expires: float | None
    needed: frozenset[str]
    """Headers that must be signed."""
    query: Sequence[tuple[str, str]]
    """The parameters that are signed."""


def read_signed(
    method: str, path: str, query: Sequence[tuple[str, str]], headers: sigv4.Headers, body: bytes, service: str
) -> SignedRequest:
    """What a request claims that is signed for `service`. `path` is as on the wire, `query` is decoded, `headers` have
    lower-case names.

    Raises MissingAuthenticationTokenException without a signature, IncompleteSignatureException for one that is
    malformed or lacks a part, InvalidSignatureException for one that can't hold for this request.
    """
    present = _by_name(headers)
    by_query = any(name == _ALGORITHM for name, _ in query)
    if by_query and "authorization" in present:
        raise IncompleteSignatureException("A request is signed in the Authorization header or in the query string.")
    claims = _claims_of_query(query) if by_query else _claims_of_header(query, present)
    access_key_id, date, region, scoped = claims.credential
    moment = _moment(claims.time)
    if date != claims.time[:8]:
        raise InvalidSignatureException("Date in Credential scope does not match YYYYMMDD of X-Amz-Date.")
    if scoped != service:
        raise InvalidSignatureException(f"Credential should be scoped to correct service: '{service}'.")
    _check_coverage(claims, present)
    payload = sigv4.payload_hash(body)
    if any(value != payload for value in present.get("x-amz-content-sha256", ())):
        raise InvalidSignatureException("The provided x-amz-content-sha256 header does not match what was computed.")
    if claims.session_token is not None and len(claims.session_token) > SESSION_TOKEN_MAX:
        raise InvalidSignatureException("The session token is too long.")
    scope = sigv4.Scope(date, region, scoped)
    canonical = sigv4.canonical_by_name(method, path, claims.query, present, claims.signed, payload)
    return SignedRequest(
        access_key_id, date, region, scoped, moment, sigv4.string_to_sign(claims.time, scope, canonical),
        claims.signature, claims.session_token, claims.expires,
    )


def _by_name(headers: sigv4.Headers) -> _Present:
    present: dict[str, list[str]] = {}
    for name, value in headers:
        if name in present:
            present[name].append(value)
        else:
            present[name] = [value]
    return present


def _check_coverage(claims: _Claims, present: _Present) -> None:
    """Raises InvalidSignatureException if less is signed than has to be, or what isn't there."""
    signed = claims.signed
    covered = claims.needed.issubset(signed) and all(name in present for name in signed)
    if not covered or any(name.startswith(_AMZ) and name not in signed for name in present):
        raise InvalidSignatureException("host and all x-amz- headers must be signed, and signed headers be there.")
    _only(present, "host")


def _claims_of_header(query: Sequence[tuple[str, str]], present: _Present) -> _Claims:
    credential, signed, signature = _authorization(present)
    time = _only(present, "x-amz-date")
    tokens = present.get("x-amz-security-token", ())
    if len(tokens) > 1:
        raise InvalidSignatureException("There is one session token at most.")
    return _Claims(credential, signed, signature, time, tokens[0] if tokens else None, None, _NEEDED, query)


def _claims_of_query(query: Sequence[tuple[str, str]]) -> _Claims:
    found = dict(query)
    if len([name for name, _ in query if name in _OF_QUERY]) != len(_OF_QUERY & found.keys()):
        raise IncompleteSignatureException("Parameters of a signature are there once.")
    if found[_ALGORITHM] != sigv4.ALGORITHM:
        raise IncompleteSignatureException(f"{_ALGORITHM} must be {sigv4.ALGORITHM}.")
    for name in (*_QUERY_PARTS, _DATE, _EXPIRES):
        if name not in found:
            raise IncompleteSignatureException(f"AWS query-string parameters must include '{name}'.")
    credential, signed, signature = _well_formed(*(found[name] for name in _QUERY_PARTS))
    seconds = found[_EXPIRES]
    if not _SECONDS.fullmatch(seconds) or not 1 <= int(seconds) <= EXPIRES_MAX:
        raise IncompleteSignatureException(f"{_EXPIRES} must be 1 to {EXPIRES_MAX} seconds.")
    rest = [(name, value) for name, value in query if name != _QUERY_PARTS[2]]
    return _Claims(
        credential, signed, signature, found[_DATE], found.get(_TOKEN), float(seconds), _NEEDED_BY_QUERY, rest
    )


def _authorization(present: _Present) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """(credential, names of signed headers, signature)."""
    values = present.get("authorization")
    if not values:
        raise MissingAuthenticationTokenException("Missing Authentication Token")
    if len(values) > 1 or len(values[0]) > AUTHORIZATION_MAX:
        raise IncompleteSignatureException("There is one Authorization header, of a bounded length.")
    usual = _AUTHORIZATION.fullmatch(values[0])
    if usual is not None:
        return _well_formed(*usual.groups())
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
    return _well_formed(*(found[name] for name in _PARTS))


def _well_formed(credential: str, names: str, signature: str) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """(credential, names of signed headers, signature). Raises IncompleteSignatureException."""
    read = _CREDENTIAL.fullmatch(credential)
    if read is None or not _SIGNATURE.fullmatch(signature):
        raise IncompleteSignatureException("The credential or the signature of the request is malformed.")
    return read.groups(), _signed_headers(names), signature


@functools.lru_cache(256)
def _signed_headers(names: str) -> tuple[str, ...]:
    signed = names.split(";")
    in_order = len(signed) <= SIGNED_HEADERS_MAX and signed == sorted(set(signed))
    if not in_order or not all(map(_HEADER.fullmatch, signed)):
        raise IncompleteSignatureException("SignedHeaders are names in lower case and in order, each once.")
    return tuple(signed)


def _only(present: _Present, name: str) -> str:
    values = present.get(name, ())
    if len(values) != 1:
        raise IncompleteSignatureException(f"Authorization header requires one '{name}' header.")
    return values[0].strip()


@functools.lru_cache(64)
def _moment(time: str) -> float:
    if _TIME.fullmatch(time):
        try:
            return dt.datetime.strptime(time, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC).timestamp()
        except ValueError:
            pass
    raise IncompleteSignatureException("X-Amz-Date must be in ISO-8601 'basic format'.")
