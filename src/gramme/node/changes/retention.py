"""Retention: which change records of a partition are deleted, and when. One per partition, at its leader.

Rule: a record goes when every index has it, and no shard of a stream covers it or it is older than 24 hours by this
leader's clock (`gramme.node.changes.change_log` says what may go, this when). What goes is logged as a command, so that
all replicas delete the same: what has expired as one range of at most so many slots, however many records that are; one
command at a time. The same command writes down what the indexes have confirmed, because a new leader reads from there.
Neither is done for each record: confirmations gather for a moment, and nothing expires until something has been too old
for a while. Source: API reference, DynamoDB Streams (24 hours); issue 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gramme.kernel.ids import CommandId
from gramme.kernel.time import MILLISECOND, Timestamp
from gramme.node.alarm import Alarm
from gramme.node.changes.change_log import ChangeLog, erased, read_log, trimmed
from gramme.node.changes.feeder import Feeder
from gramme.node.host import Host
from gramme.node.mutation import CHANGES_END, ChangeRecord, change_key, decode_change, slot_of_change
from gramme.node.partition import PartitionReplica
from gramme.tables.indexes import PartitionSchema
from gramme.tables.requests import Configured, TrimChanges

_GRANULES: Final = 288  # of five minutes, in 24 hours
_STEP_SLOTS: Final = 10_000
_MANY_SLOTS: Final = 1_000
_SETTLE_NS: Final = 200 * MILLISECOND  # confirmed slots are written down this long after the first of them
_PACE_NS: Final = 10 * MILLISECOND
_RETRY_NS: Final = 50 * MILLISECOND


class Retention:
    """Of one partition that this node leads. `due` is the wall time at which `step` has something to do; whoever
    composes this calls `step` then. `stop` is final."""

    def __init__(
        self,
        host: Host,
        partition: PartitionReplica,
        schema: PartitionSchema,
        feeder: Callable[[], Feeder | None],
        keep_ns: int,
    ) -> None:
        """`feeder`: the partition's, if it has one now. `keep_ns`: how long a record stays readable.

        The oldest record is a granule older than that when records expire. A closed shard is remembered much longer,
        and longer than the catalog remembers its stream (`catalog_streams.FORGET_AFTER_NS`), so that a reader finds the
        shard's end as long as it finds the stream."""
        self._keep_ns = keep_ns
        self._granule_ns = keep_ns // _GRANULES
        self._keep_shards_ns = keep_ns + 12 * self._granule_ns
        self.due: Timestamp | None = None
        self._host = host
        self._partition = partition
        self._schema = schema
        self._feeder = feeder
        self._written = 0  # what was written down as confirmed, when `step` looked last
        self._submitted = False
        self._alarm = Alarm(host, self.step)
        self._stopped = False

    def configure(self, schema: PartitionSchema) -> None:
        """Indexes or streams came or went."""
        self._schema = schema
        self._later(0)

    def stop(self) -> None:
        """This node leads no more, or the partition is gone."""
        self._stopped = True
        self.due = None

    def on_confirmed(self) -> None:
        """Indexes have confirmed more: write it down soon, or at once if it is much."""
        feeder = self._feeder()
        if feeder is not None and feeder.confirmed - self._written >= _MANY_SLOTS:
            self.step()
        else:
            self._later(_SETTLE_NS)

    def _log(self) -> ChangeLog:
        return read_log(self._partition.rows.get, self._schema)

    def _later(self, delay_ns: int) -> None:
        if not self._stopped:
            self._alarm.arm(delay_ns)

    def step(self) -> None:
        """Submit the next command, if there is one; work out `due`."""
        if self._submitted or self._stopped:
            return
        log = self._log()
        self._written = log.confirmed
        wall = self._host.ports.clock.timestamp()
        expired = self._expired(log, wall)
        over = tuple(s.label for s in log.shards if s.closed is not None and s.closed + self._keep_shards_ns <= wall)
        feeds = self._schema.feeds
        feeder = self._feeder() if feeds else None
        confirmed = 0 if feeder is None else feeder.confirmed
        after, ranges = trimmed(log, feeds, self._partition.rows.applied.slot, confirmed, expired, over)
        moved = feeds and after.confirmed > log.confirmed
        if over or moved or any(self._first(start, end) is not None for start, end in erased(ranges)):
            self._submitted = True
            request = TrimChanges(confirmed, expired, over, [] if feeder is None else feeder.spent())
            self._partition.submit(request, CommandId(self._host.ports.rng.randbytes(16)), self._answered)

    def _answered(self, reply: Any) -> None:
        self._submitted = False
        if self._host.stopped or self._stopped:
            return
        done = isinstance(reply, Configured)
        feeder = self._feeder()
        if done and feeder is not None:
            feeder.written_down(self._log().confirmed)
        self._later(_PACE_NS if done else _RETRY_NS)

    def _expired(self, log: ChangeLog, wall: Timestamp) -> int:
        """A slot up to which every record is too old: the last of those that one command may take."""
        closed = [shard.closed + self._keep_shards_ns for shard in log.shards if shard.closed is not None]
        self.due = Timestamp(min([*closed, wall + self._keep_ns])) if log.shards else None
        first = None if self.due is None else self._first(change_key(log.trimmed + 1, 0))
        if first is None or self.due is None:
            return log.trimmed
        low, record = first
        due = record.stamp + self._keep_ns + self._granule_ns
        if due > wall:
            self.due = Timestamp(min(self.due, due))
            return log.trimmed
        high = low + _STEP_SLOTS
        while low < high:  # stamps grow with slots: the record at or behind `low` has expired
            middle = (low + high + 1) // 2
            found = self._first(change_key(middle, 0))
            if found is not None and found[1].stamp + self._keep_ns <= wall:
                low = middle
            else:
                high = middle - 1
        return low

    def _first(self, start: bytes, end: bytes = CHANGES_END) -> tuple[int, ChangeRecord] | None:
        row = next(self._partition.rows.scan(start, end, False), None)
        return None if row is None else (slot_of_change(row[0]), decode_change(row[1]))
