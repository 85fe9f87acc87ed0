"""One simulated run of objects: settings, clients under faults, heal, then nobody reads or writes, and all must agree.

Owns what must hold in the end (`_difference`): replicas of every section identical (row A37), nothing anywhere else, no
hint left, every Merkle leaf what a scan of the rows says. Then `checkers.objects` judges what they agreed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from gramme.api.http import HttpRequest, HttpResponse
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.node.objects.node_objects import Objects
from gramme.objects.config import BucketSettings
from gramme.objects.merkle import rebuilt
from gramme.objects.state import State, encode_name, encode_state
from gramme.objects.store import Section
from gramme.objects.versions import Versions
from gramme.placement.ring import position_of
from gramme.sim.checkers.objects import LAST_WRITE, ObjectHistory, wrong_object
from gramme.sim.client_loop import ClientLoop
from gramme.sim.configs import SimConfig
from gramme.sim.phases import FOUNDING_NS, RECOVERY_NS, Phases
from gramme.sim.result import Violated
from gramme.sim.ring_keeper import RingKeeper
from gramme.sim.shoppers import SET_TYPE, Shopper

CONVERGENCE_NS: Final = 60 * SECOND
"""Within this time of the end of all faults, replicas are identical without anyone reading: each pair compares every
10 s, and what differs is passed on from one to the next."""


class ObjectRun(Phases):
    """See the module; the counterpart of the runs of tables in `gramme.sim.run`."""

    def __init__(self, seed: int, config: SimConfig) -> None:
        super().__init__(seed, config)
        self.history = ObjectHistory()
        self.keeper = RingKeeper(self.world, self.cluster)
        self.shoppers = [
            Shopper(self.world, self.cluster, config, self.history, number) for number in range(config.clients)
        ]

    def carry_out(self) -> None:
        """All phases in order."""
        self._start_nodes()
        self._configure()
        self._under_faults(self._start_clients)
        self._come_to_rest()
        wrong = wrong_object(self.history, self._converged())
        if wrong is not None:
            raise Violated(wrong)

    def _configure(self) -> None:
        """A bucket type and a bucket with settings of its own, known to every node before anything is written."""
        done: list[str | None] = []
        self._await(lambda: all(each.ready for each in self._objects()), FOUNDING_NS, lambda: "objects are not ready")

        def set_props(failure: str | None) -> None:
            done.append(failure)
            body = msgspec.json.encode({"props": {"last_write_wins": True}})
            request = HttpRequest("PUT", f"/buckets/{LAST_WRITE}/props", "", {}, body)
            self.cluster.request_object(NodeId(0), request, answered)

        def answered(response: HttpResponse | None) -> None:
            done.append(None if response is not None and response.status == 204 else str(response))

        deadline = Instant(self.cluster.machines[0].clock.instant() + FOUNDING_NS)
        first = next(self._objects())
        first.configuration.make_type(SET_TYPE.encode(), BucketSettings(datatype="set"), deadline, set_props)
        self._await(lambda: done == [None, None], FOUNDING_NS, lambda: "buckets were not configured")
        version = first.config.version
        self._await(
            lambda: all(each.config.version == version for each in self._objects()),
            FOUNDING_NS,
            lambda: "nodes have not heard of the settings of buckets",
        )

    @property
    def _clients(self) -> list[ClientLoop]:
        return [*self.shoppers, self.keeper] if self.config.ring_changes else [*self.shoppers]

    def _start_clients(self) -> None:
        for client in self._clients:
            client.start()

    def _come_to_rest(self) -> None:
        for client in self._clients:
            client.stop()
        self._await(
            lambda: all(each.idle for each in self._clients), RECOVERY_NS, lambda: "clients did not come to rest"
        )
        self._await(
            lambda: self._all_run() and all(o.ready for o in self._objects()),
            RECOVERY_NS,
            lambda: "objects are not ready",
        )

    def _converged(self) -> dict[tuple[str, str], State]:
        """What all replicas have in the end."""
        self._converge(self._difference, CONVERGENCE_NS, "replicas did not converge")
        return {
            (name.bucket.decode(), name.key.decode()): state
            for objects in self._objects()
            for section in objects.store.sections()
            for _, name, state in objects.store.of_section(section)
            if not _is_bare(state)
        }

    def _difference(self) -> str | None:
        """What keeps the nodes that live from having converged."""
        living = self._living
        rings = {node: (o.config.ring.version, o.config.other and o.config.other.version) for node, o in living.items()}
        if len(set(rings.values())) > 1 or any(beside for _, beside in rings.values()):
            return f"the ring is changing still: {rings}"
        kept: dict[Section, dict[NodeId, list[tuple[bytes, bytes]]]] = {}
        for node, objects in living.items():
            hinted = [each for each in objects.store.hinted_nodes() if each in living]
            if hinted:
                return f"node {node} keeps hints for {hinted}"
            for section in objects.store.sections():
                states = [(n, s) for _, n, s in objects.store.of_section(section) if not _is_bare(s)]
                if states:
                    kept.setdefault(section, {})[node] = [(encode_name(n), encode_state(s)) for n, s in states]
                leaves = rebuilt((position_of(n.place, n.key), encode_name(n), encode_state(s)) for n, s in states)
                if objects.store.tree(section).buckets != leaves:
                    return f"the tree of {section} at node {node} is not what its rows say"
        ring = next(self._objects()).config.ring
        for section, copies in kept.items():
            primaries = ring.primaries(*section)
            owners = sorted(node for node in primaries if node in living)
            if sorted(copies) != owners:
                return f"{section} is kept at {sorted(copies)} and belongs to {owners}"
            if any(rows != copies[owners[0]] for rows in copies.values()):
                return f"the replicas of {section} differ"
        return None

    @property
    def _living(self) -> dict[NodeId, Objects]:
        """The objects of each node that runs; a node whose damaged disks it refused never does again."""
        return {machine.id: machine.node.objects for machine in self.cluster.machines if machine.node is not None}

    def _all_run(self) -> bool:
        return all(machine.node is not None or machine.beyond_repair for machine in self.cluster.machines)

    def _objects(self) -> Iterator[Objects]:
        yield from self._living.values()

    def sum_up(self) -> None:
        """Fill the result from whatever has happened."""
        writes = self.history.writes
        unknown = sum(not write.acknowledged for write in writes)
        self._account(len(writes) + self.history.reads, unknown)
        self.result.stats |= {"transactions": 0, "ring_plans": self.keeper.committed}


def _is_bare(state: State) -> bool:
    """To have such a row and to have none is the same (`gramme.objects.reaping`)."""
    return isinstance(state, Versions) and state.bare
