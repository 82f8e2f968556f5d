"""Rows of the operations that import key material."""

from __future__ import annotations

from kagitori_server.model.keys import Origin
from kagitori_server.model.rates import RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.model.states import StateRule
from kagitori_server.operations import importing
from kagitori_server.operations.row import Answer, AuditRule, Cost, Find, KeySlot, Operation, Permission, Resource
from kagitori_server.operations.shapes import importing as shapes

_SERVICE = "kms"


def _key(states: StateRule) -> KeySlot:
    return KeySlot(
        name="key", find=Find.MEMBER, member="key_id", alias_allowed=False, states=states, usage=None,
        origins=frozenset({Origin.EXTERNAL}),
    )


def _on_key(action: str) -> Permission:
    return Permission(action=f"kms:{action}", on=Resource.KEY, slot="key")


IMPORTS: tuple[Operation, ...] = (
    Operation(
        name="GetParametersForImport", service=_SERVICE,
        request=Shape(shapes.GetParametersForImportRequest), response=shapes.GetParametersForImportResponse,
        keys=(_key(StateRule.IMPORT_PREPARABLE),), alias_member=None, account_member=None,
        permissions=(_on_key("GetParametersForImport"),),
        grantable=False, cross_account=False, read_only=True, writes=False,
        rate=RateGroup.IMPORT_PARAMETERS,
        audit=AuditRule(
            request_shown=("key_id", "wrapping_algorithm", "wrapping_key_spec"), answer=Answer.NOTHING
        ),
        cost=Cost.GENERATION, check=importing.check_get_parameters_for_import, prepare=None,
        handler=importing.get_parameters_for_import,
    ),
    Operation(
        name="ImportKeyMaterial", service=_SERVICE,
        request=Shape(shapes.ImportKeyMaterialRequest), response=shapes.ImportKeyMaterialResponse,
        keys=(_key(StateRule.IMPORTABLE),), alias_member=None, account_member=None,
        permissions=(_on_key("ImportKeyMaterial"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.CHANGE,
        audit=AuditRule(
            request_shown=(
                "key_id", "valid_to", "expiration_model", "import_type", "key_material_description",
                "key_material_id",
            ),
            answer=Answer.KEY_ARN, response_shown=("key_material_id",),
        ),
        cost=Cost.OFFLOAD, check=importing.check_import_key_material, prepare=importing.prepare_import_key_material,
        handler=importing.import_key_material,
    ),
    Operation(
        name="DeleteImportedKeyMaterial", service=_SERVICE,
        request=Shape(shapes.DeleteImportedKeyMaterialRequest), response=shapes.DeleteImportedKeyMaterialResponse,
        keys=(_key(StateRule.EMPTIABLE),), alias_member=None, account_member=None,
        permissions=(_on_key("DeleteImportedKeyMaterial"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.CHANGE,
        audit=AuditRule(
            request_shown=("key_id", "key_material_id"), answer=Answer.KEY_ARN, response_shown=("key_material_id",)
        ),
        cost=Cost.OFFLOAD, check=importing.check_delete_imported_key_material, prepare=None,
        handler=importing.delete_imported_key_material,
    ),
)
