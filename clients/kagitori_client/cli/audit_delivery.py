"""`kagitori audit`: where the trail is delivered to, how that goes, and the keys that sign for it."""

from __future__ import annotations

import typer

from kagitori.kms.v1.trail_pb2 import (
    AuditPublicKey,
    DescribeTrailRequest,
    GetTrailStatusRequest,
    ListAuditPublicKeysRequest,
)
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

app = typer.Typer()


@command(app, "trail")
def trail(session: Session) -> None:
    """Show where the audit trail is delivered to, as log files and digests of AWS CloudTrail."""
    session.record(session.client.admin.DescribeTrail(DescribeTrailRequest()))


@command(app, "status")
def status(session: Session) -> None:
    """Show when log files and digests were delivered, and what went wrong."""
    session.record(session.client.admin.GetTrailStatus(GetTrailStatusRequest()))


@command(app, "public-keys")
def public_keys(session: Session) -> None:
    """List the keys that sign for the audit trail, and all that ever did; with --output json, the keys themselves."""
    found: list[AuditPublicKey] = []
    for page in pages(session.client.admin.ListAuditPublicKeys, ListAuditPublicKeysRequest()):
        found += page.public_keys
    shown = ["purpose", "key_id", "fingerprint", "validity_start_time", "validity_end_time"]
    session.records("public_keys", found, shown)
