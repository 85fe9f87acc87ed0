"""What befalls a simulated cluster: a plan drawn from the seed before the run, and the hand that carries it out.

The plan is data, so a failing run can be told as a list. Faults overlap freely; nothing limits them to a minority,
since safety must hold whatever fails. When the safety phase ends everything heals, and progress is demanded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from random import Random
from typing import Protocol

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.sim.world import World


class FaultKind(StrEnum):
    """Kinds of trouble."""

    CRASH = "crash"  # kill -9 of one node; it restarts later on its disks
    POWER = "power"  # the machine loses power: unfinished writes are torn, its clock starts anew
    CRASH_ALL = "crash-all"  # all at once
    BLACKOUT = "blackout"  # the power of all
    PAUSE = "pause"  # SIGSTOP; the clock goes on
    CUT_NODE = "cut-node"  # one node from all others, both ways
    CUT_WAY = "cut-way"  # one node to one other, one way
    SLOW_DISK = "slow-disk"
    FAIL_DISK = "fail-disk"  # an fsync fails: the node must stop; it is started again later
    FULL_DISK = "full-disk"  # free space below the reserve
    ROT = "rot"  # the power of one and the same node is lost, and part of its synced log with it
    STALL_ENGINE = "stall-engine"  # the engine asks for back-pressure
    WALL_STEP = "wall-step"  # the wall clock jumps, forward or back
    DRAIN = "drain"  # a graceful stop, then a restart


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


class Cluster(Protocol):
    """What faults can be done to."""

    @property
    def nodes(self) -> tuple[NodeId, ...]: ...

    def crash(self, node: NodeId, power: bool) -> None: ...

    def start(self, node: NodeId) -> None: ...

    def drain(self, node: NodeId) -> None: ...

    def pause(self, node: NodeId) -> None: ...

    def resume(self, node: NodeId) -> None: ...

    def cut(self, source: NodeId, target: NodeId) -> None: ...

    def heal(self, source: NodeId, target: NodeId) -> None: ...

    def slow_disk(self, node: NodeId, slow: bool) -> None: ...

    def fill_disk(self, node: NodeId, full: bool) -> None: ...

    def stall_engine(self, node: NodeId, stalled: bool) -> None: ...

    def fail_disk(self, node: NodeId) -> None: ...

    def step_wall(self, node: NodeId, by_ns: int) -> None: ...

    def rot(self, node: NodeId) -> None: ...


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
        for fault in plan:
            world.after(max(0, fault.at_ns - world.now_ns), partial(self._begin, fault))

    def stop(self) -> None:
        """Begin and end no more faults; the caller heals what lasts."""
        self._over = True

    def _begin(self, fault: Fault) -> None:
        if self._over:
            return
        self._world.note(str(fault))
        match fault.kind:
            case FaultKind.CRASH:
                self._crash((fault.node,), fault.length_ns, power=False)
            case FaultKind.POWER:
                self._crash((fault.node,), fault.length_ns, power=True)
            case FaultKind.CRASH_ALL:
                self._crash(self._cluster.nodes, fault.length_ns, power=self._rng.random() < 0.5)
            case FaultKind.BLACKOUT:
                self._crash(self._cluster.nodes, fault.length_ns, power=True)
            case FaultKind.PAUSE:
                self._cluster.pause(fault.node)
                self._later(fault.length_ns, lambda: self._cluster.resume(fault.node))
            case FaultKind.CUT_NODE:
                for peer in self._cluster.nodes:
                    self._cut(fault.node, peer, fault.length_ns)
                    self._cut(peer, fault.node, fault.length_ns)
            case FaultKind.CUT_WAY:
                self._cut(fault.node, fault.peer, fault.length_ns)
            case FaultKind.SLOW_DISK:
                self._cluster.slow_disk(fault.node, True)
                self._later(fault.length_ns, lambda: self._cluster.slow_disk(fault.node, False))
            case FaultKind.FAIL_DISK:
                self._cluster.fail_disk(fault.node)
                self._later(fault.length_ns, lambda: self._cluster.start(fault.node))
            case FaultKind.FULL_DISK:
                self._cluster.fill_disk(fault.node, True)
                self._later(fault.length_ns, lambda: self._cluster.fill_disk(fault.node, False))
            case FaultKind.ROT:
                self._rot(fault.length_ns)
            case FaultKind.STALL_ENGINE:
                self._cluster.stall_engine(fault.node, True)
                self._later(fault.length_ns, lambda: self._cluster.stall_engine(fault.node, False))
            case FaultKind.WALL_STEP:
                self._cluster.step_wall(fault.node, self._rng.randrange(-20 * SECOND, 20 * SECOND))
            case FaultKind.DRAIN:
                self._cluster.drain(fault.node)
                self._later(fault.length_ns, lambda: self._cluster.start(fault.node))

    def _crash(self, nodes: tuple[NodeId, ...], down_ns: int, *, power: bool) -> None:
        for node in nodes:
            self._cluster.crash(node, power)
            self._later(down_ns + self._rng.randrange(down_ns), partial(self._cluster.start, node))

    def _rot(self, down_ns: int) -> None:
        """Damage strikes one node only: a majority with damaged logs cannot be expected to serve."""
        victim = self._cluster.nodes[self._world.seed % len(self._cluster.nodes)]
        self._crash((victim,), down_ns, power=True)
        self._cluster.rot(victim)

    def _cut(self, source: NodeId, target: NodeId, length_ns: int) -> None:
        if source != target:
            self._cluster.cut(source, target)
            self._later(length_ns, lambda: self._cluster.heal(source, target))

    def _later(self, delay_ns: int, action: Callable[[], None]) -> None:
        self._world.after(delay_ns, lambda: None if self._over else action())
