"""`kagitori audit export`: records into a file, as JSON Lines or Parquet, in memory that doesn't grow with them."""

from __future__ import annotations

import contextlib
import enum
import sys
import time
from collections.abc import Iterator
from typing import IO, Annotated, Protocol

import typer

from kagitori.kms.v1.audit_pb2 import AuditEvent, ExportEventsRequest
from kagitori_client.cli.arguments import point_in_time
from kagitori_client.cli.audit_filters import filters
from kagitori_client.cli.encryption import Force
from kagitori_client.cli.failures import LocalFileError, UsageError
from kagitori_client.cli.files import STANDARD, replaced_file
from kagitori_client.cli.session import Session, command
from kagitori_client.errors import ConnectionFailed, ServiceError

_MOST_TRIES = 5
_FIRST_PAUSE = 0.25
_ROWS = 10_000
"""Of a row group, which is held in memory until it is written."""


class Format(enum.StrEnum):
    """What is written."""

    JSONL = "jsonl"
    """One record per line, as it stands in the trail: CloudTrail's members."""
    PARQUET = "parquet"
    """A table with the members that are most asked for, and the whole record as text. Needs pyarrow."""


class _Sink(Protocol):
    """Where records go."""

    def write(self, event: AuditEvent) -> None: ...


def register(app: typer.Typer) -> None:
    """Adds the command to `kagitori audit`."""
    command(
        app, "export", epilog="Example: kagitori audit export --format parquet --out may.parquet --from 2026-05-01",
    )(export)


def export(
    session: Session,
    out: Annotated[str, typer.Option("--out", help="The file to make, - for stdout.", metavar="FILE")] = "-",
    form: Annotated[Format, typer.Option("--format", help="How records are written.")] = Format.JSONL,
    only: Annotated[
        list[str] | None, typer.Option("--filter", help="As of lookup; repeat for more.", metavar="ATTR=VALUE")
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", help="A pair of the encryption context; repeat for more.", metavar="NAME=VALUE"),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help="Records from then on: a time, or how long ago such as 30d; all by default.",
                     metavar="TIME"),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Records up to then, likewise; now by default.", metavar="TIME")
    ] = None,
    account: Annotated[str | None, typer.Option(help="Another account than the caller's.", metavar="ACCOUNT")] = None,
    force: Force = False,
) -> None:
    """Write all audit records of a period, the oldest first; those that fit all filters.

    FILE has mode 0600, and appears only when all are in it.
    """
    request = ExportEventsRequest(filters=filters(only, context), account_id=account)
    for text, into in ((since, request.start_time), (until, request.end_time)):
        if text is not None:
            into.CopyFrom(point_in_time(text))
    if form is Format.PARQUET and out == STANDARD:
        raise UsageError("a Parquet file needs a name", hint="give --out")
    written = 0
    try:
        with contextlib.ExitStack() as stack:
            file = sys.stdout.buffer if out == STANDARD else stack.enter_context(replaced_file(out, force=force))
            sink = _JsonLines(file) if form is Format.JSONL else _parquet(stack, file)
            for event in _events(session, request):
                sink.write(event)
                written += 1
    except BrokenPipeError:
        # Who reads stdout has had enough of it.
        raise
    except OSError as error:
        raise LocalFileError(f"{out}: {error.strerror or error}") from None
    sys.stderr.write(f"{written} records\n")


def _events(session: Session, request: ExportEventsRequest) -> Iterator[AuditEvent]:
    """All records; a call that breaks off is gone on with behind what came of it."""
    tries = 0
    while True:
        try:
            for message in session.client.admin.ExportEvents(request):
                yield from message.events
                request.resume_token = message.resume_token
                tries = 0
                if message.complete:
                    return
        except (ConnectionFailed, ServiceError) as error:
            tries += 1
            asked = error.retry_after if isinstance(error, ServiceError) else 0.0
            if tries > _MOST_TRIES or asked is None:
                raise
            time.sleep(max(asked, _FIRST_PAUSE * 2.0 ** (tries - 1)))
        else:
            raise ConnectionFailed("the export ended before everything had been read")


class _JsonLines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, event: AuditEvent) -> None:
        self._file.write(event.cloud_trail_event.encode() + b"\n")


def _parquet(stack: contextlib.ExitStack, file: IO[bytes]) -> _Sink:
    try:
        from kagitori_client.cli.parquet import ParquetFile
    except ModuleNotFoundError:
        raise UsageError("Parquet needs pyarrow", hint="pip install 'kagitori-kms[parquet]'") from None
    return stack.enter_context(ParquetFile(file, _ROWS))
