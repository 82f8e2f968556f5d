"""Compiled policies: what a document means once it has been parsed, ready to be asked about requests.

Immutable, so one object serves every call that the stored policy governs, from any thread.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from kagitori_server.policy.conditions import Condition
from kagitori_server.policy.context import Context
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


EVERY_ACTION = ActionSet.of((), negated=True)
EVERY_RESOURCE = ResourceSet.of(("*",), negated=False, variables=False, allows=True)


class Element(enum.Enum):
    """An element of a statement that a request may fail to match. A failed condition stands for itself."""

    PRINCIPAL = "principal"
    ACTION = "action"
    RESOURCE = "resource"


@dataclass(frozen=True, slots=True)
class Statement:
    """What statements of either kind of policy have in common."""

    reference: StatementRef
    effect: Effect
    actions: ActionSet
    resources: ResourceSet

    conditions: tuple[Condition, ...]

    @property
    def needs_context(self) -> bool:
        """Whether what it covers depends on the context of the request."""
        return bool(self.conditions or self.resources.patterns.templates)

    def mismatch(self, action: str, resource: str, context: Context) -> Element | Condition | None:
        """The first element that does not match the request, None when all do. `action` is in lower case."""
        # These two are in every statement of a narrowed policy, and asking them costs as much as asking any other.
        if self.actions is not EVERY_ACTION and not self.actions.matches(action):
            return Element.ACTION
        if self.resources is not EVERY_RESOURCE and not self.resources.matches(resource, context):
            return Element.RESOURCE
        for condition in self.conditions:
            if not condition.holds(context):
                return condition
        return None


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

    @property
    def needs_context(self) -> bool:
        """Whether decisions by it depend on the context of the request."""
        return any(each.needs_context for each in (*self.denies, *self.allows))


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """A compiled identity policy, of a user, group or role."""

    denies: tuple[Statement, ...]
    allows: tuple[Statement, ...]

    @property
    def needs_context(self) -> bool:
        """Whether decisions by it depend on the context of the request."""
        return any(each.needs_context for each in (*self.denies, *self.allows))
