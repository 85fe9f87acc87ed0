"""Which segments may go.

Owns what each segment still has to answer for: the highest slot of each group in it, its object records, and since
when it is closed. The rule (REPLICATION.md §5): a segment goes only when the promises, ballots, configurations and
chosen marks in it stand in a checkpoint that a later segment holds durably, its slots are durable in the engine, and
its object records too; and the oldest goes first, so what is left is always one unbroken stretch of the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gramme.kernel.ids import GroupId, Lsn, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import Instant

_NO_LSN: Final = Lsn(0)
_UNKNOWN: Final = Slot((1 << 64) - 1)


@dataclass(slots=True)
class SegmentStats:
    """What one segment holds. `slots` is the highest slot of each group with entries in it; `last_lsn` is below
    `first_lsn` while it holds nothing; `closed_at` is set by the first look at it after it was closed."""

    number: int
    first_lsn: Lsn
    last_lsn: Lsn
    size_bytes: int = 0
    slots: dict[GroupId, Slot] = field(default_factory=dict)
    object_lsn: Lsn = _NO_LSN
    closed_at: Instant | None = None

    @property
    def records(self) -> int:
        """How many records stand in the segment."""
        return self.last_lsn - self.first_lsn + 1


class Retention:
    """The segments of a log, oldest first; the last one is open."""

    def __init__(self, keep_closed_ns: int, install_end: Callable[[Record], Slot] | None) -> None:
        self.segments: deque[SegmentStats] = deque()
        self._keep_closed_ns = keep_closed_ns
        self._install_end = install_end
        self.open_installs: dict[GroupId, SegmentStats] = {}
        self._dropped: dict[GroupId, Lsn] = {}
        self._checkpoints: deque[tuple[int, Lsn]] = deque()
        self._horizon = 0

    def begin(self, stats: SegmentStats) -> None:
        """`stats` is the open segment from now on."""
        self.segments.append(stats)

    def note(self, stats: SegmentStats, lsn: Lsn, record: Record) -> None:
        """`record` went into the segment of `stats`. (Accepted entries of a group whose last INSTALL is understood
        only raise the group's slot; the log does that itself.)"""
        kind, group = record.kind, record.group
        if kind == RecordKind.ACCEPT or kind == RecordKind.LEARN:
            self._resolve(group, Slot(record.slot - 1))
            _raise(stats.slots, group, record.slot)
        elif kind == RecordKind.INSTALL:
            self._resolve(group, record.slot)
            self._note_install(stats, record)
        elif kind == RecordKind.BASE:
            self._resolve(group, record.slot)
        elif kind == RecordKind.OBJECT:
            stats.object_lsn = lsn
        elif kind == RecordKind.DROP:
            self._dropped[group] = lsn
            self.open_installs.pop(group, None)
        elif kind == RecordKind.CREATE and self._dropped.pop(group, None) is not None:
            self._forget(group)

    def _note_install(self, stats: SegmentStats, record: Record) -> None:
        if self._install_end is not None:
            _raise(stats.slots, record.group, self._install_end(record))
        else:
            stats.slots[record.group] = _UNKNOWN
            self.open_installs[record.group] = stats

    def _forget(self, group: GroupId) -> None:
        """The group is hosted again, which it may be only once its DROP is durable: nobody needs what was before."""
        for stats in self.segments:
            stats.slots.pop(group, None)

    def _resolve(self, group: GroupId, end: Slot) -> None:
        """A record of `group` that follows an INSTALL bounds it: an entry stands right after the log's last slot or
        cuts the log there, and another INSTALL or a BASE replaces all after its slot."""
        stats = self.open_installs.pop(group, None)
        if stats is not None:
            stats.slots[group] = end

    def checkpointed(self, segment: int, last_lsn: Lsn) -> None:
        """A checkpoint of all groups begins in `segment` and ends at `last_lsn`."""
        self._checkpoints.append((segment, last_lsn))

    def durable(self, lsn: Lsn) -> None:
        """All up to `lsn` is durable: segments before a durable checkpoint are needed only for their slots."""
        checkpoints = self._checkpoints
        while checkpoints and checkpoints[0][1] <= lsn:
            self._horizon = checkpoints.popleft()[0]

    def deletable(
        self, engine_durable: Callable[[GroupId], Slot], object_lsn: Lsn, durable_lsn: Lsn, now: Instant
    ) -> list[int]:
        """Numbers of the segments that may go now, oldest first."""
        result: list[int] = []
        pinned = False
        for index in range(len(self.segments) - 1):
            stats = self.segments[index]
            if stats.closed_at is None:
                stats.closed_at = now
            pinned = pinned or self._pins(stats, engine_durable, object_lsn, durable_lsn, now)
            if not pinned:
                result.append(stats.number)
        return result

    def _pins(
        self,
        stats: SegmentStats,
        engine_durable: Callable[[GroupId], Slot],
        object_lsn: Lsn,
        durable_lsn: Lsn,
        now: Instant,
    ) -> bool:
        closed_at = stats.closed_at
        if stats.number >= self._horizon or closed_at is None or now - closed_at < self._keep_closed_ns:
            return True
        if stats.object_lsn > object_lsn:
            return True
        return any(
            slot > engine_durable(group)
            for group, slot in stats.slots.items()
            if self._dropped.get(group, durable_lsn + 1) > durable_lsn
        )

    def deleted(self, number: int) -> None:
        """Forget the oldest segment, which is `number`."""
        assert len(self.segments) > 1, "the open segment is never deleted"
        assert self.segments[0].number == number, "segments go oldest first"
        self.segments.popleft()
        oldest = self.segments[0].first_lsn
        if self._dropped and any(lsn < oldest for lsn in self._dropped.values()):
            # What a group had before its DROP stands before that record: once it is gone, so is all that it freed.
            self._dropped = {group: lsn for group, lsn in self._dropped.items() if lsn >= oldest}


def _raise(slots: dict[GroupId, Slot], group: GroupId, slot: Slot) -> None:
    if slot > slots.get(group, 0):
        slots[group] = slot
