"""Expiry (TTL): scanners that delete expired items of the partitions that this node leads.

A sweep reads a partition's rows from end to end, a few in a step, and submits one `ExpireItem` for each row that has
expired; the command is conditional, so an item that was given a later time since stays. It is a command as any other:
chosen, applied, in the stream, in the indexes. Between sweeps nothing is read until the period is over and either
something was written since the last sweep began or the next known time has come; so an idle table costs nothing.

Rules. (1) One step at a time on a node, in turn over its partitions, then a pause: the pace is the node's, however
many tables expire. (2) The next step waits for the answers of the last. (3) A step that runs late tells of a busy
loop, and a refused command of a busy partition: the pause doubles, up to a second; otherwise it halves. (4) Time is
the leader's wall clock; a period too, so that a clock that jumps ahead makes sweeps due. Nothing here is durable: a new
leader sweeps from the start. Until it is deleted, an expired item is there. Source: row H16; AWS developer guide,
"Using time to live (TTL) in DynamoDB".
"""

from __future__ import annotations

from typing import Any, Final

from gramme.kernel.ids import CommandId, GroupId
from gramme.kernel.time import MILLISECOND, SECOND, Timestamp
from gramme.node.alarm import Alarm
from gramme.node.changes.item_changes import ITEMS, ITEMS_END
from gramme.node.host import Host
from gramme.node.partition import PartitionReplica, Recorded
from gramme.node.ports import NodeSettings
from gramme.node.table_evaluator import TableEvaluator
from gramme.tables.expiry import expiry_of, is_expired
from gramme.tables.item import HEADER_BYTES
from gramme.tables.requests import ExpireItem, Written

_STEP_ROWS: Final = 100
_STEP_BYTES: Final = 256 << 10
_LOOK_NS: Final = SECOND  # between looks whether a sweep is due
_LATE_NS: Final = 10 * MILLISECOND
_MAX_PAUSE_NS: Final = SECOND
_NEVER: Final = Timestamp(1 << 63)


class Sweep:
    """Where the scanner of one partition stands."""

    def __init__(self, partition: PartitionReplica, attribute: str) -> None:
        self.partition = partition
        self.attribute = attribute
        self._next: bytes | None = None  # the row where reading goes on; None: between two sweeps
        self._began: Timestamp | None = None
        self._slot = -1  # applied when the last sweep began
        self._due = _NEVER  # the earliest time at which a row that was read is to be deleted

    def wants(self, wall: Timestamp, period_ns: int) -> bool:
        """Whether there is something to read now."""
        if self._next is not None or self._began is None:
            return True
        return wall - self._began >= period_ns and (self.partition.rows.applied.slot != self._slot or wall >= self._due)

    def step(self, wall: Timestamp) -> list[bytes]:
        """Read on. Returns the encoded keys of the rows that have expired."""
        if self._next is None:
            self._next, self._began = ITEMS, wall
            self._slot, self._due = self.partition.rows.applied.slot, _NEVER
        start, self._next = self._next, None
        now_s = wall // SECOND
        expired: list[bytes] = []
        size = 0
        for count, (row, stored) in enumerate(self.partition.rows.scan(start, ITEMS_END, False)):
            if count >= _STEP_ROWS or size >= _STEP_BYTES:
                self._next = row
                break
            size += len(stored)
            expiry_s = expiry_of(stored[HEADER_BYTES:], self.attribute)
            if expiry_s is None:
                continue
            if is_expired(expiry_s, now_s):
                expired.append(row[len(ITEMS) :])
            elif expiry_s >= now_s:
                self._due = min(self._due, Timestamp((expiry_s + 1) * SECOND))
        return expired

    def left_one(self) -> None:
        """A row that has expired could not be deleted: the next sweep is to look again."""
        self._due = Timestamp(0)


class Expiry:
    """See the module."""

    def __init__(self, host: Host, settings: NodeSettings) -> None:
        self.deleted = 0
        self._host = host
        self._period_ns = settings.expiry_period_ns
        self._least_pause_ns = _STEP_ROWS * SECOND // settings.expiry_rows_per_s
        self._pause_ns = self._least_pause_ns
        self._sweeps: dict[GroupId, Sweep] = {}  # the first is next
        self._open = 0  # commands without an answer
        self._refused = False
        self._alarm = Alarm(host, self._tick)

    def role_changed(self, partition: PartitionReplica) -> None:
        """A partition's leadership came or went."""
        self._sweeps.pop(partition.spec.group, None)
        if partition.leading:
            self._configure(partition)

    def recorded(self, partition: PartitionReplica, recorded: Recorded) -> None:
        """A led partition has applied something."""
        if recorded.configured:
            self._configure(partition)

    def _configure(self, partition: PartitionReplica) -> None:
        evaluator, group = partition.evaluator, partition.spec.group
        if not isinstance(evaluator, TableEvaluator):
            return  # the catalog
        attribute = evaluator.schema(partition.rows.get).expiry
        sweep = self._sweeps.get(group)
        if attribute is None:
            self._sweeps.pop(group, None)
        elif sweep is None or sweep.attribute != attribute:
            self._sweeps[group] = Sweep(partition, attribute)
            self._alarm.arm(self._pause_ns)

    def _tick(self) -> None:
        if self._open:
            return
        late = self._host.now() - self._alarm.due > _LATE_NS
        if late or self._refused:
            self._pause_ns = min(2 * self._pause_ns, _MAX_PAUSE_NS)
        else:
            self._pause_ns = max(self._pause_ns // 2, self._least_pause_ns)
        self._refused = False
        wall = self._host.ports.clock.timestamp()
        sweep = self._take(wall)
        if sweep is not None:
            self._step(sweep, wall)
        elif self._sweeps:
            self._alarm.arm(_LOOK_NS)

    def _take(self, wall: Timestamp) -> Sweep | None:
        """The next sweep that has something to read; it goes to the end of the queue."""
        for group, sweep in self._sweeps.items():
            if sweep.wants(wall, self._period_ns):
                self._sweeps[group] = self._sweeps.pop(group)
                return sweep
        return None

    def _step(self, sweep: Sweep, wall: Timestamp) -> None:
        keys = sweep.step(wall)
        self._open = len(keys)
        for key in keys:
            command_id = CommandId(self._host.ports.rng.randbytes(16))
            sweep.partition.submit(ExpireItem(key), command_id, lambda reply: self._answered(sweep, reply))
        if not keys:
            self._alarm.arm(self._pause_ns)

    def _answered(self, sweep: Sweep, reply: Any) -> None:
        self._open -= 1
        if isinstance(reply, Written):
            self.deleted += reply.old_size > 0
        else:
            sweep.left_one()  # held by a transaction; or the partition takes nothing now, or is led elsewhere
            self._refused = True
        if not self._open and not self._host.stopped:
            self._alarm.arm(self._pause_ns)
