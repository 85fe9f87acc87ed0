"""One simulated run of objects: settings, clients under faults, heal, then nobody reads or writes, and all must agree.

Owns what must hold in the end (`_difference`): replicas of every section identical (row A37), nothing anywhere else, no
hint left, every Merkle leaf what a scan of the rows says. Then `checkers.objects` judges what they agreed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from gramme.api.http import HttpRequest, HttpResponse
from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.objects import Objects
from gramme.objects.config import BucketSettings
from gramme.objects.merkle import rebuilt
from gramme.objects.state import State, encode_name, encode_state
from gramme.objects.store import Section
from gramme.placement.ring import position_of
from gramme.sim.checkers.objects import LAST_WRITE, ObjectHistory, wrong_object
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import SimConfig
from gramme.sim.faults import Nemesis, draw_plan
from gramme.sim.result import NotKept, Result, Violated
from gramme.sim.shoppers import SET_TYPE, Shopper
from gramme.sim.world import World

FOUNDING_NS: Final = 20 * SECOND
RECOVERY_NS: Final = 15 * SECOND
SETTLING_NS: Final = 2 * SECOND
"""Within this time of hearing of them, a node has the settings of buckets on its disk."""

CONVERGENCE_NS: Final = 60 * SECOND
"""Within this time of the end of all faults, replicas are identical without anyone reading: each pair compares every
10 s, and what differs is passed on from one to the next."""


class ObjectRun:
    """See the module; the counterpart of the runs of tables in `gramme.sim.run`."""

    def __init__(self, seed: int, config: SimConfig) -> None:
        self.world = World(seed)
        self.config = config
        self.result = Result(seed, config.name)
        self.cluster = SimCluster(self.world, config)
        self.history = ObjectHistory()
        self.shoppers = [
            Shopper(self.world, self.cluster, config, self.history, number) for number in range(config.clients)
        ]

    def carry_out(self) -> None:
        """All phases in order."""
        for node in self.cluster.nodes:
            self.cluster.start(node)
        self._configure()
        self._safety_phase()
        self._heal()
        wrong = wrong_object(self.history, self._converged())
        if wrong is not None:
            raise Violated(wrong)

    def _configure(self) -> None:
        """A bucket type and a bucket with settings of its own, known to every node before anything is written."""
        done: list[str | None] = []
        self._await(lambda: all(each.ready for each in self._objects()), FOUNDING_NS, "objects are not ready")

        def set_props(failure: str | None) -> None:
            done.append(failure)
            body = msgspec.json.encode({"props": {"last_write_wins": True}})
            request = HttpRequest("PUT", f"/buckets/{LAST_WRITE}/props", "", {}, body)
            self.cluster.request_object(NodeId(0), request, answered)

        def answered(response: HttpResponse | None) -> None:
            done.append(None if response is not None and response.status == 204 else str(response))

        deadline = Instant(self.cluster.machines[0].clock.instant() + FOUNDING_NS)
        first = next(self._objects())
        first.make_type(SET_TYPE.encode(), BucketSettings(datatype="set"), deadline, set_props)
        self._await(lambda: done == [None, None], FOUNDING_NS, "buckets were not configured")
        version = first.config.version
        self._await(
            lambda: all(each.config.version == version for each in self._objects()),
            FOUNDING_NS,
            "nodes have not heard of the settings of buckets",
        )
        self.world.run(self.world.now_ns + SETTLING_NS)

    def _safety_phase(self) -> None:
        config, world = self.config, self.world
        end_ns = world.now_ns + config.safety_ns
        self.result.plan = draw_plan(
            world.randomness("plan"),
            self.cluster.nodes,
            config.faults,
            world.now_ns,
            end_ns,
            config.fault_interval_ns,
            config.fault_length_ns,
        )
        self.nemesis = Nemesis(world, self.cluster, self.result.plan)
        for shopper in self.shoppers:
            shopper.start()
        world.run(end_ns)

    def _heal(self) -> None:
        self.nemesis.stop()
        self.cluster.heal_all()
        for shopper in self.shoppers:
            shopper.stop()
        self._await(lambda: all(each.idle for each in self.shoppers), RECOVERY_NS, "clients did not come to rest")
        self._await(
            lambda: len(list(self._objects())) == len(self.cluster.nodes) and all(o.ready for o in self._objects()),
            RECOVERY_NS,
            "objects are not ready",
        )

    def _converged(self) -> dict[tuple[str, str], State]:
        """What all replicas have in the end."""
        deadline_ns = self.world.now_ns + CONVERGENCE_NS
        while (difference := self._difference()) is not None:
            if self.world.now_ns >= deadline_ns:
                raise Violated(f"replicas did not converge: {difference}")
            self.world.run(self.world.now_ns + 200 * MILLISECOND)
        return {
            (name.bucket.decode(), name.key.decode()): state
            for objects in self._objects()
            for section in objects.store.sections()
            for _, name, state in objects.store.of_section(section)
        }

    def _difference(self) -> str | None:
        """What keeps the nodes from having converged."""
        kept: dict[Section, dict[NodeId, list[tuple[bytes, bytes]]]] = {}
        objects: Objects
        for node, objects in enumerate(self._objects()):
            hinted = objects.store.hinted_nodes()
            if hinted:
                return f"node {node} keeps hints for {hinted}"
            for section in objects.store.sections():
                rows = [(encode_name(name), encode_state(s)) for _, name, s in objects.store.of_section(section)]
                kept.setdefault(section, {})[NodeId(node)] = rows
                leaves = rebuilt(
                    (position_of(n.place, n.key), encode_name(n), encode_state(s))
                    for _, n, s in objects.store.of_section(section)
                )
                if objects.store.tree(section).buckets != leaves:
                    return f"the tree of {section} at node {node} is not what its rows say"
        ring = next(self._objects()).config.ring
        for section, copies in kept.items():
            primaries = ring.preference_list(section.partition, section.n)[: section.n]
            if sorted(copies) != sorted(primaries):
                return f"{section} is kept at {sorted(copies)} and belongs to {sorted(primaries)}"
            if any(rows != copies[primaries[0]] for rows in copies.values()):
                return f"the replicas of {section} differ"
        return None

    def _objects(self) -> Iterator[Objects]:
        for machine in self.cluster.machines:
            if machine.node is not None:
                yield machine.node.objects

    def _await(self, condition: Callable[[], bool], limit_ns: int, complaint: str) -> None:
        deadline_ns = self.world.now_ns + limit_ns
        while not condition():
            if self.world.now_ns >= deadline_ns:
                raise NotKept(f"after {limit_ns / SECOND:.0f} s of virtual time: {complaint}")
            self.world.run(self.world.now_ns + 10 * MILLISECOND)

    def sum_up(self) -> None:
        """Fill the result from whatever has happened."""
        result, world, writes = self.result, self.world, self.history.writes
        result.trace_hash = world.trace_hash()
        result.log = [f"{at / SECOND:.6f} node {node} {name} {dict(fields)}" for at, node, name, fields in world.log]
        result.stats = {
            "virtual_ms": world.now_ns // MILLISECOND,
            "events": world.events_run,
            "frames": self.cluster.network.frames,
            "faults": len(result.plan),
            "operations": len(writes) + self.history.reads,
            "unknown": sum(not write.acknowledged for write in writes),
            "transactions": 0,
        }
