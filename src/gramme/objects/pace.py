"""How fast work in the background may go: as fast as those in the foreground do not notice.

Owns the feedback. Background tasks reserve slices of bytes, one after the other, at a rate; once a second the rate is
halved while the 99th percentile of this node's reads over the last minute is above a threshold, and raised by a quarter
while it is below. It never falls to nothing: a change of the ring that stands still for ever is worse than a slow read.
Source: SOSP 2007, §6.5 ("the admission controller … whether the 99th percentile database read latency over the last 60
seconds is close to 50 ms … decides how many time slices will be available"); row A43.
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.time import MILLISECOND, SECOND, Instant

THRESHOLD_NS: Final = 50 * MILLISECOND
SLOWEST: Final = 128 << 10
FASTEST: Final = 64 << 20
_FIRST: Final = 4 << 20
_SLOTS: Final = 6
_SLOT_NS: Final = 10 * SECOND
_STEPS: Final = 8
"""Buckets of the histogram for each doubling: a percentile is at most an eighth too high."""

_BUCKETS: Final = 40 * _STEPS


class Pace:
    """See the module. Rates are bytes a second. Without a threshold (0) everything goes at the fastest."""

    def __init__(self, threshold_ns: int = THRESHOLD_NS) -> None:
        self._threshold = threshold_ns
        self._slots = [[0] * _BUCKETS for _ in range(_SLOTS)]
        self._slot = 0  # number of the current one, counted from the clock's origin
        self._adjusted = Instant(0)
        self.rate = _FIRST if threshold_ns else FASTEST
        self.free_at = Instant(0)
        """When the next slice may begin."""

    def observe(self, took_ns: int, now: Instant) -> None:
        """A read of a client took so long."""
        self._turn(now)
        self._slots[self._slot % _SLOTS][_bucket(took_ns)] += 1

    def percentile(self, now: Instant) -> int:
        """The 99th percentile of the last minute, in nanoseconds: the upper end of its bucket, 0 without a read."""
        self._turn(now)
        counts = [sum(column) for column in zip(*self._slots, strict=True)]
        wanted = sum(counts) - sum(counts) // 100
        seen = 0
        for bucket, count in enumerate(counts):
            seen += count
            if count and seen >= wanted:
                return _upper(bucket)
        return 0

    def reserve(self, size: int, now: Instant) -> None:
        """A slice of `size` bytes begins now; the next one may once it is over."""
        self._adjust(now)
        self.free_at = Instant(max(now, self.free_at) + size * SECOND // self.rate)

    def _adjust(self, now: Instant) -> None:
        if not self._threshold or now - self._adjusted < SECOND:
            return
        self._adjusted = now
        if self.percentile(now) > self._threshold:
            self.rate = max(SLOWEST, self.rate // 2)
        else:
            self.rate = min(FASTEST, self.rate * 5 // 4)

    def _turn(self, now: Instant) -> None:
        """Forget what is older than a minute."""
        slot = now // _SLOT_NS
        for passed in range(min(slot - self._slot, _SLOTS)):
            self._slots[(slot - passed) % _SLOTS] = [0] * _BUCKETS
        self._slot = max(slot, self._slot)


def _bucket(took_ns: int) -> int:
    """Microseconds on a scale that doubles every `_STEPS` buckets."""
    units = max(0, took_ns) // 1_000
    if units < _STEPS:
        return units
    exponent = units.bit_length() - _STEPS.bit_length()
    return min(_BUCKETS - 1, (exponent + 1) * _STEPS + (units >> exponent) - _STEPS)


def _upper(bucket: int) -> int:
    """The end of a bucket, in nanoseconds."""
    if bucket < _STEPS:
        return (bucket + 1) * 1_000
    exponent = bucket // _STEPS - 1
    return ((bucket % _STEPS + _STEPS + 1) << exponent) * 1_000
