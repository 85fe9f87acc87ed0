"""Latencies as they are reported: the exact percentiles of what was measured, never interpolated."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds; requests without a good answer are in `failed` and nowhere else."""

    count: int
    failed: int
    mean: float
    p50: float
    p99: float
    p999: float
    longest: float


def latency_of(took_ms: Sequence[float], failed: int = 0) -> Latency:
    """Of values in any order."""
    p50, p99, p999, longest = percentiles(took_ms, 50, 99, 99.9, 100)
    mean = statistics.fmean(took_ms) if took_ms else 0.0
    return Latency(len(took_ms), failed, mean, p50, p99, p999, longest)


def percentiles(values: Sequence[float], *which: float) -> list[float]:
    """For each the smallest value that so many per cent do not exceed, of values in any order; 0 for none."""
    if not values:
        return [0.0] * len(which)
    ordered = sorted(values)
    return [ordered[max(0, math.ceil(len(ordered) * one / 100) - 1)] for one in which]
