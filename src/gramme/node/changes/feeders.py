"""Who looks after the change records of the partitions that this node leads: feeders and retention, begun and ended.

A partition with global indexes has a feeder; one with indexes, streams, or records that are left of them, has a
retention. All others have neither, and cost nothing.
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.ids import GroupId
from gramme.kernel.time import SECOND
from gramme.node.alarm import Alarm
from gramme.node.changes.change_log import read_log
from gramme.node.changes.feeder import Delays, Feeder, Send
from gramme.node.changes.retention import Retention
from gramme.node.host import Host
from gramme.node.mutation import CHANGES, CHANGES_END
from gramme.node.partition import PartitionReplica, Recorded
from gramme.node.table_evaluator import TableEvaluator
from gramme.tables.indexes import PartitionSchema

_TICK_NS: Final = SECOND


class Feeders:
    """See the module. `running` are the feeders."""

    def __init__(self, host: Host, send: Send, keep_changes_ns: int) -> None:
        self._host = host
        self._keep_ns = keep_changes_ns
        self._send = send
        self._alarm = Alarm(host, self._tick)
        self._delays: Delays = {}
        self.running: dict[GroupId, Feeder] = {}
        self.retentions: dict[GroupId, Retention] = {}

    def role_changed(self, partition: PartitionReplica) -> None:
        """A partition's leadership came or went."""
        self._end(partition.spec.group)
        if partition.leading:
            self._configure(partition)

    def recorded(self, partition: PartitionReplica, recorded: Recorded) -> None:
        """A led partition has applied something that concerns its feeder."""
        if recorded.configured:
            self._configure(partition)
        feeder = self.running.get(partition.spec.group)
        if feeder is not None and recorded.changes:
            feeder.recorded(recorded.slot, recorded.changes)

    def backlog(self, group: GroupId) -> int:
        """Change records of `group` that are not confirmed everywhere."""
        feeder = self.running.get(group)
        return 0 if feeder is None else feeder.backlog

    def delay(self, table_id: str, index: int, delay_ns: int) -> None:
        """Keep what an index is to be fed back for so long; 0 ends it. Changes that are kept count as backlog."""
        if delay_ns:
            self._delays[table_id, index] = delay_ns
        else:
            self._delays.pop((table_id, index), None)
        self._wake_feeders()

    def end_delays(self) -> None:
        """No index is delayed any more."""
        self._delays.clear()
        self._wake_feeders()

    def _wake_feeders(self) -> None:
        for feeder in self.running.values():
            feeder.wake()

    def _end(self, group: GroupId) -> None:
        feeder, retention = self.running.pop(group, None), self.retentions.pop(group, None)
        if feeder is not None:
            feeder.stop()
        if retention is not None:
            retention.stop()

    def _configure(self, partition: PartitionReplica) -> None:
        evaluator = partition.evaluator
        if not isinstance(evaluator, TableEvaluator) or partition.replica.leader is None:
            return  # the catalog; or leadership is lost in this very step, as `role_changed` is about to say
        schema = evaluator.schema(partition.rows.get)
        group = partition.spec.group
        feeder = self.running.get(group)
        if feeder is not None and not schema.feeds:
            feeder.stop()
            del self.running[group]
        if group in self.retentions or schema.feeds or _has_changes(partition, schema):
            self._retain(partition, schema)
        if feeder is not None:
            feeder.configure(schema)
        elif schema.feeds:
            retention = self.retentions[group]
            confirmed = retention.on_confirmed
            self.running[group] = Feeder(self._host, self._send, partition, schema, confirmed, self._delays)

    def _retain(self, partition: PartitionReplica, schema: PartitionSchema) -> None:
        group = partition.spec.group
        if group not in self.retentions:
            self.retentions[group] = Retention(
                self._host, partition, schema, lambda: self.running.get(group), self._keep_ns
            )
        self.retentions[group].configure(schema)
        self._alarm.arm(_TICK_NS)

    def _tick(self) -> None:
        """One timer for all: what is due is known as wall time, which may jump."""
        wall = self._host.ports.clock.timestamp()
        for retention in list(self.retentions.values()):
            if retention.due is not None and retention.due <= wall:
                retention.step()
        if self.retentions:
            self._alarm.arm(_TICK_NS)


def _has_changes(partition: PartitionReplica, schema: PartitionSchema) -> bool:
    shards = read_log(partition.rows.get, schema).shards
    return bool(shards) or next(partition.rows.scan(CHANGES, CHANGES_END, False), None) is not None
