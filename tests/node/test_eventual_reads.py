"""Eventual reads soon after a write: through the writer's own node they see it, and a follower knows what it lacks.

See docs/decisions/0032-eventual-reads-soon-after-a-write.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gramme.kernel.ids import CommandId, NodeId, Slot
from gramme.kernel.time import MILLISECOND, SECOND, Instant, Stamp
from gramme.node.accepted import AcceptedKeys
from gramme.node.changes.item_changes import ITEMS
from gramme.node.mutation import Mutation, encode_mutation
from gramme.node.partition import PartitionReplica
from gramme.paxos.chain import make_entry
from gramme.paxos.entry import Command, CommandKind, Entry
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import CONFIGS
from gramme.sim.world import World
from gramme.tables.catalog import CreateTable, DescribeTable
from gramme.tables.descriptor import KeySchema
from gramme.tables.keys import encode_key
from gramme.tables.requests import Found, GetItem, Page, PutItem, Request, ScanRange, Written

KEY = KeySchema("pk", "S")


class _Three:
    """A simulated cluster of three, without faults, with one table of one partition."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed)
        self.cluster = SimCluster(self.world, CONFIGS["quiet"])
        for node in self.cluster.nodes:
            self.cluster.start(node)
        self.run_until(lambda: all(m.node is not None and m.node.ready for m in self.cluster.machines))
        create = CreateTable("Carts", KEY, (("pk", "S"),), "PROVISIONED", 1, 1)
        router = self.node(0).router
        self.call(lambda done: router.catalog(create, self.deadline(0), done))
        self.table = self.call(lambda done: router.catalog(DescribeTable("Carts"), self.deadline(0), done)).table

    def node(self, number: int) -> Any:
        node = self.cluster.machines[number].node
        assert node is not None
        return node

    def replica(self, number: int) -> PartitionReplica:
        replica = self.node(number).groups.partitions[self.table.partitions[0].group]
        assert isinstance(replica, PartitionReplica)
        return replica

    @property
    def leader(self) -> int:
        return next(n for n in range(3) if self.replica(n).leading)

    def run_until(self, true: Callable[[], bool]) -> None:
        assert self.world.run(self.world.now_ns + 10 * SECOND, true), "it does not come"

    def deadline(self, number: int) -> Instant:
        return Instant(self.node(number).host.now() + 5 * SECOND)

    def call(self, send: Callable[[Callable[[Any], None]], None]) -> Any:
        replies: list[Any] = []
        send(replies.append)
        if not replies:
            self.run_until(lambda: bool(replies))
        return replies[0]

    def send(self, number: int, key: bytes, request: Request, done: Callable[[Any], None]) -> None:
        self.node(number).router.submit(self.table, key, request, None, self.deadline(number), done)

    def submit(self, number: int, key: bytes, request: Request) -> Any:
        return self.call(lambda done: self.send(number, key, request, done))

    def put(self, number: int, key: bytes, value: int) -> None:
        assert isinstance(self.submit(number, key, PutItem(key, b"%d" % value, 8)), Written)

    def settle(self) -> None:
        """Everything is applied everywhere."""
        self.world.run(self.world.now_ns + SECOND)
        assert all(self.replica(n).rows.applied.slot == self.replica(n).replica.last_slot for n in range(3))

    def put_seen_by(self, follower: int, key: bytes, value: int) -> None:
        """A write that is answered, which `follower` has accepted and not applied."""
        self.put(self.leader, key, value)
        replica = self.replica(follower)
        self.run_until(lambda: replica.replica.last_slot == self.replica(self.leader).replica.last_slot)
        assert replica.rows.applied.slot < replica.replica.last_slot


@pytest.fixture
def three() -> _Three:
    return _Three()


def _key(name: str) -> bytes:
    return encode_key(KEY, {"S": name})


def test_who_writes_and_reads_through_one_node_sees_the_write(three: _Three) -> None:
    """Whoever leads, and however slow the link between the leader and this node is."""
    key = _key("a")
    leader = three.leader
    for node in range(3):
        if node != leader:
            three.cluster.slow_link(NodeId(leader), NodeId(node), 3 * MILLISECOND)
    for value in range(60):
        node = value % 3
        three.put(node, key, value)
        assert three.submit(node, key, GetItem(key)).item == b"%d" % value
        assert b"%d" % value in three.submit(node, key, ScanRange(b"", b"")).items


def test_a_follower_sends_on_only_what_it_knows_to_be_behind(three: _Three) -> None:
    three.put(0, _key("old"), 1)
    three.settle()
    follower = (three.leader + 1) % 3
    three.put_seen_by(follower, _key("new"), 2)
    at_once: list[Any] = []
    three.send(follower, _key("old"), GetItem(_key("old")), at_once.append)
    assert at_once == [Found(b"1", 8)]
    behind: list[Any] = []
    three.send(follower, _key("new"), GetItem(_key("new")), behind.append)
    three.send(follower, b"", ScanRange(b"", b""), behind.append)
    assert behind == []
    three.run_until(lambda: len(behind) == 2)
    assert behind[0] == Found(b"2", 8)
    assert isinstance(behind[1], Page)
    assert sorted(behind[1].items) == [b"1", b"2"]


