"""Rows of the tables and the model's nouns: each way, nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row

from kagitori_server.model.custom_key_stores import CustomKeyStore
from kagitori_server.model.grants import Constraint, ConstraintKind, Grant, GrantOperation, GrantPrincipal
from kagitori_server.model.keys import (
    Alias,
    Key,
    KeyManager,
    KeySpec,
    KeyState,
    KeyUsage,
    MaterialState,
    MaterialVersion,
    Origin,
    RotationType,
    Tag,
)
from kagitori_server.model.principals import (
    SESSION_SECONDS,
    Account,
    AssumedSession,
    CertificateRecord,
    PolicyText,
    PrincipalKind,
    PrincipalRecord,
    TokenRecord,
    TrustPolicy,
)
from kagitori_server.model.spiffe import SpiffeId, spiffe_id_or_none

_DEPENDING = frozenset({KeyState.ENABLED, KeyState.DISABLED, KeyState.UPDATING})
"""States that a key can't be seen to have while its custom key store is out of reach."""


def pairs_text(pairs: Mapping[str, str]) -> str:
    """Pairs as one JSON object, in the order of their keys."""
    return json.dumps(dict(sorted(pairs.items())), ensure_ascii=True, separators=(",", ":"))


def pairs_of(text: str) -> Mapping[str, str]:
    """The pairs of `pairs_text`, read only: records are shared by all calls."""
    return MappingProxyType(json.loads(text))


def key_of(
    row: Row[Any],
    materials: Iterable[MaterialVersion],
    tags: Iterable[Tag],
    aliases: Iterable[str],
    family_regions: Iterable[str],
    custom_store: CustomKeyStore | None,
) -> Key:
    """A key from its row of `keys` and what hangs on it."""
    return Key(
        account=row.account,
        region=row.region,
        key_id=row.key_id,
        arn=row.arn,
        spec=KeySpec(row.spec),
        usage=KeyUsage(row.usage),
        origin=Origin(row.origin),
        state=_state(KeyState(row.state), custom_store),
        description=row.description,
        created=row.created,
        store_id=row.store_id,
        materials=tuple(materials),
        policy=row.policy,
        policy_bindings=pairs_of(row.policy_bindings),
        tags=tuple(tags),
        aliases=tuple(aliases),
        deletion_date=row.deletion_date,
        pending_window_days=row.pending_window_days,
        manager=KeyManager(row.manager),
        rotation_period_days=row.rotation_period_days,
        next_rotation=row.next_rotation,
        on_demand_rotations=row.on_demand_rotations,
        primary_region=row.primary_region,
        family_regions=tuple(family_regions),
        xks_key_id=row.xks_key_id,
        custom_store=custom_store,
    )


def _state(stored: KeyState, custom_store: CustomKeyStore | None) -> KeyState:
    """What a key's state comes to while its custom key store is out of reach."""
    if custom_store is None or custom_store.connected or stored not in _DEPENDING:
        return stored
    return KeyState.UNAVAILABLE


def key_values(key: Key) -> dict[str, Any]:
    """The columns of `keys`."""
    return {
        "region": key.region,
        "key_id": key.key_id,
        "account": key.account,
        "arn": key.arn,
        "spec": key.spec.value,
        "usage": key.usage.value,
        "origin": key.origin.value,
        "state": key.state.value,
        "description": key.description,
        "created": key.created,
        "store_id": key.store_id,
        "policy": key.policy,
        "policy_bindings": pairs_text(key.policy_bindings),
        "deletion_date": key.deletion_date,
        "pending_window_days": key.pending_window_days,
        "manager": key.manager.value,
        "rotation_period_days": key.rotation_period_days,
        "next_rotation": key.next_rotation,
        "on_demand_rotations": key.on_demand_rotations,
        "primary_region": key.primary_region,
        "xks_key_id": key.xks_key_id,
    }


def material_of(row: Row[Any]) -> MaterialVersion:
    """A version of material from its row."""
    return MaterialVersion(
        material_id=row.material_id,
        reference=bytes(row.reference),
        created=row.created,
        state=MaterialState(row.state),
        rotated=row.rotated,
        rotation_type=RotationType(row.rotation_type) if row.rotation_type is not None else None,
        expires=row.expires,
        description=row.description,
    )


def material_values(region: str, key_id: str, number: int, version: MaterialVersion) -> dict[str, Any]:
    """The columns of `materials`; `number` counts from 0 in the order of age."""
    return {
        "region": region,
        "key_id": key_id,
        "number": number,
        "material_id": version.material_id,
        "reference": version.reference,
        "created": version.created,
        "state": version.state.value,
        "rotated": version.rotated,
        "rotation_type": version.rotation_type,
        "expires": version.expires,
        "description": version.description,
    }


def alias_of(row: Row[Any]) -> Alias:
    """An alias from its row."""
    return Alias(row.account, row.region, row.name, row.key_id, row.created, row.updated)


def account_of(row: Row[Any]) -> Account:
    """An account from its row."""
    return Account(row.account, row.name, row.created)


def principal_of(
    row: Row[Any],
    policies: Mapping[str, str],
    inherited: Iterable[PolicyText],
    boundary: PolicyText | None,
    trust: Row[Any] | None,
) -> PrincipalRecord:
    """A user, role or root from its row, its policies of every kind and its row of `role_trusts`."""
    return PrincipalRecord(
        kind=PrincipalKind(row.kind),
        account=row.account,
        name=row.name,
        path=row.path,
        principal_id=row.principal_id,
        arn=row.arn,
        created=row.created,
        policies=MappingProxyType(dict(policies)),
        description=row.description,
        tags=pairs_of(row.tags),
        inherited=tuple(inherited),
        boundary=boundary,
        trust=(
            None if trust is None or trust.document is None
            else TrustPolicy(trust.document, pairs_of(trust.bindings))
        ),
        max_session_seconds=SESSION_SECONDS if trust is None else trust.max_session_seconds,
    )


