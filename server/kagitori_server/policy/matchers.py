"""The action and resource elements of a statement, compiled.

Actions compare case-insensitively as a whole; resources case-sensitively, part by part of the ARN, so that a
wildcard in one of the first five parts never reaches over a colon (IAM reference, Resource element).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kagitori_server.policy.globs import GlobSet, has_wildcard

ARN_PARTS = 6
"""`arn:partition:service:region:account:resource`; only the last part may hold further colons."""


def split_arn(text: str) -> tuple[str, ...] | None:
    """The six parts of an ARN or ARN pattern, or None when it has no such form.

    Region and account may be empty (global services); the others may not.
    """
    parts = tuple(text.split(":", ARN_PARTS - 1))
    if len(parts) != ARN_PARTS or parts[0] != "arn" or not (parts[1] and parts[2] and parts[5]):
        return None
    return parts


@dataclass(frozen=True, slots=True)
class ActionSet:
    """`Action` or, negated, `NotAction`. Without patterns and not negated it matches nothing."""

    patterns: GlobSet
    negated: bool = False

    @classmethod
    def of(cls, patterns: Iterable[str], *, negated: bool) -> ActionSet:
        """Compile `service:Name` patterns."""
        return cls(GlobSet.of(pattern.lower() for pattern in patterns), negated)

    def matches(self, action: str) -> bool:
        """Whether the element covers the action, which must be given in lower case."""
        return self.patterns.matches(action) is not self.negated


@dataclass(frozen=True, slots=True)
class ArnPattern:
    """An ARN pattern with a wildcard before its last part; a `*` among the first five needs no look."""

    literals: tuple[tuple[int, str], ...]
    globs: tuple[tuple[int, GlobSet], ...]
    last: GlobSet

    @classmethod
    def of(cls, parts: tuple[str, ...]) -> ArnPattern:
        """Compile the six parts."""
        numbered = [(place, part) for place, part in enumerate(parts[:-1]) if part != "*"]
        return cls(
            tuple((place, part) for place, part in numbered if not has_wildcard(part)),
            tuple((place, GlobSet.of([part])) for place, part in numbered if has_wildcard(part)),
            GlobSet.of(parts[-1:]),
        )

    def matches(self, parts: list[str]) -> bool:
        """Whether the pattern covers the ARN that was split into these six parts."""
        for place, text in self.literals:
            if parts[place] != text:
                return False
        if self.globs and not all(glob.matches(parts[place]) for place, glob in self.globs):
            return False
        return self.last.matches(parts[-1])


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """`Resource` or, negated, `NotResource`. Without patterns and not negated it matches nothing."""

    whole: GlobSet
    """`*`, and the ARNs whose first five parts are literal: text comparison can't mistake a colon there."""
    by_part: tuple[ArnPattern, ...]
    negated: bool = False

    @classmethod
    def of(cls, patterns: Iterable[str], *, negated: bool) -> ResourceSet:
        """Compile `*` and ARN patterns; ValueError for what is neither."""
        whole: list[str] = []
        by_part: list[ArnPattern] = []
        for pattern in patterns:
            parts = split_arn(pattern)
            if parts is None and pattern != "*":
                raise ValueError("not an ARN pattern")
            if parts is None or not any(map(has_wildcard, parts[:-1])):
                whole.append(pattern)
            else:
                by_part.append(ArnPattern.of(parts))
        return cls(GlobSet.of(whole), tuple(by_part), negated)

    def matches(self, arn: str) -> bool:
        """Whether the element covers the resource; the ARN is data, its own `*` no wildcard."""
        if self.whole.matches(arn):
            return not self.negated
        if self.by_part:
            parts = arn.split(":", ARN_PARTS - 1)
            if len(parts) == ARN_PARTS:
                for pattern in self.by_part:
                    if pattern.matches(parts):
                        return not self.negated
        return self.negated
