"""What befalls a simulated cluster: a plan drawn from the seed before the run, and the hand that carries it out.

The plan is data, so a failing run can be told as a list. Faults overlap freely; nothing limits them to a minority,
since safety must hold whatever fails. When the safety phase ends everything heals, and progress is demanded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from random import Random
from typing import Final, Protocol

from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.sim.coverage import Coverage
from gramme.sim.tripwires import STAGES
from gramme.sim.world import World

_WATCH_NS: Final = MILLISECOND
_REIGN_NS: Final = 60 * MILLISECOND
"""How long a new leader is left in peace by a coup, at most."""
_STEPS: Final = 4


class FaultKind(StrEnum):
    """Kinds of trouble."""

    CRASH = "crash"  # kill -9 of one node; it restarts later on its disks
    POWER = "power"  # the machine loses power: unfinished writes are torn, its clock starts anew
    CRASH_ALL = "crash-all"  # all at once
    BLACKOUT = "blackout"  # the power of all
    PAUSE = "pause"  # SIGSTOP; the clock goes on
    CUT_NODE = "cut-node"  # one node from all others, both ways
    CUT_WAY = "cut-way"  # one node to one other, one way
    MUTE = "mute"  # nobody hears one node, which hears all
    DEAF = "deaf"  # one node hears nobody, and is heard by all
    FLAP = "flap"  # the link between two nodes comes and goes, every time for about as long as a lease lasts
    BAD_LINK = "bad-link"  # the link between two nodes loses a good part of the frames and delays the others
    SLOW_NODE = "slow-node"  # all that one node sends takes longer than a lease
    COUP = "coup"  # a leader is cut off or slow; as soon as another one leads, that one falls and the first is back
    STALE = "stale"  # a leader's frames are held back until another candidate has a promise, and arrive just then
    LAG = "lag"  # the engines of all but the leader stall, then the leader falls
    ORPHAN = "orphan"  # a leader is left with one follower, which then restarts and hears it no more
    SLOW_DISK = "slow-disk"
    HANG_DISK = "hang-disk"  # no fsync comes back; the process goes on, and its leases with it
    FAIL_DISK = "fail-disk"  # an fsync fails: the node must stop; it is started again later
    FULL_DISK = "full-disk"  # free space below the reserve
    ROT = "rot"  # the power of one and the same node is lost, and part of its synced log with it
    LOSE_ROWS = "lose-rows"  # the power of that same node is lost, and its engine's files with it
    BURN = "burn"  # that same node is cut off, works on alone, and is then gone for good
    LOSE_MACHINE = "lose-machine"  # that same node never comes back
    REPLACE = "replace"  # that same node never comes back; another machine is added, and this one removed
    ADD_NODE = "add-node"  # an administrator adds a machine
    REMOVE_NODE = "remove-node"  # an administrator removes a node for good, be it alive or not
    ZONE = "zone"  # the power of all nodes of one zone is lost
    STALL_ENGINE = "stall-engine"  # the engine asks for back-pressure
    WALL_STEP = "wall-step"  # the wall clock jumps, forward or back
    DRAIN = "drain"  # a graceful stop, then a restart
    STEP = "step"  # one node falls right after, or just before, it sends a message of a transaction's n-th step


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `node` (and `peer`) suffer `kind` from `at_ns` for `length_ns`."""

    at_ns: int
    kind: FaultKind
    node: NodeId
    peer: NodeId
    length_ns: int

    def __str__(self) -> str:
        at, length = self.at_ns / SECOND, self.length_ns / SECOND
        return f"{at:.3f} s: {self.kind} node {self.node} peer {self.peer} for {length:.3f} s"


_RETRY_NS: Final = 100 * MILLISECOND

MEMBERSHIP: Final = frozenset((FaultKind.REPLACE, FaultKind.ADD_NODE, FaultKind.REMOVE_NODE))
"""What an administrator does about the cluster's machines."""


