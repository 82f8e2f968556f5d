"""What is measured. Labels come from the table and the vocabulary alone, so their number is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from kagitori_server.model.errors import every_error

MEDIA_TYPE = CONTENT_TYPE_LATEST
"""Of the text that `Measures.exposition` makes."""
SUCCESS = "OK"
OTHER = "Other"
"""Stands for operations and errors that nobody declared."""

SECONDS_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Measures:
    """Counts calls, for the pipeline, and tells them, for the listener. Thread-safe.

    Each instance has its own registry, so several may live in one process.
    """

    def __init__(
        self,
        operations: Iterable[str],
        *,
        in_flight: Callable[[], float],
        audit_position: Callable[[], float],
    ) -> None:
        """Both functions are asked when metrics are read; `audit_position` is the last durable record's number."""
        self._registry = CollectorRegistry()
        self._operations = frozenset(operations)
        self._codes = frozenset(error.code() for error in every_error())
        self._calls = Counter(
            "kagitori_calls", "Calls that were answered.", ("operation", "code"), registry=self._registry
        )
        self._seconds = Histogram(
            "kagitori_call_seconds", "Time from a call's arrival in the pipeline to its answer.", ("operation",),
            buckets=SECONDS_BUCKETS, registry=self._registry,
        )
        gauge = Gauge("kagitori_calls_in_flight", "Calls that are worked on now.", registry=self._registry)
        gauge.set_function(in_flight)
        self._registry.register(_AuditPosition(audit_position))
        ProcessCollector(registry=self._registry)
        # Looking labels up costs more than counting, so the counters of a pair are kept at hand.
        self._at_hand: dict[tuple[str, str | None], tuple[Counter, Histogram]] = {}

    def observed(self, operation: str, error_code: str | None, seconds: float) -> None:
        """A call ended: with an answer (no code), or with the AWS exception of that name."""
        pair = self._at_hand.get((operation, error_code))
        if pair is None:
            pair = self._pair(operation, error_code)
        counter, histogram = pair
        counter.inc()
        histogram.observe(seconds)

    def exposition(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    def _pair(self, operation: str, error_code: str | None) -> tuple[Counter, Histogram]:
        known = operation if operation in self._operations else OTHER
        code = SUCCESS if error_code is None else error_code if error_code in self._codes else OTHER
        pair = (self._calls.labels(known, code), self._seconds.labels(known))
        if known != OTHER and code != OTHER:
            self._at_hand[operation, error_code] = pair
        return pair


class _AuditPosition(Collector):
    """The audit trail's length as a counter, so that a rate can be taken of it."""

    def __init__(self, position: Callable[[], float]) -> None:
        self._position = position

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "kagitori_audit_records", "Sequence number of the last durable audit record.", value=self._position()
        )
