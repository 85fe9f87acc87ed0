"""Two kinds of time that must never be mixed.

`Instant` orders what happens inside one node and carries leases; `Timestamp` is what people read and what
items are stamped with. Neither is ever read inside a machine: both are passed in (DESIGN.md §3).
"""

from __future__ import annotations

from typing import Final, NewType

Instant = NewType("Instant", int)
"""Monotonic nanoseconds of one node (CLOCK_BOOTTIME: it counts suspend). Meaningless elsewhere."""

Timestamp = NewType("Timestamp", int)
"""Wall-clock nanoseconds since the Unix epoch."""

Stamp = NewType("Stamp", int)
"""Hybrid logical timestamp of a command: wall nanoseconds, but strictly growing within a group (REPLICATION.md §2)."""

MICROSECOND: Final = 1_000
MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000
