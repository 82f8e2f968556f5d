"""Signed JSON Web Tokens (RFC 7519 in the compact form of RFC 7515), read strictly before anything is believed.

`read_token` looks at a token without believing it, `check_signature` proves who signed it, `check_times` that it is
valid now. Nothing here knows which issuers are trusted.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt

from kagitori_server.federation.keys import ALGORITHMS, KeySet
from kagitori_server.policy.strict_json import JsonNumber, PolicyJsonError, read_json

TOKEN_MAX = 8_192
"""Characters of a token."""
LEEWAY_SECONDS = 60.0
"""How far an issuer's clock may be ahead of ours."""
KEY_ID_MAX = 256
_COMPACT = re.compile(r"[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}")
_TYPES = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
"""RFC 7519, 5.1 and RFC 9068, 2.1. Tokens of other types say something else than who calls."""
_NUMBER_MAX = 32


class TokenRefused(Exception):
    """The token proves nothing. The text is for the operator and quotes nothing of it."""


class ClaimRefused(TokenRefused):
    """The token is good, but a claim of it can't be what it has to."""


class TokenOver(TokenRefused):
    """A token that was valid once."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token taken apart. Nothing of it is to be believed before its signature has been checked."""

    compact: str = field(repr=False)
    algorithm: str
    key_id: str | None
    issuer: str
    audiences: tuple[str, ...]
    expires: float
    not_before: float | None
    issued: float | None
    claims: Mapping[str, object] = field(repr=False)
    """As `read_json` gives them: numbers as they were written."""


def looks_signed(text: str) -> bool:
    """Whether a bearer token has the form of one of these."""
    return len(text) <= TOKEN_MAX and _COMPACT.fullmatch(text) is not None


def read_token(text: str) -> SignedToken:
    """Takes a token apart. Raises TokenRefused for what isn't strictly one, whoever signed it."""
    if not looks_signed(text):
        raise TokenRefused("it isn't a signed token in compact form")
    header, claims, _ = text.split(".")
    head, body = _json_object(header), _json_object(claims)
    algorithm, key_id, kind = head.get("alg"), head.get("kid"), head.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused("its algorithm isn't accepted")
    if "crit" in head or "b64" in head:
        raise TokenRefused("its header demands what isn't understood here")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenRefused("it is a token of another type")
    if not isinstance(key_id, str | None) or len(key_id or "") > KEY_ID_MAX:
        raise TokenRefused("its header has no usable key id")
    issuer, expires = body.get("iss"), _moment(body, "exp")
    if not isinstance(issuer, str):
        raise TokenRefused("it has no issuer")
    if expires is None:
        raise TokenRefused("it has no end")
    return SignedToken(
        compact=text,
        algorithm=algorithm,
        key_id=key_id,
        issuer=issuer,
        audiences=_audiences(body.get("aud")),
        expires=expires,
        not_before=_moment(body, "nbf"),
        issued=_moment(body, "iat"),
        claims=body,
    )


def check_signature(token: SignedToken, keys: KeySet) -> None:
    """Raises TokenRefused unless the token was signed by the key that it names, with an algorithm of that key's."""
    key = keys.find(token.key_id, token.algorithm)
    if key is None:
        raise TokenRefused("no key of the issuer fits it")
    try:
        _JWS.decode_complete(token.compact, key.public, algorithms=[token.algorithm])
    except (jwt.PyJWTError, ValueError, TypeError):
        raise TokenRefused("its signature is wrong") from None


def check_times(token: SignedToken, now: float) -> None:
    """Raises TokenRefused for a token that isn't valid yet, TokenOver for one that isn't any more."""
    latest = now + LEEWAY_SECONDS
    if (token.not_before or 0.0) > latest or (token.issued or 0.0) > latest:
        raise TokenRefused("it isn't valid yet")
    if token.expires <= now:
        raise TokenOver("it is expired")


_JWS = jwt.PyJWS(algorithms=sorted(ALGORITHMS))


def _json_object(part: str) -> dict[str, object]:
    try:
        text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        content = read_json(text)
    except (ValueError, PolicyJsonError):
        # Not chained: the errors hold what they couldn't read.
        raise TokenRefused("a part of it isn't strict JSON") from None
    if not isinstance(content, dict):
        raise TokenRefused("a part of it isn't an object")
    return content


def _audiences(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    texts = tuple(each for each in values if isinstance(each, str))
    if not texts or len(texts) != len(values):
        raise TokenRefused("it has no audience")
    return texts


def _moment(claims: Mapping[str, object], name: str) -> float | None:
    """A NumericDate, seconds since the epoch."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if not isinstance(value, JsonNumber) or len(value.literal) > _NUMBER_MAX:
        raise TokenRefused("one of its times isn't a number")
    moment = float(value.literal)
    if not math.isfinite(moment) or not 0 <= moment < 1e12:
        raise TokenRefused("one of its times is impossible")
    return moment
