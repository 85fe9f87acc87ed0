"""Which nodes hold a partition: distinct zones, distinct hosts, least loaded first.

A partition's replicas stand in different zones so that the loss of one zone leaves a quorum (Elhemali et al., ATC
2022, §2; row C2). Rules: never an even number of replicas (a second one adds a failure to suffer from and none to
survive); as many zones, then hosts, as there are; the same input gives the same answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final

from gramme.kernel.ids import NodeId

LEADER_LOAD: Final = 101
FOLLOWER_LOAD: Final = 100
"""Weights of a replica, for `add_load`. A leader counts a little more, so that among nodes with as many replicas the
one that leads fewest comes first; were it to count double, replicas would gather where there are few leaders."""


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where a node stands. Nodes of one `host` fail together, hosts of one `zone` may; names are compared as given.

    `weight` (positive) is the node's capacity against others': it is filled to load/weight as they are.
    """

    node: NodeId
    host: str
    zone: str
    weight: int = 1


def replica_count(nodes: int, wanted: int) -> int:
    """The replicas that `nodes` nodes can hold: `wanted` (odd), else the largest odd number there are nodes for.

    Raises `ValueError` without a node, or if `wanted` is not odd and positive.
    """
    if wanted < 1 or wanted % 2 == 0:
        raise ValueError(f"the number of replicas must be odd and positive, not {wanted}")
    if nodes < 1:
        raise ValueError("there is no node to place a replica on")
    return wanted if nodes >= wanted else nodes - 1 + nodes % 2


def choose_replicas(
    nodes: Sequence[NodePlace], count: int, load: Mapping[NodeId, int], rotation: int
) -> tuple[NodeId, ...]:
    """The nodes of one new partition; the first is its founding leader.

    As many distinct zones and as many distinct hosts as there are, up to the number of replicas; among equals the
    least loaded for its weight (a node missing from `load` has none), among those the next in node order after
    `rotation` places. With loads from `count_load`, or one rotation per partition, leaders spread evenly. Two nodes
    hold one replica. Raises `ValueError` as `replica_count`, for a node named twice, and for a weight below 1.
    """
    wanted = replica_count(len(nodes), count)
    order = _order(nodes, load, rotation)
    hosts: Counter[str] = Counter()
    zones: Counter[str] = Counter()
    chosen: list[NodeId] = []
    for _ in range(wanted):
        place = min(order, key=lambda place: (hosts[place.host], zones[place.zone]))  # the first of the minima
        order.remove(place)
        hosts[place.host] += 1
        zones[place.zone] += 1
        chosen.append(place.node)
    return tuple(chosen)


def _order(nodes: Sequence[NodePlace], load: Mapping[NodeId, int], rotation: int) -> list[NodePlace]:
    """Nodes by load for their weight, equals by node number from `rotation` on."""
    by_number = sorted(nodes, key=lambda place: place.node)
    for place, following in pairwise(by_number):
        if place.node == following.node:
            raise ValueError(f"node {place.node} is named twice")
    for place in by_number:
        if place.weight < 1:
            raise ValueError(f"the weight of node {place.node} must be at least 1, not {place.weight}")
    turn = rotation % len(by_number)
    return sorted(by_number[turn:] + by_number[:turn], key=lambda place: load.get(place.node, 0) / place.weight)


def count_load(groups: Iterable[Iterable[NodeId]]) -> dict[NodeId, int]:
    """Load of every node that has a replica of one of `groups`, all counted alike: who leads is not known here."""
    return {node: FOLLOWER_LOAD * held for node, held in Counter(chain.from_iterable(groups)).items()}


def add_load(load: dict[NodeId, int], replicas: Sequence[NodeId]) -> None:
    """Add one partition's replicas, leader first, to `load`."""
    for position, node in enumerate(replicas):
        load[node] = load.get(node, 0) + (FOLLOWER_LOAD if position else LEADER_LOAD)


def place_partitions(
    nodes: Sequence[NodePlace], count: int, load: Mapping[NodeId, int], partitions: int, rotation: int = 0
) -> list[tuple[NodeId, ...]]:
    """Replicas for each of a new table's `partitions`, each placed with those before it in mind.

    `load` is that of the tables that exist (`count_load`); it is not changed.
    """
    running = dict(load)
    placed: list[tuple[NodeId, ...]] = []
    for index in range(partitions):
        replicas = choose_replicas(nodes, count, running, rotation + index)
        add_load(running, replicas)
        placed.append(replicas)
    return placed


def choose_addition(
    nodes: Sequence[NodePlace], held: Sequence[NodePlace], load: Mapping[NodeId, int], rotation: int
) -> NodeId | None:
    """The node for one more replica of a partition whose others stand in `held`; None if there are no `nodes`.

    As far as can be on a host, then in a zone, that has none of it; among equals as `choose_replicas`.
    """
    if not nodes:
        return None
    hosts = Counter(place.host for place in held)
    zones = Counter(place.zone for place in held)
    return min(_order(nodes, load, rotation), key=lambda place: (hosts[place.host], zones[place.zone])).node
