"""Rows of the operations that rotate key material."""

from __future__ import annotations

from kagitori_server.model.keys import Origin
from kagitori_server.model.rates import RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.model.states import StateRule
from kagitori_server.operations import rotation
from kagitori_server.operations.row import Answer, AuditRule, Cost, Find, KeySlot, Operation, Permission, Resource
from kagitori_server.operations.shapes import rotation as shapes
from kagitori_server.operations.shapes.empty import Empty

_SERVICE = "kms"
_GENERATED = frozenset({Origin.AWS_KMS})
_ROTATABLE = frozenset({Origin.AWS_KMS, Origin.EXTERNAL})


def _key(states: StateRule, origins: frozenset[Origin]) -> KeySlot:
    return KeySlot(
        name="key", find=Find.MEMBER, member="key_id", alias_allowed=False, states=states, usage=None, origins=origins
    )


def _on_key(action: str) -> Permission:
    return Permission(action=f"kms:{action}", on=Resource.KEY, slot="key")


ROTATION: tuple[Operation, ...] = (
    Operation(
        name="EnableKeyRotation", service=_SERVICE,
        request=Shape(shapes.EnableKeyRotationRequest), response=Empty,
        keys=(_key(StateRule.USABLE, _GENERATED),), alias_member=None, account_member=None,
        permissions=(_on_key("EnableKeyRotation"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.CHANGE,
        audit=AuditRule(request_shown=("key_id", "rotation_period_in_days"), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=rotation.check_rotation_setting, prepare=None, handler=rotation.enable_key_rotation,
    ),
    Operation(
        name="DisableKeyRotation", service=_SERVICE,
        request=Shape(shapes.DisableKeyRotationRequest), response=Empty,
        keys=(_key(StateRule.USABLE, _GENERATED),), alias_member=None, account_member=None,
        permissions=(_on_key("DisableKeyRotation"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("key_id",), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=rotation.check_rotation_setting, prepare=None, handler=rotation.disable_key_rotation,
    ),
    Operation(
        name="GetKeyRotationStatus", service=_SERVICE,
        request=Shape(shapes.GetKeyRotationStatusRequest), response=shapes.GetKeyRotationStatusResponse,
        keys=(_key(StateRule.ANY, _ROTATABLE),), alias_member=None, account_member=None,
        permissions=(_on_key("GetKeyRotationStatus"),),
        grantable=False, cross_account=True, read_only=True, writes=False, rate=RateGroup.READ_SETTINGS,
        audit=AuditRule(request_shown=("key_id",), answer=Answer.NOTHING),
        cost=Cost.INLINE, check=rotation.check_get_key_rotation_status, prepare=None,
        handler=rotation.get_key_rotation_status,
    ),
    Operation(
        name="RotateKeyOnDemand", service=_SERVICE,
        request=Shape(shapes.RotateKeyOnDemandRequest), response=shapes.RotateKeyOnDemandResponse,
        keys=(_key(StateRule.USABLE, _ROTATABLE),), alias_member=None, account_member=None,
        permissions=(_on_key("RotateKeyOnDemand"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("key_id",), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=rotation.check_rotate_key_on_demand, prepare=rotation.prepare_rotate_key_on_demand,
        handler=rotation.rotate_key_on_demand,
    ),
    Operation(
        name="ListKeyRotations", service=_SERVICE,
        request=Shape(shapes.ListKeyRotationsRequest), response=shapes.ListKeyRotationsResponse,
        keys=(_key(StateRule.ANY, _ROTATABLE),), alias_member=None, account_member=None,
        permissions=(_on_key("ListKeyRotations"),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.LIST_OF_KEY,
        audit=AuditRule(request_shown=("key_id", "include_key_material", "limit", "marker"), answer=Answer.NOTHING),
        cost=Cost.INLINE, check=rotation.check_list_key_rotations, prepare=None, handler=rotation.list_key_rotations,
    ),
)
