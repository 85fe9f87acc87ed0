"""Row A38: what a crash of the coordinator takes with it, by W and DW. Counted, with the machines of five nodes.

While a write is on its way each of the coordinator's links is cut with probability one half, unknown to it; as soon
as it has answered it crashes. Then it either returns with its disk, or never does. A write is lost if it was
answered and nobody who is left knows it, as replica or for somebody else.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.objects.cluster import Cluster

from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.objects.messages import Put, Stored
from gramme.objects.quorums import WriteQuorum
from gramme.objects.state import Name
from gramme.objects.versions import Value

RUNS = 60
_NAME = Name(b"default", b"b", b"k")


class Lost(NamedTuple):
    """Of `answered` writes so many are lost if the coordinator comes back, and if it does not."""

    answered: int
    returned: int
    gone: int


def curve(w: int, dw: int, runs: int = RUNS) -> Lost:
    """One cell of the table."""
    answered = returned = gone = 0
    for seed in range(runs):
        cluster = Cluster(5, seed)
        coordinator = cluster.primaries(_NAME)[0]
        for node in range(5):
            if node != coordinator and cluster.rng.random() < 0.5:
                cluster.cut |= {(coordinator, NodeId(node)), (NodeId(node), coordinator)}
        if not _answered(cluster, coordinator, w, dw):
            continue
        answered += 1
        cluster.crash(coordinator)
        cluster.run(SECOND)  # what is on its way arrives
        gone += not _known(cluster)
        cluster.start(coordinator)
        returned += not _known(cluster)
    return Lost(answered, returned, gone)


def _answered(cluster: Cluster, coordinator: NodeId, w: int, dw: int) -> bool:
    machine = cluster.machines[coordinator]
    put = Put(_NAME, WriteQuorum(3, w, dw=dw), Value(b"v"))
    id_, effects = machine.coordinators.submit(put, Instant(cluster.now + SECOND), cluster.now)
    machine.execute(effects)
    while (coordinator, id_) not in cluster.answers:
        cluster.run(MILLISECOND // 20 if cluster.now < 10 * MILLISECOND else 5 * MILLISECOND)
    return isinstance(cluster.answers[coordinator, id_], Stored)


def _known(cluster: Cluster) -> bool:
    return any(machine.up and machine.replica.known(_NAME) is not None for machine in cluster.machines)


def test_one_acknowledgement_is_lost_with_its_node() -> None:
    """W=1: as many writes as the links were cut for die with the coordinator's disk."""
    for dw in (0, 1):
        lost = curve(1, dw)
        assert lost.answered == RUNS
        assert 0 < lost.gone < RUNS // 2


def test_one_durable_copy_comes_back_with_its_node() -> None:
    assert curve(1, 0).returned > 0
    assert curve(1, 1).returned == 0


def test_two_acknowledgements_survive_any_one_node() -> None:
    for w, dw in ((2, 0), (2, 1), (2, 2), (3, 0), (3, 3)):
        lost = curve(w, dw)
        assert lost.answered > 0
        assert lost.gone == lost.returned == 0


if __name__ == "__main__":
    for w in (1, 2, 3):
        for dw in range(w + 1):
            print(w, dw, curve(w, dw, 1_000), flush=True)
