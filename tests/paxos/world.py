"""A small world around production replicas: virtual time, a bad network, disks that lose what was not synced.

It is the least host that `Effects` demands, so that the room can be hunted for bugs without the rest of the node. The
production host has its own, bigger simulation in `gramme.sim`.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from gramme.kernel.effects import Effects
from gramme.kernel.errors import InvalidInput, Stalled
from gramme.kernel.ids import BootId, CommandId, GroupId, Lsn, NodeId, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import MILLISECOND, SECOND, Instant, Timestamp
from gramme.paxos.chain import decode_entry
from gramme.paxos.configuration import Configuration, Replica, decode_configuration
from gramme.paxos.entry import ORIGIN, Command, CommandKind, Entry, Mark
from gramme.paxos.lease import LeaseTable
from gramme.paxos.messages import LEASE_MESSAGES, MESSAGES
from gramme.paxos.outputs import BecameLeader, Chosen, LostLeadership, NeedSnapshot, Reconfigured
from gramme.paxos.recovery import fold
from gramme.paxos.replica import GroupReplica, NotLeader
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.state import create_record, founding_state, unpack_install

GROUP = GroupId(7)
_encoder = msgspec.msgpack.Encoder()
_union: Any = MESSAGES[0]
for _type in MESSAGES[1:]:
    _union = _union | _type
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(_union)


class Violation(Exception):
    """A promise of the protocol does not hold."""


@dataclass(slots=True)
class Disk:
    """What survives a crash: the synced log, the engine's flushed position, the boots."""

    log: list[tuple[Lsn, Record]] = field(default_factory=list)
    lsn: int = 0
    durable_lsn: int = 0
    applied: Mark = ORIGIN
    flushed: Mark = ORIGIN
    rows: list[bytes] = field(default_factory=list)  # one encoded entry per applied slot: the "engine"
    flushed_rows: int = 0
    boots: list[BootId] = field(default_factory=list)
    damaged: bool = False
    configuration: Configuration | None = None  # the newest in the rows
    flushed_configuration: Configuration | None = None


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad the world is. Probabilities per message; times in nanoseconds."""

    loss: float = 0.03
    duplication: float = 0.03
    slow: float = 0.05
    slow_sync: float = 0.02
    slow_ns: int = 400 * MILLISECOND  # the longest delay of a slow message or sync
    crash_every_ns: int = 2 * SECOND
    cut_every_ns: int = 3 * SECOND
    pause_every_ns: int = 4 * SECOND
    hand_over_every_ns: int = 5 * SECOND
    campaign_every_ns: int = 0
    reconfigure_every_ns: int = 1_500 * MILLISECOND  # only where there is a log replica
    flush_every_ns: int = 700 * MILLISECOND
    outage_ns: int = 4 * SECOND  # the longest crash, cut or pause
    client_every_ns: int = 40 * MILLISECOND
    drift: float = 0.005  # each clock runs this much fast or slow


CALM = Faults(0, 0, 0, 0, 1, 0, 0, 0, 0, reconfigure_every_ns=0)

STORM = Faults(
    loss=0.1,
    duplication=0.1,
    slow=0.15,
    slow_sync=0.2,
    slow_ns=60 * MILLISECOND,
    crash_every_ns=150 * MILLISECOND,
    cut_every_ns=250 * MILLISECOND,
    pause_every_ns=200 * MILLISECOND,
    hand_over_every_ns=120 * MILLISECOND,
    campaign_every_ns=20 * MILLISECOND,
    reconfigure_every_ns=60 * MILLISECOND,
    flush_every_ns=100 * MILLISECOND,
    outage_ns=200 * MILLISECOND,
    client_every_ns=5 * MILLISECOND,
)
"""Many changes of leader in little time, with `HASTY` settings."""

HASTY = PaxosSettings(
    lease_grant_ns=120 * MILLISECOND,
    lease_renew_ns=30 * MILLISECOND,
    unchosen_window_bytes=6_000,
    in_flight_bytes=1_600,
    chunk_bytes=600,
    retained_bytes=3_000,
    resend_ns=15 * MILLISECOND,
    commit_delay_ns=3 * MILLISECOND,
    poll_timeout_ns=10 * MILLISECOND,
    campaign_timeout_ns=60 * MILLISECOND,
    rank_delay_ns=10 * MILLISECOND,
    jitter_ns=5 * MILLISECOND,
    retry_max_ns=100 * MILLISECOND,
    hand_over_ns=15 * MILLISECOND,
    reconfirm_ns=20 * MILLISECOND,
    step_down_ns=240 * MILLISECOND,
)
"""Everything ten times faster than the defaults, and every bound small enough to be reached."""


class World:
    """`members` nodes with one group, and a log replica on one more if `logs`. Raises Violation (or Invariant) as soon
    as something is wrong."""

    def __init__(
        self,
        seed: int,
        members: int = 3,
        faults: Faults | None = None,
        settings: PaxosSettings | None = None,
        logs: int = 0,
    ) -> None:
        self.rng = random.Random(seed)
        self.faults = Faults() if faults is None else faults
        self.settings = settings or PaxosSettings()
        self.now = 0
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.sequence = 0
        self.chosen: dict[Slot, bytes] = {}
        self.acknowledged: dict[Slot, bytes] = {}
        self.cuts: dict[tuple[NodeId, NodeId], bool] = {}
        self.healthy = False
        self.lost: Callable[[NodeId, NodeId, Any], bool] = _nothing_lost
        self.sent = 0
        self.elections = 0
        self.commands = 0
        self.snapshots = 0
        self.configurations: dict[int, bool] = {}  # numbers that some replica has acted in
        self.size = members
        self.founded = Configuration(
            0, tuple(Replica(NodeId(n), log=n >= members, votes=n < members) for n in range(members + logs))
        )
        self.nodes: list[Node] = []
        self.nodes += [self.make_node(node) for node in self.founded.nodes]
        for node in self.nodes:
            node.boot()

    def make_node(self, me: NodeId) -> Node:
        """A node of this world: for worlds that watch theirs."""
        return Node(self, me)

    def at(self, when: int, action: Callable[[], None]) -> None:
        """Run `action` at `when`."""
        self.sequence += 1
        heapq.heappush(self.events, (max(when, self.now), self.sequence, action))

    def run(self, until: int) -> None:
        """Let time pass."""
        while self.events and self.events[0][0] <= until:
            self.now, _, action = heapq.heappop(self.events)
            action()
        self.now = until

    def send(self, source: NodeId, target: NodeId, message: Any) -> None:
        """Encoded and decoded as on the wire; delayed, lost, duplicated."""
        faults = CALM if self.healthy else self.faults
        if self.lost(source, target, message):
            return
        self.sent += not isinstance(message, LEASE_MESSAGES)
        if self.rng.random() < faults.loss:
            return
        wire = _encoder.encode(message)
        for _ in range(2 if self.rng.random() < faults.duplication else 1):
            delay = self.rng.randrange(100_000, 1_000_000)
            if self.rng.random() < faults.slow:
                delay += self.rng.randrange(faults.slow_ns)
            self.at(self.now + delay, lambda: self._deliver(source, target, wire))

    def _deliver(self, source: NodeId, target: NodeId, wire: bytes) -> None:
        if (source, target) not in self.cuts:
            self.nodes[target].receive(source, _decoder.decode(wire))

    # --- the checks ---------------------------------------------------------------------------------------------------

    def note_chosen(self, entry: Entry) -> None:
        """No two replicas see different entries chosen in a slot; each stands behind the one it was proposed on."""
        first = self.chosen.setdefault(entry.slot, entry.encoded)
        if first != entry.encoded:
            raise Violation(f"slot {entry.slot}: two different entries are chosen")
        before = self.chosen.get(Slot(entry.slot - 1))
        behind = None if before is None else decode_entry(before).command_id
        if entry.kind == CommandKind.MUTATIONS and behind not in (None, entry.body):
            raise Violation(f"slot {entry.slot}: chosen behind an entry that its proposer did not see")

    def note_acknowledged(self, node: Node, entry: Entry) -> None:
        """The client has its answer: nobody serves reads from before it. (A leader that was paused may learn late that
        its slots were chosen; by then its successor has them.)"""
        self.acknowledged[entry.slot] = entry.encoded
        for other in self.nodes[: self.size]:
            if other.disk.applied.slot < entry.slot and other.reads_strongly():
                raise Violation(f"node {node.me} acknowledges slot {entry.slot}, unknown to the reader {other.me}")

    def check_leases(self) -> None:
        """At most one replica serves strong reads, and it has every acknowledged slot."""
        holders = [node for node in self.nodes if node.reads_strongly()]
        if len(holders) > 1:
            raise Violation(f"nodes {[node.me for node in holders]} hold the group's lease at once")
        last = max(self.acknowledged, default=Slot(0))
        if holders and holders[0].disk.applied.slot < last:
            raise Violation(
                f"node {holders[0].me} reads at slot {holders[0].disk.applied.slot}; {last} is acknowledged"
            )

    def leader(self) -> Node | None:
        """The one that serves with a lease, if any."""
        serving = [node for node in self.nodes if node.reads_strongly()]
        return serving[0] if serving else None

    def cut(self, a: int, b: int) -> None:
        """Nothing passes between two nodes any more."""
        self.cuts[NodeId(a), NodeId(b)] = self.cuts[NodeId(b), NodeId(a)] = True

    def mend(self, a: int, b: int) -> None:
        """Undo `cut`."""
        self._mend((NodeId(a), NodeId(b)))
        self._mend((NodeId(b), NodeId(a)))

    def pass_time(self, length_ns: int) -> None:
        """Run for so long, looking at the leases every 5 ms."""
        end = self.now + length_ns
        while self.now < end:
            self.run(min(end, self.now + 5 * MILLISECOND))
            self.check_leases()

    # --- what happens to it -------------------------------------------------------------------------------------------

    def plan(self, until: int) -> None:
        """Clients all the time, faults until `until`."""
        for node in self.nodes:
            self._repeat(self.faults.client_every_ns, node.client, 1 << 62)
        self._repeat(self.faults.client_every_ns, self.check_leases, 1 << 62)
        faults = self.faults
        self._repeat(faults.crash_every_ns, self._crash_some, until)
        self._repeat(faults.cut_every_ns, self._cut_some, until)
        self._repeat(faults.pause_every_ns, self._pause_one, until)
        self._repeat(faults.hand_over_every_ns, self._hand_over, until)
        self._repeat(faults.campaign_every_ns, self._campaign, until)
        if self.founded.logs:
            self._repeat(faults.reconfigure_every_ns, self._reconfigure, until)
        self._repeat(faults.flush_every_ns, self._flush_one, 1 << 62)

    def _repeat(self, every: int, action: Callable[[], None], until: int) -> None:
        if not every:
            return

        def once() -> None:
            if self.now < until:
                action()
                self.at(self.now + self.rng.randrange(every // 2, every * 3 // 2), once)

        self.at(self.now + self.rng.randrange(every), once)

    def _crash_some(self) -> None:
        everyone = self.rng.random() < 0.15
        for node in self.nodes:
            if everyone or self.rng.random() < 1 / len(self.nodes):
                node.crash()
                quick = self.rng.random() < 0.4
                outage_ns = self.faults.outage_ns
                self.at(self.now + self.rng.randrange(outage_ns // 80 if quick else outage_ns), node.boot)

    def _cut_some(self) -> None:
        for a in self.nodes:
            for b in self.nodes:
                if a is not b and self.rng.random() < 0.3:
                    pair = (a.me, b.me)
                    self.cuts[pair] = True
                    self.at(self.now + self.rng.randrange(self.faults.outage_ns), partial(self._mend, pair))

    def _mend(self, pair: tuple[NodeId, NodeId]) -> None:
        self.cuts.pop(pair, None)

    def _pause_one(self) -> None:
        node = self.rng.choice(self.nodes)
        node.paused_until = self.now + self.rng.randrange(self.faults.outage_ns * 3 // 4)

    def _hand_over(self) -> None:
        node = self.rng.choice(self.nodes)
        if node.alive and self.now >= node.paused_until:
            node.execute(node.replica.hand_over(None, node.clock()))

    def _campaign(self) -> None:
        node = self.rng.choice(self.nodes)
        if node.alive and self.now >= node.paused_until:
            node.execute(node.replica.campaign_now(node.clock()))

    def _reconfigure(self) -> None:
        """The leader takes a vote for the log replica, or gives it back to the learner."""
        for node in self.nodes:
            replica = node.replica
            if not (node.alive and self.now >= node.paused_until and replica.serving and replica.pending is None):
                continue
            now, (log,) = replica.configuration, self.founded.logs
            if now.learners:
                after = now.next(promote=now.learners[0], mute=log)
            else:
                after = now.next(promote=log, mute=self.rng.choice([each for each in now.eligible if each != node.me]))
            with suppress(InvalidInput):
                node.execute(replica.reconfigure(after, Timestamp(self.now), node.clock()))

    def _flush_one(self) -> None:
        self.rng.choice(self.nodes).flush_engine()

    def heal(self) -> None:
        """No more faults."""
        self.healthy = True
        self.cuts.clear()
        for node in self.nodes:
            node.paused_until = 0
            if not node.alive:
                node.boot()

    def check_progress(self) -> None:
        """After a quiet while: one leader, and every replica has applied the same log with every acknowledged slot."""
        leaders = [node for node in self.nodes if node.replica.serving and node.reads_strongly()]
        if len(leaders) != 1:
            raise Violation(f"{len(leaders)} leaders serve after the faults have healed")
        rows = leaders[0].disk.rows
        for node in self.nodes[: self.size]:
            if node.disk.rows[: len(rows) - 5] != rows[: len(node.disk.rows[: len(rows) - 5])]:
                raise Violation(f"node {node.me} has applied another log than the leader")
            if len(node.disk.rows) < len(rows) - 5:
                raise Violation(f"node {node.me} ends at slot {len(node.disk.rows)}, the leader at {len(rows)}")
        for slot, encoded in self.acknowledged.items():
            if slot > len(rows) or rows[slot - 1] != encoded:
                raise Violation(f"slot {slot} was acknowledged and is lost")


class Node:
    """One node of the world: the least host."""

    def __init__(self, world: World, me: NodeId) -> None:
        self.world = world
        self.me = me
        self.disk = Disk()
        self.alive = False
        self.incarnation = 0
        self.paused_until = 0
        drift = world.faults.drift
        self.rate = 1.0 + world.rng.uniform(-drift, drift)
        self.offset = world.rng.randrange(10 * SECOND)
        self.replica: GroupReplica
        self.leases: LeaseTable
        self.waiting: deque[tuple[int, Effects]] = deque()
        self.syncing = False
        self.touched = False
        self.proposed: dict[Slot, bytes] = {}
        self._armed = -1

    @property
    def has_rows(self) -> bool:
        """Whether this is not the log replica."""
        return self.me < self.world.size

    def clock(self) -> Instant:
        """This node's monotonic time."""
        return Instant(self.offset + int(self.world.now * self.rate))

    def boot(self) -> None:
        """Start a process on this disk."""
        if self.alive:
            return
        world, disk = self.world, self.disk
        self.alive = True
        self.incarnation += 1
        self.waiting.clear()
        self.syncing = False
        self.proposed = {}
        now = self.clock()
        boot = BootId(world.rng.randbytes(16))
        self.leases = LeaseTable(self.me, boot, disk.boots[-16:], world.settings, now, world.rng)
        disk.boots.append(boot)
        members = world.founded.nodes
        self._armed = -1
        state = fold(disk.log).get(GROUP)
        if state is None:
            state = founding_state(GROUP, members, b"descriptor")
            state.configuration = world.founded
            self.execute(Effects(records=[create_record(state)]))
        elif self.has_rows:
            state.attach_engine(*_fields(disk.applied), disk.configuration)
        else:
            state.attach_log()
        state.amnesiac = disk.damaged
        if state.configuration.nodes != members or state.descriptor != b"descriptor":
            raise Violation(f"node {self.me}: members or descriptor lost in recovery")
        self.replica = GroupReplica(GROUP, self.me, state, self.leases, world.settings, world.rng)
        self.execute(self.replica.start(now))
        self.execute(self.leases.set_peers(members, now))

    def crash(self) -> None:
        """Lose what was not synced or flushed (a part of it may have reached the disk all the same)."""
        if not self.alive:
            return
        self.alive = False
        self.incarnation += 1
        disk = self.disk
        kept = self.world.rng.randrange(disk.durable_lsn, disk.lsn + 1)
        disk.log = [item for item in disk.log if item[0] <= kept]
        disk.lsn = disk.durable_lsn = kept
        disk.applied, disk.configuration = disk.flushed, disk.flushed_configuration
        del disk.rows[disk.flushed_rows :]

    def flush_engine(self) -> None:
        """The engine flushes; the log is checkpointed, cut, and its old part deleted."""
        disk = self.disk
        if not self.alive:
            return
        disk.flushed, disk.flushed_rows = disk.applied, len(disk.rows)
        disk.flushed_configuration = disk.configuration
        while self.replica.trim(disk.flushed.slot if self.has_rows else self.replica.chosen_slot):
            pass
        if self.world.rng.random() < 0.5:
            self.execute(Effects(records=[self.replica.checkpoint()]))
            self._delete_old(disk.lsn)

    def _delete_old(self, checkpoint_lsn: int) -> None:
        """As the shared log does: whole old parts whose slots are engine-durable, once the checkpoint is synced."""

        incarnation = self.incarnation

        def delete() -> None:
            disk = self.disk
            if incarnation != self.incarnation or disk.durable_lsn < checkpoint_lsn:
                return
            index = 0
            flushed = disk.flushed.slot if self.has_rows else self.replica.acceptor.log.base.slot
            while index < len(disk.log) and disk.log[index][0] < checkpoint_lsn:
                if _last_slot(disk.log[index][1]) > flushed:
                    break
                index += 1
            del disk.log[:index]

        self.world.at(self.world.now + SECOND, delete)

    # --- host ---------------------------------------------------------------------------------------------------------

    def execute(self, effects: Effects) -> None:
        """See `Effects`."""
        disk = self.disk
        for record in effects.records:
            disk.lsn += 1
            disk.log.append((Lsn(disk.lsn), record))
        for target, message in effects.sends:
            self.world.send(self.me, target, message)
        if effects.sends_durable or effects.durable_events:
            if disk.durable_lsn == disk.lsn:
                self._release(effects)
            else:
                self.waiting.append((disk.lsn, effects))
        if disk.durable_lsn < disk.lsn:
            self._sync()
        for output in effects.outputs:
            self._output(output)
        if self.alive and hasattr(self, "replica"):
            self._arm()

    def _sync(self) -> None:
        if self.syncing:
            return
        self.syncing = True
        incarnation, lsn = self.incarnation, self.disk.lsn
        faults = CALM if self.world.healthy else self.world.faults
        delay = self.world.rng.randrange(200_000, 2_000_000)
        if self.world.rng.random() < faults.slow_sync:
            delay += self.world.rng.randrange(faults.slow_ns)

        def synced() -> None:
            if incarnation != self.incarnation:
                return
            self.syncing = False
            self.disk.durable_lsn = max(self.disk.durable_lsn, lsn)
            while self.waiting and self.waiting[0][0] <= lsn:
                self._release(self.waiting.popleft()[1])
            if self.disk.durable_lsn < self.disk.lsn:
                self._sync()

        self.world.at(self.world.now + delay, synced)

    def _release(self, effects: Effects) -> None:
        for target, message in effects.sends_durable:
            self.world.send(self.me, target, message)
        for event in effects.durable_events:
            self.execute(self.replica.on_durable(event, self.clock()))

    def receive(self, source: NodeId, message: Any) -> None:
        """A message; a paused process reads it later."""
        if not self.alive:
            return
        if self.world.now < self.paused_until:
            incarnation = self.incarnation
            self.world.at(
                self.paused_until, lambda: self.receive(source, message) if incarnation == self.incarnation else None
            )
            return
        if isinstance(message, LEASE_MESSAGES):
            self.execute(self.leases.step(source, message, self.clock()))
        else:
            self.execute(self.replica.step(source, message, self.clock()))

    def _output(self, output: Any) -> None:
        if isinstance(output, Chosen):
            self._apply(output.entries)
        elif isinstance(output, BecameLeader):
            self.world.elections += 1
            self.proposed = {}
        elif isinstance(output, LostLeadership):
            self.proposed = {}
        elif isinstance(output, Reconfigured):
            self.world.configurations[output.configuration.number] = True
        elif isinstance(output, NeedSnapshot):
            self._send_snapshot(output.peer)
        elif hasattr(output, "node") and hasattr(self, "replica") and not hasattr(output, "group"):
            self.execute(self.replica.on_lease_change(self.clock()))

    def _apply(self, entries: list[Entry]) -> None:
        disk = self.disk
        for entry in entries:
            self.world.note_chosen(entry)
            if not self.has_rows:
                continue
            if entry.slot != disk.applied.slot + 1:
                raise Violation(f"node {self.me}: slot {entry.slot} reported after {disk.applied.slot}")
            if entry.kind is CommandKind.CONFIG:
                disk.configuration = decode_configuration(entry.body)
            disk.rows.append(entry.encoded)
            disk.applied = entry.mark
            if self.proposed.pop(entry.slot, None) is not None:
                self.world.note_acknowledged(self, entry)
        self.replica.on_applied(disk.applied.slot)

    def _send_snapshot(self, peer: NodeId) -> None:
        applied, rows, configuration = self.disk.applied, list(self.disk.rows), self.disk.configuration
        incarnation, ballot = self.incarnation, self.replica.ballot

        def arrive() -> None:
            target = self.world.nodes[peer]
            if target.alive and applied.slot > target.disk.applied.slot and (self.me, peer) not in self.world.cuts:
                self.world.snapshots += 1
                disk = target.disk
                disk.applied = disk.flushed = applied
                disk.rows, disk.flushed_rows = list(rows), len(rows)
                disk.configuration = disk.flushed_configuration = configuration
                target.execute(
                    target.replica.snapshot_installed(*_fields(applied), configuration, target.clock(), ballot)
                )
            if incarnation == self.incarnation:
                self.execute(self.replica.snapshot_sent(peer, self.clock()))

        self.world.at(self.world.now + self.world.rng.randrange(50 * MILLISECOND), arrive)

    def _arm(self) -> None:
        deadlines = [self.replica.next_deadline(), self.leases.next_deadline()]
        when = min((deadline for deadline in deadlines if deadline is not None), default=None)
        if when is None or not self.alive:
            return
        incarnation = self.incarnation
        at = int((when - self.offset) / self.rate) + 1000
        if at == self._armed and at > self.world.now:
            return
        self._armed = at
        self.world.at(at, lambda: self._tick() if incarnation == self.incarnation else None)

    def _tick(self) -> None:
        if self.world.now < self.paused_until:
            incarnation = self.incarnation
            self.world.at(self.paused_until, lambda: self._tick() if incarnation == self.incarnation else None)
            return
        self._armed = -1
        now = self.clock()
        deadline = self.leases.next_deadline()
        if deadline is not None and deadline <= now:
            self.execute(self.leases.tick(now))
        deadline = self.replica.next_deadline()
        if deadline is not None and deadline <= now:
            self.execute(self.replica.tick(now))
        self._arm()

    # --- clients ------------------------------------------------------------------------------------------------------

    def reads_strongly(self) -> bool:
        """Whether a strong read would be answered here now."""
        return self.alive and self.world.now >= self.paused_until and self.replica.holds_lease(self.clock())

    def client(self) -> None:
        """Propose a few commands, each knowing what it was proposed behind."""
        if not self.alive or self.world.now < self.paused_until or not self.replica.serving:
            return
        self.propose(self.world.rng.randrange(3))

    def propose(self, count: int) -> None:
        """Propose `count` commands in one turn."""
        for _ in range(count):
            self.world.commands += 1
            log = self.replica.acceptor.log
            before = log.entries[-1].command_id if log.entries else bytes(16)
            if not log.entries and log.base.slot:
                before = decode_entry(self.disk.rows[log.base.slot - 1]).command_id
            name = CommandId(self.world.commands.to_bytes(16, "big"))
            try:
                slot, effects = self.replica.propose(
                    Command(CommandKind.MUTATIONS, name, before), Timestamp(self.world.now), self.clock()
                )
            except (NotLeader, Stalled):
                break
            self.proposed[slot] = name
            self.execute(effects)
        self.execute(self.replica.flush(self.clock()))


def _nothing_lost(source: NodeId, target: NodeId, message: Any) -> bool:
    return False


def _fields(mark: Mark) -> tuple[Any, Any, Any]:
    return mark.slot, mark.crc, mark.stamp


def _last_slot(record: Record) -> int:
    if record.kind is RecordKind.INSTALL:
        return record.slot + sum(1 for _ in unpack_install(record.body))
    return record.slot if record.kind in (RecordKind.ACCEPT, RecordKind.LEARN) else 0


def hunt(
    seed: int,
    members: int = 3,
    faults: Faults | None = None,
    settings: PaxosSettings | None = None,
    fault_ns: int = 10 * SECOND,
    peace_ns: int = 10 * SECOND,
    logs: int = 0,
) -> World:
    """One run: faults, then peace, in which progress is demanded."""
    world = World(seed, members, faults, settings, logs)
    world.plan(fault_ns)
    world.run(fault_ns)
    world.heal()
    world.run(fault_ns + peace_ns)
    world.check_progress()
    return world


def storm(seed: int, members: int = 3, logs: int = 0) -> World:
    """A run of `STORM` with `HASTY` settings: two seconds, dozens of leaders."""
    return hunt(seed, members, STORM, HASTY, 2 * SECOND, SECOND, logs)