def role_trust_values(role: PrincipalRecord) -> dict[str, Any]:
    """The columns of `role_trusts`."""
    return {
        "arn": role.arn,
        "max_session_seconds": role.max_session_seconds,
        "document": None if role.trust is None else role.trust.document,
        "bindings": pairs_text({} if role.trust is None else role.trust.bindings),
    }


def session_of(text: str | None) -> AssumedSession | None:
    """What `session_text` wrote."""
    if text is None:
        return None
    policy, tags, source_identity, *provider = json.loads(text)
    return AssumedSession(policy, MappingProxyType(tags), source_identity, *provider)


def session_text(session: AssumedSession | None) -> str | None:
    """A session as one JSON array; None for none."""
    if session is None:
        return None
    parts = [session.policy, dict(sorted(session.tags.items())), session.source_identity]
    if session.federated_provider is not None:
        parts.append(session.federated_provider)
    return json.dumps(parts, ensure_ascii=True, separators=(",", ":"))


def principal_values(principal: PrincipalRecord) -> dict[str, Any]:
    """The columns of `principals`."""
    return {
        "arn": principal.arn,
        "account": principal.account,
        "kind": principal.kind.value,
        "name": principal.name,
        "folded_name": principal.name.lower(),
        "path": principal.path,
        "principal_id": principal.principal_id,
        "description": principal.description,
        "created": principal.created,
        "tags": pairs_text(principal.tags),
    }


def token_of(row: Row[Any]) -> TokenRecord:
    """A token from its row."""
    return TokenRecord(
        token_id=row.token_id,
        digest=bytes(row.digest),
        principal_arn=row.principal_arn,
        account=row.account,
        session_name=row.session_name,
        description=row.description,
        created=row.created,
        expires=row.expires,
        session=session_of(row.session),
    )


def token_values(token: TokenRecord) -> dict[str, Any]:
    """The columns of `tokens`."""
    return {
        "token_id": token.token_id,
        "digest": token.digest,
        "principal_arn": token.principal_arn,
        "account": token.account,
        "session_name": token.session_name,
        "description": token.description,
        "created": token.created,
        "expires": token.expires,
        "session": session_text(token.session),
    }


def certificate_of(row: Row[Any]) -> CertificateRecord:
    """A certificate mapping from its row."""
    return CertificateRecord(
        certificate_id=row.certificate_id,
        uri_san=row.uri_san,
        subject=row.subject,
        principal_arn=row.principal_arn,
        account=row.account,
        session_name=row.session_name,
        description=row.description,
        created=row.created,
    )


def pattern_of(certificate: CertificateRecord) -> SpiffeId | None:
    """The pattern of SPIFFE IDs that a mapping is of; None for what is compared exactly."""
    spiffe_id = None if certificate.uri_san is None else spiffe_id_or_none(certificate.uri_san)
    return spiffe_id if spiffe_id is not None and spiffe_id.is_pattern else None


def certificate_values(certificate: CertificateRecord) -> dict[str, Any]:
    """The columns of `certificates`."""
    pattern = pattern_of(certificate)
    return {
        "certificate_id": certificate.certificate_id,
        "uri_san": certificate.uri_san,
        "subject": certificate.subject,
        "principal_arn": certificate.principal_arn,
        "account": certificate.account,
        "session_name": certificate.session_name,
        "description": certificate.description,
        "created": certificate.created,
        "pattern_domain": None if pattern is None else pattern.trust_domain,
    }


def grant_of(row: Row[Any]) -> Grant:
    """A grant from a row of all columns of `grants`."""
    columns: Sequence[Any] = row
    (
        region, key_id, grant_id, name, created, grantee_arn, grantee_id, retiring_arn, retiring_id, issuing_account,
        operations, kind, pairs,
    ) = columns
    return Grant(
        region=region,
        key_id=key_id,
        grant_id=grant_id,
        name=name,
        created=created,
        grantee=_grant_principal(grantee_arn, grantee_id),
        retiring=None if retiring_id is None else _grant_principal(retiring_arn, retiring_id),
        issuing_account=issuing_account,
        operations=_operations_of(operations),
        constraint=None if kind is None else Constraint(ConstraintKind(kind), pairs_of(pairs)),
    )


# Kept, since a principal with many grants mostly has the same kind of grant many times.
_grant_principal = lru_cache(maxsize=1024)(GrantPrincipal)


@lru_cache(maxsize=1024)
def _operations_of(text: str) -> frozenset[GrantOperation]:
    return frozenset(GrantOperation(name) for name in text.split())


def grant_values(grant: Grant) -> dict[str, Any]:
    """The columns of `grants`."""
    constraint, retiring = grant.constraint, grant.retiring
    return {
        "region": grant.region,
        "key_id": grant.key_id,
        "grant_id": grant.grant_id,
        "name": grant.name,
        "created": grant.created,
        "grantee_arn": grant.grantee.arn,
        "grantee_id": grant.grantee.unique_id,
        "retiring_arn": None if retiring is None else retiring.arn,
        "retiring_id": None if retiring is None else retiring.unique_id,
        "issuing_account": grant.issuing_account,
        "operations": " ".join(sorted(grant.operations)),
        "constraint_kind": None if constraint is None else constraint.kind.value,
        "constraint_pairs": pairs_text({} if constraint is None else constraint.pairs),
    }
