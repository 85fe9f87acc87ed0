"""A node that starts, and one that stops: when others hear it, when they may rely on it, what its end costs them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node.three import ITEM, KEY, N0, N1, N2, PUT, SCHEMA, Three

from gramme.kernel.ids import GroupId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.messages import SnapshotChunk
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import CONFIGS
from gramme.sim.world import World
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.keys import encode_key
from gramme.tables.requests import PutItem, Written


def _since_start(three: Three, node: NodeId, condition: Any, what: str) -> int:
    """Virtual ns from the start of a process on `node` until `condition`."""
    begun_ns = three.world.now_ns
    three.cluster.start(node)
    three.until(condition, what)
    return three.world.now_ns - begun_ns


# --- start ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_a_new_cluster_serves_before_the_first_renewal_of_its_leases(seed: int) -> None:
    """A lease message that comes before its sender was introduced is dropped: it is sent again as soon as both listen
    to each other, or a new cluster would wait for the next renewal."""
    three = Three(seed, disk_delay_ns=MILLISECOND)
    assert three.world.now_ns < three.cluster.config.renewal_ns
    assert not any(three.node(node).unready() for node in three.cluster.nodes), (
        "a new node has nothing to be quiet about"
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_restarted_node_hears_its_peers_before_the_next_renewal(seed: int) -> None:
    three = Three(seed, disk_delay_ns=MILLISECOND)
    three.run(SECOND)
    three.crash(N2)
    three.run(SECOND)

    def hears_both() -> bool:
        now = three.node(N2).host.now()
        return three.node(N2).leases.is_up(N0, now) and three.node(N2).leases.is_up(N1, now)

    assert _since_start(three, N2, hears_both, "it hears both") < three.cluster.config.renewal_ns


def test_a_restarted_node_is_not_to_be_relied_on_before_it_grants_leases() -> None:
    """A rolling restart waits for it: without its grants, the next node to stop leaves its groups without a lease."""
    three = Three()
    three.crash(N2)
    _since_start(three, N2, lambda: three.node(N2).ready, "it serves")
    assert "grants no leases" in three.node(N2).unready()
    assert not three.node(N2).status()["ready"]
    three.until(lambda: not three.node(N2).unready(), "it may be relied on")
    assert three.node(N2).host.now() >= three.node(N2).leases.quiet_until
    assert three.node(N2).status()["ready"]


def test_a_restarted_node_of_its_own_is_relied_on_at_once() -> None:
    """The directory lock proves that the process before it is dead."""
    world = World(1)
    cluster = SimCluster(world, CONFIGS["single"])
    for _ in range(2):
        cluster.crash(N0, power=False)
        cluster.start(N0)
        begun_ns = world.now_ns
        node = cluster.machines[N0].node
        assert node is not None
        while node.unready():
            assert world.now_ns < begun_ns + 100 * MILLISECOND
            world.run(world.now_ns + MILLISECOND)


def test_a_node_whose_replicas_lag_is_not_to_be_relied_on() -> None:
    """It makes no quorum with anybody until it has what it missed."""
    three = Three(retain_log_bytes=1 << 10, flush_interval_ns=200 * MILLISECOND)
    table = three.create()
    group = table.partitions[0].group
    three.crash(N2)
    for number in range(40):
        key = encode_key(SCHEMA, {"S": f"other{number}"})
        assert isinstance(three.submit(N0, table, PutItem(key, ITEM + b" " * 300, 3)), Written)
    three.until(lambda: three.replica(N0, group).replica.acceptor.log.base.slot > 20, "the log is trimmed")
    three.cluster.start(N2)
    node = three.node(N2)
    take = node._handlers[SnapshotChunk]
    node._handlers[SnapshotChunk] = lambda _source, _chunk: None
    three.run(3 * SECOND)
    assert node.unready() == "starting: 1 replicas have not caught up yet"
    node._handlers[SnapshotChunk] = take
    three.until(lambda: not node.unready(), "it has caught up")
    assert three.replica(N2, group).rows.applied == three.replica(N0, group).rows.applied


# --- stop -------------------------------------------------------------------------------------------------------------


class _Writers:
    """One writer on each of some nodes, that writes again as soon as it has its answer; `slowest_ns` of all answers."""

    def __init__(self, three: Three, table: TableDescriptor, nodes: tuple[NodeId, ...]) -> None:
        self._three = three
        self._table = table
        self.slowest_ns = 0
        self.stopped = False
        for node in nodes:
            self._write(node)

    def _write(self, node: NodeId) -> None:
        if self.stopped:
            return
        three, begun_ns = self._three, self._three.world.now_ns

        def answered(reply: Any) -> None:
            assert isinstance(reply, Written), reply
            self.slowest_ns = max(self.slowest_ns, three.world.now_ns - begun_ns)
            three.world.after(MILLISECOND, lambda: self._write(node))

        now = three.node(node).host.now()
        three.node(node).router.submit(self._table, KEY, PUT, None, Instant(now + 5 * SECOND), answered)


def _stop_gracefully(three: Three, node: NodeId) -> None:
    three.cluster.drain(node)
    three.until(lambda: three.cluster.machines[node].process is None, "it has stopped")


@pytest.mark.parametrize("seed", [2, 3, 4, 6])
def test_a_graceful_stop_keeps_no_request_waiting(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reached the leader after its hand-over, and what it had answered but not sent, was lost with it: whoever did
    not notice that its link was gone waited 0.7 s before asking again."""
    three = Three(seed, disk_delay_ns=MILLISECOND)
    monkeypatch.setattr(three.cluster, "_tell_disconnected", lambda _peer, _node: None)
    table = three.create()
    group = table.partitions[0].group
    _stop_gracefully(three, N0)
    three.start(N0)
    three.run(500 * MILLISECOND)
    leader = three.leader(group)
    assert leader in (N1, N2)
    writers = _Writers(three, table, (N0, N1 if leader == N2 else N2))
    three.run(100 * MILLISECOND)
    _stop_gracefully(three, leader)
    three.run(SECOND)
    writers.stopped = True
    assert writers.slowest_ns < 150 * MILLISECOND


def test_a_node_that_stops_votes_for_the_barrier_of_its_successor() -> None:
    """The third replica is down, or has only just started: the successor would win its ballot and then wait for it."""
    three = Three(disk_delay_ns=5 * MILLISECOND)
    group: GroupId = three.create().partitions[0].group
    three.crash(N2)
    _stop_gracefully(three, N0)
    assert three.replica(N1, group).leading
