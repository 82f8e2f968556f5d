"""Rows of the operations on grants; a part of the table."""

from __future__ import annotations

from kagitori_server.model.rates import RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.model.states import StateRule
from kagitori_server.operations import grants
from kagitori_server.operations.grant_terms import proposed_by
from kagitori_server.operations.row import (
    Answer,
    AuditRule,
    Cost,
    Find,
    KeySlot,
    Operation,
    Permission,
    Resource,
)
from kagitori_server.operations.shapes import grants as shapes
from kagitori_server.operations.shapes.empty import Empty

_KMS = "kms"


def _key(states: StateRule) -> KeySlot:
    return KeySlot(name="key", find=Find.MEMBER, member="key_id", alias_allowed=False, states=states, usage=None)


GRANTS: tuple[Operation, ...] = (
    Operation(
        name="CreateGrant", service=_KMS,
        request=Shape(shapes.CreateGrantRequest), response=shapes.CreateGrantResponse,
        keys=(_key(StateRule.GRANTING),), alias_member=None, account_member=None,
        permissions=(
            Permission(action="kms:CreateGrant", on=Resource.KEY, slot="key", proposes=proposed_by),
        ),
        grantable=True, cross_account=True, read_only=False, writes=True, rate=RateGroup.GRANT,
        audit=AuditRule(
            request_shown=("key_id", "grantee_principal", "retiring_principal", "operations", "constraints", "name"),
            answer=Answer.KEY_ARN, response_shown=("grant_id",),
        ),
        cost=Cost.OFFLOAD, check=grants.check_create_grant, prepare=None, handler=grants.create_grant,
    ),
    Operation(
        name="ListGrants", service=_KMS,
        request=Shape(shapes.ListGrantsRequest), response=shapes.ListGrantsResponse,
        keys=(_key(StateRule.ANY),), alias_member=None, account_member=None,
        permissions=(Permission(action="kms:ListGrants", on=Resource.KEY, slot="key"),),
        grantable=False, cross_account=True, read_only=True, writes=False, rate=RateGroup.LIST_OF_KEY,
        audit=AuditRule(
            request_shown=("key_id", "grant_id", "grantee_principal", "limit", "marker"), answer=Answer.NOTHING
        ),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=grants.list_grants,
    ),
    Operation(
        name="ListRetirableGrants", service=_KMS,
        request=Shape(shapes.ListRetirableGrantsRequest), response=shapes.ListGrantsResponse,
        keys=(), alias_member=None, account_member=None,
        permissions=(Permission(action="kms:ListRetirableGrants", on=Resource.RETIRING_PRINCIPAL, slot=None),),
        grantable=False, cross_account=True, read_only=True, writes=False, rate=RateGroup.LIST_OF_KEY,
        audit=AuditRule(request_shown=("retiring_principal", "limit", "marker"), answer=Answer.NOTHING),
        cost=Cost.OFFLOAD, check=grants.check_list_retirable_grants, prepare=None,
        handler=grants.list_retirable_grants,
    ),
    Operation(
        name="RetireGrant", service=_KMS,
        request=Shape(shapes.RetireGrantRequest), response=Empty,
        keys=(
            KeySlot(name="key", find=Find.GRANT, member="key_id", alias_allowed=False, states=StateRule.ANY,
                    usage=None),
        ),
        alias_member=None, account_member=None,
        permissions=(Permission(action="kms:RetireGrant", on=Resource.GRANT, slot="key"),),
        grantable=True, cross_account=True, read_only=False, writes=True, rate=RateGroup.GRANT,
        audit=AuditRule(request_shown=(), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=grants.retire_grant,
    ),
    Operation(
        name="RevokeGrant", service=_KMS,
        request=Shape(shapes.RevokeGrantRequest), response=Empty,
        keys=(_key(StateRule.ANY),), alias_member=None, account_member=None,
        permissions=(Permission(action="kms:RevokeGrant", on=Resource.KEY, slot="key"),),
        grantable=False, cross_account=True, read_only=False, writes=True, rate=RateGroup.GRANT,
        audit=AuditRule(request_shown=("key_id", "grant_id"), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=grants.check_revoke_grant, prepare=None, handler=grants.revoke_grant,
    ),
)
