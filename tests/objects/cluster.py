"""Several nodes' object machines in one process: messages with delays and losses, logs that are durable or not.

The whole node runs in the simulator (`gramme sim`); this is for tests of the machines alone.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from random import Random
from typing import Any

import msgspec

from gramme.kernel.effects import Effects
from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NO_NODE, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant, Timestamp
from gramme.node.host import HOLD_NS
from gramme.objects.anti_entropy import AntiEntropy
from gramme.objects.config import FOUNDED_VERSION, ObjectConfig, decode_config, encode_config
from gramme.objects.coordinator import Answered, Coordinators
from gramme.objects.dots import BLOCK, DotSource
from gramme.objects.handoff import HintedHandoff
from gramme.objects.messages import (
    BACKGROUND_MESSAGES,
    HANDOFF_MESSAGES,
    MESSAGES,
    REAPING_MESSAGES,
    Listed,
    Outcome,
    Request,
)
from gramme.objects.pace import Pace
from gramme.objects.reaping import Reaper, View
from gramme.objects.replica import Configured, ObjectReplica, decode_entry, object_record
from gramme.objects.ring_change import Advance, AllKnow, Newer, RingChange
from gramme.objects.ring_phases import advanced, next_version, with_change
from gramme.objects.state import Name, State, decode_state
from gramme.objects.store import Keeping, ObjectStore, Section
from gramme.objects.transfer import Rested, Transfers
from gramme.objects.transfer_messages import TRANSFER_MESSAGES, ConfigurationIs, RingReport
from gramme.objects.versions import Versions
from gramme.placement.ring import Ring, founded, planned
from gramme.placement.zones import NodePlace
from gramme.storage.engine.memory import MemoryEngine

PARTITIONS = 16
_encode = msgspec.msgpack.Encoder().encode
_message: Any = reduce(or_, MESSAGES)
_decode = msgspec.msgpack.Decoder(_message).decode
_FSYNC_NS = MILLISECOND
AGE_NS = 5 * SECOND
"""Of deletions that are buried, between two agreements, and of values past their time that are swept."""


class Machine:
    """One node: its machines, its log (bodies of records, and how many of them are durable)."""

    def __init__(self, cluster: Cluster, node: NodeId) -> None:
        self.cluster = cluster
        self.node = node
        self.log: list[bytes] = []
        self.durable = 0
        self.starts = 0
        self.up = False
        self.full = False  # no room on its disk
        self.compares = True  # by anti-entropy
        self.start(clean=True)

    def start(self, clean: bool) -> None:
        """With an empty engine: all is replayed, so the log alone must tell it."""
        self.starts += 1
        self.up = True
        self.engine = MemoryEngine(lambda done: done())
        store = ObjectStore(self.engine, PARTITIONS, self._keeping)
        self.dots = DotSource(self.node, BLOCK * (self.starts - 1), clean)
        self.replica = ObjectReplica(
            self.node, store, self.dots, lambda: self.full, lambda: Timestamp(self.cluster.now - AGE_NS)
        )
        entries = [decode_entry(body) for body in self.log]
        self.replica.replay(entries)
        heard = [decode_config(entry.config) for entry in entries if isinstance(entry, Configured)]
        self.config = heard[-1] if heard else self.cluster.founded
        end = self.dots.wanted()
        assert end is not None
        self.dots.reserved(end)
        self.coordinators = Coordinators(
            self.node, self.replica, self.dots, lambda: self.config.ring, self._reachable,
            lambda: Timestamp(self.cluster.now), Random(self.node + 1000 * self.starts), lambda: self.config.other,
        )  # fmt: skip
        self.handoff = HintedHandoff(self.replica, self._reachable, Random(self.node + 1000 * self.starts))
        self.anti_entropy = AntiEntropy(self.replica, self._shared, self._reachable)
        self.reaper = Reaper(
            self.node, self.replica, self._view, self._reachable, self.coordinators.names,
            lambda: Timestamp(self.cluster.now), Random(self.node + 1000 * self.starts), AGE_NS,
        )  # fmt: skip
        peers = [NodeId(node) for node in range(self.cluster.size) if node != self.node]
        self.change = RingChange(self.node, lambda: peers, lambda: self.config, self._reachable)
        self.transfers = Transfers(
            self.node,
            self.replica,
            lambda: self.config,
            self.change.known,
            self._reachable,
            Pace(0),
            Random(self.node + 1000 * self.starts),
        )
        self.change.transfers = self.transfers

    def configure(self, config: ObjectConfig) -> None:
        """The catalog, or a peer, has `config`."""
        if config.version > self.config.version:
            self.config = config
            self.transfers.wake()
            self.change.wake()
            self.execute(Effects(records=[object_record(Configured(encode_config(config)))]))

    def _view(self) -> View:
        nodes = [machine.node for machine in self.cluster.machines]
        return View(self.config.version, self.config.ring, nodes, self.config.other is not None)

    def _shared(self) -> dict[NodeId, list[Section]]:
        ring, shared = self.config.ring, dict[NodeId, list[Section]]()
        for partition in range(ring.partitions):
            primaries = ring.preference_list(partition, 3)[:3]
            for peer in primaries if self.node in primaries else ():
                if peer != self.node:
                    shared.setdefault(peer, []).append(Section(partition, 3))
        return shared

    def _keeping(self, name: Name) -> Keeping:
        return Keeping(buffered=name.bucket in self.cluster.buffered)

    def _reachable(self, node: NodeId) -> bool:
        return node in self.cluster.believed_up

    def crash(self) -> None:
        """What is not durable is gone."""
        self.up = False
        del self.log[self.durable :]

    def execute(self, effects: Effects) -> None:
        self.log += [record.body for record in effects.records]
        for target, message in effects.sends:
            self.cluster.send(self.node, target, message)
        for output in effects.outputs:
            if isinstance(output, Advance):
                self.cluster.advance(self, output)
                continue
            if isinstance(output, Rested):
                self.change.wake()
                continue
            if isinstance(output, AllKnow):
                self.transfers.wake()
                continue
            if isinstance(output, Newer):
                self.configure(decode_config(output.config))
                continue
            assert isinstance(output, Answered)
            assert not isinstance(output.outcome, Listed)
            self.cluster.answers[(self.node, output.id)] = output.outcome
        if effects.sends_durable or effects.durable_events or effects.records:
            life, end = self.starts, len(self.log)
            # As the host does: what is not hurried waits for company, or so long.
            delay = HOLD_NS if effects.unhurried else _FSYNC_NS
            self.cluster.after(delay, lambda: self._fsynced(life, end, effects))

    def _fsynced(self, life: int, end: int, effects: Effects) -> None:
        if not self.up or life != self.starts:
            return
        self.durable = max(self.durable, end)
        for target, message in effects.sends_durable:
            self.cluster.send(self.node, target, message)
        for event in effects.durable_events:
            self.execute(self.coordinators.on_durable(event, self.cluster.now))

    def deliver(self, source: NodeId, message: Any) -> None:
        if self.up:
            self.execute(self._machine(message).step(source, message, self.cluster.now))

    def _machine(self, message: Any) -> Any:
        if isinstance(message, HANDOFF_MESSAGES):
            return self.handoff
        if isinstance(message, RingReport | ConfigurationIs):
            return self.change
        if isinstance(message, TRANSFER_MESSAGES):
            return self.transfers
        if isinstance(message, REAPING_MESSAGES):
            return self.reaper
        return self.anti_entropy if isinstance(message, BACKGROUND_MESSAGES) else self.coordinators

    @property
    def machines(self) -> tuple[Any, ...]:
        if not self.cluster.background:
            return (self.coordinators,)
        comparing = (self.anti_entropy,) if self.compares else ()
        reaping = (self.reaper,) if self.cluster.reaping else ()
        return (self.coordinators, self.handoff, *comparing, *reaping, self.change, self.transfers)

    def write_here(self, name: Name, state: State) -> None:
        """Have this node alone keep `state`, whoever should."""
        out = Effects()
        self.replica.keep(name, state, NO_NODE, out)
        self.execute(out)

    def tick(self, now: Instant) -> None:
        for machine in self.machines:
            deadline = machine.next_deadline()
            if deadline is not None and deadline <= now:
                self.execute(machine.tick(now))


class Cluster:
    """Nodes and what lies between them."""

    def __init__(self, nodes: int, seed: int = 0, loss: float = 0.0, background: bool = False) -> None:
        self.now = Instant(0)
        self.rng = Random(seed)
        self.loss = loss
        self.background = background  # hinted handoff and anti-entropy
        self.reaping = False
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.buffered: tuple[bytes, ...] = ()  # names of buckets
        self.swallowed: Callable[[NodeId, Any], bool] = lambda _target, _message: False
        self.answers: dict[tuple[NodeId, int], Outcome] = {}
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.sent: list[Any] = []
        places = [NodePlace(NodeId(n), f"host{n}", f"zone{n % 3}") for n in range(nodes)]
        self.size = nodes
        self.founded = ObjectConfig(FOUNDED_VERSION, founded(places, PARTITIONS))
        self.config = self.founded  # as the catalog has it
        self.believed_up: set[NodeId] = {place.node for place in places}
        self.machines = [Machine(self, place.node) for place in places]
        self.down: int | None = None  # what `switch_one` has powered off

    @property
    def ring(self) -> Ring:
        """The ring that is read."""
        return self.config.ring

    def commit(self, config: ObjectConfig, *nodes: int) -> None:
        """The catalog takes `config`, and these nodes hear of it there; the others from their peers."""
        self.config = config
        for node in nodes:
            self.machines[node].configure(config)

    def change_ring(self, *nodes: int) -> None:
        """Commit a plan for a ring of these nodes, of which the first one hears."""
        places = [NodePlace(NodeId(n), f"host{n}", f"zone{n % 3}") for n in nodes]
        ring = msgspec.structs.replace(planned(self.config.ring, places).ring, version=next_version(self.config))
        self.commit(with_change(self.config, ring), nodes[0])

    def advance(self, machine: Machine, output: Advance) -> None:
        """A node proposes the next step; the catalog takes it if it is the next."""
        with contextlib.suppress(InvalidInput):
            self.commit(advanced(self.config, output.step))
        machine.configure(self.config)

    def after(self, delay_ns: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + delay_ns, self._count, action))

    def send(self, source: NodeId, target: NodeId, message: Any) -> None:
        self.sent.append(message)
        if (source, target) in self.cut or self.swallowed(target, message) or self.rng.random() < self.loss:
            return
        message = _decode(_encode(message))  # as it arrives on another node
        delay = self.rng.randrange(MILLISECOND // 2, 3 * MILLISECOND)
        self.after(delay, lambda: self.machines[target].deliver(source, message))

    def run(self, duration_ns: int) -> None:
        """Let time pass."""
        end = self.now + duration_ns
        while True:
            ticks = [
                deadline
                for node in self.machines
                if node.up
                for machine in node.machines
                if (deadline := machine.next_deadline()) is not None
            ]
            due = min([*ticks, *(event[0] for event in self._events[:1]), end])
            self.now = Instant(max(self.now, due))
            if self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            elif due >= end:
                return
            for node in self.machines:
                if node.up:
                    node.tick(self.now)

    def ask(self, node: int, request: Request, patience_ns: int = 3 * SECOND) -> Outcome:
        """Have `node` serve a client's request; returns its outcome."""
        id_, effects = self.machines[node].coordinators.submit(request, Instant(self.now + patience_ns), self.now)
        self.machines[node].execute(effects)
        limit = self.now + patience_ns + SECOND
        while (NodeId(node), id_) not in self.answers and self.now < limit:
            self.run(MILLISECOND)
        return self.answers[(NodeId(node), id_)]

    def crash(self, *nodes: int) -> None:
        """Power off; the others notice."""
        for node in nodes:
            self.machines[node].crash()
            self.believed_up.discard(NodeId(node))

    def start(self, *nodes: int) -> None:
        """Power on again."""
        for node in nodes:
            self.machines[node].start(clean=False)
            self.believed_up.add(NodeId(node))

    def switch_one(self, rng: Random) -> None:
        """Power a machine off, or on again the one that is off."""
        if self.down is None:
            self.down = rng.randrange(len(self.machines))
            self.crash(self.down)
        else:
            self.start_all()

    def start_all(self) -> None:
        """Power on again the machine that `switch_one` has powered off."""
        if self.down is not None:
            self.start(self.down)
            self.down = None

    def primaries(self, name: Name, n: int = 3) -> Sequence[NodeId]:
        place = self.machines[0].replica.store.place(name)
        return self.ring.preference_list(place.section.partition, n)[:n]

    @property
    def wall(self) -> Timestamp:
        """What every node's clock says."""
        return Timestamp(self.now)

    def decoded(self, state: bytes) -> State:
        """As it is in an answer."""
        return decode_state(state)

    def texts(self, state: State) -> list[str]:
        """The values of an opaque object."""
        assert isinstance(state, Versions)
        return [sibling.value.body.decode() for sibling in state.siblings if not sibling.value.deleted]

    def known(self, name: Name) -> list[State | None]:
        """What each node has of its own."""
        return [machine.replica.store.get(name) for machine in self.machines]
