"""Rows of the operations on multi-Region families of keys."""

from __future__ import annotations

from kagitori_server.model.rates import RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.model.states import StateRule
from kagitori_server.operations import multi_region
from kagitori_server.operations.row import Answer, AuditRule, Cost, Find, KeySlot, Operation, Permission, Resource
from kagitori_server.operations.shapes import multi_region as shapes
from kagitori_server.operations.shapes.empty import Empty

_SERVICE = "kms"

MULTI_REGION: tuple[Operation, ...] = (
    Operation(
        name="ReplicateKey", service=_SERVICE,
        request=Shape(shapes.ReplicateKeyRequest), response=shapes.ReplicateKeyResponse,
        keys=(KeySlot(name="key", find=Find.MEMBER, member="key_id", alias_allowed=False,
                      states=StateRule.REPLICABLE, usage=None),),
        alias_member=None, account_member=None,
        permissions=(
            Permission(action="kms:ReplicateKey", on=Resource.KEY, slot="key"),
            Permission(action="kms:CreateKey", on=Resource.ACCOUNT, slot=None, region_member="replica_region"),
            Permission(action="kms:TagResource", on=Resource.ACCOUNT, slot=None, region_member="replica_region",
                       when=lambda request: request.tags),
            Permission(action="kms:PutKeyPolicy", on=Resource.ACCOUNT, slot=None, region_member="replica_region",
                       when=lambda request: request.policy),
        ),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(
            request_shown=(
                "key_id", "replica_region", "policy", "bypass_policy_lockout_safety_check", "description", "tags",
            ),
            answer=Answer.MEMBERS, response_shown=("replica_key_metadata", "replica_policy", "replica_tags"),
        ),
        cost=Cost.OFFLOAD, check=multi_region.check_replicate_key, prepare=multi_region.prepare_replicate_key,
        handler=multi_region.replicate_key,
    ),
    Operation(
        name="UpdatePrimaryRegion", service=_SERVICE,
        request=Shape(shapes.UpdatePrimaryRegionRequest), response=Empty,
        keys=(
            KeySlot(name="key", find=Find.MEMBER, member="key_id", alias_allowed=False, states=StateRule.USABLE,
                    usage=None),
            KeySlot(name="replica", find=Find.FAMILY, member="primary_region", alias_allowed=False,
                    states=StateRule.USABLE, usage=None),
        ),
        alias_member=None, account_member=None,
        permissions=(
            Permission(action="kms:UpdatePrimaryRegion", on=Resource.KEY, slot="key"),
            Permission(action="kms:UpdatePrimaryRegion", on=Resource.KEY, slot="replica"),
        ),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("key_id", "primary_region"), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=multi_region.check_update_primary_region, prepare=None,
        handler=multi_region.update_primary_region,
    ),
)
