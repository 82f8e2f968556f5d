"""Records as OpenTelemetry logs: OTLP over HTTP, protobuf, to a collector's `/v1/logs`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import SEVERITY_NUMBER_INFO, SEVERITY_NUMBER_WARN, LogRecord

from kagitori_server.sinks.delivery import Batch
from kagitori_server.sinks.https import Poster

_SCOPE = "kagitori.audit"
_log = logging.getLogger(__name__)


class Collector:
    """`Delivery` to a collector. The body of a log record is the audit record as JSON, its event name the operation;
    refused calls are warnings. `event.id` is the record's `eventID`."""

    def __init__(self, name: str, poster: Poster, version: str, clock: Callable[[], float]) -> None:
        self._name = name
        self._poster = poster
        self._version = version
        self._clock = clock

    def deliver(self, batch: Batch) -> None:
        """Raises DeliveryFailed. Records that the collector rejects are counted in the log; the protocol forbids to
        send them again."""
        answer = self._poster.post(
            self.request(batch).SerializeToString(), {"Content-Type": "application/x-protobuf"}
        )
        try:
            told = ExportLogsServiceResponse.FromString(answer).partial_success
        except DecodeError:
            return
        if told.rejected_log_records:
            _log.error("audit sink %s: the collector rejected %d records", self._name, told.rejected_log_records)

    def request(self, batch: Batch) -> ExportLogsServiceRequest:
        """What is posted."""
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        resource.resource.attributes.extend((
            _attribute("service.name", "kagitori"), _attribute("service.version", self._version),
            _attribute("service.instance.id", batch.chain_id),
        ))
        scope = resource.scope_logs.add()
        scope.scope.name, scope.scope.version = _SCOPE, self._version
        now = int(self._clock() * 1_000_000_000)
        scope.log_records.extend(
            _log_record(record, batch.chain, batch.first_seq + number, now)
            for number, record in enumerate(batch.records)
        )
        return request

    def close(self) -> None:
        """Closes the connection."""
        self._poster.close()


def _log_record(record: bytes, chain: str, seq: int, now: int) -> LogRecord:
    event = json.loads(record)
    refused = "errorCode" in event
    return LogRecord(
        time_unix_nano=int(datetime.fromisoformat(event["eventTime"]).timestamp()) * 1_000_000_000,
        observed_time_unix_nano=now,
        severity_number=SEVERITY_NUMBER_WARN if refused else SEVERITY_NUMBER_INFO,
        severity_text="WARN" if refused else "INFO",
        event_name=event["eventName"],
        body=AnyValue(string_value=record.decode("ascii")),
        attributes=(
            _attribute("event.id", event["eventID"]), _attribute("kagitori.chain", chain),
            KeyValue(key="kagitori.seq", value=AnyValue(int_value=seq)),
        ),
    )


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))
