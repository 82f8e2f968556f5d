"""From claims to a session: its name, its tags, and the condition keys that trust policies ask about."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from kagitori_server.federation.tokens import ClaimRefused
from kagitori_server.model.limits import TAG_VALUE_MAX
from kagitori_server.model.principals import SESSION_NAME
from kagitori_server.policy.strict_json import JsonNumber

SESSION_NAME_MAX = 64
_OTHER = re.compile(r"[^\w+=,.@-]", re.ASCII)
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
"""What no text may hold: U+0000 and lone surrogates, which JSON can write as escapes."""
_DIGEST_DIGITS = 16
_DERIVED = re.compile(rf".*-[0-9a-f]{{{_DIGEST_DIGITS}}}", re.DOTALL)
_NUMBER_MAX = 64


def session_name(text: str) -> str:
    """The name of the session of whom the text names; different texts have different names.

    A text that could be a session's name is it. Else characters that can't be in one become `-`, it is cut, and `-` and
    16 hexadecimal digits of the text's SHA-256 end it, so that nobody gets the session of somebody with a similar name.
    """
    if SESSION_NAME.fullmatch(text) and text.lower() != "root" and not _DERIVED.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_DIGITS]
    readable = _OTHER.sub("-", text)[: SESSION_NAME_MAX - _DIGEST_DIGITS - 1]
    return f"{readable}-{digest}"


def claim_of(claims: Mapping[str, object], name: str) -> object:
    """The claim of that name; of a name that begins with a slash, what it points to (RFC 6901, objects alone).

    None for what isn't there.
    """
    if not name.startswith("/"):
        return claims.get(name)
    found: object = claims
    for part in name[1:].split("/"):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part.replace("~1", "/").replace("~0", "~"))
    return found


def name_claim(claims: Mapping[str, object], name: str) -> str:
    """The text of the claim that names the session. Raises ClaimRefused."""
    value = claim_of(claims, name)
    if not isinstance(value, str) or not value:
        raise ClaimRefused("it has no claim that names its session")
    return value


def session_tags(claims: Mapping[str, object], tag_claims: Mapping[str, str]) -> dict[str, str]:
    """The session's tags by `tag_claims` (tag -> claim); claims that the token doesn't have make none.

    Raises ClaimRefused for a claim that can't be a tag's value.
    """
    tags = {}
    for tag, name in tag_claims.items():
        value = claim_of(claims, name)
        if value is None:
            continue
        text = _scalar(value)
        if text is None or len(text) > TAG_VALUE_MAX or _UNUSABLE.search(text):
            raise ClaimRefused("one of its claims can't be a session tag")
        tags[tag] = text
    return tags


def condition_key_prefix(issuer: str) -> str:
    """What condition keys about tokens of an issuer begin with: the issuer without its scheme, and a colon."""
    return without_scheme(issuer) + ":"


def without_scheme(issuer: str) -> str:
    """An issuer's host and path, as the ARN of its provider has them."""
    return issuer.partition("://")[2]


def facts(
    issuer: str, claims: Mapping[str, object], audiences: tuple[str, ...]
) -> dict[str, str | tuple[str, ...]]:
    """What trust policies can ask about: `ISSUER:aud`, `ISSUER:sub` and every other claim that is plain or a list of
    texts, by condition key in lower case. `audiences` are those of the token that the provider accepts."""
    prefix = condition_key_prefix(issuer).lower()
    found: dict[str, str | tuple[str, ...]] = {}
    for name, value in claims.items():
        key, known = prefix + name.lower(), _values(value)
        if known is not None:
            before = found.get(key)
            # Names that differ in case alone are one condition key; it has all of their values.
            found[key] = known if before is None else _tuple(before) + _tuple(known)
    found[prefix + "aud"] = audiences[0] if len(audiences) == 1 else audiences
    return found


def _values(value: object) -> str | tuple[str, ...] | None:
    if isinstance(value, list):
        texts = tuple(each for each in value if isinstance(each, str))
        return texts if len(texts) == len(value) else None
    return _scalar(value)


def _scalar(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, JsonNumber):
        return value.literal if len(value.literal) <= _NUMBER_MAX else None
    return value if isinstance(value, str) else None


def _tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
