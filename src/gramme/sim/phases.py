"""What every simulated run is made of: a cluster, a safety phase under a drawn plan of faults, heal, and patience.

Owns how long virtual time is run while something is waited for, and which complaint ends the run when it does not come:
`NotKept` for a promise of liveness, `Violated` for replicas that stay different.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import SimConfig
from gramme.sim.faults import Nemesis, draw_plan
from gramme.sim.result import NotKept, Result, Violated
from gramme.sim.world import World

FOUNDING_NS: Final = 20 * SECOND
"""Within this time of the start, a cluster without faults has what its clients need."""

RECOVERY_NS: Final = 15 * SECOND
"""Within this time of the end of all faults, every client has an answer and every node is ready."""

_POLL_NS: Final = 10 * MILLISECOND
_COMPARE_NS: Final = 200 * MILLISECOND


class Phases:
    """See the module. A subclass strings the phases together and knows its clients."""

    def __init__(self, seed: int, config: SimConfig) -> None:
        self.world = World(seed)
        self.config = config
        self.result = Result(seed, config.name)
        self.cluster = SimCluster(self.world, config)

    def _start_nodes(self) -> None:
        for node in self.cluster.nodes:
            self.cluster.start(node)

    def _under_faults(self, start_clients: Callable[[], None]) -> None:
        """The safety phase: faults as drawn, clients at work, until its time is over; then everything heals."""
        config, world = self.config, self.world
        end_ns = world.now_ns + config.safety_ns
        self.result.plan = draw_plan(
            world.randomness("plan"),
            tuple(NodeId(n) for n in range(config.nodes + config.spares)),
            config.faults,
            world.now_ns,
            end_ns,
            config.fault_interval_ns,
            config.fault_length_ns,
        )
        nemesis = Nemesis(world, self.cluster, self.result.plan)
        start_clients()
        if config.administered:
            self.cluster.keeper.start()
        world.run(end_ns)
        nemesis.stop()
        self.cluster.heal_all()

    def _await(self, condition: Callable[[], bool], limit_ns: int, complaint: Callable[[], str]) -> None:
        """Run until `condition`, which is looked at every virtual 10 ms."""
        deadline_ns = self.world.now_ns + limit_ns
        while not condition():
            if self.world.now_ns >= deadline_ns:
                raise NotKept(f"after {limit_ns / SECOND:.0f} s of virtual time: {complaint()}")
            self.world.run(self.world.now_ns + _POLL_NS)

    def _converge(self, difference: Callable[[], str | None], limit_ns: int, complaint: str) -> None:
        """Run until there is no `difference`, which is looked for every virtual 200 ms."""
        deadline_ns = self.world.now_ns + limit_ns
        while (found := difference()) is not None:
            if self.world.now_ns >= deadline_ns:
                raise Violated(f"{complaint}: {found}")
            self.world.run(self.world.now_ns + _COMPARE_NS)

    def _account(self, operations: int, unknown: int) -> None:
        """Fill the result with what every run has."""
        result, world = self.result, self.world
        result.trace_hash = world.trace_hash()
        result.log = [f"{at / SECOND:.6f} node {node} {name} {dict(fields)}" for at, node, name, fields in world.log]
        result.marks = sorted(self.cluster.coverage.marks)
        result.stats = {
            "virtual_ms": world.now_ns // MILLISECOND,
            "events": world.events_run,
            "frames": self.cluster.network.frames,
            "faults": len(result.plan),
            "operations": operations,
            "unknown": unknown,
        }
