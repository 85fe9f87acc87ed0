"""What a node measures, and its text for Prometheus.

Owns the names. Rule: measuring must not be felt: a histogram is a list of integers that one `bisect` indexes (about
0.3 µs), bound once per label value and not looked up again; whatever is already counted elsewhere (queue depths, LSNs)
is read by a callback at scrape time. Everything runs on the node's loop, so nothing is locked.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from gramme.api.http import Handler, HttpRequest, HttpResponse, Respond

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_US: Final = (
    (25, 50, 100, 250, 500),
    (1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000),
)
LATENCY_BOUNDS_NS: Final = tuple(bound * 1_000 for bounds in _BOUNDS_US for bound in bounds)
COUNT_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096)
BYTES_BOUNDS: Final = tuple(1 << power for power in range(8, 27, 2))
_MAX_OPERATIONS: Final = 100

Labels = tuple[str, ...]


class Histogram:
    """Counts of integers by bucket; `observe(v)` counts v in the first bucket whose bound is at least v."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[int]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def observe(self, value: int) -> None:
        """Count `value` (nanoseconds, bytes or pieces, as the family says)."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulative(self, unit: float) -> list[tuple[str, float]]:
        """Prometheus buckets: (upper bound in `unit`s, how many values were at most that), ending with +Inf."""
        buckets, seen = [], 0
        for bound, count in zip(self._bounds, self.counts, strict=False):
            seen += count
            buckets.append((repr(bound * unit), float(seen)))
        return [*buckets, ("+Inf", float(seen + self.counts[-1]))]


class HistogramFamily:
    """Histograms of one name, told apart by label values. `unit` converts what is observed to what is shown."""

    def __init__(self, name: str, text: str, bounds: Sequence[int], labels: Sequence[str], unit: float) -> None:
        self.name, self.text, self.labels, self.unit = name, text, tuple(labels), unit
        self._bounds = tuple(bounds)
        self._children: dict[Labels, Histogram] = {}

    def child(self, *values: str) -> Histogram:
        """The histogram of these label values, in the order of the labels: ask once and keep it."""
        assert len(values) == len(self.labels)
        found = self._children.get(values)
        if found is None:
            found = self._children[values] = Histogram(self._bounds)
        return found

    def collect(self) -> Iterator[Metric]:
        """For the registry, at scrape time."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for values, child in self._children.items():
            family.add_metric(values, child.cumulative(self.unit), child.total * self.unit)
        yield family


class Counter:
    """A count that only grows: `n += 1`."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class CounterFamily:
    """Counters of one name, told apart by label values."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name, self.text, self.labels = name, text, tuple(labels)
        self._children: dict[Labels, Counter] = {}

    def child(self, *values: str) -> Counter:
        """The counter of these label values: ask once and keep it."""
        assert len(values) == len(self.labels)
        found = self._children.get(values)
        if found is None:
            found = self._children[values] = Counter()
        return found

    def collect(self) -> Iterator[Metric]:
        """For the registry, at scrape time."""
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for values, child in self._children.items():
            family.add_metric(values, child.n)
        yield family


Reading = Callable[[], Iterable[tuple[Labels, float]]]


class _Readings:
    """Numbers that are kept elsewhere, read when somebody asks."""

    def __init__(self, name: str, text: str, labels: Sequence[str], read: Reading, *, grows: bool) -> None:
        self._name, self._text, self._labels, self._read, self._grows = name, text, tuple(labels), read, grows

    def collect(self) -> Iterator[Metric]:
        make = CounterMetricFamily if self._grows else GaugeMetricFamily
        family = make(self._name, self._text, labels=self._labels)
        for values, number in self._read():
            family.add_metric(values, number)
        yield family


class Metrics:
    """The metrics of one node. Latencies are observed in nanoseconds and shown in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.request_seconds = self.histogram(
            "gramme_request_seconds", "Time from a request's last byte to its answer", ("operation",)
        )
        self.responses = self.counter(
            "gramme_responses", "Answers by operation and HTTP status", ("operation", "status")
        )
        self.log_sync_seconds = self.histogram("gramme_log_sync_seconds", "Time of one write and fsync of the log")
        self.log_sync_records = self.histogram(
            "gramme_log_sync_records", "Records that one fsync of the log made durable", bounds=COUNT_BOUNDS, unit=1
        )
        self.log_sync_bytes = self.histogram(
            "gramme_log_sync_bytes", "Bytes that one fsync of the log made durable", bounds=BYTES_BOUNDS, unit=1
        )
        self.commit_seconds = self.histogram("gramme_commit_seconds", "Time from proposing a slot to its being applied")
        self.election_seconds = self.histogram(
            "gramme_election_seconds", "Time from a campaign's start to the barrier's being chosen"
        )
        self.elections = self.counter("gramme_elections", "Campaigns by outcome", ("outcome",))
        self.throttled = self.counter("gramme_throttled", "Requests refused because a queue was full", ("queue",))

    def histogram(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        *,
        bounds: Sequence[int] = LATENCY_BOUNDS_NS,
        unit: float = 1e-9,
    ) -> HistogramFamily:
        """A new family; by default of latencies, observed in nanoseconds."""
        family = HistogramFamily(name, text, bounds, labels, unit)
        self.registry.register(family)
        return family

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> CounterFamily:
        """A new family; Prometheus adds `_total` to the name."""
        family = CounterFamily(name, text, labels)
        self.registry.register(family)
        return family

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show what `read` returns at scrape time."""
        self.registry.register(_Readings(name, text, (), lambda: [((), read())], grows=False))

    def readings(self, name: str, text: str, labels: Sequence[str], read: Reading, *, grows: bool = False) -> None:
        """Show the (label values, number) pairs that `read` returns at scrape time; `grows`: they are counters."""
        self.registry.register(_Readings(name, text, labels, read, grows=grows))

    def render(self) -> bytes:
        """The text exposition format, version 0.0.4."""
        return generate_latest(self.registry)


# --- requests


class _Bound:
    """Metrics of one operation, looked up once."""

    __slots__ = ("latency", "statuses")

    def __init__(self, latency: Histogram) -> None:
        self.latency = latency
        self.statuses: dict[int, Counter] = {}


def measured(handle: Handler, metrics: Metrics) -> Handler:
    """`handle`, with the time and the status of every answer counted. An unknown target counts as `other`."""
    bound: dict[bytes, _Bound] = {}
    clock = time.monotonic_ns

    def operation_of(target: bytes) -> str:
        name = target.rpartition(b".")[2].decode("latin-1")
        return name if target.startswith(b"DynamoDB") and name.isalpha() and len(bound) < _MAX_OPERATIONS else "other"

    def serve(request: HttpRequest, respond: Respond) -> None:
        started = clock()
        target = request.headers.get(b"x-amz-target", b"")
        known = bound.get(target)
        if known is None:
            known = _Bound(metrics.request_seconds.child(operation_of(target)))
            if len(bound) < _MAX_OPERATIONS:
                bound[target] = known
        found = known

        def answer(response: HttpResponse) -> None:
            found.latency.observe(clock() - started)
            counter = found.statuses.get(response.status)
            if counter is None:
                counter = metrics.responses.child(operation_of(target), str(response.status))
                found.statuses[response.status] = counter
            counter.n += 1
            respond(response)

        handle(request, answer)

    return serve
