"""What a request to CreateGrant would permit: its operations and constraint, checked."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kagitori_server.model import limits
from kagitori_server.model.errors import UnsupportedOperationException, ValidationException
from kagitori_server.model.grants import Constraint, ConstraintKind, GrantOperation
from kagitori_server.model.keys import Key, KeySpec, KeyUsage
from kagitori_server.operations.shapes.grants import CreateGrantRequest, GrantConstraints
from kagitori_server.policy import grants as policy

_Op = GrantOperation
_ALWAYS = frozenset({_Op.CREATE_GRANT, _Op.RETIRE_GRANT, _Op.DESCRIBE_KEY})
_SYMMETRIC = frozenset({
    _Op.ENCRYPT, _Op.DECRYPT, _Op.RE_ENCRYPT_FROM, _Op.RE_ENCRYPT_TO, _Op.GENERATE_DATA_KEY,
    _Op.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, _Op.GENERATE_DATA_KEY_PAIR,
    _Op.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT,
})
_BY_USAGE: Mapping[KeyUsage, frozenset[GrantOperation]] = {
    KeyUsage.ENCRYPT_DECRYPT: frozenset(
        {_Op.ENCRYPT, _Op.DECRYPT, _Op.RE_ENCRYPT_FROM, _Op.RE_ENCRYPT_TO, _Op.GET_PUBLIC_KEY}
    ),
    KeyUsage.SIGN_VERIFY: frozenset({_Op.SIGN, _Op.VERIFY, _Op.GET_PUBLIC_KEY}),
    KeyUsage.GENERATE_VERIFY_MAC: frozenset({_Op.GENERATE_MAC, _Op.VERIFY_MAC}),
    KeyUsage.KEY_AGREEMENT: frozenset({_Op.DERIVE_SHARED_SECRET, _Op.GET_PUBLIC_KEY}),
    KeyUsage.ENCAPSULATE_DECAPSULATE: frozenset({_Op.ENCAPSULATE, _Op.DECAPSULATE, _Op.GET_PUBLIC_KEY}),
}
"""What keys other than symmetric encryption keys can do (AWS "Grant operations")."""


def grantable_on(key: Key) -> frozenset[GrantOperation]:
    """The operations that a grant on the key can permit."""
    if key.spec is KeySpec.SYMMETRIC_DEFAULT:
        return _ALWAYS | _SYMMETRIC
    return _ALWAYS | _BY_USAGE[key.usage]


def terms_of(request: CreateGrantRequest) -> tuple[frozenset[GrantOperation], Constraint | None]:
    """The operations and the constraint of a request.

    Raises ValidationException for what no grant may have, UnsupportedOperationException for grants to services.
    """
    source = None if request.constraints is None else request.constraints.source_arn
    if request.grantee_service_principal or request.retiring_service_principal or source:
        raise UnsupportedOperationException("Grants to services are not supported.")
    if not request.operations:
        raise ValidationException("A grant permits at least one operation.")
    constraint = None if request.constraints is None else _constraint(request.constraints)
    return frozenset(request.operations), constraint


def proposed_by(request: CreateGrantRequest) -> policy.Grant:
    """The request as a decision about `kms:CreateGrant` sees it. Raises like `terms_of`."""
    operations, constraint = terms_of(request)
    return policy.Grant(
        grant_id="",
        grantee="",
        operations=frozenset(operation.value for operation in operations),
        constraint=None if constraint is None else policy.GrantConstraint(
            policy.ConstraintKind(constraint.kind.value), constraint.pairs
        ),
    )


def check_operations(key: Key, request: CreateGrantRequest) -> None:
    """Refuses what `key` can't do. Raises ValidationException."""
    operations, constraint = terms_of(request)
    impossible = sorted(operations - grantable_on(key))
    if impossible:
        raise ValidationException(f"A grant on {key.arn} can't permit {', '.join(impossible)}.")
    if constraint is not None and key.spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise ValidationException("Only grants on symmetric encryption keys can have constraints.")


def _constraint(given: GrantConstraints) -> Constraint:
    if given.encryption_context_equals and given.encryption_context_subset:
        raise ValidationException("A grant has one constraint: EncryptionContextEquals or EncryptionContextSubset.")
    if given.encryption_context_equals:
        return _checked(ConstraintKind.EQUALS, given.encryption_context_equals)
    if given.encryption_context_subset:
        return _checked(ConstraintKind.SUBSET, given.encryption_context_subset)
    # To take it for no constraint would permit more than was perhaps meant.
    raise ValidationException("The constraints of a grant hold at least one pair.")


def _checked(kind: ConstraintKind, pairs: Mapping[str, str]) -> Constraint:
    if len(pairs) > limits.GRANT_CONSTRAINT_PAIRS:
        raise ValidationException(f"A constraint has at most {limits.GRANT_CONSTRAINT_PAIRS} pairs.")
    if not all(pairs):
        raise ValidationException("The names in a constraint must not be empty.")
    if sum(len(name) + len(value) for name, value in pairs.items()) > limits.GRANT_CONSTRAINT_CHARACTERS:
        raise ValidationException(
            f"The pairs of a constraint have at most {limits.GRANT_CONSTRAINT_CHARACTERS} characters."
        )
    return Constraint(kind, MappingProxyType(dict(pairs)))
