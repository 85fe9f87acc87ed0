"""The ports: everything a node takes from outside. `runtime` provides the real ones, `sim` the seeded ones.

All callbacks are called on the one event loop of the node, never from another thread, and never from inside
the call that registered them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from gramme.kernel.ids import NodeId
from gramme.kernel.time import Instant, Timestamp


class Clock(Protocol):
    """Both kinds of time (see `gramme.kernel.time`)."""

    def instant(self) -> Instant: ...

    def timestamp(self) -> Timestamp: ...


class Randomness(Protocol):
    """Randomness of one node; `random.Random` fits."""

    def random(self) -> float: ...

    def randrange(self, stop: int, /) -> int: ...

    def randbytes(self, n: int, /) -> bytes: ...


class Timer(Protocol):
    """A pending callback."""

    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """The event loop as a node sees it."""

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer: ...

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run `callback` after the events that are ready now: where a turn's buffers are flushed."""


class Transport(Protocol):
    """Messages between nodes: at most once, in order per connection, possibly lost, never corrupted."""

    def send(self, node: NodeId, messages: list[Any]) -> None:
        """Queue `messages` (msgspec structs) for `node` as one frame. Bounded: past the bound they are dropped."""


class SegmentWrite(NamedTuple):
    """Bytes to be put at an offset of a log segment."""

    segment: int
    offset: int
    data: bytes


class LogDisk(Protocol):
    """The files of a node's shared log. Segment numbers start at 1 and are never reused."""

    def segments(self) -> list[int]:
        """Numbers of the segments that exist, ascending. Only before the first `submit`."""

    def read(self, segment: int) -> bytes:
        """The whole segment. Only before the first `submit`."""

    def submit(self, writes: Iterable[SegmentWrite], on_durable: Callable[[], None]) -> None:
        """Carry out `writes` in order (a segment is created, zero-filled, at its first write), then make all of
        them durable with one fsync, then call `on_durable`. Jobs complete in the order of submission. A failure of
        a write or an fsync is fatal to the node and is never retried (REPLICATION.md §1)."""

    def delete(self, segment: int) -> None:
        """Remove a segment; it may reappear if a crash follows."""

    def free_bytes(self) -> int:
        """Free space of the file system that holds the log."""
