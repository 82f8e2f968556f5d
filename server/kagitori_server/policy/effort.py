"""What deciding takes at most, known before: who must not be kept waiting decides elsewhere what takes long.

Counted in steps of about half a microsecond. What policies and requests say is bounded, but their product can take
a thousand times as long as what honest ones need.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kagitori_server.policy.statements import IdentityPolicy, KeyPolicy

_STEPS_PER_CONDITION = 4
"""Reading a date is among the most that a value takes."""
_PATTERNS_PER_STEP = 4
"""Characters of patterns, each of which a short text is tried against by a step of arithmetic at most."""
_CHARACTERS_PER_STEP = 16_384
"""Of a text, for each character of a pattern: bits in that arithmetic."""
_VALUES_PER_STEP = 8
"""Of a list, for each character of a pattern: ARNs are tried one after the other."""
_STATIC_PER_STEP = 5
"""Characters of policies that compare with action and resource."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much a request says that conditions can ask about."""

    values: int
    """Those of its longest list."""
    characters: int
    """Of all its values together."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What is in policies that takes time."""

    statements: int
    conditions: int
    patterns: int
    """Characters of patterns in conditions, and in resources with policy variables."""

    @classmethod
    def of(cls, policies: Iterable[KeyPolicy | IdentityPolicy]) -> Effort:
        """Add up what the policies hold."""
        statements = [each for policy in policies for each in (*policy.denies, *policy.allows)]
        conditions = [condition for each in statements for condition in each.conditions]
        patterns = sum(each.patterns for each in conditions) + sum(each.resources.variable_size for each in statements)
        return cls(len(statements), len(conditions), patterns)

    def steps(self, size: Size) -> int:
        """Of one decision about a request of that size."""
        return (
            self.statements
            + self.conditions * _STEPS_PER_CONDITION * (1 + size.values)
            + self.patterns // _PATTERNS_PER_STEP
            + self.patterns * size.characters // _CHARACTERS_PER_STEP
            + self.patterns * size.values // _VALUES_PER_STEP
        )


def static_steps(characters: int) -> int:
    """Of finding the statements that bear on an action and a resource in policies with so many characters."""
    return characters // _STATIC_PER_STEP
