"""`kagitori key rotate`, `rotations` and `rotation`: new material for keys that keep their id."""

from __future__ import annotations

from typing import Annotated

import typer

from kagitori.kms.v1.key_material_pb2 import (
    DisableKeyRotationRequest,
    EnableKeyRotationRequest,
    GetKeyRotationStatusRequest,
    IncludeKeyMaterial,
    ListKeyRotationsRequest,
    RotateKeyOnDemandRequest,
)
from kagitori_client.cli.keys import Key
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

app = typer.Typer()
schedule = typer.Typer(help="Have a key rotated by itself, every so many days.", no_args_is_help=True)
app.add_typer(schedule, name="rotation")

_COLUMNS = [
    "key_material_id", "key_material_state", "import_state", "valid_to", "rotation_date", "rotation_type",
    "key_material_description",
]


@command(app, "rotate", epilog="Example: kagitori key rotate alias/orders")
def rotate(session: Session, key: Key) -> None:
    """Give a symmetric key new material for what it encrypts from now on.

    What it encrypted before stays readable. A key of origin EXTERNAL takes the material that was imported with
    `key import --new`. At most 25 times in the life of a key.
    """
    answer = session.client.keys.RotateKeyOnDemand(RotateKeyOnDemandRequest(key_id=session.key_id(key)))
    session.done(f"{key} is rotated", key_id=answer.key_id)


@command(app, "rotations")
def rotations(session: Session, key: Key) -> None:
    """List all material of a symmetric key: what it was, what it is, and what waits for a rotation."""
    request = ListKeyRotationsRequest(
        key_id=session.key_id(key),
        include_key_material=IncludeKeyMaterial.INCLUDE_KEY_MATERIAL_ALL_KEY_MATERIAL,
    )
    found = [entry for page in pages(session.client.keys.ListKeyRotations, request) for entry in page.rotations]
    session.records("rotations", found, _COLUMNS)


@command(schedule, "enable", epilog="Example: kagitori key rotation enable alias/orders --days 180")
def enable(
    session: Session,
    key: Key,
    days: Annotated[
        int, typer.Option(min=90, max=2560, help="Days between rotations, counted from now.")
    ] = 365,
) -> None:
    """Have a symmetric key rotated every so many days."""
    arn = session.key_id(key)
    session.client.keys.EnableKeyRotation(EnableKeyRotationRequest(key_id=arn, rotation_period_in_days=days))
    session.done(f"{key} is rotated every {days} days", key_id=arn, rotation_period_in_days=days)


@command(schedule, "disable")
def disable(session: Session, key: Key) -> None:
    """Have a key not rotated by itself any more."""
    arn = session.key_id(key)
    session.client.keys.DisableKeyRotation(DisableKeyRotationRequest(key_id=arn))
    session.done(f"{key} is not rotated by itself any more", key_id=arn)


@command(schedule, "status")
def status(session: Session, key: Key) -> None:
    """Show whether and when a key is rotated by itself."""
    request = GetKeyRotationStatusRequest(key_id=session.key_id(key))
    session.record(session.client.keys.GetKeyRotationStatus(request))
