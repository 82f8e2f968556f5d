"""The action and resource elements of a statement, compiled, and the ARN patterns that conditions share.

Actions compare case-insensitively as a whole; resources case-sensitively, part by part of the ARN, so that a
wildcard in one of the first five parts never reaches over a colon (IAM reference, Resource element).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kagitori_server.policy.context import Context
from kagitori_server.policy.globs import GlobSet, Tokens, Wild, is_literal
from kagitori_server.policy.variables import Pieces, Variable, VariableError, read_pieces, resolve_tokens, static_tokens

ARN_PARTS = 6
"""`arn:partition:service:region:account:resource`; only the last part may hold further colons."""


def split_arn(text: str) -> tuple[str, ...] | None:
    """The six parts of an ARN, or None when it has no such form.

    Region and account may be empty (global services); the others may not.
    """
    parts = tuple(text.split(":", ARN_PARTS - 1))
    if len(parts) != ARN_PARTS or parts[0] != "arn" or not (parts[1] and parts[2] and parts[5]):
        return None
    return parts


def split_pieces(pieces: Pieces) -> tuple[Pieces, ...] | None:
    """As `split_arn`, of a pattern. Colons that variables bring in don't part."""
    parts: list[list[str | Wild | Variable]] = [[]]
    for piece in pieces:
        if not isinstance(piece, str):
            parts[-1].append(piece)
            continue
        first, *others = piece.split(":", ARN_PARTS - len(parts))
        if first:
            parts[-1].append(first)
        parts.extend([other] if other else [] for other in others)
    if len(parts) != ARN_PARTS or parts[0] != ["arn"] or not (parts[1] and parts[2] and parts[5]):
        return None
    return tuple(parts)


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
    def of(cls, parts: Sequence[Tokens]) -> ArnPattern:
        """Compile the six parts."""
        numbered = [(place, part) for place, part in enumerate(parts[:-1]) if list(part) != [Wild.RUN]]
        return cls(
            tuple((place, "".join(map(str, part))) for place, part in numbered if is_literal(part)),
            tuple((place, GlobSet.of_tokens([part])) for place, part in numbered if not is_literal(part)),
            GlobSet.of_tokens(parts[-1:]),
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
class ArnSet:
    """ARN patterns of which one has to match."""

    whole: GlobSet
    """`*`, and the ARNs whose first five parts are literal: text comparison can't mistake a colon there."""
    by_part: tuple[ArnPattern, ...]
    templates: tuple[tuple[Pieces, ...], ...]
    """The patterns that have policy variables, in their six parts; `resolve` makes patterns of them."""

    @classmethod
    def of(cls, patterns: Iterable[Pieces]) -> ArnSet:
        """Compile `*` and ARN patterns; ValueError for what is neither."""
        whole: list[Tokens] = []
        by_part: list[ArnPattern] = []
        templates: list[tuple[Pieces, ...]] = []
        for pieces in patterns:
            tokens = static_tokens(pieces)
            if tokens == [Wild.RUN]:
                whole.append(tokens)
                continue
            parts = split_pieces(pieces)
            if parts is None:
                raise ValueError("not an ARN pattern")
            static = [part for part in map(static_tokens, parts) if part is not None]
            if tokens is None:
                templates.append(parts)
            elif all(map(is_literal, static[:-1])):
                whole.append(tokens)
            else:
                by_part.append(ArnPattern.of(static))
        return cls(GlobSet.of_tokens(whole), tuple(by_part), tuple(templates))

    def resolve(self, context: Context) -> tuple[ArnSet, bool]:
        """The set with the values of the request in place of variables, and whether any had no value.

        A pattern with a variable that has none is left out.
        """
        if not self.templates:
            return self, False
        resolved = [[resolve_tokens(part, context) for part in parts] for parts in self.templates]
        usable = [[part for part in parts if part is not None] for parts in resolved]
        made = [ArnPattern.of(parts) for parts in usable if len(parts) == ARN_PARTS]
        return ArnSet(self.whole, (*self.by_part, *made), ()), len(made) < len(resolved)

    def matches(self, arn: str) -> bool:
        """Whether a pattern without variables covers the ARN; that is data, its own `*` no wildcard."""
        if self.whole.matches(arn):
            return True
        if self.by_part:
            parts = arn.split(":", ARN_PARTS - 1)
            if len(parts) == ARN_PARTS:
                for pattern in self.by_part:
                    if pattern.matches(parts):
                        return True
        return False


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """`Resource` or, negated, `NotResource`. Without patterns and not negated it matches nothing."""

    patterns: ArnSet
    negated: bool
    unresolved: bool
    """The answer of `NotResource` when what it excepts depends on a variable without a value."""
    variable_size: int
    """Characters of the patterns that have policy variables."""

    @classmethod
    def of(cls, patterns: Iterable[str], *, negated: bool, variables: bool, allows: bool) -> ResourceSet:
        """Compile `*` and ARN patterns; ValueError for what is neither, VariableError as `read_pieces`.

        `variables` as in `read_pieces`; they stand in the last part of the ARN only. `allows`: the statement is
        an Allow. What is unknown must neither widen an Allow nor narrow a Deny.
        """
        texts = tuple(patterns)
        compiled = [read_pieces(pattern, variables=variables, wildcards=True) for pattern in texts]
        variable_size = 0
        for text, pieces in zip(texts, compiled, strict=True):
            if any(isinstance(piece, Variable) for piece in pieces):
                variable_size += len(text)
            parts = split_pieces(pieces) or ()
            if any(isinstance(piece, Variable) for part in parts[:-1] for piece in part):
                raise VariableError("a policy variable stands in the last part of an ARN only")
        return cls(ArnSet.of(compiled), negated, not allows, variable_size)

    @property
    def given(self) -> bool:
        """Whether the statement has the element at all."""
        return self.negated or self.patterns != ArnSet.of(())

    def matches(self, arn: str, context: Context) -> bool:
        """Whether the element covers the resource."""
        patterns, incomplete = self.patterns.resolve(context)
        if patterns.matches(arn):
            return not self.negated
        return self.negated and (self.unresolved or not incomplete)
