"""What travels with a snapshot, and what a snapshot that comes twice must not do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node.three import ALL, EVENTUAL, ITEM, KEY, N0, N1, N2, SCHEMA, Three

from gramme.kernel.ids import CommandId, NodeId, Slot
from gramme.kernel.time import MILLISECOND
from gramme.node.extents import read_extent
from gramme.node.messages import SnapshotChunk
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.keys import encode_key
from gramme.tables.requests import Condition, ConditionFailed, Found, PutItem, Written

_INSERT = PutItem(KEY, ITEM, 3, Condition("attribute_not_exists(pk)"))
_ONCE = CommandId(b"an insert, once!")
_AGAIN = CommandId(b"a second insert!")


def _trimming() -> Three:
    """Nodes that keep next to nothing of their logs."""
    return Three(retain_log_bytes=1 << 10, flush_interval_ns=200 * MILLISECOND, segment_bytes=32 << 10)


def _write_beyond_the_log(three: Three, table: TableDescriptor, through: NodeId = N0) -> None:
    """Node 2 is down, or cut off, while the leader writes more than the logs keep."""
    group = table.partitions[0].group
    for number in range(40):
        key = encode_key(SCHEMA, {"S": f"other{number}"})
        item = b'{"pk":{"S":"other%d"},"p":{"S":"%s"}}' % (number, b"x" * 200)
        assert isinstance(three.submit(through, table, PutItem(key, item, 210)), Written)
    leader = three.leader(group)
    assert leader is not None
    three.until(lambda: three.replica(leader, group).replica.acceptor.log.base.slot > 20, "the log is trimmed")


def _bring_back(three: Three, group: Any) -> None:
    """Node 2 is back and has caught up by a snapshot."""
    three.start(N2)
    three.until(lambda: three.node(N2).snapshots_in.installed == 1, "a snapshot is installed")
    three.until(lambda: three.replica(N2, group).rows.applied == three.replica(N0, group).rows.applied, "it has all")


@pytest.mark.parametrize("restarted", [False, True])
def test_a_write_is_not_applied_again_by_a_leader_that_has_it_from_a_snapshot(restarted: bool) -> None:
    """Its outcome is part of the state: in the memory of the receiver, and in its engine, since the log that a restart
    rebuilds outcomes from does not have it."""
    three = _trimming()
    table = three.create()
    group = table.partitions[0].group
    three.crash(N2)
    assert three.submit(N0, table, _INSERT, _ONCE) == Written(None, 0, 3)
    _write_beyond_the_log(three, table)
    _bring_back(three, group)
    if restarted:
        three.crash(N2)
        three.start(N2)
    three.lead(N2, group)
    assert three.submit(N2, table, _INSERT, _ONCE, repeated=True) == Written(None, 0, 3)
    assert isinstance(three.submit(N2, table, _INSERT, _AGAIN), ConditionFailed)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_replica_that_got_a_snapshot_doubts_what_its_sender_doubted(restarted: bool) -> None:
    """Found by simulation (rot, seed 72): a leader with a damaged log sent what outcomes it still knew, and its
    receiver led and applied a write twice whose outcome was not among them."""
    three = _trimming()
    table = three.create()
    group = table.partitions[0].group
    three.crash(N2)
    _write_beyond_the_log(three, table)
    leader = three.leader(group)
    assert leader is not None
    three.replica(leader, group).outcomes.doubt(three.node(leader).host.now())
    _bring_back(three, group)
    if restarted:
        three.crash(N2)
        three.start(N2)
    assert three.replica(N2, group).outcomes.doubted(three.node(N2).host.now())


def test_a_replica_doubts_no_more_once_it_has_a_snapshot_of_one_that_knows() -> None:
    three = _trimming()
    table = three.create()
    group = table.partitions[0].group
    for peer in (N0, N1):
        three.cluster.cut(N2, peer)
        three.cluster.cut(peer, N2)
    _write_beyond_the_log(three, table, three.leader(group) or N0)
    three.replica(N2, group).outcomes.doubt(three.node(N2).host.now())
    three.cluster.network.heal_all()
    three.until(lambda: three.node(N2).snapshots_in.installed == 1, "a snapshot is installed")
    assert not three.replica(N2, group).outcomes.doubted(three.node(N2).host.now())


def test_a_snapshot_that_comes_twice_is_installed_once() -> None:
    """Found by simulation (laggards, seed 4): the copy came while the first was being made durable, was written into a
    third extent, and whichever flush ended last switched the replica to rows that the engine's map did not name."""
    three = _trimming()
    table = three.create()
    group = table.partitions[0].group
    three.crash(N2)
    three.submit(N0, table, _INSERT)
    _write_beyond_the_log(three, table)
    three.cluster.start(N2)
    node = three.node(N2)
    take = node._handlers[SnapshotChunk]

    def twice(source: NodeId, chunk: SnapshotChunk) -> None:
        take(source, chunk)
        take(source, chunk)

    node._handlers[SnapshotChunk] = twice
    three.until(lambda: node.snapshots_in.installed >= 1, "a snapshot is installed")
    for _ in range(50):
        assert three.replica(N2, group).rows.extent == read_extent(three.cluster.machines[N2].engine, group)
        three.run(MILLISECOND)
    assert node.snapshots_in.installed == 1
    three.crash(N2)
    three.start(N2)
    three.until(lambda: len({three.replica(node, group).rows.applied for node in ALL}) == 1, "it has all")
    assert three.replica(N2, group).read_now(EVENTUAL) == Found(ITEM, 3)


def test_a_snapshot_that_a_stalled_engine_kept_waiting_takes_nothing_back() -> None:
    """Found by simulation (lags, seed 15): the last chunk waited for the engine beside entries that were chosen later;
    those were applied first, then the snapshot took the replica back behind them, and it stopped its node."""
    three = Three()
    table = three.create()
    group = table.partitions[0].group
    three.run(100 * MILLISECOND)
    replica = three.replica(N2, group)
    before, extent = replica.rows.applied, replica.rows.extent
    three.cluster.stall_engine(N2, True)
    for _ in range(4):
        assert isinstance(three.submit(N0, table, PutItem(KEY, ITEM, 3)), Written)
    three.run(100 * MILLISECOND)
    assert replica.rows.applied == before
    mark = three.replica(N0, group).replica.acceptor.log.mark_at(Slot(before.slot + 2))
    assert mark is not None
    chunk = SnapshotChunk(group, 1, 0, mark.slot, mark.crc, mark.stamp, 0, [], [], True)
    three.node(N2).on_messages(N0, three.node(N0).boot, [chunk])
    three.cluster.stall_engine(N2, False)
    three.run(100 * MILLISECOND)
    assert replica.rows.applied.slot == before.slot + 4
    assert (replica.rows.extent, three.node(N2).snapshots_in.installed) == (extent, 0)
    three.submit(N0, table, PutItem(KEY, ITEM, 3))
    three.until(lambda: replica.rows.applied.slot == before.slot + 5, "it goes on")
