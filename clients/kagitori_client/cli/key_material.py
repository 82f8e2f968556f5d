"""`kagitori key import` and `delete-material`: keys whose material was made elsewhere (origin EXTERNAL)."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from kagitori.kms.v1.key_material_pb2 import (
    DeleteImportedKeyMaterialRequest,
    GetParametersForImportRequest,
    GetParametersForImportResponse,
    ImportKeyMaterialRequest,
    ImportType,
    WrappingAlgorithm,
    WrappingKeySpec,
)
from kagitori.kms.v1.resources_pb2 import ExpirationModel
from kagitori_client.cli.arguments import seconds, value
from kagitori_client.cli.encryption import Force
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.files import STANDARD, check_output, read_secret, read_small, refuse_same_file, write_secret
from kagitori_client.cli.keys import Key
from kagitori_client.cli.pem import PUBLIC, KeyForm, written
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import moment
from kagitori_client.errors import ServiceError

if TYPE_CHECKING:
    from kagitori_client.importing import KeyMaterial

app = typer.Typer()

_WRAPPED_MAX = 6_144
_PASSPHRASE_MAX = 4_096
_ALGORITHMS = ("RSA_AES_KEY_WRAP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1")
_FORMS = ("raw", "pem", "der")

Algorithm = Annotated[
    str, typer.Option("--algorithm", help=f"How to wrap it: {', '.join(_ALGORITHMS)}.", metavar="ALGORITHM")
]
WrappingKey = Annotated[
    str, typer.Option("--wrapping-key", help="Key to wrap it under: RSA_2048, RSA_3072 or RSA_4096.", metavar="SPEC")
]


@command(
    app, "import-parameters",
    epilog="Example: kagitori key import-parameters alias/mine --public-key-out wrap.pem --token-out import.token",
)
def import_parameters(
    session: Session,
    key: Key,
    public_key_out: Annotated[str, typer.Option(help="File for the public key to wrap under.", metavar="FILE")],
    token_out: Annotated[str, typer.Option(help="File for the token that goes back with the material.",
                                           metavar="FILE")],
    algorithm: Algorithm = _ALGORITHMS[0],
    wrapping_key: WrappingKey = "RSA_3072",
    public_form: Annotated[KeyForm, typer.Option("--form", help="Form of the public key.")] = KeyForm.PEM,
    force: Force = False,
) -> None:
    """Get what wrapping elsewhere takes: in an HSM, or on a machine without network.

    Both files are good for 24 hours, together. What was wrapped comes back with `key import --wrapped`.
    """
    for target in (public_key_out, token_out):
        check_output(target, force=force)
    refuse_same_file(public_key_out, token_out)
    given = _parameters(session, session.key_id(key), algorithm, wrapping_key)
    write_secret(public_key_out, written(given.public_key, PUBLIC, public_form), force=force)
    write_secret(token_out, given.import_token, force=force)
    session.done(
        f"wrote {public_key_out} and {token_out}, good until {moment(given.parameters_valid_to)}",
        key_id=given.key_id, public_key_out=public_key_out, token_out=token_out,
        parameters_valid_to=moment(given.parameters_valid_to),
    )


def _parameters(session: Session, arn: str, algorithm: str, wrapping_key: str) -> GetParametersForImportResponse:
    if algorithm.upper() not in _ALGORITHMS:
        raise UsageError(f"--algorithm can't be {algorithm!r}", hint=f"one of {', '.join(_ALGORITHMS)}")
    request = GetParametersForImportRequest(
        key_id=arn,
        wrapping_key_spec=value(WrappingKeySpec, wrapping_key, "--wrapping-key"),
        wrapping_algorithm=value(WrappingAlgorithm, algorithm, "--algorithm"),
    )
    return session.client.keys.GetParametersForImport(request)


@command(
    app, "import",
    epilog="Example: kagitori key create --origin EXTERNAL --alias alias/mine; "
    "kagitori key import alias/mine --material key.bin --expires 90d",
)
def import_(
    session: Session,
    key: Key,
    material: Annotated[
        str | None,
        typer.Option(
            "--material", metavar="FILE",
            help="File with the key, - for stdin: raw bytes (symmetric, HMAC), or a private key in PEM or DER.",
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="How the file is written: raw, pem or der; found out without it.", metavar="FORM")
    ] = None,
    passphrase: Annotated[
        str | None, typer.Option("--passphrase-file", help="File with the passphrase of an encrypted key.",
                                 metavar="FILE")
    ] = None,
    wrapped: Annotated[
        str | None, typer.Option(help="File with the key as it was wrapped elsewhere, instead.", metavar="FILE")
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="The token that `key import-parameters` wrote, for --wrapped.", metavar="FILE")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="Have the service delete it after so long, such as 90d; at most 365d. Else it stays."),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Further material of a symmetric key, for the next `key rotate`.")
    ] = False,
    material_id: Annotated[
        str | None, typer.Option(help="Refuse the import of any material but the one of this id.", metavar="ID")
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="Words about material of a symmetric key; not secret.")
    ] = None,
    algorithm: Algorithm = _ALGORITHMS[0],
    wrapping_key: WrappingKey = "RSA_3072",
) -> None:
    """Give a key of origin EXTERNAL its material, or the same material again.

    It is wrapped here and leaves this machine wrapped only. Keep a copy: the service never gives it back.
    """
    if (wrapped is None) != (token is None) or (wrapped is None) == (material is None):
        raise UsageError("give --material FILE, or --wrapped FILE and --token FILE")
    if material is None and (form is not None or passphrase is not None):
        raise UsageError("--form and --passphrase-file are for --material")
    life = seconds(expires) if expires is not None else None
    request = ImportKeyMaterialRequest(
        expiration_model=ExpirationModel.EXPIRATION_MODEL_KEY_MATERIAL_DOES_NOT_EXPIRE,
        import_type=ImportType.IMPORT_TYPE_NEW_KEY_MATERIAL if new else None,
        key_material_id=material_id,
        key_material_description=description,
    )
    specs: Sequence[str] = ()
    if wrapped is not None and token is not None:
        request.encrypted_key_material = read_small(wrapped, _WRAPPED_MAX, "wrapped key material")
        request.import_token = read_small(token, _WRAPPED_MAX, "import token")
        request.key_id = session.key_id(key)
    elif material is not None:
        content = read_material(material, form, passphrase)
        specs = content.key_specs
        given = _parameters(session, session.key_id(key), algorithm, wrapping_key)
        request.encrypted_key_material = _wrapped(content, given.public_key, algorithm)
        request.key_id, request.import_token = given.key_id, given.import_token
    if life is not None:
        request.expiration_model = ExpirationModel.EXPIRATION_MODEL_KEY_MATERIAL_EXPIRES
        request.valid_to.CopyFrom(Timestamp(seconds=int(time.time()) + life))
    try:
        answer = session.client.keys.ImportKeyMaterial(request)
    except ServiceError as error:
        error.hint = error.hint or _hint(error, specs, new=new)
        raise
    facts: dict[str, str | None] = {
        "key_id": answer.key_id,
        "key_material_id": answer.key_material_id if answer.HasField("key_material_id") else None,
    }
    session.done(f"the material is in {key}", **facts)


def read_material(name: str, form: str | None, passphrase: str | None) -> KeyMaterial:
    """The key in a file, `-` for stdin. Raises UsageError, KeyMaterialError."""
    # Not above: it loads cryptography, which makes every command start 40 ms later.
    from kagitori_client import importing

    if form is not None and form.lower() not in _FORMS:
        raise UsageError(f"--form can't be {form!r}", hint=f"one of {', '.join(_FORMS)}")
    if name == STANDARD and passphrase == STANDARD:
        raise UsageError("only one of --material and --passphrase-file can be -")
    return importing.read_key_material(
        read_secret(name, importing.KEY_FILE_MAX_BYTES, "key material"),
        form=importing.KeyFileForm(form.lower()) if form is not None else None,
        passphrase=read_secret(passphrase, _PASSPHRASE_MAX, "passphrase").rstrip(b"\r\n") if passphrase else None,
    )


def _wrapped(content: KeyMaterial, public_key: bytes, algorithm: str) -> bytes:
    # As in `read_material`.
    from kagitori_client import importing

    return importing.wrap_key_material(content, public_key, importing.WrappingAlgorithm(algorithm.upper()))


def _hint(error: ServiceError, specs: Sequence[str], *, new: bool) -> str | None:
    if error.code != "IncorrectKeyMaterialException" or not specs:
        return None
    again = "" if new else "; a key that has material takes the same again, and other material with --new"
    return f"the file can be the material of a key of spec {' or '.join(specs)}{again}"


@command(app, "delete-material", epilog="Example: kagitori key delete-material alias/mine")
def delete_material(
    session: Session,
    key: Key,
    material_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Which material; the current one without it.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete imported material at once.

    The key can't be used until the same material is imported again, which you have to have kept.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "deleting material wants a confirmation, and there is no terminal", hint="give --yes"
            )
        typer.confirm(f"Without a copy of it, all encrypted under {key} is lost. Go on?", abort=True, err=True)
    request = DeleteImportedKeyMaterialRequest(key_id=session.key_id(key), key_material_id=material_id)
    answer = session.client.keys.DeleteImportedKeyMaterial(request)
    deleted = answer.key_material_id if answer.HasField("key_material_id") else None
    session.done(f"{key} has no such material any more", key_id=answer.key_id, key_material_id=deleted)
