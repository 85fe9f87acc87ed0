"""What a node counts of its clients' requests for objects: `/stats`, under the names that Riak's users know.

Owns the names. Those of the last minute cover the last 30 to 60 seconds (two halves, the older one dropped whole),
times are in microseconds as in Riak, rounded down by three per cent at most. Rule: only what means the same as in Riak
has Riak's name. Whoever watches over longer times reads `/metrics` on the admin port, which `Observers` feed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from gramme.api.objects.backend import ObjectBackend
from gramme.kernel.ports import Clock
from gramme.kernel.time import SECOND

RIAK_VERSION: Final = "2.9.10"
"""What clients ask for to learn which parts of the HTTP API there are; this is the one that ours follows."""

HALF_NS: Final = 30 * SECOND
_US: Final = 1_000
_BITS: Final = 6
_SHARES: Final = (("median", 50), ("95", 95), ("99", 99), ("100", 100))
_READS: Final = ("get", "get_type")
_WRITES: Final = ("put", "delete", "change")


class Observers(Protocol):
    """Who wants to know of each answer."""

    def answered(self, operation: str, status: int, ns: int) -> None:
        """A request was answered after `ns` nanoseconds."""

    def siblings(self, count: int) -> None:
        """A read found so many siblings, deletions included."""


class NoObservers:
    """Nobody wants to know."""

    def answered(self, operation: str, status: int, ns: int) -> None:
        """Nothing."""

    def siblings(self, count: int) -> None:
        """Nothing."""


class Recent:
    """How often each integer was observed in the last minute or half of it; of large ones the first six bits count."""

    __slots__ = ("_half", "_newer", "_older")

    def __init__(self) -> None:
        self._half = 0
        self._newer: dict[int, int] = {}
        self._older: dict[int, int] = {}

    def observe(self, value: int, half: int) -> None:
        """Count `value` in the half minute of that number."""
        if half != self._half:
            self._turn(half)
        shift = value.bit_length() - _BITS
        if shift > 0:
            value = value >> shift << shift
        self._newer[value] = self._newer.get(value, 0) + 1

    def _turn(self, half: int) -> None:
        self._older = self._newer if half == self._half + 1 else {}
        self._newer = {}
        self._half = half

    def counts(self, half: int) -> list[tuple[int, int]]:
        """(value, how often), ascending."""
        if half != self._half:
            self._turn(half)
        return sorted(
            (value, self._newer.get(value, 0) + self._older.get(value, 0)) for value in self._newer | self._older
        )


class Statistics:
    """See the module."""

    def __init__(self, backend: ObjectBackend, clock: Clock, observers: Observers) -> None:
        self._backend = backend
        self._clock = clock
        self._observers = observers
        self._reads, self._writes, self._siblings = Recent(), Recent(), Recent()
        self._read_total = self._written_total = 0

    def answered(self, operation: str, status: int, ns: int) -> None:
        """A request was answered."""
        self._observers.answered(operation, status, ns)
        if status >= 400 and status != 404:
            return
        if operation in _READS:
            self._read_total += 1
            self._reads.observe(ns // _US, self._half())
        elif operation in _WRITES:
            self._written_total += 1
            self._writes.observe(ns // _US, self._half())

    def found(self, siblings: int) -> None:
        """A read found so many siblings."""
        self._observers.siblings(siblings)
        self._siblings.observe(siblings, self._half())

    def _half(self) -> int:
        return self._clock.instant() // HALF_NS

    def document(self) -> dict[str, Any]:
        """The body of `/stats`."""
        half = self._half()
        status = self._backend.status()
        ring = self._backend.config.ring
        return {
            "riak_kv_version": RIAK_VERSION,
            "nodename": str(self._backend.me),
            "ring_members": [str(place.node) for place in ring.members],
            "ring_num_partitions": ring.partitions,
            **_summary("node_gets", "node_get_fsm_time", self._reads.counts(half)),
            "node_gets_total": self._read_total,
            **_summary("node_puts", "node_put_fsm_time", self._writes.counts(half)),
            "node_puts_total": self._written_total,
            **_distribution("node_get_fsm_siblings", self._siblings.counts(half)),
            **{name: status.get(ours, 0) for name, ours in _COUNTED.items()},
        }


_COUNTED: Final[Mapping[str, str]] = {
    "coord_redirs_total": "forwarded", "read_repairs_total": "repaired_by_reads", "vnode_gets_total": "replica_reads",
    "vnode_puts_total": "replica_writes",
}  # fmt: skip


def _summary(count: str, time: str, counts: list[tuple[int, int]]) -> dict[str, int]:
    return {count: sum(often for _, often in counts), **_distribution(time, counts)}


def _distribution(name: str, counts: list[tuple[int, int]]) -> dict[str, int]:
    total = sum(often for _, often in counts)
    mean = sum(value * often for value, often in counts) // total if total else 0
    return {f"{name}_mean": mean} | {f"{name}_{shown}": _percentile(counts, total, share) for shown, share in _SHARES}


def _percentile(counts: list[tuple[int, int]], total: int, share: int) -> int:
    """The least value that `share` per cent of all do not exceed; 0 of nothing."""
    needed = -(-total * share // 100)
    for value, often in counts:
        needed -= often
        if needed <= 0:
            return value
    return 0
