"""The replicas that this node hosts: recovered, created on the catalog's word, dropped on its tombstone, fed messages.

Rule (REPLICATION.md §8): an unknown group is looked up, never created from a message; data is deleted only on a
positive tombstone; group ids are never reused. A replica whose log is damaged where that may hide a promise or an
accepted value takes no part any more (§5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Corruption, Invariant, Stalled
from gramme.kernel.ids import CATALOG_GROUP, Ballot, GroupId, Lsn, NodeId, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.evaluator import Evaluator
from gramme.node.extents import first_extent, forget_group, read_extent
from gramme.node.host import Host
from gramme.node.messages import GroupsDropped, GroupSpec, GroupsReady
from gramme.node.partition import PartitionReplica, read_applied, read_configuration
from gramme.node.ports import NodeSettings
from gramme.paxos.lease import LeaseView
from gramme.paxos.recovery import fold
from gramme.paxos.replica import GroupReplica
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.state import GroupState, create_record, drop_record, founding_state
from gramme.storage.engine.contract import Batch
from gramme.storage.engine.rows import extent_range
from gramme.storage.log.recovery import Damage

_STASH_LIMIT: Final = 1_024
_STASH_NS: Final = SECOND
_STALL_RETRY_NS: Final = 10 * MILLISECOND

_encode_spec = msgspec.msgpack.Encoder().encode
_decode_spec = msgspec.msgpack.Decoder(GroupSpec).decode


class Groups:
    """See the module. `evaluator_of` gives the data model of a group, `on_role` hears of leadership changes."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        paxos: PaxosSettings,
        leases: LeaseView,
        evaluator_of: Callable[[GroupSpec], Evaluator],
        on_role: Callable[[PartitionReplica], None],
        on_output: Callable[[PartitionReplica, Any], None],
        on_unknown: Callable[[], None],
    ) -> None:
        self.partitions: dict[GroupId, PartitionReplica] = {}
        self.dropped: dict[GroupId, None] = {}
        self.amnesiac: dict[GroupId, str] = {}  # replicas that may have forgotten a vote, and where the damage is
        self.lost: dict[GroupId, None] = {}  # those of them whose log cannot be used at all
        self._host = host
        self._settings = settings
        self._paxos = paxos
        self._leases = leases
        self._evaluator_of = evaluator_of
        self._on_role = on_role
        self._on_output = on_output
        self._on_unknown = on_unknown
        self._damaged: list[Damage] = []
        self._tell_ready: dict[GroupId, NodeId] = {}
        self._stash: list[tuple[Instant, GroupId, NodeId, Any]] = []

    # --- life of a group ------------------------------------------------------------------------------------------

    def recover(self, records: list[tuple[Lsn, Record]], damaged: list[Damage]) -> None:
        """Rebuild every group from the log and the engine; nothing is sent yet."""
        self._damaged = damaged
        for _, record in records:
            if record.kind is RecordKind.DROP:
                self.dropped[record.group] = None
                self.amnesiac.pop(record.group, None)
            elif record.kind is RecordKind.AMNESIA:
                self.amnesiac[record.group] = record.body.decode()
        for _, state in sorted(fold(records).items()):
            self._adopt(_decode_spec(state.descriptor), state, damaged)

    def _adopt(self, spec: GroupSpec, state: GroupState, damaged: list[Damage]) -> None:
        engine = self._host.ports.engine
        extent = read_extent(engine, spec.group)
        applied = read_applied(engine, extent)
        if extent != first_extent(spec.group):
            batch = Batch()
            batch.delete_range(extent_range(first_extent(spec.group))[0], extent_range(extent)[0])
            self._write(batch)
        for damage in damaged:
            if _may_hide(damage, spec.group, applied.slot):
                self.amnesiac.setdefault(spec.group, str(damage))
        state.amnesiac = spec.group in self.amnesiac
        try:
            state.attach_engine(applied.slot, applied.crc, applied.stamp, read_configuration(engine, extent))
            partition = self._make(spec, state, extent, applied)
        except (Corruption, Invariant) as error:
            if spec.group not in self.amnesiac:
                raise
            self.amnesiac[spec.group] = str(error)
            self.lost[spec.group] = None
            return
        partition.rebuild_outcomes(state.entries)
        if any(_concerns(damage, spec.group) for damage in damaged):
            partition.doubt_outcomes()

    def _make(self, spec: GroupSpec, state: GroupState, extent: Any, applied: Any) -> PartitionReplica:
        replica = GroupReplica(spec.group, self._settings.me, state, self._leases, self._paxos, self._host.ports.rng)
        partition = PartitionReplica(
            spec, replica, self._evaluator_of(spec), self._host, self._settings, extent, applied,
            self._role_changed, self._on_output,
        )  # fmt: skip
        self.partitions[spec.group] = partition
        return partition

    def start(self) -> None:
        """Let every recovered group go; what damage took away stays taken, however often the node restarts."""
        for group, reason in self.amnesiac.items():
            self._host.ports.log_event("replica amnesiac", {"group": group, "reason": reason})
        self._host.execute(Effects(records=self._amnesia_records()), self)
        for partition in list(self.partitions.values()):
            partition.execute(partition.replica.start(self._host.now()))

    def create(self, specs: Iterable[GroupSpec], requester: NodeId) -> None:
        """Host these groups; `requester` is told when this node leads them. Idempotent."""
        ready = []
        for spec in specs:
            partition = self.partitions.get(spec.group)
            if spec.group in self.dropped or spec.group in self.lost:
                continue
            if partition is None and self._may_have_hosted(spec.group):
                continue
            if partition is None:
                self._tell_ready[spec.group] = requester
                self._create(spec)
            elif partition is not None and partition.leading:
                ready.append(spec.group)
            elif partition is not None:
                self._tell_ready[spec.group] = requester
        if ready:
            self._host.send(requester, GroupsReady(tuple(ready)))

    def _may_have_hosted(self, group: GroupId) -> bool:
        """Whether this is a group whose every record was lost to damage: made anew, it would vote as if for the first
        time (the catalog asks for it as soon as it is not hosted)."""
        damage = next((damage for damage in self._damaged if _concerns(damage, group)), None)
        if group not in self.amnesiac and damage is None:
            return False
        self.amnesiac.setdefault(group, str(damage))
        self.lost[group] = None
        self._host.execute(Effects(records=self._amnesia_records()), self)
        return True

    def _create(self, spec: GroupSpec) -> None:
        state = founding_state(spec.group, spec.members, _encode_spec(spec))
        extent = first_extent(spec.group)
        partition = self._make(spec, state, extent, read_applied(self._host.ports.engine, extent))
        effects = Effects(records=[create_record(state)])
        effects.merge(partition.replica.start(self._host.now()))
        partition.execute(effects)
        stash, self._stash = self._stash, []
        for item in stash:
            if item[1] == spec.group:
                partition.step(item[2], item[3])
            else:
                self._stash.append(item)

    def hosts(self, group: GroupId) -> bool:
        """Whether a replica of `group` is here."""
        return group in self.partitions or group in self.lost

    def found_catalog(self, members: tuple[NodeId, ...]) -> None:
        """Only called for a node that the founding configuration names and that has no replica of the catalog; one that
        lost it to damage does not found it again."""
        if self._may_have_hosted(CATALOG_GROUP):
            return
        self._create(GroupSpec(CATALOG_GROUP, "", b"", b"", members))

    def drop(self, groups: Iterable[GroupId], requester: NodeId) -> None:
        """Forget these groups for good; `requester` hears of it when the drop is durable."""
        groups = tuple(groups)
        records = []
        for group in groups:
            if group in self.dropped:
                continue
            self.dropped[group] = None
            records.append(drop_record(group))
            partition = self.partitions.pop(group, None)
            self._tell_ready.pop(group, None)
            if partition is not None:
                partition.close()
            if partition is not None or group in self.lost:
                batch = Batch()
                forget_group(batch, group, read_extent(self._host.ports.engine, group))
                self._write(batch)
            self.lost.pop(group, None)
            self.amnesiac.pop(group, None)
        self._host.execute(Effects(records=records, sends_durable=[(requester, GroupsDropped(groups))]), self)

    def _write(self, batch: Batch) -> None:
        """Housekeeping of rows that nobody reads any more; a stalled engine is asked again."""
        try:
            self._host.ports.engine.write(batch)
        except Stalled:
            retry = Instant(self._host.now() + _STALL_RETRY_NS)
            self._host.ports.scheduler.call_at(retry, lambda: None if self._host.stopped else self._write(batch))

    # --- messages and roles ---------------------------------------------------------------------------------------

    def step(self, source: NodeId, message: Any) -> None:
        """A message of some group's protocol."""
        partition = self.partitions.get(message.group)
        if partition is not None:
            partition.step(source, message)
        elif message.group not in self.dropped and message.group not in self.lost:
            self._keep(source, message)
            self._on_unknown()

    def _keep(self, source: NodeId, message: Any) -> None:
        """A leader may be faster than the catalog's word: keep a few messages for the group's creation."""
        now = self._host.now()
        if len(self._stash) >= _STASH_LIMIT:
            self._stash = [item for item in self._stash if now - item[0] < _STASH_NS][-_STASH_LIMIT // 2 :]
        self._stash.append((now, message.group, source, message))

    def _role_changed(self, partition: PartitionReplica) -> None:
        if partition.leading:
            requester = self._tell_ready.pop(partition.spec.group, None)
            if requester is not None:
                self._host.send(requester, GroupsReady((partition.spec.group,)))
        self._on_role(partition)

    def durable(self, event: Any) -> None:
        """Drops wait for nothing but their answers."""

    def output(self, output: Any) -> None:
        """Drops have no outputs."""

    def end_turn(self, now: Instant) -> Effects | None:
        """Nothing is batched here."""
        return None

    def checkpoint(self) -> list[Record]:
        """State of every group, and the drops that old segments may still contradict, for a new segment."""
        records = [drop_record(group) for group in self.dropped] + self._amnesia_records()
        return records + [partition.replica.checkpoint() for partition in self.partitions.values()]

    def _amnesia_records(self) -> list[Record]:
        return [
            Record(RecordKind.AMNESIA, group, Slot(0), Ballot(0), 0, 0, reason.encode())
            for group, reason in self.amnesiac.items()
            if group not in self.dropped
        ]

    def housekeeping(self, durable: Callable[[GroupId], Slot]) -> None:
        """Let go of log entries in memory that everybody has and the engine keeps, and of old outcomes."""
        now = self._host.now()
        for partition in self.partitions.values():
            partition.replica.trim(durable(partition.spec.group))
            partition.tidy_outcomes(now)


def _concerns(damage: Damage, group: GroupId) -> bool:
    """Whether lost records may have been of `group`."""
    return damage.identifier is None or damage.identifier.group == group


def _may_hide(damage: Damage, group: GroupId, applied: Slot) -> bool:
    """Whether lost records may have been promises or unapplied entries of `group`.

    Only an entry on its own, below what is applied, was surely neither: an INSTALL names the slot before its suffix and
    sets the log's ballot, a CHECKPOINT or BASE may be the last record of a promise.
    """
    identifier = damage.identifier
    if identifier is None:
        return True
    entry_only = identifier.kind in (RecordKind.ACCEPT, RecordKind.LEARN)
    return identifier.group == group and not (entry_only and identifier.slot <= applied)
