"""An attempt that arrives late must not be applied after the client had its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.node.three import DELETE, N0, N1, N2, PUT, STRONG, Three

from gramme.kernel.ids import CommandId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.node import Node
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import CONFIGS
from gramme.sim.world import World
from gramme.tables.catalog import CreateTable, DescribeTable
from gramme.tables.descriptor import KeySchema, TableDescriptor
from gramme.tables.keys import encode_key
from gramme.tables.requests import Condition, ConditionFailed, DeleteItem, Found, GetItem, PutItem, Request, Written

_ONE = NodeId(0)
_LATE = CommandId(b"sent first, late")


class _Single:
    """A simulated cluster of one with one table."""

    def __init__(self) -> None:
        self.world = World(1)
        self.cluster = SimCluster(self.world, CONFIGS["single"])
        self.start()
        key = KeySchema("pk", "S")
        self._call(lambda done: self.node.router.catalog(_CREATE, self._deadline(), done))
        reply = self._call(lambda done: self.node.router.catalog(DescribeTable("Carts"), self._deadline(), done))
        self.table: TableDescriptor = reply.table
        self.key = encode_key(key, {"S": "a"})

    @property
    def node(self) -> Node:
        node = self.cluster.machines[_ONE].node
        assert node is not None
        return node

    def start(self) -> None:
        self.cluster.start(_ONE)
        while not self.node.ready:
            self.world.run(self.world.now_ns + SECOND // 100)

    def restart(self) -> None:
        self.cluster.crash(_ONE, power=False)
        self.start()

    def submit(self, request: Request, command_id: CommandId | None = None, repeated: bool = False) -> Any:
        router, deadline = self.node.router, self._deadline()
        return self._call(
            lambda done: router.submit(self.table, self.key, request, command_id, deadline, done, repeated)
        )

    def _deadline(self) -> Instant:
        return Instant(self.node.host.now() + 5 * SECOND)

    def _call(self, send: Callable[[Callable[[Any], None]], None]) -> Any:
        replies: list[Any] = []
        send(replies.append)
        while not replies:
            self.world.run(self.world.now_ns + SECOND // 100)
        return replies[0]


_CREATE = CreateTable("Carts", KeySchema("pk", "S"), (("pk", "S"),), "PROVISIONED", 1, 1)


def _item(single: _Single) -> PutItem:
    return PutItem(single.key, b'{"pk":{"S":"a"}}', 3)


def test_a_delete_that_found_nothing_stays_answered() -> None:
    """Simulation seed 100290 (before the fix): the first attempt of a delete was slow; the second found no item and was
    answered; two seconds later the first reached a new leader and deleted what had been written since."""
    single = _Single()
    assert single.submit(DeleteItem(single.key), _LATE, repeated=True) == Written(None, 0, 0)
    single.submit(_item(single))
    single.restart()  # a leader that knows only what the log tells
    assert single.submit(DeleteItem(single.key), _LATE) == Written(None, 0, 0)
    assert single.submit(GetItem(single.key, consistent=True)) == Found(b'{"pk":{"S":"a"}}', 3)


def test_a_condition_that_failed_stays_failed() -> None:
    """The client was told that its write is not applied; it may do something else for that reason."""
    single = _Single()
    only_over = Condition("attribute_exists(pk)")
    late = DeleteItem(single.key, only_over)
    assert isinstance(single.submit(late, _LATE, repeated=True), ConditionFailed)
    single.submit(_item(single))
    single.restart()
    assert isinstance(single.submit(late, _LATE), ConditionFailed)
    assert single.submit(GetItem(single.key, consistent=True)) == Found(b'{"pk":{"S":"a"}}', 3)


def test_an_answer_that_changes_nothing_costs_no_slot_when_it_is_the_first_attempt() -> None:
    """Only what may still be under way twice is worth an fsync."""
    single = _Single()
    partition = single.node.groups.partitions[single.table.partitions[0].group]
    before = partition.replica.last_slot
    single.submit(DeleteItem(single.key), _LATE)
    assert partition.replica.last_slot == before
    single.submit(DeleteItem(single.key), CommandId(b"sent once again!"), repeated=True)
    assert partition.replica.last_slot == before + 1


def test_what_only_this_leader_remembers_is_written_down_before_it_answers_a_second_copy() -> None:
    """Simulation `cuts`, seed 5006015: a delete found nothing, which its leader alone remembered. The client sent it
    again and was told so from that memory; a third copy reached the next leader, and deleted what was written since."""
    single = _Single()
    assert single.submit(DeleteItem(single.key), _LATE) == Written(None, 0, 0)
    single.submit(_item(single))
    assert single.submit(DeleteItem(single.key), _LATE, repeated=True) == Written(None, 0, 0)
    single.restart()
    assert single.submit(DeleteItem(single.key), _LATE, repeated=True) == Written(None, 0, 0)
    assert single.submit(GetItem(single.key, consistent=True)) == Found(b'{"pk":{"S":"a"}}', 3)


def test_a_late_answer_to_the_first_copy_is_void_once_there_is_a_second() -> None:
    """Simulation `stale`, seed 1000318: a delete found nothing, the answer was held up, and the delete was sent again;
    the answer came, the client wrote the item, and the second copy reached the next leader and deleted it."""
    three = Three()
    table = three.create()
    group = table.partitions[0].group
    three.lead(N1, group)
    three.cluster.hold(N1, N0)
    replies = three.begin(N0, table, DELETE)
    three.run(100 * MILLISECOND)
    three.cluster.hold(N0, N2)
    three.run(700 * MILLISECOND)
    assert three.node(N0).router.retries, "it was not sent again"
    three.cluster.release(N1, N0)
    three.run(20 * MILLISECOND)
    told_of_the_first = list(replies)
    assert three.submit(N1, table, PUT) == Written(None, 0, 3)
    three.lead(N2, group)
    three.cluster.release(N0, N2)
    three.until(lambda: bool(replies), "the delete is answered")
    assert three.submit(N2, table, STRONG) == Found(None, 0)
    assert told_of_the_first == [], "the item was written after the delete had been answered, and is gone"
