"""A simulated cluster with one table of four partitions, for tests of transactions: production nodes, no faults of its
own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from gramme.kernel.ids import GroupId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.node import Node
from gramme.node.partition import PartitionReplica
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import CONFIGS, SimConfig
from gramme.sim.world import World
from gramme.storage.engine.rows import Space
from gramme.tables.catalog import CreateTable, DescribeTable, TableReply
from gramme.tables.descriptor import KeySchema, TableDescriptor
from gramme.tables.item import encode_item
from gramme.tables.keys import encode_key
from gramme.tables.requests import Condition, Found, GetItem, Item, PutItem
from gramme.tables.transaction_commands import LEDGER
from gramme.tables.transactions import Action, ConditionCheck, ReadTransaction, Token, WriteTransaction
from gramme.tables.values import item_size

KEY: Final = KeySchema("pk", "S")
CALM: Final = replace(CONFIGS["quiet"], skew=False, disk_stall=0.0, swift_disks=0.0)
_CREATE: Final = CreateTable("Accounts", KEY, (("pk", "S"),), "PAY_PER_REQUEST")


class Cluster:
    """Calls into the nodes' routers and runs the world until they answer."""

    def __init__(self, nodes: int = 3, seed: int = 1, config: SimConfig = CALM) -> None:
        self.world = World(seed)
        self.sim = SimCluster(self.world, replace(config, nodes=nodes))
        self.nodes = tuple(NodeId(n) for n in range(nodes))
        for node in self.nodes:
            self.sim.start(node)
        self.run_until(self.sim.all_ready)
        self.catalog(_CREATE)
        self.table: TableDescriptor = self.catalog(DescribeTable("Accounts")).table

    # --- time and nodes

    def run(self, ns: int) -> None:
        self.world.run(self.world.now_ns + ns)

    def run_until(self, condition: Callable[[], bool], limit_ns: int = 30 * SECOND, step_ns: int = MILLISECOND) -> None:
        end_ns = self.world.now_ns + limit_ns
        while not condition():
            assert self.world.now_ns < end_ns, "waited too long"
            self.run(step_ns)

    def node(self, node: int = 0) -> Node:
        production = self.sim.machines[node].node
        assert production is not None
        return production

    def living(self) -> list[Node]:
        return [machine.node for machine in self.sim.machines if machine.node is not None]

    def crash(self, node: int) -> None:
        self.sim.crash(NodeId(node), power=True)

    def start(self, node: int) -> None:
        self.sim.start(NodeId(node))

    # --- requests

    def deadline(self, node: int = 0, ns: int = 5 * SECOND) -> Instant:
        return Instant(self.node(node).host.now() + ns)

    def call(self, send: Callable[[Callable[[Any], None]], None]) -> Any:
        replies: list[Any] = []
        send(replies.append)
        self.run_until(lambda: bool(replies))
        return replies[0]

    def catalog(self, request: Any, node: int = 0) -> Any:
        return self.call(lambda done: self.node(node).router.catalog(request, self.deadline(node), done))

    def submit(self, request: Any, node: int = 0) -> Any:
        router = self.node(node).router
        return self.call(lambda done: router.submit(self.table, request.key, request, None, self.deadline(node), done))

    def send(self, group: GroupId, request: Any, node: int = 0) -> Any:
        place = next(place for place in self.places() if place.group == group)
        return self.call(lambda done: self.node(node).router.send(place, request, self.deadline(node), done))

    def write(self, *actions: Action, node: int = 0, token: Token | None = None) -> Any:
        return self.call(self.begin_write(*actions, node=node, token=token))

    def begin_write(
        self, *actions: Action, node: int = 0, token: Token | None = None
    ) -> Callable[[Callable[[Any], None]], None]:
        request = WriteTransaction(tuple((self.table, action) for action in actions), token)
        return lambda done: self.node(node).router.transact_write(request, self.deadline(node), done)

    def read(self, *names: str, node: int = 0) -> Any:
        request = ReadTransaction(tuple((self.table, key(name)) for name in names))
        return self.call(lambda done: self.node(node).router.transact_get(request, self.deadline(node), done))

    def get(self, name: str, node: int = 0) -> bytes | None:
        reply = self.submit(GetItem(key(name), consistent=True), node)
        assert isinstance(reply, Found), reply
        return reply.item

    # --- what is stored

    def places(self) -> tuple[Any, ...]:
        reply = self.catalog(DescribeTable(LEDGER))
        return self.table.partitions + (reply.table.partitions if isinstance(reply, TableReply) else ())

    def group_of(self, name: str) -> GroupId:
        return self.table.partition_of(key(name)).group

    def leader(self, group: GroupId) -> PartitionReplica:
        for node in self.living():
            partition = node.groups.partitions.get(group)
            if partition is not None and partition.leading:
                return partition
        raise AssertionError(f"nobody leads group {group}")

    def leads(self, group: GroupId) -> int:
        """The node that leads `group`."""
        return next(
            node.me for node in self.living() if group in node.groups.partitions and self.is_leading(node, group)
        )

    @staticmethod
    def is_leading(node: Node, group: GroupId) -> bool:
        return node.groups.partitions[group].leading

    def rows(self, space: Space, prefix: bytes = b"") -> list[tuple[NodeId, GroupId, bytes]]:
        """Applied rows of one space, of every replica of every node that runs."""
        start, end = bytes((space,)) + prefix, bytes((space + 1,))
        return [
            (node.me, group, row[1:])
            for node in self.living()
            for group, partition in node.groups.partitions.items()
            for row, _ in partition.rows.scan(start, end, False)
            if row.startswith(start)
        ]

    def pending(self) -> list[tuple[NodeId, GroupId, bytes]]:
        return self.rows(Space.PENDING)

    def open_rows(self) -> list[tuple[NodeId, GroupId, bytes]]:
        return self.rows(Space.TRANSACTIONS, b"o/")

    def settle(self) -> None:
        """Wait until recovery has finished whatever was left."""
        self.run_until(lambda: not self.pending() and not self.open_rows(), 60 * SECOND, SECOND // 10)


def key(name: str) -> bytes:
    return encode_key(KEY, {"S": name})


def json(name: str, value: int) -> bytes:
    return encode_item(_item(name, value), KEY.names)


def _item(name: str, value: int) -> Item:
    return {"pk": {"S": name}, "n": {"N": str(value)}}


def put(name: str, value: int, condition: Condition | None = None) -> PutItem:
    return PutItem(key(name), json(name, value), item_size(_item(name, value)), condition)


def check(name: str, expression: str) -> ConditionCheck:
    return ConditionCheck(key(name), Condition(expression))


def names(cluster: Cluster, count: int = 4) -> list[str]:
    """Names of items in `count` different partitions."""
    found: dict[GroupId, str] = {}
    number = 0
    while len(found) < count:
        name = f"account{number}"
        found.setdefault(cluster.group_of(name), name)
        number += 1
    return list(found.values())


def together(cluster: Cluster, name: str) -> str:
    """Another item of the same partition."""
    number = 0
    while cluster.group_of(other := f"neighbour{number}") != cluster.group_of(name):
        number += 1
    return other
