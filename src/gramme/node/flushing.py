"""When the engine is flushed, and which log segments may go afterwards.

Engine-durable slot of a group = what was applied when a flush that completed was *started* (REPLICATION.md §6). The log
keeps everything above it, so recovery is the engine's last flush and a replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gramme.kernel.ids import GroupId, Lsn, Slot
from gramme.kernel.time import SECOND, Instant
from gramme.node.groups import Groups
from gramme.node.host import Host
from gramme.node.partition import PartitionReplica
from gramme.node.ports import NodeSettings

_PERIOD_NS: Final = SECOND
_EVERY_SLOT: Final = Slot((1 << 64) - 1)
_NOTHING: Final = (None, Slot(0))


class Flusher:
    """Looks once a second whether enough was applied, or time enough has passed, for a flush."""

    def __init__(self, host: Host, settings: NodeSettings, groups: Groups, objects_behind: Callable[[], bool]) -> None:
        """`objects_behind`: whether the log says things about objects that the engine does not have yet."""
        self._host = host
        self._objects_behind = objects_behind
        self._settings = settings
        self._groups = groups
        self._durable: dict[GroupId, tuple[PartitionReplica, Slot]] = {}
        self._flushing = False
        self._flushed_lsn = self._object_lsn = Lsn(0)
        self._flushed_bytes = 0
        self._flushed_at = host.now()
        self.flushes = 0

    def start(self) -> None:
        """What recovery found in the engine is durable there."""
        self._durable = self._applied()
        self._arm()

    def durable_slot(self, group: GroupId) -> Slot:
        """The engine-durable slot of a group; of a log replica, up to where the node's log need not keep it. What an
        earlier replica of the group had durable says nothing of the one that is here now."""
        log = self._groups.logs.get(group)
        if log is not None:
            return log.kept_after
        partition, slot = self._durable.get(group, _NOTHING)
        return slot if partition is self._groups.partitions.get(group) else Slot(0)

    def _applied(self) -> dict[GroupId, tuple[PartitionReplica, Slot]]:
        return {group: (partition, partition.rows.applied.slot) for group, partition in self._groups.partitions.items()}

    def _arm(self) -> None:
        self._host.ports.scheduler.call_at(Instant(self._host.now() + _PERIOD_NS), self._tick)

    def _tick(self) -> None:
        if self._host.stopped:
            return
        now = self._host.now()
        log = self._host.log
        grown = self._host.engine_bytes - self._flushed_bytes >= self._settings.flush_bytes
        aged = now - self._flushed_at >= self._settings.flush_interval_ns and log.last_lsn > self._flushed_lsn
        if not self._flushing and (grown or aged):
            self.flush()
        self._trim(now)
        self._arm()

    def flush(self) -> None:
        """Start a flush now."""
        applied = self._applied()
        self._flushing = True
        self._flushed_at = self._host.now()
        self._flushed_lsn = self._host.log.last_lsn
        self._flushed_bytes = self._host.engine_bytes
        lsn = self._object_lsn if self._objects_behind() else self._flushed_lsn
        self._host.ports.engine.flush(lambda: self._done(applied, lsn))

    def _done(self, applied: dict[GroupId, tuple[PartitionReplica, Slot]], lsn: Lsn) -> None:
        if self._host.stopped:
            return
        self._flushing = False
        self.flushes += 1
        self._durable = applied
        self._object_lsn = lsn
        self._trim(self._host.now())

    def _trim(self, now: Instant) -> None:
        self._groups.housekeeping(self.durable_slot)
        log = self._host.log
        for segment in log.deletable(self._spared_slot, self._object_lsn, now):
            self._host.ports.log_disk.delete(segment)
            log.deleted(segment)

    def _spared_slot(self, group: GroupId) -> Slot:
        """Up to where the log may go. Nothing in it makes an amnesiac replica whole again: that is replaced by a new
        member, and that it is amnesiac stands in every checkpoint. So it keeps no segment back."""
        return _EVERY_SLOT if group in self._groups.amnesiac else self.durable_slot(group)
