"""The replicas that this node hosts: recovered, created on the catalog's word or by invitation, dropped, fed messages.

Rule (REPLICATION.md §8): an unknown group is looked up, never created from a message of its protocol; data is deleted
only on a positive tombstone, or when a chosen configuration does not name this node any more; group ids are never
reused. A replica whose log is damaged where that may hide a promise or an accepted value takes no part any more (§5),
until the group has it made anew (`gramme.node.healing.hosting`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import msgspec

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Corruption, Invariant, Stalled
from gramme.kernel.ids import CATALOG_GROUP, NO_NODE, Ballot, GroupId, Lsn, NodeId, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.applied_rows import read_applied, read_configuration
from gramme.node.evaluator import Evaluator
from gramme.node.extents import FreshExtents, first_extent, forget_group, read_extent
from gramme.node.host import Host, RecordOwner
from gramme.node.log_replica import LogReplica
from gramme.node.messages import GroupsDropped, GroupSpec, GroupsReady, MakeAnew
from gramme.node.partition import PartitionReplica
from gramme.node.ports import NodeSettings
from gramme.node.trimming import Trimming
from gramme.paxos.configuration import Configuration, decode_configuration, encode_configuration
from gramme.paxos.entry import ORIGIN
from gramme.paxos.lease import LeaseView
from gramme.paxos.messages import NewerConfiguration
from gramme.paxos.outputs import Reconfigured
from gramme.paxos.recovery import fold
from gramme.paxos.replica import GroupReplica
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.state import FOR_GOOD, GroupState, create_record, drop_record, founding_state, joining_state
from gramme.storage.engine.contract import Batch
from gramme.storage.engine.rows import extent_range
from gramme.storage.log.recovery import Damage

_STASH_LIMIT: Final = 1_024
_STASH_NS: Final = SECOND
_STALL_RETRY_NS: Final = 10 * MILLISECOND

_encode_spec = msgspec.msgpack.Encoder().encode
_decode_spec = msgspec.msgpack.Decoder(GroupSpec).decode


class Groups(RecordOwner):
    """See the module. `evaluator_of` gives the data model of a group, `on_role` hears of leadership changes."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        paxos: PaxosSettings,
        leases: LeaseView,
        evaluator_of: Callable[[GroupSpec], Evaluator],
        on_role: Callable[[PartitionReplica], None],
        on_output: Callable[[PartitionReplica | LogReplica, Any], None],
        on_unknown: Callable[[], None],
        on_dropped: Callable[[GroupId], None],
    ) -> None:
        self.partitions: dict[GroupId, PartitionReplica] = {}
        self.logs: dict[GroupId, LogReplica] = {}
        self.dropped: dict[GroupId, int] = {}  # the last configuration that the replica knew, or FOR_GOOD
        self._dropped_under: dict[GroupId, Configuration] = {}  # the chosen one that named this node no more
        self.fresh_extents = FreshExtents()
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
        self._on_dropped = on_dropped
        self._damaged: list[Damage] = []
        self._settled: dict[GroupId, Lsn] = {}  # damage before this record of a group takes nothing away any more
        self._tidying: deque[Batch] = deque()
        self._trimming = Trimming(host)
        self._tell_ready: dict[GroupId, NodeId] = {}
        self._stash: list[tuple[Instant, GroupId, NodeId, Any]] = []
        self._removed: list[tuple[GroupId, Configuration]] = []

    # --- life of a group ------------------------------------------------------------------------------------------

    def recover(self, records: list[tuple[Lsn, Record]], damaged: list[Damage]) -> None:
        """Rebuild every group from the log and the engine; nothing is sent yet."""
        self._damaged = damaged
        for lsn, record in records:
            group = record.group
            if record.kind == RecordKind.DROP:
                self.dropped[group] = FOR_GOOD  # as earlier releases meant it, without a configuration
                if record.body:
                    self.dropped[group] = record.configuration
                    self._dropped_under[group] = decode_configuration(record.body)
                elif record.configuration:
                    self.dropped[group] = record.configuration
                self.amnesiac.pop(group, None)
                self._settled[group] = lsn
            elif record.kind == RecordKind.CREATE:
                self.dropped.pop(group, None)
                self._dropped_under.pop(group, None)
                self.amnesiac.pop(group, None)
                self._settled[group] = lsn
            elif record.kind == RecordKind.AMNESIA:
                self.amnesiac[group] = record.body.decode()
        for group, state in sorted(fold(records).items()):
            self.dropped.pop(group, None)
            self._dropped_under.pop(group, None)
            if state.descriptor:
                self._recover_one(_decode_spec(state.descriptor), state)
            else:
                self._note_damage(group, Slot(0))
                self._lose(group, Corruption(f"group {group}: what it is was lost with its first record"))
        for group, known in self.dropped.items():
            damage = self._damage(group) if known != FOR_GOOD else []
            if damage:  # a replica may have been made since; the next checkpoint repeats the DROP behind the damage
                self.amnesiac.setdefault(group, str(damage[0]))

    def _recover_one(self, spec: GroupSpec, state: GroupState) -> None:
        mine = state.configuration.replica(self._settings.me)
        if mine is None:
            self._removed.append((spec.group, state.configuration))  # a crash came before its DROP
        elif mine.log:
            self._adopt_log(spec, state)
        elif self._settings.engine_lost:
            # Also where the log may hold it all: what follows a snapshot does not say that rows came before it.
            self.amnesiac.setdefault(spec.group, self._settings.engine_lost)
            self.lost[spec.group] = None
        else:
            self._adopt(spec, state)

    def _adopt_log(self, spec: GroupSpec, state: GroupState) -> None:
        self._note_damage(spec.group, Slot(0))
        state.amnesiac = spec.group in self.amnesiac
        try:
            state.attach_log()
            self._make_log(spec, state)
        except (Corruption, Invariant) as error:
            self._lose(spec.group, error)

    def _damage(self, group: GroupId) -> list[Damage]:
        """What may have taken records of `group` away, since its replica was made or dropped."""
        settled = self._settled.get(group, Lsn(0))
        return [
            damage
            for damage in self._damaged
            if _concerns(damage, group) and (not damage.lsn or damage.lsn + max(1, damage.records) > settled)
        ]

    def _note_damage(self, group: GroupId, applied: Slot) -> list[Damage]:
        """The damage that concerns a replica with rows up to `applied`; it may make it amnesiac."""
        damaged = self._damage(group)
        for damage in damaged:
            if _may_hide(damage, applied):
                self.amnesiac.setdefault(group, str(damage))
        return damaged

    def _lose(self, group: GroupId, error: Exception) -> None:
        """Damage has left a log that cannot be used. Without damage it is a bug, and the node stops."""
        if group not in self.amnesiac:
            raise error
        self.amnesiac[group] = str(error)
        self.lost[group] = None

    def _adopt(self, spec: GroupSpec, state: GroupState) -> None:
        engine = self._host.ports.engine
        extent = read_extent(engine, spec.group)
        applied = read_applied(engine, extent)
        if extent != first_extent(spec.group):
            batch = Batch()
            batch.delete_range(extent_range(first_extent(spec.group))[0], extent_range(extent)[0])
            self._tidy(batch)
        damaged = self._note_damage(spec.group, applied.slot)
        state.amnesiac = spec.group in self.amnesiac
        try:
            state.attach_engine(applied.slot, applied.crc, applied.stamp, read_configuration(engine, extent))
            partition = self._make(spec, state, extent, applied)
        except (Corruption, Invariant) as error:
            self._lose(spec.group, error)
            return
        partition.rebuild_outcomes(state.entries)
        if damaged:
            partition.outcomes.doubt(self._host.now())

    def _protocol(self, state: GroupState) -> GroupReplica:
        return GroupReplica(state.group, self._settings.me, state, self._leases, self._paxos, self._host.ports.rng)

    def _make(self, spec: GroupSpec, state: GroupState, extent: Any, applied: Any) -> PartitionReplica:
        partition = PartitionReplica(
            spec, self._protocol(state), self._evaluator_of(spec), self._host, self._settings, extent, applied,
            self._role_changed, self._output,
        )  # fmt: skip
        self.partitions[spec.group] = partition
        return partition

    def _make_log(self, spec: GroupSpec, state: GroupState) -> LogReplica:
        log = self.logs[spec.group] = LogReplica(spec, self._protocol(state), self._host, self._output)
        return log

    def start(self) -> None:
        """Let every recovered group go; what damage took away stays taken, however often the node restarts."""
        for group, reason in self.amnesiac.items():
            self._host.ports.log_event("replica amnesiac", {"group": group, "reason": reason})
        self._host.execute(Effects(records=self._amnesia_records()), self)
        for group, configuration in self._removed:
            record = self.retire(group, configuration.number, configuration)
            self._host.execute(Effects(records=[record]), self)
        for replica in list(self.hosted()):
            replica.execute(replica.replica.start(self._host.now()))

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
        damage = self._damage(group)
        if group not in self.amnesiac and not damage:
            return False
        self.amnesiac.setdefault(group, str(next(iter(damage), "")))
        self.lost[group] = None
        self._host.execute(Effects(records=self._amnesia_records()), self)
        return True

    def _create(self, spec: GroupSpec) -> None:
        state = founding_state(spec.group, spec.members, _encode_spec(spec))
        extent = first_extent(spec.group)
        partition = self._make(spec, state, extent, read_applied(self._host.ports.engine, extent))
        self._begin(partition, state)

    def join(self, spec: GroupSpec, configuration: Configuration, ballot: Ballot) -> None:
        """Make the replica that a configuration has for this node. Nothing of an earlier one is left, durably."""
        state = joining_state(spec.group, configuration, ballot, _encode_spec(spec))
        for held in (self.dropped, self._dropped_under, self.amnesiac, self.lost):
            held.pop(spec.group, None)
        self._settled[spec.group] = Lsn(self._host.log.last_lsn + 1)
        mine = configuration.replica(self._settings.me)
        assert mine is not None
        if mine.log:
            self._begin(self._make_log(spec, state), state)
        else:
            extent = read_extent(self._host.ports.engine, spec.group)
            self._begin(self._make(spec, state, extent, ORIGIN), state)
        self._host.ports.log_event(
            "replica made", {"group": spec.group, "number": configuration.number, "log": mine.log}
        )

    def _begin(self, replica: PartitionReplica | LogReplica, state: GroupState) -> None:
        effects = Effects(records=[create_record(state)])
        effects.merge(replica.replica.start(self._host.now()))
        replica.execute(effects)
        stash, self._stash = self._stash, []
        for item in stash:
            if item[1] == state.group:
                replica.step(item[2], item[3])
            else:
                self._stash.append(item)

    # --- what is here -------------------------------------------------------------------------------------------------

    def hosts(self, group: GroupId) -> bool:
        """Whether a replica of `group` is here."""
        return group in self.partitions or group in self.logs or group in self.lost

    @property
    def empty(self) -> bool:
        """Whether there is no trace of any replica."""
        return not (self.partitions or self.logs or self.lost or self.dropped)

    def hosted(self) -> Iterator[PartitionReplica | LogReplica]:
        """All replicas that are here and can be used."""
        yield from self.partitions.values()
        yield from self.logs.values()

    def replica(self, group: GroupId) -> GroupReplica | None:
        """The protocol's side of a replica that is here."""
        hosted = self.hosted_as(group)
        return None if hosted is None else hosted.replica

    def hosted_as(self, group: GroupId) -> PartitionReplica | LogReplica | None:
        """The replica that is here."""
        return self.partitions.get(group) or self.logs.get(group)

    def is_gone(self, group: GroupId) -> bool:
        """Whether the group was deleted."""
        return self.dropped.get(group) == FOR_GOOD

    def has_hosted(self, group: GroupId) -> bool:
        """Whether there is, or was, a replica here."""
        return self.hosts(group) or group in self.dropped or self.may_have_forgotten(group)

    def last_known(self, group: GroupId) -> int:
        """The last configuration that a replica here is remembered to have known; -1: there was none."""
        replica = self.replica(group)
        return self.dropped.get(group, -1) if replica is None else replica.configuration.number

    def may_have_forgotten(self, group: GroupId) -> bool:
        """Whether more may have been promised here than is remembered."""
        return group in self.amnesiac or (self.replica(group) is None and bool(self._damage(group)))

    def elsewhere(self, group: GroupId) -> NodeId | None:
        """For a group without rows here: whom to ask, as far as is known (NO_NODE: not at all). None: it is unknown."""
        log = self.logs.get(group)
        if log is not None:
            hint = log.replica.leader_hint
            return NO_NODE if hint is None else hint
        under = self._dropped_under.get(group)
        if under is not None:
            return under.eligible[0]
        return NO_NODE if self.dropped.get(group, FOR_GOOD) != FOR_GOOD else None

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
            records.append(self.retire(group, FOR_GOOD))
        self._host.execute(Effects(records=records, sends_durable=[(requester, GroupsDropped(groups))]), self)

    def retire(self, group: GroupId, number: int, under: Configuration | None = None) -> Record:
        """Drop the replica that is here, if there is one; the record must be appended in this step. `number` is the
        last configuration that it may have spoken under: it is not made anew under that or an earlier one. `under` is
        the chosen configuration that asks for it, where that is known."""
        self.dropped[group] = max(number, self.dropped.get(group, number))
        if number == FOR_GOOD:
            self._dropped_under.pop(group, None)
        elif under is not None:
            self._dropped_under[group] = under
        self._settled[group] = Lsn(self._host.log.last_lsn + 1)
        hosted = self.partitions.pop(group, None) or self.logs.pop(group, None)
        self._trimming.forget(group)
        self._tell_ready.pop(group, None)
        if hosted is not None:
            hosted.close()
        batch = Batch()
        forget_group(batch, group)
        self._tidy(batch)
        self.lost.pop(group, None)
        self.amnesiac.pop(group, None)
        self._on_dropped(group)
        return self._drop_record(group)

    def _drop_record(self, group: GroupId) -> Record:
        under = self._dropped_under.get(group)
        record = drop_record(group, self.dropped[group])
        return record if under is None else msgspec.structs.replace(record, body=encode_configuration(under))

    @property
    def untidy(self) -> bool:
        """Whether rows that nobody reads any more are still to be deleted."""
        return bool(self._tidying)

    def _tidy(self, batch: Batch) -> None:
        """Delete rows that nobody reads any more, in the order of the calls; a stalled engine is asked again."""
        self._tidying.append(batch)
        if len(self._tidying) == 1:
            self._go_on_tidying()

    def _go_on_tidying(self) -> None:
        if self._host.stopped:
            return
        try:
            while self._tidying:
                self._host.ports.engine.write(self._tidying[0])
                self._tidying.popleft()
        except Stalled:
            retry = Instant(self._host.now() + _STALL_RETRY_NS)
            self._host.ports.scheduler.call_at(retry, self._go_on_tidying)

    # --- messages and roles ---------------------------------------------------------------------------------------

    def step(self, source: NodeId, message: Any) -> None:
        """A message of some group's protocol."""
        group = message.group
        partition = self.partitions.get(group)
        if partition is not None:
            partition.step(source, message)
        elif (log := self.logs.get(group)) is not None:
            log.step(source, message)
        elif self.is_gone(group):
            return
        elif group in self.lost or self._may_have_hosted(group):
            self._host.send(source, MakeAnew(group, self._settings.boot, self.last_known(group)))
        else:
            self._not_here(source, message)

    def _not_here(self, source: NodeId, message: Any) -> None:
        """A message for a replica that is not here yet, or not any more. Who speaks of an older configuration than the
        one that dropped it must hear of that one: its chosen mark may have reached nobody else, and what is left of the
        old one may be no quorum (decision 0098)."""
        under = self._dropped_under.get(message.group)
        if under is not None and message.configuration < under.number:
            if not isinstance(message, NewerConfiguration):
                body = encode_configuration(under)
                self._host.send(source, NewerConfiguration(message.group, under.number, body))
            return
        self._keep(source, message)
        if message.group not in self.dropped:
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

    def _output(self, hosted: PartitionReplica | LogReplica, output: Any) -> None:
        if isinstance(output, Reconfigured):
            self._reconfigured(hosted, output.configuration)
        self._on_output(hosted, output)

    def _reconfigured(self, hosted: PartitionReplica | LogReplica, configuration: Configuration) -> None:
        """A replica learns of a newer configuration. It goes where that one does not name its node, or names it as one
        of the other kind, of which it would have to be made anew."""
        mine = configuration.replica(self._settings.me)
        if mine is None or mine.log != isinstance(hosted, LogReplica):
            self.removed(hosted.spec.group, configuration.number, configuration)

    def removed(self, group: GroupId, number: int, under: Configuration | None = None) -> None:
        """Configuration `number`, which is chosen, does not name this node. `under`: the same, where it is known."""
        if (self.hosts(group) or self.may_have_forgotten(group)) and number >= self.last_known(group):
            self._host.ports.log_event("replica removed", {"group": group, "number": number})
            self._host.execute(Effects(records=[self.retire(group, number, under)]), self)

    def durable(self, event: Any) -> None:
        """Drops wait for nothing but their answers."""

    def checkpoint(self) -> list[Record]:
        """State of every group, and the drops that old segments may still contradict, for a new segment."""
        records = [self._drop_record(group) for group in self.dropped] + self._amnesia_records()
        records += [partition.replica.checkpoint() for partition in self.partitions.values()]
        for log in self.logs.values():
            records += log.checkpoint()
        return records

    def _amnesia_records(self) -> list[Record]:
        return [
            Record(RecordKind.AMNESIA, group, Slot(0), Ballot(0), 0, 0, reason.encode())
            for group, reason in self.amnesiac.items()
            if self.dropped.get(group) != FOR_GOOD
        ]

    def housekeeping(self, durable: Callable[[GroupId], Slot]) -> None:
        """Let go of log entries in memory that everybody has and the engine keeps, and of old outcomes."""
        now = self._host.now()
        kept = 0
        for group, partition in self.partitions.items():
            entries = len(partition.replica.retained)
            if entries:
                kept += entries
                self._trimming.trim(partition.replica, partial(partition.replica.trim, durable(group)))
            partition.tidy_outcomes(now)
        for log in self.logs.values():
            kept += len(log.replica.retained)
            self._trimming.trim(log.replica, log.trim)
        self._trimming.pace(kept)


def _concerns(damage: Damage, group: GroupId) -> bool:
    """Whether lost records may have been of `group`."""
    return damage.identifier is None or damage.identifier.group == group


def _may_hide(damage: Damage, applied: Slot) -> bool:
    """Whether records that were lost of a group may have been promises or unapplied entries.

    Only an entry on its own, below what is applied, was surely neither: an INSTALL names the slot before its suffix and
    sets the log's ballot, a CHECKPOINT or BASE may be the last record of a promise.
    """
    identifier = damage.identifier
    if identifier is None:
        return True
    entry_only = identifier.kind in (RecordKind.ACCEPT, RecordKind.LEARN)
    return not (entry_only and identifier.slot <= applied)