class Cluster(Protocol):
    """What faults can be done to."""

    @property
    def nodes(self) -> tuple[NodeId, ...]: ...

    @property
    def coverage(self) -> Coverage: ...

    def crash(self, node: NodeId, power: bool) -> None: ...

    def start(self, node: NodeId) -> None: ...

    def drain(self, node: NodeId) -> None: ...

    def pause(self, node: NodeId) -> None: ...

    def resume(self, node: NodeId) -> None: ...

    def cut(self, source: NodeId, target: NodeId) -> None: ...

    def heal(self, source: NodeId, target: NodeId) -> None: ...

    def slow_link(self, source: NodeId, target: NodeId, extra_ns: int) -> None: ...

    def lose(self, source: NodeId, target: NodeId, share: float) -> None: ...

    def hold(self, source: NodeId, target: NodeId) -> None: ...

    def release(self, source: NodeId, target: NodeId) -> None: ...

    def leader(self) -> NodeId | None: ...

    def in_phase_one(self, node: NodeId) -> NodeId | None: ...

    def log_holder(self, node: NodeId) -> NodeId | None: ...

    def slow_disk(self, node: NodeId, slow: bool) -> None: ...

    def hang_disk(self, node: NodeId, hangs: bool) -> None: ...

    def fill_disk(self, node: NodeId, full: bool) -> None: ...

    def stall_engine(self, node: NodeId, stalled: bool) -> None: ...

    def fail_disk(self, node: NodeId) -> None: ...

    def step_wall(self, node: NodeId, by_ns: int) -> None: ...

    def rot(self, node: NodeId, tail: bool) -> None: ...

    def lose_rows(self, node: NodeId) -> None: ...

    def bears_the_loss_of(self, node: NodeId) -> bool: ...

    def lose_machine(self, node: NodeId) -> None: ...

    def add_node(self) -> None: ...

    def remove_node(self, node: NodeId) -> None: ...

    def zone_of(self, node: NodeId) -> tuple[NodeId, ...]: ...

    def trip(self, node: NodeId, stage: int, count: int, lose: bool, action: Callable[[], None]) -> None: ...


