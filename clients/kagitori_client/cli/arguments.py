"""The small languages of the command line: `name=value` pairs, durations, names of principals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from kagitori.kms.v1.credentials_pb2 import GetCallerIdentityRequest
from kagitori.kms.v1.resources_pb2 import Tag
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.session import Session

_INT32 = 2**31 - 1
_Value = TypeVar("_Value", bound=int, covariant=True)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """`name=value`, repeated; the value may be empty and may contain `=`. Raises UsageError."""
    result: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} wants name=value, not {text!r}")
        if name in result:
            raise UsageError(f"{option} names {name!r} twice")
        result[name] = value
    return result


def tags(given: Sequence[str] | None) -> list[Tag]:
    """`name=value` pairs as tags."""
    return [Tag(tag_key=name, tag_value=value) for name, value in pairs(given, "--tag").items()]


class Enumeration(Protocol[_Value]):
    """An enum of the contract. Its names begin with a prefix, and the name of number 0 says that nothing was said."""

    def items(self) -> Sequence[tuple[str, _Value]]:
        """Names and numbers, 0 first."""


def values(kind: Enumeration[_Value]) -> dict[str, _Value]:
    """AWS's names of an enum's values."""
    (unspecified, _), *named = kind.items()
    return {name.removeprefix(unspecified.removesuffix("UNSPECIFIED")): value for name, value in named}


def value(kind: Enumeration[_Value], text: str, option: str) -> _Value:
    """The value of that name, in upper or lower case. Raises UsageError."""
    known = values(kind)
    found = known.get(text.upper())
    if found is None:
        raise UsageError(f"{option} can't be {text!r}", hint=f"one of {', '.join(known)}")
    return found


def seconds(text: str) -> int:
    """A duration such as 90d, 12h, 30m or 3600s. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    if match is None:
        raise UsageError(f"{text!r} is no duration", hint="write a number and s, m, h or d, such as 90d")
    result = int(match[1]) * _UNITS[match[2]]
    if result > _INT32:
        raise UsageError(f"{text!r} is too long")
    return result


def milliseconds(text: str) -> int:
    """A duration such as 250ms, or what `seconds` takes. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,9})ms", text, re.ASCII)
    return int(match[1]) if match else min(seconds(text) * 1_000, _INT32)


def point_in_time(text: str) -> Timestamp:
    """A time such as 2026-11-01 or 2026-11-01T12:00:00Z (UTC unless it has a zone), or a duration ago.

    Raises UsageError.
    """
    moment = Timestamp()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        moment.GetCurrentTime()
        moment.FromSeconds(max(0, moment.seconds - seconds(text)))
        return moment
    try:
        moment.FromDatetime(at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC))
    except OverflowError:
        raise UsageError(f"{text!r} is no time of the years 1 to 9999") from None
    return moment


def principal_arn(session: Session, name: str) -> str:
    """An ARN as it is; `user/…`, `role/…`, `group/…` and `root` become ARNs of the caller's account."""
    hint = "write an ARN, user/NAME, role/NAME, group/NAME or root"
    return iam_arn(session, name, ("user/", "role/", "group/"), "principal", hint, root=True)


def iam_arn(
    session: Session, name: str, prefixes: tuple[str, ...], noun: str, hint: str, *, root: bool = False
) -> str:
    """An ARN as it is; what has one of the prefixes (or is `root`) becomes an ARN of the caller's account.

    Raises UsageError.
    """
    if name.startswith("arn:"):
        return name
    if not name.startswith(prefixes) and not (root and name == "root"):
        raise UsageError(f"{name!r} is no {noun}", hint=hint)
    caller = session.client.admin.GetCallerIdentity(GetCallerIdentityRequest())
    partition = caller.arn.split(":")[1]
    return f"arn:{partition}:iam::{caller.account_id}:{name}"
