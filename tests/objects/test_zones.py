"""A zone that is gone costs no write: preference lists are spread over zones, and others stand in (row A12)."""

from __future__ import annotations

import pytest
from tests.objects.cluster import PARTITIONS, Cluster

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.objects.messages import Get, Got, Put, Stored
from gramme.objects.quorums import ReadQuorum, WriteQuorum
from gramme.objects.state import Name
from gramme.objects.versions import Value

NODES = 6
_R2, _W2 = ReadQuorum(3, 2), WriteQuorum(3, 2, dw=2)


def _name(n: int) -> Name:
    return Name(b"default", b"carts", b"cart%d" % n)


@pytest.mark.parametrize("zone", range(3))
def test_with_a_zone_gone_w_2_and_r_2_are_met_and_it_catches_up_with_no_reader(zone: int) -> None:
    cluster = Cluster(NODES, background=True)
    places = {place.node: place for place in cluster.ring.members}
    gone = [node for node, place in places.items() if place.zone == places[NodeId(zone)].zone]
    assert len(gone) == 2
    for partition in range(PARTITIONS):
        assert len({places[node].zone for node in cluster.ring.preference_list(partition, 3)[:3]}) == 3
    for node in gone:
        cluster.crash(node)
    left = [node for node in range(NODES) if NodeId(node) not in gone]
    for n in range(24):
        assert isinstance(cluster.ask(left[n % 4], Put(_name(n), _W2, Value(b"v%d" % n))), Stored)
    cluster.run(120 * SECOND)
    for n in range(24):
        assert isinstance(cluster.ask(left[(n + 1) % 4], Get(_name(n), _R2)), Got)
    for node in gone:
        cluster.start(node)
    cluster.run(40 * SECOND)
    for n in range(24):
        states = cluster.known(_name(n))
        primaries = cluster.primaries(_name(n))
        assert {NodeId(node) for node, state in enumerate(states) if state is not None} == set(primaries)
        assert len({repr(states[node]) for node in primaries}) == 1
