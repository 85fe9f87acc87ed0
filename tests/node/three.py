"""Three simulated nodes under a test's own hand: production code, virtual time, a quiet network, no faults but those
that the test asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gramme.kernel.ids import CommandId, GroupId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.node import Node
from gramme.node.partition import PartitionReplica
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import CONFIGS
from gramme.sim.network import QUIET
from gramme.sim.world import World
from gramme.tables.catalog import CatalogReply, CatalogRequest, CreateTable, DeleteTable
from gramme.tables.descriptor import KeySchema, TableDescriptor
from gramme.tables.keys import encode_key
from gramme.tables.requests import DeleteItem, GetItem, PutItem, Request

SCHEMA = KeySchema("pk", "S")
KEY = encode_key(SCHEMA, {"S": "a"})
ITEM = b'{"pk":{"S":"a"}}'
PUT = PutItem(KEY, ITEM, 3)
DELETE = DeleteItem(KEY)
STRONG = GetItem(KEY, consistent=True)
EVENTUAL = GetItem(KEY, consistent=False)
ALL = N0, N1, N2 = NodeId(0), NodeId(1), NodeId(2)


class Three:
    """A cluster of three that has been founded. `options` override fields of the quiet configuration."""

    def __init__(self, seed: int = 1, **options: Any) -> None:
        self.world = World(seed)
        config = replace(CONFIGS["quiet"], network=QUIET, disk_stall=0.0, swift_disks=0.0, **options)
        self.cluster = SimCluster(self.world, config)
        for node in self.cluster.nodes:
            self.cluster.start(node)
        self.until(self.cluster.all_ready, "the cluster is founded")

    # --- time ---------------------------------------------------------------------------------------------------------

    def run(self, length_ns: int) -> None:
        """Let so much virtual time pass."""
        self.world.run(self.world.now_ns + length_ns)

    def until(self, condition: Callable[[], bool], what: str, limit_ns: int = 30 * SECOND) -> None:
        """Let time pass until `condition`, which is looked at every virtual millisecond."""
        deadline_ns = self.world.now_ns + limit_ns
        while not condition():
            assert self.world.now_ns < deadline_ns, f"not within {limit_ns} ns: {what}"
            self.run(MILLISECOND)

    # --- nodes --------------------------------------------------------------------------------------------------------

    def node(self, node: NodeId) -> Node:
        """The production node that runs there now."""
        running = self.cluster.machines[node].node
        assert running is not None
        return running

    def crash(self, *nodes: NodeId) -> None:
        """Kill processes; what they gave to their disks gets there."""
        for node in nodes:
            self.cluster.crash(node, power=False)

    def start(self, *nodes: NodeId) -> None:
        """Start processes, and wait until they are ready."""
        for node in nodes:
            self.cluster.start(node)
        self.until(lambda: all(self.node(node).ready for node in nodes), "they are ready")

    def replica(self, node: NodeId, group: GroupId) -> PartitionReplica:
        """The replica of a group on a node."""
        return self.node(node).groups.partitions[group]

    def leader(self, group: GroupId) -> NodeId | None:
        """Who leads `group` with its lease."""
        for machine in self.cluster.machines:
            partition = None if machine.node is None else machine.node.groups.partitions.get(group)
            if partition is not None and machine.node is not None and partition.serves_reads(machine.node.host.now()):
                return machine.id
        return None

    def lead(self, node: NodeId, group: GroupId) -> None:
        """Have `group` handed over to `node`."""

        def asked() -> bool:
            leader = self.leader(group)
            if leader not in (None, node):
                holder = self.replica(leader, group)
                holder.execute(holder.replica.hand_over(node, self.node(leader).host.now()))
            return leader == node

        self.until(asked, f"node {node} leads")

    # --- requests -----------------------------------------------------------------------------------------------------

    def create(self, name: str = "Carts") -> TableDescriptor:
        """A table of one partition, which node 0 leads."""
        self.catalog(CreateTable(name, SCHEMA, (("pk", "S"),), "PROVISIONED", 1, 1))
        table: TableDescriptor = self.look_up(N0, name)
        self.lead(N0, table.partitions[0].group)
        return table

    def delete(self, name: str = "Carts", node: NodeId = N0) -> None:
        """Delete a table by way of `node`."""
        self.catalog(DeleteTable(name), node)

    def catalog(self, request: CatalogRequest, node: NodeId = N0) -> CatalogReply:
        """One request to the catalog by way of `node`."""
        reply: CatalogReply = self._call(node, lambda router, deadline, done: router.catalog(request, deadline, done))
        return reply

    def look_up(self, node: NodeId, name: str = "Carts") -> Any:
        """What the router of `node` says of a table, the catalog being asked."""
        return self._call(node, lambda router, deadline, done: router.lookup(name, deadline, done))

    def submit(
        self,
        node: NodeId,
        table: TableDescriptor,
        request: Request,
        command_id: CommandId | None = None,
        repeated: bool = False,
    ) -> Any:
        """The reply to one request by way of `node`."""
        key = request.key if isinstance(request, GetItem | PutItem | DeleteItem) else KEY
        return self._call(
            node,
            lambda router, deadline, done: router.submit(table, key, request, command_id, deadline, done, repeated),
        )

    def begin(self, node: NodeId, table: TableDescriptor, request: Request) -> list[Any]:
        """As `submit`, without waiting: the reply will be in the list."""
        key = request.key if isinstance(request, GetItem | PutItem | DeleteItem) else KEY
        return self._begin(
            node, lambda router, deadline, done: router.submit(table, key, request, None, deadline, done, False)
        )

    def _begin(self, node: NodeId, send: Callable[[Any, Instant, Callable[[Any], None]], None]) -> list[Any]:
        replies: list[Any] = []
        router, now = self.node(node).router, self.node(node).host.now()
        send(router, Instant(now + self.cluster.config.request_deadline_ns), replies.append)
        return replies

    def _call(self, node: NodeId, send: Callable[[Any, Instant, Callable[[Any], None]], None]) -> Any:
        replies = self._begin(node, send)
        self.until(lambda: bool(replies), "an answer")
        return replies[0]
