"""The administrator of a simulated ring: has nodes leave it and join it again, one plan after the other, under faults.

Rule: a plan is committed as it was shown, on whichever node happens to run; what is not answered is forgotten, and
planned anew. The change under way is not waited for: the next plan may replace it.
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.errors import GrammeError
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.node.objects.node_objects import Objects
from gramme.objects.ring_phases import target
from gramme.objects.ring_plan import RingPlan
from gramme.sim.client_loop import ClientLoop
from gramme.sim.cluster import SimCluster
from gramme.sim.world import World

_THINK_NS: Final = SECOND
_PATIENCE_NS: Final = 8 * SECOND
_LEAST: Final = 3
"""Members that stay: as many as an object has replicas."""


class RingKeeper(ClientLoop):
    """See the module. `committed` counts the plans that were taken."""

    def __init__(self, world: World, cluster: SimCluster) -> None:
        super().__init__(world, world.randomness("ring"), _THINK_NS)
        self._cluster = cluster
        self._tries = 0
        self.committed = 0

    def _operate(self) -> None:
        machines = [machine for machine in self._cluster.machines if machine.node is not None]
        machine = machines[self._rng.randrange(len(machines))] if machines else None
        self._tries += 1
        self._world.after(_PATIENCE_NS, lambda number=self._tries: self._end(number))  # type: ignore[misc]
        if machine is None or machine.node is None or not machine.node.objects.ready:
            self._end(self._tries)
        else:
            self._change(machine.node.objects)

    def _end(self, number: int) -> None:
        """Of the operation of that number, unless it is over."""
        if number == self._tries and not self.idle:
            self._rest()

    def _change(self, objects: Objects) -> None:
        members = [place.node for place in target(objects.config).members]
        others = [node for node in self._cluster.nodes if node not in members]
        number = self._tries
        joining, leaving = self._drawn(members, others)

        def committed(failure: GrammeError | None) -> None:
            self.committed += failure is None
            self._end(number)

        def planned(plan: RingPlan | GrammeError) -> None:
            if isinstance(plan, RingPlan):
                objects.ring.commit(plan.token, committed)
            else:
                self._end(number)

        objects.ring.plan(joining, leaving, planned)

    def _drawn(self, members: list[NodeId], others: list[NodeId]) -> tuple[list[NodeId], list[NodeId]]:
        """Who joins and who leaves: some of them, so that a section may get primaries that are all new."""
        joining = [node for node in others if self._rng.random() < 0.6]
        leaving = [node for node in members if self._rng.random() < 0.4]
        spare = len(members) + len(joining) - _LEAST
        return joining, leaving[:spare]
