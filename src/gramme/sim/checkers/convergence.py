"""When nothing moves any more, the replicas of a group are equal: same slot, same chain, same rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gramme.kernel.ids import GroupId, NodeId


class ReplicaState(NamedTuple):
    """One replica's applied state. `rows_digest` is over all rows without the extent, which is local to a node."""

    group: GroupId
    node: NodeId
    members: tuple[NodeId, ...]
    slot: int
    crc: int
    rows_digest: bytes


def divergence(states: Iterable[ReplicaState], nodes: Iterable[NodeId]) -> str | None:
    """What differs, in words; None when every group has all its members among `nodes`, equal to each other."""
    expected = sorted(nodes)
    groups: dict[GroupId, list[ReplicaState]] = {}
    for state in states:
        groups.setdefault(state.group, []).append(state)
    for group, replicas in sorted(groups.items()):
        hosted = sorted(state.node for state in replicas)
        members = [node for node in expected if node in replicas[0].members]
        if hosted != members:
            return f"group {group} is hosted by {hosted}, its members are {members}"
        first = replicas[0]
        for other in replicas[1:]:
            if other.slot != first.slot:
                return f"group {group}: node {first.node} has applied {first.slot}, node {other.node} {other.slot}"
            if (other.crc, other.rows_digest) != (first.crc, first.rows_digest):
                return f"group {group} at slot {first.slot}: nodes {first.node} and {other.node} differ"
    return None
