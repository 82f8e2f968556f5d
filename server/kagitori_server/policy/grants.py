"""Grants as decisions see them: whom one names, what it allows and on which encryption contexts (KMS CreateGrant).

A grant only adds permissions. What it can't do is decided elsewhere: any explicit Deny beats it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from kagitori_server.policy.principals import Caller, PrincipalMatch, match_id

CONTEXT_OPERATIONS = frozenset(
    {
        "Encrypt",
        "Decrypt",
        "ReEncryptFrom",
        "ReEncryptTo",
        "GenerateDataKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateDataKeyWithoutPlaintext",
    }
)
"""The operations that take an encryption context; constraints bind these, and CreateGrant by `child_grant_allowed`."""

_CONTEXT_ACTIONS = frozenset(f"kms:{operation}".lower() for operation in CONTEXT_OPERATIONS)


class ConstraintKind(enum.Enum):
    """How the pairs of a constraint relate to the encryption context of a call."""

    EQUALS = "EncryptionContextEquals"
    SUBSET = "EncryptionContextSubset"


@dataclass(frozen=True, slots=True)
class GrantConstraint:
    """A constraint on the encryption context. Names and values compare exactly, case included."""

    kind: ConstraintKind
    pairs: Mapping[str, str]

    def admits(self, encryption_context: Mapping[str, str]) -> bool:
        """Whether a call with this encryption context satisfies the constraint."""
        if self.kind is ConstraintKind.EQUALS and len(self.pairs) != len(encryption_context):
            return False
        return self.pairs.items() <= encryption_context.items()


class GrantElement(enum.Enum):
    """A part of a grant that a request may fail to match."""

    GRANTEE = "grantee"
    OPERATION = "operation"
    CONSTRAINT = "constraint"


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant on one key.

    `grantee` and `retiring_principal` are unique ids: of a user `AIDA…`, of a role `AROA…` (which covers its
    sessions), of a role session `AROA…:session`, of a federated user `account:name`, of an account its 12
    digits. `operations` are the names of the CreateGrant operation, `issuing_account` the account it was made in.
    """

    grant_id: str
    grantee: str
    operations: frozenset[str]
    constraint: GrantConstraint | None = None
    retiring_principal: str | None = None
    issuing_account: str | None = None
    actions: frozenset[str] = field(init=False, repr=False, compare=False)
    """The operations as actions in lower case."""

    def __post_init__(self) -> None:
        actions = frozenset(f"kms:{operation}".lower() for operation in self.operations)
        object.__setattr__(self, "actions", actions)

    def mismatch(
        self, caller: Caller, action: str, encryption_context: Mapping[str, str]
    ) -> GrantElement | None:
        """The first part of the grant that does not match the request, None when all do.

        `action` is in lower case. A grant to an account matches all callers of the account.
        """
        if match_id(self.grantee, caller) is PrincipalMatch.NONE:
            return GrantElement.GRANTEE
        if action not in self.actions:
            return GrantElement.OPERATION
        if self.constraint is not None and action in _CONTEXT_ACTIONS:
            return None if self.constraint.admits(encryption_context) else GrantElement.CONSTRAINT
        return None


def child_grant_allowed(parent: Grant, child: Grant) -> bool:
    """Whether who may CreateGrant by `parent` alone may make `child` of it: it must not allow more.

    Operations of the child are among those of the parent, and its constraint is at least as strict. The grantees
    have no part in it. Drop the parents that fail here before asking `decide_key` about `kms:CreateGrant`.
    """
    if "CreateGrant" not in parent.operations or not child.operations <= parent.operations:
        return False
    if parent.constraint is None:
        return True
    if child.constraint is None:
        return False
    if parent.constraint.kind is ConstraintKind.EQUALS:
        same_kind = child.constraint.kind is ConstraintKind.EQUALS
        return same_kind and dict(child.constraint.pairs) == dict(parent.constraint.pairs)
    # Whatever a child of either kind admits holds all pairs of the child, and so those of the parent.
    return parent.constraint.pairs.items() <= child.constraint.pairs.items()
