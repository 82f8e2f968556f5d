"""Compiled policies: what a document means once it has been parsed, ready to be asked about requests.

Immutable, so one object serves every call that the stored policy governs, from any thread.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from kagitori_server.policy.matchers import ActionSet, ResourceSet
from kagitori_server.policy.principals import Principals


class Effect(enum.Enum):
    """What a matching statement does."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class StatementRef:
    """Names a statement within its policy; the index counts from 0."""

    index: int
    sid: str | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What statements of either kind of policy have in common."""

    reference: StatementRef
    effect: Effect
    actions: ActionSet
    resources: ResourceSet

    def covers(self, action: str, resource: str) -> bool:
        """Whether the statement speaks of this action (lower case) on this resource ARN."""
        return self.actions.matches(action) and self.resources.matches(resource)


@dataclass(frozen=True, slots=True)
class KeyStatement(Statement):
    """A statement of a key policy."""

    principals: Principals


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """A compiled key policy. It governs the one key it was put on: `"*"` as a resource means that key.

    `bindings` maps each ARN or account id that names a principal, as written, to the unique id it stood for
    when the policy was put. The text and the bindings together are what has to be stored.
    """

    denies: tuple[KeyStatement, ...]
    allows: tuple[KeyStatement, ...]
    bindings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """A compiled identity policy, of a user, group or role."""

    denies: tuple[Statement, ...]
    allows: tuple[Statement, ...]
