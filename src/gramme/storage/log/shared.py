"""The shared log of a node: what is appended, what is to be written, what is durable.

Owns the log's positions; does no I/O. The rule: the host appends while a turn lasts and takes one job at its end, so
one fsync serves every group (group commit). Segments roll when they are full; each gets a checkpoint of every group
*behind* the records of the job that began it, never in front of them: a machine's state already includes records that
are only now being appended, and a torn job must never leave a checkpoint that speaks of a record which was lost.
Source: REPLICATION.md §5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from gramme.kernel.crc import crc32c
from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import ClusterId, GroupId, Lsn, Slot
from gramme.kernel.ports import SegmentWrite
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import SECOND, Instant
from gramme.storage.log.layout import (
    IDENTIFIER_BYTES,
    IDENTIFIERS_AT,
    MAX_BODY_BYTES,
    MAX_DISTANCE,
    Header,
    header_writes,
    mark_write,
    pack_crc,
    pack_identifier,
    segment_seed,
)
from gramme.storage.log.recovery import Recovery
from gramme.storage.log.retention import Retention, SegmentStats

_BYTES_PER_IDENTIFIER: Final = 512


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Sizes in bytes. `identifiers_per_segment` 0 means one for each 512 bytes of the segment.

    `max_unwritten_bytes` bounds what waits for the disk: past it `SharedLog.full` asks the host to refuse new writes.
    `keep_closed_ns` keeps closed segments that long, because the outcomes of commands of the last 10 s are rebuilt
    from the log. Raises `InvalidInput` for a segment without room for records.
    """

    segment_bytes: int = 16 << 20
    identifiers_per_segment: int = 0
    max_unwritten_bytes: int = 64 << 20
    keep_closed_ns: int = 15 * SECOND

    def __post_init__(self) -> None:
        least = IDENTIFIERS_AT + IDENTIFIER_BYTES * (self.capacity + 1)
        if self.capacity < 1 or self.segment_bytes < least:
            raise InvalidInput(f"segment_bytes is {self.segment_bytes}, the least is {max(least, 32768)}")

    @property
    def capacity(self) -> int:
        """How many records fit a segment, whatever their size."""
        return self.identifiers_per_segment or self.segment_bytes // _BYTES_PER_IDENTIFIER


class LogJob(NamedTuple):
    """Writes for one fsync. Once they are durable, so is every record up to `last_lsn`."""

    writes: tuple[SegmentWrite, ...]
    last_lsn: Lsn