def draw_plan(
    rng: Random,
    nodes: tuple[NodeId, ...],
    weights: Mapping[FaultKind, int],
    start_ns: int,
    end_ns: int,
    interval_ns: int,
    length_ns: int,
) -> list[Fault]:
    """Faults between `start_ns` and `end_ns`, on average every `interval_ns`, most of them about `length_ns` long."""
    kinds = [kind for kind, weight in weights.items() for _ in range(weight)]
    plan: list[Fault] = []
    at_ns = start_ns + rng.randrange(interval_ns)
    while kinds and at_ns < end_ns:
        node = nodes[rng.randrange(len(nodes))]
        peer = nodes[rng.randrange(len(nodes))]
        lasting_ns = 1 + rng.randrange(2 * length_ns) if rng.random() < 0.8 else 1 + rng.randrange(length_ns // 20 + 1)
        plan.append(Fault(at_ns, kinds[rng.randrange(len(kinds))], node, peer, lasting_ns))
        at_ns += 1 + rng.randrange(2 * interval_ns)
    return plan


class Nemesis:
    """Carries a plan out."""

    def __init__(self, world: World, cluster: Cluster, plan: list[Fault]) -> None:
        self._world = world
        self._cluster = cluster
        self._rng = world.randomness("nemesis")
        self._over = False
        self._hands = self._by_kind()
        self._victim = cluster.nodes[world.seed % len(cluster.nodes)]  # the one node whose disks lose what they had
        for fault in plan:
            world.after(max(0, fault.at_ns - world.now_ns), partial(self._begin, fault))

    def stop(self) -> None:
        """Begin and end no more faults; the caller heals what lasts."""
        self._over = True

    def _begin(self, fault: Fault) -> None:
        if self._over:
            return
        fault = replace(fault, node=self._there(fault.node), peer=self._there(fault.peer))
        self._world.note(str(fault))
        self._cluster.coverage.note(f"fault: {fault.kind}")
        self._hands[fault.kind](fault)

    def _by_kind(self) -> dict[FaultKind, Callable[[Fault], None]]:
        """The hand that carries out each kind of fault."""
        cluster = self._cluster
        return {
            FaultKind.CRASH: lambda fault: self._crash((fault.node,), fault.length_ns, power=False),
            FaultKind.POWER: lambda fault: self._crash((fault.node,), fault.length_ns, power=True),
            FaultKind.CRASH_ALL: lambda fault: self._crash(
                cluster.nodes, fault.length_ns, power=self._rng.random() < 0.5
            ),
            FaultKind.BLACKOUT: lambda fault: self._crash(cluster.nodes, fault.length_ns, power=True),
            FaultKind.PAUSE: self._pause,
            FaultKind.CUT_NODE: lambda fault: self._cut_off(fault, speaks=False, hears=False),
            FaultKind.CUT_WAY: lambda fault: self._cut(fault.node, fault.peer, fault.length_ns),
            FaultKind.MUTE: lambda fault: self._cut_off(fault, speaks=False, hears=True),
            FaultKind.DEAF: lambda fault: self._cut_off(fault, speaks=True, hears=False),
            FaultKind.FLAP: self._flap,
            FaultKind.BAD_LINK: lambda fault: self._spoil(fault.node, fault.peer, 3 * fault.length_ns),
            FaultKind.SLOW_NODE: lambda fault: self._slow(fault.node, fault.length_ns),
            FaultKind.COUP: lambda fault: self._coup(fault.length_ns),
            FaultKind.STALE: lambda fault: self._stale(fault.length_ns),
            FaultKind.LAG: lambda fault: self._lag(fault.length_ns),
            FaultKind.ORPHAN: lambda fault: self._orphan(fault.length_ns),
            FaultKind.SLOW_DISK: partial(self._for_a_while, cluster.slow_disk),
            FaultKind.HANG_DISK: partial(self._for_a_while, cluster.hang_disk),
            FaultKind.FAIL_DISK: partial(self._until_started, cluster.fail_disk),
            FaultKind.FULL_DISK: partial(self._for_a_while, cluster.fill_disk),
            FaultKind.ROT: lambda fault: self._rot(fault.length_ns),
            FaultKind.LOSE_ROWS: self._lose_rows,
            FaultKind.BURN: self._burn,
            FaultKind.LOSE_MACHINE: lambda _fault: self._lose(),
            FaultKind.REPLACE: self._replace,
            FaultKind.ADD_NODE: lambda _fault: cluster.add_node(),
            FaultKind.REMOVE_NODE: lambda fault: cluster.remove_node(fault.node),
            FaultKind.ZONE: lambda fault: self._crash(cluster.zone_of(fault.node), fault.length_ns, power=True),
            FaultKind.STALL_ENGINE: partial(self._for_a_while, cluster.stall_engine),
            FaultKind.WALL_STEP: lambda fault: cluster.step_wall(
                fault.node, self._rng.randrange(-20 * SECOND, 20 * SECOND)
            ),
            FaultKind.DRAIN: partial(self._until_started, cluster.drain),
            FaultKind.STEP: lambda fault: self._step(fault.node, fault.length_ns),
        }

    def _there(self, node: NodeId) -> NodeId:
        """`node`, or one that is there where that has not joined yet, or has left."""
        nodes = self._cluster.nodes
        return node if node in nodes else nodes[node % len(nodes)]

    def _for_a_while(self, switch: Callable[[NodeId, bool], None], fault: Fault) -> None:
        """Something is on at the fault's node for as long as the fault lasts."""
        switch(fault.node, True)
        self._later(fault.length_ns, lambda: switch(fault.node, False))

    def _until_started(self, end: Callable[[NodeId], None], fault: Fault) -> None:
        """The fault's node ends, one way or the other, and is started when the fault is over."""
        end(fault.node)
        self._later(fault.length_ns, lambda: self._cluster.start(fault.node))

    def _pause(self, fault: Fault) -> None:
        self._cluster.pause(fault.node)
        self._later(fault.length_ns, lambda: self._cluster.resume(fault.node))

    def _lose_rows(self, fault: Fault) -> None:
        self._crash((self._victim,), fault.length_ns, power=True)
        self._cluster.lose_rows(self._victim)

    def _burn(self, fault: Fault) -> None:
        self._isolate(self._victim, True)
        self._later(fault.length_ns, self._lose)

    def _lose(self) -> None:
        """The victim burns down, once every group can do without it: where there is no node to spare a group has two
        voters for as long as its third copy is made (docs/design/reconfiguration.md), and no healing mends the loss of
        one of two."""
        if self._cluster.bears_the_loss_of(self._victim):
            self._cluster.lose_machine(self._victim)
        else:
            self._later(_RETRY_NS, self._lose)

    def _replace(self, fault: Fault) -> None:
        self._lose()
        self._later(fault.length_ns, self._cluster.add_node)

    def _step(self, node: NodeId, down_ns: int) -> None:
        """See `FaultKind.STEP`: any message of a coordinator, a recoverer, or a leader that serves them may be the last
        one of its node."""
        power = self._rng.random() < 0.3

        def fall() -> None:
            if not self._over:
                self._crash((node,), down_ns, power=power)

        stage, count = self._rng.randrange(len(STAGES)), 1 + self._rng.randrange(_STEPS)
        self._cluster.trip(node, stage, count, self._rng.random() < 0.5, fall)

    def _crash(self, nodes: tuple[NodeId, ...], down_ns: int, *, power: bool) -> None:
        for node in nodes:
            self._cluster.crash(node, power)
            # Up to five times as long, so that the others often go on without one of them.
            self._later(
                down_ns + self._rng.randrange(1 + self._rng.randrange(4 * down_ns)), partial(self._cluster.start, node)
            )

    def _rot(self, down_ns: int) -> None:
        """Damage strikes one node only: a majority with damaged logs cannot be expected to serve.

        Half the time it strikes where it hurts: what the leader and the victim alone hold is chosen, then the leader
        falls with the victim, and the victim is back first.
        """
        nodes, victim = self._cluster.nodes, self._victim
        leader = self._cluster.leader()
        if leader is None or leader == victim or self._rng.random() < 0.5:
            self._crash((victim,), down_ns, power=True)
            self._cluster.rot(victim, tail=False)
            return
        for third in nodes:
            if third not in (leader, victim):
                self._isolate(third, True)
        self._later(100 * MILLISECOND, lambda: self._strike(victim, leader, down_ns))

    def _strike(self, victim: NodeId, leader: NodeId, down_ns: int) -> None:
        for third in self._cluster.nodes:
            if third not in (leader, victim):
                self._isolate(third, False)
        self._crash((leader,), 4 * down_ns, power=False)
        self._cluster.crash(victim, power=False)
        self._cluster.rot(victim, tail=True)
        self._later(MILLISECOND, lambda: self._cluster.start(victim))

    def _lag(self, length_ns: int) -> None:
        """What the old leader had acknowledged is chosen at the new one, and not applied."""
        leader = self._cluster.leader()
        if leader is None:
            return
        for node in self._cluster.nodes:
            if node != leader:
                self._cluster.stall_engine(node, True)
                self._later(3 * length_ns, partial(self._cluster.stall_engine, node, False))
        self._later(100 * MILLISECOND, lambda: self._crash((leader,), length_ns, power=False))

    def _coup(self, length_ns: int) -> None:
        """See `FaultKind.COUP`. What the first one proposed alone meets what the second one had chosen."""
        first = self._cluster.leader()
        if first is None:
            return
        if self._rng.random() < 0.5:
            self._isolate(first, True)
        else:
            self._slow(first, 3 * length_ns)
        early = self._rng.random() < 0.4
        self._watch(first, early, length_ns, self._world.now_ns + 10 * length_ns)

    def _successor(self, first: NodeId, early: bool) -> NodeId | None:
        """Who leads now; with `early`, who has just made another node adopt its log and does not lead yet."""
        if not early:
            return self._cluster.leader()
        holders = (self._cluster.log_holder(node) for node in self._cluster.nodes if node != first)
        return next((holder for holder in holders if holder not in (None, first)), None)

    def _watch(self, first: NodeId, early: bool, length_ns: int, until_ns: int) -> None:
        second = self._successor(first, early)
        if self._world.now_ns >= until_ns:
            self._isolate(first, False)
        elif second is None or second == first:
            self._later(_WATCH_NS, lambda: self._watch(first, early, length_ns, until_ns))
        elif early:
            self._crash((second,), 2 * length_ns, power=False)
            self._isolate(first, False)
        else:
            reign_ns = _REIGN_NS if self._rng.random() < 0.5 else _REIGN_NS // 20
            self._later(self._rng.randrange(reign_ns), lambda: self._overthrow(first, second, length_ns))

    def _overthrow(self, first: NodeId, second: NodeId, length_ns: int) -> None:
        third = next((node for node in self._cluster.nodes if node not in (first, second)), first)
        if self._rng.random() < 0.3:
            self._crash((third,), 1 + length_ns // 20, power=True)
        if self._rng.random() < 0.5:
            self._crash((second,), length_ns, power=self._rng.random() < 0.5)
        else:
            self._isolate(second, True)
            self._later(length_ns, lambda: self._isolate(second, False))
        self._isolate(first, False)

    def _orphan(self, length_ns: int) -> None:
        """See `FaultKind.ORPHAN`. The leader reads on by the last grant of a process that is gone; the other follower
        has long given up on it and asks the new process for its vote."""
        leader = self._cluster.leader()
        others = [node for node in self._cluster.nodes if node != leader]
        if leader is None or len(others) < 2:
            return
        last = others.pop(self._rng.randrange(len(others)))
        for node in others:
            self._cut(leader, node, 4 * length_ns)
            self._cut(node, leader, 4 * length_ns)
        self._later(2 * length_ns, lambda: self._leave(leader, last, 2 * length_ns))

    def _leave(self, leader: NodeId, last: NodeId, length_ns: int) -> None:
        self._cut(leader, last, length_ns)
        self._cut(last, leader, length_ns)
        self._cluster.crash(last, power=False)
        self._later(MILLISECOND, lambda: self._cluster.start(last))

    def _stale(self, length_ns: int) -> None:
        """See `FaultKind.STALE`. Between a promise and the new leader's log, only the promise keeps the old one out, so
        neither of them hears of the other meanwhile."""
        old = self._cluster.leader()
        others = [node for node in self._cluster.nodes if node != old]
        if old is None or len(others) < 2:
            return
        candidate = others.pop(self._rng.randrange(len(others)))
        for node in (candidate, *others):
            self._cluster.hold(old, node)
        self._cluster.hold(candidate, old)
        self._await_promise(old, candidate, others, length_ns, self._world.now_ns + 4 * length_ns)

    def _await_promise(
        self, old: NodeId, candidate: NodeId, others: list[NodeId], length_ns: int, until_ns: int
    ) -> None:
        promiser = next((node for node in others if self._cluster.in_phase_one(node) == candidate), None)
        if promiser is not None:
            for node in others:
                self._cluster.hold(candidate, node)
            self._later(2 * length_ns, lambda: self._release_all(candidate))
            if self._rng.random() < 0.6:
                self._cluster.crash(promiser, power=False)
                self._later(MILLISECOND, lambda: self._cluster.start(promiser))
            self._later(2 * MILLISECOND, lambda: self._release_all(old))
        elif self._world.now_ns >= until_ns:
            self._release_all(old)
            self._release_all(candidate)
        else:
            self._later(MILLISECOND, lambda: self._await_promise(old, candidate, others, length_ns, until_ns))

    def _release_all(self, source: NodeId) -> None:
        for node in self._cluster.nodes:
            self._cluster.release(source, node)

    def _isolate(self, node: NodeId, cut: bool) -> None:
        for peer in self._cluster.nodes:
            if peer != node:
                for source, target in ((node, peer), (peer, node)):
                    if cut:
                        self._cluster.cut(source, target)
                    else:
                        self._cluster.heal(source, target)

    def _flap(self, fault: Fault) -> None:
        """See `FaultKind.FLAP`; half the links that flap do so one way only."""
        node, peer, length_ns = fault.node, fault.peer, fault.length_ns
        until_ns = self._world.now_ns + 4 * length_ns
        both = self._rng.random() < 0.5

        def down() -> None:
            if self._world.now_ns < until_ns:
                lasting_ns = 1 + self._rng.randrange(2 * length_ns)
                self._cut(node, peer, lasting_ns)
                if both:
                    self._cut(peer, node, lasting_ns)
                self._later(lasting_ns + self._rng.randrange(length_ns), down)

        down()

    def _spoil(self, node: NodeId, peer: NodeId, length_ns: int) -> None:
        share, extra_ns = 0.3 + 0.6 * self._rng.random(), self._rng.randrange(length_ns // 8 + 1)
        for source, target in ((node, peer), (peer, node)):
            self._cluster.lose(source, target, share)
            self._cluster.slow_link(source, target, extra_ns)
            self._later(length_ns, partial(self._cluster.lose, source, target, 0.0))
            self._later(length_ns, partial(self._cluster.slow_link, source, target, 0))

    def _slow(self, node: NodeId, length_ns: int) -> None:
        extra_ns = length_ns // 4 + self._rng.randrange(length_ns)
        for peer in self._cluster.nodes:
            if peer != node:
                self._cluster.slow_link(node, peer, extra_ns)
                self._later(length_ns, partial(self._cluster.slow_link, node, peer, 0))

    def _cut_off(self, fault: Fault, *, speaks: bool, hears: bool) -> None:
        """Nobody hears the fault's node, unless it `speaks`; it hears nobody, unless it `hears`."""
        for peer in self._cluster.nodes:
            if not speaks:
                self._cut(fault.node, peer, fault.length_ns)
            if not hears:
                self._cut(peer, fault.node, fault.length_ns)

    def _cut(self, source: NodeId, target: NodeId, length_ns: int) -> None:
        if source != target:
            self._cluster.cut(source, target)
            self._later(length_ns, lambda: self._cluster.heal(source, target))

    def _later(self, delay_ns: int, action: Callable[[], None]) -> None:
        self._world.after(delay_ns, lambda: None if self._over else action())