def test_a_follower_that_lost_its_leader_still_answers(three: _Three) -> None:
    """It may be behind, and says what it has, long before there is a new leader."""
    key = _key("a")
    three.put(0, key, 1)
    three.settle()
    leader = three.leader
    follower = (leader + 1) % 3
    three.put_seen_by(follower, key, 2)
    for node in range(3):
        three.cluster.cut(NodeId(leader), NodeId(node))
        three.cluster.cut(NodeId(node), NodeId(leader))
    began = three.world.now_ns
    assert three.submit(follower, key, GetItem(key)) in (Found(b"1", 8), Found(b"2", 8))
    assert three.world.now_ns - began < SECOND
    assert not three.replica(follower).leading


def test_an_idle_group_sends_nothing_for_it(three: _Three) -> None:
    three.put(0, _key("a"), 1)
    three.settle()
    deadlines = [three.replica(n).replica.next_deadline() for n in range(3)]
    assert deadlines[three.leader] is None


# --- what a follower knows of its log


def _entries(first: int, *bodies: Mutation | None, previous_crc: int = 0) -> list[Entry]:
    """Consecutive entries; None is a command of a kind whose rows nobody can tell."""
    made: list[Entry] = []
    for offset, body in enumerate(bodies):
        kind = CommandKind.SPLIT if body is None else CommandKind.MUTATIONS
        command = Command(kind, CommandId(bytes(16)), b"" if body is None else encode_mutation(body))
        slot = first + offset
        made.append(make_entry(made[-1].crc if made else previous_crc, Slot(slot), Stamp(slot), 0, command))
    return made


def _put(name: str) -> Mutation:
    return Mutation([(ITEMS + _key(name), b"")], [], b"")


def _delete(name: str) -> Mutation:
    return Mutation([], [ITEMS + _key(name)], b"")


def _get(name: str) -> GetItem:
    return GetItem(_key(name))


def test_keys_of_unapplied_entries_count_until_they_are_applied() -> None:
    log = _entries(1, _put("a"), _delete("b"), _put("c"))
    keys = AcceptedKeys()
    assert [keys.touched(_get(name), log) for name in "abcd"] == [True, True, True, False]
    assert [keys.touched(_get(name), log[1:]) for name in "abcd"] == [False, True, True, False]
    assert [keys.touched(_get(name), []) for name in "abcd"] == [False] * 4
    log += _entries(4, _put("a"), previous_crc=log[-1].crc)
    assert [keys.touched(_get(name), log[2:]) for name in "abcd"] == [True, False, True, False]


def test_a_log_that_was_cut_is_looked_at_anew() -> None:
    """Another leader's suffix replaced entries that were never chosen."""
    log = _entries(1, _put("a"), _put("b"))
    keys = AcceptedKeys()
    assert keys.touched(_get("b"), log)
    replaced = [log[0], *_entries(2, _put("c"), _put("d"), previous_crc=log[0].crc)]
    assert [keys.touched(_get(name), replaced) for name in "abcd"] == [True, False, True, True]
    assert [keys.touched(_get(name), log[:1]) for name in "abcd"] == [True, False, False, False]


def test_a_range_is_behind_if_a_key_in_it_is() -> None:
    first, last = sorted((_key("a"), _key("b")))
    log = _entries(1, Mutation([(ITEMS + first, b"")], [], b""))
    keys = AcceptedKeys()
    assert keys.touched(ScanRange(b"", last), log)
    assert not keys.touched(ScanRange(last, b""), log)
    assert not keys.touched(ScanRange(b"", b"", index=1), log)
    assert keys.touched(ScanRange(b"", b"", index=1, fetch=KEY), log)


def test_what_nobody_can_tell_counts_as_behind() -> None:
    log = _entries(1, _put("a"), None, _put("b"))
    keys = AcceptedKeys()
    assert keys.touched(_get("z"), log)
    assert not keys.touched(_get("z"), log[2:])
    assert AcceptedKeys().touched(_get("z"), _entries(1, *[_put("a")] * 300)), "too many to look at"


def test_memory_is_bounded_by_what_is_unapplied() -> None:
    keys = AcceptedKeys()
    log: list[Entry] = []
    for slot in range(1, 3_000):
        log = [*log[-9:], *_entries(slot, _put(str(slot)), previous_crc=log[-1].crc if log else 0)]
        assert keys.touched(_get(str(slot)), log)
    assert len(keys._slots) <= 600
