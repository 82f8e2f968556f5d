"""Audit records as a Parquet file, written group of rows after group. The one module that needs pyarrow."""

from __future__ import annotations

import json
from types import TracebackType
from typing import IO, Any

import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from kagitori.kms.v1.audit_pb2 import AuditEvent

_SCHEMA = pa.schema([
    ("event_time", pa.timestamp("s", tz="UTC")),
    ("event_id", pa.string()),
    ("event_name", pa.string()),
    ("event_source", pa.string()),
    ("read_only", pa.bool_()),
    ("username", pa.string()),
    ("principal_arn", pa.string()),
    ("access_key_id", pa.string()),
    ("source_ip_address", pa.string()),
    ("error_code", pa.string()),
    ("request_id", pa.string()),
    ("aws_region", pa.string()),
    ("resources", pa.list_(pa.string())),
    ("encryption_context", pa.map_(pa.string(), pa.string())),
    ("record", pa.string()),
])


class ParquetFile:
    """A context manager that writes what belongs at the end; the file itself stays open."""

    def __init__(self, file: IO[bytes], rows: int) -> None:
        """`rows` is how many a group has. Raises OSError, later as well."""
        self._writer = ParquetWriter(file, _SCHEMA, compression="zstd")
        self._most = rows
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._writer.close()

    def write(self, event: AuditEvent) -> None:
        """Adds a record."""
        self._rows.append(_row(event))
        if len(self._rows) >= self._most:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=_SCHEMA))
        self._rows.clear()


def _row(event: AuditEvent) -> dict[str, Any]:
    try:
        record = json.loads(event.cloud_trail_event)
    except ValueError:
        record = {}
    context = (record.get("requestParameters") or {}).get("encryptionContext") or {}
    return {
        "event_time": event.event_time.seconds,
        "event_id": event.event_id,
        "event_name": event.event_name,
        "event_source": event.event_source,
        "read_only": event.read_only,
        "username": event.username if event.HasField("username") else None,
        "principal_arn": (record.get("userIdentity") or {}).get("arn"),
        "access_key_id": event.access_key_id if event.HasField("access_key_id") else None,
        "source_ip_address": record.get("sourceIPAddress"),
        "error_code": record.get("errorCode"),
        "request_id": record.get("requestID"),
        "aws_region": record.get("awsRegion"),
        "resources": [resource.resource_name for resource in event.resources],
        "encryption_context": list(context.items()),
        "record": event.cloud_trail_event,
    }
