"""What a simulation supposes: the records of the catalog as they are and as they would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kagitori_server.model.grants import Grant
from kagitori_server.model.keys import Key, KeyState
from kagitori_server.model.principals import GroupRecord, PolicyHome, PolicyText, PrincipalRecord
from kagitori_server.operations.administration.identity_policies import (
    check_document,
    policies_with,
    policies_without,
)
from kagitori_server.policy.document import parse_key_policy


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Of one key: another policy, another state or a grant less. The two records are one where just a grant goes."""

    now: Key
    then: Key
    without: Grant | None = None
    disables: bool = False
    """Whether the key would be disabled, so that its state counts."""


@dataclass(frozen=True, slots=True)
class HolderChange:
    """Of the inline policies of a user, role or group."""

    now: PrincipalRecord | GroupRecord
    then: PrincipalRecord | GroupRecord
    members: frozenset[str] = frozenset()
    """ARNs of the users who are in the group."""

    def of(self, principal: PrincipalRecord) -> PrincipalRecord | None:
        """What `principal` would be like; None for one who wouldn't change."""
        if isinstance(self.then, PrincipalRecord):
            same = principal.principal_id == self.then.principal_id
            return replace(principal, policies=self.then.policies) if same else None
        if principal.arn not in self.members:
            return None
        group = self.then.arn
        others = [
            policy for policy in principal.inherited
            # A policy's name has no slash, so this is the whole ARN of its group.
            if policy.home is not PolicyHome.GROUP or policy.name.rpartition("/")[0] != group
        ]
        own = [PolicyText(f"{group}/{name}", PolicyHome.GROUP, text) for name, text in self.then.policies.items()]
        return replace(principal, inherited=tuple(sorted((*others, *own), key=lambda policy: policy.name)))


Change = KeyChange | HolderChange


def another_key_policy(key: Key, text: str, resolve: Callable[[str], str | None]) -> KeyChange:
    """Raises what putting the policy would raise, but for the lockout check, whose question is another."""
    return KeyChange(key, replace(key, policy=text, policy_bindings=parse_key_policy(text, resolve).bindings))


def disabled(key: Key) -> KeyChange:
    """A key that is pending deletion stays so: it can't be used as it is."""
    usable = key.state in (KeyState.ENABLED, KeyState.UPDATING)
    return KeyChange(key, replace(key, state=KeyState.DISABLED) if usable else key, disables=True)


def another_identity_policy(
    holder: PrincipalRecord | GroupRecord, name: str, document: str | None, members: frozenset[str]
) -> HolderChange:
    """Raises MalformedPolicyDocumentException, LimitExceededException, or NoSuchEntityException where none of that
    name could be removed."""
    if document is None:
        policies = policies_without(holder, name)
    else:
        check_document(holder.arn, document)
        policies = policies_with(holder, name, document)
    return HolderChange(holder, replace(holder, policies=policies), members)
