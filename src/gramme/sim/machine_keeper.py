"""The administrator of a simulated cluster's machines: adds nodes and removes them, dead or alive, under faults.

Works as an operator with the command line does, on whichever node happens to run: one step at a time, each asked again
until it is answered. A machine that is to go leaves the ring of the objects first, and those that came join it, then it
leaves the cluster (`gramme cluster join`, `leave`, `remove`; decision 0095). What burnt down it removes as soon as it
can. Rule: it never asks for what would leave fewer than three machines that can run, which no healing could mend.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from gramme.kernel.errors import GrammeError, InvalidInput
from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.catalog.node_table import AddNode, NodeEntry, NodesAre, NodeTable
from gramme.node.members import member_of
from gramme.node.node import Node
from gramme.objects.ring_phases import step_of, target
from gramme.objects.ring_plan import RingPlan
from gramme.sim.client_loop import ClientLoop
from gramme.sim.world import World

if TYPE_CHECKING:
    from gramme.sim.cluster import Machine, SimCluster

ZONES: Final = 3

_THINK_NS: Final = 150 * MILLISECOND
_PATIENCE_NS: Final = 6 * SECOND
_LEAST: Final = 3
"""Machines that stay: as many as a group has replicas."""

_Done = Callable[[], None]


class MachineKeeper(ClientLoop):
    """See the module. `added` and `removed` count what was done."""

    def __init__(self, world: World, cluster: SimCluster) -> None:
        super().__init__(world, world.randomness("machines"), _THINK_NS)
        self._cluster = cluster
        self._founders = len(cluster.nodes)
        self._wanted = 0
        self._asked: dict[NodeId, None] = {}
        self._ever_asked: dict[NodeId, None] = {}
        self._tries = 0
        self.added = 0

    # --- what is wanted -----------------------------------------------------------------------------------------------

    def add(self) -> None:
        """One more machine, unless there are as many as there may be."""
        if self.added + self._wanted < self._cluster.config.spares:
            self._wanted += 1

    def remove(self, node: NodeId) -> None:
        """`node` is to go, if enough stay."""
        if len(self._staying(node)) >= _LEAST:
            self._asked[node] = self._ever_asked[node] = None

    def _staying(self, without: NodeId) -> list[Machine]:
        machines = self._cluster.machines
        return [m for m in machines if not m.beyond_repair and m.id not in self._asked and m.id != without]

    def wants_away(self, node: NodeId) -> bool:
        """Whether `node` was ever to go."""
        return node in self._ever_asked

    @property
    def removed(self) -> int:
        """How many have gone."""
        return sum(self._cluster.machines[node].removed for node in self._ever_asked)

    def left_to_do(self) -> str:
        """What of all that was wanted is not done yet, "" if nothing."""
        machines = self._cluster.machines
        here = [node for node in self._asked if not machines[node].removed]
        return f"{self._wanted} machines to add, {here} to remove" if self._wanted or here else ""

    # --- one step -----------------------------------------------------------------------------------------------------

    def _operate(self) -> None:
        self._tries += 1
        number = self._tries
        self._world.after(_PATIENCE_NS, lambda: self._end(number))
        running = [machine for machine in self._cluster.machines if machine.node is not None and not machine.removed]
        machine = running[self._rng.randrange(len(running))] if running else None
        if machine is None or machine.process is None or machine.node is None:
            self._end(number)
            return
        step = partial(self._step, machine.node, partial(self._end, number))
        machine.process.post(step)

    def _end(self, number: int) -> None:
        """Of the step of that number, unless it is over."""
        if number == self._tries and not self.idle:
            self._rest()

    def _step(self, node: Node, done: _Done) -> None:
        """The first thing that is left to do, asked of `node`."""
        self._see(node.administration.table)
        for machine in self._cluster.machines:
            if machine.burnt and machine.id not in self._asked:
                self._bury(machine.id, node)
        if self._wanted:
            self._add(node, done)
        elif (given_up := self._stuck(node)) is not None:
            self._send_away(node, given_up, done)
        elif self._ring_differs(node):
            self._change_ring(node, done)
        elif (entry := self._still_active(node)) is not None:
            self._send_away(node, entry.node, done)
        else:
            done()

    def _bury(self, burnt: NodeId, node: Node) -> None:
        """What burnt down goes; those who were to go, and are not on their way yet, stay if they are needed now."""
        for asked in [each for each in self._asked if node.members.state(each) == "active"]:
            if len(self._staying(burnt)) < _LEAST and not self._cluster.machines[asked].beyond_repair:
                del self._asked[asked]
        self.remove(burnt)

    def _see(self, table: NodeTable) -> None:
        """A machine that burnt down does not hear that it was removed."""
        for gone in table.in_state("removed"):
            machine = self._cluster.machines[gone]
            machine.removed |= machine.beyond_repair

    def _add(self, node: Node, done: _Done) -> None:
        number = self._founders + self.added
        name = f"node{number}"
        request = AddNode(name, f"host{number}", zone_name(number), name, f"{name}:7400")

        def added(answer: NodesAre | GrammeError) -> None:
            if isinstance(answer, NodesAre) and number == self._founders + self.added:
                self._wanted -= 1
                self.added += 1
                known = [entry for entry in answer.table.nodes if not entry.founder and entry.state != "removed"]
                self._cluster.join(NodeId(answer.node), tuple(map(member_of, known)))
            done()

        node.administration.add(request, added)

    def _send_away(self, node: Node, who: NodeId, done: _Done) -> None:
        def answered(answer: NodesAre | GrammeError) -> None:
            if isinstance(answer, InvalidInput) and node.members.state(who) == "active":
                self._asked.pop(who, None)  # others were lost meanwhile: it is needed
            done()

        node.administration.set_state(who, "leaving", answered)

    def _still_active(self, node: Node) -> NodeEntry | None:
        """Somebody who is to go and of whom, as far as `node` has heard, the catalog does not know that."""
        nodes = node.administration.table.nodes
        return next((entry for entry in nodes if entry.node in self._asked and entry.state == "active"), None)

    # --- the ring of the objects --------------------------------------------------------------------------------------

    def _wishes(self, node: Node) -> tuple[list[NodeId], list[NodeId]]:
        """Who should join the ring and who should leave it, as `node` knows it."""
        members, machines = [place.node for place in target(node.objects.config).members], self._cluster.machines
        leaving = [each for each in members if each in self._asked or machines[each].beyond_repair]
        going = (*self._asked, *node.members.going)
        joining = [m.id for m in machines if m.id not in (*members, *going) and not m.beyond_repair]
        return joining, leaving

    def _ring_differs(self, node: Node) -> bool:
        """Whether somebody who is to go is in the ring, or it is still changing."""
        return bool(self._wishes(node)[1]) or (bool(self._asked) and step_of(node.objects.config).other > 0)

    def _stuck(self, node: Node) -> NodeId | None:
        """A machine that is to go and burnt down in the middle of a change of the ring, past the point of another plan:
        the change ends without it when the catalog says that it leaves."""
        config, machines = node.objects.config, self._cluster.machines
        if not step_of(config).switched:
            return None
        burnt = (place.node for place in config.ring.members if machines[place.node].beyond_repair)
        return next((each for each in burnt if each in self._asked and node.members.state(each) == "active"), None)

    def _change_ring(self, node: Node, done: _Done) -> None:
        joining, leaving = self._wishes(node)

        def planned(plan: RingPlan | GrammeError) -> None:
            if isinstance(plan, RingPlan):
                node.objects.ring.commit(plan.token, lambda _failure: done())
            else:
                done()

        if leaving and node.objects.ready:
            up = [each for each in joining if node.gossip.reachable(each)]
            node.objects.ring.plan(up, leaving, planned)
        else:
            done()


def zone_name(number: int) -> str:
    """The zone of the node of that number, whenever it came."""
    return f"zone{number % ZONES}"
