"""The condition operators: how the values of a condition element are read, and what they match.

One entry of `FAMILIES` per operator name. Values are checked and compiled when the policy is put; a value of the
request that has no valid form (a number that is none) matches nothing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TypeVar

from kagitori_server.policy.condition_values import (
    Networks,
    read_binary,
    read_date,
    read_number,
    read_truth,
)
from kagitori_server.policy.context import Context
from kagitori_server.policy.globs import GlobSet, Tokens
from kagitori_server.policy.matchers import ArnSet, split_arn
from kagitori_server.policy.variables import (
    Pieces,
    Variable,
    read_pieces,
    resolve_text,
    resolve_tokens,
    static_tokens,
)

Test = Callable[[str], bool]
"""Whether a value of the request matches one of those in the policy."""

Match = Callable[[Context], Test | GlobSet]
"""The test for a request: the context gives policy variables their values, once for all values of a list."""

Compile = Callable[[Sequence[str], bool], Match]
"""`(values of the policy, whether they may hold variables)`; raises ConditionValueError, VariableError."""

_Value = TypeVar("_Value")


class ConditionValueError(ValueError):
    """A value of the policy has no form that its operator could compare."""


class ConditionArnError(ConditionValueError):
    """A value that should be an ARN is none."""


@dataclass(frozen=True, slots=True)
class Family:
    """An operator: how it compiles its values, and whether it is the negation of what these match."""

    compile: Compile
    negated: bool = False
    patterns: bool = False
    """Whether its values are patterns, which take time in proportion to their length."""


def _split(
    values: Iterable[str], *, variables: bool, wildcards: bool
) -> tuple[list[Tokens], list[Pieces]]:
    """The values without and those with variables."""
    static: list[Tokens] = []
    templates: list[Pieces] = []
    for value in values:
        pieces = read_pieces(value, variables=variables, wildcards=wildcards)
        tokens = static_tokens(pieces)
        if tokens is None:
            templates.append(pieces)
        else:
            static.append(tokens)
    return static, templates


def _always(test: Test | GlobSet) -> Match:
    """A test that no variable takes part in."""
    return lambda _: test


def _same(text: str) -> str:
    return text


def _text(fold: Callable[[str], str]) -> Compile:
    def compile_text(values: Sequence[str], variables: bool) -> Match:
        static, templates = _split(values, variables=variables, wildcards=False)
        texts = frozenset(fold("".join(map(str, tokens))) for tokens in static)

        def match(context: Context) -> Test:
            resolved = (resolve_text(pieces, context) for pieces in templates)
            wanted = texts.union(fold(text) for text in resolved if text is not None)
            return lambda value: fold(value) in wanted
        return match if templates else _always(lambda value: fold(value) in texts)
    return compile_text


def _like(values: Sequence[str], variables: bool) -> Match:
    static, templates = _split(values, variables=variables, wildcards=True)

    def match(context: Context) -> Test:
        resolved = (resolve_tokens(pieces, context) for pieces in templates)
        return GlobSet.of_tokens([*static, *(each for each in resolved if each is not None)])
    return match if templates else _always(GlobSet.of_tokens(static))


def _arn(values: Sequence[str], variables: bool) -> Match:
    patterns: list[Pieces] = []
    bare: list[Variable] = []
    for value in values:
        pieces = read_pieces(value, variables=variables, wildcards=True)
        if len(pieces) == 1 and isinstance(pieces[0], Variable):
            bare.append(pieces[0])
        else:
            patterns.append(pieces)
    try:
        arns = ArnSet.of(patterns)
    except ValueError as error:
        raise ConditionArnError("a value is no ARN pattern") from error

    def match(context: Context) -> Test:
        resolved, _ = arns.resolve(context)
        # A variable that is the whole value stands for one ARN, compared as a whole.
        whole = {text for text in (each.resolve(context) for each in bare) if text and split_arn(text)}
        return lambda value: value in whole or resolved.matches(value)
    return match if bare or arns.templates else _always(arns.matches)


def _required(read: Callable[[str], _Value | None], values: Iterable[str]) -> frozenset[_Value]:
    found: set[_Value] = set()
    for value in values:
        each = read(value)
        if each is None:
            raise ConditionValueError("a value has not the form that its operator compares")
        found.add(each)
    return frozenset(found)


def _among(read: Callable[[str], _Value | None]) -> Compile:
    def compile_among(values: Sequence[str], _: bool) -> Match:
        wanted = _required(read, values)
        return _always(lambda value: read(value) in wanted)
    return compile_among


def _beside(
    read: Callable[[str], Decimal | None],
    farthest: Callable[[Iterable[Decimal]], Decimal],
    compare: Callable[[Decimal, Decimal], bool],
) -> Compile:
    # One of several bounds is passed if and only if the farthest of them is.
    def compile_beside(values: Sequence[str], _: bool) -> Match:
        bound = farthest(_required(read, values))

        def test(value: str) -> bool:
            number = read(value)
            return number is not None and compare(number, bound)
        return _always(test)
    return compile_beside


def _truth(values: Sequence[str], variables: bool) -> Match:
    static, templates = _split(values, variables=variables, wildcards=False)
    wanted = _required(read_truth, ("".join(map(str, tokens)) for tokens in static))

    def match(context: Context) -> Test:
        resolved = (resolve_text(pieces, context) for pieces in templates)
        named = wanted.union(text.lower() for text in resolved if text is not None)
        return lambda value: read_truth(value) in named
    return match if templates else _always(lambda value: read_truth(value) in wanted)


def _network(values: Sequence[str], _: bool) -> Match:
    networks = Networks.of(values)
    if networks is None:
        raise ConditionValueError("a value is neither an address nor a range of addresses")
    return _always(networks.hold)


def _numbers(name: str, read: Callable[[str], Decimal | None]) -> dict[str, Family]:
    return {
        f"{name}Equals": Family(_among(read)),
        f"{name}NotEquals": Family(_among(read), negated=True),
        f"{name}LessThan": Family(_beside(read, max, operator.lt)),
        f"{name}LessThanEquals": Family(_beside(read, max, operator.le)),
        f"{name}GreaterThan": Family(_beside(read, min, operator.gt)),
        f"{name}GreaterThanEquals": Family(_beside(read, min, operator.ge)),
    }


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "StringEquals": Family(_text(_same)),
        "StringNotEquals": Family(_text(_same), negated=True),
        "StringEqualsIgnoreCase": Family(_text(str.lower)),
        "StringNotEqualsIgnoreCase": Family(_text(str.lower), negated=True),
        "StringLike": Family(_like, patterns=True),
        "StringNotLike": Family(_like, negated=True, patterns=True),
        **_numbers("Numeric", read_number),
        **_numbers("Date", read_date),
        "Bool": Family(_truth),
        "BinaryEquals": Family(_among(read_binary)),
        "IpAddress": Family(_network),
        "NotIpAddress": Family(_network, negated=True),
        "ArnEquals": Family(_arn, patterns=True),
        "ArnLike": Family(_arn, patterns=True),
        "ArnNotEquals": Family(_arn, negated=True, patterns=True),
        "ArnNotLike": Family(_arn, negated=True, patterns=True),
    }
)
"""All operators but `Null`, which compares no values."""
