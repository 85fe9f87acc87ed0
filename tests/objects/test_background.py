"""Handoff and anti-entropy: replicas become identical without anyone reading."""

from __future__ import annotations

from random import Random

import pytest
from tests.objects.cluster import PARTITIONS, Cluster

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.objects.messages import CompareLeaves, Exchange, HandOff, Put, RootsDiffer, Stored
from gramme.objects.quorums import WriteQuorum
from gramme.objects.state import Name
from gramme.objects.store import Section
from gramme.objects.versions import Value, Versions

_W1 = WriteQuorum(3, 1, dw=1)


def _name(n: int) -> Name:
    return Name(b"default", b"carts", b"cart%d" % n)


def _put(n: int, text: str = "v", quorum: WriteQuorum = _W1) -> Put:
    return Put(_name(n), quorum, Value(text.encode()))


def _roots(cluster: Cluster) -> list[list[int]]:
    """For each partition, the roots of its three primaries."""
    return [
        [
            cluster.machines[node].replica.store.tree(Section(p, 3)).root()
            for node in cluster.ring.preference_list(p, 3)[:3]
        ]
        for p in range(PARTITIONS)
    ]


def _converged(cluster: Cluster) -> bool:
    return all(len(set(roots)) == 1 for roots in _roots(cluster))


def _hints(cluster: Cluster) -> int:
    return sum(
        len(list(machine.replica.store.hints(node)))
        for machine in cluster.machines
        for node in machine.replica.store.hinted_nodes()
    )


def test_hints_are_delivered_when_their_owner_is_back_and_then_deleted() -> None:
    cluster = Cluster(5, background=True)
    cluster.crash(3)
    for n in range(30):
        assert isinstance(cluster.ask(n % 3, _put(n)), Stored)
    cluster.run(5 * SECOND)
    assert _hints(cluster) > 0
    cluster.start(3)
    cluster.run(5 * SECOND)
    assert _hints(cluster) == 0
    assert _converged(cluster)


def test_a_hint_survives_the_crash_of_its_keeper_and_of_its_owner_during_delivery() -> None:
    cluster = Cluster(5, background=True)
    owner = cluster.primaries(_name(0))[0]
    cluster.crash(owner)
    left = next(n for n in range(5) if n != owner)
    cluster.ask(left, _put(0, quorum=WriteQuorum(3, 3, dw=3)))
    keeper = next(m.node for m in cluster.machines if owner in m.replica.store.hinted_nodes())
    cluster.crash(keeper)
    cluster.start(keeper)
    cluster.start(owner)
    machine = cluster.machines[keeper]
    machine.execute(machine.handoff.tick(cluster.now))
    cluster.crash(owner)  # the hint is on its way
    cluster.run(2 * SECOND)
    assert _hints(cluster) == 1
    cluster.start(owner)
    cluster.run(8 * SECOND)
    assert _hints(cluster) == 0
    assert cluster.known(_name(0))[owner] is not None


def test_a_hint_stays_while_the_engine_is_too_busy_to_drop_it() -> None:
    cluster = Cluster(5, background=True)
    cluster.crash(3)
    for n in range(30):
        assert isinstance(cluster.ask(n % 3, _put(n)), Stored)
    keepers = [machine for machine in cluster.machines if machine.replica.store.hinted_nodes()]
    cluster.start(3)
    for machine in keepers:
        machine.engine.stalled = True
    cluster.run(5 * SECOND)
    assert _hints(cluster) > 0
    for machine in keepers:
        machine.engine.stalled = False
    cluster.run(5 * SECOND)
    assert _hints(cluster) == 0


def test_trees_find_what_no_hint_knows_of() -> None:
    cluster = Cluster(3, background=True)
    for n in range(20):
        cluster.ask(0, _put(n, quorum=WriteQuorum(3, 3, dw=3)))
    cluster.crash(2)
    cluster.machines[2].log.clear()  # the disk is lost
    cluster.machines[2].durable = 0
    cluster.start(2)
    assert all(state is None for state in (cluster.known(_name(n))[2] for n in range(20)))
    cluster.run(30 * SECOND)
    assert _converged(cluster)
    assert all(cluster.known(_name(n))[2] is not None for n in range(20))


def test_bytes_grow_with_the_differences_not_with_the_data() -> None:
    """Row A23: two replicas with 400 objects of which two differ."""
    cluster = Cluster(3)
    for n in range(400):
        cluster.ask(0, _put(n, quorum=WriteQuorum(3, 3, dw=3)))
    cluster.cut = {(NodeId(0), NodeId(2)), (NodeId(1), NodeId(2))}
    for n in range(2):
        cluster.ask(0, _put(n, "changed"))
    cluster.run(3 * SECOND)
    for machine in cluster.machines:
        for node in machine.replica.store.hinted_nodes():
            for hint in list(machine.replica.store.hints(node)):
                machine.replica.store.drop_hint(node, hint.name, hint.state)
    cluster.cut, cluster.background = set(), True
    cluster.sent.clear()
    cluster.run(30 * SECOND)
    assert _converged(cluster)
    states = [name for message in cluster.sent if isinstance(message, Exchange) for name, _ in message.states]
    assert set(states) == {_name(0), _name(1)}
    assert len(states) <= 8  # both ways, and once for each of two peers
    assert sum(isinstance(message, RootsDiffer | CompareLeaves) for message in cluster.sent) <= 20
    assert not any(isinstance(message, HandOff) for message in cluster.sent)


@pytest.mark.parametrize("seed", range(15))
def test_after_any_faults_replicas_become_identical_and_no_acknowledged_write_is_missing(seed: int) -> None:
    """Row A37, without a single read: losses, crashes, cuts, then quiet."""
    rng = Random(seed)
    cluster = Cluster(5, seed, loss=0.1, background=True)
    acknowledged: dict[int, set[bytes]] = {}
    for number in range(60):
        action = rng.random()
        if action < 0.1:
            cluster.switch_one(rng)
        elif action < 0.2:
            cluster.cut = {(NodeId(rng.randrange(5)), NodeId(rng.randrange(5))) for _ in range(rng.randrange(6))}
        node = rng.choice([n for n in range(5) if n != cluster.down])
        key = rng.randrange(8)
        if isinstance(cluster.ask(node, _put(key, f"v{number}", WriteQuorum(3, 2, dw=2))), Stored):
            acknowledged.setdefault(key, set()).add(b"v%d" % number)
    cluster.start_all()
    cluster.cut, cluster.loss = set(), 0.0
    cluster.run(60 * SECOND)
    assert _hints(cluster) == 0
    assert _converged(cluster)
    for key, texts in acknowledged.items():
        state = cluster.known(_name(key))[cluster.primaries(_name(key))[0]]
        assert isinstance(state, Versions)
        assert texts <= {sibling.value.body for sibling in state.siblings}
