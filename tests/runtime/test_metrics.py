"""Metrics: what Prometheus's own parser reads from our text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gramme.runtime.metrics import BYTES_BOUNDS, COUNT_BOUNDS, LATENCY_BOUNDS_NS, Histogram, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.render().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_latency_is_counted_in_every_bucket_that_holds_it_and_shown_in_seconds() -> None:
    metrics = Metrics()
    child = metrics.request_seconds.child("GetItem")
    for latency_ns in (25_000, 25_001, 3_000_000_000, 60_000_000_000):
        child.observe(latency_ns)
    shown = samples(metrics)

    def bucket(bound: str) -> float:
        return shown["gramme_request_seconds_bucket", (("le", bound), ("operation", "GetItem"))]

    assert bucket("2.5e-05") == 1
    assert bucket("5e-05") == 2
    assert bucket("2.5") == 2
    assert bucket("5.0") == 3
    assert bucket("+Inf") == 4
    assert shown["gramme_request_seconds_count", (("operation", "GetItem"),)] == 4
    assert shown["gramme_request_seconds_sum", (("operation", "GetItem"),)] == pytest.approx(63.000050001)


@given(st.lists(st.integers(0, 10**11), max_size=50), st.sampled_from([LATENCY_BOUNDS_NS, COUNT_BOUNDS, BYTES_BOUNDS]))
def test_buckets_count_what_is_at_most_their_bound(values: list[int], bounds: tuple[int, ...]) -> None:
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    counts = [count for _, count in histogram.cumulative(1)]
    assert counts == [*(sum(value <= bound for value in values) for bound in bounds), len(values)]
    assert histogram.total == sum(values)


def test_bounds_rise() -> None:
    for bounds in (LATENCY_BOUNDS_NS, COUNT_BOUNDS, BYTES_BOUNDS):
        assert list(bounds) == sorted(set(bounds))


def test_a_child_is_the_same_each_time_it_is_asked_for() -> None:
    metrics = Metrics()
    assert metrics.responses.child("GetItem", "200") is metrics.responses.child("GetItem", "200")
    metrics.responses.child("GetItem", "200").n += 2
    metrics.responses.child("GetItem", "400").n += 1
    shown = samples(metrics)
    assert shown["gramme_responses_total", (("operation", "GetItem"), ("status", "200"))] == 2
    assert shown["gramme_responses_total", (("operation", "GetItem"), ("status", "400"))] == 1


def test_readings_are_taken_when_somebody_asks() -> None:
    metrics = Metrics()
    depth = {"queue": 1.0}
    metrics.gauge("gramme_depth", "Depth", lambda: depth["queue"])
    metrics.readings("gramme_bytes", "Bytes", ("peer",), lambda: [(("1",), depth["queue"] * 10)], grows=True)
    depth["queue"] = 4
    shown = samples(metrics)
    assert shown["gramme_depth", ()] == 4
    assert shown["gramme_bytes_total", (("peer", "1"),)] == 40


def test_label_values_are_escaped() -> None:
    metrics = Metrics()
    metrics.elections.child('a"b\\c\nd').n += 1
    assert samples(metrics)["gramme_elections_total", (("outcome", 'a"b\\c\nd'),)] == 1
