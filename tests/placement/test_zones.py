"""The choice of replicas over hosts and zones (row C2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.ids import NodeId
from gramme.placement.zones import NodePlace, choose_replicas, count_load, place_partitions, replica_count


def place(node: int, host: str, zone: str, weight: int = 1) -> NodePlace:
    return NodePlace(NodeId(node), host, zone, weight)


def nodes_of(*zones: int) -> list[NodePlace]:
    """One node a host, `zones[i]` hosts in zone i; numbered across zones, so that numbers do not tell zones."""
    rows = [(position, zone) for zone, count in enumerate(zones) for position in range(count)]
    return [place(node, f"h{zone}-{position}", f"z{zone}") for node, (position, zone) in enumerate(sorted(rows))]


@st.composite
def topologies(draw: st.DrawFn) -> list[NodePlace]:
    """Nodes on hosts, each host in one zone."""
    shape = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=9))
    return [place(node, f"{zone}.{host}", f"z{zone}", 1 + node % 3) for node, (zone, host) in enumerate(shape)]


@given(topologies(), st.sampled_from([1, 3, 5]), st.integers(0, 20), st.data())
def test_replicas_stand_in_as_many_zones_and_on_as_many_hosts_as_there_are(
    nodes: list[NodePlace], count: int, rotation: int, data: st.DataObject
) -> None:
    load = {place.node: data.draw(st.integers(0, 5)) for place in nodes}
    chosen = choose_replicas(nodes, count, load, rotation)
    by_node = {place.node: place for place in nodes}
    wanted = replica_count(len(nodes), count)
    assert len(chosen) == len(set(chosen)) == wanted
    assert wanted % 2 == 1
    assert wanted == min(count, len(nodes) - (len(nodes) % 2 == 0)) or len(nodes) >= count
    assert len({by_node[node].zone for node in chosen}) == min(wanted, len({place.zone for place in nodes}))
    assert len({by_node[node].host for node in chosen}) == min(wanted, len({place.host for place in nodes}))


@given(topologies(), st.integers(0, 20), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_input(
    nodes: list[NodePlace], rotation: int, shuffler: st.DataObject
) -> None:
    shuffled = nodes.copy()
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose_replicas(shuffled, 3, {}, rotation) == choose_replicas(nodes, 3, {}, rotation)


def test_the_least_loaded_for_its_weight_comes_first() -> None:
    nodes = [place(0, "a", "z0"), place(1, "b", "z0", 4), place(2, "c", "z1"), place(3, "d", "z2")]
    load = {NodeId(0): 2, NodeId(1): 4, NodeId(2): 3, NodeId(3): 9}
    assert choose_replicas(nodes, 3, load, 0) == (1, 2, 3)


@pytest.mark.parametrize("zones", [(1, 1, 1), (2, 2, 2), (3, 3, 3), (1, 1, 1, 1), (5,), (3, 3), (7,)])
def test_replicas_and_leaders_spread_evenly(zones: tuple[int, ...]) -> None:
    nodes = nodes_of(*zones)
    partitions = place_partitions(nodes, 3, {}, 20 * len(nodes))
    replicas = [sum(place.node in partition for partition in partitions) for place in nodes]
    leaders = [sum(partition[0] == place.node for partition in partitions) for place in nodes]
    assert max(replicas) - min(replicas) <= 2
    assert max(leaders) - min(leaders) <= 4  # of 20 on average


def test_many_tables_of_one_partition_spread_their_leaders() -> None:
    nodes = nodes_of(1, 1, 1)
    placed: list[tuple[NodeId, ...]] = []
    for table in range(9):
        placed += place_partitions(nodes, 3, count_load(placed), 1, table)
    assert sorted(replicas[0] for replicas in placed) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_rotation_alone_moves_the_leader() -> None:
    nodes = nodes_of(1, 1, 1)
    assert [choose_replicas(nodes, 3, {}, rotation)[0] for rotation in range(6)] == [0, 1, 2, 0, 1, 2]


def test_a_fresh_node_takes_load_and_the_given_load_is_kept() -> None:
    nodes = nodes_of(2, 1, 1)
    load = {NodeId(0): 900, NodeId(1): 900, NodeId(2): 900, NodeId(3): 900}
    load.pop(next(place.node for place in nodes if place.host == "h0-1"))
    before = dict(load)
    fresh = next(place.node for place in nodes if place.host == "h0-1")
    assert all(replicas[0] == fresh for replicas in place_partitions(nodes, 3, load, 3))
    assert load == before


@pytest.mark.parametrize(
    ("nodes", "wanted", "count"), [(1, 3, 1), (2, 3, 1), (3, 3, 3), (9, 3, 3), (4, 5, 3), (3, 1, 1)]
)
def test_the_number_of_replicas_is_never_even(nodes: int, wanted: int, count: int) -> None:
    assert replica_count(nodes, wanted) == count
    assert len(choose_replicas(nodes_of(*[1] * nodes), wanted, {}, 0)) == count


def test_impossible_placements_are_refused() -> None:
    with pytest.raises(ValueError, match="no node"):
        choose_replicas([], 3, {}, 0)
    for wanted in (0, 2, -1):
        with pytest.raises(ValueError, match="odd"):
            choose_replicas(nodes_of(3), wanted, {}, 0)
    with pytest.raises(ValueError, match="named twice"):
        choose_replicas([place(1, "a", "z"), place(1, "b", "z")], 1, {}, 0)
    with pytest.raises(ValueError, match="weight"):
        choose_replicas([place(1, "a", "z", 0)], 1, {}, 0)
