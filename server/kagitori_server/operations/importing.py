"""GetParametersForImport, ImportKeyMaterial and DeleteImportedKeyMaterial: material that was made elsewhere."""

from __future__ import annotations

from dataclasses import replace

from kagitori_keystore import algorithms
from kagitori_keystore.algorithms import KeySpec as MaterialSpec
from kagitori_keystore.base import MaterialCorrupt, MaterialRef, MaterialUnknown
from kagitori_keystore.importing.unwrapping import combines
from kagitori_server.model import limits
from kagitori_server.model.errors import (
    IncorrectKeyMaterialException,
    InvalidImportTokenException,
    KMSInvalidStateException,
    NotFoundException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.keys import ExpirationModel, Key, KeySpec, MaterialState, MaterialVersion
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.import_token import binding_of, parse_token
from kagitori_server.operations.imported_material import settle_state, settle_waiting, take_away
from kagitori_server.operations.shapes.importing import (
    DeleteImportedKeyMaterialRequest,
    DeleteImportedKeyMaterialResponse,
    GetParametersForImportRequest,
    GetParametersForImportResponse,
    ImportKeyMaterialRequest,
    ImportKeyMaterialResponse,
    ImportType,
    WrappingAlgorithm,
    WrappingKeySpec,
)

_SERVED_ALGORITHMS = frozenset(WrappingAlgorithm) - {WrappingAlgorithm.RSAES_PKCS1_V1_5, WrappingAlgorithm.SM2PKE}
_SYMMETRIC_MEMBERS = ("import_type", "key_material_description", "key_material_id")


def check_get_parameters_for_import(context: Context, request: GetParametersForImportRequest) -> None:
    """Refuses ways of wrapping that aren't served or can't hold the key's material. Raises
    UnsupportedOperationException."""
    algorithm, spec = request.wrapping_algorithm, request.wrapping_key_spec
    if algorithm not in _SERVED_ALGORITHMS or spec is WrappingKeySpec.SM2:
        raise UnsupportedOperationException(f"Wrapping with {algorithm} under {spec} is not supported.")
    if not combines(
        MaterialSpec[context.key.spec.name], algorithms.WrappingSpec(spec), algorithms.WrappingAlgorithm(algorithm)
    ):
        raise UnsupportedOperationException(
            f"Material of key spec {context.key.spec} can't be wrapped with {algorithm} under {spec}; an algorithm "
            "RSA_AES_KEY_WRAP_* can."
        )


def get_parameters_for_import(
    context: Context, request: GetParametersForImportRequest
) -> GetParametersForImportResponse:
    """A fresh public key to wrap material under, and the token for its import (AWS GetParametersForImport)."""
    key, valid_to = context.key, context.now + limits.IMPORT_TOKEN_SECONDS
    binding = binding_of(key, algorithms.WrappingAlgorithm(request.wrapping_algorithm), valid_to)
    public_key, sealed = context.store(key).import_parameters(
        domain_of(key.account, key.region), key.key_id, algorithms.WrappingSpec(request.wrapping_key_spec), binding
    )
    return GetParametersForImportResponse(
        key_id=key.arn, import_token=binding + sealed, public_key=public_key, parameters_valid_to=valid_to
    )


def check_import_key_material(context: Context, request: ImportKeyMaterialRequest) -> None:
    """Refuses what needs no look at the material: members that don't fit each other or the key, a token that has
    ended or is another key's, and a second version that would await its rotation.

    Raises ValidationException, UnsupportedOperationException, IncorrectKeyMaterialException,
    KMSInvalidStateException, InvalidImportTokenException or ExpiredImportTokenException.
    """
    key = context.key
    _check_expiration(request, context.now)
    if key.spec is not KeySpec.SYMMETRIC_DEFAULT and any(getattr(request, name) for name in _SYMMETRIC_MEMBERS):
        raise UnsupportedOperationException(
            "ImportType, KeyMaterialDescription and KeyMaterialId are for symmetric encryption keys alone."
        )
    if request.import_type is ImportType.NEW_KEY_MATERIAL:
        _check_new(key, request)
    elif request.key_material_id is not None and key.material(request.key_material_id) is None:
        raise IncorrectKeyMaterialException(f"The key has no material {request.key_material_id}.")
    parse_token(request.import_token, key, context.now)


def _check_expiration(request: ImportKeyMaterialRequest, now: float) -> None:
    if request.expiration_model is ExpirationModel.KEY_MATERIAL_DOES_NOT_EXPIRE:
        if request.valid_to is not None:
            raise ValidationException("ValidTo is only for ExpirationModel KEY_MATERIAL_EXPIRES.")
    elif request.valid_to is None:
        raise ValidationException("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
    elif not now < request.valid_to <= now + limits.MATERIAL_VALID_DAYS * limits.SECONDS_PER_DAY:
        raise ValidationException(f"ValidTo must be in the future, at most {limits.MATERIAL_VALID_DAYS} days from now.")


def _check_new(key: Key, request: ImportKeyMaterialRequest) -> None:
    if request.key_material_id is not None:
        raise ValidationException("KeyMaterialId is only for ImportType EXISTING_KEY_MATERIAL.")
    if key.is_replica:
        raise UnsupportedOperationException(
            f"{key.arn} is a replica: new material is imported into the primary key in {key.primary_region} first."
        )
    waiting = key.waiting_material
    if waiting is not None and waiting.present:
        raise KMSInvalidStateException(
            f"New material can't be imported into {key.arn}: material {waiting.material_id} is pending rotation."
        )


def prepare_import_key_material(context: Context, request: ImportKeyMaterialRequest) -> None:
    """Unwraps and judges the material, and wraps it for the catalog. Raises InvalidImportTokenException for a token
    that isn't genuine, and KeyStoreError."""
    key = context.key
    token = parse_token(request.import_token, key, context.now)
    try:
        context.prepared = context.store(key).import_material(
            MaterialSpec[key.spec.name], domain_of(key.account, key.region), key.key_id, token.sealed, token.binding,
            token.algorithm, request.encrypted_key_material,
        )
    except (MaterialCorrupt, MaterialUnknown):
        raise InvalidImportTokenException("The import token is malformed, or of another key or Region.") from None


def import_key_material(context: Context, request: ImportKeyMaterialRequest) -> ImportKeyMaterialResponse:
    """Gives a key material, its first, one that it had, or one to rotate to (AWS ImportKeyMaterial).

    A key that lacks nothing any more is Enabled; one that was Disabled and lacked nothing stays so.
    """
    key, writer = context.key, context.writer
    reference: MaterialRef = context.prepared
    known = key.material(reference.material_id)
    if known is None:
        _add(context, key, request, reference)
    else:
        if request.import_type is ImportType.NEW_KEY_MATERIAL and (known.present or not known.waiting):
            raise IncorrectKeyMaterialException("The key has this material already: it is not new.")
        if request.key_material_id not in (None, known.material_id):
            raise IncorrectKeyMaterialException(f"The material is not {request.key_material_id}.")
        description = request.key_material_description
        writer.put_material(
            key.region, key.key_id, known.material_id, reference.reference, request.valid_to,
            known.description if description is None else description,
        )
    settle_waiting(writer, key)
    settle_state(writer, key.region, key.key_id, context.now)
    shown = reference.material_id if key.spec is KeySpec.SYMMETRIC_DEFAULT else None
    return ImportKeyMaterialResponse(key_id=key.arn, key_material_id=shown)


def _add(context: Context, key: Key, request: ImportKeyMaterialRequest, reference: MaterialRef) -> None:
    """Material that the key never had. Raises IncorrectKeyMaterialException where other material is expected."""
    wanted = request.import_type or (
        ImportType.EXISTING_KEY_MATERIAL if key.materials or key.is_replica else ImportType.NEW_KEY_MATERIAL
    )
    if wanted is not ImportType.NEW_KEY_MATERIAL:
        raise IncorrectKeyMaterialException("The key never had this material; it must be one that it had.")
    state = MaterialState.PENDING_ROTATION if key.materials else MaterialState.CURRENT
    version = MaterialVersion(
        reference.material_id, reference.reference, created=context.now, state=state, expires=request.valid_to,
        description=request.key_material_description,
    )
    stored = context.writer.get_key(key.region, key.key_id)
    stale = stored.waiting_material if stored is not None else None
    if stored is not None and stale is not None:
        # It has expired, or there would be no place for another.
        take_away(context.services, context.writer, stored, stale)
    context.writer.add_material(key.region, key.key_id, version)
    for region in key.regions:
        if region != key.region:
            unseen = replace(version, reference=b"", expires=None, description=None)
            context.writer.add_material(region, key.key_id, unseen)


def check_delete_imported_key_material(context: Context, request: DeleteImportedKeyMaterialRequest) -> None:
    """Refuses material that the key never had. Raises NotFoundException."""
    named = request.key_material_id
    if named is not None and context.key.material(named) is None:
        raise NotFoundException(f"Key '{context.key.arn}' has no material {named}")


def delete_imported_key_material(
    context: Context, request: DeleteImportedKeyMaterialRequest
) -> DeleteImportedKeyMaterialResponse:
    """Deletes imported material, the current one unless another is named (AWS DeleteImportedKeyMaterial).

    The key can't be used until the same is imported again. Nothing happens where there is none.
    """
    key = context.key
    version = _named_version(key, request.key_material_id)
    if version is not None and version.present:
        take_away(context.services, context.writer, key, version)
    shown = version.material_id if version is not None and key.spec is KeySpec.SYMMETRIC_DEFAULT else None
    return DeleteImportedKeyMaterialResponse(key_id=key.arn, key_material_id=shown)


def _named_version(key: Key, material_id: str | None) -> MaterialVersion | None:
    if material_id is not None:
        return key.material(material_id)
    return next((version for version in key.materials if version.state is MaterialState.CURRENT), None)
