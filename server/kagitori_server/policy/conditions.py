"""The Condition element: operators, keys and values, compiled into questions to the context of a request.

All conditions of a statement have to hold (AND over operators and keys); one matching value of a key is enough
(OR), and for a negated operator none may match (NOR). What an absent key means: a plain operator fails, a
negated one holds, `…IfExists` and `ForAllValues:` hold, `ForAnyValue:` fails.

A plain operator is for single-valued keys. On a list it is read against the request, as AWS leaves it undefined:
in an Allow it fails, in a Deny one value that passes is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from kagitori_server.policy.condition_values import read_truth
from kagitori_server.policy.context import Context
from kagitori_server.policy.globs import GlobSet
from kagitori_server.policy.operators import FAMILIES, ConditionValueError, Match

_OPERATOR = re.compile(r"(?:(ForAllValues|ForAnyValue):)?([A-Za-z]{1,40}?)(IfExists)?")
_KEY = re.compile(r"[A-Za-z0-9.-]+(?:/[!-9;-~]*)?:.+", re.DOTALL)
"""The vendor may be an OpenID Connect issuer, a host with or without a port and path: `issuer.example/path:sub`."""


_WILD = frozenset("*?$")


class Quantifier(Enum):
    """How an operator treats the values of a request."""

    SINGLE = ""
    FOR_ALL_VALUES = "ForAllValues"
    FOR_ANY_VALUE = "ForAnyValue"


class UnknownOperatorError(ValueError):
    """The language has no such condition operator."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator with one key, of either kind of policy."""

    operator: str
    """As written, with prefix and suffix."""
    key: str
    """As written."""
    quantifier: Quantifier
    negated: bool
    when_absent: bool
    lookup: str
    """The key in lower case, as contexts have it."""
    match: Match
    over_values: Callable[[Iterable[bool]], bool]
    patterns: int
    """Characters of its patterns, but for those that are sought as prefixes."""

    def holds(self, context: Context) -> bool:
        """Whether the request fulfils the condition."""
        value = context.get(self.lookup)
        if isinstance(value, str):
            return self.match(context)(value) is not self.negated
        if not value:
            return self.when_absent
        test = self.match(context)
        matched = test.each(value) if isinstance(test, GlobSet) else map(test, value)
        return self.over_values(each is not self.negated for each in matched)


def is_vendor_key(key: str) -> bool:
    """Whether the name of a condition key has a vendor before its first colon, as all have."""
    return _KEY.fullmatch(key) is not None


def compile_condition(
    operator: str, key: str, values: Sequence[str], *, variables: bool, allows: bool
) -> Condition:
    """Compile one operator with one key. `values` must not be empty; `allows` tells an Allow from a Deny.

    Raises UnknownOperatorError, ConditionValueError (ConditionArnError for what should be an ARN), VariableError.
    """
    found = _OPERATOR.fullmatch(operator)
    if found is None:
        raise UnknownOperatorError(operator)
    quantifier, name, if_exists = Quantifier(found[1] or ""), found[2], found[3] is not None
    if operator == "Null":
        return _existence(key, values)
    family = FAMILIES.get(name)
    if family is None:
        raise UnknownOperatorError(operator)
    when_absent = if_exists or {
        Quantifier.SINGLE: family.negated,
        Quantifier.FOR_ALL_VALUES: True,
        Quantifier.FOR_ANY_VALUE: False,
    }[quantifier]
    over_values = {
        Quantifier.SINGLE: _none if allows else any,
        Quantifier.FOR_ALL_VALUES: all,
        Quantifier.FOR_ANY_VALUE: any,
    }[quantifier]
    return Condition(
        operator,
        key,
        quantifier,
        family.negated,
        when_absent,
        key.lower(),
        family.compile(values, variables),
        over_values,
        sum(map(_pattern_size, values)) if family.patterns else 0,
    )


def _pattern_size(value: str) -> int:
    return 1 if _WILD.isdisjoint(value.rstrip("*")) else len(value)


def _none(_: Iterable[bool]) -> bool:
    return False


def _existence(key: str, values: Sequence[str]) -> Condition:
    answers = {read_truth(value) for value in values}
    if None in answers:
        raise ConditionValueError("Null compares with true or false")
    present = "false" in answers
    return Condition(
        "Null", key, Quantifier.SINGLE, False, "true" in answers, key.lower(), lambda _: lambda _: present, all, 0
    )