class SharedLog:
    """One log for all groups of a node.

    `checkpoint` gives a CHECKPOINT of every group and the NODE_CHECKPOINT; it is called from `take`, so every change
    of state that it speaks of must have been appended by then. `recovery` is what an existing log was found to hold:
    the log goes on behind it in a new segment, never in one that may end in a torn tail. `install_end` tells the last
    slot of an INSTALL record's suffix; without it, such a record pins its segment until the next entry of its group.
    """

    __slots__ = (
        "_capacity",
        "_checkpoint",
        "_checkpoint_due",
        "_cluster",
        "_durable",
        "_end",
        "_first_unwritten",
        "_identifiers",
        "_index",
        "_last",
        "_mark_sequence",
        "_marked",
        "_next",
        "_offset",
        "_records",
        "_retention",
        "_seed",
        "_segment",
        "_settings",
        "_stats",
        "_taken",
        "_unwritten_bytes",
        "_writes",
    )

    def __init__(
        self,
        cluster: ClusterId,
        settings: LogSettings,
        checkpoint: Callable[[], list[Record]],
        recovery: Recovery | None = None,
        *,
        install_end: Callable[[Record], Slot] | None = None,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._capacity = settings.capacity
        self._checkpoint = checkpoint
        self._retention = Retention(settings.keep_closed_ns, install_end)
        self._last = self._durable = self._taken = self._marked = Lsn(0)
        self._next = 1
        self._offset = self._end = 0
        self._checkpoint_due = True
        self._writes: list[SegmentWrite] = []
        self._records: list[bytes] = []
        self._identifiers: list[bytes] = []
        self._unwritten_bytes = 0
        segment = 1
        if recovery is not None:
            self._resume(recovery)
            segment = recovery.next_segment
        self._stats = self._begin_segment(segment)

    def _resume(self, recovery: Recovery) -> None:
        self._last = self._durable = self._taken = self._marked = recovery.last_lsn
        self._next = recovery.next_lsn
        by_number = {stats.number: stats for stats in recovery.segments}
        for stats in recovery.segments:
            self._retention.begin(stats)
        for segment, lsn, record in recovery.located():
            self._retention.note(by_number[segment], lsn, record)

    @property
    def last_lsn(self) -> Lsn:
        """LSN of the last record appended."""
        return self._last

    @property
    def durable_lsn(self) -> Lsn:
        """Every record up to this LSN survives a crash."""
        return self._durable

    @property
    def unwritten_bytes(self) -> int:
        """Bytes of records appended and not yet taken."""
        return self._unwritten_bytes

    @property
    def full(self) -> bool:
        """Whether so much is unwritten that new work should be refused until the disk has caught up."""
        return self._unwritten_bytes >= self._settings.max_unwritten_bytes

    def append(self, records: Iterable[Record]) -> Lsn:
        """Append `records` in order; returns the LSN of the last one. They are durable once `durable_lsn` reaches it.

        Never refuses for lack of room: the machines' state already counts on the records. Raises `InvalidInput`, and
        appends nothing, if a body is longer than 32 MB.
        """
        batch = records if isinstance(records, list) else list(records)
        for record in batch:
            if len(record.body) > MAX_BODY_BYTES:
                raise InvalidInput(f"a log record has {len(record.body)} bytes, the limit is {MAX_BODY_BYTES}")
        slots, open_installs = self._stats.slots, self._retention.open_installs
        for record in batch:
            kind, group, slot, body = record.kind, record.group, record.slot, record.body
            body_bytes = len(body)
            size = IDENTIFIER_BYTES + body_bytes
            if self._offset + size > self._end or self._index == self._capacity:
                self._make_room(size)
                slots = self._stats.slots
            lsn, offset = self._next, self._offset
            distance = lsn - self._durable
            if distance > MAX_DISTANCE:  # a lower mark is still a true one
                distance = MAX_DISTANCE
            fields = pack_identifier(
                lsn,
                group,
                slot,
                record.ballot,
                record.configuration,
                record.key_id,
                body_bytes,
                crc32c(body),
                offset,
                distance,
                kind,
            )
            identifier = fields + pack_crc(crc32c(fields, self._seed))
            self._records += (identifier, body)
            self._identifiers.append(identifier)
            self._offset = offset + size
            self._index += 1
            self._next = lsn + 1
            self._unwritten_bytes += size
            if kind == RecordKind.ACCEPT and group not in open_installs:
                if slot > slots.get(group, 0):
                    slots[group] = slot
            else:
                self._retention.note(self._stats, Lsn(lsn), record)
        if batch:
            self._last = self._stats.last_lsn = Lsn(self._next - 1)
        return self._last

    def take(self) -> LogJob | None:
        """Everything unwritten, as one job, or None if there is nothing.

        Call it when every change of the machines' state has been appended (at the end of a turn): a segment begun
        since the last call gets its checkpoint here. Jobs must become durable in the order they were taken.
        """
        if self._last == self._taken:
            return None
        if self._checkpoint_due:
            self._append_checkpoint()
        self._cut()
        job = LogJob(tuple(self._writes), self._last)
        self._writes = []
        self._taken = self._last
        self._unwritten_bytes = 0
        return job

    def on_durable(self, job: LogJob) -> None:
        """`job` survives a crash from now on."""
        assert job.last_lsn >= self._durable, "log jobs complete in order"
        self._durable = job.last_lsn
        self._retention.durable(job.last_lsn)

    def take_mark(self) -> SegmentWrite | None:
        """A durable mark for a log that has gone idle, or None if there is nothing new to say.

        Nobody waits for it. It turns 'the last job may be torn' into 'the last job was durable' for recovery.
        """
        if self._last != self._taken or self._durable <= self._marked:
            return None  # records still to be written carry the mark themselves
        self._marked = self._durable
        self._mark_sequence += 1
        return mark_write(self._segment, self._mark_sequence, self._durable)

    def segment_stats(self) -> list[SegmentStats]:
        """What each segment holds, oldest first; the last one is open. Read only."""
        return list(self._retention.segments)

    def deletable(self, engine_durable: Callable[[GroupId], Slot], object_lsn: Lsn, now: Instant) -> list[int]:
        """Numbers of the segments that may go, oldest first; tell `deleted` for each one that went.

        `engine_durable` gives the engine-durable slot of a group that has not been dropped; `object_lsn` is that of
        the objects. A segment counts as closed from the first call that finds it closed.
        """
        return self._retention.deletable(engine_durable, object_lsn, self._durable, now)

    def deleted(self, number: int) -> None:
        """Segment `number`, the oldest, has been handed to the disk for deletion."""
        self._retention.deleted(number)

    def _begin_segment(self, number: int) -> SegmentStats:
        header = Header(self._cluster, number, Lsn(self._next), self._last, self._durable, self._capacity)
        self._writes += header_writes(header)
        self._segment = number
        self._seed = segment_seed(number)
        self._index = self._first_unwritten = self._mark_sequence = 0
        self._offset = header.records_at
        self._end = self._settings.segment_bytes
        self._checkpoint_due = True
        stats = SegmentStats(number, header.first_lsn, Lsn(header.first_lsn - 1))
        self._retention.begin(stats)
        return stats

    def _make_room(self, size: int) -> None:
        """Begin the next segment, unless this one is empty: then it grows to hold one record larger than a segment."""
        if self._index:
            self._cut()
            self._last = self._stats.last_lsn = Lsn(self._next - 1)
            self._stats.size_bytes = self._offset
            self._stats = self._begin_segment(self._segment + 1)
        self._end = max(self._end, self._offset + size)

    def _append_checkpoint(self) -> None:
        """Not repeated for a segment that the checkpoint itself begins: that could go on for ever."""
        segment = self._segment
        self.append(self._checkpoint())
        self._checkpoint_due = False
        self._retention.checkpointed(segment, self._last)

    def _cut(self) -> None:
        """Turn what was appended since the last cut into writes: the records, then their identifiers elsewhere."""
        if not self._records:
            return
        records, identifiers = b"".join(self._records), b"".join(self._identifiers)
        place = IDENTIFIERS_AT + IDENTIFIER_BYTES * self._first_unwritten
        self._writes.append(SegmentWrite(self._segment, self._offset - len(records), records))
        self._writes.append(SegmentWrite(self._segment, place, identifiers))
        self._records, self._identifiers = [], []
        self._first_unwritten = self._index
