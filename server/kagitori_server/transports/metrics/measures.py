"""What is measured. Labels come from the table and the vocabulary alone, so their number is bounded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from kagitori_server.model.errors import every_error
from kagitori_server.model.neighbour_errors import every_neighbour_error

MEDIA_TYPE = CONTENT_TYPE_LATEST
"""Of the text that `Measures.exposition` makes."""
SUCCESS = "OK"
OTHER = "Other"
"""Stands for operations and errors that nobody declared."""

SECONDS_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Sink(Protocol):
    """How a sink of audit records does."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def up(self) -> bool: ...
    @property
    def delivered(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def lag(self) -> int: ...


class Measures:
    """Counts calls, for the pipeline, and tells them, for the listener.

    Each instance has its own registry, so several may live in one process.
    """

    def __init__(
        self,
        operations: Iterable[str],
        *,
        in_flight: Callable[[], float],
        audit_position: Callable[[], float],
        sinks: Callable[[], Sequence[Sink]] = tuple,
        left_out: Callable[[], float] = lambda: 0,
    ) -> None:
        """The functions are asked when metrics are read; `audit_position` is the last durable record's number,
        `left_out` how many calls proved no caller and have no record of their own."""
        self._registry = CollectorRegistry()
        self._operations = frozenset(operations)
        self._codes = frozenset(error.code() for error in (*every_error(), *every_neighbour_error()))
        self._calls = _Calls()
        self._registry.register(self._calls)
        gauge = Gauge("kagitori_calls_in_flight", "Calls that are worked on now.", registry=self._registry)
        gauge.set_function(in_flight)
        self._registry.register(_Told(
            "kagitori_audit_records", "Sequence number of the last durable audit record.", audit_position
        ))
        self._registry.register(_Told(
            "kagitori_calls_left_out", "Refused calls that proved no caller and have no audit record of their own.",
            left_out,
        ))
        self._registry.register(_Sinks(sinks))
        ProcessCollector(registry=self._registry)

    def observed(self, operation: str, error_code: str | None, seconds: float) -> None:
        """A call ended: with an answer (no code), or with the AWS exception of that name."""
        self._calls.count(
            operation if operation in self._operations else OTHER,
            SUCCESS if error_code is None else error_code if error_code in self._codes else OTHER,
            seconds,
        )

    def exposition(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Tally:
    """The calls of one operation with one outcome."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS_BUCKETS) + 1)
        """How many took so long, by the first bound that they didn't exceed; above all bounds, the last."""
        self.seconds = 0.0


class _Calls(Collector):
    """Calls and their times. Prometheus's own counters take a lock for each of three numbers, several times as long.

    Calls are counted in one thread, the event loop's; they may be collected in any.
    """

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def count(self, operation: str, code: str, seconds: float) -> None:
        """One call more."""
        tally = self._tallies.get((operation, code))
        if tally is None:
            tally = self._tallies.setdefault((operation, code), _Tally())
        tally.buckets[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        tally.seconds += seconds

    def collect(self) -> Iterable[Metric]:
        calls = CounterMetricFamily("kagitori_calls", "Calls that were answered.", labels=("operation", "code"))
        times = HistogramMetricFamily(
            "kagitori_call_seconds", "Time from a call's arrival in the pipeline to its answer.", labels=("operation",)
        )
        by_operation: dict[str, list[_Tally]] = {}
        for (operation, code), tally in sorted(self._tallies.items()):
            calls.add_metric((operation, code), sum(tally.buckets))
            by_operation.setdefault(operation, []).append(tally)
        for operation, tallies in by_operation.items():
            counts = [sum(numbers) for numbers in zip(*(tally.buckets for tally in tallies), strict=True)]
            bounds = [*map(floatToGoString, SECONDS_BUCKETS), "+Inf"]
            below = list(zip(bounds, accumulate(counts), strict=True))
            times.add_metric((operation,), below, sum(tally.seconds for tally in tallies))
        yield calls
        yield times


class _Told(Collector):
    """A number that others count, as a counter, so that a rate can be taken of it."""

    def __init__(self, name: str, meaning: str, count: Callable[[], float]) -> None:
        self._name = name
        self._meaning = meaning
        self._count = count

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._meaning, value=self._count())


class _Sinks(Collector):
    """How the sinks of audit records do."""

    def __init__(self, sinks: Callable[[], Sequence[Sink]]) -> None:
        self._sinks = sinks

    def collect(self) -> Iterable[Metric]:
        labels = ("sink", "kind")
        up = GaugeMetricFamily(
            "kagitori_audit_sink_up", "Whether the last delivery to a sink succeeded.", labels=labels
        )
        lag = GaugeMetricFamily(
            "kagitori_audit_sink_lag_records", "Durable records that a sink has yet to take.", labels=labels
        )
        delivered = CounterMetricFamily("kagitori_audit_sink_records", "Records that a sink has taken.", labels=labels)
        failures = CounterMetricFamily("kagitori_audit_sink_failures", "Deliveries that failed.", labels=labels)
        for sink in self._sinks():
            of = (sink.name, sink.kind)
            up.add_metric(of, float(sink.up))
            lag.add_metric(of, sink.lag)
            delivered.add_metric(of, sink.delivered)
            failures.add_metric(of, sink.failures)
        yield from (up, lag, delivered, failures)
